"""Whether what is kept of processes fits together: each log is folded again.

The codes: `process_log_broken`: the log has gaps, or cannot be read. `process_state_mismatch`: the row
is not what the log comes to, or not found under what it says. `process_lease_kept`: it has ended, and
somebody holds its lease. `process_missing`: rows of a process that is not there. `row_unreadable`: the
row is damaged, so the process could not be checked further.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

from lash.core.errors import LashError
from lash.processes.events import after, initial
from lash.processes.model import ProcessRecord, ProcessState
from lash.sessions.checking import Finding
from lash.stores.sqlite import process_queries as queries
from lash.stores.sqlite import process_rows as rows
from lash.stores.sqlite.columns import Row, checked
from lash.stores.sqlite.readers import Readers

T = TypeVar("T")

#: How many events are read at once: logs grow for months.
_PAGE = 1000

#: How many columns say how long the log is and where a process is found, before those of the process itself.
_TOLD = 11


@dataclass(frozen=True, slots=True)
class _Told:
    """A process, whether it is found under what it says of itself, and how long its log is."""

    record: ProcessRecord
    found_as_it_is: bool
    length: int


async def check_processes(readers: Readers) -> Sequence[Finding]:
    """What does not fit, in all processes; each page of a log is read in a transaction of its own."""
    found: list[Finding] = []
    for name in await readers.read(_every_process):
        shown = name.decode(errors="replace")
        try:
            found.extend(await _check(readers, name))
        except _Unreadable as error:
            found.append(_finding(shown, error.code, error.why))
    found.extend(await readers.read(_strays))
    return found


class _Unreadable(Exception):  # noqa: N818  control flow: the process cannot be checked further
    """A row that is damaged, and what that makes of the process."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


def _every_process(connection: sqlite3.Connection) -> Sequence[bytes]:
    return sorted(name or b"" for (name,) in connection.execute(queries.EVERY_PROCESS))


async def _check(readers: Readers, name: bytes) -> Sequence[Finding]:
    told = await readers.read(_guarded("row_unreadable", lambda c: _read(c, name.decode())))
    if told is None:
        return []  # it was pruned meanwhile
    record, process_id = told.record, name.decode()
    if record.process_id != process_id or not told.found_as_it_is:
        why = "it is not found under what it says of itself"
        return [_finding(process_id, "process_state_mismatch", why)]
    state = await _folded(readers, record)
    if state is None:
        return []
    if state != record.state or told.length > state.sequence:
        why = "its row is not what its log comes to"
        return [_finding(process_id, "process_state_mismatch", why)]
    if record.retired and record.lease.held is not None:
        why = "it has ended, and somebody holds its lease"
        return [_finding(process_id, "process_lease_kept", why)]
    return []


async def _folded(readers: Readers, record: ProcessRecord) -> ProcessState | None:
    """What a log comes to, as far as it was when the row was read; None when it is not there any more."""
    through = record.state.sequence
    state = initial(record.registration, record.created_at_ms)
    while state.sequence < through:
        page = partial(_fold_on, process_id=record.process_id, state=state, through=through)
        further = await readers.read(_guarded("process_log_broken", page))
        if further is None:
            return None
        state = further
    return state


def _read(connection: sqlite3.Connection, process_id: str) -> _Told | None:
    row: Row | None = connection.execute(queries.PROCESS_TOLD, (process_id,)).fetchone()
    if row is None:
        return None
    record = rows.process_record(row[_TOLD:])
    says = (*rows.standing(record), record.state.updated_at_ms, *rows.descent(record))
    return _Told(record, row[1:_TOLD] == says, checked(row[0], int))


def _fold_on(
    connection: sqlite3.Connection, process_id: str, state: ProcessState, through: int
) -> ProcessState | None:
    """The state some events on; None when the process is not there any more."""
    page = min(_PAGE, through - state.sequence)
    found = connection.execute(queries.EVENTS, (process_id, state.sequence, page)).fetchall()
    if not found and connection.execute(queries.IS_TOMBSTONE, (process_id,)).fetchone():
        return None
    for event in map(rows.process_event, found):
        if event.sequence != state.sequence + 1:
            break
        state = after(state, event)
    else:
        if found:
            return state
    raise _Unreadable("process_log_broken", f"its log has no event {state.sequence + 1}")


def _guarded(
    code: str, look: Callable[[sqlite3.Connection], T]
) -> Callable[[sqlite3.Connection], T]:
    """A look at rows that may be damaged."""

    def guarded(connection: sqlite3.Connection) -> T:
        try:
            return look(connection)
        except (msgspec.MsgspecError, LashError, UnicodeError) as error:
            raise _Unreadable(code, f"it cannot be read: {error}") from error
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) is not None:
                raise
            raise _Unreadable(code, "it holds text that is not UTF-8") from error

    return guarded


def _strays(connection: sqlite3.Connection) -> Sequence[Finding]:
    return [
        _finding(
            (name or b"").decode(errors="replace"),
            "process_missing",
            f"there are {what} and no row",
        )
        for name, what in connection.execute(queries.STRAY).fetchall()
    ]


def _finding(process_id: str, code: str, why: str) -> Finding:
    message = f"Process {process_id!r} does not fit together: {why}."
    return Finding(code=code, severity="error", session_id=None, message=message)
