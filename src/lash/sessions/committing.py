"""Landing a turn, as a pure decision. Stores read facts, call this, persist the plan.

The order of checks in a commit (turns spec 4.2):

1. The receipt. A turn that was committed with this content answers with its receipt, whatever the
   lease or the head say now: the first answer may have been lost. With other content, it conflicts.
2. The fence. A writer that lost its lease writes nothing.
3. The gate. A turn that was asked to stop before lands as cancelled or not at all.
4. The head. The session must stand where the turn began; there is no "whatever it is".
5. The turn must have been accepted, and its messages must be new and well-formed.

Everything is checked before anything is planned, so a refusal leaves no trace.
"""

from collections.abc import Collection, Sequence
from typing import TypeAlias

import msgspec

from lash.core.cancel import Cancellation
from lash.core.json import Data, JsonObject, JsonValue, digest
from lash.core.leases import (
    Fence,
    LeaseState,
    is_current,
)
from lash.effects.journal import JournalRecord
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage
from lash.sessions.ingress import EnqueueRequest
from lash.sessions.model import (
    AcceptedTurn,
    AgentFrameTask,
    ChildUsage,
    ConfigureSession,
    FrameOpen,
    SessionConfig,
    SessionHead,
    SessionNode,
    ToolCallRecord,
    TurnInput,
    TurnRecord,
    TurnTiming,
)
from lash.sessions.remembering import kept_with_turn, remembered_after
from lash.sessions.tools import changed, fits
from lash.sessions.usage import UsageEntry
from lash.turn.assembly import OutputState
from lash.turn.messages import Message, is_valid_transcript
from lash.turn.outcome import AgentFrameSwitch, TurnIssue, TurnOutcome

# --- committing a turn ------------------------------------------------------------------------------


class TurnCommit(Data):
    """One turn, ready to land: all of it or nothing.

    Attributes:
        session_id: The session.
        turn_id: The turn.
        expected_revision: Where the session stood when the turn began.
        fence: The writer's proof.
        messages: What the turn adds to the history.
        outcome: How it ended.
        usage: The tokens it used.
        text: The final text, or "".
        tool_calls: Its tool calls, in call order.
        llm_calls: The ledger of its model calls.
        issues: What went wrong or changed.
        drive_ms: How long the drive took.
        scope_key: The turn's journal.
        journal: Records that were waiting for this transaction.
        cancellation: Who stopped the turn, if it was stopped.
        frame: The agent frame that the turn opens after its messages.
        frame_messages: What that frame begins with.
        ledger: What the turn used, by source and model.
        children_usage: What child sessions used for it.
        provider_id: The provider its model calls went to, if it made any.
        output_state: What the text is worth.
        plugin_state: What the plugins remember of the session from here on; None for no change.
        attachments: Ids that it keeps besides those that were put for it. The session must refer to
            each of them already.
        queued: What enters the session's queue with it. An item whose id or source key was used before
            is left out.
    """

    session_id: str
    turn_id: str
    expected_revision: int
    fence: Fence
    messages: tuple[Message, ...]
    outcome: TurnOutcome
    usage: Usage
    text: str
    scope_key: str
    tool_calls: tuple[ToolCallRecord, ...] = ()
    llm_calls: tuple[LlmCallRecord, ...] = ()
    issues: tuple[TurnIssue, ...] = ()
    drive_ms: int = 0
    journal: tuple[JournalRecord, ...] = ()
    cancellation: Cancellation | None = None
    frame: FrameOpen | None = None
    frame_messages: tuple[Message, ...] = ()
    ledger: tuple[UsageEntry, ...] = ()
    children_usage: tuple[ChildUsage, ...] = ()
    provider_id: str | None = None
    output_state: OutputState = "usable"
    plugin_state: JsonObject | None = None
    attachments: tuple[str, ...] = ()
    queued: tuple[EnqueueRequest, ...] = ()


class CommitReceipt(Data, tag_field="status", tag="committed"):
    """The turn is committed. `lease_kept` tells whether more accepted input waits for this owner.

    `following` is the turn that the same transaction made of what waits, or of the task handed over to
    another frame. `accepted` counts what the session has accepted so far.
    """

    record: TurnRecord
    head: SessionHead
    lease_kept: bool = False
    replayed: bool = False
    following: AcceptedTurn | None = None
    accepted: int = 0


class CommitRefused(Data, tag_field="status", tag="refused"):
    """Nothing was written; `code` says why. `cancellation` is who asked the turn to stop first."""

    code: str
    message: str
    cancellation: Cancellation | None = None


CommitResult: TypeAlias = CommitReceipt | CommitRefused


class CommitFacts(Data):
    """What the store knows when a turn wants to land.

    `existing_nodes` and `recorded_keys` are those of the commit's messages and journal records whose
    ids and keys are taken. `cancellation` is who asked the turn to stop, `is_taken` tells whether a
    turn id was used. `missing_attachments` are those of the commit that the session does not refer to.
    """

    now_ms: int
    lease: LeaseState
    head: SessionHead | None
    turn: AcceptedTurn | None
    receipt: TurnRecord | None
    receipt_hash: str | None
    existing_nodes: frozenset[str]
    other_open_turns: int
    recorded_keys: frozenset[str] = frozenset()
    cancellation: Cancellation | None = None
    accepted: int = 0
    deleted: bool = False
    missing_attachments: tuple[str, ...] = ()


