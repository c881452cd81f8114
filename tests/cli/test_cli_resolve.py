"""`lash resolve`: answers by key; what was answered is carried on by a runtime."""

import asyncio
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_harness import lash as command
from recorded_turns import App, left_open, opened, until

import lash
from lash.cli import main
from lash.core.json import encode
from lash.turn.tools import ToolFailed

ACCEPTED = "Whoever drives the work goes on with it."


@pytest.fixture
def waiting(here: Path) -> lash.AwaitEventKey:
    """The key of a refund that nobody has approved yet, in a database that nobody has open."""
    app = asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    (key,) = app.keys
    return key


def carried_on(path: Path) -> lash.TurnResult:
    """The turn, carried on by a runtime that nobody told of it."""

    async def go_on() -> lash.TurnResult:
        async with opened(path, App()) as runtime:
            await until(runtime.session("c-42").turns)
            (turn,) = await runtime.session("c-42").turns()
            return turn

    return asyncio.run(go_on())


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    assert main(["resolve", *arguments]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return out


def payload_of(turn: lash.TurnResult) -> Any:
    (call,) = turn.tool_calls
    return json.loads(encode(call.output.outcome))["payload"]


@pytest.mark.parametrize(
    ("given", "taken", "payload"),
    [
        (['{"approved": true}'], "a value, taken as JSON", {"approved": True}),
        (["7"], "a value, taken as JSON", 7),
        (["-7"], "a value, taken as JSON", -7),
        (['"7"'], "a value, taken as JSON", "7"),
        (["null"], "a value, taken as JSON", None),
        (["approved by Ana"], "a value, taken as text", "approved by Ana"),
        (["{approved}"], "a value, taken as text", "{approved}"),
        (["NaN"], "a value, taken as text", "NaN"),
        (["[" * 5_000], "a value, taken as text", "[" * 5_000),
        ([""], "a value, taken as text", ""),
    ],
)
def test_a_value_is_json_if_it_reads_as_json_else_text(
    given: Sequence[str],
    taken: str,
    payload: object,
    here: Path,
    waiting: lash.AwaitEventKey,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert told(capsys, waiting.token, *given, code=0) == (
        f"accepted: the answer is {taken}. {ACCEPTED}\n"
    )
    turn = carried_on(here / "lash.db")
    assert turn.text == "As you wish."
    if payload is None:
        assert "payload" not in json.loads(encode(turn.tool_calls[0].output.outcome))
    else:
        assert payload_of(turn) == payload


def test_without_a_value_the_answer_is_null(
    here: Path, waiting: lash.AwaitEventKey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, waiting.token, code=0) == f"accepted: the answer is null. {ACCEPTED}\n"
    (call,) = carried_on(here / "lash.db").tool_calls
    assert json.loads(encode(call.output.outcome)) == {"status": "success"}


def test_an_error_is_what_the_model_is_told(
    here: Path, waiting: lash.AwaitEventKey, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [waiting.token, "--error", "No such order.", "--code", "not_found"]
    assert told(capsys, *given, code=0) == f"accepted: the answer is an error. {ACCEPTED}\n"
    (call,) = carried_on(here / "lash.db").tool_calls
    assert isinstance(call.output.outcome, ToolFailed)
    failure = call.output.outcome.payload
    assert (failure.code, failure.message) == ("not_found", "No such order.")


def test_a_cancellation_ends_the_call(
    here: Path, waiting: lash.AwaitEventKey, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = f"accepted: the answer is a cancellation. {ACCEPTED}\n"
    assert told(capsys, waiting.token, "--cancel", code=0) == expected
    (call,) = carried_on(here / "lash.db").tool_calls
    assert json.loads(encode(call.output.outcome))["status"] == "cancelled"


@pytest.mark.parametrize("form", ["token", "json"])
def test_a_key_can_be_read_from_stdin(
    form: str,
    here: Path,
    waiting: lash.AwaitEventKey,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = waiting.token if form == "token" else encode(waiting).decode()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{key}\n"))
    told(capsys, "-", "yes", code=0)
    assert payload_of(carried_on(here / "lash.db")) == "yes"


def test_the_first_answer_stands_and_is_not_shown(
    here: Path, waiting: lash.AwaitEventKey, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, waiting.token, "hunter2", code=0)
    assert told(capsys, waiting.token, "--cancel", code=1) == (
        "already resolved (ok): that stands, and this answer changed nothing.\n"
    )
    shown = told(capsys, waiting.token, "hunter3", "--json", code=1)
    assert json.loads(shown) == {"status": "already_resolved", "stands": "ok", "taken_as": "text"}
    assert payload_of(carried_on(here / "lash.db")) == "hunter2"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["true"], {"status": "accepted", "stands": "ok", "taken_as": "json"}),
        (["yes"], {"status": "accepted", "stands": "ok", "taken_as": "text"}),
        ([], {"status": "accepted", "stands": "ok", "taken_as": "nothing"}),
        (["--error", "No."], {"status": "accepted", "stands": "err", "taken_as": None}),
        (["--cancel"], {"status": "accepted", "stands": "cancelled", "taken_as": None}),
    ],
)
def test_what_was_accepted_as_json(
    given: Sequence[str],
    expected: dict[str, str | None],
    waiting: lash.AwaitEventKey,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert json.loads(told(capsys, waiting.token, *given, "--json", code=0)) == expected


def test_keys_that_are_unknown_forged_or_foreign_get_one_answer(
    here: Path, waiting: lash.AwaitEventKey, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = encode(waiting).decode().replace(waiting.signature, "0" * len(waiting.signature))
    asyncio.run(left_open(here / "other.db", "Money back.", "tool_attempt"))
    answers = {
        told(capsys, "not a key", "yes", code=1),
        told(capsys, "lash-key-eyJ", "yes", code=1),
        told(capsys, forged, "yes", code=1),
        told(capsys, waiting.token, "yes", "--db", "other.db", code=1),
    }
    assert answers == {
        "unknown or revoked: the key names nothing that waits in this database. Nothing was written.\n"
    }
    shown = told(capsys, forged, "yes", "--json", code=1)
    assert json.loads(shown) == {"status": "unknown_or_revoked", "stands": None, "taken_as": "text"}
    told(capsys, waiting.token, "yes", code=0)  # none of them has used the key up


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["KEY", "yes", "--cancel"], 2, "[usage_invalid]"),
        (["KEY", "yes", "--error", "No."], 2, "[usage_invalid]"),
        (["KEY", "--error", "No.", "--cancel"], 2, "[usage_invalid]"),
        (["KEY", "yes", "--code", "late"], 2, "[usage_invalid]"),
        ([], 2, "required"),
        (["KEY", "yes", "--db", "missing.db"], 1, "There is no database"),
        (["KEY", "yes", "--db", "postgresql://me:hunter2@host/db"], 2, "[store_url_unknown]"),
    ],
)
def test_what_cannot_be_sent_is_said_so_and_the_key_is_not(
    arguments: Sequence[str],
    code: int,
    said: str,
    here: Path,
    waiting: lash.AwaitEventKey,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [waiting.token if argument == "KEY" else argument for argument in arguments]
    assert main(["resolve", *given]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert waiting.token not in err
    assert waiting.signature not in err
    assert "hunter2" not in err
    told(capsys, waiting.token, "yes", code=0)  # nothing was sent
    assert sorted(path.name for path in here.iterdir()) == ["lash.db"]


async def test_a_turn_in_another_process_goes_on_with_the_answer(tmp_path: Path) -> None:
    app = App()
    async with lash.Runtime(tmp_path / "lash.db", agents=[app.agent]) as runtime:
        running = asyncio.create_task(runtime.session("c-42").run("Money back.", turn_id="t-1"))
        await until(lambda: app.keys)
        await runtime.idle(timeout=20)
        shown = await command("show", "c-42", cwd=tmp_path)
        ended = await command("resolve", app.keys[0].token, "paid", cwd=tmp_path)
        result = await asyncio.wait_for(running, 20)
    assert "open turn · running" in shown.out
    assert "refund · waits for an answer until " in shown.out
    assert (ended.code, ended.err) == (0, "")
    assert payload_of(result) == "paid"
    assert result.text == "As you wish."
