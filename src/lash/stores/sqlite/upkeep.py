"""Forking, deleting, vacuuming and checking in SQLite: reads facts, calls the planner, persists its plan."""

import sqlite3
from collections.abc import Callable, Sequence

from lash.core.clock import Clock
from lash.core.leases import LeaseClaim, LeaseOwner
from lash.core.seams import SeamObserver
from lash.effects.journal import RetireSession
from lash.sessions.checking import Finding
from lash.sessions.deleting import (
    Deleted,
    DeleteFacts,
    DeletePlan,
    DeleteReport,
    DeleteResult,
    plan_delete,
)
from lash.sessions.forking import (
    Forked,
    ForkFacts,
    ForkRequest,
    ForkResult,
    asks_for_leaf,
    fork_place,
    plan_fork,
)
from lash.sessions.maintenance import VacuumReport, VacuumRequest
from lash.sessions.model import SessionHead, SessionNode
from lash.stores.sqlite import checking, graph, heads, retiring, upkeep_queries, waits
from lash.stores.sqlite.attachment_refs import share_refs
from lash.stores.sqlite.columns import checked, column, text
from lash.stores.sqlite.forgetting import forget_session
from lash.stores.sqlite.process_checking import check_processes
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.trigger_checking import check_triggers
from lash.stores.sqlite.vacuuming import Vacuum
from lash.stores.sqlite.writer import Writer

#: More scopes than a session ever has: deleting takes all of them in one transaction.
_ALL = 2**31


class Upkeep:
    """What is done to whole sessions, and to the database; see `lash.sessions.store.SessionStore`."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        clock: Clock,
        seams: SeamObserver,
        is_dead: Callable[[LeaseOwner], bool],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._seams = seams
        self._is_dead = is_dead
        self._vacuum = Vacuum()

    # --- forking --------------------------------------------------------------------------------

    async def fork(self, request: ForkRequest) -> ForkResult:
        """Begin a session that shares the history of another one."""
        # A long history is read beside the writer, who has others to serve. Nodes never change, so what
        # was found holds when the fork is written.
        found = await self._readers.read(lambda connection: _shared_path(connection, request))
        return await self._writer.submit(lambda connection: self._fork(connection, request, found))

    def _fork(
        self,
        connection: sqlite3.Connection,
        request: ForkRequest,
        found: Sequence[tuple[int, SessionNode]],
    ) -> ForkResult:
        source, _ = heads.read_head(connection, request.source_id)
        existing, _ = heads.read_head(connection, request.new_id)
        nodes = found or _shared_path(connection, request)
        path = tuple(node for _, node in nodes)
        facts = ForkFacts(
            now_ms=self._clock.now_ms(),
            source=source,
            source_deleted=heads.is_deleted(connection, request.source_id),
            existing=existing,
            deleted=heads.is_deleted(connection, request.new_id),
            path=path,
        )
        result = plan_fork(facts, request)
        if isinstance(result, Forked) and not result.existed:
            place = fork_place(path, result.head.leaf_id)
            leaf = graph.read_leaf(connection, request.source_id)
            at = leaf if place is None else nodes[place][0]
            _add_fork(connection, result.head, at, request)
            share_refs(connection, request.source_id, request.new_id, facts.now_ms)
            self._seams("fork.inside")
        return result

    # --- deleting -------------------------------------------------------------------------------

    async def delete(self, session_id: str, claim: LeaseClaim) -> DeleteResult:
        """Remove a session for ever."""
        return await self._writer.submit(
            lambda connection: self._delete(connection, session_id, claim)
        )

    def _delete(
        self, connection: sqlite3.Connection, session_id: str, claim: LeaseClaim
    ) -> DeleteResult:
        head, _ = heads.read_head(connection, session_id)
        facts = DeleteFacts(
            now_ms=self._clock.now_ms(),
            lease=heads.read_lease(connection, session_id),
            exists=head is not None,
            deleted=heads.is_deleted(connection, session_id),
        )
        plan = plan_delete(facts, claim)
        if not isinstance(plan, DeletePlan):
            return plan
        report = _remove(connection, session_id, facts.now_ms)
        report = forget_session(connection, report, self._clock)
        heads.put_free_lease(connection, session_id, plan.lease.fencing_token)
        self._seams("delete.inside")
        return Deleted(report=report)

    # --- vacuuming and checking -----------------------------------------------------------------

    async def vacuum(self, request: VacuumRequest) -> VacuumReport:
        """Give back space."""
        return await self._writer.submit(lambda connection: self._vacuum.run(connection, request))

    async def check(self) -> Sequence[Finding]:
        """What does not fit together; each session in a transaction of its own."""
        found: list[Finding] = []
        for session_id in await self._readers.read(checking.every_session):

            def look(connection: sqlite3.Connection, session_id: str = session_id) -> None:
                found.extend(
                    checking.check_session_rows(
                        connection, session_id, self._clock.now_ms(), self._is_dead
                    )
                )

            await self._readers.read(look)
        found.extend(await self._readers.read(checking.check_scopes))
        found.extend(await check_processes(self._readers))
        found.extend(await check_triggers(self._readers))
        return found


def _shared_path(
    connection: sqlite3.Connection, request: ForkRequest
) -> Sequence[tuple[int, SessionNode]]:
    """The path that a fork is to branch off; nothing where it begins at the source's leaf, or exists."""
    source, _ = heads.read_head(connection, request.source_id)
    existing, _ = heads.read_head(connection, request.new_id)
    if existing is not None or asks_for_leaf(request, source):
        return []
    return graph.read_path_rows(connection, request.source_id)


