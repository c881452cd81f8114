"""Waits across processes: asked in one, answered in another, gone on with in a third.

The process that waits is killed with SIGKILL. How often each model call and tool starts, over all
processes, was written down by hand: `ask` runs again only if it died before that was recorded.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from told_process import ToldProcess, rows

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("wait_worker.py")
ONCE = {"m1": 1, "ask": 1, "m2": 1}
ACCEPTED = {"status": "accepted"}
UNKNOWN = {"status": "unknown_or_revoked"}

#: Seconds. Without hints the rows are read once a second at least; with hints, every few hundredths.
POLLED, HINTED = 1.0, 0.5
#: What a loaded machine may take on top, to read, to record and to be scheduled.
SLACK = 0.5


class Worker(ToldProcess):
    """One process, which asks or answers."""

    def __init__(self, scene: "Scene", *options: object) -> None:
        super().__init__(WORKER, scene.database, scene.ledger, *options, database=scene.database)

    def asked(self, session: str = "s") -> dict[str, Any]:
        """Begin a turn, and get the key it announces."""
        self.tell("run", session=session)
        return self.hear("announced", session)

    def resolve(self, key: object, value: object = "yes") -> dict[str, Any]:
        self.tell("resolve", key=key, value=value)
        outcome: dict[str, Any] = self.hear("resolved")["resolved"]
        return outcome

    def result(self, session: str = "s") -> str:
        """What the session's turn came to; attaches to it, wherever it is driven."""
        self.tell("run", session=session)
        text: str = self.hear("turn", session)["text"]
        return text


class Scene:
    """A database, a ledger, and the processes that meet there."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "agents.db"
        self.ledger = folder / "ledger"

    def waiter(self, *options: object) -> Worker:
        """A process that has the agent."""
        return Worker(self, *options)

    def resolver(self) -> Worker:
        """A process that has not: it drives nothing."""
        return Worker(self, "--without-agent")

    def starts(self) -> dict[str, int]:
        return dict(Counter(self.ledger.read_text().split()))

    def rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        return rows(self.database, query)

    def until(self, condition: Callable[[], bool]) -> None:
        """Poll until something is so."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def parked(self, number: int = 1) -> None:
        """Until so many waits are in the store."""
        self.until(lambda: len(self.rows("SELECT 1 FROM await_events")) == number)

    def left_waiting(self, *options: object) -> dict[str, Any]:
        """Ask in a process that is killed while it waits; what it announced."""
        with self.waiter(*options) as first:
            asked = first.asked()
            self.parked()
            first.kill()
        return asked


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


# --- asked, answered, gone on with --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["key", "token"])
def test_asked_in_one_process_answered_in_another_gone_on_with_in_a_third(
    scene: Scene, form: str
) -> None:
    asked = scene.left_waiting()
    with scene.resolver() as second:
        assert second.resolve(asked[form], {"by": "ana"}) == ACCEPTED
    with scene.waiter() as third:
        third.tell("idle")
        third.hear("idle")
        assert third.result() == 'Told: {"by":"ana"}'
    assert scene.starts() == ONCE


# Records in order: 1 = m1, 2 = ask, 3 = the answer, 4 = m2.
# Each row: where the first process dies, and what starts in all.
BEFORE_IT_WAITS = [
    ("tool.after", 1, ONCE | {"ask": 2}),
    ("record.before", 2, ONCE | {"ask": 2}),
    ("record.inside", 2, ONCE | {"ask": 2}),
    ("record.after", 2, ONCE),
]


@pytest.mark.parametrize(("point", "nth", "starts"), BEFORE_IT_WAITS)
def test_an_answer_that_comes_before_the_wait_has_begun_is_kept(
    scene: Scene, point: str, nth: int, starts: dict[str, int]
) -> None:
    with scene.waiter("--kill", point, nth) as first:
        asked = first.asked()
        first.died()
    assert scene.rows("SELECT 1 FROM await_events") == []
    with scene.resolver() as second:
        assert second.resolve(asked["token"]) == ACCEPTED
    with scene.waiter() as third:
        assert third.result() == "Told: yes"
        again = [third.hear("announced")] if starts["ask"] == 2 else []
    assert [said["key"] for said in again] == [asked["key"]] * (starts["ask"] - 1)
    assert scene.starts() == starts


