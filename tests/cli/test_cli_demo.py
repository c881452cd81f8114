"""`lash demo`, whole: a real process dies of SIGKILL and another one finishes its turn."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from cli_harness import lash

from lash.cli import main
from lash.cli.demo.ledger import read_ledger
from lash.cli.demo.processes import ProcessRun, Stage
from lash.core.json import encode

HISTORY = [
    ("user", "Book me a flight and a room in Lisbon, then pay.", []),
    ("assistant", "I'll reserve both.", ["reserve_flight", "reserve_room"]),
    ("user", "", []),
    ("assistant", "Both are held. Paying.", ["pay"]),
    ("user", "", []),
    ("assistant", "Done: flight TP 573 and a room for three nights, 412 € paid.", []),
]


async def test_the_demo_proves_what_it_claims(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    ended = await lash("demo", "--json", "--keep", str(kept), cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    told = ended.json
    assert (told["ok"], told["problems"]) == (True, [])
    first, second = told["killed"], told["resumed"]
    assert (first["returncode"], first["signal"]) == (-signal.SIGKILL, signal.SIGKILL)
    assert (first["seam"], first["nth"]) == ("model.after", 2)
    assert second["returncode"] == 0
    assert second["pid"] != first["pid"]
    assert second["replayed"] == ["model call 1", "reserve_flight", "reserve_room"]
    # A lease lasts 30 s; the dead process was recognised, not waited for.
    assert second["working_after_ms"] < 10_000
    pids = {
        effect["label"]: [one["pid"] for one in effect["executions"]] for effect in told["effects"]
    }
    assert pids == {
        "model call 1": [first["pid"]],
        "reserve_flight": [first["pid"]],
        "reserve_room": [first["pid"]],
        "model call 2": [first["pid"], second["pid"]],
        "pay": [second["pid"]],
        "model call 3": [second["pid"]],
    }
    tokens = {effect["label"]: effect["recorded"]["fencing_token"] for effect in told["effects"]}
    assert len({tokens["model call 1"], tokens["reserve_flight"], tokens["reserve_room"]}) == 1
    assert tokens["model call 2"] > tokens["reserve_room"]
    assert [note.partition(":")[0] for note in told["notes"]] == ["model call 2 ran again"]
    (turn,) = told["turns"]
    assert_whole(turn)
    shown = await lash("show", "lisbon-trip", "--db", str(kept / "demo.db"), cwd=tmp_path)
    assert "Done: flight TP 573" in shown.out
    again = await lash("demo", "--keep", str(kept), cwd=tmp_path)
    assert (again.code, again.out) == (2, "")
    assert "not empty" in again.err


def assert_whole(turn: dict[str, Any]) -> None:
    assert turn["outcome"]["status"] == "finished"
    assert [
        (message["role"], message["text"], [call["tool"] for call in message["tool_calls"]])
        for message in turn["messages"]
    ] == HISTORY
    # Three calls of 10 and 5: what the lost answer cost was reported to nobody.
    assert (turn["usage"]["input_tokens"], turn["usage"]["output_tokens"]) == (30, 15)


async def test_a_pipe_gets_the_story_without_colours(tmp_path: Path) -> None:
    ended = await lash("demo", "--kill-at", "tool.after:3", cwd=tmp_path)
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert max(len(line) for line in ended.out.splitlines()) <= 81  # one space may hang over
    words = " ".join(ended.out.split())
    for told in (
        "killed: SIGKILL, return code -9",
        "reserve_room recorded replayed",
        "pay lost recorded",
        "opens the same file; nobody tells it what was going on",
        "4 of 6 effects came from the journal, 2 ran.",
        "pay ran again: the process died before its outcome was recorded",
        "Both runs were given the same idempotency key.",
        "Nothing that was recorded ran again, and the turn was committed once.",
        "30 in · 15 out",
    ):
        assert told in words


def test_the_demo_fails_when_a_recorded_tool_ran_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = Stage.resume

    def tampered(stage: Stage) -> ProcessRun:
        run = honest(stage)
        (flight,) = [
            line
            for line in read_ledger(stage.ledger)
            if line.label == "reserve_flight" and line.phase == "started"
        ]
        with stage.ledger.open("ab") as ledger:
            ledger.write(encode(flight) + b"\n")
        return run

    monkeypatch.setattr(Stage, "resume", tampered)
    assert main(["demo", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["ok"] is False
    assert "reserve_flight was recorded by the first process, but ran 2 times" in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kill-at", "accept.before"], "nothing to resume"),
        (["--kill-at", "somewhere"], "there is no seam 'somewhere'"),
        (["--kill-at", "model.after:x"], "not a number"),
    ],
)
def test_a_kill_point_that_cannot_be_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *arguments]) == 2
    assert said in capsys.readouterr().err
