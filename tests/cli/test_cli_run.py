"""`lash run`, against a real server that speaks the OpenAI wire format, and without any."""

import subprocess
import sys
from pathlib import Path

import pytest
from cli_harness import lash, start
from recorded_turns import until

from lash.cli import main
from lash.testing.openai_server import Answer, HttpError, OpenAIServer, Stall

pytestmark = pytest.mark.slow

SHOP = '''
import pathlib
import lash

@lash.tool
async def lookup_order(order_id: str) -> dict:
    """Look up one order."""
    return {"id": order_id, "status": "shipped"}

def double(number: int) -> int:
    """Double a number."""
    return number * 2

@lash.tool
async def approve(ctx: lash.ToolContext) -> object:
    """Wait for somebody to approve."""
    def announce(key):
        written = pathlib.Path("key.part")
        written.write_text(key.token)
        written.rename("key")
    return await ctx.defer(announce)

everything = [lookup_order, double]
seven = 7

def unusable(*numbers: int) -> int:
    """Nothing a model could call."""
    return sum(numbers)
'''


def reaching(server: OpenAIServer) -> dict[str, str]:
    return {"OPENAI_API_KEY": "secret-key", "OPENAI_BASE_URL": server.base_url}


LOUD = """
import os, subprocess, sys

def shout() -> str:
    print("printed", flush=True)
    os.write(1, b"written\\n")
    subprocess.run(["echo", "echoed"], check=True)
    sys.stdout = None
    return "done"
"""


