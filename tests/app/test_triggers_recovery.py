"""What was reserved is started without anybody asking, by whoever can, and never again."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from trigger_harness import comes_to, opened, rested, until

import lash
from lash.core.clock import SystemClock
from lash.runtime.events import TriggerDeliveryFailed
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, VirtualClock, reply
from lash.triggers.listing import DeliverySettled
from lash.triggers.model import OccurrenceRequest

EVENT = lash.TriggerEvent("event")


@lash.process
async def tick(ctx: lash.ProcessContext) -> str:
    return "ticked"


@lash.process
async def note(ctx: lash.ProcessContext, event: dict[str, Any]) -> int:
    return len(event)


@lash.process(name="note")
async def lenient(ctx: lash.ProcessContext, event: Any) -> int:
    return 0


async def ingest(path: Path, *keys: str) -> None:
    """As somebody does who starts nothing."""
    store = SqliteStore(path, SystemClock(asyncio.sleep))
    for key in keys:
        await store.triggers.ingest(OccurrenceRequest(event="event", key=key))
    await store.aclose()


async def statuses(runtime: lash.Runtime) -> list[str]:
    return sorted(each.status for each in await runtime.processes.list(status="any"))


async def states(runtime: lash.Runtime) -> list[str]:
    return sorted(each.state for each in await runtime.triggers.deliveries())


async def subscribed(path: Path, function: Any = tick) -> None:
    async with opened(path, [function], triggers=[EVENT]) as runtime:
        await runtime.triggers.subscribe(EVENT, function, key="k")


async def test_what_is_reserved_is_started_when_a_runtime_opens(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await subscribed(path)
    await ingest(path, "1", "2", "3")
    # Its events need not be declared for that: they occurred.
    async with opened(path, [tick]) as runtime:
        await rested(runtime)
        assert await statuses(runtime) == ["completed"] * 3
        assert await states(runtime) == ["started"] * 3


async def test_what_is_reserved_while_a_runtime_works_is_started_soon(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await subscribed(path)
    async with opened(path, [tick], triggers=[EVENT]) as runtime:
        await rested(runtime)
        await ingest(path, "1")
        await comes_to(lambda: states(runtime), ["started"])


async def test_quiet_waits_for_what_is_reserved(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await subscribed(path)
    async with opened(path, [tick], triggers=[EVENT]) as runtime:
        await rested(runtime)
        await ingest(path, "1")
        await rested(runtime)
        assert await statuses(runtime) == ["completed"]


async def test_what_lacks_its_code_is_left_for_whoever_has_it(tmp_path: Path) -> None:
    path, told = tmp_path / "db", list[object]()
    await subscribed(path)
    async with opened(path, [note], triggers=[EVENT], on_event=told.append) as runtime:
        report = await runtime.triggers.emit(EVENT, key="1")
        assert [(each.status, each.code) for each in report.deliveries] == [
            ("failed", "process_unregistered")
        ]
        await rested(runtime)
        assert await states(runtime) == ["reserved"]
        assert told == []
    async with opened(path, [tick]) as runtime:
        await rested(runtime)
        assert await statuses(runtime) == ["completed"]
    # Who has no code for it sees that it was started.
    async with opened(path, [note], triggers=[EVENT]) as runtime:
        again = await runtime.triggers.emit(EVENT, key="1")
        assert [each.status for each in again.deliveries] == ["already_started"]


async def test_what_failed_is_tried_again_when_a_runtime_opens(tmp_path: Path) -> None:
    path, told = tmp_path / "db", list[object]()
    await subscribed(path, note)
    async with opened(path, [note], triggers=[EVENT], on_event=told.append) as runtime:
        report = await runtime.triggers.emit(EVENT, 7, key="1")
        assert [each.code for each in report.failed] == ["process_arguments_invalid"]
        await rested(runtime)
        assert await states(runtime) == ["failed"]
    assert [type(each) for each in told] == [TriggerDeliveryFailed]
    async with opened(path, [note], on_event=told.append) as runtime:
        await rested(runtime)
        assert await states(runtime) == ["failed"]
        assert len(told) == 1
    async with opened(path, [lenient]) as runtime:
        await rested(runtime)
        assert (await states(runtime), await statuses(runtime)) == (["started"], ["completed"])


async def test_the_sweep_starts_what_nobody_did(tmp_path: Path) -> None:
    path, clock = tmp_path / "db", VirtualClock()
    async with opened(path, [tick], triggers=[EVENT], clock=clock) as runtime:
        await runtime.triggers.subscribe(EVENT, tick, key="k")
        await rested(runtime)
        await ingest(path, "1")
        assert await states(runtime) == ["reserved"]
        clock.advance(31)  # the slow look
        await comes_to(lambda: states(runtime), ["started"])


async def test_what_was_pruned_with_its_process_is_not_started_again(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await subscribed(path)
    async with opened(path, [tick], triggers=[EVENT]) as runtime:
        await runtime.triggers.emit(EVENT, key="1")
        await rested(runtime)
        assert (await runtime.processes.prune()).processes == 1
    async with opened(path, [tick], triggers=[EVENT]) as runtime:
        await rested(runtime)
        again = await runtime.triggers.emit(EVENT, key="1")
        assert (again.replayed, again.deliveries) == (True, ())
        await rested(runtime)
        assert await statuses(runtime) == []


async def test_a_process_that_is_there_and_was_not_marked_is_not_started_again(
    tmp_path: Path,
) -> None:
    """As somebody leaves it who dies between starting and marking, and whose code was changed since."""

    class Forgetful(SqliteStore):
        """Loses what became of deliveries."""

        @property
        def triggers(self) -> Any:
            kept = super().triggers

            class Lost:
                def __getattr__(self, name: str) -> Any:
                    return getattr(kept, name)

                async def settle(self, settled: Sequence[DeliverySettled]) -> int:
                    raise OSError("gone")

            return Lost()

    path = tmp_path / "db"

    @lash.process
    async def waits(ctx: lash.ProcessContext) -> str:
        return str(await ctx.signal("go"))

    @lash.process(name="waits", max_attempts=3)
    async def changed(ctx: lash.ProcessContext) -> str:
        return str(await ctx.signal("go"))

    await subscribed(path, waits)
    store = Forgetful(path, SystemClock(asyncio.sleep))
    async with lash.Runtime(store, processes=[waits], triggers=[EVENT]) as runtime:
        report = await runtime.triggers.emit(EVENT, key="1")
        assert [each.status for each in report.deliveries] == ["started"]
        await rested(runtime)
        assert await states(runtime) == ["reserved"]
    async with opened(path, [changed], triggers=[EVENT]) as runtime:
        await rested(runtime)
        assert len(await statuses(runtime)) == 1
        assert await states(runtime) == ["started"]


async def test_a_caller_who_is_cancelled_leaves_nothing_undone(tmp_path: Path) -> None:
    path, begun = tmp_path / "db", asyncio.Event()

    def seam(name: str) -> None:
        if name == "trigger.ingest.before":
            begun.set()

    async with opened(path, [tick], triggers=[EVENT], seams=seam) as runtime:
        await runtime.triggers.subscribe(EVENT, tick, key="k")
        emitting = asyncio.create_task(runtime.triggers.emit(EVENT, key="1"))
        await begun.wait()
        emitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await emitting
        assert await states(runtime) == ["started"]
        await rested(runtime)
        assert await statuses(runtime) == ["completed"]


async def test_many_who_emit_the_same_at_once_start_it_once(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await subscribed(path)
    async with (
        opened(path, [tick], triggers=[EVENT]) as one,
        opened(path, [tick], triggers=[EVENT]) as two,
    ):
        reports = await asyncio.gather(
            *(each.triggers.emit(EVENT, key="1") for each in (one, two) * 8)
        )
        assert sum(not each.replayed for each in reports) == 1
        assert all(not each.failed for each in reports)
        await rested(one)
        assert await statuses(one) == ["completed"]


async def test_a_session_is_spoken_to_although_its_agent_is_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "db"
    agent = lash.Agent("support", model=ScriptedModel([reply("Hello.")]))
    async with lash.Runtime(path, agents=[agent], triggers=[EVENT]) as runtime:
        await runtime.triggers.subscribe(EVENT, lash.SessionPrompt("s", "Hi."), key="say")
    async with lash.Runtime(path, triggers=[EVENT]) as runtime:
        report = await runtime.triggers.emit(EVENT, key="1")
        assert [each.status for each in report.deliveries] == ["started"]
    async with lash.Runtime(path, agents=[agent]) as runtime:
        await rested(runtime)
        assert [each.text for each in await runtime.session("s").history()] == ["Hi.", "Hello."]


async def test_more_than_a_page_of_what_is_reserved_is_started(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await subscribed(path)
    await ingest(path, *map(str, range(600)))
    async with opened(path, [tick]) as runtime:
        await rested(runtime)
        assert len(await statuses(runtime)) == 600
        assert set(await states(runtime)) == {"started"}


async def test_a_runtime_that_closes_meanwhile_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await subscribed(path)
    await ingest(path, *map(str, range(600)))
    seen: list[str] = []
    async with opened(path, [tick], seams=seen.append):
        await until(lambda: "trigger.start.after" in seen)
    async with opened(path, [tick]) as runtime:
        await rested(runtime)
        assert await statuses(runtime) == ["completed"] * 600
