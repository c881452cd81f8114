"""Forking a session: a new one that shares its history up to a node, as a pure decision (spec 5).

Nodes are never copied: the fork's head points at a node of the source. Nothing of the source changes,
so a session may be forked while it is driven.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from lash.core.json import Data
from lash.sessions.model import ForkedSession, SessionConfig, SessionHead, SessionNode
from lash.sessions.remembering import begun_anew


class ForkRequest(Data):
    """A fork on its way.

    Attributes:
        source_id: The session whose history is shared.
        new_id: The session that begins with it; an id that was never used.
        node_id: The last node that is shared; None for where the source stands.
    """

    source_id: str
    new_id: str
    node_id: str | None = None


class ForkFacts(Data):
    """What the store knows when a session is to be forked.

    `existing` and `deleted` are about the new id. `path` is the source's whole path, root first; it
    may be left out where the fork is asked for at the source's leaf.
    """

    now_ms: int
    source: SessionHead | None = None
    source_deleted: bool = False
    existing: SessionHead | None = None
    deleted: bool = False
    path: tuple[SessionNode, ...] = ()


class Forked(Data, tag_field="status", tag="forked"):
    """The new session's head. `existed` tells that the same fork was made before."""

    head: SessionHead
    existed: bool = False


class ForkRefused(Data, tag_field="status", tag="refused"):
    """Nothing was written; `code` says why."""

    code: str
    message: str


ForkResult: TypeAlias = Forked | ForkRefused


def asks_for_leaf(request: ForkRequest, source: SessionHead | None) -> bool:
    """Whether a fork shares all of the source's history, which is always a valid one."""
    return source is None or request.node_id is None or request.node_id == source.leaf_id


def plan_fork(facts: ForkFacts, request: ForkRequest) -> ForkResult:
    """The head of the fork, or why there is none."""
    answered = _used_before(facts, request)
    if answered is not None:
        return answered
    source = facts.source
    if source is None:
        return _no_source(facts, request)
    if asks_for_leaf(request, source):
        return Forked(head=_head(facts, request, source, source))
    place = fork_place(facts.path, request.node_id)
    if place is None:
        return ForkRefused(
            code="fork_point_not_retained",
            message=f"Node {request.node_id!r} is not part of the history of session "
            f"{request.source_id!r}; nothing was forked. Take a node of its path.",
        )
    valid = _valid_ends(facts.path)
    if not valid[place]:
        nearest = facts.path[_nearest(valid, place)].node_id
        return ForkRefused(
            code="fork_point_invalid",
            message=f"At node {request.node_id!r} a tool call has no answer yet, so no provider would "
            f"accept the history; nothing was forked. The nearest node that will do is {nearest!r}.",
        )
    return Forked(head=_head(facts, request, source, facts.path[place]))


def _used_before(facts: ForkFacts, request: ForkRequest) -> ForkResult | None:
    """What an id that was used before means: the same fork again, or a conflict."""
    if facts.deleted:
        return ForkRefused(
            code="session_deleted",
            message=f"Session {request.new_id!r} was deleted and its id is not used again; nothing "
            "was forked. Use another session id.",
        )
    existing = facts.existing
    if existing is None:
        return None
    relation = existing.relation
    same = (
        existing.revision == 0
        and isinstance(relation, ForkedSession)
        and relation.session_id == request.source_id
        and request.node_id in (None, relation.node_id)
    )
    if same:
        return Forked(head=existing, existed=True)
    return ForkRefused(
        code="fork_session_exists",
        message=f"There is a session {request.new_id!r} already, and it is not this fork with nothing "
        "committed yet; nothing was forked. Use another session id.",
    )


def _no_source(facts: ForkFacts, request: ForkRequest) -> ForkRefused:
    if facts.source_deleted:
        return ForkRefused(
            code="session_deleted",
            message=f"Session {request.source_id!r} was deleted; nothing was forked.",
        )
    return ForkRefused(
        code="session_unknown",
        message=f"There is no session {request.source_id!r}; nothing was forked.",
    )


def fork_place(path: Sequence[SessionNode], node_id: str | None) -> int | None:
    """Where on a path a node is; of two with one id, the later one."""
    places = (place for place in reversed(range(len(path))) if path[place].node_id == node_id)
    return next(places, None)


def _valid_ends(path: Sequence[SessionNode]) -> Sequence[bool]:
    """For each node, whether every tool call up to it has its answer."""
    waiting: set[str | None] = set()
    ends: list[bool] = []
    for node in path:
        for part in node.message.parts if node.message else ():
            if part.kind == "tool_call":
                waiting.add(part.tool_call_id)
            elif part.kind == "tool_result":
                waiting.discard(part.tool_call_id)
        ends.append(not waiting)
    return ends


def _nearest(valid: Sequence[bool], place: int) -> int:
    """The nearest valid place; of two as near, the earlier one. A whole history is always valid."""
    places = (other for other in range(len(valid)) if valid[other])
    return min(places, key=lambda other: abs(other - place), default=len(valid) - 1)


def _head(
    facts: ForkFacts, request: ForkRequest, source: SessionHead, at: SessionHead | SessionNode
) -> SessionHead:
    if isinstance(at, SessionHead):
        leaf_id, leaf_digest, frame_id = at.leaf_id, at.leaf_digest, at.frame_id
    else:
        leaf_id, leaf_digest = at.node_id, at.digest
        until = facts.path[: facts.path.index(at) + 1]
        frames = [node.frame.frame_id for node in until if node.frame is not None]
        frame_id = frames[-1] if frames else ""
    return SessionHead(
        session_id=request.new_id,
        agent=source.agent,
        created_at_ms=facts.now_ms,
        leaf_id=leaf_id,
        leaf_digest=leaf_digest,
        frame_id=frame_id,
        config=begun_anew(_telling_its_tools(source)),
        relation=ForkedSession(session_id=source.session_id, node_id=leaf_id),
    )


def _telling_its_tools(source: SessionHead) -> SessionConfig:
    """What a session says, with what a child must not do by its parent's word.

    A fork comes from somewhere else, so it has to say that itself.
    """
    if source.config.tools is not None or source.tools.says_nothing:
        return source.config
    return msgspec.structs.replace(source.config, tools=source.tools)
