"""Whether whoever writes for a session or a process still holds its lease, on an open transaction."""

import sqlite3

from lash.core.leases import is_current
from lash.effects.journal import Authority, WriteAuthority
from lash.stores.sqlite import process_queries, queries
from lash.stores.sqlite.columns import Row
from lash.stores.sqlite.heads import lease_state, read_lease


def is_authorised(connection: sqlite3.Connection, authority: Authority) -> bool:
    """Whether a proof is that of the holder."""
    if isinstance(authority, WriteAuthority):
        return is_current(read_lease(connection, authority.session_id), authority.fence)
    row: Row | None = connection.execute(process_queries.LEASE, (authority.process_id,)).fetchone()
    return row is not None and is_current(lease_state(row), authority.fence)


def fenced_append(authority: Authority) -> tuple[str, tuple[str, int, str]]:
    """The statement that appends to a journal only under a lease, and what it is told of the lease."""
    fence = authority.fence
    if isinstance(authority, WriteAuthority):
        statement, holder = queries.APPEND_FENCED, authority.session_id
    else:
        statement, holder = queries.APPEND_FENCED_BY_PROCESS, authority.process_id
    return statement, (holder, fence.fencing_token, fence.nonce)
