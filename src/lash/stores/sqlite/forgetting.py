"""What becomes of processes when a session is deleted: they live on, and nobody is told there any more."""

import sqlite3

import msgspec

from lash.core.clock import Clock
from lash.processes.writes import RetargetWakes
from lash.sessions.deleting import DeleteReport
from lash.stores.sqlite import process_queries as queries
from lash.stores.sqlite.attachment_refs import forget_refs
from lash.stores.sqlite.columns import array, checked, column
from lash.stores.sqlite.processes import perform
from lash.stores.sqlite.triggers import end_subscriptions


def forget_session(
    connection: sqlite3.Connection, report: DeleteReport, clock: Clock
) -> DeleteReport:
    """Take a session out of every process, in the transaction that deletes it; the report with that."""
    this = (report.session_id,)
    forget_refs(connection, report.session_id)
    seen = column(connection.execute(queries.OBSERVED, this), str)
    orphaned: list[str] = []
    preserved: list[str] = []
    if seen:
        connection.execute(queries.FORGET_OBSERVER, this)
        for process_id, is_seen in connection.execute(queries.LIVE_AMONG, (array(seen),)):
            (preserved if is_seen else orphaned).append(checked(process_id, str))
    # First those for the session itself: that it is gone says more than that they go elsewhere now.
    discarded = connection.execute(queries.DISCARD_WAKES_OF_SESSION, this).rowcount
    waking = column(connection.execute(queries.WAKING, this), str)
    for process_id in waking:
        perform(connection, process_id, RetargetWakes(session_id=None), clock)
    return msgspec.structs.replace(
        report,
        removed_observers=len(seen),
        discarded_wakes=discarded,
        cleared_subscriptions=len(waking),
        ended_triggers=end_subscriptions(connection, report.session_id, clock),
        orphaned_processes=tuple(orphaned),
        preserved_processes=tuple(preserved),
    )
