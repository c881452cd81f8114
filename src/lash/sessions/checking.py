"""Whether what a store holds fits together: what `lash doctor` reports, as pure checks over facts.

A store that only ever did what its contract says has nothing to report, whatever happened to the
processes that used it. The codes:

`head_leaf_missing`, `path_broken`, `digest_mismatch`, `frame_mismatch`, `transcript_invalid`: the
history is not whole. `revision_mismatch`, `usage_mismatch`: the head is not what its turns came to.
`turn_unsettled`, `turn_unrecorded`, `turn_lost`: an accepted turn and its receipt disagree.
`item_stuck`, `item_unreachable`: an item of the queue belongs to a turn that will not settle it.
`lease_abandoned`: a dead owner holds a session in which nothing is open. `journal_orphaned`,
`wait_abandoned`: records or promises that nobody will come for. `session_missing`,
`session_not_deleted`: rows of a session that is not there, or should not be. `row_unreadable`: a row
is damaged, so its session could not be checked further.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from lash.core.errors import LashError
from lash.core.json import Data, digest
from lash.core.leases import LeaseState
from lash.llm.usage import Usage
from lash.sessions.ingress import QueuedItem
from lash.sessions.model import SessionHead, SessionNode, TurnRecord, messages_of
from lash.sessions.usage import UsageEntry
from lash.turn.messages import is_valid_transcript

Severity: TypeAlias = Literal["error", "warning"]


class Finding(Data):
    """One thing that does not fit. `session_id` is None for what belongs to no session.

    An `error` is damage: restore the session from a backup, or delete it. A `warning` costs space or
    time, and nothing else.
    """

    code: str
    severity: Severity
    session_id: str | None
    message: str


class InputFact(Data):
    """An accepted turn. `superseded_by` is the id it goes on under."""

    turn_id: str
    settled: bool
    superseded_by: str | None = None


class ScopeFact(Data):
    """A journal. `turn_id` is the turn's, if it is a turn's; promises of turn control do not count."""

    scope_key: str
    turn_id: str | None
    finished: bool
    records: int
    pending_waits: int


class SessionFacts(Data):
    """Everything that is kept under one session id.

    `path` is as much as the leaf leads to, root first; `leaf_found` tells whether it leads anywhere.
    `kept_rows` counts accepted turns, receipts, items and usage together.
    """

    session_id: str
    now_ms: int
    head: SessionHead | None = None
    deleted: bool = False
    leaf_found: bool = True
    path: tuple[SessionNode, ...] = ()
    inputs: tuple[InputFact, ...] = ()
    turns: tuple[TurnRecord, ...] = ()
    items: tuple[QueuedItem, ...] = ()
    usage: tuple[UsageEntry, ...] = ()
    scopes: tuple[ScopeFact, ...] = ()
    lease: LeaseState = LeaseState()
    holder_is_dead: bool = False


def check_session(facts: SessionFacts) -> Sequence[Finding]:
    """What does not fit in one session."""
    found = [*_existence(facts), *_scopes(facts)]
    if facts.head is not None:
        found += _history(facts, facts.head)
        found += _head(facts, facts.head)
        found += _turns(facts)
        found += _items(facts)
        found += _lease(facts)
    return found


def unreadable(session_id: str, why: str) -> Finding:
    """A session of which a row is damaged."""
    return Finding(
        code="row_unreadable",
        severity="error",
        session_id=session_id,
        message=f"A row of session {session_id!r} cannot be read: {why}",
    )


def dangling(records: int, waits: int) -> Sequence[Finding]:
    """Records and promises that belong to no scope at all."""
    if not records and not waits:
        return []
    message = f"{records} journal records and {waits} promises belong to no scope."
    return [Finding(code="journal_orphaned", severity="error", session_id=None, message=message)]


def _finding(facts: SessionFacts, code: str, message: str, severity: Severity = "error") -> Finding:
    return Finding(code=code, severity=severity, session_id=facts.session_id, message=message)


def _existence(facts: SessionFacts) -> Iterator[Finding]:
    kept = len(facts.inputs) + len(facts.turns) + len(facts.items) + len(facts.usage)
    if facts.head is not None and facts.deleted:
        yield _finding(facts, "session_not_deleted", "The session was deleted, yet it is there.")
    if facts.head is None and kept:
        yield _finding(facts, "session_missing", f"{kept} rows belong to a session without a head.")


# --- history ----------------------------------------------------------------------------------------


def _history(facts: SessionFacts, head: SessionHead) -> Iterator[Finding]:
    path = facts.path
    if not facts.leaf_found:
        yield _finding(
            facts, "head_leaf_missing", f"The newest node, {head.leaf_id!r}, is not there."
        )
        return
    if path and path[0].parent_id is not None:
        yield _finding(facts, "path_broken", f"The node before {path[0].node_id!r} is not there.")
        return
    wrong = _wrong_digest(head, path)
    if wrong is not None:
        yield _finding(
            facts,
            "digest_mismatch",
            f"Node {wrong!r} is not what its digest says: it was changed, or another was before it.",
        )
    frames = [node.frame.frame_id for node in path if node.frame is not None]
    if head.frame_id != (frames[-1] if frames else ""):
        yield _finding(
            facts, "frame_mismatch", f"No opening of frame {head.frame!r} is the last on the path."
        )
    if not is_valid_transcript(messages_of(path)):
        yield _finding(
            facts, "transcript_invalid", "A tool call of the history has no answer, or too many."
        )


def _wrong_digest(head: SessionHead, path: Sequence[SessionNode]) -> str | None:
    """The first node that does not follow from what is before it; the head's leaf is the last."""
    before, parent_id = "", None
    for node in path:
        content = node.frame if node.message is None else node.message
        follows = digest("session-node", [before, content])
        if node.digest != follows or node.parent_id != parent_id:
            return node.node_id
        before, parent_id = node.digest, node.node_id
    if (head.leaf_id, head.leaf_digest) != (parent_id, before):
        return head.leaf_id or parent_id
    return None


