"""A scope is parked exactly when effects are under way and every one of them waits."""

import asyncio

import pytest
from effect_samples import TOOL, TURN, Executor, World, envelope, found, until
from hypothesis import given, settings
from hypothesis import strategies as st
from wait_samples import settled

from lash.core.errors import LashError
from lash.core.scopes import ProcessScope, journal_key
from lash.effects import executors
from lash.effects.commands import AwaitEventCommand, PeekAwaitEventCommand, ToolBatchCommand
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.inline import InlineController
from lash.effects.occupancy import Occupancy
from lash.effects.outcomes import EffectOutcome
from lash.effects.waits.model import AwaitEventKey, CustomWait, ResolvedOk
from lash.effects.waits.transitions import WaitRow, row_of
from lash.turn.tools import PendingToolCall

# --- the count ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["on", "off"])), max_size=30))
def test_it_is_parked_exactly_when_all_that_is_under_way_waits(
    steps: list[tuple[int, str]],
) -> None:
    """Four effects, each of which goes on (begins, waits, works again ...) or is over."""
    told: list[bool] = []
    occupancy = Occupancy(lambda: told.append(occupancy.parked))
    effects: dict[int, str] = {}
    parked = 0
    for number, step in steps:
        before = bool(effects) and set(effects.values()) == {"waits"}
        state = effects.get(number)
        if state == "waits":
            occupancy.end_waiting()
            effects[number] = "works"
        elif state is None:
            occupancy.begin()
            effects[number] = "works"
        elif step == "on":
            occupancy.begin_waiting()
            effects[number] = "waits"
        else:
            occupancy.end()
            del effects[number]
        after = bool(effects) and set(effects.values()) == {"waits"}
        parked += after and not before
        assert occupancy.parked == after
        assert len(told) == parked
    assert all(told)


def test_nothing_under_way_is_not_parked() -> None:
    occupancy = Occupancy()
    assert not occupancy.parked
    occupancy.begin()
    assert not occupancy.parked
    occupancy.end()
    assert not occupancy.parked


# --- controllers --------------------------------------------------------------------------------------


@pytest.fixture
def world() -> World:
    return World()


async def key_of(world: World, name: str) -> AwaitEventKey:
    return await world.promises().await_event_key(
        ProcessScope(process_id="p"), CustomWait(key=name)
    )


def _row(key: AwaitEventKey) -> WaitRow:
    return row_of(key, journal_key(key.scope))


async def _refused(drive: EffectController, asked: RuntimeEffectEnvelope) -> None:
    with pytest.raises(LashError):
        await drive.execute(asked, executors.awaiting())


async def over(world: World, task: "asyncio.Task[EffectOutcome]") -> None:
    """Let time pass until a task is done, as it must be within two seconds."""
    for _ in range(40):
        await settled()
        world.clock.advance(0.05)
    assert task.done()


def is_parked(drive: EffectController) -> bool:
    return drive.parked


def drives(world: World, told: list[str]) -> list[EffectController]:
    """One of each kind of controller."""
    return [
        world.drive(on_parked=lambda: told.append("parked")),
        InlineController(
            TURN, world.clock, world.promises(), on_parked=lambda: told.append("parked")
        ),
    ]


@pytest.mark.parametrize("kind", [0, 1])
async def test_a_scope_is_parked_while_all_it_does_is_wait(world: World, kind: int) -> None:
    told: list[str] = []
    drive = drives(world, told)[kind]
    key = await key_of(world, "a")
    assert not is_parked(drive)

    wait = envelope(AwaitEventCommand(key=key), "e1")
    waiting = asyncio.create_task(drive.execute(wait, executors.awaiting()))
    await until(lambda: is_parked(drive))
    assert told == ["parked"]

    goes_on = asyncio.Event()

    async def work() -> EffectOutcome:
        await goes_on.wait()
        return found()

    working = asyncio.create_task(drive.execute(envelope(TOOL, "e2"), executors.tool_attempt(work)))
    await settled()
    assert not is_parked(drive)
    goes_on.set()
    await working
    assert is_parked(drive)
    assert told == ["parked", "parked"]

    await world.store.resolve_wait(_row(key), ResolvedOk())
    await over(world, waiting)
    assert not is_parked(drive)
    assert told == ["parked", "parked"]


async def test_a_wait_that_is_answered_already_does_not_park(world: World) -> None:
    key = await key_of(world, "a")
    await world.promises().resolve_await_event(key, ResolvedOk())
    told: list[str] = []
    for drive in drives(world, told):
        await drive.execute(envelope(AwaitEventCommand(key=key)), executors.awaiting())

    assert told == []


async def test_a_wait_that_was_just_answered_here_is_no_longer_parked(world: World) -> None:
    """Before its task has gone on: whoever asks now must not take the scope for idle."""
    promises = world.promises()
    key = await key_of(world, "a")
    drive = world.drive(promises=promises)
    waiting = asyncio.create_task(
        drive.execute(envelope(AwaitEventCommand(key=key)), executors.awaiting())
    )
    await until(lambda: is_parked(drive))
    await settled()
    await promises.resolve_await_event(key, ResolvedOk())

    assert not waiting.done()
    assert not is_parked(drive)
    await waiting
    await promises.aclose()


@pytest.mark.parametrize("kind", [0, 1])
async def test_a_wait_that_is_dropped_or_refused_leaves_nobody_parked(
    world: World, kind: int
) -> None:
    drive = drives(world, [])[kind]
    key = await key_of(world, "a")
    dropped = asyncio.create_task(
        drive.execute(envelope(AwaitEventCommand(key=key), "e1"), executors.awaiting())
    )
    await until(lambda: is_parked(drive))
    dropped.cancel()
    await asyncio.wait([dropped])
    assert not is_parked(drive)

    forged = AwaitEventKey(scope=key.scope, wait=key.wait, key_id=key.key_id, signature="")
    refused = envelope(AwaitEventCommand(key=forged), "e2")
    await _refused(drive, refused)
    assert not is_parked(drive)
    seen: list[bool] = []

    async def work() -> EffectOutcome:
        seen.append(is_parked(drive))
        return found()

    await drive.execute(envelope(TOOL, "e3"), executors.tool_attempt(work))
    assert seen == [False]  # nothing is counted as waiting any more


@pytest.mark.parametrize("kind", [0, 1])
async def test_work_and_looking_do_not_park(world: World, kind: int) -> None:
    told: list[str] = []
    drive = drives(world, told)[kind]
    key = await key_of(world, "a")
    await drive.execute(envelope(TOOL, "e1"), Executor(found(), steps=3))
    await drive.execute(envelope(PeekAwaitEventCommand(key=key), "e2"), executors.unavailable())

    assert told == []


async def test_a_recorded_wait_is_replayed_without_parking(world: World) -> None:
    key = await key_of(world, "a")
    await world.promises().resolve_await_event(key, ResolvedOk())
    wait = envelope(AwaitEventCommand(key=key))
    await world.drive().execute(wait, executors.awaiting())
    told: list[str] = []

    await world.drive(on_parked=lambda: told.append("parked")).execute(wait, executors.awaiting())

    assert told == []


@pytest.mark.parametrize("kind", [0, 1])
async def test_a_batch_is_parked_when_all_its_calls_wait(world: World, kind: int) -> None:
    """The interpreter itself is no work: only what it asks for counts."""
    drive = drives(world, [])[kind]
    keys = [await key_of(world, name) for name in ("a", "b")]

    async def interpret() -> EffectOutcome:
        waits = (
            drive.execute(envelope(AwaitEventCommand(key=key), f"e{at}"), executors.awaiting())
            for at, key in enumerate(keys)
        )
        return (await asyncio.gather(*waits))[0]

    call = PendingToolCall(call_id="c1", tool_name="look", args={})
    batch = envelope(ToolBatchCommand(batch_id="b1", calls=(call,)), "batch")
    running = asyncio.create_task(drive.execute(batch, executors.tool_batch(interpret)))
    await until(lambda: is_parked(drive))
    for key in keys:
        await world.store.resolve_wait(_row(key), ResolvedOk())
    await over(world, running)
    assert not is_parked(drive)
