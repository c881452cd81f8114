"""What two who run one operation must agree on, and what a step must not do."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

import lash
from lash.testing import ScriptedModel, fail, reply


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "operations.db"


async def same(value: object) -> str:
    return str(value)


async def test_two_runtimes_in_one_operation_go_on_from_the_same_readings(path: Path) -> None:
    """Whoever loses takes the winner's reading, before anything is made of its own."""
    async with (
        lash.Runtime(path) as one,
        lash.Runtime(path) as two,
        one.operation("o") as slow,
        two.operation("o") as quick,
    ):
        read = [await quick.uuid(), await slow.uuid()]
        used = [await slow.step(same, read[1]), await quick.step(same, read[0])]
    assert read[0] == read[1]
    assert used[0] == used[1] == str(read[0])


async def test_an_effect_asked_for_inside_a_step_of_its_operation_is_refused(path: Path) -> None:
    async with lash.Runtime(path) as runtime, runtime.operation("o") as operation:

        async def outer() -> str:
            return await operation.step(same, 1)

        with pytest.raises(lash.StepError) as refused:
            await operation.step(outer)
        assert refused.value.code == "operation_nested"

        async def enters() -> None:
            async with runtime.operation("o"):
                pass

        with pytest.raises(lash.StepError) as refused:
            await asyncio.wait_for(operation.step(enters), 10)
        assert refused.value.code == "operation_nested"

        async def another() -> str:
            async with runtime.operation("p") as inner:
                return await inner.step(same, 2)

        assert await operation.step(another) == "2"


async def test_a_step_that_failed_because_its_runtime_closed_runs_again(path: Path) -> None:
    ran: list[str] = []

    async def closes() -> str:
        ran.append("closes")
        if len(ran) == 1:
            raise lash.LashError("runtime_closed", "The runtime was closed.")
        return "done"

    async with lash.Runtime(path) as runtime:
        with pytest.raises(lash.LashError) as told:
            async with runtime.operation("o") as operation:
                await operation.step(closes, retry=lash.StepRetry(max_attempts=5))
        assert told.value.code == "runtime_closed"
    async with lash.Runtime(path) as runtime, runtime.operation("o") as operation:
        assert await operation.step(closes, retry=lash.StepRetry(max_attempts=5)) == "done"
    assert ran == ["closes", "closes"]


async def test_what_is_entered_again_is_not_retired(path: Path) -> None:
    ran: list[str] = []

    async def note(what: str) -> None:
        ran.append(what)

    async with lash.Runtime(path) as runtime:
        async with runtime.operation("o") as operation:
            await operation.step(note, "one")
        async with runtime.operation("o") as operation:
            await operation.step(note, "one")
            assert (await runtime.retire_journals(timedelta(0))).records == 0
        async with runtime.operation("o") as operation:
            await operation.step(note, "one")
    assert ran == ["one"]


async def test_a_wait_ends_when_its_runtime_closes_and_goes_on_in_the_next(path: Path) -> None:
    async with lash.Runtime(path) as runtime:
        operation = runtime.operation("o")
        await operation.__aenter__()
        key = await operation.key("go")
        waiting = asyncio.create_task(operation.wait("go"))
        store = runtime.engine.store
        while not await store.list_waits('{"version":2,"kind":"op","execution_id":"o"}'):  # noqa: ASYNC110  the store says so
            await asyncio.sleep(0)
    with pytest.raises(lash.LashError) as told:
        await asyncio.wait_for(waiting, 10)
    assert told.value.code == "runtime_closed"
    async with lash.Runtime(path) as runtime:
        await runtime.completions.resolve(key, "gone on")
        async with runtime.operation("o") as operation:
            assert await operation.wait("go") == "gone on"


async def test_a_direct_completion_nobody_answered_may_be_asked_again_and_leaves_nothing(
    path: Path,
) -> None:
    broken = ScriptedModel([fail("no such key", status=401)])
    async with lash.Runtime(path) as runtime:
        for name in ("mail-1", None):
            with pytest.raises(lash.DirectError) as told:
                await runtime.direct("Who?", model=broken, id=name)
            assert told.value.code == "direct_failed"
        sound = ScriptedModel([reply("Ana")])
        assert (await runtime.direct("Who?", model=sound, id="mail-1")).text == "Ana"
        assert (await runtime.direct("Who?", model=sound, id="mail-1")).text == "Ana"
        assert len(sound.requests) == 1
        with pytest.raises(lash.LashError) as blank:
            await runtime.direct("Who?", model=sound, id=" ")
        assert blank.value.code == "operation_id_invalid"


async def test_an_error_from_outside_is_final_whatever_code_it_has(path: Path) -> None:
    async with lash.Runtime(path) as runtime, runtime.operation("o") as operation:
        key = await operation.key("go")
        await runtime.completions.fail(key, "no", code="store_busy")
        with pytest.raises(lash.WaitError) as told:
            await operation.wait("go")
    assert (told.value.code, told.value.retryable) == ("store_busy", False)
