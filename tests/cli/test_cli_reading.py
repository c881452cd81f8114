"""`lash sessions` and `lash show`: what a database holds, and never anything changed in it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from recorded_turns import START_MS, left_open

import lash
from lash.cli import main
from lash.core.clock import SystemClock
from lash.core.leases import Fence, LeaseClaim, LeaseOwner
from lash.sessions.accepting import Accepted, AcceptRequest
from lash.sessions.model import AgentRef, Parked, TextItem, TurnInput
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, calls, reply


@lash.tool
async def lookup_order(order_id: str) -> dict[str, str]:
    """Look up one order."""
    if order_id == "8":
        raise lash.ToolError("Order 8 is lost.")
    return {"id": order_id, "status": "shipped"}


async def fill(path: Path) -> None:
    """A session with two committed turns, and one whose only turn is parked with another behind."""
    script = [
        calls(("lookup_order", {"order_id": "7"}), ("lookup_order", {"order_id": "8"}), text="Hm."),
        reply("7 is \x1b[31mshipped\x1b[0m, 8 is lost."),
    ]
    agent = lash.Agent("support", model=ScriptedModel(script), tools=[lookup_order])
    async with lash.Runtime(path, agents=[agent]) as runtime:
        session = runtime.session("c-42")
        await session.run("Where are 7 and 8?", turn_id="t-1")
        await session.run("And now?", turn_id="t-2")
    store = SqliteStore(path, SystemClock(asyncio.sleep))
    owner = store.register_owner("owner", "run")
    fences = [
        await accept(store, owner, "p-1", "Refund me."),
        await accept(store, owner, "p-2", "Hello?"),
    ]
    parked = Parked(code="effect_replay_mismatch", message="The code asked for something else.")
    assert await store.park_turn("c-43", "p-1", parked, fences[0])
    assert await store.release_lease("c-43", fences[1]) == "released"
    await store.aclose()


async def accept(store: SqliteStore, owner: LeaseOwner, turn_id: str, text: str) -> Fence:
    request = AcceptRequest(
        session_id="c-43",
        agent=AgentRef(name="billing", version="3"),
        turn_id=turn_id,
        input=TurnInput(items=(TextItem(text=text),)),
        claim=LeaseClaim(owner=owner, nonce="n", ttl_ms=30_000),
    )
    accepted = await store.accept_turn(request)
    assert isinstance(accepted, Accepted)
    return accepted.lease.fence


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    asyncio.run(fill(tmp_path / "lash.db"))
    return tmp_path


def test_sessions_are_a_table_with_what_needs_a_person(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sessions"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    columns = ["session", "agent", "state", "turns", "open", "queued", "tokens", "changed"]
    assert head.split() == columns
    assert rows[0].split() == ["c-43", "billing", "v3", "parked", "0", "2", "0", "0", "just", "now"]
    assert rows[1].split() == ["c-42", "support", "v1", "idle", "2", "0", "0", "60", "just", "now"]
    reason = " ".join(" ".join(rows[2:]).split())
    assert reason == (
        "c-43 needs a person: The code asked for something else. [effect_replay_mismatch]"
    )


def test_sessions_as_json_have_every_key(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sessions", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["database"] == "lash.db"
    parked, idle = document["sessions"]
    assert set(parked) == set(idle)
    assert (idle["session_id"], idle["state"], idle["turns"]) == ("c-42", "idle", 2)
    assert idle["agent"] == {"name": "support", "version": "1"}
    assert idle["usage"]["cache_read_input_tokens"] == 0
    assert idle["parked"] is None
    assert (parked["state"], parked["open_turns"]) == ("parked", 2)
    assert parked["parked"]["code"] == "effect_replay_mismatch"


def test_show_tells_a_session_turn_by_turn(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "c-42"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "support v1 · idle · 2 turns · 0 open · 40 in · 20 out" in out
    first, second = out.split("\nturn ")[1:]
    assert first.startswith("1 · finished · ")
    assert "t-1" in first.splitlines()[0]
    lines = [" ".join(line.split()) for line in first.splitlines()[1:] if line.strip()]
    assert lines[0] == "user Where are 7 and 8?"
    assert lines[1] == "assistant Hm."
    assert lines[2].startswith("tool lookup_order · ok · ")
    assert lines[3:5] == ['← order_id="7"', '→ {"id":"7","status":"shipped"}']
    assert lines[5].startswith("tool lookup_order · failure · ")
    assert lines[6] == '← order_id="8"'
    assert lines[7] == "→ [Tool execution failed] Order 8 is lost."
    assert lines[8] == "assistant 7 is [31mshipped[0m, 8 is lost."
    assert lines[9] == "usage 20 in · 10 out"
    assert second.startswith("2 · finished · ")


def test_show_tells_of_open_turns(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "c-43"]) == 0
    out = capsys.readouterr().out
    parked, queued = out.split("\nopen turn · ")[1:]
    assert parked.startswith("parked · accepted ")
    assert "Refund me." in parked
    assert "parked needs a person: The code asked for something else." in " ".join(parked.split())
    assert "[effect_replay_mismatch]" in parked
    assert queued.startswith("queued · accepted ")
    assert "Hello?" in queued


def test_a_turn_that_waits_for_its_agent_says_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def leave() -> None:
        app = await left_open(here / "lash.db", "Money back.", "tool_attempt")
        app.agent.version = "2"
        async with lash.Runtime("lash.db", agents=[app.agent]) as runtime:
            await runtime.idle(timeout=20)

    asyncio.run(leave())
    capsys.readouterr()  # what the runtime logged
    assert main(["sessions"]) == 0
    _, row, *reason = capsys.readouterr().out.splitlines()
    assert row.split()[:6] == ["c-42", "support", "v1", "parked", "0", "1"]
    told = " ".join(" ".join(reason).split())
    assert told.startswith("c-42 waits for a runtime that has its agent: The turn was accepted by")
    assert told.endswith("[agent_version_missing]")
    assert main(["sessions", "--json"]) == 0
    (session,) = json.loads(capsys.readouterr().out)["sessions"]
    assert (session["state"], session["parked"]["waits_for"]) == ("parked", "agent")
    assert main(["show", "c-42"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "open turn · parked · " in shown
    assert "parked waits for a runtime that has its agent: The turn was accepted by" in shown


def test_a_deferred_tool_call_is_shown_with_its_deadline(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    assert main(["show", "c-42"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == [
        "user Money back.",
        "tool refund · waits for an answer until 2096-10-02 08:06:40",
    ]
    assert main(["show", "c-42", "--json"]) == 0
    ((wait,),) = [turn["waits"] for turn in json.loads(capsys.readouterr().out)["open_turns"]]
    assert (wait["key_id"], wait["tool"]) == (app.keys[0].key_id, "refund")
    assert (wait["state"], wait["deadline_at_ms"]) == ("waiting", START_MS + 3_600_000)


def test_show_as_json_holds_messages_calls_and_open_turns(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "c-42", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"session", "tools", "inherited", "turns", "open_turns", "queue"}
    first, second = document["turns"]
    assert set(first) == set(second)
    assert [turn["turn_id"] for turn in (first, second)] == ["t-1", "t-2"]
    roles = [message["role"] for message in first["messages"]]
    assert roles == ["user", "assistant", "user", "assistant"]
    outcomes = [call["output"]["outcome"]["status"] for call in first["tool_calls"]]
    assert outcomes == ["success", "failure"]
    assert first["text"] == "7 is \x1b[31mshipped\x1b[0m, 8 is lost."
    assert main(["show", "c-43", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(item["turn_id"], item["state"]) for item in document["open_turns"]] == [
        ("p-1", "parked"),
        ("p-2", "queued"),
    ]


def test_an_unknown_session_is_said_so(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "c-44"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "[session_unknown]" in told.err


@pytest.mark.parametrize("command", [["sessions"], ["show", "c-42"]])
def test_a_missing_database_is_said_so_and_not_created(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.db"
    assert main([*command, "--db", str(missing)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "There is no database" in told.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["sessions"], ["show", "c-42"]])
def test_a_foreign_file_is_refused_and_left_alone(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("My notes, which are none of lash's business.")
    assert main([*command, "--db", str(foreign)]) == 1
    assert "[store_foreign]" in capsys.readouterr().err
    assert foreign.read_text() == "My notes, which are none of lash's business."


def test_a_database_url_is_refused_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sessions", "--db", "postgresql://me:hunter2@host/db"]) == 2
    told = capsys.readouterr().err
    assert "[store_url_unknown]" in told
    assert "hunter2" not in told


def test_a_database_without_sessions_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.db"
    asyncio.run(SqliteStore(path, SystemClock(asyncio.sleep)).aclose())
    assert main(["sessions", "--db", str(path)]) == 0
    assert capsys.readouterr().out.split() == [str(path), "holds", "no", "sessions", "yet."]


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (
            {"members": {"tool:lookup_order": False}, "hidden": ["tool:z", "tool:a"]},
            "tools: without tool:lookup_order; never tool:a, tool:z",
        ),
        ({"only": ["tool:lookup_order"]}, "tools: only tool:lookup_order"),
    ],
)
def test_show_says_what_a_session_says_about_its_tools(
    wanted: dict[str, Any], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agents.db"

    async def said() -> None:
        agent = lash.Agent("support", model=ScriptedModel([]), tools=[lookup_order])
        async with lash.Runtime(path, agents=[agent]) as runtime:
            await runtime.session("s").configure_tools(**wanted)

    asyncio.run(said())
    assert main(["show", "s", "--db", str(path)]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert main(["show", "s", "--db", str(path), "--json"]) == 0
    only = "only" in wanted
    assert json.loads(capsys.readouterr().out)["tools"] == {
        "generation": 1,
        "members": {"tool:lookup_order": only},
        "others": not only,
        "hidden": [] if only else ["tool:a", "tool:z"],
    }
