"""Plugins and SIGKILL: how often each hook really runs, and what a turn comes to, wherever the process dies.

The tables were written down by hand. A hook that was recorded, together with what it belongs to, is never
run again; one that was not runs again, and what it had remembered then is forgotten.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("plugin_worker.py")


class Worker:
    """One process. `tell` sends it a command, `hear` waits for an answer that has a key."""

    def __init__(self, scene: "Scene", play: str, *kill: object) -> None:
        self._heard: list[dict[str, Any]] = []
        options = ["--kill", *kill] if kill else []
        command = [sys.executable, WORKER, scene.database, scene.ledger, play, *options]
        self._process = subprocess.Popen(
            [str(item) for item in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self.hear("ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, do: str, **arguments: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def hear(self, key: str, value: object = None) -> dict[str, Any]:
        """The next answer that has `key` (with this value, if one is given), in order."""
        assert self._process.stdout is not None
        while True:
            for index, said in enumerate(self._heard):
                if key in said and value in (None, said[key]):
                    return self._heard.pop(index)
            line = self._process.stdout.readline()
            assert line, f"the process ended without saying {key}; it said {self._heard}"
            self._heard.append(json.loads(line))

    def run(self, session: str = "s") -> dict[str, Any]:
        """What the turn comes to; goes on with it if it was begun."""
        self.tell("run", session=session)
        return self.hear("turn", session)

    def close(self) -> None:
        self.tell("close")
        self.hear("closed")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def killed_itself(self) -> None:
        assert self._process.wait(30) == -signal.SIGKILL


class Scene:
    """A database, a ledger, and the processes that meet there."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "agents.db"
        self.ledger = folder / "ledger"

    def starts(self) -> dict[str, int]:
        return dict(Counter(self.ledger.read_text().splitlines()))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def until(self, condition: Callable[[], bool]) -> None:
        """Poll until something is so."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


# --- a plugin at every hook -----------------------------------------------------------------------------------

ONCE = {
    "begin": 1,
    "m1": 1,
    "before": 1,
    "charge 8": 1,
    "after": 1,
    "work": 1,
    "m2": 1,
    "completion": 1,
    "ended": 1,
}
# Records in order: 1 = m1 with what stood before it, 2 = the call with its hooks, 3 = the checkpoint at which
# something is said, 4 = m2. The checkpoint at which nothing is said waits for the commit.
# Each row: where the process dies, and what starts in all.
HOOKS = [
    ("model.before", 1, ONCE | {"begin": 2}),
    ("record.before", 1, ONCE | {"begin": 2, "m1": 2}),
    ("record.inside", 1, ONCE | {"begin": 2, "m1": 2}),
    ("record.after", 1, ONCE),
    ("tool.before", 1, ONCE | {"before": 2}),
    ("tool.after", 1, ONCE | {"before": 2, "charge 8": 2}),
    ("record.before", 2, ONCE | {"before": 2, "charge 8": 2, "after": 2}),
    ("record.inside", 2, ONCE | {"before": 2, "charge 8": 2, "after": 2}),
    ("record.after", 2, ONCE),
    ("record.before", 3, ONCE | {"work": 2}),
    ("record.inside", 3, ONCE | {"work": 2}),
    ("record.after", 3, ONCE),
    ("model.before", 2, ONCE),
    ("record.before", 4, ONCE | {"m2": 2}),
    ("record.after", 4, ONCE),
    ("commit.before", 1, ONCE | {"completion": 2}),
    ("commit.inside", 1, ONCE | {"completion": 2}),
]


@pytest.mark.parametrize(
    ("point", "nth", "starts"), HOOKS, ids=[f"{point}-{nth}" for point, nth, _ in HOOKS]
)
def test_a_hook_that_was_recorded_is_not_run_again_and_the_turn_comes_to_the_same(
    scene: Scene, point: str, nth: int, starts: dict[str, int]
) -> None:
    with Worker(scene, "hooks", point, nth) as first:
        first.tell("run", session="s")
        first.killed_itself()
    with Worker(scene, "hooks") as second:
        turn = second.run()
        second.close()
    assert turn["outcomes"] == ["charged 8"]
    assert turn["state"] == {"everywhere": 5}
    texts = ["Charge.", "Be careful.", "", "", "Well done.", "Done."]
    assert [text if text in texts else "" for text in turn["texts"]] == texts
    assert scene.starts() == starts
    # Ids derive from the turn and from where in it something was said.
    assert len(set(turn["ids"])) == 6
    assert turn["ids"][1] == "m_plugin_turn-1_begin.0.0"
    assert turn["ids"][4] == "m_plugin_turn-1_after_work.1.0"


def test_a_turn_that_nobody_kills_asks_every_hook_once(scene: Scene) -> None:
    with Worker(scene, "hooks") as only:
        turn = only.run()
        only.close()
    assert turn["heard"] == ["begin", "before", "after", "work", "completion"]
    assert turn["state"] == {"everywhere": 5}
    assert scene.starts() == ONCE


def test_a_process_that_dies_with_the_commit_done_tells_no_plugin_of_the_turn(
    scene: Scene,
) -> None:
    with Worker(scene, "hooks", "commit.after", 1) as first:
        first.tell("run", session="s")
        first.killed_itself()
    with Worker(scene, "hooks") as second:
        turn = second.run()
        second.close()
    assert turn["state"] == {"everywhere": 5}
    assert scene.starts() == {name: count for name, count in ONCE.items() if name != "ended"}


@pytest.mark.parametrize("recorded", [1, 2, 3])
def test_counting_goes_on_from_the_calls_that_were_recorded(scene: Scene, recorded: int) -> None:
    with Worker(scene, "serial", "record.after", 1 + recorded) as first:
        first.tell("run", session="s")
        first.killed_itself()
    with Worker(scene, "serial") as second:
        turn = second.run()
    assert turn["state"] == {"counter": 3}
    assert scene.starts() == {"m1": 1, "charge 1": 1, "charge 2": 1, "charge 3": 1, "m2": 1}


# --- calls that are held --------------------------------------------------------------------------------------

HELD = {"m1": 1, "ask": 1, "charge 500": 1, "m2": 1}
# Records in order: 1 = m1, 2 = the call is held, 3 = the word, 4 = the call, 5 = m2.
BEFORE_THE_WORD = [
    ("record.before", 2, HELD | {"ask": 2}),
    ("record.inside", 2, HELD | {"ask": 2}),
    ("record.after", 2, HELD),
]


@pytest.mark.parametrize(("point", "nth", "starts"), BEFORE_THE_WORD)
def test_a_word_that_comes_before_the_wait_has_begun_is_kept(
    scene: Scene, point: str, nth: int, starts: dict[str, int]
) -> None:
    with Worker(scene, "held", point, nth) as first:
        first.tell("run", session="s")
        asked = first.hear("asked")
        first.killed_itself()
    assert scene.rows("SELECT 1 FROM await_events") == []
    with Worker(scene, "none") as second:
        second.tell("resolve", key=asked["token"], value=True)
        assert second.hear("resolved")["resolved"] == "accepted"
    with Worker(scene, "held") as third:
        assert third.run()["outcomes"] == ["charged 500"]
        again = [third.hear("asked")] if starts["ask"] == 2 else []
    for said in again:  # by the same key, and recognisable as the same request
        assert (said["key"], said["idempotency_key"]) == (asked["key"], asked["idempotency_key"])
    assert scene.starts() == starts


def waiting(scene: Scene) -> dict[str, Any]:
    """Ask in a process that is killed while it waits; what it asked."""
    with Worker(scene, "held") as first:
        first.tell("run", session="s")
        asked = first.hear("asked")
        scene.until(lambda: len(scene.rows("SELECT 1 FROM await_events")) == 1)
        first.kill()
    return asked


@pytest.mark.parametrize(
    ("word", "outcome", "charged"),
    [
        (True, "charged 500", 1),
        ({"approved": False, "reason": "too much"}, "tool_not_approved", 0),
    ],
)
def test_asked_in_one_process_answered_in_another_gone_on_with_in_a_third(
    scene: Scene, word: object, outcome: str, charged: int
) -> None:
    asked = waiting(scene)
    with Worker(scene, "none") as second:
        second.tell("resolve", key=asked["token"], value=word)
        assert second.hear("resolved")["resolved"] == "accepted"
        second.tell("resolve", key=json.dumps(asked["key"]), value=True)
        assert second.hear("resolved")["resolved"] == "already_resolved"
    with Worker(scene, "held") as third:
        third.tell("idle")
        third.hear("idle")
        (found,) = third.run()["outcomes"]
    assert (found if charged else found["code"]) == outcome
    assert scene.starts().get("charge 500", 0) == charged
    assert scene.starts()["ask"] == 1


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("true", "charged 500"),
        ('{"approved": true}', "charged 500"),
        ("false", "tool_not_approved"),
        ("yes", "tool_not_approved"),  # it is a text, and only a yes lets the call pass
    ],
)
def test_answered_on_the_command_line_by_a_key_that_stands_in_no_list_of_processes(
    scene: Scene, value: str, outcome: str
) -> None:
    asked = waiting(scene)
    command = [sys.executable, "-m", "lash", "resolve", "-", value, "--db", str(scene.database)]
    answered = subprocess.run(
        command, input=asked["token"], capture_output=True, text=True, check=False
    )
    assert answered.returncode == 0, answered.stderr
    assert asked["token"] not in answered.stdout + answered.stderr
    with Worker(scene, "held") as third:
        (found,) = third.run()["outcomes"]
    assert outcome in (found, found["code"] if isinstance(found, dict) else None)
    assert scene.starts()["ask"] == 1


AFTER_THE_WORD = [
    ("record.before", 3, HELD),
    ("record.inside", 3, HELD),
    ("record.after", 3, HELD),
    ("tool.before", 1, HELD),
    ("tool.after", 1, HELD | {"charge 500": 2}),
    ("record.before", 4, HELD | {"charge 500": 2}),
    ("record.inside", 4, HELD | {"charge 500": 2}),
    ("record.after", 4, HELD),
    ("record.before", 5, HELD | {"m2": 2}),
    ("commit.inside", 1, HELD),
]


@pytest.mark.parametrize(("point", "nth", "starts"), AFTER_THE_WORD)
def test_a_word_that_was_given_survives_whoever_waited_for_it_and_nobody_is_asked_again(
    scene: Scene, point: str, nth: int, starts: dict[str, int]
) -> None:
    with Worker(scene, "held", point, nth) as first, Worker(scene, "none") as second:
        first.tell("run", session="s")
        asked = first.hear("asked")
        scene.until(lambda: len(scene.rows("SELECT 1 FROM await_events")) == 1)
        second.tell("resolve", key=asked["token"], value=True)
        assert second.hear("resolved")["resolved"] == "accepted"
        first.killed_itself()
    with Worker(scene, "held") as third:
        assert third.run()["outcomes"] == ["charged 500"]
    assert scene.starts() == starts