AFTER_THE_ANSWER = [
    ("record.before", 3, ONCE),
    ("record.inside", 3, ONCE),
    ("record.after", 3, ONCE),
    ("record.before", 4, ONCE | {"m2": 2}),
    ("commit.inside", 1, ONCE),
]


@pytest.mark.parametrize(("point", "nth", "starts"), AFTER_THE_ANSWER)
def test_an_answer_that_was_given_survives_whoever_waited_for_it(
    scene: Scene, point: str, nth: int, starts: dict[str, int]
) -> None:
    with scene.waiter("--kill", point, nth) as first, scene.resolver() as second:
        asked = first.asked()
        scene.parked()
        assert second.resolve(asked["token"]) == ACCEPTED
        first.died()
    with scene.waiter() as third:
        assert third.result() == "Told: yes"
    assert scene.starts() == starts


def test_the_first_answer_stands_whoever_gives_the_second(scene: Scene) -> None:
    asked = scene.left_waiting()
    won = {"status": "already_resolved", "terminal": {"status": "ok", "payload": "first"}}
    with scene.resolver() as second:
        assert second.resolve(asked["key"], "first") == ACCEPTED
        assert second.resolve(asked["key"], "again") == won
    with scene.resolver() as other:
        assert other.resolve(asked["token"], "second") == won
    with scene.waiter() as third:
        assert third.result() == "Told: first"
        assert third.resolve(asked["token"], "third") == won
    assert scene.starts() == ONCE


# --- keys that are none -------------------------------------------------------------------------------------


def tampered(key: dict[str, Any], other: dict[str, Any]) -> dict[str, object]:
    """The key with each of its fields changed, by what was changed. `other` is another store's."""
    scope, wait, signature = key["scope"], key["wait"], key["signature"]
    flipped = "0" if signature[0] != "0" else "1"
    operation = {"type": "runtime_operation", "operation_id": "t"}
    drain = {"type": "queue_drain", "session_id": "s", "drain_id": "t"}
    return {
        "session": key | {"scope": scope | {"session_id": "other"}},
        "turn": key | {"scope": scope | {"turn_id": "u"}},
        "blank turn": key | {"scope": scope | {"turn_id": " "}},
        "kind of scope": key | {"scope": operation},
        "another scope of the session": key | {"scope": drain},
        "call": key | {"wait": wait | {"tool_call_id": "another"}},
        "kind of wait": key | {"wait": {"type": "custom", "key": wait["tool_call_id"]}},
        "id": key | {"key_id": key["key_id"][:-1] + ("0" if key["key_id"][-1] != "0" else "1")},
        "first letter of the signature": key | {"signature": flipped + signature[1:]},
        "signature cut short": key | {"signature": signature[:-1]},
        "signature in capitals": key | {"signature": signature.upper()},
        "no signature": key | {"signature": ""},
        "another store's key": other,
        "another store's signature": key | {"signature": other["signature"]},
        "not a key": {"scope": scope},
        "not even JSON": "lash-key-",
    }


