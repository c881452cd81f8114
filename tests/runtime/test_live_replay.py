"""What is kept of a session's live events: how long, at what cost, and that a gap is always noticed."""

import asyncio
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.runtime import live_replay
from lash.runtime.live_replay import Entry, LiveReplay, ReplayGap, Subscription
from lash.sessions.cursor import SessionCursor
from lash.testing.clock import VirtualClock

TRIMMED = ReplayGap(reason="trimmed")
UNAVAILABLE = ReplayGap(reason="unavailable")
LAGGED = ReplayGap(reason="lagged")


def kept(
    clock: VirtualClock | None = None, capacity: int = 2048, total: int = 262_144
) -> LiveReplay[str]:
    return LiveReplay(clock or VirtualClock(), "run-1", capacity=capacity, total=total)


def at(position: int, *, run: str = "run-1", session: str = "s") -> SessionCursor:
    return SessionCursor(session_id=session, revision=0, incarnation=run, position=position)


def after(replay: LiveReplay[str], position: int, session: str = "s") -> list[str] | ReplayGap:
    found = replay.replay(session, at(position, session=session))
    return found if isinstance(found, ReplayGap) else [entry.event for entry in found]


def taken(reader: Subscription[str]) -> list[str | ReplayGap]:
    """Everything there is to take, up to a gap."""
    found: list[str | ReplayGap] = []
    while (entry := reader.take()) is not None:
        found.append(entry.event if isinstance(entry, Entry) else entry)
        if isinstance(entry, ReplayGap):
            break
    return found


def fill(replay: LiveReplay[str], first: int, last: int, session: str = "s") -> None:
    for number in range(first, last + 1):
        replay.append(session, f"e{number}")


# --- what is replayed -------------------------------------------------------------------------------


def test_a_replay_is_strictly_after_the_cursor() -> None:
    replay = kept()
    fill(replay, 1, 4)

    assert after(replay, 0) == ["e1", "e2", "e3", "e4"]
    assert after(replay, 2) == ["e3", "e4"]


def test_nothing_after_the_last_event_is_continuity_and_not_a_gap() -> None:
    replay = kept()
    assert after(replay, 0) == []
    fill(replay, 1, 4)

    assert after(replay, 4) == []


def test_a_cursor_before_the_first_kept_event_finds_it_trimmed() -> None:
    replay = kept(capacity=3)
    fill(replay, 1, 5)  # 3, 4 and 5 are kept

    assert after(replay, 1) == TRIMMED
    assert after(replay, 2) == ["e3", "e4", "e5"]


def test_events_are_kept_for_their_time_and_no_longer() -> None:
    clock = VirtualClock()
    replay = kept(clock)
    fill(replay, 1, 2)
    clock.advance(60)
    fill(replay, 3, 4)
    clock.advance(60)

    assert after(replay, 0) == ["e1", "e2", "e3", "e4"]  # exactly 120 seconds old
    clock.advance(0.001)
    assert after(replay, 0) == TRIMMED
    assert after(replay, 2) == ["e3", "e4"]
    clock.advance(60)
    assert after(replay, 3) == UNAVAILABLE  # nothing is kept any more, and it is behind
    assert after(replay, 4) == []  # it has seen all there was


def test_a_cursor_ahead_or_of_another_run_is_unavailable() -> None:
    replay = kept()
    fill(replay, 1, 4)

    assert after(replay, 5) == UNAVAILABLE
    assert replay.replay("s", at(2, run="run-0")) == UNAVAILABLE
    assert after(replay, 1, session="other") == UNAVAILABLE


def test_sessions_count_for_themselves() -> None:
    replay = kept()
    replay.append("a", "a1")
    replay.append("b", "b1")
    replay.append("a", "a2")

    assert after(replay, 1, "a") == ["a2"]
    assert after(replay, 0, "b") == ["b1"]


