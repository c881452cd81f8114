"""`lash ps`: how processes stand, one of them in detail, and never a secret or a change."""

import asyncio
import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processes_left import SHOP, START_MS, Shop, leave, reached, started
from recorded_turns import until
from terminal import Terminal

import lash
from lash.cli import main
from lash.core.clock import SystemClock
from lash.core.leases import LeaseClaim, LeaseOwner
from lash.processes.model import TimerWaitKind
from lash.processes.writes import ClaimRun
from lash.stores.sqlite import SqliteStore

Capture = pytest.CaptureFixture[str]

#: A deploy that forgot to give the function a new version: it asks for something else first.
CHANGED = SHOP.replace(
    "    await ctx.step(load, order_id)\n    approval",
    "    await ctx.sleep(timedelta(seconds=1))\n    approval",
)
#: A deploy that took functions away.
WITHOUT = SHOP.replace('@lash.process(version="2")', '@lash.process(version="3")')


@pytest.fixture
def shop(here: Path) -> Path:
    leave(here / "lash.db", started)
    return here


def told(capsys: Capture, *arguments: str, code: int = 0) -> list[str]:
    assert main(["ps", *arguments]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return [" ".join(line.split()) for line in out.splitlines()]


def document(capsys: Capture, *arguments: str) -> Any:
    assert main(["ps", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def ids(capsys: Capture, *arguments: str) -> list[str]:
    return [process["process_id"] for process in document(capsys, *arguments)]


# --- the list ---------------------------------------------------------------------------------------


def test_live_processes_are_listed_with_what_they_wait_for(shop: Path, capsys: Capture) -> None:
    assert told(capsys) == [
        "process what status waits for since attempts owner age",
        "both-8 both v1 waiting process notify-o-8 just now 1 nobody 0 s",
        "notify-o-8 notify v2 waiting a timer until 2096-10-02 08:06:40 just now 1 nobody 0 s",
        (
            "refund-7 refund v1 (the refund of o-7) waiting signal approved until 2096-10-05 07:06:40 "
            "just now 1 nobody 0 s"
        ),
    ]


def test_those_that_ended_are_listed_when_asked_for_with_how(shop: Path, capsys: Capture) -> None:
    assert told(capsys, "--all")[4:] == [
        "adds-1 adds v1 completed just now 1 0 s",
        "fails-1 fails v1 failed ValueError: There is no such order. [process_failed] just now 1 0 s",
    ]


def test_each_process_is_an_object_of_one_array(shop: Path, capsys: Capture) -> None:
    found = document(capsys, "--all")
    assert [process.pop("process_id") for process in found] == [
        "adds-1",
        "both-8",
        "fails-1",
        "notify-o-8",
        "refund-7",
    ]
    waiting, failed = found[4], found[2]
    assert waiting.pop("change") > failed["change"] > 0
    assert waiting == {
        "kind": "python",
        "label": "the refund of o-7",
        "name": "refund",
        "version": "1",
        "status": "waiting",
        "state": "waiting",
        "since_ms": START_MS,
        "needs_person": False,
        "waits_for": {"kind": "signal", "name": "approved", "ordinal": 1},
        "due_at_ms": START_MS + 3 * 86_400_000,
        "parked": None,
        "retry": None,
        "attempts": 1,
        "failures": 0,
        "max_attempts": None,
        "cancel_requested": None,
        "abandon_requested": None,
        "owner": None,
        "originator": {"type": "session", "session_id": "c-1", "agent_frame_id": None},
        "caused_by": None,
        "parent_id": None,
        "session_id": None,
        "wake_session_id": "c-1",
        "recovery": "rerunnable",
        "segment": 0,
        "external_ref": None,
        "created_at_ms": START_MS,
        "updated_at_ms": START_MS,
        "pruned_at_ms": None,
        "outcome": None,
    }
    assert (failed["status"], failed["state"], failed["since_ms"]) == ("failed", "failed", START_MS)
    assert failed["outcome"] == {
        "type": "failure",
        "failure_class": "execution",
        "code": "process_failed",
        "message": "ValueError: There is no such order.",
        "evidence": None,
    }
    child = found[3]
    assert (child["parent_id"], child["caused_by"]) == (
        "both-8",
        {"type": "process", "process_id": "both-8"},
    )
    assert child["waits_for"] == {"kind": "timer"}
    assert child["due_at_ms"] == START_MS + 3_600_000


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--status", "waiting"], ["both-8", "notify-o-8", "refund-7"]),
        (["--status", "failed"], ["fails-1"]),
        (["--status", "retired"], ["adds-1", "fails-1"]),
        (["--status", "any", "--name", "adds"], ["adds-1"]),
        (["--status", "ready"], []),
        (["--name", "notify"], ["notify-o-8"]),
        (["--name", "the refund of o-7"], ["refund-7"]),
        (["--session", "c-1"], ["refund-7"]),
        (["--session", "c-2"], []),
        (["--session", "c-1", "--name", "notify"], []),
    ],
)
def test_only_what_is_asked_for_is_listed(
    shop: Path, capsys: Capture, options: list[str], found: list[str]
) -> None:
    assert ids(capsys, *options) == found


def test_a_long_list_is_read_to_its_end(here: Path, capsys: Capture) -> None:
    async def many(runtime: lash.Runtime, shop: Shop) -> None:
        await asyncio.gather(
            *(
                runtime.processes.start(shop["adds"], 1, number, id=f"p-{number:04}")
                for number in range(1_203)
            )
        )

    leave(here / "lash.db", many, run=False)
    found = ids(capsys)
    assert (len(found), found[0], found[-1]) == (1_203, "p-0000", "p-1202")


def test_a_database_without_processes_says_so(here: Path, capsys: Capture) -> None:
    async def nothing(runtime: lash.Runtime, shop: Shop) -> None:
        pass

    leave(here / "lash.db", nothing)
    assert told(capsys) == ["lash.db holds no live processes; --all shows those that have ended."]
    assert told(capsys, "--all") == ["lash.db holds no processes."]
    assert told(capsys, "--name", "refund") == ["lash.db holds no such processes."]
    assert document(capsys) == []


def test_a_missing_database_is_an_error_and_stays_missing(here: Path, capsys: Capture) -> None:
    assert main(["ps", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "store_unreachable"
    assert list(here.iterdir()) == []


def test_looking_changes_nothing_and_runs_nothing(here: Path, capsys: Capture) -> None:
    leave(here / "lash.db", ready, run=False)
    (here / "shop.py").write_text(SHOP)
    before = (here / "lash.db").read_bytes()
    assert [line.split()[:4] for line in told(capsys)][1:] == [["adds-1", "adds", "v1", "ready"]]
    assert told(capsys, "adds-1")[0] == "adds-1 · adds v1 · ready"
    assert (here / "lash.db").read_bytes() == before


async def ready(runtime: lash.Runtime, shop: Shop) -> None:
    await runtime.processes.start(shop["adds"], 1, 2, id="adds-1")


def test_a_timer_that_was_given_up_is_not_what_is_waited_for(here: Path, capsys: Capture) -> None:
    async def races(runtime: lash.Runtime, shop: Shop) -> None:
        await runtime.processes.start(shop["races"], id="races-1")
        await reached(runtime, "races-1", "waiting")
        await runtime.processes.signal("races-1", "go")

        async def waits_for_a_timer() -> bool:
            wait = (await runtime.processes.get("races-1")).state.wait
            return wait is not None and isinstance(wait.kind, TimerWaitKind)

        await until(waits_for_a_timer)

    leave(here / "lash.db", races, RACES)
    (line,) = told(capsys)[1:]
    assert line.startswith("races-1 races v1 waiting a timer until 2096-10-02 09:06:40 ")


#: It sleeps for an hour at most, is told to go on, and sleeps for two.
RACES = """
from datetime import timedelta
import lash

@lash.process
async def races(ctx: lash.ProcessContext) -> None:
    await ctx.race(ctx.sleep(timedelta(hours=1)), ctx.signal("go"))
    await ctx.sleep(timedelta(hours=2))
"""


# --- what does not go on ------------------------------------------------------------------------------


async def parks(runtime: lash.Runtime, shop: Shop) -> None:
    await runtime.processes.start(shop["adds"], 1, 1, id="a-first")

    async def is_parked() -> bool:
        return (await runtime.processes.get("refund-7")).state.parked is not None

    await until(is_parked)


def test_what_needs_a_person_stands_first_with_its_reason(shop: Path, capsys: Capture) -> None:
    leave(shop / "lash.db", parks, CHANGED)
    lines = told(capsys)
    assert lines[1].startswith(
        "refund-7 refund v1 (the refund of o-7) parked a person just now 2 nobody"
    )
    assert len(lines) == 6
    assert lines[5].startswith("refund-7 needs a person: The process asked for sleep")
    assert lines[5].endswith("[process_journal_left_over]")
    (parked,) = document(capsys, "--status", "parked")
    assert (parked["status"], parked["state"], parked["needs_person"]) == (
        "waiting",
        "parked",
        True,
    )
    assert (parked["parked"]["code"], parked["parked"]["waits_for"]) == (
        "process_journal_left_over",
        "person",
    )
    assert parked["since_ms"] == START_MS


def test_a_process_whose_version_is_gone_says_which_code_it_waits_for(
    shop: Path, capsys: Capture
) -> None:
    async def notes(runtime: lash.Runtime, shop: Shop) -> None:
        async def is_parked() -> bool:
            return (await runtime.processes.get("notify-o-8")).state.parked is not None

        await until(is_parked)

    leave(shop / "lash.db", notes, WITHOUT)
    (line,) = [line for line in told(capsys) if line.startswith("notify-o-8 waits")]
    assert line.startswith(
        "notify-o-8 waits for its code: Process 'notify-o-8' was begun by version '2'"
    )
    assert line.endswith("[process_version_missing]")
    (parked,) = document(capsys, "--status", "parked", "--name", "notify")
    assert (parked["process_id"], parked["needs_person"]) == ("notify-o-8", False)


def test_a_process_that_rests_says_until_when_and_why(here: Path, capsys: Capture) -> None:
    async def rests(runtime: lash.Runtime, shop: Shop) -> None:
        await runtime.processes.start(shop["unlucky"], id="unlucky-1")

        async def is_resting() -> bool:
            return (await runtime.processes.get("unlucky-1")).state.retry is not None

        await until(is_resting)

    leave(here / "lash.db", rests)
    lines = told(capsys)
    assert lines[1:] == [
        (
            "unlucky-1 unlucky v1 resting its next attempt at 2096-10-02 07:06:40 just now "
            "1 (1 in vain) nobody 0 s"
        ),
        "",
        (
            "unlucky-1 rests until 2096-10-02 07:06:40, its last attempt failed: The database stayed "
            "locked. [store_busy]"
        ),
    ]
    (resting,) = document(capsys, "--status", "resting")
    assert resting["retry"] == {
        "code": "store_busy",
        "message": "The database stayed locked.",
        "next_attempt_at_ms": START_MS + 100,
    }
    assert resting["failures"] == 1


def test_a_process_that_is_done_elsewhere_says_where(here: Path, capsys: Capture) -> None:
    async def elsewhere(runtime: lash.Runtime, shop: Shop) -> None:
        await runtime.processes.start_external(
            {"label": "deploy", "token": "external-secret"},
            id="deploy-1",
            reference=("github", "123"),
        )

    leave(here / "lash.db", elsewhere)
    assert told(capsys)[1] == "deploy-1 external deploy external github:123 just now 0 s"
    (process,) = document(capsys)
    assert process["external_ref"] == {"backend": "github", "id": "123"}
    assert "external-secret" not in json.dumps(process)


def claimed_elsewhere(place: Path) -> None:
    """Somebody on another host holds the lease of refund-7."""

    async def claim() -> None:
        store = SqliteStore(place / "lash.db", SystemClock(asyncio.sleep))
        owner = LeaseOwner(owner_id="owner_of_another", incarnation="run", host="far")
        await store.write_process(
            "refund-7", ClaimRun(claim=LeaseClaim(owner=owner, nonce="nonce-secret", ttl_ms=60_000))
        )
        await store.aclose()

    asyncio.run(claim())


def test_who_runs_a_process_is_told_and_not_the_proof(shop: Path, capsys: Capture) -> None:
    claimed_elsewhere(shop)
    (line,) = [line for line in told(capsys) if line.startswith("refund-7")]
    assert "running" in line
    assert line.endswith("far/nother 0 s")
    assert main(["ps", "--json", "--status", "running"]) == 0
    out = capsys.readouterr().out
    assert "nonce-secret" not in out
    (process,) = json.loads(out)
    owner = process["owner"]
    assert owner.pop("expires_at_ms") > 0
    assert owner == {
        "owner_id": "owner_of_another",
        "incarnation": "run",
        "host": "far",
        "alive": True,
    }


# --- one process --------------------------------------------------------------------------------------


async def tells(runtime: lash.Runtime, shop: Shop) -> None:
    await runtime.processes.signal("refund-7", "approved", {"by": "signal-secret"}, id="click-1")
    await reached(runtime, "refund-7", "completed")


def test_a_process_is_told_from_its_beginning(shop: Path, capsys: Capture) -> None:
    lines = told(capsys, "both-8")
    owner = lines[5].split(" on ")[1].removesuffix(", not any more")
    assert lines == [
        "both-8 · both v1 · waiting",
        "waits for process notify-o-8, since 2096-10-02 07:06:40 (just now)",
        "created 2096-10-02 07:06:40",
        "started by the host",
        "child notify-o-8 · notify v2 · waiting",
        f"attempts 1, the last one on {owner}, not any more",
        "recovery rerunnable",
        'arguments {"order_id":"o-8"}',
        "",
        "# when after event what",
        f"1 2096-10-02 07:06:40 +0 ms started attempt 1 on {owner}",
        "2 07:06:40 +0 ms waiting process notify-o-8",
        "",
        "journal · 1 effect",
        "# effect key recorded took size state",
        "1 process start:1 2096-10-02 07:06:40 0 ms 92 B recorded",
    ]
    child = told(capsys, "notify-o-8")
    assert "started by the host, from process both-8" in child
    assert "parent both-8" in child
    assert child[-1] == ("1 sleep sleep:1 2096-10-02 07:06:40 0 ms 42 B due 2096-10-02 08:06:40")


def test_what_a_signal_said_is_not_told_and_results_are_cut(shop: Path, capsys: Capture) -> None:
    leave(shop / "lash.db", tells)
    lines = told(capsys, "refund-7")
    (signal,) = [line for line in lines if " ms signal " in line]
    assert signal.endswith(" signal approved · 22 B")
    assert lines[-1].startswith('completed: "o-7 is refunded: result-secret-that-is')
    assert lines[-1].endswith("…")
    text = json.dumps([lines, document(capsys, "refund-7"), document(capsys, "--all")])
    for secret in ("signal-secret", "step-secret", "by-far"):
        assert secret not in text


def test_payloads_are_told_whole_where_they_are_asked_for(shop: Path, capsys: Capture) -> None:
    leave(shop / "lash.db", tells)
    lines = told(capsys, "refund-7", "--payloads")
    (signal,) = [line for line in lines if " ms signal " in line]
    assert signal.endswith(' signal approved · {"by":"signal-secret"}')
    assert lines[-1].endswith('-of-a-screen-by-far"')
    whole = document(capsys, "refund-7", "--payloads")
    assert whole["payloads"] is True
    assert whole["arguments"] == {"order_id": "o-7"}
    assert whole["value"].endswith("by-far")
    (payload,) = [
        event["payload"] for event in whole["events"] if event["event_type"] == "signal.approved"
    ]
    assert payload == {"by": "signal-secret"}
    assert "step-secret" not in json.dumps(whole)  # what effects returned is the journal's


def test_a_process_in_detail_is_one_document(shop: Path, capsys: Capture) -> None:
    found = document(capsys, "refund-7")
    assert found.pop("process")["process_id"] == "refund-7"
    (begun, waiting) = found.pop("events")
    assert begun.pop("summary").startswith("attempt 1 on ")
    assert begun.pop("payload_bytes") > 0
    assert begun == {
        "sequence": 1,
        "event_type": "process.started",
        "occurred_at_ms": START_MS,
        "payload": None,
    }
    assert (waiting["event_type"], waiting["summary"]) == ("process.waiting", "signal approved")
    assert found == {
        "payloads": False,
        "arguments": None,
        "value": None,
        "environment": {
            "agent_name": None,
            "agent_version": None,
            "session_id": None,
            "plugins": [],
        },
        "observers": ["c-1"],
        "children": [],
        "wakes": [],
        "journal": {
            "segment": 0,
            "effects": [
                {
                    "number": 1,
                    "kind": "durable_step",
                    "key": "step:load:1:attempt:1",
                    "state": "recorded",
                    "recorded_at_ms": START_MS,
                    "duration_ms": 0.0,
                    "bytes": 68,
                    "due_at_ms": None,
                },
                {
                    "number": 2,
                    "kind": "durable_step",
                    "key": "signal:approved:1:deadline",
                    "state": "recorded",
                    "recorded_at_ms": START_MS,
                    "duration_ms": 0.0,
                    "bytes": 45,
                    "due_at_ms": None,
                },
            ],
            "waits": [],
        },
        "outcome": None,
    }
    parent = document(capsys, "both-8")
    assert [child["process_id"] for child in parent["children"]] == ["notify-o-8"]


def test_parks_and_requests_stand_in_the_log(shop: Path, capsys: Capture) -> None:
    leave(shop / "lash.db", parks, CHANGED)
    assert main(["cancel", "--process", "refund-7", "--reason", "asked twice"]) == 0
    capsys.readouterr()
    lines = told(capsys, "refund-7")
    assert lines[1].startswith("waits for a person · asked to stop, since 2096-10-02 07:06:40")
    assert any(
        line.startswith("cancel asked for ") and line.endswith("asked twice") for line in lines
    )
    (parked,) = [line for line in lines if " parked needs a person: " in line]
    assert parked.endswith("[process_journal_left_over]")
    (asked,) = [line for line in lines if " cancel requested " in line]
    assert asked.endswith("asked twice")


def test_a_terminal_is_not_steered_by_what_processes_are_called(
    here: Path, capsys: Capture
) -> None:
    async def rude(runtime: lash.Runtime, shop: Shop) -> None:
        await runtime.processes.start(shop["adds"], 1, 2, id="a\x1b[2J\x07b", label="c\x1b[31m")
        await runtime.idle()

    leave(here / "lash.db", rude)
    assert main(["ps", "--all"]) == 0
    assert main(["ps", "a\x1b[2J\x07b"]) == 0
    assert main(["ps", "a\x1b[2J\x07b", "--payloads"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "a[2Jb" in out


def test_a_process_that_is_not_there_is_said_so(shop: Path, capsys: Capture) -> None:
    assert main(["ps", "nobody"]) == 1
    assert "[process_unknown]" in capsys.readouterr().err

    async def forget(runtime: lash.Runtime, shop: Shop) -> None:
        assert (await runtime.processes.prune(timedelta(0))).processes == 2

    leave(shop / "lash.db", forget)
    assert main(["ps", "adds-1"]) == 1
    assert "[process_no_longer_retained]" in capsys.readouterr().err


def test_a_name_of_code_that_nobody_knows_any_more_is_shown_all_the_same(
    shop: Path, capsys: Capture
) -> None:
    with sqlite3.connect(shop / "lash.db") as connection:
        connection.execute(
            "UPDATE process_events SET payload = ? WHERE event_type = 'process.waiting'",
            ('{"wait": {"kind": {"kind": "of another version"}}}',),
        )
    connection.close()
    assert any("of another version" in line for line in told(capsys, "refund-7"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["refund-7", "--all"],
        ["refund-7", "--watch"],
        ["refund-7", "--session", "c-1"],
        ["--payloads"],
        ["--status", "nonsense"],
        ["--all", "--status", "failed"],
    ],
)
def test_what_does_not_go_together_is_refused(
    shop: Path, capsys: Capture, arguments: list[str]
) -> None:
    assert main(["ps", *arguments, "--json"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert json.loads(told.err)["error"]["code"] == "usage_invalid"


def test_a_narrow_terminal_loses_nothing(shop: Path) -> None:
    with Terminal("ps", cwd=shop, columns=50) as terminal:
        assert terminal.ended() == 0
        assert "waits for: signal approved until 2096-10-05" in terminal.screen.text
        assert all(len(line) <= 50 for line in terminal.screen.lines)
