"""Background work of a session: what its tools start, see and steer, and what the application does."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from process_harness_of_sessions import acting, answer, approval, double, runtime, until
from session_harness import Gate, accepted, begin, code_of, location, path

import lash
from lash.contrib.processes import process_tools
from lash.core.causality import ProcessCauseRef, ToolCallCauseRef
from lash.processes.model import SessionOriginator
from lash.testing import ScriptedModel, calls, reply

__all__ = ["location", "path"]


async def only(runtime: lash.Runtime) -> Any:
    """The only process there is."""
    (record,) = await runtime.processes.list(status="any")
    return record


# --- starting from a tool ---------------------------------------------------------------------------------


async def test_a_tool_starts_a_process_in_the_name_of_its_session(location: str | Path) -> None:
    async def body(ctx: lash.ToolContext) -> object:
        return await ctx.processes.start(approval, "o-7")

    async with asyncio.timeout(90), runtime(location, acting(body)) as lashed:
        turn = await lashed.session("s").run("Go.")
        record = await only(lashed)
        assert answer(turn) == {"__handle__": "process", "id": record.process_id}
        provenance = record.registration.provenance
        assert provenance.originator == SessionOriginator(session_id="s")
        assert provenance.caused_by == ToolCallCauseRef(
            session_id="s", call_id=turn.tool_calls[0].call_id
        )
        assert record.registration.wake_session_id == "s"
        assert record.status in {"running", "waiting"}  # it outlives the turn
        seen = await lashed.session("s").processes.list()
        assert [each.process_id for each in seen] == [record.process_id]
        assert await lashed.session("t", agent="agent").processes.list() == []


async def test_a_tool_waits_for_what_it_started(location: str | Path) -> None:
    async def body(ctx: lash.ToolContext) -> object:
        by_function = await ctx.processes.start(double, 4)
        by_name = await ctx.processes.start("double", number=5)
        by_tool = await ctx.processes.start_tool("add", {"one": 1, "other": 2})
        started = [by_function, by_name, by_tool]
        return [await ctx.processes.result(each) for each in started]

    @lash.tool
    async def add(one: int, other: int) -> int:
        """Add."""
        return one + other

    async with asyncio.timeout(90), runtime(location, acting(body, add)) as lashed:
        assert answer(await lashed.session("s").run("Go.")) == [8, 10, 3]


async def test_what_a_process_failed_with_is_the_tools_failure(location: str | Path) -> None:
    @lash.process
    async def breaks(ctx: lash.ProcessContext) -> None:
        raise ValueError("broken")

    async def body(ctx: lash.ToolContext) -> object:
        started = await ctx.processes.start(breaks)
        assert (await ctx.processes.wait(started)).status == "failed"
        return await ctx.processes.result(started)

    async with (
        asyncio.timeout(90),
        runtime(location, acting(body), processes=[breaks]) as lashed,
    ):
        assert answer(await lashed.session("s").run("Go.")) == "process_failed"


async def test_a_result_may_be_waited_for_in_vain(location: str | Path) -> None:
    async def body(ctx: lash.ToolContext) -> object:
        started = await ctx.processes.start(approval, "o-7")
        return await ctx.processes.result(started, timeout=0.02)

    async with asyncio.timeout(90), runtime(location, acting(body)) as lashed:
        assert answer(await lashed.session("s").run("Go.")) == "process_result_timeout"
        assert (await only(lashed)).state.cancel is None


async def test_arguments_that_do_not_fit_register_nothing(location: str | Path) -> None:
    async def body(ctx: lash.ToolContext) -> object:
        return await ctx.processes.start(double, "four")

    async with asyncio.timeout(90), runtime(location, acting(body)) as lashed:
        assert answer(await lashed.session("s").run("Go.")) == "process_arguments_invalid"
        assert await lashed.processes.list(status="any") == []


async def test_the_context_of_no_runtime_has_no_processes() -> None:
    context = lash.ToolContext("s", "t", "c", "tool", 1, 1, "key")
    with pytest.raises(lash.LashError) as raised:
        _ = context.processes
    assert raised.value.code == "tool_context_detached"


# --- being run again --------------------------------------------------------------------------------------


async def left_in_its_tool(path: Path, agent: lash.Agent, gate: Gate, **named: Any) -> None:
    """Leave the turn `t` of session `s` behind once its tool has come to a gate."""
    async with asyncio.timeout(90), runtime(path, agent, **named) as lashed:
        running = begin(lashed.session("s"), "Go.", turn_id="t")
        await gate.reached.wait()
    assert await code_of(running) == "runtime_closed"


async def test_an_attempt_that_is_run_again_after_a_crash_starts_nothing_twice(path: Path) -> None:
    gate, found = Gate(), list[list[str]]()

    async def body(ctx: lash.ToolContext) -> object:
        first = await ctx.processes.start(double, 1)
        second = await ctx.processes.start(double, 1)
        found.append([first.id, second.id])
        if len(found) == 1:
            await gate.passed()
        return [await ctx.processes.result(first), await ctx.processes.result(second)]

    agent = acting(body)
    await left_in_its_tool(path, agent, gate)
    async with asyncio.timeout(90), runtime(path, agent) as lashed:
        turn = await lashed.session("s").wait("t")
        known = await lashed.processes.list(status="any")
    assert answer(turn) == [2, 2]
    assert found[0] == found[1]
    assert len(set(found[0])) == 2
    assert sorted(each.process_id for each in known) == sorted(found[0])


async def test_a_deploy_between_two_runs_of_an_attempt_starts_nothing_twice(path: Path) -> None:
    gate, runs = Gate(), list[str]()

    @lash.process(name="work", version="1")
    async def old(ctx: lash.ProcessContext, number: int) -> str:
        await ctx.signal("go")
        return "old"

    @lash.process(name="work", version="2", signals={"go": str})
    async def new(ctx: lash.ProcessContext, number: int) -> str:
        return "new"

    async def body(ctx: lash.ToolContext) -> object:
        started = await ctx.processes.start("work", 7)
        runs.append(started.id)
        if len(runs) == 1:
            await gate.passed()
        await ctx.processes.signal(started, "go")
        return await ctx.processes.result(started)

    agent = acting(body)
    await left_in_its_tool(path, agent, gate, processes=[old])
    async with asyncio.timeout(90), runtime(path, agent, processes=[old, new]) as lashed:
        assert answer(await lashed.session("s").wait("t")) == "old"
    assert runs[0] == runs[1]


async def test_an_attempt_that_asks_for_something_else_when_run_again_is_told_so(
    path: Path,
) -> None:
    gate, runs = Gate(), list[int]()

    async def body(ctx: lash.ToolContext) -> object:
        runs.append(len(runs))
        started = await ctx.processes.start(double, runs[-1])
        if len(runs) == 1:
            await gate.passed()
        return started

    agent = acting(body)
    await left_in_its_tool(path, agent, gate)
    async with asyncio.timeout(90), runtime(path, agent) as lashed:
        assert answer(await lashed.session("s").wait("t")) == "process_conflict"


async def test_an_attempt_after_one_that_failed_finds_what_that_started(
    location: str | Path,
) -> None:
    found = list[str]()

    async def body(ctx: lash.ToolContext) -> object:
        found.append((await ctx.processes.start(double, 3)).id)
        if len(found) == 1:
            raise lash.ToolError("Once more.", retry=True)
        return await ctx.processes.result(found[-1])

    agent = acting(body, retry=lash.ToolRetry(max_attempts=2, base_delay_ms=0))
    async with asyncio.timeout(90), runtime(location, agent) as lashed:
        turn = await lashed.session("s").run("Go.")
        assert answer(turn) == 6
        assert found == [(await only(lashed)).process_id] * 2


async def test_signals_of_an_attempt_that_is_run_again_are_sent_once(path: Path) -> None:
    gate, runs = Gate(), list[int]()

    @lash.process
    async def counts(ctx: lash.ProcessContext) -> list[str]:
        heard: list[str] = []
        while (said := await ctx.signal("said")) != "over":
            heard.append(said)
        return heard

    async def body(ctx: lash.ToolContext) -> object:
        runs.append(1)
        started = await ctx.processes.start(counts)
        for said in ("a", "a", "b"):
            await ctx.processes.signal(started, "said", said)
        if len(runs) == 1:
            await gate.passed()
        await ctx.processes.signal(started, "said", "over")
        return await ctx.processes.result(started)

    agent = acting(body)
    await left_in_its_tool(path, agent, gate, processes=[counts])
    async with asyncio.timeout(90), runtime(path, agent, processes=[counts]) as lashed:
        assert answer(await lashed.session("s").wait("t")) == ["a", "a", "b"]


async def test_a_handover_of_an_attempt_that_is_run_again_is_found_done(path: Path) -> None:
    gate, runs = Gate(), list[int]()

    async def body(ctx: lash.ToolContext) -> object:
        runs.append(1)
        started = await ctx.processes.start(approval, "o-7", id="o-7")
        await ctx.processes.transfer([started], "other")
        if len(runs) == 1:
            await gate.passed()
        return "handed over"

    agent = acting(body)
    await left_in_its_tool(path, agent, gate)
    async with asyncio.timeout(90), runtime(path, agent) as lashed:
        assert answer(await lashed.session("s").wait("t")) == "handed over"
        assert await lashed.session("s").processes.list() == []
        seen = await lashed.session("other", agent="agent").processes.list()
        assert [each.process_id for each in seen] == ["o-7"]


async def test_a_runtime_that_closes_is_no_answer_to_a_tool_that_waits(path: Path) -> None:
    runs = list[str]()

    async def body(ctx: lash.ToolContext) -> object:
        started = await ctx.processes.start(approval, "o-7", id="o-7")
        runs.append(started.id)
        return await ctx.processes.result(started)

    agent = acting(body)
    async with asyncio.timeout(90), runtime(path, agent) as lashed:
        running = begin(lashed.session("s"), "Go.", turn_id="t")

        async def waits() -> bool:
            return bool(runs) and (await lashed.processes.get("o-7")).status == "waiting"

        await until(waits)
    assert await code_of(running) == "runtime_closed"
    async with asyncio.timeout(90), runtime(path, agent) as lashed:
        assert (await lashed.processes.get("o-7")).state.cancel is None
        await lashed.processes.signal("o-7", "said", "yes")
        assert answer(await lashed.session("s").wait("t")) == "o-7: yes"
    assert runs == ["o-7", "o-7"]


async def test_a_turn_that_used_processes_replays_from_its_journal(path: Path) -> None:
    async def body(ctx: lash.ToolContext) -> object:
        return await ctx.processes.result(await ctx.processes.start(double, 4))

    agent = acting(body)
    async with asyncio.timeout(90), runtime(path, agent) as lashed:
        turn = await lashed.session("s").run("Go.")
        report = await lashed.replay("s", turn.turn_id)
        assert (report.verdict, len(await lashed.processes.list(status="any"))) == ("identical", 1)


async def test_a_process_is_begun_once_although_the_feed_is_quicker_than_the_answer(
    path: Path,
) -> None:
    async with asyncio.timeout(90), runtime(path, acting(_nothing)) as lashed:
        store: Any = lashed.engine.store
        register, changed_ids = store.register_process, store.changed_ids
        reads = list[int]()

        async def read(cursor: int, *more: Any) -> Any:
            reads.append(cursor)
            return await changed_ids(cursor, *more)

        async def late(request: Any) -> Any:
            result = await register(request)
            before = len(reads)

            async def looked_after() -> bool:
                return len(reads) > before + 2

            await until(looked_after)  # what the feed told of was seen to
            return result

        store.register_process, store.changed_ids = late, read
        await (await lashed.session("s").processes.start(double, 4, id="d")).result()
        told = [event.event_type for event in await lashed.processes.events("d")]
        assert told == ["process.started", "process.completed"]


# --- who may ask ------------------------------------------------------------------------------------------


async def test_a_session_may_ask_for_its_processes_in_later_turns_over_restarts(
    path: Path,
) -> None:
    async def starting(ctx: lash.ToolContext) -> object:
        return await ctx.processes.start(approval, "o-7")

    async def finishing(ctx: lash.ToolContext) -> object:
        (seen,) = await ctx.processes.list()
        await ctx.processes.signal(seen.id, "said", "yes")
        return await ctx.processes.result(seen.id)

    async with asyncio.timeout(90), runtime(path, acting(starting)) as lashed:
        await lashed.session("s").run("Go.")
    async with asyncio.timeout(90), runtime(path, acting(finishing)) as lashed:
        assert answer(await lashed.session("s").run("Go on.")) == "o-7: yes"


#: What a tool may do to a process it is told the id of.
ASKING: dict[str, Any] = {
    "get": lambda ctx, name: ctx.processes.get(name),
    "result": lambda ctx, name: ctx.processes.result(name),
    "wait": lambda ctx, name: ctx.processes.wait(name),
    "signal": lambda ctx, name: ctx.processes.signal(name, "said", "yes"),
    "cancel": lambda ctx, name: ctx.processes.cancel(name),
    "transfer": lambda ctx, name: ctx.processes.transfer([name], "s"),
}


@pytest.mark.parametrize("asking", ASKING)
async def test_a_process_that_a_session_cannot_see_and_none_at_all_are_the_same_to_it(
    location: str | Path, asking: str
) -> None:
    name = "hidden"

    async def body(ctx: lash.ToolContext) -> object:
        try:
            return await ASKING[asking](ctx, name)
        except lash.LashError as error:
            return [error.code, error.message.replace(name, "…")]

    async with asyncio.timeout(90), runtime(location, acting(body)) as lashed:
        await lashed.processes.start(approval, "o-7", id="hidden", session="other")
        hidden = answer(await lashed.session("s").run("Go."))
        name = "missing"
        missing = answer(await lashed.session("s").run("Go."))
        assert hidden == missing
        assert hidden[0] == "process_not_visible"
        assert (await lashed.processes.get("hidden")).state.cancel is None
        assert await lashed.engine.store.observers_of("hidden") == ["other"]
        signals = [
            event
            for event in await lashed.processes.events("hidden")
            if "signal" in event.event_type
        ]
        assert signals == []


async def test_a_process_that_was_hidden_from_a_session_is_not_seen_any_more(
    location: str | Path,
) -> None:
    async with asyncio.timeout(90), runtime(location, acting(_nothing)) as lashed:
        session = lashed.session("s")
        handle = await session.processes.start(approval, "o-7")
        assert (await session.processes.get(handle.id)).process_id == handle.id
        await lashed.processes.hide_from(handle.id, "s")
        assert await code_of(session.processes.get(handle.id)) == "process_not_visible"
        assert await code_of(session.processes.handle(handle.id)) == "process_not_visible"
        assert await session.processes.list() == []
        assert (await lashed.processes.get(handle.id)).process_id == handle.id


async def _nothing(ctx: lash.ToolContext) -> object:
    return None


async def test_whoever_started_a_process_may_wait_for_it_though_it_was_handed_over(
    location: str | Path,
) -> None:
    async def body(ctx: lash.ToolContext) -> object:
        started = await ctx.processes.start(double, 4)
        await ctx.processes.transfer([started], "other")
        return await ctx.processes.result(started)

    async with asyncio.timeout(90), runtime(location, acting(body)) as lashed:
        assert answer(await lashed.session("s").run("Go.")) == 8


async def test_a_tool_that_runs_as_a_process_may_ask_for_what_an_earlier_attempt_started(
    location: str | Path,
) -> None:
    attempts = list[int]()

    @lash.tool(retry=lash.ToolRetry(max_attempts=2, base_delay_ms=0))
    async def outer(ctx: lash.ToolContext) -> object:
        """Start something, and ask for it later."""
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await ctx.processes.start(double, 4, id="child")
            raise lash.ToolError("Once more.", retry=True)
        return await ctx.processes.result("child")

    async with asyncio.timeout(90), runtime(location, acting(_nothing, outer)) as lashed:
        handle = await lashed.processes.start_tool("agent", "outer", {})
        assert await handle.result() == 8
    assert attempts == [1, 2]


# --- the application --------------------------------------------------------------------------------------


async def test_an_application_starts_and_steers_processes_of_a_session(
    location: str | Path,
) -> None:
    @lash.tool
    async def add(one: int, other: int) -> int:
        """Add."""
        return one + other

    helper = lash.Agent("helper", model=ScriptedModel([reply("Helped.")]))
    agents = [acting(_nothing, add), helper]
    async with asyncio.timeout(90), runtime(location, *agents) as lashed:
        session = lashed.session("s", agent="agent")
        started = await session.processes.start(double, 4, id="d", label="Doubling")
        assert await started.result() == 8
        assert (
            await (await session.processes.start_tool("add", {"one": 1, "other": 2})).result() == 3
        )
        turn: Any = await (await session.processes.start_turn("helper", "Help.")).result()
        assert turn["turn"]["text"] == "Helped."
        again = await session.processes.handle("d", double)
        assert await again.result() == 8
        records = await session.processes.list(status="all")
        assert sorted(str(each.registration.identity.label) for each in records) == [
            "Doubling",
            "add",
            "helper",
        ]
        assert {each.registration.provenance.originator for each in records} == {
            SessionOriginator(session_id="s")
        }
        assert await session.processes.list() == []


async def test_processes_are_handed_over_all_or_none(location: str | Path) -> None:
    async with asyncio.timeout(90), runtime(location, acting(_nothing)) as lashed:
        one, other = lashed.session("one"), lashed.session("other")
        for name in ("a", "b"):
            await one.processes.start(approval, name, id=name)
        await other.processes.start(approval, "c", id="c")
        assert (
            await code_of(one.processes.transfer(["a", "c", "b"], "other")) == "process_not_visible"
        )
        assert [each.process_id for each in await one.processes.list()] == ["a", "b"]
        await one.processes.transfer(["a", "b"], "other")
        assert await one.processes.list() == []
        assert [each.process_id for each in await other.processes.list()] == ["a", "b", "c"]
        record = await other.processes.get("a")
        assert record.registration.provenance.originator == SessionOriginator(session_id="one")
        assert record.state.wake_session_id == "one"
        assert await code_of(other.processes.transfer(["a"], " ")) == "session_id_invalid"


async def test_a_session_that_is_deleted_leaves_its_processes_running_and_the_report_names_them(
    location: str | Path,
) -> None:
    async with asyncio.timeout(90), runtime(location, acting(_nothing)) as lashed:
        session = lashed.session("s")
        await session.run("Go.")
        await session.processes.start(approval, "o-1", id="alone")
        await session.processes.start(approval, "o-2", id="shared")
        await lashed.processes.show_to("shared", "other")
        await (await session.processes.start(double, 1, id="over")).result()
        report = await lashed.delete_session("s")
        assert report is not None
        assert (report.orphaned_processes, report.preserved_processes) == (("alone",), ("shared",))
        assert (report.removed_observers, report.cleared_subscriptions) == (3, 3)
        assert report.discarded_wakes == 0
        for name, order in (("alone", "o-1"), ("shared", "o-2")):
            await lashed.processes.signal(name, "said", "yes")
            assert await lashed.processes.handle(name, approval).result() == f"{order}: yes"
        record = await lashed.processes.get("alone")
        assert record.registration.provenance.originator == SessionOriginator(session_id="s")


# --- waiting ----------------------------------------------------------------------------------------------


async def test_a_turn_that_is_stopped_asks_the_process_to_stop_that_its_tool_waits_for(
    location: str | Path,
) -> None:
    gate = Gate()

    async def body(ctx: lash.ToolContext) -> object:
        await ctx.processes.start(approval, "left alone", id="other")
        started = await ctx.processes.start(approval, "o-7", id="awaited")
        gate.reached.set()
        return await ctx.processes.result(started)

    async with asyncio.timeout(90), runtime(location, acting(body)) as lashed:
        session = lashed.session("s")
        running = begin(session, "Go.", turn_id="t")
        await gate.reached.wait()

        async def waits() -> bool:
            return (await lashed.processes.get("awaited")).status == "waiting"

        await until(waits)
        await session.cancel("t", reason="enough")
        turn = await running
        assert isinstance(turn.outcome, lash.Stopped)
        ended = await lashed.processes.handle("awaited").outcome()
        assert type(ended).__name__ == "ProcessCancelled"
        record = await lashed.processes.get("awaited")
        assert record.state.cancel is not None
        assert record.state.cancel.reason == "enough"
        assert (await lashed.processes.get("other")).state.cancel is None


async def test_a_tool_that_only_waits_for_a_process_keeps_nobody_busy(
    location: str | Path,
) -> None:
    async def body(ctx: lash.ToolContext) -> object:
        started = await ctx.processes.start(approval, "o-7", id="o-7")
        both = [ctx.processes.result(started), ctx.processes.result(started)]
        return await asyncio.gather(*both)

    async with asyncio.timeout(90), runtime(location, acting(body)) as lashed:
        session = lashed.session("s")
        running = begin(session, "Go.")
        await accepted(session, 1)
        await lashed.idle()
        assert not running.done()
        await lashed.processes.signal("o-7", "said", "yes")
        await lashed.idle()
        assert answer(await running) == ["o-7: yes", "o-7: yes"]


async def test_a_tool_that_runs_as_a_process_gives_its_place_to_what_it_waits_for(
    location: str | Path,
) -> None:
    @lash.tool
    async def outer(number: int, ctx: lash.ToolContext) -> object:
        """Have it doubled twice."""
        first = await ctx.processes.start(double, number)
        second = await ctx.processes.start(double, number + 1)
        return await asyncio.gather(ctx.processes.result(first), ctx.processes.result(second))

    agent = acting(_nothing, outer)
    async with (
        asyncio.timeout(90),
        runtime(location, agent, process_concurrency=1) as lashed,
    ):
        session = lashed.session("s", agent="agent")
        handle = await session.processes.start_tool("outer", {"number": 3}, id="outer")
        assert await handle.result() == [6, 8]
        children = await lashed.processes.list(status="any", parent="outer")
        assert len(children) == 2
        for child in children:
            provenance = child.registration.provenance
            assert provenance.originator == SessionOriginator(session_id="s")
            assert provenance.caused_by == ProcessCauseRef(process_id="outer")
            assert child.registration.wake_session_id == "s"
        assert (
            len(await session.processes.list(status="all")) == 1
        )  # the children are the process's


# --- tools for models -------------------------------------------------------------------------------------


async def test_a_model_lists_and_stops_what_its_session_sees(location: str | Path) -> None:
    model = ScriptedModel(
        [
            calls(("list_processes", {}), ("list_processes", {"status": "all"})),
            calls(
                ("cancel_process", {"process_id": "mine", "reason": "enough"}),
                ("cancel_process", {"process_id": "over"}),
                ("cancel_process", {"process_id": "theirs"}),
            ),
            reply("Over."),
        ]
    )
    agent = lash.Agent("agent", model=model, tools=process_tools())
    async with asyncio.timeout(90), runtime(location, agent) as lashed:
        session = lashed.session("s")
        await session.processes.start(approval, "o-7", id="mine")
        await lashed.processes.start(approval, "o-8", id="theirs", session="other")
        await (await session.processes.start(double, 1, id="over")).result()
        turn = await session.run("Go.")
        assert [each["id"] for each in answer(turn, 0)] == ["mine"]
        assert [each["id"] for each in answer(turn, 1)] == ["mine", "over"]
        assert (answer(turn, 2)["cancel_requested"], answer(turn, 2)["status"]) in {
            (True, "running"),
            (True, "waiting"),
        }
        assert (answer(turn, 3)["cancel_requested"], answer(turn, 3)["status"]) == (
            False,
            "completed",
        )
        assert answer(turn, 4) == "process_not_visible"
        ended = await lashed.processes.handle("mine").outcome()
        assert type(ended).__name__ == "ProcessCancelled"
        assert (await lashed.processes.get("theirs")).state.cancel is None


async def test_a_tool_that_is_missing_here_is_told_once_and_waited_for(tmp_path: Path) -> None:
    @lash.tool
    async def look() -> str:
        """Look."""
        return "seen"

    path, heard = tmp_path / "db", list[Any]()
    having = lash.Agent("a", model=ScriptedModel([reply("Hello.")]), tools=[look])
    lacking = lash.Agent("a", model=ScriptedModel([reply("Hello.")]))
    async with lash.Runtime(path, agents=[having], run_processes=False) as runtime:
        await runtime.session("s").processes.start_tool("look", {}, id="p")
    async with lash.Runtime(path, agents=[lacking], on_event=heard.append) as runtime:
        await runtime.idle(20)
        assert [(each.code, each.waits_for) for each in heard] == [("process_tool_missing", "code")]
    async with lash.Runtime(path, agents=[having]) as runtime:
        assert await runtime.processes.handle("p").result(timeout=20) == "seen"
