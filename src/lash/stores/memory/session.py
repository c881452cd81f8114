"""One session in memory: all that is kept of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from lash.core.cancel import Cancellation
from lash.core.leases import LeaseState
from lash.llm.usage import Usage
from lash.sessions.accepting import KnownTurn
from lash.sessions.ingress import QueuedItem
from lash.sessions.model import (
    AcceptedTurn,
    AgentRef,
    SessionHead,
    SessionNode,
    TurnInput,
    TurnRecord,
)
from lash.sessions.usage import UsageEntry
from lash.stores.memory.attachment import HeldAttachments


@dataclass(frozen=True, slots=True)
class HeldNode:
    """A node of a session and the one before it, which may be another session's."""

    session_id: str
    node: SessionNode
    parent: "HeldNode | None"

    def chain(self) -> Sequence["HeldNode"]:
        """This node and all before it, root first."""
        found: list[HeldNode] = []
        at: HeldNode | None = self
        while at is not None:
            found.append(at)
            at = at.parent
        return found[::-1]

    def path(self, *, whole: bool) -> Sequence[SessionNode]:
        """The nodes that lead here, root first; from the opening of the frame unless `whole`."""
        found: list[SessionNode] = []
        at: HeldNode | None = self
        while at is not None:
            found.append(at.node)
            at = None if at.node.frame is not None and not whole else at.parent
        return found[::-1]


@dataclass(slots=True)
class HeldSession:
    """All that is kept of one session.

    `superseded` leads from an id to the one it goes on under. `settled` says since when items, and
    `stopped` since when requests to stop, concern nobody any more.
    """

    head: SessionHead
    updated_at_ms: int
    accepted: int = 0
    lease: LeaseState = field(default_factory=LeaseState)
    open: dict[str, AcceptedTurn] = field(default_factory=dict)
    inputs: dict[str, tuple[TurnInput, AgentRef]] = field(default_factory=dict)
    by_source: dict[str, str] = field(default_factory=dict)
    superseded: dict[str, str] = field(default_factory=dict)
    committed: dict[str, tuple[TurnRecord, str]] = field(default_factory=dict)
    nodes: dict[str, "HeldNode"] = field(default_factory=dict)
    leaf: "HeldNode | None" = None
    queue: dict[str, QueuedItem] = field(default_factory=dict)
    cancels: dict[str, Cancellation] = field(default_factory=dict)
    usage: dict[tuple[str, str], Usage] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    stopped: dict[str, int] = field(default_factory=dict)

    def open_turns(self) -> tuple[AcceptedTurn, ...]:
        """The turns that are not committed, in order."""
        turns = sorted(self.open.values(), key=lambda turn: turn.sequence)
        return tuple(self.with_cancellation(turn) for turn in turns)

    def with_cancellation(self, turn: AcceptedTurn) -> AcceptedTurn:
        """A turn with who asked it to stop."""
        return msgspec.structs.replace(turn, cancellation=self.cancels.get(turn.turn_id))

    def append(self, nodes: Sequence[SessionNode]) -> None:
        """Put nodes on top of the leaf."""
        for node in nodes:
            held = HeldNode(session_id=self.head.session_id, node=node, parent=self.leaf)
            self.leaf = self.nodes[node.node_id] = held

    def book(self, entries: Sequence[UsageEntry]) -> None:
        """Book what was used."""
        for entry in entries:
            key = (entry.source, entry.model)
            self.usage[key] = self.usage.get(key, Usage()) + entry.usage

    def add(self, turn: AcceptedTurn) -> None:
        """Keep an accepted turn."""
        self.open[turn.turn_id] = turn
        self.inputs[turn.turn_id] = (turn.input, turn.agent)
        if turn.source_key is not None:
            self.by_source[turn.source_key] = turn.turn_id

    def known(self, turn_id: str, source_key: str | None = None) -> KnownTurn | None:
        """A turn accepted before under an id or a source key; one begun again, as it is now."""
        by_source = turn_id not in self.inputs
        if by_source and source_key is not None:
            turn_id = self.by_source.get(source_key, turn_id)
        while turn_id in self.superseded:
            turn_id = self.superseded[turn_id]
        accepted = self.inputs.get(turn_id)
        if accepted is None:
            return None
        receipt = self.committed.get(turn_id)
        return KnownTurn(
            turn_id=turn_id,
            input=accepted[0],
            agent=accepted[1],
            by_source=by_source,
            open=self.with_cancellation(self.open[turn_id]) if turn_id in self.open else None,
            record=receipt[0] if receipt else None,
        )


@dataclass(slots=True)
class Tombstone:
    """What stays of a deleted session: its lease's token, and the last node that is left of it."""

    lease: LeaseState
    leaf: HeldNode | None


@dataclass(slots=True)
class Held:
    """All sessions, the tombstones of those that were deleted, and what they refer to."""

    sessions: dict[str, HeldSession] = field(default_factory=dict)
    deleted: dict[str, Tombstone] = field(default_factory=dict)
    attachments: HeldAttachments = field(default_factory=HeldAttachments)

    def begin(self, head: SessionHead, now_ms: int) -> HeldSession:
        """Keep a session that begins."""
        session = HeldSession(head=head, updated_at_ms=now_ms)
        self.sessions[head.session_id] = session
        return session

    def lease_of(self, session_id: str) -> LeaseState:
        """Who holds a session, or its last token."""
        session, stone = self.sessions.get(session_id), self.deleted.get(session_id)
        if session is not None:
            return session.lease
        return stone.lease if stone else LeaseState()
