"""Answers that are waited for over restarts, and what nobody may see of them."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from deploys import Opened
from desk import ASK, Desk, failure, finished, outcomes, parked, run, stopped
from hooked_store import contents

import lash
from lash.core.scopes import TurnScope, journal_key
from lash.effects.waits.model import (
    AlreadyResolved,
    ResolvedTimeout,
)
from lash.events import ToolCallCompleted, ToolCallDeferred, ToolCallStarted
from lash.testing import ScriptedModel, VirtualClock, calls, reply
from lash.turn.tools import (
    ToolSuccess,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


# --- over a restart -----------------------------------------------------------------------------------------


def without_leases(path: Path) -> list[str]:
    """What a file holds, but for who drives what."""
    return [line for line in contents(path) if not line.startswith('INSERT INTO "leases"')]


async def test_closing_while_a_turn_waits_writes_nothing_and_reopening_waits_on(
    path: Path,
) -> None:
    desk = Desk(ASK, ("echo", {"text": "b"}))
    desk.timeout = 3600
    async with lash.Runtime(path, agents=[desk.agent]) as runtime:
        turn, key = run(runtime), await desk.key()
        await parked(runtime)
        (state,) = await runtime.sessions()
        assert (state.state, state.parked) == ("running", None)
        before = without_leases(path)
    await stopped(turn)
    assert without_leases(path) == before

    for _ in range(2):  # however often it is opened
        again = Desk()
        async with lash.Runtime(path, agents=[again.agent]) as runtime:
            await runtime.idle(timeout=20)
            report = await runtime.replay("s", "t")
            assert (report.verdict, report.committed) == ("identical", False)
            (at,) = report.next_effects
            assert at.startswith("await_event ")
        assert (again.ran, again.model.requests) == ([], [])
        assert without_leases(path) == before

    last, attached = Desk(), asyncio.Event()
    opened = Opened(path, last.agent)
    opened.store.before["claim_session"] = attached.wait  # so that nothing happens unheard
    async with opened, asyncio.timeout(20):
        runtime = opened.runtime
        async with runtime.session("s").stream("Go.", turn_id="t") as live:
            attached.set()
            await runtime.completions.resolve(key, "yes")
            heard = [event async for event in live]
            result = await live.result()
        report = await runtime.replay("s", "t")
    assert (result.text, result.issues) == ("yes | b", ())
    assert (report.verdict, report.committed, report.drift) == ("identical", True, ())
    assert (last.ran, len(last.model.requests)) == ([], 1)
    tools = (ToolCallStarted, ToolCallDeferred, ToolCallCompleted)
    told = [event for event in heard if isinstance(event, tools)]
    assert told == [ToolCallCompleted(call=result.tool_calls[0])]  # the only news of them


async def test_replaying_a_turn_that_waits_leaves_no_trace_in_the_task_that_asked(
    path: Path,
) -> None:
    desk = Desk(ASK, ("echo", {"text": "b"}))
    async with lash.Runtime(path, agents=[desk.agent]) as runtime:
        turn, key = run(runtime), await desk.key()
        await parked(runtime)
        task = asyncio.current_task()
        assert task is not None
        for _ in range(2):
            assert (await runtime.replay("s", "t")).verdict == "identical"
            assert task.cancelling() == 0
        await runtime.completions.resolve(key, "yes")
        await finished(turn)


async def test_leaving_an_answer_to_the_outside_is_announced_once_with_its_deadline(
    path: Path,
) -> None:
    clock, desk = VirtualClock(start_ms=2_000_000_000_000), Desk(ASK)
    desk.timeout = timedelta(days=3)
    async with (
        asyncio.timeout(20),
        lash.Runtime(path, agents=[desk.agent], clock=clock) as runtime,
        runtime.session("s").stream("Go.", turn_id="t") as live,
    ):
        await runtime.completions.resolve(await desk.key(), "yes")
        heard = [event async for event in live]
        result = await live.result()
    kinds = (ToolCallStarted, ToolCallDeferred, ToolCallCompleted)
    call_id = result.tool_calls[0].call_id
    assert [event for event in heard if isinstance(event, kinds)] == [
        ToolCallStarted(call_id=call_id, tool="ask", args={"question": "may I?"}),
        ToolCallDeferred(
            call_id=call_id, tool="ask", deadline_at_ms=2_000_000_000_000 + 3 * 24 * 3600 * 1000
        ),
        ToolCallCompleted(call=result.tool_calls[0]),
    ]


async def test_an_answer_that_comes_after_a_restart_is_announced_where_it_comes(
    path: Path,
) -> None:
    desk = Desk(ASK)
    async with lash.Runtime(path, agents=[desk.agent]) as runtime:
        turn, key = run(runtime), await desk.key()
        await parked(runtime)
    await stopped(turn)
    async with (
        asyncio.timeout(20),
        lash.Runtime(path, agents=[Desk().agent]) as runtime,
        runtime.session("s").stream("Go.", turn_id="t") as live,
    ):
        await runtime.completions.resolve(key, "yes")
        heard = [event async for event in live]
        result = await live.result()
    told = [event.call for event in heard if isinstance(event, ToolCallCompleted)]
    assert told == list(result.tool_calls)


async def test_a_deadline_that_passed_while_nobody_was_there_has_passed(path: Path) -> None:
    clock, desk = VirtualClock(), Desk(ASK)
    desk.timeout = 60
    async with lash.Runtime(path, agents=[desk.agent], clock=clock) as runtime:
        turn, key = run(runtime), await desk.key()
        await parked(runtime)
    await stopped(turn)
    clock.advance(60)
    async with lash.Runtime(path, agents=[], clock=clock) as runtime:
        late = await runtime.completions.resolve(key, "yes")
        assert late == AlreadyResolved(terminal=ResolvedTimeout())
    async with lash.Runtime(path, agents=[Desk().agent], clock=clock) as runtime:
        result = await asyncio.wait_for(runtime.session("s").run("Go.", turn_id="t"), 20)
    assert failure(result).code == "tool_completion_timeout"


# --- secrets ------------------------------------------------------------------------------------------------


async def test_neither_signature_nor_answer_is_in_logs_reprs_or_events(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0  # every step of every task is logged
    secret = "swordfish-4711"
    shown: list[object] = []
    returned: list[object] = []

    @lash.tool
    async def ask_openly(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask, and look at everything there is to see."""
        pending = await ctx.defer(desk.post("open"))
        returned.extend([ctx, ctx.services, pending])
        return pending

    desk = Desk()
    model = ScriptedModel([calls(("ask_openly", {})), reply("Over.")])
    agent = lash.Agent("desk", model=model, tools=[ask_openly])
    async with lash.Runtime(path, agents=[agent], on_event=shown.append) as runtime:
        completions = runtime.completions
        async with runtime.session("s").stream("Go.", turn_id="t") as live:
            key = await desk.key("open")
            await runtime.idle(timeout=20)
            shown += [key, runtime, runtime.session("s"), live, completions, *asyncio.all_tasks()]
            shown += [await runtime.sessions(), await runtime.journal("s", "t")]
            forged = msgspec.structs.replace(key, key_id="0" * len(key.key_id))
            shown += [await completions.resolve(forged, secret)]
            with pytest.raises(lash.LashError) as raised:
                await completions.peek(forged)
            shown += [raised.value, raised.value.details]
            shown += [await completions.resolve(key, {"word": secret})]
            shown += [await completions.resolve(key, {"word": secret})]
            shown += [await completions.peek(key), *asyncio.all_tasks()]
            shown += [event async for event in live if not isinstance(event, ToolCallCompleted)]
            result = await live.result()
        shown += [await runtime.replay("s", "t"), await runtime.journal("s", "t")]
        scope_key = journal_key(TurnScope(session_id="s", turn_id="t"))
        rows = await runtime.engine.store.list_waits(scope_key)
        records = await runtime.engine.store.load_journal(scope_key)
    assert outcomes(result) == [ToolSuccess(payload={"word": secret})]  # that is what it is for
    seen = caplog.text + "".join(f"{item!r} {item!s}" for item in [*shown, *returned])
    packed = key.token.removeprefix("lash-key-")
    assert not [word for word in (key.signature, packed, secret) if word in seen]
    assert key.signature not in repr(result)
    assert "Executing <Task" in caplog.text  # debugging was really on
    assert len(rows) == 1
    assert key.signature in "".join(record.outcome for record in records)  # kept, to wait on


async def test_neither_signature_nor_answer_is_in_the_repr_of_a_stores_rows(path: Path) -> None:
    desk = Desk(ASK)
    async with lash.Runtime(path, agents=[desk.agent]) as runtime:
        turn, key = run(runtime), await desk.key()
        await runtime.completions.resolve(key, "swordfish-4711")
        await finished(turn)
        scope_key = journal_key(TurnScope(session_id="s", turn_id="t"))
        rows = await runtime.engine.store.list_waits(scope_key)
        records = await runtime.engine.store.load_journal(scope_key)
    assert "swordfish-4711" not in repr(rows)
    assert key.signature not in repr(records)
