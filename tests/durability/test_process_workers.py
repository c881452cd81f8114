"""Two workers over one file: one of them dies, is stopped, or stalls; the other one goes on.

Whoever dies on this machine is recognised at once, whatever its leases say. Whoever is only stopped may
come back: its leases run out, and nothing that it writes afterwards is kept.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from process_peers import SHORT, Peer, Place, now_ms

pytestmark = pytest.mark.slow

#: A lease lasts 30 s by default; taking over from the dead takes no such time.
AT_ONCE_S = 5.0


#: What is begun of `held` if the second worker takes it over from the first one, which held it.
HANDED_OVER = [("first", "one"), ("hold", "one"), ("hold", "two"), ("last", "two")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def kill_once_seen(worker: Peer, other: Peer) -> None:
    """Kill a worker when the other one has seen that it lives."""
    other.tell("knows")
    other.hear("knows")
    worker.kill()


@contextmanager
def overtaken(place: Place, function: str) -> Iterator[tuple[Peer, Peer]]:
    """A worker that was stopped until its lease had run out, and the one that holds its process now."""
    with Peer(place.folder, "one", SHORT) as one, Peer(place.folder, "two", SHORT) as two:
        one.start(function)
        one.hear("started", "hold")
        one.pause()
        two.hear("started", "hold")
        yield one, two


def goes_on_in_vain(worker: Peer) -> None:
    """Let a worker go on that was stopped: it says that its process is somebody else's."""
    worker.go_on()
    assert worker.hear("fault")["fault"] == "process_lease_lost"


# --- one dies -----------------------------------------------------------------------------------------------


def test_a_worker_takes_over_at_once_what_a_killed_one_was_running(place: Place) -> None:
    with Peer(place.folder, "one") as one, Peer(place.folder, "two") as two:
        one.start("held")
        one.hear("started", "hold")
        kill_once_seen(one, two)
        two.hear("started", "hold", within=AT_ONCE_S)
        two.tell("go")
        assert two.result() == ["one", "two", "two"]
        assert place.begun() == HANDED_OVER
        two.close()


def test_a_worker_takes_over_at_once_what_slept_where_another_one_was_killed(place: Place) -> None:
    with Peer(place.folder, "one") as one, Peer(place.folder, "two") as two:
        one.start("sleeper", given={"seconds": 0.5})
        one.hear("accepted")
        place.until_waiting()
        kill_once_seen(one, two)
        two.hear("started", "last", within=AT_ONCE_S)
        assert two.result() == ["one", "two"]
        two.close()


def test_a_worker_takes_over_at_once_what_listened_where_another_one_was_killed(
    place: Place,
) -> None:
    with Peer(place.folder, "one") as one, Peer(place.folder, "two") as two:
        one.start("listener")
        one.hear("accepted")
        place.until_waiting()
        kill_once_seen(one, two)
        two.tell("signal", id="p", payload=7)
        two.hear("started", "last", within=AT_ONCE_S)
        assert two.result() == ["one", 7, "two"]
        two.close()


def test_a_worker_takes_over_parent_and_child_at_once(place: Place) -> None:
    with Peer(place.folder, "one") as one, Peer(place.folder, "two") as two:
        one.start("parent")
        # Whoever is quicker takes the child; the other one is not to have it.
        place.until(
            lambda: ("hold", "one") in place.begun() or ("hold", "two") in place.begun(), ""
        )
        one.kill()
        two.hear("started", "hold", within=AT_ONCE_S)
        two.tell("go")
        first, child = two.result()
        assert (first, child[1:]) == ("one", ["two", "two"])
        begun = [what for what, _ in place.begun()]
        assert begun.count("first") == 2  # the parent's, and the child's
        assert begun.count("last") == 1
        two.close()


def test_who_waits_for_a_result_hears_of_it_although_its_worker_was_killed(place: Place) -> None:
    with Peer(place.folder, "one") as one, Peer(place.folder, "two") as two:
        one.start("held")
        one.hear("started", "hold")
        two.tell("result", id="p")
        one.kill()
        two.tell("go")
        assert two.hear("result", "p", within=AT_ONCE_S)["value"] == ["one", "two", "two"]
        two.close()