class CommitPlan(Data):
    """Everything a commit writes, besides settling its queue.

    `following` is the turn to accept that goes on in the frame this one opened.
    """

    record: TurnRecord
    commit_hash: str
    nodes: tuple[SessionNode, ...]
    head: SessionHead
    ledger: tuple[UsageEntry, ...] = ()
    following: AcceptedTurn | None = None


def commit_hash(commit: TurnCommit) -> str:
    """What makes two commits of a turn the same: its content, not its timing or its writer."""
    content: list[JsonValue | object] = [
        commit.session_id,
        commit.turn_id,
        commit.expected_revision,
        commit.messages,
        commit.outcome,
        commit.usage,
    ]
    if commit.frame is not None:  # older commits keep the hash they have
        content += [commit.frame, commit.frame_messages]
    return digest("turn-commit", content)


def plan_commit(facts: CommitFacts, commit: TurnCommit) -> CommitPlan | CommitResult:
    """What committing a turn writes, or the receipt it already has, or why it is refused."""
    hashed = commit_hash(commit)
    if facts.receipt is not None:
        return _replay(facts, commit, hashed)
    refused = _kept_out(facts, commit)
    if refused is not None:
        return refused
    head, turn = facts.head, facts.turn
    if head is None or turn is None:
        return _refuse("turn_commit_conflict", "the turn was never accepted in this session")
    if head.revision != commit.expected_revision:
        moved = f"the session is at revision {head.revision}, not {commit.expected_revision}"
        return _refuse("head_revision_conflict", moved)
    unsound = _unsound(facts, commit)
    if unsound is not None:
        return unsound
    nodes = chain_nodes(head, commit)
    leaf = nodes[-1] if nodes else None
    return CommitPlan(
        record=_record(facts, commit, turn, head.turn_index + 1),
        commit_hash=hashed,
        nodes=nodes,
        head=SessionHead(
            session_id=head.session_id,
            agent=turn.agent,
            created_at_ms=head.created_at_ms,
            revision=head.revision + 1,
            leaf_id=leaf.node_id if leaf else head.leaf_id,
            leaf_digest=leaf.digest if leaf else head.leaf_digest,
            turn_index=head.turn_index + 1,
            usage=head.usage + commit.usage,
            frame_id=commit.frame.frame_id if commit.frame else head.frame_id,
            config=_config_after(head, turn, commit),
            relation=head.relation,
        ),
        ledger=commit.ledger,
        following=_follow_turn(turn, commit, facts.now_ms),
    )


def _kept_out(facts: CommitFacts, commit: TurnCommit) -> CommitRefused | None:
    """The session's end, the fence and the gate."""
    if facts.deleted:
        return _refuse("session_deleted", "the session was deleted, and its id is not used again")
    if not is_current(facts.lease, commit.fence):
        return _refuse("session_execution_lease_lost", "the session's lease went to another owner")
    if facts.cancellation is not None and commit.cancellation is None:
        return CommitRefused(
            code="turn_cancel_requested",
            message="The turn was asked to stop before it came to its end.",
            cancellation=facts.cancellation,
        )
    return None


def _unsound(facts: CommitFacts, commit: TurnCommit) -> CommitRefused | None:
    """What is wrong with the commit itself, and with what it refers to."""
    malformed = _malformed(commit, facts.existing_nodes) or _recorded_before(facts, commit)
    if malformed is not None:
        return _refuse("turn_commit_conflict", malformed)
    if facts.missing_attachments:
        lost = ", ".join(facts.missing_attachments)
        return _refuse("attachment_ref_missing", f"the session does not refer to {lost}")
    return None


def _config_after(head: SessionHead, turn: AcceptedTurn, commit: TurnCommit) -> SessionConfig:
    """What a session says about its model, prompt and tools after a turn."""
    config, command = head.config, turn.input.command
    if isinstance(command, ConfigureSession) and commit.cancellation is None:
        if command.model is not None:
            own = command.model == ""
            config = msgspec.structs.replace(
                config,
                model=None if own else command.model,
                provider_id=None if own else command.provider_id,
            )
        if command.prompt is not None:
            config = msgspec.structs.replace(config, prompt=command.prompt)
        if command.plugin_options:
            together = {**config.plugin_options, **command.plugin_options}
            told = {plugin: options for plugin, options in together.items() if options is not None}
            config = msgspec.structs.replace(config, plugin_options=told)
        if command.tools is not None and fits(head.tools, command.tools):
            config = msgspec.structs.replace(config, tools=changed(head.tools, command.tools))
    if commit.provider_id is not None:
        config = msgspec.structs.replace(config, provider_id=commit.provider_id)
    return remembered_after(config, commit.plugin_state, head.revision)


