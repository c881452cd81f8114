"""`lash triggers`: who subscribed to what, what occurred, and what of it was not started."""

import json
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.cli import main
from lash.testing import ScriptedModel, VirtualClock, reply

Capture = pytest.CaptureFixture[str]

PAID = lash.TriggerEvent("order.paid")
LOST = lash.TriggerEvent("order.lost")


@lash.process
async def ship(ctx: lash.ProcessContext, order_id: str, token: str = "") -> str:
    return order_id


@pytest.fixture
async def shop(here: Path) -> Path:
    agent = lash.Agent("support", model=ScriptedModel([reply("Hello.")]))
    async with lash.Runtime(
        here / "lash.db",
        agents=[agent],
        processes=[ship],
        triggers=[PAID, LOST],
        clock=VirtualClock(),
    ) as runtime:
        triggers = runtime.triggers
        wanted = {"order_id": lash.from_event("id"), "token": "fixed-secret"}
        await triggers.subscribe(PAID, ship, key="ship", input=wanted)
        await triggers.subscribe(
            PAID, lash.SessionPrompt("c-{event.id}", "hush {event}"), key="tell"
        )
        await triggers.subscribe(LOST, ship, key="old", input={"order_id": "x"})
        await triggers.delete("old")
        await triggers.emit(PAID, {"id": "o-7", "card": "payload-secret"}, key="p-1")
        await triggers.emit(PAID, {"card": "payload-secret"}, key="p-2")
        await triggers.emit(LOST, key="l-1")
        await runtime.idle(20)
    return here


def told(capsys: Capture, *arguments: str) -> Any:
    assert main(["triggers", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "secret" not in out
    assert "hush" not in out
    return json.loads(out)


def screen(capsys: Capture, *arguments: str) -> list[list[str]]:
    assert main(["triggers", *arguments]) == 0
    out, _ = capsys.readouterr()
    assert "secret" not in out
    return [line.split() for line in out.splitlines()]


def test_subscriptions_are_listed(shop: Path, capsys: Capture) -> None:
    found = told(capsys)
    assert [(each["key"], each["event"], each["enabled"]) for each in found] == [
        ("ship", "order.paid", True),
        ("tell", "order.paid", True),
    ]
    assert found[0]["target"] == {"type": "process", "name": "ship", "version": "1"}
    assert found[1]["target"] == {"type": "session", "name": "support", "version": "1"}
    everything = told(capsys, "list", "--all", "--event", "order.lost")
    assert [(each["key"], each["revision"]) for each in everything] == [("old", 2)]
    assert everything[0]["deleted_at_ms"] == 1_750_000_000_000
    heads, *rows = screen(capsys, "--all")
    assert heads == ["key", "owner", "event", "starts", "state", "rev", "changed"]
    assert [row[:3] for row in rows] == [
        ["old", "host", "order.lost"],
        ["ship", "host", "order.paid"],
        ["tell", "host", "order.paid"],
    ]
    assert "deleted" in rows[0]


def test_occurrences_are_listed_without_what_they_say(shop: Path, capsys: Capture) -> None:
    assert {each["key"] for each in told(capsys, "occurrences")} == {"p-1", "p-2", "l-1"}
    only = told(capsys, "occurrences", "--event", "order.lost")
    assert [each["key"] for each in only] == ["l-1"]
    heads, row = screen(capsys, "occurrences", "--event", "order.lost")
    assert (heads, row[:2]) == (["event", "key", "occurred"], ["order.lost", "l-1"])


def test_the_list_says_that_something_could_not_be_started(shop: Path, capsys: Capture) -> None:
    assert main(["triggers"]) == 0
    assert "2 deliveries could not be started" in capsys.readouterr().err


@pytest.fixture
async def orphaned(here: Path) -> None:
    async with lash.Runtime(here / "lash.db", processes=[ship], triggers=[PAID]) as runtime:
        declared = lash.TriggerDeclaration(PAID, ship, key="ship", input={"order_id": "x"})
        await runtime.triggers.reconcile([declared], host="shop")
        await runtime.triggers.reconcile([], host="shop")


@pytest.mark.usefixtures("orphaned")
def test_what_is_declared_no_more_is_listed_as_orphaned(capsys: Capture) -> None:
    assert [each["membership"] for each in told(capsys)] == ["orphaned"]
    assert "orphaned" in screen(capsys)[1]


def test_what_was_not_started_is_listed_with_its_reason(shop: Path, capsys: Capture) -> None:
    found = told(capsys, "deliveries")
    assert sorted((each["key"], each["subscription"], each["code"]) for each in found) == [
        ("p-2", "ship", "trigger_input_missing"),
        ("p-2", "tell", "trigger_input_missing"),
    ]
    everything = told(capsys, "deliveries", "--all")
    assert sorted((each["key"], each["state"]) for each in everything) == [
        ("p-1", "started"),
        ("p-1", "started"),
        ("p-2", "failed"),
        ("p-2", "failed"),
    ]
    assert "trigger_input_missing:" in screen(capsys, "deliveries")[1]


@pytest.fixture
async def empty(here: Path) -> Path:
    async with lash.Runtime(here / "lash.db"):
        return here


def test_an_empty_database_says_so(empty: Path, capsys: Capture) -> None:
    for what, said in (
        ("list", "lash.db holds no subscriptions."),
        ("occurrences", "lash.db holds no such occurrences."),
        ("deliveries", "lash.db holds no deliveries that were not started."),
    ):
        assert main(["triggers", what]) == 0
        assert capsys.readouterr().out == f"{said}\n"
        assert main(["triggers", what, "--event", "order.paid"]) == 0
        assert "s of event order.paid" in capsys.readouterr().out  # others may well be there
        assert main(["triggers", what, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == []
