"""Who did what because of whom: invocations, causes and replay keys (effects spec, section 2)."""

from typing import Literal, TypeAlias

from lash.core.json import Data

EffectKind: TypeAlias = Literal[
    "llm_call",
    "direct",
    "tool_batch",
    "tool_attempt",
    "exec_code",
    "checkpoint",
    "sync_execution_environment",
    "sleep",
    "await_event",
    "peek_await_event",
    "durable_step",
    "trigger",
    "process",
    "runtime_value",
]

#: The session that stands in the scope of what belongs to none.
NO_SESSION = "runtime"


class RuntimeScope(Data):
    """Where in a session an invocation happens. Metadata; an `ExecutionScope` is something else."""

    session_id: str
    turn_id: str | None = None
    turn_index: int | None = None
    protocol_iteration: int | None = None


class ReplayKey(Data):
    """The name under which an effect's outcome is recorded within its execution scope."""

    key: str


class EffectSubject(Data, tag_field="type", tag="effect"):
    """The invocation is one effect."""

    effect_id: str
    kind: EffectKind


class ProcessSubject(Data, tag_field="type", tag="process"):
    """The invocation is a process."""

    process_id: str


class ProcessEventSubject(Data, tag_field="type", tag="process_event"):
    """The invocation is one event of a process."""

    process_id: str
    sequence: int
    event_type: str


class TriggerOccurrenceSubject(Data, tag_field="type", tag="trigger_occurrence"):
    """The invocation is one firing of a trigger."""

    occurrence_id: str


class SessionNodeSubject(Data, tag_field="type", tag="session_node"):
    """The invocation is a node of a session graph."""

    node_id: str


RuntimeSubject: TypeAlias = (
    EffectSubject
    | ProcessSubject
    | ProcessEventSubject
    | TriggerOccurrenceSubject
    | SessionNodeSubject
)


class TurnCauseRef(Data, tag_field="type", tag="turn"):
    """Caused by a turn."""

    session_id: str
    turn_id: str


class EffectCauseRef(Data, tag_field="type", tag="effect"):
    """Caused by an effect."""

    session_id: str
    effect_id: str
    turn_id: str | None = None


class ToolCallCauseRef(Data, tag_field="type", tag="tool_call"):
    """Caused by a tool call."""

    session_id: str
    call_id: str


class ProcessCauseRef(Data, tag_field="type", tag="process"):
    """Caused by a process."""

    process_id: str


class ProcessEventCauseRef(Data, tag_field="type", tag="process_event"):
    """Caused by an event of a process."""

    process_id: str
    sequence: int


class SessionNodeCauseRef(Data, tag_field="type", tag="session_node"):
    """Caused by a node of a session graph."""

    session_id: str
    node_id: str


class TriggerOccurrenceCauseRef(Data, tag_field="type", tag="trigger_occurrence"):
    """Caused by a firing of a trigger, and by which subscription, as it stood then."""

    occurrence_id: str
    subscription_id: str | None = None
    incarnation: str | None = None
    revision: int | None = None


CausalRef: TypeAlias = (
    TurnCauseRef
    | EffectCauseRef
    | ToolCallCauseRef
    | ProcessCauseRef
    | ProcessEventCauseRef
    | SessionNodeCauseRef
    | TriggerOccurrenceCauseRef
)


class RuntimeInvocation(Data):
    """One thing the runtime does: where, what, why, and under which replay key."""

    scope: RuntimeScope
    subject: RuntimeSubject
    caused_by: CausalRef | None = None
    replay: ReplayKey | None = None


def causal_ref(invocation: RuntimeInvocation) -> CausalRef:
    """The reference by which children of this invocation name it as their cause."""
    scope = invocation.scope
    match invocation.subject:
        case EffectSubject(effect_id=effect_id):
            return EffectCauseRef(
                session_id=scope.session_id, turn_id=scope.turn_id, effect_id=effect_id
            )
        case ProcessSubject(process_id=process_id):
            return ProcessCauseRef(process_id=process_id)
        case ProcessEventSubject(process_id=process_id, sequence=sequence):
            return ProcessEventCauseRef(process_id=process_id, sequence=sequence)
        case TriggerOccurrenceSubject(occurrence_id=occurrence_id):
            return TriggerOccurrenceCauseRef(occurrence_id=occurrence_id)
        case SessionNodeSubject(node_id=node_id):
            return SessionNodeCauseRef(session_id=scope.session_id, node_id=node_id)


def turn_effect(
    *,
    session_id: str,
    turn_id: str,
    turn_index: int,
    protocol_iteration: int,
    kind: EffectKind,
    effect_id: int,
) -> RuntimeInvocation:
    """The invocation of an effect the turn machine asked for.

    Effect ids restart with every turn, so the key holds the turn as well:
    `{session}:{turn}:{turn_index}:{iteration}:{kind}:{effect_id}`.
    """
    key = f"{session_id}:{turn_id}:{turn_index}:{protocol_iteration}:{kind}:{effect_id}"
    return RuntimeInvocation(
        scope=RuntimeScope(
            session_id=session_id,
            turn_id=turn_id,
            turn_index=turn_index,
            protocol_iteration=protocol_iteration,
        ),
        subject=EffectSubject(effect_id=str(effect_id), kind=kind),
        caused_by=TurnCauseRef(session_id=session_id, turn_id=turn_id),
        replay=ReplayKey(key=key),
    )


def child_effect(parent: RuntimeInvocation, *, kind: EffectKind, suffix: str) -> RuntimeInvocation:
    """The invocation of an effect issued while interpreting `parent`.

    It stands in the parent's scope, is caused by it, and its replay key is the parent's key (or,
    without one, its effect id) followed by `:{suffix}`.
    """
    effect_id = parent.subject.effect_id if isinstance(parent.subject, EffectSubject) else "effect"
    base = parent.replay.key if parent.replay else effect_id
    return RuntimeInvocation(
        scope=parent.scope,
        subject=EffectSubject(effect_id=f"{effect_id}:{suffix}", kind=kind),
        caused_by=causal_ref(parent),
        replay=ReplayKey(key=f"{base}:{suffix}"),
    )


def scope_effect(
    *,
    kind: EffectKind,
    key: str,
    session_id: str = NO_SESSION,
    caused_by: CausalRef | None = None,
) -> RuntimeInvocation:
    """The invocation of an effect that host code asks for in a scope of its own.

    The scope's journal holds nobody else's effects, so the key need not name the scope again.
    """
    return RuntimeInvocation(
        scope=RuntimeScope(session_id=session_id),
        subject=EffectSubject(effect_id=key, kind=kind),
        caused_by=caused_by,
        replay=ReplayKey(key=key),
    )
