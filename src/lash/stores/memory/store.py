"""The memory store: the same contract and the same planner as the durable ones, without a file.

Every operation validates first and then mutates without awaiting, so each is one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from lash.core.clock import Clock
from lash.core.leases import (
    Busy,
    Fence,
    LeaseClaim,
    LeaseOwner,
    LeaseState,
    decide_claim,
    decide_release,
    decide_renewal,
    is_current,
)
from lash.core.seams import SeamObserver, unobserved
from lash.core.tiers import DurabilityTier
from lash.effects.journal import (
    AlreadyRecorded,
    FenceRefused,
    JournalRecord,
    Recorded,
    RecordResult,
    WriteAuthority,
)
from lash.sessions.model import (
    AcceptedTurn,
    Parked,
    SessionHead,
    SessionNode,
    SessionSummary,
    TurnInput,
    TurnRecord,
)
from lash.sessions.planner import (
    Accepted,
    AcceptFacts,
    AcceptRequest,
    AcceptResult,
    ClaimedSession,
    ClaimResult,
    CommitFacts,
    CommitPlan,
    CommitReceipt,
    CommitResult,
    KnownTurn,
    OpenSession,
    TurnCommit,
    active_path,
    plan_accept,
    plan_commit,
)
from lash.sessions.summary import summarise


@dataclass(slots=True)
class _Session:
    """All that is kept of one session."""

    head: SessionHead
    updated_at_ms: int
    accepted: int = 0
    lease: LeaseState = field(default_factory=LeaseState)
    open: dict[str, AcceptedTurn] = field(default_factory=dict)
    inputs: dict[str, TurnInput] = field(default_factory=dict)
    by_source: dict[str, str] = field(default_factory=dict)
    committed: dict[str, tuple[TurnRecord, str]] = field(default_factory=dict)
    nodes: dict[str, SessionNode] = field(default_factory=dict)

    def open_turns(self) -> tuple[AcceptedTurn, ...]:
        return tuple(self.open.values())

    def known(self, turn_id: str, source_key: str | None = None) -> KnownTurn | None:
        if turn_id not in self.inputs and source_key is not None:
            turn_id = self.by_source.get(source_key, turn_id)
        accepted = self.inputs.get(turn_id)
        if accepted is None:
            return None
        receipt = self.committed.get(turn_id)
        return KnownTurn(
            turn_id=turn_id,
            input=accepted,
            open=self.open.get(turn_id),
            record=receipt[0] if receipt else None,
        )


class MemoryStore:
    """Sessions and journal in memory.

    Args:
        clock: The store's clock: leases and timestamps are told by it.
        seams: Told where a durable store would have written and not yet committed.
    """

    def __init__(self, clock: Clock, *, seams: SeamObserver = unobserved) -> None:
        self._clock = clock
        self._seams = seams
        self._sessions: dict[str, _Session] = {}
        self._journals: dict[str, dict[str, JournalRecord]] = {}

    @property
    def tier(self) -> DurabilityTier:
        """Dies with the process."""
        return "ephemeral"

    def register_owner(self, owner_id: str, incarnation: str) -> LeaseOwner:
        """Announce an owner; it lives as long as this process."""
        return LeaseOwner(owner_id=owner_id, incarnation=incarnation)

    def is_dead(self, owner: LeaseOwner) -> bool:
        """Nobody here can be proven dead: whoever asks lives in the same process."""
        del owner
        return False

    async def aclose(self) -> None:
        """Nothing to let go of: closing does not forget, so that a reopened store can be tested."""

    # --- writing --------------------------------------------------------------------------------

    async def accept_turn(self, request: AcceptRequest) -> AcceptResult:
        """Accept input and take the session's lease."""
        session = self._sessions.get(request.session_id)
        facts = AcceptFacts(
            now_ms=self._clock.now_ms(),
            lease=session.lease if session else LeaseState(),
            next_sequence=session.accepted + 1 if session else 1,
            head=session.head if session else None,
            known=session.known(request.turn_id, request.source_key) if session else None,
            open_turns=session.open_turns() if session else (),
        )
        result = plan_accept(facts, request)
        if not isinstance(result, Accepted):
            return result
        self._seams("accept.inside")
        if session is None:
            session = _Session(head=result.head, updated_at_ms=facts.now_ms)
            self._sessions[request.session_id] = session
        session.accepted = result.turn.sequence
        session.updated_at_ms = facts.now_ms
        session.lease = LeaseState(fencing_token=result.lease.fencing_token, held=result.lease)
        session.open[result.turn.turn_id] = result.turn
        session.inputs[result.turn.turn_id] = result.turn.input
        if result.turn.source_key is not None:
            session.by_source[result.turn.source_key] = result.turn.turn_id
        return result

    async def claim_session(self, session_id: str, claim: LeaseClaim) -> ClaimResult | None:
        """Take a session's lease to drive its open turns."""
        session = self._sessions.get(session_id)
        if session is None:
            return None
        claimed = decide_claim(session.lease, claim, self._clock.now_ms())
        if isinstance(claimed, Busy):
            return claimed
        session.lease = LeaseState(fencing_token=claimed.lease.fencing_token, held=claimed.lease)
        return ClaimedSession(lease=claimed.lease, head=session.head, turns=session.open_turns())

    async def renew_leases(self, leases: Sequence[WriteAuthority], ttl_ms: int) -> Sequence[str]:
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

    async def release_lease(self, session_id: str, fence: Fence) -> bool:
        """Give a lease back."""
        session = self._sessions.get(session_id)
        freed = decide_release(session.lease, fence) if session else None
        if session is None or freed is None:
            return False
        session.lease = freed
        return True

    async def commit_turn(self, commit: TurnCommit) -> CommitResult:
        """Land a turn, whole or not at all."""
        session = self._sessions.get(commit.session_id)
        planned = plan_commit(self._commit_facts(session, commit), commit)
        if not isinstance(planned, CommitPlan):
            return planned
        session = self._sessions[commit.session_id]  # planned, so it exists
        self._seams("commit.inside")
        session.head = planned.head
        session.updated_at_ms = planned.record.timing.committed_at_ms
        session.nodes.update((node.node_id, node) for node in planned.nodes)
        session.committed[commit.turn_id] = (planned.record, planned.commit_hash)
        del session.open[commit.turn_id]
        journal = self._journals.setdefault(commit.scope_key, {})
        journal.update((record.replay_key, record) for record in commit.journal)
        if planned.release_lease:
            session.lease = LeaseState(fencing_token=session.lease.fencing_token)
        return CommitReceipt(
            record=planned.record, head=planned.head, lease_kept=not planned.release_lease
        )

    def _commit_facts(self, session: _Session | None, commit: TurnCommit) -> CommitFacts:
        known = session.known(commit.turn_id) if session else None
        receipt = session.committed.get(commit.turn_id) if session else None
        open_turns = session.open_turns() if session else ()
        nodes = session.nodes if session else {}
        journal = self._journals.get(commit.scope_key, {})
        return CommitFacts(
            now_ms=self._clock.now_ms(),
            lease=session.lease if session else LeaseState(),
            head=session.head if session else None,
            turn=known.open if known else None,
            receipt=receipt[0] if receipt else None,
            receipt_hash=receipt[1] if receipt else None,
            existing_nodes=frozenset(m.id for m in commit.messages if m.id in nodes),
            other_open_turns=sum(turn.turn_id != commit.turn_id for turn in open_turns),
            recorded_keys=frozenset(
                r.replay_key for r in commit.journal if r.replay_key in journal
            ),
        )

    async def park_turn(
        self, session_id: str, turn_id: str, parked: Parked | None, fence: Fence
    ) -> bool:
        """Say why an open turn cannot go on, or that it can again."""
        session = self._sessions.get(session_id)
        known = session.known(turn_id) if session else None
        if session is None or known is None or known.open is None:
            return False
        if not is_current(session.lease, fence):
            return False
        stamped = parked
        if parked is not None:
            stamped = msgspec.structs.replace(parked, parked_at_ms=self._clock.now_ms())
        session.open[turn_id] = msgspec.structs.replace(known.open, parked=stamped)
        return True

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: WriteAuthority | None,
    ) -> RecordResult:
        """Append to a journal under a fence; without one, the first writer wins."""
        if authority is not None:
            session = self._sessions.get(authority.session_id)
            if session is None or not is_current(session.lease, authority.fence):
                return FenceRefused()
        journal = dict(self._journals.get(scope_key, {}))
        for record in records:
            winner = journal.setdefault(record.replay_key, record)
            if winner is not record:
                return AlreadyRecorded(winner=winner)
        self._seams("record.inside")
        self._journals[scope_key] = journal
        return Recorded()

    # --- reading --------------------------------------------------------------------------------

    async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
        """The record under a key."""
        return self._journals.get(scope_key, {}).get(replay_key)

    async def load_journal(self, scope_key: str) -> Sequence[JournalRecord]:
        """All records of a scope, in order."""
        return list(self._journals.get(scope_key, {}).values())

    async def find_turn(self, session_id: str, turn_id: str) -> KnownTurn | None:
        """A turn, open or committed."""
        session = self._sessions.get(session_id)
        return session.known(turn_id) if session else None

    async def open_sessions(self) -> Sequence[OpenSession]:
        """Sessions with accepted input that is not committed, oldest first."""
        found = [
            OpenSession(session_id=session_id, turns=session.open_turns(), lease=session.lease)
            for session_id, session in self._sessions.items()
        ]
        live = (session for session in found if session.turns)
        return sorted(live, key=lambda item: (item.turns[0].accepted_at_ms, item.session_id))

    async def lease_of(self, session_id: str) -> LeaseState:
        """Who holds a session."""
        session = self._sessions.get(session_id)
        return session.lease if session else LeaseState()

    async def load_head(self, session_id: str) -> SessionHead | None:
        """Where a session stands."""
        session = self._sessions.get(session_id)
        return session.head if session else None

    async def load_path(self, session_id: str) -> Sequence[SessionNode]:
        """The active path, root first."""
        session = self._sessions.get(session_id)
        return active_path(session.head.leaf_id, session.nodes.get) if session else []

    async def list_sessions(self) -> Sequence[SessionSummary]:
        """All sessions, most recently changed first."""
        ordered = sorted(
            self._sessions.values(), key=lambda item: (-item.updated_at_ms, item.head.session_id)
        )
        return [self._summary(session) for session in ordered]

    def _summary(self, session: _Session) -> SessionSummary:
        held = session.lease.held
        open_turns = session.open_turns()
        return summarise(
            session.head,
            running=held is not None and held.expires_at_ms > self._clock.now_ms(),
            open_turns=len(open_turns),
            parked=open_turns[0].parked if open_turns else None,
            updated_at_ms=session.updated_at_ms,
        )

    async def list_turns(self, session_id: str) -> Sequence[TurnRecord]:
        """The committed turns of a session, in order."""
        session = self._sessions.get(session_id)
        return [record for record, _ in session.committed.values()] if session else []

    async def list_open_turns(self, session_id: str) -> Sequence[AcceptedTurn]:
        """The turns of a session that are accepted and not committed, in order."""
        session = self._sessions.get(session_id)
        return session.open_turns() if session else ()
