"""Forking, deleting, vacuuming and checking in memory: the same planner as in the durable stores."""

from collections.abc import Callable, Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.leases import LeaseClaim
from lash.core.seams import SeamObserver
from lash.effects.journal import RetireSession
from lash.sessions.checking import Finding, InputFact, ScopeFact, SessionFacts, check_session
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
    fork_place,
    plan_fork,
)
from lash.sessions.maintenance import VacuumReport, VacuumRequest
from lash.sessions.model import ChildSession, ForkedSession, SessionRelation
from lash.sessions.usage import UsageEntry
from lash.stores.memory.processes import Processes
from lash.stores.memory.queue import in_order, waiting
from lash.stores.memory.scopes import Scopes
from lash.stores.memory.session import Held, HeldSession, Tombstone


class Upkeep:
    """What is done to whole sessions. Every method is one transaction, as in `Sessions`."""

    def __init__(
        self,
        held: Held,
        clock: Clock,
        seams: SeamObserver,
        scopes: Scopes,
        processes: Processes,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._held = held
        self._clock = clock
        self._seams = seams
        self._scopes = scopes
        self._processes = processes
        self._changed = changed

    # --- forking --------------------------------------------------------------------------------

    def fork(self, request: ForkRequest) -> ForkResult:
        """Begin a session that shares the history of another one."""
        sessions, deleted = self._held.sessions, self._held.deleted
        source, existing = sessions.get(request.source_id), sessions.get(request.new_id)
        nodes = source.leaf.chain() if source and source.leaf else []
        facts = ForkFacts(
            now_ms=self._clock.now_ms(),
            source=source.head if source else None,
            source_deleted=request.source_id in deleted,
            existing=existing.head if existing else None,
            deleted=request.new_id in deleted,
            path=tuple(held.node for held in nodes),
        )
        result = plan_fork(facts, request)
        if isinstance(result, Forked) and not result.existed:
            self._seams("fork.inside")
            place = fork_place(facts.path, result.head.leaf_id)
            fork = self._held.begin(result.head, facts.now_ms)
            fork.leaf = None if place is None else nodes[place]
            self._held.attachments.share(request.source_id, request.new_id, facts.now_ms)
            self._changed()
        return result

    # --- deleting -------------------------------------------------------------------------------

    def delete(self, session_id: str, claim: LeaseClaim) -> DeleteResult:
        """Remove a session for ever."""
        session = self._held.sessions.get(session_id)
        facts = DeleteFacts(
            now_ms=self._clock.now_ms(),
            lease=self._held.lease_of(session_id),
            exists=session is not None,
            deleted=session_id in self._held.deleted,
        )
        plan = plan_delete(facts, claim)
        if not isinstance(plan, DeletePlan):
            return plan
        self._seams("delete.inside")
        session = self._held.sessions.pop(session_id)
        shared = bool(self._stood_on() & set(map(id, session.nodes.values())))
        waits = self._scopes.revoke_waits(session_id)
        gone = self._scopes.retire(
            RetireSession(session_id=session_id), 2**31, lambda scope: scope.turn_id in session.open
        )
        tail = session.leaf if session.leaf and session.leaf.session_id == session_id else None
        self._held.deleted[session_id] = Tombstone(lease=plan.lease, leaf=tail if shared else None)
        forgotten = self._processes.forget_session(session_id)
        self._held.attachments.forget(session_id)
        self._changed()
        orphans = (
            other.head.session_id
            for other in self._held.sessions.values()
            if _origin(other.head.relation) == session_id
        )
        return Deleted(
            report=DeleteReport(
                session_id=session_id,
                turns=len(session.committed),
                open_turns=len(session.open),
                items=len(session.queue),
                nodes=0 if shared else len(session.nodes),
                shares_history=shared,
                records=gone.records,
                waits=len(waits),
                orphans=tuple(sorted(orphans)),
                removed_observers=forgotten.removed_observers,
                discarded_wakes=forgotten.discarded_wakes,
                cleared_subscriptions=forgotten.cleared_subscriptions,
                ended_triggers=forgotten.ended_triggers,
                orphaned_processes=forgotten.orphaned,
                preserved_processes=forgotten.preserved,
            )
        )

    def _stood_on(self) -> set[int]:
        """The nodes that a session stands on, or that another node stands on."""
        leaves = [session.leaf for session in self._held.sessions.values()]
        tails = [stone.leaf for stone in self._held.deleted.values()]
        # Nothing keeps the last node of what is left of a deleted session; it keeps the others.
        found = {id(leaf) for leaf in leaves}
        for leaf in (*leaves, *tails):
            found.update(id(node.parent) for node in (leaf.chain() if leaf else ()))
        return found

    # --- vacuuming ------------------------------------------------------------------------------

    def vacuum(self, request: VacuumRequest) -> VacuumReport:
        """Give back space. Contents that nobody refers to are never left behind here."""
        limit, before_ms = max(request.limit, 0), request.before_ms
        nodes, more_nodes = self._remove_nodes(limit)
        payloads, items, more_items = self._remove_items(before_ms, limit)
        cancels, more_cancels = self._remove_cancels(before_ms, limit)
        sessions = self._held.sessions.values()
        recent = sum(
            at >= before_ms
            for session in sessions
            for at in (*session.settled.values(), *session.stopped.values())
        )
        return VacuumReport(
            removed_nodes=nodes,
            removed_queue_payloads=payloads,
            removed_cancelled_items=items,
            removed_cancellations=cancels,
            more=more_nodes or more_items or more_cancels,
            shared_histories=sum(stone.leaf is not None for stone in self._held.deleted.values()),
            unfinished_items=min(sum(len(waiting(session)) for session in sessions), limit),
            recent=min(recent, limit),
        )

    def _remove_nodes(self, limit: int) -> tuple[int, bool]:
        """Let go of nodes that nothing stands on, newest first."""
        removed, moving = 0, True
        while moving:
            moving = False
            for session_id, stone in sorted(self._held.deleted.items(), key=lambda item: item[0]):
                while stone.leaf is not None and id(stone.leaf) not in self._stood_on():
                    if removed == limit:
                        return removed, True
                    parent = stone.leaf.parent
                    own = parent is not None and parent.session_id == session_id
                    stone.leaf = parent if own else None
                    removed, moving = removed + 1, True
        return removed, False

    def _remove_items(self, before_ms: int, limit: int) -> tuple[int, int, bool]:
        found = sorted(
            (at, session.head.session_id, session.queue[item_id].sequence, item_id)
            for session in self._held.sessions.values()
            for item_id, at in session.settled.items()
            if at < before_ms
        )
        payloads = items = 0
        for _, session_id, _, item_id in found[:limit]:
            session = self._held.sessions[session_id]
            del session.settled[item_id]
            item = session.queue[item_id]
            if item.state == "cancelled":
                del session.queue[item_id]
                items += 1
            else:
                session.queue[item_id] = msgspec.structs.replace(item, payload=None)
                payloads += 1
        return payloads, items, len(found) > limit

    def _remove_cancels(self, before_ms: int, limit: int) -> tuple[int, bool]:
        found = sorted(
            (at, session.head.session_id, turn_id)
            for session in self._held.sessions.values()
            for turn_id, at in session.stopped.items()
            if at < before_ms
        )
        for _, session_id, turn_id in found[:limit]:
            session = self._held.sessions[session_id]
            del session.stopped[turn_id], session.cancels[turn_id]
        return len(found[:limit]), len(found) > limit

    # --- checking -------------------------------------------------------------------------------

    def check(self) -> Sequence[Finding]:
        """What does not fit together."""
        scopes: dict[str | None, list[ScopeFact]] = {}
        for session_id, scope in self._scopes.facts():
            scopes.setdefault(session_id, []).append(scope)
        names = {*self._held.sessions, *(name for name in scopes if name is not None)}
        found: list[Finding] = []
        for name in sorted(names):
            found += check_session(self._facts(name, scopes.get(name, [])))
        return [*found, *self._processes.findings()]

    def _facts(self, session_id: str, scopes: Sequence[ScopeFact]) -> SessionFacts:
        session = self._held.sessions.get(session_id)
        facts = SessionFacts(
            session_id=session_id,
            now_ms=self._clock.now_ms(),
            deleted=session_id in self._held.deleted,
            lease=self._held.lease_of(session_id),
            scopes=tuple(scopes),
        )
        if session is None:
            return facts
        path = session.leaf.path(whole=True) if session.leaf else []
        return msgspec.structs.replace(
            facts,
            head=session.head,
            leaf_found=(path[-1].node_id if path else None) == session.head.leaf_id,
            path=tuple(path),
            inputs=tuple(_inputs(session)),
            turns=tuple(record for record, _ in session.committed.values()),
            items=tuple(in_order(session)),
            usage=tuple(
                UsageEntry(source=source, model=model, usage=usage)
                for (source, model), usage in session.usage.items()
            ),
        )


def _inputs(session: HeldSession) -> Sequence[InputFact]:
    return [
        InputFact(
            turn_id=turn_id,
            settled=turn_id not in session.open,
            superseded_by=session.superseded.get(turn_id),
        )
        for turn_id in session.inputs
    ]


def _origin(relation: SessionRelation) -> str | None:
    match relation:
        case ForkedSession(session_id=origin) | ChildSession(parent_session_id=origin):
            return origin
        case _:
            return None