def _add_fork(
    connection: sqlite3.Connection, head: SessionHead, leaf: int | None, request: ForkRequest
) -> None:
    values = (
        head.session_id,
        head.agent.name,
        head.agent.version,
        head.created_at_ms,
        head.created_at_ms,
        head.leaf_id,
        head.leaf_digest,
        leaf,
        head.frame_id,
        text(head.config),
        text(head.relation),
        request.source_id,
    )
    connection.execute(upkeep_queries.ADD_FORK, values)


def _remove(connection: sqlite3.Connection, session_id: str, now_ms: int) -> DeleteReport:
    """Remove all of a session except for its tombstone, its lease's token, and nodes others share."""
    this = (session_id,)
    (open_turns,) = connection.execute(upkeep_queries.COUNT_OPEN, this).fetchone()
    (shared,) = connection.execute(upkeep_queries.IS_SHARED, (session_id, session_id)).fetchone()
    orphans = column(connection.execute(upkeep_queries.ORPHANS, this), str)
    leaf = graph.read_leaf(connection, session_id) if shared else None
    nodes = 0 if shared else connection.execute(upkeep_queries.DELETE_NODES, this).rowcount
    forgotten = waits.revoke_waits(connection, session_id, now_ms)
    gone = retiring.retire(connection, RetireSession(session_id=session_id), _ALL)
    connection.execute(upkeep_queries.DELETE_INPUTS, this)
    connection.execute(upkeep_queries.DELETE_CANCELS, this)
    connection.execute(upkeep_queries.DELETE_USAGE, this)
    items = connection.execute(upkeep_queries.DELETE_QUEUE, this).rowcount
    turns = connection.execute(upkeep_queries.DELETE_TURNS, this).rowcount
    connection.execute(upkeep_queries.DELETE_SESSION, this)
    connection.execute(
        upkeep_queries.ADD_DELETED, (session_id, now_ms, _own(connection, leaf, session_id))
    )
    return DeleteReport(
        session_id=session_id,
        turns=turns,
        open_turns=checked(open_turns, int),
        items=items,
        nodes=nodes,
        shares_history=bool(shared),
        records=gone.records,
        waits=len(forgotten),
        orphans=tuple(orphans),
    )


def _own(connection: sqlite3.Connection, leaf: int | None, session_id: str) -> int | None:
    """A session's leaf, if it is a node of its own and not one of the session it was forked from."""
    row = connection.execute(upkeep_queries.IS_NODE_OF, (leaf, session_id)).fetchone()
    return leaf if row is not None else None
