"""Sessions in memory: the same planner as in the durable stores."""

from collections.abc import Callable, Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.leases import (
    Busy,
    Fence,
    LeaseClaim,
    LeaseState,
    decide_claim,
    decide_release,
    decide_renewal,
    is_current,
)
from lash.core.scopes import TurnScope, journal_key
from lash.core.seams import SeamObserver
from lash.effects.journal import WriteAuthority
from lash.sessions.accepting import (
    Accepted,
    AcceptFacts,
    AcceptRequest,
    AcceptResult,
    ClaimedSession,
    ClaimResult,
    KnownTurn,
    OpenSession,
    ReleaseResult,
    plan_accept,
    plan_restart,
)
from lash.sessions.committing import (
    CommitFacts,
    CommitPlan,
    CommitReceipt,
    CommitResult,
    TurnCommit,
    commit_node_ids,
    plan_commit,
)
from lash.sessions.model import (
    AcceptedTurn,
    Parked,
    SessionHead,
    SessionNode,
    SessionSummary,
    TurnRecord,
)
from lash.sessions.stopping import for_child, for_restart
from lash.sessions.summary import summarise
from lash.sessions.usage import UsageEntry
from lash.stores.memory.queue import (
    compose,
    find_by_source,
    first_waiting,
    move,
    put,
    settle,
    stop_children,
    waiting,
)
from lash.stores.memory.scopes import Scopes
from lash.stores.memory.session import Held, HeldSession