async def test_what_tools_write_to_stdout_is_no_part_of_the_json(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    async with OpenAIServer([Answer(tool_calls=[("shout", {})]), Answer("Over.")]) as server:
        ended = await lash(
            *("run", "Go.", "--tools", "loud:shout", "--json"), cwd=tmp_path, env=reaching(server)
        )
    assert (ended.json["text"], ended.json["tool_calls"][0]["tool"]) == ("Over.", "shout")
    assert ended.err == "printed\nwritten\nechoed\n"


async def test_answer_goes_to_stdout_and_tools_and_usage_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    script = [
        Answer(tool_calls=[("lookup_order", {"order_id": "7"}), ("double", {"number": "x"})]),
        Answer("Order 7 is on its way."),
    ]
    async with OpenAIServer(script) as server:
        arguments = ("run", "Where is 7?", "--tools", "shop:everything")
        ended = await lash(
            *arguments, "--instructions", "Be brief.", cwd=tmp_path, env=reaching(server)
        )
    assert (ended.code, ended.out) == (0, "Order 7 is on its way.\n")
    lines = ended.err.splitlines()
    tools = sorted(line for line in lines if line.startswith("[tool]"))
    assert [line.rpartition(" · ")[0] for line in tools] == [
        "[tool] double · failure",
        "[tool] lookup_order · ok",
    ]
    assert lines[-1].startswith("[usage] 20 in · 10 out · ")
    first = server.requests[0].body
    assert first["model"] == "gpt-5.2"
    assert str(first["messages"]).count("Be brief.") == 1
    assert (tmp_path / "lash.db").exists()


async def test_json_is_one_document_with_every_key(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    script = [Answer(tool_calls=[("double", {"number": 21})]), Answer("42 — dear me.")]
    async with OpenAIServer(script) as server:
        arguments = ("run", "21?", "--tools", "shop:double", "--model", "openai:small")
        ended = await lash(
            *arguments, "--session", "sums", "--json", cwd=tmp_path, env=reaching(server)
        )
    document = ended.json
    turn_id = document.pop("turn_id")
    timing = document.pop("timing")
    (call,) = document.pop("tool_calls")
    assert (ended.code, ended.err) == (0, "")
    assert document == {
        "session_id": "sums",
        "text": "42 — dear me.",
        "outcome": {
            "status": "finished",
            "result": {"type": "assistant_message", "text": "42 — dear me."},
        },
        "usage": {
            "input_tokens": 20,
            "output_tokens": 10,
            "cache_read_input_tokens": 0,
            "cache_write_input_tokens": 0,
            "reasoning_output_tokens": 0,
        },
        "issues": [],
        "durability": "durable",
    }
    assert turn_id.startswith("turn_")
    assert timing["committed_at_ms"] >= timing["accepted_at_ms"] > 0
    assert (call["tool"], call["args"], call["attempts"]) == ("double", {"number": 21}, 1)
    assert call["output"] == {
        "outcome": {"status": "success", "payload": 42, "has_attachments": False},
        "control": None,
    }
    assert server.requests[0].body["model"] == "small"


async def test_a_refused_key_stops_the_turn_and_is_never_shown(tmp_path: Path) -> None:
    refusal = HttpError(401, "Incorrect API key provided: secret-key.", code="invalid_api_key")
    async with OpenAIServer(default=refusal) as server:
        told = await lash("run", "Hello?", cwd=tmp_path, env=reaching(server))
        document = await lash("run", "Hello?", "--json", cwd=tmp_path, env=reaching(server))
    assert (told.code, told.out) == (1, "")
    assert "[stopped (provider_error)]" in told.err
    assert "[invalid_api_key]" in told.err
    assert document.code == 1
    assert document.json["outcome"] == {"status": "stopped", "reason": {"type": "provider_error"}}
    assert [issue["code"] for issue in document.json["issues"]] == ["invalid_api_key"]
    assert "secret-key" not in told.err + document.out + document.err


async def test_an_unreachable_server_stops_the_turn(tmp_path: Path) -> None:
    async with OpenAIServer() as server:
        gone = reaching(server)
    ended = await lash("run", "Hello?", "--attempts", "1", cwd=tmp_path, env=gone)
    assert (ended.code, ended.out) == (1, "")
    assert "[connection_failed]" in ended.err


async def test_an_interrupted_turn_is_finished_by_the_next_run(tmp_path: Path) -> None:
    async with OpenAIServer([Stall("Half an ans")], default=Answer("Whole.")) as server:
        command = await start("run", "First?", cwd=tmp_path, env=reaching(server))
        await server.wait_for_requests(1)
        command.interrupt()
        interrupted = await command.ended()
        meanwhile = await lash("show", "default", cwd=tmp_path)
        again = await lash("run", "Second?", cwd=tmp_path, env=reaching(server))
        after = await lash("show", "default", "--json", cwd=tmp_path)
    assert interrupted.code == 130
    assert "stays accepted" in interrupted.err
    assert "lash run … --db lash.db --session default" in " ".join(interrupted.err.split())
    assert "open turn · waiting" in meanwhile.out
    assert "First?" in meanwhile.out
    assert (again.code, again.out) == (0, "Whole.\n")
    assert "[resume] 1 turn accepted before" in again.err
    assert [turn["messages"][0]["text"] for turn in after.json["turns"]] == ["First?", "Second?"]
    assert [turn["text"] for turn in after.json["turns"]] == ["Whole.", "Whole."]
    assert after.json["open_turns"] == []


async def test_a_deferred_tool_is_answered_from_another_terminal(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    script = [Answer(tool_calls=[("approve", {})]), Answer("Refunded.")]
    async with OpenAIServer(script) as server:
        arguments = ("run", "Refund 7.", "--tools", "shop:approve")
        command = await start(*arguments, cwd=tmp_path, env=reaching(server))
        await until((tmp_path / "key").exists)
        key = (tmp_path / "key").read_text()
        resolved = await lash("resolve", key, '{"approved": true}', cwd=tmp_path)
        ended = await command.ended()
    assert (resolved.code, resolved.err) == (0, "")
    assert resolved.out.startswith("accepted: ")
    assert (ended.code, ended.out) == (0, "Refunded.\n")
    assert "[tool] approve · waits for an answer\n" in ended.err
    assert key not in resolved.out + ended.err
    assert '{"approved":true}' in str(server.requests[1].body["messages"])


async def test_the_scripted_model_needs_nothing_and_says_what_it_is(tmp_path: Path) -> None:
    ended = await lash("run", "Knock, knock.", "--model", "scripted", cwd=tmp_path)
    assert ended.code == 0
    assert "no model was asked" in ended.out
    assert "You said: Knock, knock." in ended.out


async def test_without_a_model_or_a_key_it_says_what_to_set(tmp_path: Path) -> None:
    ended = await lash("run", "Hello?", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    for hint in ("OPENAI_API_KEY", "LASH_MODEL", "--model scripted", "[provider_not_configured]"):
        assert hint in ended.err
    assert list(tmp_path.iterdir()) == []


async def test_lash_model_names_the_model(tmp_path: Path) -> None:
    arguments = ("run", "Hello?", "--db", ":memory:")
    ended = await lash(*arguments, cwd=tmp_path, env={"LASH_MODEL": "scripted"})
    assert ended.code == 0
    assert ":memory:" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("shop", "MODULE:NAME"),
        ("nowhere.at_all:x", "no module 'nowhere'"),
        ("shop:nothing", "has no 'nothing'"),
        ("shop:seven", "type int"),
        ("broken:x", "RuntimeError: the module's own trouble"),
        ("needy:x", "No module named 'not_installed_here'"),
        ("shop:unusable", "tool_signature_invalid"),
    ],
)
def test_tools_that_cannot_be_used_are_a_clear_error(
    spec: str,
    said: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here / "shop.py").write_text(SHOP)
    (here / "broken.py").write_text('raise RuntimeError("the module\'s own trouble")')
    (here / "needy.py").write_text("import not_installed_here")
    code = main(["run", "Hello?", "--model", "scripted", "--tools", spec])
    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert said in told.err
    assert not (here / "lash.db").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "  ", "--model", "scripted"], 2, "[usage_invalid]"),
        (["run", "Hi", "--model", "gpt-5.2"], 2, "[model_invalid]"),
        (["run", "Hi", "--model", "nobody:m"], 2, "[provider_unknown]"),
        (["run", "Hi", "--model", "scripted", "--db", "no/such/folder.db"], 1, "store_unreachable"),
        (["run", "Hi", "--model", "scripted", "--db", "postgresql://u:pw@h/d"], 2, "store_url_"),
        (["run", "Hi", "--model", "scripted", "--db", "notes.txt"], 1, "[store_foreign]"),
        (["run", "Hi", "--attempts", "0"], 2, "number from 1 up"),
        (["run", "\udcff"], 2, "not valid text"),
        (["run"], 2, "required"),
        (["fly"], 2, "invalid choice"),
        ([], 2, "required"),
    ],
)
def test_wrong_usage_is_a_message_and_an_exit_code(
    arguments: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "notes.txt").write_text("Not a database at all, whatever its owner thinks.")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    assert main(arguments) == code
    told = capsys.readouterr()
    assert said in told.err
    assert "pw" not in told.err
    assert told.out == ""
    assert (tmp_path / "notes.txt").read_text().startswith("Not a database")


async def test_version_and_help_are_given(tmp_path: Path) -> None:
    version = await lash("--version", cwd=tmp_path)
    assert version.code == 0
    assert version.out.startswith("lash ")
    helped = await lash("--help", cwd=tmp_path)
    assert helped.code == 0
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for command in ("demo", "run", "sessions", "show", "journal", "replay", "resolve"):
        assert f"lash {command}" in helped.out
        assert f"`lash {command}" in page
        assert (await lash(command, "--help", cwd=tmp_path)).code == 0


def test_importing_lash_and_its_parser_leaves_rich_alone() -> None:
    code = "import lash, lash.cli.entry, sys; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