def test_positions_go_on_where_they_were_when_the_events_are_long_gone() -> None:
    clock = VirtualClock()
    replay = kept(clock)
    fill(replay, 1, 5)
    clock.advance(121)
    replay.append("other", "x")
    assert replay.buffers == 1  # only the other's

    assert replay.tail("s") == 5
    fill(replay, 6, 7)

    assert after(replay, 3) == TRIMMED  # and not e6 as if it were the fourth
    assert after(replay, 5) == ["e6", "e7"]


def test_positions_never_start_again_even_for_sessions_that_are_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_replay, "_TAILS", 2)
    clock = VirtualClock()
    replay = kept(clock)
    fill(replay, 1, 9, "old")
    for name in ("b", "c", "d"):
        clock.advance(121)
        replay.append(name, "x")
    assert replay.tail("old") == 9
    clock.advance(121)
    replay.append("e", "x")  # now three sessions are gone, and two are remembered

    replay.append("old", "new")

    assert isinstance(after(replay, 4, "old"), ReplayGap)
    assert isinstance(after(replay, 0, "old"), ReplayGap)
    assert after(replay, 9, "old") == ["new"]


def test_after_a_cut_nobody_reads_on_as_if_nothing_had_happened() -> None:
    replay = kept()
    fill(replay, 1, 3)
    reader = replay.subscribe("s")
    replay.cut("s")
    fill(replay, 4, 4)

    assert after(replay, 1) == UNAVAILABLE
    assert after(replay, 3) == UNAVAILABLE
    assert taken(reader) == [UNAVAILABLE]
    assert after(replay, 4) == ["e4"]  # the cut itself takes a position


def test_a_session_that_keeps_nothing_can_be_cut_too() -> None:
    replay = kept()
    replay.cut("s")

    assert after(replay, 0) == UNAVAILABLE
    assert after(replay, 1) == []


# --- readers ----------------------------------------------------------------------------------------


def test_a_reader_gets_what_it_missed_and_then_what_comes() -> None:
    replay = kept()
    fill(replay, 1, 3)
    reader = replay.subscribe("s", at(1))
    fill(replay, 4, 5)

    assert taken(reader) == ["e2", "e3", "e4", "e5"]


def test_a_reader_without_a_cursor_begins_now() -> None:
    replay = kept()
    fill(replay, 1, 3)
    reader = replay.subscribe("s")
    fill(replay, 4, 4)

    assert taken(reader) == ["e4"]


def test_a_reader_whose_cursor_leads_nowhere_finds_the_gap_until_it_restarts() -> None:
    replay = kept()
    fill(replay, 1, 3)
    reader = replay.subscribe("s", at(1, run="run-0"))
    assert (taken(reader), taken(reader)) == ([UNAVAILABLE], [UNAVAILABLE])

    reader.restart()
    fill(replay, 4, 4)

    assert taken(reader) == ["e4"]


def test_a_reader_that_is_too_slow_finds_a_gap() -> None:
    replay = kept(capacity=10)
    reader = replay.subscribe("s")
    fill(replay, 1, 10)
    assert isinstance(reader.take(), Entry)
    fill(replay, 11, 12)

    assert taken(reader) == [LAGGED]
    reader.restart()
    fill(replay, 13, 13)
    assert taken(reader) == ["e13"]


async def test_a_waiting_reader_is_woken_by_the_next_event_of_its_session_only() -> None:
    replay = kept()
    reader = replay.subscribe("s")
    waiting = asyncio.ensure_future(reader.ready())
    await asyncio.sleep(0)
    replay.append("other", "x")
    await asyncio.sleep(0)
    assert not waiting.done()

    replay.append("s", "e1")
    await asyncio.wait_for(waiting, 5)

    assert taken(reader) == ["e1"]


async def test_a_reader_that_stops_waiting_or_closes_leaves_nothing_behind() -> None:
    replay = kept()
    reader = replay.subscribe("s")
    waiting = asyncio.ensure_future(reader.ready())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert reader._buffer.waiting == []

    reader.close()
    reader.close()

    assert replay.buffers == 0


# --- cost -------------------------------------------------------------------------------------------


