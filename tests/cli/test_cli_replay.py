"""`lash replay`: whether the code of now comes to the same, and where it first does not."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from recorded_turns import SHOP, START_MS, App, committed, left_open, opened

import lash
from lash.cli import main
from lash.testing import ScriptedModel, VirtualClock, reply

REPLAY = ["replay", "c-42", "t-1", "--app", "shop"]
BRIEF = {"name": "support", "version": "1"}


@pytest.fixture
def shop(here: Path) -> Path:
    """A turn recorded by the module as it was, and the module as it is now."""
    asyncio.run(committed(here / "lash.db"))
    deploy(here, SHOP)
    return here


def deploy(where: Path, source: str) -> None:
    (where / "shop.py").write_text(source)


def told(capsys: pytest.CaptureFixture[str], *options: str, code: int) -> list[str]:
    assert main([*REPLAY, *options]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return [" ".join(line.split()) for line in out.splitlines()]


def document(capsys: pytest.CaptureFixture[str], *options: str, code: int) -> Any:
    assert main([*REPLAY, *options, "--json"]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        rows = list(connection.iterdump())
    connection.close()
    return rows


# --- the same ---------------------------------------------------------------------------------------


def test_unchanged_code_is_identical(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, code=0) == [
        "identical: 7 effects and the same result",
        "turn t-1 · session c-42 · recorded by support v1",
    ]
    assert document(capsys, code=0) == {
        "asked_for": "t-1",
        "session_id": "c-42",
        "turn_id": "t-1",
        "verdict": "identical",
        "committed": True,
        "effects": 7,
        "agent": BRIEF,
        "replayed_with": BRIEF,
        "divergence": None,
        "drift": [],
        "next_effects": [],
    }


def test_an_open_turn_is_identical_so_far_and_tells_what_comes_next(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    deploy(here, SHOP)
    assert told(capsys, code=0) == [
        "identical so far: 3 effects; the turn is open",
        "turn t-1 · session c-42 · recorded by support v1",
        "next comes await event · 0:tool_batch:3:child:0:call_t-1_0_0:await",
    ]
    found = document(capsys, code=0)
    assert (found["committed"], found["effects"]) == (False, 3)
    assert found["next_effects"] == [
        "await_event c-42:t-1:1:0:tool_batch:3:child:0:call_t-1_0_0:await"
    ]


def test_nothing_is_written_and_no_other_work_is_taken_up(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    deploy(here, SHOP)
    before = dump(here / "lash.db")
    told(capsys, code=0)
    assert dump(here / "lash.db") == before
    assert sorted(path.name for path in here.iterdir()) == ["lash.db", "shop.py"]


def test_no_model_is_asked_and_no_key_is_needed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hosted(ScriptedModel):
        kind = "openai"

    async def record() -> None:
        hosted = lash.Model("gpt-5.2", provider=Hosted([reply("Hello.")]))
        agent = lash.Agent("support", model=hosted)
        async with lash.Runtime(here / "lash.db", agents=[agent]) as runtime:
            await runtime.session("c-42").run("Hi", turn_id="t-1")

    asyncio.run(record())
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    deploy(here, "import lash\nsupport = lash.Agent('support', model='openai:gpt-5.2')\n")
    assert told(capsys, code=0)[0] == "identical: 3 effects and the same result"
    deploy_again(here, "import lash\nsupport = lash.Agent('support', model='openai:gpt-6')\n")
    (drift,) = document(capsys, "--app", "later", code=1)["drift"]
    assert drift["changes"] == [
        {"path": "surroundings.model.name", "before": "gpt-5.2", "after": "gpt-6", "hint": ""}
    ]


def deploy_again(where: Path, source: str) -> None:
    (where / "later.py").write_text(source)


def test_what_a_module_prints_does_not_get_into_the_document(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(shop, f"print('Connecting...')\n{SHOP}")
    assert main([*REPLAY, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["verdict"] == "identical"
    assert err == "Connecting...\n"


def test_a_turn_that_was_begun_again_is_found_under_its_old_id(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = SHOP.replace("Be brief.", "Be kind.")

    async def restart() -> None:
        app = App(kind)
        async with lash.Runtime(
            here / "lash.db", agents=[app.agent], on_drift="restart", clock=VirtualClock(START_MS)
        ) as runtime:
            await runtime.idle(timeout=20)

    asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    asyncio.run(restart())
    capsys.readouterr()  # what the runtime logged
    deploy(here, kind)
    assert told(capsys, code=0)[:3] == [
        "identical so far: 3 effects; the turn is open",
        "turn t-1:restart:1 · session c-42 · recorded by support v1",
        "Turn t-1 was begun again; this is the turn it became.",
    ]
    found = document(capsys, code=0)
    assert (found["asked_for"], found["turn_id"]) == ("t-1", "t-1:restart:1")


# --- something changed ------------------------------------------------------------------------------


def test_another_date_in_the_instructions_is_told_as_a_clock(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(shop, SHOP.replace("2026-07-01", "2026-07-02"))
    lines = told(capsys, code=1)
    assert lines[:9] == [
        "drifted: 7 effects answered from the journal, under other surroundings",
        "turn t-1 · session c-42 · recorded by support v1",
        "",
        "drift · llm call · 0:llm_call:2 · it was recorded under other surroundings",
        "cause the agent's instructions changed",
        "at surroundings.instructions",
        "before Today is 2026-07-01. Be brief.",
        "now Today is 2026-07-02. Be brief.",
        "hint a clock is read where the text is made",
    ]
    treated = " ".join(lines[10:])
    assert "(on_drift='accept', the default)" in treated
    assert "'refuse' parks it" in treated
    found = document(capsys, "--app", "shop:support", code=1)
    assert (found["verdict"], found["effects"], found["divergence"]) == ("drifted", 7, None)
    assert found["drift"] == [
        {
            "what": "drift",
            "cause": "the agent's instructions changed",
            "effect": "llm_call",
            "replay_key": "c-42:t-1:1:0:llm_call:2",
            "changes": [
                {
                    "path": "surroundings.instructions",
                    "before": "Today is 2026-07-01. Be brief.",
                    "after": "Today is 2026-07-02. Be brief.",
                    "hint": "a clock is read where the text is made",
                }
            ],
        }
    ]


def test_tools_in_another_order_are_told_as_a_set(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = "tools=[lookup_order, refund, reserve]"
    assert listed in SHOP
    deploy(shop, SHOP.replace(listed, "tools=[reserve, lookup_order, refund]"))
    lines = told(capsys, code=1)
    assert "cause the agent's tools changed" in lines
    assert "at surroundings.tools" in lines
    assert 'before ["lookup_order","refund","reserve"]' in lines
    assert 'now ["reserve","lookup_order","refund"]' in lines
    hint = "the same members in another order: a set or a directory listing gives them in any order"
    (drift,) = document(capsys, code=1)["drift"]
    assert [change["hint"] for change in drift["changes"]] == [hint]


def test_a_tool_that_the_turn_called_and_that_is_gone_is_named(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = "tools=[lookup_order, refund, reserve]"
    deploy(shop, SHOP.replace(listed, "tools=[refund, reserve]"))
    lines = told(capsys, code=1)
    assert lines[0] == "drifted: 7 effects answered from the journal, under other surroundings"
    at = lines.index("at surroundings.tools[lookup_order]")
    assert lines[at + 1].startswith("before {")
    assert "hint it was removed" in lines[at + 2 :]
    (drift,) = document(capsys, code=1)["drift"]
    (change,) = drift["changes"]
    assert (change["path"], change["after"]) == ("surroundings.tools[lookup_order]", None)


def test_another_version_of_the_agent_is_said_so(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(shop, SHOP.replace('"support",', '"support", version="2",'))
    assert told(capsys, code=0)[1] == (
        "turn t-1 · session c-42 · recorded by support v1 · replayed with support v2"
    )
    assert document(capsys, code=0)["replayed_with"] == {"name": "support", "version": "2"}


def tampered(path: Path, statement: str) -> None:
    """What code of another time would have left."""
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()


def test_another_result_of_the_same_effects_is_told(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tampered(
        shop / "lash.db",
        """UPDATE turns SET record = replace(record, '"text":"As you wish."', '"text":"Never."')""",
    )
    lines = told(capsys, code=1)
    assert lines[0] == "diverged: 7 effects answered"
    assert lines[3] == "result · the effects agree, and what came of them does not"
    at = lines.index("at result.text")
    assert lines[at + 1 : at + 3] == ["before Never.", "now As you wish."]
    assert lines[-1] == (
        "A runtime that resumed such a turn would not notice, and commit another result."
    )
    divergence = document(capsys, code=1)["divergence"]
    assert (divergence["what"], divergence["effect"]) == ("result", "")


def test_another_request_under_the_same_key_is_told_with_its_cause(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tampered(shop / "lash.db", "UPDATE inputs SET input = replace(input, 'Where?', 'Who?')")
    lines = told(capsys, code=1)
    assert lines[0] == "diverged: 1 effect answered, the next in vain"
    assert lines[3] == "mismatch · llm call · 0:llm_call:2 · it was recorded as something else"
    assert lines[4] == (
        "cause a message of the turn differs: its input, a tool's result or its wording"
    )
    assert "at identity.last[0]" in lines
    treated = "A runtime that resumed such a turn would park it: it needs a person."
    assert treated in lines
    divergence = document(capsys, code=1)["divergence"]
    assert (divergence["what"], divergence["replay_key"]) == ("mismatch", "c-42:t-1:1:0:llm_call:2")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "DELETE FROM journal WHERE replay_key = 'c-42:t-1:1:1:llm_call:6'",
            "missing · llm call · 1:llm_call:6 · it is asked for now and was not recorded",
        ),
        (
            """INSERT INTO journal SELECT NULL, scope, 'c-42:t-1:1:2:sleep:9', 'sleep', identity,
            surroundings, envelope, outcome, recorded_at_ms, duration_ms, fencing_token, blob, bytes,
            due_at_ms FROM journal LIMIT 1""",
            "unused · sleep · 2:sleep:9 · it was recorded and is not asked for now",
        ),
    ],
    ids=["missing", "unused"],
)
def test_effects_that_only_one_side_has_are_told(
    statement: str, said: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tampered(shop / "lash.db", statement)
    lines = told(capsys, code=1)
    assert lines[0].startswith("diverged: ")
    assert lines[3] == said


# --- nothing to compare -----------------------------------------------------------------------------


def test_a_retired_journal_is_an_error_and_no_divergence(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def prepare() -> None:
        clock = VirtualClock(START_MS)
        async with opened(here / "lash.db", App(), clock) as runtime:
            await runtime.session("c-42").run("Where?", turn_id="t-1")
            clock.advance(10)
            await runtime.retire_journals(timedelta(seconds=1))

    asyncio.run(prepare())
    deploy(here, SHOP)
    assert main(REPLAY) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "There is nothing to replay" in err
    assert "[journal_retired]" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "c-43", "t-1", "--app", "shop"], "[session_unknown]"),
        (["replay", "c-42", "t-9", "--app", "shop"], "[turn_unknown]"),
        (["replay", "c-42", "t-1", "--app", "shop", "--db", "no.db"], "There is no database"),
        (["replay", "c-42", "t-1", "--app", "others"], "--app others has 'billing'"),
    ],
)
def test_what_is_not_there_is_said_so(
    arguments: Sequence[str], said: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "others.py").write_text(SHOP.replace('"support"', '"billing"'))
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


NAMED = f"""{SHOP}
several = [support]
pair = (support,)
def make():
    print("made")
    return support