def test_a_wake_that_a_killed_worker_left_is_delivered_at_once_by_another_one(
    place: Place,
) -> None:
    with Peer(place.folder, "two") as two:
        two.tell("run", text="Hello.")
        two.hear("ran")
        with Peer(place.folder, "one", halt=("kill", "process.append.after", 1)) as one:
            one.start("waker", session="s")
            one.died()
        started = time.monotonic()
        place.until_told()
        assert time.monotonic() - started < AT_ONCE_S
        assert two.result() == "two"
        assert place.rows("SELECT count(*) FROM turns") == [(2,)]
        two.close()


def test_what_a_closed_worker_gave_back_another_one_goes_on_with_at_once(place: Place) -> None:
    with Peer(place.folder, "one") as one, Peer(place.folder, "two") as two:
        one.start("held")
        one.hear("started", "hold")
        one.close()
        two.hear("started", "hold", within=AT_ONCE_S)
        two.tell("go")
        assert two.result() == ["one", "two", "two"]
        # It was given back, and not lost.
        lost = "SELECT count(*) FROM process_events WHERE payload LIKE '%\"lost\"%'"
        assert place.rows(lost) == [(0,)]
        two.close()


# --- one is stopped -------------------------------------------------------------------------------------------


def test_a_worker_that_was_stopped_for_too_long_writes_nothing_more_and_says_so(
    place: Place,
) -> None:
    with overtaken(place, "held") as (one, two):
        before = place.written()
        one.tell("go")
        goes_on_in_vain(one)  # its step ends, and is to be recorded
        assert place.written() == before
        two.tell("go")
        assert two.result() == ["one", "two", "two"]
        assert one.result() == ["one", "two", "two"]  # it sees what everybody sees
        assert place.begun() == HANDED_OVER
        assert place.fences() == [
            ("step:first:1:attempt:1", 1),
            ("step:hold:1:attempt:1", 2),
            ("step:last:1:attempt:1", 2),
        ]
        one.close()
        two.close()


def test_a_worker_that_was_stopped_until_after_the_end_writes_nothing_more_and_says_so(
    place: Place,
) -> None:
    with overtaken(place, "held") as (one, two):
        two.tell("go")
        assert two.result() == ["one", "two", "two"]
        before = place.written()
        one.tell("go")
        goes_on_in_vain(one)
        assert one.result() == ["one", "two", "two"]
        one.close()
        assert place.written() == before
        assert [what for what, _ in place.begun()].count("last") == 1
        two.close()


def test_a_worker_that_was_stopped_just_before_the_end_does_not_end_the_process(
    place: Place,
) -> None:
    with overtaken(place, "ending") as (one, two):
        one.tell("go")
        goes_on_in_vain(one)  # it comes to its end, and that is the first thing it writes
        assert place.rows("SELECT status FROM processes") == [("running",)]
        two.tell("go")
        assert two.result() == ["one", "two"]
        assert one.result() == ["one", "two"]
        one.close()
        two.close()


def test_a_worker_that_comes_to_another_end_than_the_process_had_says_so(place: Place) -> None:
    with overtaken(place, "ending") as (one, two):
        two.tell("go")
        assert two.result() == ["one", "two"]
        before = place.written()
        one.tell("go")
        goes_on_in_vain(one)
        assert one.result() == ["one", "two"]
        one.close()
        assert place.written() == before
        two.close()


def test_a_worker_that_was_stopped_while_its_process_slept_writes_no_mark(place: Place) -> None:
    with Peer(place.folder, "one", SHORT) as one, Peer(place.folder, "two", SHORT) as two:
        one.start("sleeper", given={"seconds": 1.0})
        one.hear("accepted")
        place.until_waiting()
        one.pause()
        assert two.result() == ["one", "two"]
        before = place.written()
        goes_on_in_vain(one)  # it was to be over long ago: it would say that it goes on, and end
        one.close()
        assert place.written() == before
        # What it may do before it notices is to begin a step, of which nothing is kept.
        assert place.begun()[:2] == [("first", "one"), ("last", "two")]
        two.close()


def test_a_signal_goes_to_whoever_runs_the_process_and_not_to_who_was_stopped(
    place: Place,
) -> None:
    with Peer(place.folder, "one", SHORT) as one, Peer(place.folder, "two", SHORT) as two:
        one.start("listener")
        one.hear("accepted")
        place.until_waiting()
        one.pause()
        taken = "SELECT fencing_token FROM processes WHERE process_id = 'p'"
        place.until(lambda: place.rows(taken) == [(2,)], "nobody took it over")
        two.tell("signal", id="p", payload=7)
        two.hear("signalled")
        goes_on_in_vain(one)
        assert two.result() == ["one", 7, "two"]
        assert place.fences() == [
            ("step:first:1:attempt:1", 1),
            ("signal:go:1", 2),
            ("step:last:1:attempt:1", 2),
        ]
        one.close()
        two.close()


def test_a_wake_that_a_stopped_worker_left_is_delivered_once_by_another_one(place: Place) -> None:
    with Peer(place.folder, "two", SHORT) as two:
        two.tell("run", text="Hello.")
        two.hear("ran")
        stop = ("stop", "process.append.after", 1)
        with Peer(place.folder, "one", SHORT, halt=stop) as one:
            one.start("waker", session="s")
            one.stopped()
            place.until_told()
            assert two.result() == "two"
            goes_on_in_vain(one)
            one.close()
        assert place.rows("SELECT count(*) FROM queue") == [(1,)]
        assert place.rows("SELECT count(*) FROM turns") == [(2,)]
        two.close()


# --- one stalls -----------------------------------------------------------------------------------------------


def test_a_worker_whose_loop_stalls_for_too_long_is_refused(place: Place) -> None:
    with Peer(place.folder, "one", SHORT) as one:
        one.start("stalled")
        one.hear("started", "stall")
        with Peer(place.folder, "two", SHORT) as two:
            # The loop of the second one stalls as well, until both are let go at the same time.
            two.hear("started", "stall")
            (place.folder / "unblocked").touch()
            assert one.hear("fault")["fault"] == "process_lease_lost"
            assert two.result() == ["one", "two", "two"]
            assert place.fences() == [
                ("step:first:1:attempt:1", 1),
                ("step:stall:1:attempt:1", 2),
                ("step:last:1:attempt:1", 2),
            ]
            assert [what for what, _ in place.begun()].count("last") == 1
            one.close()
            two.close()


def test_of_two_who_come_to_write_at_once_after_a_lock_only_one_goes_on(place: Place) -> None:
    with Peer(place.folder, "one", SHORT) as one, Peer(place.folder, "two", SHORT) as two:
        one.start("held")
        one.hear("started", "hold")
        with closing(sqlite3.connect(place.database, isolation_level=None)) as locked:
            locked.execute("BEGIN IMMEDIATE")
            expires = "SELECT expires_at_ms FROM processes WHERE process_id = 'p'"
            ((until,),) = locked.execute(expires).fetchall()
            one.tell("go")  # its record waits for the lock
            # The lease runs out, and the other one comes to take it, and waits for the lock as well.
            place.until(lambda: now_ms() > until + 2000, "time stands still")
            locked.execute("ROLLBACK")
        two.tell("go")
        value = two.result()
        token = place.rows("SELECT max(fencing_token) FROM journal")[0][0]
        if token == 1:  # the first one's record, or its renewal, came first: it goes on
            assert value == ["one", "one", "one"]
            assert two.said("started") == []
        else:
            assert value == ["one", "two", "two"]
            assert one.hear("fault")["fault"] == "process_lease_lost"
            assert one.said("started") == ["first"]
        assert place.fences()[1:] == [
            ("step:hold:1:attempt:1", token),
            ("step:last:1:attempt:1", token),
        ]
        assert [what for what, _ in place.begun()].count("last") == 1
        one.close()
        two.close()
