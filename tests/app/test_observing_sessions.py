"""Observing a session through the facade: live text, tools, commits, the queue; and coming back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from session_harness import (
    Holding,
    Staged,
    answering,
    begin,
    code_of,
    echoing,
    just_before,
    location,
    opened,
    path,
    patient,
)

import lash
from lash.app.live_view import LiveView
from lash.core.json import encode
from lash.events import TextDelta, ToolCallCompleted, ToolCallStarted
from lash.runtime.events import QueuedInputAccepted
from lash.runtime.observed import (
    AgentFrameSwitched,
    Committed,
    Event,
    Gap,
    Item,
    QueueChanged,
    Snapshot,
    TurnActivity,
    TurnInterrupted,
)
from lash.runtime.observing import Observation
from lash.testing import calls, fail, reply

__all__ = ["location", "path"]


def echo_agent() -> tuple[Staged, lash.Agent]:
    model = Staged(echoing())
    return model, lash.Agent("agent", model=model)


def word(item: Item) -> str:
    """An item in a word."""
    match item:
        case Event(event=TurnActivity(event=happened)):
            return str(happened.__struct_config__.tag)
        case Event(event=event):
            return str(event.__struct_config__.tag)
        case _:
            return str(item.__struct_config__.tag)


async def read_until(items: Observation, enough: Callable[[Item], bool]) -> list[Item]:
    found: list[Item] = []
    async for item in items:
        found.append(item)
        if enough(item):
            return found
    raise AssertionError("the stream ended")


@asynccontextmanager
async def watching(session: lash.Session, *views: LiveView) -> AsyncIterator[Observation]:
    """A reader that has had its snapshot; one that has not begins wherever it first reads."""
    async with session.observe() as items:
        first = await anext(items)
        assert isinstance(first, Snapshot)
        for view in views:
            view.apply(first)
        yield items


def is_commit(turn_id: str) -> Callable[[Item], bool]:
    def enough(item: Item) -> bool:
        return (
            isinstance(item, Event)
            and isinstance(item.event, Committed)
            and item.event.turn_id == turn_id
        )

    return enough


def live_text(items: list[Item]) -> str:
    return "".join(
        item.event.event.text
        for item in items
        if isinstance(item, Event)
        and isinstance(item.event, TurnActivity)
        and isinstance(item.event.event, TextDelta)
    )


async def shown(session: lash.Session) -> list[lash.HistoryMessage]:
    return list(await session.history(whole=True))


# --- what is told ---------------------------------------------------------------------------------------


async def test_a_turn_is_told_from_its_first_request_to_its_commit(location: str | Path) -> None:
    holding = Holding(is_open=True)
    _, agent = patient(holding, [calls(("wait", {})), reply("All is done.")])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.observe() as items:
            (first,) = await read_until(items, lambda _: True)
            turn = await session.run("Go.", turn_id="t")
            seen = await read_until(items, is_commit("t"))
        history = await session.history()

    assert isinstance(first, Snapshot)
    assert (first.view.revision, first.view.messages, first.view.live) == (0, (), ())
    assert [word(item) for item in seen] == [
        "model_request_started",
        "usage",
        "tool_call_started",
        "tool_call_completed",
        "model_request_started",
        "assistant_prose_delta",
        "assistant_prose_delta",
        "assistant_prose_delta",
        "usage",
        "committed",
    ]
    assert live_text(seen) == "All is done."
    assert len({item.cursor for item in [first, *seen]}) == 11
    last = seen[-1]
    assert isinstance(last, Event)
    assert isinstance(last.event, Committed)
    assert (last.event.revision, last.event.record.text) == (turn.revision, "All is done.")
    assert [message.id for message in last.event.messages] == [message.id for message in history]
    calls_told = [
        item.event.correlation_id
        for item in seen
        if isinstance(item, Event)
        and isinstance(item.event, TurnActivity)
        and isinstance(item.event.event, ToolCallStarted | ToolCallCompleted)
    ]
    assert len(calls_told) == 2
    assert len(set(calls_told)) == 1
    assert calls_told[0].startswith("tool:")
    for item in seen:
        encode(item)  # what is told can be sent


async def test_text_of_a_failed_attempt_is_withdrawn(location: str | Path) -> None:
    model = Staged([fail(after_text="It is lo", retry_after=0.0), reply("Shipped.")])
    gate = model.hold(1)
    agent = lash.Agent("agent", model=model, retry=lash.RetryPolicy(base_delay_ms=0))
    view = LiveView()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.observe() as items:
            running = begin(session, "Go.", turn_id="t")
            for item in await read_until(items, lambda item: word(item) == "model_attempt_reset"):
                if word(item) == "model_attempt_reset":
                    assert view.text == "It is lo"
                view.apply(item)
            assert view.text == ""
            gate.open()
            for item in await read_until(items, is_commit("t")):
                view.apply(item)
        await running
        assert list(view.messages) == await shown(session)
    assert (view.text, dict(view.live)) == ("", {})


async def test_live_text_of_a_stopped_turn_goes_with_its_commit(location: str | Path) -> None:
    model, agent = echo_agent()
    model.hold(0, "Half ", "an answer")
    view = LiveView()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.observe() as items:
            running = begin(session, "Go.", turn_id="t")
            for item in await read_until(items, lambda item: live_text([item]) == "an answer"):
                view.apply(item)
            assert view.text == "Half an answer"
            await session.cancel("t", request_id="r")
            rest = await read_until(items, is_commit("t"))
            for item in rest:
                view.apply(item)
        await running
        assert [word(item) for item in rest] == ["turn_cancel_requested", "committed"]
        assert (view.text, dict(view.live)) == ("", {})
        assert [message.text for message in view.messages] == ["Go."]
        assert list(view.messages) == await shown(session)


async def test_what_the_queue_does_is_told(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with watching(session) as items:
            running = begin(session, "Go.", turn_id="t")
            await holding.begun.wait()
            queued = await session.enqueue("Later.")
            injected = await session.inject("Now.")
            await session.inject("Now.", source_key="k")
            again = await session.inject("Now.", source_key="k")
            await queued.cancel()
            await queued.cancel()
            holding.gate.open()
            await running
            seen = await read_until(items, is_commit("t"))
    changes = [
        (item.event.kind, item.event.input_ids)
        for item in seen
        if isinstance(item, Event) and isinstance(item.event, QueueChanged)
    ]
    assert changes == [
        ("enqueued", (queued.input_id,)),
        ("enqueued", (injected.input_id,)),
        ("enqueued", (again.input_id,)),
        ("cancelled", (queued.input_id,)),
        ("taken", (injected.input_id, again.input_id)),
    ]
    (taken,) = [
        item.event.event
        for item in seen
        if isinstance(item, Event)
        and isinstance(item.event, TurnActivity)
        and isinstance(item.event.event, QueuedInputAccepted)
    ]
    assert (taken.checkpoint, taken.input_ids) == (
        "after_work",
        (injected.input_id, again.input_id),
    )


async def test_input_that_became_a_turn_is_told_as_taken(location: str | Path) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with watching(session) as items:
            queued = await session.enqueue("Hello.")
            turn = await queued.result()
            seen = await read_until(items, is_commit(turn.turn_id))
    changes = [
        (item.event.kind, item.event.input_ids)
        for item in seen
        if isinstance(item, Event) and isinstance(item.event, QueueChanged)
    ]
    assert changes == [("enqueued", (queued.input_id,)), ("taken", (queued.input_id,))]


async def test_a_summary_is_told_with_its_frame(location: str | Path) -> None:
    _, agent = echo_agent()
    view = LiveView()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with watching(session, view) as items:
            await session.run("Go.")
            turn = await session.compact()
            seen = await read_until(
                items,
                lambda item: isinstance(item, Event) and isinstance(item.event, AgentFrameSwitched),
            )
        for item in seen:
            view.apply(item)
        assert list(view.messages) == await shown(session)
    last = seen[-1]
    assert isinstance(last, Event)
    assert isinstance(last.event, AgentFrameSwitched)
    assert last.event.frame_id == f"s:frame:compaction:{turn.turn_id}"


# --- coming and coming back -----------------------------------------------------------------------------


async def test_who_comes_in_the_middle_is_shown_what_is_live(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding, [calls(("wait", {}), text="Let me see."), reply("Over.")])
    early, late = LiveView(), LiveView()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.configure(prompt=lash.PromptLayer())
        async with session.observe() as first:
            running = begin(session, "Go.", turn_id="t")
            for item in await read_until(first, lambda item: word(item) == "tool_call_started"):
                early.apply(item)
            async with session.observe() as second:
                (snapshot,) = await read_until(second, lambda _: True)
                late.apply(snapshot)
                assert isinstance(snapshot, Snapshot)
                assert late.live == early.live
                assert late.text == "Let me see."
                (call,) = late.live["t"].tool_calls
                assert (call.tool, call.call) == ("wait", None)
                holding.gate.open()
                for view, items in ((early, first), (late, second)):
                    for item in await read_until(items, is_commit("t")):
                        view.apply(item)
        await running
        history = await shown(session)
    assert list(early.messages) == list(late.messages) == history
    assert dict(early.live) == dict(late.live) == {}


async def test_a_reader_that_comes_back_goes_on_behind_what_it_saw(location: str | Path) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with watching(session) as items:
            await session.run("One two three.", turn_id="t1")
            everything = await read_until(items, is_commit("t1"))
            await session.run("Four.", turn_id="t2")
            everything += await read_until(items, is_commit("t2"))
        for place in range(len(everything) - 1):
            async with session.observe(everything[place].cursor) as items:
                rest = await read_until(items, is_commit("t2"))
            assert rest == everything[place + 1 :]


async def test_five_thousand_events_missed_are_a_gap_with_a_view_that_goes_on(
    location: str | Path,
) -> None:
    long = " ".join(str(number) for number in range(5_000))
    model = Staged(answering(lambda _, said: reply("Yes." if said == "And on." else long)))
    agent = lash.Agent("agent", model=model)
    view = LiveView()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = await session.run("Go.", turn_id="t1")
        async with session.observe() as items:
            (snapshot,) = await read_until(items, lambda _: True)
            view.apply(snapshot)
        await session.run("Go on.", turn_id="t2")
        assert view.cursor is not None
        async with session.observe(view.cursor) as items:
            gap = await anext(items)
            assert isinstance(gap, Gap)
            assert (gap.reason, gap.requested) == ("trimmed", snapshot.cursor)
            assert gap.view.revision == 2
            view.apply(gap)
            assert list(view.messages) == await shown(session)
            await session.run("And on.", turn_id="t3")
            for item in await read_until(items, is_commit("t3")):
                view.apply(item)
        assert first.text == long
        assert list(view.messages) == await shown(session)
        assert (view.revision, view.turn_index, dict(view.live)) == (3, 3, {})


async def test_a_reader_that_is_too_slow_finds_a_gap_and_goes_on(location: str | Path) -> None:
    long = " ".join(str(number) for number in range(5_000))
    model = Staged(answering(lambda _, said: reply("Yes." if said == "Again." else long)))
    view = LiveView()
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        async with session.observe() as items:
            view.apply(await anext(items))
            turn = await session.run("Go.", turn_id="t1")  # nothing is read meanwhile
            gap = await anext(items)
            assert isinstance(gap, Gap)
            assert gap.reason == "lagged"
            view.apply(gap)
            assert list(view.messages) == await shown(session)
            await session.run("Again.", turn_id="t2")
            async for item in items:
                view.apply(item)
                if view.turn_index == 2:
                    break
        assert list(view.messages) == await shown(session)
    assert turn.text == long


async def test_a_cursor_of_another_runtime_leads_to_a_gap(path: Path) -> None:
    _, agent = echo_agent()
    view = LiveView()
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        async with watching(session, view) as items:
            await session.run("One.", turn_id="t1")
            for item in await read_until(items, is_commit("t1")):
                view.apply(item)
        await session.run("Two.")
    _, agent = echo_agent()
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        async with session.observe(view.cursor) as items:
            gap = await anext(items)
            assert isinstance(gap, Gap)
            assert gap.requested == view.cursor
            view.apply(gap)
        assert list(view.messages) == await shown(session)
        assert len(view.messages) == 4


async def test_folding_what_is_told_is_the_history_whatever_happened(
    location: str | Path,
) -> None:
    holding, view = Holding(is_open=True), LiveView()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with watching(session, view) as items:
            await session.run("One.")
            await (await session.enqueue("Two.")).result()
            await session.compact()
            await session.cancel("t4")
            await session.run("Four.", turn_id="t4")
            await session.configure(prompt=lash.PromptLayer())
            await session.run("Six.", turn_id="t6")
            usage = (await session.usage()).usage
            async for item in items:
                view.apply(item)
                if is_commit("t6")(item):
                    break
        assert list(view.messages) == await shown(session)
        assert (view.revision, view.turn_index) == (6, 6)
        assert view.usage == usage
        assert dict(view.live) == {}


async def test_a_runtime_that_closes_ends_its_readers(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        observation = session.observe()

        async def read() -> None:
            async with observation as items:
                async for _ in items:
                    pass

        reading = asyncio.create_task(code_of(read()))
        await asyncio.sleep(0)
    assert await reading == "runtime_closed"


# --- what is refused ------------------------------------------------------------------------------------


async def test_a_cursor_that_is_none_or_another_sessions_is_refused(
    location: str | Path,
) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        await runtime.session("a").run("Go.")
        async with runtime.session("a").observe() as items:
            cursor = (await anext(items)).cursor
        for wrong in (
            "",
            "rubbish",
            "lashsc1:1:2",
            " " + cursor,
            cursor.replace("lashsc1", "lashsc2"),
        ):
            with pytest.raises(lash.LashError) as raised:
                runtime.session("a").observe(wrong)
            assert raised.value.code == "session_cursor_malformed"
        with pytest.raises(lash.LashError) as raised:
            runtime.session("b").observe(cursor)
        assert raised.value.code == "session_cursor_wrong_session"


async def test_observing_says_how_it_is_used(location: str | Path) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        observation = runtime.session("s").observe()
        assert await code_of(anext(observation)) == "stream_not_entered"
        async with observation as items:
            assert isinstance(await anext(items), Snapshot)
        with pytest.raises(StopAsyncIteration):
            await anext(observation)


async def test_what_was_shown_of_a_turn_that_broke_off_is_withdrawn(path: Path) -> None:
    model, agent = echo_agent()
    view = LiveView()

    async def fail_once() -> None:
        raise lash.StoreError("store_failed", "The disk is full.")

    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        just_before(runtime, "commit_turn", fail_once)
        async with watching(session, view) as items:
            assert await code_of(session.run("Go.", turn_id="t")) == "store_failed"
            seen = await read_until(
                items,
                lambda item: isinstance(item, Event) and isinstance(item.event, TurnInterrupted),
            )
            for item in seen[:-1]:
                view.apply(item)
            assert view.text == "Go.!"
            view.apply(seen[-1])
            assert (view.text, dict(view.live)) == ("", {})
            turn = await session.wait("t")
            async for item in items:
                view.apply(item)
                if is_commit("t")(item):
                    break
        assert turn.text == "Go.!"
        assert list(view.messages) == await shown(session)
    assert len(model.asked) == 1


async def test_a_turn_that_is_stopped_before_it_begins_asks_nobody_as_observers_see(
    location: str | Path,
) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("Hello.")
        await session.cancel("t")
        async with watching(session) as items:
            await session.run("Go.", turn_id="t")
            seen = await read_until(items, is_commit("t"))
    assert [word(item) for item in seen] == ["committed"]
