"""Wakes: what a process says reaches its session, in a turn of its own or in the one that runs, once."""

import asyncio
from pathlib import Path
from typing import Any

from process_harness_of_sessions import runtime, until
from session_harness import (
    Gate,
    Holding,
    Staged,
    begin,
    code_of,
    location,
    path,
    patient,
    seen,
    speaking,
    told,
)

import lash
from lash.llm.request import LlmRequest
from lash.testing import VirtualClock, calls, reply
from lash.testing.scripted import Step, calls_made

__all__ = ["location", "path"]


@lash.process
async def wakes(ctx: lash.ProcessContext, texts: list[str]) -> None:
    for text in texts:
        await ctx.wake(text)


@lash.process
async def wakes_then_waits(ctx: lash.ProcessContext, text: str) -> None:
    await ctx.wake(text)
    await ctx.signal("go")


PROCESSES = (wakes, wakes_then_waits)


def shown(process: str, sequence: int, text: str) -> str:
    """A wake as it is kept in the history."""
    return f"Background process wake\nProcess: {process}\nEvent: process.wake#{sequence}\n{text}"


def as_asked(process: str, sequence: int, text: str) -> str:
    """A wake as the model is shown it."""
    return f"Runtime event:\n{shown(process, sequence, text)}"


def listening() -> tuple[Staged, lash.Agent]:
    """A model that answers `Heard.` to whatever comes."""
    return speaking(lambda _: reply("Heard."))


async def until_told(session: lash.Session, count: int) -> list[str]:
    """The events in a session's history, once there are so many."""

    async def there() -> bool:
        return len(await events(session)) >= count

    await until(there)
    return await events(session)


async def events(session: lash.Session) -> list[str]:
    return [text for role, text in await told(session) if role == "event"]


async def test_a_session_that_is_idle_is_given_a_turn_of_its_own(location: str | Path) -> None:
    model, agent = listening()
    async with asyncio.timeout(90), runtime(location, agent, processes=PROCESSES) as lashed:
        session = lashed.session("s")
        await session.run("Hello.")
        await lashed.processes.start(wakes, ["Done with 7."], id="p", session="s")
        await until_told(session, 1)
        await lashed.idle()
        assert len(await session.turns()) == 2
        # The process was begun with its first event; the wake is its second.
        assert await told(session) == [
            ("user", "Hello."),
            ("assistant", "Heard."),
            ("event", shown("p", 2, "Done with 7.")),
            ("assistant", "Heard."),
        ]
        assert seen(model.asked[-1])[-1] == ("user", as_asked("p", 2, "Done with 7."))
        (wake,) = await lashed.processes.wakes("p")
        assert wake.state == "delivered"


async def test_a_running_turn_is_told_at_its_next_checkpoint(location: str | Path) -> None:
    holding = Holding()
    model, agent = patient(holding)
    async with asyncio.timeout(90), runtime(location, agent, processes=PROCESSES) as lashed:
        session = lashed.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        await lashed.processes.start(wakes, ["one", "two", "three"], id="p", session="s")
        await until_delivered(lashed, "p", 3)
        holding.gate.open()
        await running
        await lashed.idle()
        assert len(await session.turns()) == 1
        assert [text for role, text in seen(model.asked[1])][-3:] == [
            as_asked("p", 2, "one"),
            as_asked("p", 3, "two"),
            as_asked("p", 4, "three"),
        ]


async def until_delivered(lashed: lash.Runtime, process: str, count: int) -> None:
    async def there() -> bool:
        return len(await lashed.processes.wakes(process, "delivered")) == count

    await until(there)


async def test_a_wake_that_comes_during_the_last_model_call_is_not_lost(
    location: str | Path,
) -> None:
    model, agent = listening()
    gate = model.hold(0)
    async with asyncio.timeout(90), runtime(location, agent, processes=PROCESSES) as lashed:
        session = lashed.session("s")
        running = begin(session, "Hello.")
        await gate.reached.wait()
        await lashed.processes.start(wakes, ["late"], id="p", session="s")
        await until_delivered(lashed, "p", 1)
        gate.open()
        await running
        await lashed.idle()
        assert await events(session) == [shown("p", 2, "late")]


async def test_what_waits_for_a_session_that_begins_later_is_told_together_and_in_order(
    location: str | Path,
) -> None:
    clock, (model, agent) = VirtualClock(), listening()
    async with (
        asyncio.timeout(90),
        runtime(location, agent, processes=PROCESSES, clock=clock) as lashed,
    ):
        handle = await lashed.processes.start(wakes, ["one", "two", "three"], id="p", session="s")
        await handle.result()

        async def tried() -> bool:
            (first, *_) = await lashed.processes.wakes("p")
            return first.attempts > 0

        await until(tried)
        session = lashed.session("s")
        await session.run("Hello.")
        assert await events(session) == []

        async def told_of() -> bool:
            clock.advance(1)
            return len(await session.turns()) == 2

        await until(told_of)
        await lashed.idle()
        expected = [shown("p", 2, "one"), shown("p", 3, "two"), shown("p", 4, "three")]
        assert await events(session) == expected
        assert len(model.asked) == 2


async def test_a_process_that_is_run_again_wakes_once(path: Path) -> None:
    model, agent = listening()
    async with asyncio.timeout(90), runtime(path, agent, processes=PROCESSES) as lashed:
        session = lashed.session("s")
        await session.run("Hello.")
        await lashed.processes.start(wakes_then_waits, "once", id="p", session="s")
        await until_told(session, 1)
    async with asyncio.timeout(90), runtime(path, agent, processes=PROCESSES) as lashed:
        await lashed.processes.signal("p", "go")
        await lashed.processes.handle("p").result()
        await lashed.idle()
        assert await events(lashed.session("s")) == [shown("p", 2, "once")]
        assert len(await lashed.session("s").turns()) == 2
    assert len(model.asked) == 2


async def test_a_wake_that_was_not_delivered_when_the_runtime_closed_is_delivered_by_the_next(
    path: Path,
) -> None:
    _, agent = listening()

    def hinder(seam: str) -> None:
        if seam == "wakes.before":
            raise OSError("not now")

    async with (
        asyncio.timeout(90),
        runtime(path, agent, processes=PROCESSES, seams=hinder) as lashed,
    ):
        await lashed.session("s").run("Hello.")
        handle = await lashed.processes.start(wakes, ["one", "two"], id="p", session="s")
        await handle.result()
        assert [each.state for each in await lashed.processes.wakes("p")] == ["pending"] * 2
    async with asyncio.timeout(90), runtime(path, agent, processes=PROCESSES) as lashed:
        session = lashed.session("s")
        await until_told(session, 2)
        await lashed.idle()
        assert await events(session) == [shown("p", 2, "one"), shown("p", 3, "two")]
        assert len(await session.turns()) == 2  # what waits together is told together
    async with asyncio.timeout(90), runtime(path, agent, processes=PROCESSES) as lashed:
        await lashed.idle()
        assert len(await lashed.session("s").turns()) == 2


async def test_a_turn_that_a_wake_began_goes_on_in_the_next_runtime(path: Path) -> None:
    model, agent = listening()
    gate = model.hold(1)
    async with asyncio.timeout(90), runtime(path, agent, processes=PROCESSES) as lashed:
        await lashed.session("s").run("Hello.")
        await lashed.processes.start(wakes, ["once"], id="p", session="s")
        await gate.reached.wait()
    async with asyncio.timeout(90), runtime(path, agent, processes=PROCESSES) as lashed:
        await lashed.idle()
        assert await events(lashed.session("s")) == [shown("p", 2, "once")]
        assert len(await lashed.session("s").turns()) == 2


async def test_a_wake_that_a_running_turn_took_is_still_its_when_it_is_resumed(path: Path) -> None:
    gate, held = Gate(), Gate()

    @lash.tool
    async def wait() -> str:
        """Wait."""
        await gate.passed()
        return "done"

    def script(request: LlmRequest) -> Step:
        return calls(("wait", {})) if calls_made(request) == 0 else reply("Over.")

    model, agent = speaking(script, tools=[wait])
    held = model.hold(1)
    async with asyncio.timeout(90), runtime(path, agent, processes=PROCESSES) as lashed:
        running = begin(lashed.session("s"), "Go.", turn_id="t")
        await gate.reached.wait()
        await lashed.processes.start(wakes, ["once"], id="p", session="s")
        await until_delivered(lashed, "p", 1)
        gate.open()
        await held.reached.wait()  # the checkpoint took it, and the model is being shown it
    assert await code_of(running) == "runtime_closed"
    async with asyncio.timeout(90), runtime(path, agent, processes=PROCESSES) as lashed:
        session = lashed.session("s")
        await session.wait("t")
        await lashed.idle()
        assert await events(session) == [shown("p", 2, "once")]
        assert len(await session.turns()) == 1
        assert seen(model.asked[2])[-1] == ("user", as_asked("p", 2, "once"))


async def test_a_process_that_a_tool_started_wakes_the_tools_session(
    location: str | Path,
) -> None:
    @lash.tool
    async def begin_export(ctx: lash.ToolContext) -> object:
        """Begin the export."""
        return await ctx.processes.start(wakes, ["The export is done."], id="p")

    def script(request: LlmRequest) -> Step:
        said = seen(request)[-1][1]
        return calls(("begin_export", {})) if said == "Export." else reply("Fine.")

    _, agent = speaking(script, tools=[begin_export])
    async with asyncio.timeout(90), runtime(location, agent, processes=PROCESSES) as lashed:
        session = lashed.session("s")
        await session.run("Export.")
        assert await until_told(session, 1) == [shown("p", 2, "The export is done.")]


async def test_wakes_of_a_session_that_was_deleted_are_discarded(location: str | Path) -> None:
    _, agent = listening()
    async with asyncio.timeout(90), runtime(location, agent, processes=PROCESSES) as lashed:
        await lashed.session("s").run("Hello.")
        await lashed.processes.start(wakes_then_waits, "early", id="p", session="s")
        await until_told(lashed.session("s"), 1)
        await lashed.idle()
        report: Any = await lashed.delete_session("s")
        assert (report.orphaned_processes, report.cleared_subscriptions) == (("p",), 1)
        await lashed.processes.signal("p", "go")
        await lashed.processes.handle("p").result()
        await lashed.idle()
        assert await lashed.sessions() == []