def _follow_turn(turn: AcceptedTurn, commit: TurnCommit, now_ms: int) -> AcceptedTurn | None:
    """The turn that goes on with the task handed over to another frame.

    It takes the place of the turn before it, so nothing else of the session comes in between.
    """
    if not isinstance(commit.outcome, AgentFrameSwitch):
        return None
    before = turn.input.frame_task
    root = before.root if before else turn.turn_id
    switches = before.switches + 1 if before else 1
    task = AgentFrameTask(
        frame_id=commit.outcome.frame_id, task=commit.outcome.task, root=root, switches=switches
    )
    return AcceptedTurn(
        session_id=turn.session_id,
        turn_id=follow_turn_id(turn.turn_id, turn.input),
        sequence=turn.sequence,
        agent=turn.agent,
        input=TurnInput(frame_task=task),
        accepted_at_ms=now_ms,
    )


def follow_turn_id(turn_id: str, turn_input: TurnInput) -> str:
    """The id of the turn that goes on in the frame that a turn hands its task to."""
    before = turn_input.frame_task
    if before is None:
        return f"{turn_id}:agent-frame:1"
    return f"{before.root}:agent-frame:{before.switches + 1}"


def commit_node_ids(commit: TurnCommit) -> Sequence[str]:
    """The ids of the nodes that a commit adds."""
    frame = () if commit.frame is None else (frame_node_id(commit.turn_id),)
    messages = (*commit.messages, *commit.frame_messages)
    return (*(message.id for message in messages), *frame)


def frame_node_id(turn_id: str) -> str:
    """The node that opens the frame of a turn. Frames are named by tools, which may repeat a name."""
    return f"frame:{turn_id}"


def chain_nodes(head: SessionHead, commit: TurnCommit) -> tuple[SessionNode, ...]:
    """The nodes that a turn puts on top of a head. A message's node has the message's id."""
    nodes: list[SessionNode] = []
    parent_id, parent_digest = head.leaf_id, head.leaf_digest

    def add(
        node_id: str, content: object, message: Message | None, frame: FrameOpen | None
    ) -> None:
        nonlocal parent_id, parent_digest
        node = SessionNode(
            session_id=commit.session_id,
            node_id=node_id,
            parent_id=parent_id,
            digest=digest("session-node", [parent_digest, content]),
            turn_id=commit.turn_id,
            message=message,
            frame=frame,
        )
        nodes.append(node)
        parent_id, parent_digest = node.node_id, node.digest

    for message in commit.messages:
        add(message.id, message, message, None)
    if commit.frame is not None:
        add(frame_node_id(commit.turn_id), commit.frame, None, commit.frame)
        for message in commit.frame_messages:
            add(message.id, message, message, None)
    return tuple(nodes)


def _replay(facts: CommitFacts, commit: TurnCommit, hashed: str) -> CommitResult:
    if facts.receipt is None or facts.head is None or facts.receipt_hash != hashed:
        return _refuse(
            "turn_commit_conflict",
            f"turn {commit.turn_id} was committed before with other content",
        )
    held = is_current(facts.lease, commit.fence)
    return CommitReceipt(record=facts.receipt, head=facts.head, lease_kept=held, replayed=True)


def _malformed(commit: TurnCommit, existing: Collection[str]) -> str | None:
    messages, ids = (*commit.messages, *commit.frame_messages), commit_node_ids(commit)
    if len(set(ids)) != len(ids):
        return "two of its nodes share an id"
    taken = next((message_id for message_id in ids if message_id in existing), None)
    if taken is not None:
        return f"its message {taken} is in the session already"
    if any(message.transient for message in messages):
        return "it holds a transient message"
    if not (is_valid_transcript(commit.messages) and is_valid_transcript(commit.frame_messages)):
        return "a tool call of it has no answer, so no provider would accept the history"
    return None


def _recorded_before(facts: CommitFacts, commit: TurnCommit) -> str | None:
    keys = [record.replay_key for record in commit.journal]
    if len(set(keys)) != len(keys):
        return "two of its journal records share a key"
    taken = next((key for key in keys if key in facts.recorded_keys), None)
    return None if taken is None else f"its journal holds {taken} already"


def _record(
    facts: CommitFacts, commit: TurnCommit, turn: AcceptedTurn, turn_index: int
) -> TurnRecord:
    return TurnRecord(
        session_id=commit.session_id,
        turn_id=commit.turn_id,
        revision=commit.expected_revision + 1,
        outcome=commit.outcome,
        usage=commit.usage,
        text=commit.text,
        tool_calls=commit.tool_calls,
        llm_calls=commit.llm_calls,
        issues=commit.issues,
        timing=TurnTiming(
            accepted_at_ms=turn.accepted_at_ms,
            committed_at_ms=facts.now_ms,
            drive_ms=commit.drive_ms,
        ),
        turn_index=turn_index,
        children_usage=commit.children_usage,
        cancellation=commit.cancellation,
        output_state=commit.output_state,
        config=kept_with_turn(facts.head) if facts.head else SessionConfig(),
        command=str(turn.input.command.__struct_config__.tag) if turn.input.command else None,
    )


def _refuse(code: str, why: str) -> CommitRefused:
    return CommitRefused(code=code, message=f"The turn was not committed: {why}.")