def make_several():
    return [support]
again = support
nothing = []
seven = 7
mixed = [support, 7]
def needy(settings):
    return support
async def slow():
    return support
"""


@pytest.mark.parametrize("name", ["", ":support", ":several", ":pair", ":make", ":make_several"])
def test_agents_are_found_by_whatever_name_holds_them(
    name: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "named.py").write_text(NAMED)
    assert main([*REPLAY[:3], "--app", f"named{name}"]) == 0
    assert capsys.readouterr().out.startswith("identical: 7 effects")


@pytest.mark.filterwarnings("ignore:coroutine 'slow' was never awaited")
@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("nowhere.at_all", "no module 'nowhere'"),
        ("named:", "MODULE or MODULE:NAME"),
        (":support", "MODULE or MODULE:NAME"),
        (".named", "MODULE or MODULE:NAME"),
        ("named:nobody", "has no 'nobody'"),
        ("named:seven", "type int"),
        ("named:mixed", "type int"),
        ("named:nothing", "empty list"),
        ("named:needy", "TypeError"),
        ("named:slow", "type coroutine"),
        ("empty", "holds no agent of its own"),
        ("broken", "RuntimeError: the module's own trouble"),
        ("leaving", "SystemExit: 0"),
        ("needing", "No module named 'not_installed_here'"),
    ],
)
def test_agents_that_cannot_be_imported_are_a_clear_error(
    app: str, said: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "named.py").write_text(NAMED)
    (shop / "empty.py").write_text("")
    (shop / "broken.py").write_text('raise RuntimeError("the module\'s own trouble")')
    (shop / "leaving.py").write_text("raise SystemExit(0)")
    (shop / "needing.py").write_text("import not_installed_here")
    assert main([*REPLAY[:3], "--app", app]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "[agent_import_failed]" in err


def test_where_the_agents_are_has_to_be_said(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(REPLAY[:3]) == 2
    assert "--app" in capsys.readouterr().err
