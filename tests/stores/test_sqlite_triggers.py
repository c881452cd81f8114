"""Triggers in a SQLite file: what stands beside a record says the same as the record."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from lash.stores.sqlite import SqliteStore, trigger_queries
from lash.testing.clock import VirtualClock
from lash.testing.conformance.triggers import board
from lash.triggers.commands import TriggerOperation
from lash.triggers.listing import DeliveryFilter

#: Each column that is asked for and not read, with something else in it.
OTHERWISE = [
    ("trigger_subscriptions", "subscription_key", "'other'"),
    ("trigger_subscriptions", "owner", "'host:other'"),
    ("trigger_subscriptions", "event", "'other'"),
    ("trigger_subscriptions", "source_key", "'other'"),
    ("trigger_subscriptions", "name", "'other'"),
    ("trigger_subscriptions", "target", "'other'"),
    ("trigger_subscriptions", "owner_session", "NULL"),
    ("trigger_subscriptions", "registrant_session", "NULL"),
    ("trigger_subscriptions", "enabled", "0"),
    ("trigger_subscriptions", "deleted", "1"),
    ("trigger_occurrences", "occurrence_key", "'other'"),
    ("trigger_occurrences", "event", "'other'"),
    ("trigger_occurrences", "source_key", "'other'"),
    ("trigger_occurrences", "occurred_at_ms", "7"),
    ("trigger_deliveries", "occurrence_id", "'gone'"),
    ("trigger_deliveries", "subscription_id", "'other'"),
    ("trigger_deliveries", "starts_process", "0"),
]
#: What is read, and cannot be.
BROKEN = [
    ("trigger_subscriptions", "record"),
    ("trigger_occurrences", "record"),
    ("trigger_receipts", "outcome"),
    ("trigger_deliveries", "subscription"),
]


async def filled(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    wanted = board.registration(board.draft(name="n"), board.of_session("s"))
    await store.triggers.execute(TriggerOperation(operation_id="o", command=wanted))
    await store.triggers.ingest(board.occurred())
    assert list(await store.check()) == []
    await store.aclose()


async def found(path: Path, statement: str) -> Sequence[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
        other.commit()
    store = SqliteStore(path, VirtualClock())
    findings = await store.check()
    await store.aclose()
    return [(each.code, each.message) for each in findings]


@pytest.mark.parametrize(("table", "column", "value"), OTHERWISE)
async def test_a_column_that_says_something_else_than_its_record_is_found(
    tmp_path: Path, table: str, column: str, value: str
) -> None:
    await filled(tmp_path / "db")
    findings = await found(tmp_path / "db", f"UPDATE {table} SET {column} = {value}")  # noqa: S608
    assert ("trigger_row_mismatch", table) in [
        (code, message.split(" ")[3]) for code, message in findings
    ]


@pytest.mark.parametrize(("table", "column"), BROKEN)
@pytest.mark.parametrize("junk", ["'{'", "x'ff'", "CAST(x'ff' AS TEXT)", "7"])
async def test_a_row_that_cannot_be_read_is_found(
    tmp_path: Path, table: str, column: str, junk: str
) -> None:
    await filled(tmp_path / "db")
    findings = await found(tmp_path / "db", f"UPDATE {table} SET {column} = {junk}")  # noqa: S608
    assert {code for code, _ in findings} == {"row_unreadable"}


async def test_looking_for_what_is_reserved_does_not_go_through_everything(tmp_path: Path) -> None:
    await filled(tmp_path / "db")

    with closing(sqlite3.connect(tmp_path / "db")) as other:
        for state in ("reserved", "failed"):
            wanted = DeliveryFilter(state="reserved" if state == "reserved" else "failed")
            query, values = trigger_queries.list_deliveries(wanted)
            plan = [
                row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {query}", (*values, "", 9))
            ]
            assert f"trigger_deliveries_{state}" in plan[0], plan
        (plan_of_matching, *_) = other.execute(
            f"EXPLAIN QUERY PLAN {trigger_queries.MATCHING}", ("s",)
        ).fetchall()
        assert "SEARCH" in plan_of_matching[3]
