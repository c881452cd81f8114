"""Code that misbehaves: it harms its own process at most."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_harness import (
    Ledger,
    has_come_to,
    ledger,
    location,
    opened,
    outcome,
    path,
    result_after_go,
    settles,
)

import lash
from lash.processes.outcomes import ProcessFailure, ProcessSuccess
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]


class OddError(BaseException):
    """As test frameworks and other loops raise them."""


@lash.process
async def neighbour(ctx: lash.ProcessContext) -> str:
    await ctx.sleep(0.01)
    return "well"


async def and_the_neighbour_is_well(runtime: lash.Runtime) -> None:
    handle = await runtime.processes.start(neighbour)
    assert await handle.result(timeout=20) == "well"


def leave() -> None:
    sys.exit(3)


def odd() -> None:
    raise OddError("odd")


@pytest.mark.parametrize("where", ["thread", "loop"])
@pytest.mark.parametrize(("raises", "says"), [(leave, "SystemExit: 3"), (odd, "OddError: odd")])
async def test_a_step_that_wants_to_leave_has_failed(
    location: str | Path, raises: Callable[[], None], says: str, where: str
) -> None:
    async def on_the_loop() -> None:
        raises()

    @lash.process
    async def leaving(ctx: lash.ProcessContext) -> str:
        try:
            await ctx.gather(
                ctx.step(raises if where == "thread" else on_the_loop, name="leave"),
                ctx.signal("never"),
            )
        except lash.StepError as error:
            return error.message
        return "it was let go"

    async with opened(location, leaving, neighbour) as runtime:
        handle = await runtime.processes.start(leaving, id="p")
        await and_the_neighbour_is_well(runtime)
        assert await handle.result(timeout=20) == f"Step 'leave' failed: StepError: {says}"


@pytest.mark.parametrize("where", ["the process", "a branch"])
@pytest.mark.parametrize(("raises", "says"), [(leave, "SystemExit: 3"), (odd, "OddError: odd")])
async def test_a_process_that_wants_to_leave_has_failed(
    path: Path, raises: Callable[[], None], says: str, where: str
) -> None:
    @lash.process
    async def leaving(ctx: lash.ProcessContext) -> None:
        async def branch() -> None:
            await ctx.now()
            raises()

        if where == "the process":
            raises()
        await ctx.gather(branch(), ctx.signal("never"))

    async with opened(path, leaving, neighbour) as runtime:
        handle = await runtime.processes.start(leaving, id="p")
        await and_the_neighbour_is_well(runtime)
        ended = await handle.outcome(timeout=20)
        assert isinstance(ended, ProcessFailure)
        assert ended.code == "process_failed"
        assert ended.message.endswith(says)


def test_a_keyboard_interrupt_is_the_hosts_and_the_process_goes_on_later(tmp_path: Path) -> None:
    runs: list[str] = []

    def work() -> str:
        runs.append("ran")
        if len(runs) == 1:
            raise KeyboardInterrupt
        return "done"

    @lash.process
    async def working(ctx: lash.ProcessContext) -> str:
        return await ctx.step(work)

    async def host() -> Any:
        async with opened(tmp_path / "agents.db", working) as runtime:
            handle = await runtime.processes.start(working, id="p")
            return await handle.outcome(timeout=20)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(host())
    assert asyncio.run(host()) == ProcessSuccess(value="done")
    assert runs == ["ran", "ran"]


async def test_code_that_blocks_the_loop_keeps_its_lease(path: Path) -> None:
    """Longer than the lease lasts: nobody is there to take it over, and nothing is done twice."""

    @lash.process
    async def blocking(ctx: lash.ProcessContext) -> int:
        time.sleep(0.5)  # noqa: ASYNC251  that is the point
        await ctx.sleep(0.2)
        return ctx.attempt

    lease = lash.LeaseTimings(ttl_ms=300, renew_ms=100)
    async with opened(path, blocking, neighbour, lease=lease) as runtime:
        handle = await runtime.processes.start(blocking, id="p")
        await and_the_neighbour_is_well(runtime)
        assert (await handle.outcome(timeout=30)).__class__ is ProcessSuccess


async def test_a_step_that_outlives_its_lease_in_a_thread_keeps_it(path: Path) -> None:
    clock, begun, gate = VirtualClock(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        gate.wait(30)

    @lash.process
    async def slow(ctx: lash.ProcessContext) -> int:
        await ctx.step(work)
        return ctx.attempt

    async def renewed() -> bool:
        held = (await runtime.processes.get("p")).lease.held
        assert held is not None
        return held.expires_at_ms == clock.now_ms() + 300

    lease = lash.LeaseTimings(ttl_ms=300, renew_ms=50)
    async with opened(path, slow, lease=lease, clock=clock) as runtime:
        handle = await runtime.processes.start(slow, id="p")
        await has_come_to(begun.is_set)
        for _ in range(16):  # 0.8 s, which is longer than the lease lasts
            clock.advance(0.05)
            await settles(renewed)
        gate.set()
        assert await handle.result(timeout=20) == 1


async def test_printing_and_deep_recursion_are_its_own_affair(
    location: str | Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def deep(number: int) -> int:
        return deep(number + 1)

    @lash.process
    async def digging(ctx: lash.ProcessContext) -> int:
        print("digging")
        return deep(0)

    async with opened(location, digging, neighbour) as runtime:
        ended = await (await runtime.processes.start(digging)).outcome(timeout=20)
        await and_the_neighbour_is_well(runtime)
    assert isinstance(ended, ProcessFailure)
    assert ended.message.startswith("RecursionError")
    assert capsys.readouterr().out == "digging\n"


async def test_a_nested_value_that_is_too_deep_is_a_failure(location: str | Path) -> None:
    @lash.process
    async def nesting(ctx: lash.ProcessContext) -> Any:
        value: Any = []
        for _ in range(5000):
            value = [value]
        return value

    async with opened(location, nesting) as runtime:
        ended = await (await runtime.processes.start(nesting)).outcome(timeout=20)
    assert isinstance(ended, ProcessFailure)
    assert ended.code == "process_result_invalid"


@pytest.mark.parametrize("where", ["the result", "a step"])
async def test_twenty_megabytes_are_too_much(location: str | Path, where: str) -> None:
    def large() -> str:
        return "x" * 20_000_000

    @lash.process
    async def returning(ctx: lash.ProcessContext) -> str:
        return large() if where == "the result" else await ctx.step(large)

    async with opened(location, returning) as runtime:
        ended = await (await runtime.processes.start(returning, id="p")).outcome(timeout=30)
        assert len(await runtime.processes.list(status="failed")) == 1
    assert isinstance(ended, ProcessFailure)
    assert ended.code == "effect_outcome_too_large"
    assert "20000" in ended.message


async def test_a_large_value_that_fits_is_kept(path: Path) -> None:
    @lash.process
    async def returning(ctx: lash.ProcessContext) -> int:
        text = await ctx.step(lambda: "x" * 2_000_000, name="large")
        await ctx.signal("go")
        return len(text)

    async with opened(path, returning) as runtime:
        await runtime.processes.start(returning, id="p")
        await runtime.idle(30)
    assert await result_after_go(path, returning) == 2_000_000


async def test_effects_from_another_thread_are_refused(location: str | Path) -> None:
    @lash.process
    async def threading_(ctx: lash.ProcessContext) -> str:
        said: list[str] = []

        def ask() -> None:
            try:
                ctx.now().close()
            except (lash.LashError, RuntimeError) as error:
                said.append(type(error).__name__)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return said[0] if said else "it was given the time"

    async with opened(location, threading_) as runtime:
        handle = await runtime.processes.start(threading_)
        assert await handle.result(timeout=20) in {"LashError", "RuntimeError"}


async def test_a_process_that_never_gives_way_is_left_behind_when_the_runtime_closes(
    path: Path, ledger: Ledger
) -> None:
    @lash.process
    async def stubborn(ctx: lash.ProcessContext) -> None:
        for _ in range(3):
            try:
                await ctx.signal("never")
            except asyncio.CancelledError:
                ledger.runs.append("swallowed")

    async with opened(path, stubborn) as runtime:
        await runtime.processes.start(stubborn, id="p")
        await runtime.idle(30)
    assert ledger.runs == ["swallowed"] * 3
    async with opened(path, stubborn, neighbour) as runtime:
        await and_the_neighbour_is_well(runtime)
        assert not (await runtime.processes.get("p")).retired


async def test_an_observer_that_fails_changes_nothing(path: Path) -> None:
    def fail(event: object) -> None:
        raise ValueError("no")

    @lash.process
    async def resting(ctx: lash.ProcessContext) -> int:
        if ctx.attempt == 1:
            raise lash.StoreError("store_busy", "The other store is busy.")
        return ctx.attempt

    async with opened(path, resting, on_event=fail) as runtime:
        handle = await runtime.processes.start(resting, id="p")
        assert await handle.result(timeout=20) == 2
        await settles(lambda: ended(runtime))
    assert await outcome(path, resting) == ProcessSuccess(value=2)


async def ended(runtime: lash.Runtime) -> bool:
    return (await runtime.processes.get("p")).retired


async def test_a_context_that_is_taken_along_is_refused_in_a_step_and_after_the_end(
    location: str | Path,
) -> None:
    kept: list[lash.ProcessContext] = []

    @lash.process
    async def nesting(ctx: lash.ProcessContext) -> str:
        kept.append(ctx)

        async def inner() -> None:
            await ctx.step(abs, -1)

        try:
            await ctx.step(inner)
        except lash.StepError as error:
            return error.code
        return "it ran"

    async with opened(location, nesting) as runtime:
        handle = await runtime.processes.start(nesting)
        assert await handle.result(timeout=20) == "process_context_misused"
        with pytest.raises(lash.LashError) as raised:
            await kept[0].step(abs, -1)
        assert raised.value.code == "process_context_misused"