class Sessions:
    """Every session. Every method is one transaction: it checks first, then writes, and never awaits.

    Args:
        held: The sessions and the tombstones.
        clock: The store's clock.
        seams: Told where a durable store would have written and not yet committed.
        scopes: Where journals are kept.
        changed: Called after every write that others may wait for.
    """

    def __init__(
        self,
        held: Held,
        clock: Clock,
        seams: SeamObserver,
        scopes: Scopes,
        changed: Callable[[], None],
    ) -> None:
        self._held = held
        self._clock = clock
        self._seams = seams
        self._scopes = scopes
        self._changed = changed
        self._sessions = held.sessions
        self._deleted = held.deleted

    # --- accepting ------------------------------------------------------------------------------

    def accept(self, request: AcceptRequest) -> AcceptResult:
        """Accept input and take the session's lease."""
        session = self._sessions.get(request.session_id)
        facts = AcceptFacts(
            now_ms=self._clock.now_ms(),
            lease=session.lease if session else LeaseState(),
            next_sequence=session.accepted + 1 if session else 1,
            head=session.head if session else None,
            known=session.known(request.turn_id, request.source_key) if session else None,
            queued=find_by_source(session, request.source_key),
            open_turns=session.open_turns() if session else (),
            deleted=request.session_id in self._deleted,
            cancellation=session.cancels.get(request.turn_id) if session else None,
            missing_attachments=self._held.attachments.missing(
                request.session_id, request.input.attachment_ids
            ),
        )
        result = plan_accept(facts, request)
        if not isinstance(result, Accepted):
            return result
        self._seams("accept.inside")
        if session is None:
            session = self._held.begin(result.head, facts.now_ms)
        composed = compose(session, facts.now_ms)
        session.accepted = result.turn.sequence
        session.updated_at_ms = facts.now_ms
        session.lease = LeaseState(fencing_token=result.lease.fencing_token, held=result.lease)
        session.add(result.turn)
        self._changed()
        if composed is None:
            return result
        ahead = sorted((*result.ahead, composed), key=lambda turn: turn.sequence)
        return msgspec.structs.replace(result, ahead=tuple(ahead))

    # --- leases ---------------------------------------------------------------------------------

    def claim(self, session_id: str, claim: LeaseClaim) -> ClaimResult | None:
        """Take a session's lease to drive its open turns."""
        session = self._sessions.get(session_id)
        if session is None:
            return None
        claimed = decide_claim(session.lease, claim, self._clock.now_ms())
        if isinstance(claimed, Busy):
            return claimed
        session.lease = LeaseState(fencing_token=claimed.lease.fencing_token, held=claimed.lease)
        self._seams("claim.inside")
        compose(session, self._clock.now_ms())
        return ClaimedSession(
            lease=claimed.lease,
            head=session.head,
            turns=session.open_turns(),
            accepted=session.accepted,
        )

    def renew(self, leases: Sequence[WriteAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases; returns the sessions whose lease is lost."""
        lost: list[str] = []
        for held in leases:
            session = self._sessions.get(held.session_id)
            state = session.lease if session else LeaseState()
            renewed = decide_renewal(state, held.fence, ttl_ms, self._clock.now_ms())
            if session is None or renewed is None:
                lost.append(held.session_id)
            else:
                session.lease = LeaseState(fencing_token=renewed.fencing_token, held=renewed)
        return lost

    def release(self, session_id: str, fence: Fence, seen: int | None) -> ReleaseResult:
        """Give a lease back, unless the session has accepted more than `seen`."""
        session = self._sessions.get(session_id)
        freed = decide_release(session.lease, fence) if session else None
        if session is None or freed is None:
            return "lost"
        if seen is not None and session.accepted > seen:
            return "work_arrived"
        session.lease = freed
        return "released"

    def is_current(self, authority: WriteAuthority) -> bool:
        """Whether a writer holds the lease it says it holds."""
        session = self._sessions.get(authority.session_id)
        return session is not None and is_current(session.lease, authority.fence)

    def _is_live(self, session: HeldSession) -> bool:
        held = session.lease.held
        return held is not None and held.expires_at_ms > self._clock.now_ms()

    # --- committing -----------------------------------------------------------------------------

    def commit(self, commit: TurnCommit) -> CommitResult:
        """Land a turn, whole or not at all."""
        session = self._sessions.get(commit.session_id)
        facts = self._commit_facts(session, commit)
        planned = plan_commit(facts, commit)
        if not isinstance(planned, CommitPlan):
            return planned
        session = self._sessions[commit.session_id]  # planned, so it exists
        self._seams("commit.inside")
        session.head = planned.head
        session.updated_at_ms = planned.record.timing.committed_at_ms
        session.append(planned.nodes)
        session.committed[commit.turn_id] = (planned.record, planned.commit_hash)
        del session.open[commit.turn_id]
        self._scopes.append(commit.scope_key, commit.journal)
        self._scopes.finish(commit.scope_key)
        self._scopes.cancel_scope_waits(commit.scope_key)  # nobody waits any more
        if commit.cancellation is not None:
            why = for_child(commit.cancellation)
            stop_children(self._sessions, commit.session_id, commit.turn_id, why)
        committed_at_ms = planned.record.timing.committed_at_ms
        self._held.attachments.commit_turn(
            commit.session_id, commit.turn_id, commit.attachments, committed_at_ms
        )
        session.book(planned.ledger)
        settle(session, commit, planned.record.timing.committed_at_ms)
        queued = [put(session, item, committed_at_ms) for item in commit.queued]
        following = planned.following
        if following is None:
            following = compose(session, planned.record.timing.committed_at_ms)
        else:
            session.add(following)
        lease_kept = bool(session.open)
        if not lease_kept:
            session.lease = LeaseState(fencing_token=session.lease.fencing_token)
        self._changed()
        return CommitReceipt(
            record=planned.record,
            head=planned.head,
            lease_kept=lease_kept,
            following=following and session.with_cancellation(following),
            accepted=facts.accepted + sum(queued),
        )

    def _commit_facts(self, session: HeldSession | None, commit: TurnCommit) -> CommitFacts:
        receipt = session.committed.get(commit.turn_id) if session else None
        open_turns = session.open_turns() if session else ()
        nodes = session.nodes if session else {}
        journal = self._scopes.records(commit.scope_key)
        return CommitFacts(
            now_ms=self._clock.now_ms(),
            lease=session.lease if session else LeaseState(),
            head=session.head if session else None,
            turn=session.open.get(commit.turn_id) if session else None,
            receipt=receipt[0] if receipt else None,
            receipt_hash=receipt[1] if receipt else None,
            existing_nodes=frozenset(item for item in commit_node_ids(commit) if item in nodes),
            other_open_turns=sum(turn.turn_id != commit.turn_id for turn in open_turns),
            recorded_keys=frozenset(
                r.replay_key for r in commit.journal if r.replay_key in journal
            ),
            cancellation=session.cancels.get(commit.turn_id) if session else None,
            accepted=session.accepted if session else 0,
            deleted=commit.session_id in self._deleted,
            missing_attachments=self._held.attachments.missing(
                commit.session_id, commit.attachments
            ),
        )

    # --- parking and beginning again ------------------------------------------------------------

    def park(self, session_id: str, turn_id: str, parked: Parked | None, fence: Fence) -> bool:
        """Say why an open turn cannot go on, or that it can again."""
        session = self._sessions.get(session_id)
        turn = session.open.get(turn_id) if session else None
        if session is None or turn is None or not is_current(session.lease, fence):
            return False
        stamped = None if parked is None else self._stamped(parked)
        session.open[turn_id] = msgspec.structs.replace(turn, parked=stamped)
        return True

    def note_waiting(self, session_id: str, turn_id: str, parked: Parked) -> bool:
        """Say what an open turn waits for that nobody drives."""
        session = self._sessions.get(session_id)
        turn = session.open.get(turn_id) if session else None
        if session is None or turn is None or turn.parked is not None or self._is_live(session):
            return False
        session.open[turn_id] = msgspec.structs.replace(turn, parked=self._stamped(parked))
        return True

    def _stamped(self, parked: Parked) -> Parked:
        return msgspec.structs.replace(parked, parked_at_ms=self._clock.now_ms())

    def restart(self, session_id: str, turn_id: str, fence: Fence) -> AcceptedTurn | None:
        """Begin an open turn again from its input, under an id of its own."""
        session = self._sessions.get(session_id)
        turn = session.open.get(turn_id) if session else None
        if session is None or turn is None or not is_current(session.lease, fence):
            return None
        again = plan_restart(turn, session.inputs.__contains__)
        del session.open[turn_id]
        session.superseded[turn_id] = again.turn_id
        session.add(again)
        move(session, turn_id, again.turn_id)
        if turn_id in session.cancels:
            session.cancels[again.turn_id] = session.cancels.pop(turn_id)
        self._scopes.finish(journal_key(TurnScope(session_id=session_id, turn_id=turn_id)))
        # Nobody waits for the old turn's answers any more; who brings one is told.
        self._scopes.cancel_waits(session_id)
        # What its tools have begun is begun anew; nobody would book what the old ones go on to use.
        stop_children(self._sessions, session_id, turn_id, for_restart(turn_id))
        self._changed()
        return session.with_cancellation(again)

    # --- reading --------------------------------------------------------------------------------

    def find_turn(self, session_id: str, turn_id: str) -> KnownTurn | None:
        """A turn, open or committed."""
        session = self._sessions.get(session_id)
        return session.known(turn_id) if session else None

    def is_over(self, scope: TurnScope) -> bool:
        """Whether a scope is that of a turn that is committed, or goes on under another id."""
        session = self._sessions.get(scope.session_id)
        known = session is not None and scope.turn_id in session.inputs
        return known and not self.is_open(scope)

    def is_open(self, scope: TurnScope) -> bool:
        """Whether a scope is that of an open turn."""
        session = self._sessions.get(scope.session_id)
        return session is not None and scope.turn_id in session.open

    def open(self) -> Sequence[OpenSession]:
        """Sessions with accepted input that is not committed, oldest first."""
        now_ms = self._clock.now_ms()
        found = [_open_session(session, now_ms) for session in self._sessions.values()]
        live = (session for session in found if session.turns or session.queued)
        return sorted(live, key=lambda item: (item.since_ms, item.session_id))

    def lease_of(self, session_id: str) -> LeaseState:
        """Who holds a session."""
        return self._held.lease_of(session_id)

    def head(self, session_id: str) -> SessionHead | None:
        """Where a session stands."""
        session = self._sessions.get(session_id)
        return session.head if session else None

    def path(self, session_id: str, *, whole: bool) -> Sequence[SessionNode]:
        """The path to the leaf, root first; from the opening of the frame unless `whole`."""
        session = self._sessions.get(session_id)
        return session.leaf.path(whole=whole) if session and session.leaf else []

    def newest_nodes(self, session_id: str, turn_ids: Sequence[str]) -> Sequence[SessionNode]:
        """The nodes that a session's newest turns have added, in order."""
        session, wanted, found = self._sessions.get(session_id), set(turn_ids), list[SessionNode]()
        at = session.leaf if session else None
        while at is not None and at.node.session_id == session_id:
            if at.node.turn_id in wanted:
                found.append(at.node)
            elif found:
                break
            at = at.parent
        return found[::-1]

    def summaries(self) -> Sequence[SessionSummary]:
        """All sessions, most recently changed first."""
        ordered = sorted(
            self._sessions.values(), key=lambda item: (-item.updated_at_ms, item.head.session_id)
        )
        return [self._summary(session) for session in ordered]

    def summary(self, session_id: str) -> SessionSummary | None:
        """One session, as it would be listed."""
        session = self._sessions.get(session_id)
        return self._summary(session) if session else None

    def _summary(self, session: HeldSession) -> SessionSummary:
        open_turns = session.open_turns()
        return summarise(
            session.head,
            running=self._is_live(session),
            open_turns=len(open_turns),
            queued=len(waiting(session)),
            parked=open_turns[0].parked if open_turns else None,
            updated_at_ms=session.updated_at_ms,
        )

    def turns(self, session_id: str, after: int) -> Sequence[TurnRecord]:
        """The committed turns of a session behind a revision, in order."""
        session = self._sessions.get(session_id)
        records = [record for record, _ in session.committed.values()] if session else []
        return [record for record in records if record.revision > after]

    def open_turns(self, session_id: str) -> Sequence[AcceptedTurn]:
        """The turns of a session that are accepted and not committed, in order."""
        session = self._sessions.get(session_id)
        return session.open_turns() if session else ()

    def usage(self, session_id: str) -> Sequence[UsageEntry]:
        """What a session used, by source and model."""
        session = self._sessions.get(session_id)
        totals = sorted(session.usage.items()) if session else []
        return [
            UsageEntry(source=source, model=model, usage=usage) for (source, model), usage in totals
        ]


def _open_session(session: HeldSession, now_ms: int) -> OpenSession:
    turns, item = session.open_turns(), first_waiting(session, now_ms)
    since = [turns[0].accepted_at_ms] if turns else []
    since += [item.enqueued_at_ms] if item else []
    return OpenSession(
        session_id=session.head.session_id,
        turns=turns,
        lease=session.lease,
        queued=(item.agent or session.head.agent) if item else None,
        since_ms=min(since, default=now_ms),
    )
