"""Schedules emit each tick once, and know what they have missed. Due times are written by hand."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lash
from lash.contrib.cron import Cron, Missed, Tick, every
from lash.testing.clock import VirtualClock

#: 2025-06-15 15:06:40 UTC.
START_MS = 1_750_000_000_000
NOON = datetime(2025, 6, 15, 12, tzinfo=UTC)


def at(hour: int, minute: int = 0, second: int = 0, *, day: int = 15) -> datetime:
    return datetime(2025, 6, day, hour, minute, second, tzinfo=UTC)


async def settled() -> None:
    """Until everybody who was woken has gone on."""
    for _ in range(50):
        await asyncio.sleep(0)


async def due(runtime: lash.Runtime) -> list[str]:
    found = await runtime.triggers.occurrences("tick")
    return sorted(
        datetime.fromtimestamp(each.payload["due_at_ms"] / 1000, UTC).strftime("%H:%M:%S")
        for each in found
        if isinstance(each.payload, dict)
    )


# --- when ---------------------------------------------------------------------------------------------


def test_an_interval_ticks_on_the_clock() -> None:
    hourly = every(timedelta(hours=1))
    assert hourly(at(12)) == at(13)
    assert hourly(at(12, 59, 59)) == at(13)
    assert every(timedelta(minutes=5))(at(23, 58)) == at(0, day=16)


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  the zone comes with them
    st.integers(1, 10**6),
)
def test_an_interval_ticks_behind_every_moment_and_not_more_than_once_in_its_length(
    moment: datetime, seconds: int
) -> None:
    interval = timedelta(seconds=seconds)
    following = every(interval)(moment)
    assert moment < following <= moment + interval
    assert every(interval)(following) == following + interval


def test_schedules_that_cannot_be_are_refused() -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        every(timedelta(milliseconds=500))
    assert raised.value.code == "cron_invalid"
    with pytest.raises(lash.ConfigurationError) as raised:
        Cron("tick", every(timedelta(hours=1)), missed="some")  # type: ignore[arg-type]  # that is the point
    assert raised.value.code == "cron_invalid"
    with pytest.raises(lash.ConfigurationError) as raised:
        Cron("tick", timedelta(hours=1))  # type: ignore[arg-type]  # every(…) is missing
    assert raised.value.code == "cron_invalid"
    stuck = Cron("tick", lambda moment: moment)
    with pytest.raises(lash.ConfigurationError) as raised:
        stuck.after(NOON)
    assert raised.value.code == "cron_invalid"


def test_cron_expressions_are_read_in_their_time_zone() -> None:
    pytest.importorskip("cronsim")
    nightly = Cron("tick", "30 2 * * *", timezone="Europe/Berlin")
    # Summer time: 02:30 in Berlin is 00:30 UTC.
    assert nightly.after(at(12)) == datetime(2025, 6, 16, 0, 30, tzinfo=UTC)
    # In the night of 30 March 2025 there was no 02:30 in Berlin; it runs at 03:00, which is 01:00 UTC.
    assert nightly.after(datetime(2025, 3, 29, 12, tzinfo=UTC)) == datetime(
        2025, 3, 30, 1, 0, tzinfo=UTC
    )
    # In the night of 26 October 2025 there were two; the first one is 00:30 UTC.
    first = nightly.after(datetime(2025, 10, 25, 12, tzinfo=UTC))
    assert first == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert nightly.after(first) == datetime(2025, 10, 27, 1, 30, tzinfo=UTC)
    leap = Cron("tick", "0 0 29 2 *")
    assert leap.after(at(12)) == datetime(2028, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize("expression", ["", "* * * *", "61 * * * *", "0 0 31 2 *", "nonsense"])
def test_what_is_no_cron_expression_is_refused(expression: str) -> None:
    pytest.importorskip("cronsim")
    with pytest.raises(lash.ConfigurationError) as raised:
        Cron("tick", expression)
    assert raised.value.code == "cron_invalid"


def test_an_unknown_time_zone_is_refused() -> None:
    pytest.importorskip("cronsim")
    with pytest.raises(lash.ConfigurationError) as raised:
        Cron("tick", "* * * * *", timezone="Atlantis/Capital")
    assert raised.value.code == "cron_invalid"


# --- emitting -----------------------------------------------------------------------------------------


def hourly(missed: Missed = "last") -> Cron:
    return Cron("tick", every(timedelta(hours=1)), missed=missed)


async def test_each_tick_is_emitted_when_it_is_due() -> None:
    clock, cron = VirtualClock(), hourly()
    async with lash.Runtime(":memory:", clock=clock, triggers=[cron.event]) as runtime:
        running = asyncio.create_task(cron.run(runtime.triggers))
        await settled()
        for _ in range(3 * 60):
            clock.advance(60)
            await settled()
        assert await due(runtime) == ["16:00:00", "17:00:00", "18:00:00"]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_runtimes_that_run_the_same_schedule_emit_each_tick_once(tmp_path: Path) -> None:
    clock = VirtualClock()

    @lash.process
    async def report(ctx: lash.ProcessContext, tick: Tick) -> str:
        return tick.due

    one, two = hourly(), hourly()
    async with (
        lash.Runtime(tmp_path / "db", clock=clock, triggers=[one.event], processes=[report]) as a,
        lash.Runtime(tmp_path / "db", clock=clock, triggers=[two.event], processes=[report]) as b,
    ):
        await a.triggers.subscribe(one.event, report, key="report")
        await one.catch_up(a.triggers)
        # Both know of one tick, and have missed the same three.
        await a.triggers.emit(one.event, {"due_at_ms": START_MS, "due": "-"}, key="first")
        clock.advance(3 * 3600)
        all_of_a, all_of_b = hourly("all"), hourly("all")
        await asyncio.gather(all_of_a.catch_up(a.triggers), all_of_b.catch_up(b.triggers))
        await a.idle(20)
        assert await due(a) == ["15:06:40", "16:00:00", "17:00:00", "18:00:00"]
        ended = await a.processes.list(status="completed")
        assert len(ended) == 4


@pytest.mark.parametrize(
    ("missed", "emitted"),
    [
        ("last", ["16:00:00", "19:00:00"]),
        ("all", ["16:00:00", "17:00:00", "18:00:00", "19:00:00"]),
        ("none", ["16:00:00"]),
    ],
)
async def test_what_was_missed_is_emitted_as_it_was_asked_for(
    missed: Missed, emitted: list[str]
) -> None:
    clock, cron = VirtualClock(), hourly(missed)
    async with lash.Runtime(":memory:", clock=clock, triggers=[cron.event]) as runtime:
        # A schedule that never ticked has missed nothing.
        assert await cron.catch_up(runtime.triggers) == 0
        tick = {"due_at_ms": round(at(16).timestamp() * 1000), "due": "-"}
        await runtime.triggers.emit(cron.event, tick, key=cron.key(at(16)))
        clock.advance(4 * 3600)  # it is 19:06:40
        await cron.catch_up(runtime.triggers)
        assert await due(runtime) == emitted
        assert await cron.catch_up(runtime.triggers) == 0


async def test_a_tick_that_is_hardly_late_is_not_missed() -> None:
    clock, cron = VirtualClock(), hourly("none")
    async with lash.Runtime(":memory:", clock=clock, triggers=[cron.event]) as runtime:
        tick = {"due_at_ms": START_MS, "due": "-"}
        await runtime.triggers.emit(cron.event, tick, key="first")
        clock.advance(53 * 60 + 20 + 30)  # it is 16:00:30
        assert await cron.catch_up(runtime.triggers) == 1


async def test_schedules_of_one_event_are_told_apart_by_their_source() -> None:
    clock = VirtualClock()
    one = Cron("tick", every(timedelta(hours=1)), source="one")
    two = Cron("tick", every(timedelta(hours=1)))
    assert one.key(NOON) != two.key(NOON)
    async with lash.Runtime(":memory:", clock=clock, triggers=[one.event]) as runtime:
        tick = {"due_at_ms": START_MS, "due": "-"}
        await runtime.triggers.emit(one.event, tick, key="first", source="one")
        clock.advance(3600)
        assert await two.catch_up(runtime.triggers) == 0
        assert await one.catch_up(runtime.triggers) == 1
