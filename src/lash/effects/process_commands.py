"""What effects may ask of background processes (effects spec 3.3).

What a registration, a record or an event is made of is the process domain's to say; here they travel
as JSON objects, so that the boundary does not depend on it.
"""

from typing import Literal, TypeAlias, assert_never

from lash.core.json import Data, JsonObject, JsonValue, digest
from lash.core.text import key_part

ListMode: TypeAlias = Literal["live", "all"]


class StartProcess(Data, tag_field="op", tag="start"):
    """Register a process; a worker runs it. The same id and content is the same process."""

    process_id: str
    registration: JsonObject
    execution_context: JsonObject | None = None
    observers: tuple[str, ...] = ()
    env_spec: JsonObject | None = None


class ListProcesses(Data, tag_field="op", tag="list"):
    """The processes a session holds handles of."""

    session_scope: str
    mode: ListMode = "live"


class TransferProcesses(Data, tag_field="op", tag="transfer"):
    """Hand handles from one session to another."""

    from_scope: str
    to_scope: str
    process_ids: tuple[str, ...]


class DeleteSessionProcesses(Data, tag_field="op", tag="delete_session"):
    """Let go of the handles of a session that is being deleted."""

    session_id: str


class AwaitProcess(Data, tag_field="op", tag="await"):
    """Wait for a process to end."""

    process_id: str


class CancelProcess(Data, tag_field="op", tag="cancel"):
    """Ask a process to stop."""

    process_id: str
    reason: str | None = None


class SignalProcess(Data, tag_field="op", tag="signal"):
    """Tell a process something. The same signal id is the same signal."""

    process_id: str
    signal_name: str
    signal_id: str
    request: JsonValue = None


class EmitProcessEvent(Data, tag_field="op", tag="emit_event"):
    """Append an event of a process to its log."""

    process_id: str
    event_key: str
    request: JsonObject


class ParentEnd(Data, tag_field="op", tag="parent_end"):
    """Apply what was agreed for a child when its parent ends."""

    process_id: str
    identity: str
    policy: str
    reason: str | None = None


ProcessCommand: TypeAlias = (
    StartProcess
    | ListProcesses
    | TransferProcesses
    | DeleteSessionProcesses
    | AwaitProcess
    | CancelProcess
    | SignalProcess
    | EmitProcessEvent
    | ParentEnd
)


class ProcessStarted(Data, tag_field="op", tag="start"):
    """The process as it is registered."""

    record: JsonObject


class ProcessesListed(Data, tag_field="op", tag="list"):
    """The processes there are."""

    entries: tuple[JsonObject, ...]


class ProcessesTransferred(Data, tag_field="op", tag="transfer"):
    """The handles changed hands."""


class SessionProcessesDeleted(Data, tag_field="op", tag="delete_session"):
    """What became of the handles."""

    report: JsonObject


class ProcessAwaited(Data, tag_field="op", tag="await"):
    """How the process ended."""

    output: JsonObject


class ProcessCancelled(Data, tag_field="op", tag="cancel"):
    """The process after it was asked to stop."""

    record: JsonObject


class ProcessSignalled(Data, tag_field="op", tag="signal"):
    """The signal as it was appended."""

    event: JsonObject


class ProcessEventEmitted(Data, tag_field="op", tag="emit_event"):
    """The event as it was appended, and the wake it caused, if any."""

    event: JsonObject
    wake_delivery: JsonObject | None = None


class ParentEnded(Data, tag_field="op", tag="parent_end"):
    """What became of the child."""

    outcome: JsonObject


ProcessEffectOutcome: TypeAlias = (
    ProcessStarted
    | ProcessesListed
    | ProcessesTransferred
    | SessionProcessesDeleted
    | ProcessAwaited
    | ProcessCancelled
    | ProcessSignalled
    | ProcessEventEmitted
    | ParentEnded
)


def process_effect_id(command: ProcessCommand) -> str:
    """What a command is called within its parent, before its occurrence is counted."""
    return ":".join(("process", *map(key_part, _names(command))))


def _names(command: ProcessCommand) -> tuple[str, ...]:  # noqa: PLR0911  a case per operation
    match command:
        case StartProcess(process_id=process_id):
            return "start", process_id
        case ListProcesses(session_scope=scope, mode=mode):
            return "list", scope, mode
        case TransferProcesses(from_scope=source, to_scope=target, process_ids=process_ids):
            return "transfer", source, target, digest("process-transfer", list(process_ids))
        case DeleteSessionProcesses(session_id=session_id):
            return "delete-session", session_id
        case AwaitProcess(process_id=process_id):
            return "await", process_id
        case CancelProcess(process_id=process_id):
            return "cancel", process_id
        case SignalProcess(process_id=process_id, signal_name=name, signal_id=signal_id):
            return "signal", process_id, f"signal.{name}", signal_id
        case EmitProcessEvent(process_id=process_id, event_key=event_key):
            return "emit-event", process_id, event_key
        case ParentEnd(identity=identity):
            return "parent-end", identity
        case _:
            assert_never(command)