# --- the head and its turns ---------------------------------------------------------------------------


def _head(facts: SessionFacts, head: SessionHead) -> Iterator[Finding]:
    revisions = [record.revision for record in facts.turns]
    whole = revisions == list(range(1, len(revisions) + 1))
    if not whole or head.revision != len(revisions) or head.turn_index != head.revision:
        yield _finding(
            facts,
            "revision_mismatch",
            f"The head says revision {head.revision} and turn {head.turn_index}; there are "
            f"{len(revisions)} committed turns.",
        )
    try:
        used = _sum(entry.usage for entry in facts.usage)
        children = _sum(child.usage for turn in facts.turns for child in turn.children_usage)
        agrees = used == head.usage + children
    except LashError:
        agrees = False
    if not agrees:
        yield _finding(
            facts,
            "usage_mismatch",
            "The tokens by source and model are not those of the head and of the child sessions.",
        )


def _sum(usages: Iterator[Usage]) -> Usage:
    total = Usage()
    for usage in usages:
        total += usage
    return total


def _turns(facts: SessionFacts) -> Iterator[Finding]:
    receipts = {record.turn_id for record in facts.turns}
    known = {fact.turn_id: fact for fact in facts.inputs}
    for fact in facts.inputs:
        name = fact.turn_id
        if not fact.settled and name in receipts:
            yield _finding(facts, "turn_unsettled", f"Turn {name!r} is open, and committed too.")
        elif fact.superseded_by is not None:
            if fact.superseded_by not in known:
                yield _finding(
                    facts, "turn_lost", f"Turn {name!r} was begun again, but not as anything known."
                )
        elif fact.settled and name not in receipts:
            yield _finding(facts, "turn_unrecorded", f"Turn {name!r} is settled without a record.")
    for name in sorted(receipts - known.keys()):
        yield _finding(facts, "turn_lost", f"Turn {name!r} is committed, but was never accepted.")


def _items(facts: SessionFacts) -> Iterator[Finding]:
    open_turns = {fact.turn_id for fact in facts.inputs if not fact.settled}
    for item in facts.items:
        if item.turn_id in open_turns:
            continue
        if item.state == "accepted":
            yield _finding(
                facts,
                "item_stuck",
                f"Item {item.item_id!r} was taken by turn {item.turn_id!r}, which is not open, so "
                "nothing will settle it.",
            )
        elif item.state == "pending_active":
            yield _finding(
                facts,
                "item_unreachable",
                f"Item {item.item_id!r} waits for turn {item.turn_id!r}, which is not open.",
            )


# --- what holds nobody up -----------------------------------------------------------------------------


def _lease(facts: SessionFacts) -> Iterator[Finding]:
    held = facts.lease.held
    if held is None or held.expires_at_ms > facts.now_ms or not facts.holder_is_dead:
        return
    waiting = any(item.state in {"pending_active", "deferred_next_turn"} for item in facts.items)
    if waiting or any(not fact.settled for fact in facts.inputs):
        return  # whoever finishes the work takes the lease
    yield _finding(
        facts,
        "lease_abandoned",
        f"The owner {held.owner.owner_id!r} died holding the session, in which nothing is open.",
        "warning",
    )


def _scopes(facts: SessionFacts) -> Iterator[Finding]:
    known = {fact.turn_id for fact in facts.inputs}
    for scope in facts.scopes:
        if scope.turn_id is not None and scope.records and scope.turn_id not in known:
            yield _finding(
                facts,
                "journal_orphaned",
                f"{scope.records} journal records belong to turn {scope.turn_id!r}, which was never "
                "accepted.",
                "warning",
            )
        if scope.finished and scope.pending_waits:
            yield _finding(
                facts,
                "wait_abandoned",
                f"{scope.pending_waits} promises of a scope that is finished are pending: "
                f"{scope.scope_key}.",
                "warning",
            )
