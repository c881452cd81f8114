"""Observing a session through the facade: live text, tools, commits, the queue, and what is refused."""

from pathlib import Path

import pytest
from observing_harness import is_commit, live_text, queue_changes, read_until, shown, watching, word
from session_harness import (
    Holding,
    Staged,
    begin,
    code_of,
    echo_agent,
    echo_session,
    location,
    opened,
    path,
    patient,
    patient_session,
)

import lash
from lash.app.live_view import LiveView
from lash.core.json import encode
from lash.events import ToolCallCompleted, ToolCallStarted
from lash.runtime.events import QueuedInputAccepted
from lash.runtime.observed import (
    AgentFrameSwitched,
    Committed,
    Event,
    Snapshot,
    TurnActivity,
)
from lash.testing import calls, fail, reply

__all__ = ["location", "path"]


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
    async with patient_session(location) as (_, session, holding), watching(session) as items:
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
    assert queue_changes(seen) == [
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
    async with echo_session(location) as (_, session), watching(session) as items:
        queued = await session.enqueue("Hello.")
        turn = await queued.result()
        seen = await read_until(items, is_commit(turn.turn_id))
    assert queue_changes(seen) == [("enqueued", (queued.input_id,)), ("taken", (queued.input_id,))]


async def test_a_summary_is_told_with_its_frame(location: str | Path) -> None:
    view = LiveView()
    async with echo_session(location) as (_, session):
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


async def test_a_turn_that_is_stopped_before_it_begins_asks_nobody_as_observers_see(
    location: str | Path,
) -> None:
    async with echo_session(location) as (_, session):
        await session.run("Hello.")
        await session.cancel("t")
        async with watching(session) as items:
            await session.run("Go.", turn_id="t")
            seen = await read_until(items, is_commit("t"))
    assert [word(item) for item in seen] == ["committed"]
