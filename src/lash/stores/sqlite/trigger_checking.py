"""Whether what is kept of triggers fits together.

The codes: `trigger_row_mismatch`: a row is not found under what it says of itself, or the occurrence of a
delivery is not there. `row_unreadable`: a row is damaged, so it could not be checked.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import msgspec

from lash.core.errors import LashError
from lash.sessions.checking import Finding
from lash.stores.sqlite import trigger_queries as queries
from lash.stores.sqlite import trigger_rows as rows
from lash.stores.sqlite.columns import Row, column
from lash.stores.sqlite.readers import Readers

#: Whether a row of a table is as it should be, given the number of the row.
_Check: TypeAlias = Callable[[sqlite3.Connection, int], bool]

#: How many rows are looked at in one transaction.
_PAGE = 500


async def check_triggers(readers: Readers) -> Sequence[Finding]:
    """What does not fit, in all triggers."""
    found: list[Finding] = []
    for table, check in _CHECKS.items():
        every = await readers.read(partial(_numbers, table=table))
        for start in range(0, len(every), _PAGE):
            page = every[start : start + _PAGE]
            found += await readers.read(partial(_look, table=table, page=page, check=check))
    return found


def _numbers(connection: sqlite3.Connection, table: str) -> list[int]:
    return column(connection.execute(queries.numbers(table)), int)


def _look(
    connection: sqlite3.Connection, table: str, page: Sequence[int], check: _Check
) -> Sequence[Finding]:
    found: list[Finding] = []
    for number in page:
        try:
            if check(connection, number):
                continue
            code, why = "trigger_row_mismatch", "it is not found under what it says of itself"
        except (msgspec.MsgspecError, LashError, UnicodeError) as error:
            code, why = "row_unreadable", f"it cannot be read: {error}"
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) is not None:
                raise
            code, why = "row_unreadable", "it holds text that is not UTF-8"
        message = f"Row {number} of {table} does not fit together: {why}."
        found.append(Finding(code=code, severity="error", session_id=None, message=message))
    return found


def _subscription(connection: sqlite3.Connection, number: int) -> bool:
    row = _row(connection, queries.SUBSCRIPTION_ROW, number)
    return row is None or row == rows.subscription_columns(rows.subscription(row[-1:]))


def _receipt(connection: sqlite3.Connection, number: int) -> bool:
    row = _row(connection, queries.RECEIPT_ROW, number)
    if row is not None:
        rows.receipt(row[:4])
    return True


def _occurrence(connection: sqlite3.Connection, number: int) -> bool:
    row = _row(connection, queries.OCCURRENCE_ROW, number)
    return row is None or row == rows.occurrence_columns(rows.occurrence(row[-1:]))


def _delivery(connection: sqlite3.Connection, number: int) -> bool:
    row = _row(connection, queries.DELIVERY_ROW, number)
    if row is None:
        return True
    found = rows.read_delivery(connection, row[0])
    return found is not None and row == rows.delivery_columns(found)


def _row(connection: sqlite3.Connection, query: str, number: int) -> Row | None:
    row: Row | None = connection.execute(query, (number,)).fetchone()
    return row


_CHECKS: Mapping[str, _Check] = {
    "trigger_subscriptions": _subscription,
    "trigger_receipts": _receipt,
    "trigger_occurrences": _occurrence,
    "trigger_deliveries": _delivery,
}