def test_silent_sessions_are_let_go_of_by_the_others_events() -> None:
    clock = VirtualClock()
    replay = kept(clock)
    for number in range(10_000):
        replay.append("busy", "y")
        replay.append(f"s{number}", "x")
    assert replay.held == 12_048
    clock.advance(121)
    for _ in range(5_000):  # each lets go of up to two
        replay.append("busy", "y")

    assert (replay.buffers, replay.held) == (1, 2048)


def test_a_session_that_goes_on_lets_go_of_its_own_old_events() -> None:
    clock = VirtualClock()
    replay = kept(clock)
    fill(replay, 1, 5)
    clock.advance(121)
    fill(replay, 6, 6)

    assert replay.held == 1


def test_a_sweep_lets_go_of_silent_sessions_where_nothing_is_appended() -> None:
    clock = VirtualClock()
    replay = kept(clock)
    for number in range(100):
        replay.append(f"s{number}", "x")
    reader = replay.subscribe("s7")
    clock.advance(121)

    replay.sweep()

    assert (replay.buffers, replay.held) == (1, 0)  # the one that is read keeps its place
    replay.append("s7", "y")
    assert taken(reader) == ["y"]


def test_all_sessions_together_keep_no_more_than_the_total() -> None:
    replay = kept(capacity=100, total=1_000)
    for number in range(50):
        fill(replay, 1, 100, f"s{number}")

    assert replay.held <= 1_000
    assert after(replay, 0, "s0") == UNAVAILABLE
    assert len(after(replay, 0, "s49")) == 100  # type: ignore[arg-type]  # not a gap


def test_readers_that_never_read_hold_nothing_and_delay_nobody() -> None:
    replay = kept()
    readers = [replay.subscribe("s") for _ in range(1_000)]
    began = time.perf_counter()
    fill(replay, 1, 20_000)
    took = time.perf_counter() - began

    assert replay.held == 2048
    assert all(sys.getsizeof(reader.__dict__) < 1_000 for reader in readers)
    assert took < 2.0  # a step per reader would be 20 million steps
    assert taken(readers[0]) == [LAGGED]


class Broken(VirtualClock):
    broken = False

    def monotonic(self) -> float:
        if self.broken:
            raise OSError("no clock")
        return super().monotonic()


def test_appending_never_raises_and_what_was_lost_is_a_gap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Broken()
    replay = kept(clock)
    fill(replay, 1, 2)
    reader = replay.subscribe("s")
    clock.broken = True
    replay.append("s", "lost")
    clock.broken = False
    replay.append("s", "next")

    assert "lost" in caplog.text
    assert after(replay, 2) == UNAVAILABLE
    assert taken(reader) == [UNAVAILABLE]


# --- any order --------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.just("pass"), st.integers(1, 100)),
        st.tuples(st.just("reconnect"), st.just(0)),
        st.tuples(st.just("elsewhere"), st.integers(1, 3)),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_a_reader_sees_every_event_once_and_in_order_or_a_gap(
    steps: list[tuple[str, int]],
) -> None:
    clock = VirtualClock()
    replay = kept(clock, capacity=6)
    happened, seen = 0, 0
    reader = replay.subscribe("s", at(0))
    for step, count in [*steps, ("take", 100)]:
        match step:
            case "append":
                for _ in range(count):
                    happened += 1
                    replay.append("s", str(happened))
            case "elsewhere":
                fill(replay, 1, count, "other")
            case "pass":
                clock.advance(count)
            case "reconnect":
                reader.close()
                reader = replay.subscribe("s", at(seen))
            case _:
                for _ in range(count):
                    entry = reader.take()
                    if isinstance(entry, ReplayGap):
                        assert seen < happened  # never a gap where nothing is missing
                        reader.restart()
                        seen = happened
                    elif entry is not None:
                        assert entry.event == str(seen + 1)
                        assert entry.position == seen + 1
                        seen += 1
                    else:
                        assert seen == happened
    assert replay.held <= 6 + 6
