"""`lash emit`: an event is written down by a process that has none of the code, and acted on by a worker."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_harness import start

import lash
from lash.cli import main

SHOP = """
import lash

@lash.process
async def ship(ctx: lash.ProcessContext, order_id: str) -> str:
    return f"shipped {order_id}"
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture
async def shop(here: Path) -> Path:
    (here / "shop.py").write_text(SHOP)
    namespace: dict[str, Any] = {}
    exec(SHOP, namespace)  # noqa: S102  the text above
    paid = lash.TriggerEvent("order.paid")
    async with lash.Runtime(
        here / "lash.db", processes=[namespace["ship"]], triggers=[paid]
    ) as runtime:
        await runtime.triggers.subscribe(
            paid, namespace["ship"], key="k", input={"order_id": lash.from_event("id")}
        )
        await runtime.triggers.subscribe(
            paid, namespace["ship"], key="there", source="there", input={"order_id": "fixed"}
        )
    return here


def emit(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    assert main(["emit", *arguments, "--json"]) == code
    out, err = capsys.readouterr()
    told = json.loads(out or err)
    return told if code == 0 else told["error"]["code"]


def test_an_event_is_reserved_for_those_who_subscribed(shop: Path, capsys: Capture) -> None:
    told = emit(capsys, "order.paid", "--payload", '{"id": "o-7"}', "--key", "p-1")
    assert told["replayed"] is False
    assert (told["occurrence"]["event"], told["occurrence"]["key"]) == ("order.paid", "p-1")
    (delivery,) = told["deliveries"]
    assert (delivery["subscription"], delivery["state"]) == ("k", "reserved")
    assert delivery["process_id"] == delivery["delivery_id"]
    again = emit(capsys, "order.paid", "--payload", '{"id": "o-7"}', "--key", "p-1")
    assert again == told | {"replayed": True}
    there = emit(capsys, "order.paid", "--source", '"there"', "--key", "p-2")
    assert [each["subscription"] for each in there["deliveries"]] == ["there"]


def test_people_are_told_who_hears_it(shop: Path, capsys: Capture) -> None:
    assert main(["emit", "order.paid", "--payload", '{"id": "o-7"}', "--key", "p-1"]) == 0
    out, err = capsys.readouterr()
    assert out == "emitted: order.paid, key p-1; 1 subscription hears it.\n"
    assert err == "1 of them wait for a runtime or a worker that has their code.\n"
    assert main(["emit", "unheard.of", "--key", "p-2"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("emitted: unheard.of, key p-2; 0 subscriptions hear it.\n", "")


def test_a_key_that_stands_for_another_event_is_refused(shop: Path, capsys: Capture) -> None:
    emit(capsys, "order.paid", "--payload", '{"id": "o-7"}', "--key", "p-1")
    told = emit(capsys, "order.paid", "--payload", '{"id": "o-8"}', "--key", "p-1", code=1)
    assert told == "trigger_occurrence_conflict"


def test_a_payload_may_come_from_stdin_and_is_never_repeated(
    shop: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"id": "o-7"}'))
    told = emit(capsys, "order.paid", "--payload", "-", "--key", "p-1")
    assert len(told["deliveries"]) == 1
    assert main(["emit", "order.paid", "--payload", "hush hush", "--key", "p-2"]) == 2
    out, err = capsys.readouterr()
    assert "hush" not in out + err
    assert "not JSON" in err


def test_a_missing_file_and_a_blank_key_are_refused(shop: Path, capsys: Capture) -> None:
    told = emit(capsys, "order.paid", "--key", "p", "--db", "missing.db", code=1)
    assert told == "store_unreachable"
    assert not (shop / "missing.db").exists()
    assert emit(capsys, "order.paid", "--key", " ", code=1) == "trigger_occurrence_invalid"


async def test_a_worker_that_runs_starts_what_is_emitted(shop: Path) -> None:
    worker = await start("worker", "shop", "--json", cwd=shop)
    assert json.loads(await worker.line())["type"] == "ready"
    emitted = await start(
        "emit", "order.paid", "--payload", '{"id": "o-7"}', "--key", "p", cwd=shop
    )
    assert (await emitted.ended()).code == 0
    told: list[str] = []
    while "ended" not in told:
        told.append(json.loads(await worker.line())["type"])
    worker.terminate()
    assert (await worker.ended()).code == 0


async def test_a_worker_that_comes_later_starts_what_was_emitted(shop: Path) -> None:
    emitted = await start(
        "emit", "order.paid", "--payload", '{"id": "o-7"}', "--key", "p", cwd=shop
    )
    assert (await emitted.ended()).code == 0
    worker = await start("worker", "shop", "--until-idle", cwd=shop)
    assert (await worker.ended()).code == 0
    listed = await start("ps", "--all", "--json", cwd=shop)
    (process,) = (await listed.ended()).json
    assert (process["name"], process["status"]) == ("ship", "completed")
    assert process["caused_by"]["type"] == "trigger_occurrence"
