"""Two processes on one file: one writer per session, side by side otherwise, handover at once."""

from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest
from hooked_store import contents
from peer_process import Peer, database, rows

__all__ = ["database"]


def test_one_process_drives_a_session_and_the_other_is_told_who_does(database: Path) -> None:
    with Peer(database) as one, Peer(database) as two:
        one.run("s", "t1", "Slow tool.")
        one.hear("started")
        before = contents(database)
        two.run("s", "t2", "Me too.")
        refused = two.hear("turn")
        assert (refused["error"], refused["kind"]) == ("session_execution_busy", "SessionBusyError")
        assert refused["retryable"] is True
        assert refused["details"]["session_id"] == "s"
        assert refused["details"]["holder"].startswith("owner_")
        assert contents(database) == before
        for peer in (one, two):
            peer.tell("sessions")
            assert peer.hear("sessions")["sessions"] == {"s": "running"}
        two.run("s", "t1", "Slow tool.")  # the turn in progress, joined from here
        one.tell("go")
        expected = {"turn": "t1", "text": "Answer to: Slow tool.", "revision": 1}
        assert one.hear("turn") == expected
        assert two.hear("turn") == expected
        two.run("s", "t2", "Quick, me too.")  # free now
        assert two.hear("turn")["revision"] == 2
        one.run("s", "t2", "Quick, me too.")  # committed, and known everywhere
        assert one.hear("turn") == {"turn": "t2", "text": "At once.", "revision": 2}
        one.run("s", "t2", "Something else.")
        assert one.hear("turn")["error"] == "turn_input_conflict"
        assert two.said("started") == []
        one.close()
        two.close()


def test_sessions_run_side_by_side_in_both(database: Path) -> None:
    with Peer(database) as one, Peer(database) as two:
        for peer, name in ((one, "one"), (two, "two")):
            for number in range(2):
                peer.run(f"{name}-{number}", "t", "Slow tool.")
        for peer in (one, two):
            peer.hear("started")
            peer.hear("started")  # all four are in their tools now
        for peer in (one, two):
            peer.tell("go")
            assert [peer.hear("turn")["revision"] for _ in range(2)] == [1, 1]
        one.tell("sessions")
        states = one.hear("sessions")["sessions"]
        assert states == dict.fromkeys(("one-0", "one-1", "two-0", "two-1"), "idle")
        one.close()
        two.close()


def test_what_a_killed_process_was_driving_the_other_finishes_at_once(database: Path) -> None:
    with Peer(database) as one, Peer(database) as two:
        two.tell("go")
        one.run("s", "t1", "Slow tool.")
        one.hear("started")
        two.run("s", "t1", "Slow tool.")
        one.kill()
        assert two.hear("turn")["text"] == "Answer to: Slow tool."  # a lease lasts 30 s
        two.close()


@pytest.mark.parametrize("leaves", ["killed", "closed"])
@pytest.mark.parametrize("first", ["the one that leaves", "the one that stays"])
def test_what_a_process_leaves_behind_the_other_finishes_at_once_unasked(
    database: Path, leaves: str, first: str
) -> None:
    for_ever = {"ttl_ms": 3_600_000, "renew_ms": 1_200_000}  # neither leases nor sweeps come to it
    with ExitStack() as peers:
        one = peers.enter_context(Peer(database, **for_ever))
        two = peers.enter_context(Peer(database, **for_ever))
        leaver, stayer = (one, two) if first == "the one that leaves" else (two, one)
        stayer.tell("knows")
        stayer.hear("knows")
        leaver.run("s", "t1", "Slow tool.")
        leaver.hear("started")
        stayer.tell("go")
        if leaves == "killed":
            leaver.kill()
        else:
            leaver.leave()
        by = monotonic() + 20
        while rows(database, "SELECT turn_id, revision FROM turns") != [("t1", 1)]:
            assert monotonic() < by, "nobody has finished it"
            sleep(0.01)
        stayer.close()


def test_new_input_after_a_kill_is_accepted_at_once_behind_what_was_left(database: Path) -> None:
    with Peer(database) as one, Peer(database) as two:
        two.tell("go")
        one.run("s", "t1", "Slow tool.")
        one.hear("started")
        one.kill()
        two.run("s", "t2", "Quick.")
        assert two.hear("turn")["revision"] == 2
        two.close()
    turns = rows(database, "SELECT turn_id FROM turns ORDER BY revision")
    assert turns == [("t1",), ("t2",)]


def test_idle_waits_for_what_the_other_process_drives(database: Path) -> None:
    with Peer(database) as one, Peer(database) as two:
        one.run("s", "t1", "Slow tool.")
        one.hear("started")
        two.tell("idle")
        one.tell("go")
        assert one.hear("turn")["revision"] == 1
        two.hear("idle")
        assert two.said("started") == []
        one.close()
        two.close()


@pytest.mark.parametrize("prompt", ["Slow tool.", "Slow model."])
def test_a_writer_that_was_stopped_past_its_lease_writes_nothing_when_it_wakes(
    database: Path, prompt: str
) -> None:
    short = {"ttl_ms": 600, "renew_ms": 200}
    with Peer(database, **short) as sleeper, Peer(database, **short) as successor:
        sleeper.run("s", "t1", prompt)
        sleeper.hear("started")
        sleeper.pause()
        # It is alive, so only the ttl counts; idle() waits for that, takes over and finishes.
        successor.tell("go")
        successor.tell("idle")
        successor.hear("idle")
        successor.close()
        before = contents(database)

        sleeper.tell("go")
        sleeper.go_on()
        lost = sleeper.hear("turn")
        assert (lost["error"], lost["kind"]) == ("session_execution_lease_lost", "LeaseLostError")
        assert lost["retryable"] is True
        assert lost["details"]["session_id"] == "s"
        sleeper.tell("idle")
        sleeper.hear("idle")
        assert contents(database) == before

        sleeper.run("s", "t1", prompt)
        assert sleeper.hear("turn") == {
            "turn": "t1",
            "text": f"Answer to: {prompt}",
            "revision": 1,
        }
        sleeper.close()
    assert contents(database) == before
    assert rows(database, "SELECT turn_id, revision FROM turns") == [("t1", 1)]