def test_a_key_with_any_field_changed_is_unknown_and_the_turn_waits_on(
    scene: Scene, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Scene(elsewhere).left_waiting()  # the same session, turn and call, in another store
    asked = scene.left_waiting()
    assert other["key"]["key_id"] == asked["key"]["key_id"]
    with scene.waiter() as waiting, scene.resolver() as second:
        forged = tampered(asked["key"], other["key"])
        answers = {what: second.resolve(key, "forged") for what, key in forged.items()}
        assert answers == dict.fromkeys(forged, UNKNOWN)
        for key in forged.values():
            second.tell("peek", key=key)
            assert second.hear("peeked")["peeked"] == "await_event_unknown_or_revoked"
        assert scene.rows("SELECT key_id, resolution FROM await_events") == [
            (asked["key"]["key_id"], None)
        ]
        assert scene.rows("SELECT 1 FROM turns") == []
        assert second.resolve(asked["key"], "genuine") == ACCEPTED
        assert waiting.result() == "Told: genuine"
    assert scene.starts() == ONCE


def test_keys_of_a_revoked_session_are_unknown_in_every_process_and_others_are_not(
    scene: Scene,
) -> None:
    with scene.waiter() as first:
        asked, other = first.asked("s"), first.asked("other")
        scene.parked(2)
        first.kill()
    with scene.resolver() as second:
        second.tell("revoke", session="s")
        assert second.hear("revoked")["revoked"] == 1
        assert second.resolve(asked["token"]) == UNKNOWN
    with scene.resolver() as third:
        assert third.resolve(asked["key"]) == UNKNOWN
        third.tell("peek", key=asked["key"])
        assert third.hear("peeked")["peeked"] == "await_event_unknown_or_revoked"
        assert third.resolve(other["key"]) == ACCEPTED
    with scene.waiter() as fourth:
        assert fourth.result("other") == "Told: yes"
        fourth.tell("run", session="s")
        assert fourth.hear("turn", "s")["error"] == "await_event_unknown_or_revoked"
    assert scene.rows("SELECT session_id FROM turns") == [("other",)]


def test_an_answer_that_was_recorded_stands_although_the_session_is_revoked_later(
    scene: Scene,
) -> None:
    with scene.waiter("--kill", "record.after", 3) as first, scene.resolver() as second:
        asked = first.asked()
        scene.parked()
        assert second.resolve(asked["token"]) == ACCEPTED
        first.died()
        second.tell("revoke", session="s")
        second.hear("revoked")
    with scene.waiter() as third:
        assert third.result() == "Told: yes"
    assert scene.starts() == ONCE


# --- time -----------------------------------------------------------------------------------------------------


def test_a_deadline_is_the_same_over_every_restart(scene: Scene) -> None:
    wait_ms = 2_000
    deadlines: list[int] = []

    def note_deadline() -> None:
        ((deadline,),) = scene.rows("SELECT deadline_at_ms FROM await_events")
        deadlines.append(deadline)

    asked = scene.left_waiting("--timeout", wait_ms / 1000)
    note_deadline()
    assert 0 <= asked["at"] * 1000 - (deadlines[0] - wait_ms) < 1000  # fixed before it is announced
    with scene.waiter("--timeout", wait_ms / 1000) as second:
        second.tell("idle")
        second.hear("idle")
        note_deadline()
        second.kill()
    # Whoever began the wait again from here would be late by more than what is allowed below.
    scene.until(lambda: time.time() * 1000 > deadlines[0] - 400)
    with scene.waiter("--timeout", wait_ms / 1000) as third:
        third.tell("run", session="s")
        turn = third.hear("turn")
        note_deadline()
    assert len(set(deadlines)) == 1
    assert turn["failed"][0]["payload"]["code"] == "tool_completion_timeout"
    assert 0 <= turn["committed_at_ms"] - deadlines[0] < 1000
    assert scene.starts() == ONCE


@pytest.mark.parametrize(
    ("options", "bound"), [((), HINTED), (("--deaf",), POLLED + SLACK)], ids=["hinted", "polled"]
)
def test_an_answer_from_another_process_is_seen_soon(
    scene: Scene, options: tuple[str, ...], bound: float, record_property: Callable[..., None]
) -> None:
    sessions = [f"s{number}" for number in range(5)]
    with scene.waiter(*options) as waiting, scene.resolver() as second:
        asked = {session: waiting.asked(session) for session in sessions}
        scene.parked(len(sessions))
        waiting.tell("idle")
        waiting.hear("idle")
        seen: list[float] = []
        for session in sessions:
            second.tell("resolve", key=asked[session]["token"], value="yes")
            resolved = second.hear("resolved")
            assert resolved["resolved"] == ACCEPTED
            seen.append(round(waiting.hear("answered", session)["at"] - resolved["at"], 4))
            assert waiting.hear("turn", session)["text"] == "Told: yes"
    record_property("seen_after_s", seen)
    assert max(seen) < bound, seen
