"""What a process is: who asked for it, what runs, and how it stands (process spec, section 1).

A process is one row: a registration that never changes, and a state that is the fold of its events.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from lash.core.causality import CausalRef
from lash.core.json import Data, JsonValue
from lash.core.leases import Lease, LeaseOwner, LeaseState
from lash.effects.commands import PreparedToolCall
from lash.effects.journal import ProcessAuthority
from lash.processes.event_types import ProcessEventType
from lash.processes.outcomes import ProcessAwaitOutput

# --- who ----------------------------------------------------------------------------------------------


class HostOriginator(Data, tag_field="type", tag="host"):
    """The application itself is accountable; `scope` is a name of its own."""

    scope: str | None = None


class SessionOriginator(Data, tag_field="type", tag="session"):
    """A session is accountable. Its name stays here when the session is deleted."""

    session_id: str
    agent_frame_id: str | None = None


Originator: TypeAlias = HostOriginator | SessionOriginator


def originator_id(originator: Originator) -> str:
    """The originator as one word, by which processes are listed."""
    match originator:
        case HostOriginator(scope=None):
            return "host"
        case HostOriginator(scope=scope):
            return f"host:{scope}"
        case SessionOriginator(session_id=session_id):
            return f"session:{session_id}"


class ProcessProvenance(Data):
    """Where a process comes from.

    Attributes:
        originator: Who is accountable. Inherited by children, and theirs.
        caused_by: What asked for it at the time.
        parent_id: The process it is a child of; the parent may await, signal and cancel it.
    """

    originator: Originator = HostOriginator()
    caused_by: CausalRef | None = None
    parent_id: str | None = None


# --- what ---------------------------------------------------------------------------------------------


class ToolCallInput(Data, tag_field="type", tag="tool_call"):
    """A tool of an agent is called, outside of any turn.

    `grant` is the permission by which it is, if the tool is in no catalogue.
    """

    call: PreparedToolCall
    grant: JsonValue = None


class EngineInput(Data, tag_field="type", tag="engine"):
    """An engine runs `payload`, which only it understands."""

    kind: str
    payload: JsonValue = None


class SessionTurnInput(Data, tag_field="type", tag="session_turn"):
    """An agent runs one turn in a session of its own.

    Attributes:
        session_id: The session; it begins with this turn.
        turn_input: What the agent is asked, in its wire form.
        relation: Where the session comes from, in its wire form.
    """

    session_id: str
    agent_name: str
    agent_version: str
    turn_input: JsonValue
    relation: JsonValue = None


class ExternalInput(Data, tag_field="type", tag="external"):
    """Somebody else does the work; lash keeps the record."""

    metadata: JsonValue = None


ProcessInput: TypeAlias = ToolCallInput | EngineInput | SessionTurnInput | ExternalInput


def engine_kind(process_input: ProcessInput) -> str:
    """Who runs an input: `tool_call`, `session_turn`, `external`, or an engine's own kind."""
    match process_input:
        case EngineInput(kind=kind):
            return kind
        case _:
            return str(process_input.__struct_config__.tag)


#: What may happen to a process that was begun when its worker dies. `rerunnable`: any worker runs it
#: again. `owner_bound`: it is begun once, and never again elsewhere. `externally_owned`: lash never
#: runs it, somebody else completes it.
RecoveryDisposition: TypeAlias = Literal["rerunnable", "owner_bound", "externally_owned"]


class ProcessIdentity(Data):
    """How a process is shown and grouped, so that nobody has to understand its payload.

    `definition` is the name of the code, `version` which one.
    """

    kind: str
    label: str | None = None
    definition: str | None = None
    version: str | None = None


class ProcessEnv(Data):
    """Under what a process runs, whatever becomes of the session that asked for it.

    Attributes:
        plugin_options: Options of plugins, by plugin.
        agent_name: The agent whose tools and model it may use; none for host code.
        agent_version: Its version.
        session_id: The session a tool is told that it works for.
    """

    plugin_options: Mapping[str, JsonValue] = {}
    agent_name: str | None = None
    agent_version: str | None = None
    session_id: str | None = None


class ProcessRegistration(Data):
    """What was asked for; it never changes. See `registration.prepare` for what is refused.

    Attributes:
        process_id: The process, for ever: an id is not used again.
        input: What runs.
        disposition: What happens when the worker dies.
        identity: How it is shown.
        provenance: Where it comes from.
        event_types: The events of its own that it may append, and the signals it takes.
        open_signals: Signals of any name and payload are taken, not only declared ones.
        env_ref: Its environment, by content.
        max_attempts: How often it may be begun without getting anywhere; None for ever.
        wake_session_id: The session that its wakes go to, to begin with.
    """

    process_id: str
    input: ProcessInput
    disposition: RecoveryDisposition
    identity: ProcessIdentity
    provenance: ProcessProvenance = ProcessProvenance()
    event_types: tuple[ProcessEventType, ...] = ()
    open_signals: bool = False
    env_ref: str | None = None
    max_attempts: int | None = None
    wake_session_id: str | None = None


# --- how it stands ------------------------------------------------------------------------------------

ProcessStatus: TypeAlias = Literal[
    "running", "waiting", "completed", "failed", "cancelled", "abandoned"
]

RETIRED: frozenset[ProcessStatus] = frozenset({"completed", "failed", "cancelled", "abandoned"})


class ProcessStarted(Data):
    """One time that a process was begun: by whom, under which fencing token, for which time."""

    owner: LeaseOwner
    started_at_ms: int
    fencing_token: int
    attempt: int


class SignalWaitKind(Data, tag_field="kind", tag="signal"):
    """It waits for its `ordinal`-th signal of a name."""

    name: str
    ordinal: int


class TimerWaitKind(Data, tag_field="kind", tag="timer"):
    """It waits for a time."""


class ProcessWaitKind(Data, tag_field="kind", tag="process"):
    """It waits for another process to end."""

    process_id: str


class TurnWaitKind(Data, tag_field="kind", tag="turn"):
    """It waits for a turn of a session."""

    session_id: str
    turn_id: str


class EventWaitKind(Data, tag_field="kind", tag="event"):
    """It waits for an answer from outside."""

    name: str


WaitKind: TypeAlias = (
    SignalWaitKind | TimerWaitKind | ProcessWaitKind | TurnWaitKind | EventWaitKind
)


class WaitState(Data):
    """What a process waits for, since when, and until when at the latest."""

    kind: WaitKind
    since_ms: int
    due_at_ms: int | None = None


class ExternalRef(Data):
    """Where the work is really done."""

    backend: str
    id: str
    metadata: JsonValue = None


class AbandonRequest(Data):
    """Somebody gave a process up."""

    requested_by: str
    requested_at_ms: int
    reason: str | None = None


class CancelRequested(Data):
    """Somebody asked a process to stop."""

    requested_at_ms: int
    reason: str | None = None


class ProcessParked(Data):
    """Why a process does not go on by itself. `waits_for` is `code` or `person`."""

    code: str
    message: str
    waits_for: Literal["code", "person"]


class ProcessRetry(Data):
    """Why the last attempt got nowhere, and when the next one begins."""

    code: str
    message: str
    next_attempt_at_ms: int


class SignalCursor(Data):
    """Which signals of one name were taken: all up to `through`, and some beyond, by sequence."""

    through: int = 0
    beyond: tuple[int, ...] = ()


class ProcessSegment(Data):
    """Where a process goes on that continued as new: its journal begins again, nothing else does.

    Attributes:
        ordinal: Which segment it is, from 0.
        payload: What the engine goes on with, in place of the input's payload.
        signals: Which signals earlier segments took, by name.
        told: Whether an earlier segment was told to stop; it is told once.
    """

    ordinal: int = 0
    payload: JsonValue = None
    signals: Mapping[str, SignalCursor] = {}
    told: bool = False


class ProcessState(Data):
    """What a process's events come to.

    Attributes:
        status: The label it is listed under.
        sequence: The last event.
        updated_at_ms: When that was.
        wake_session_id: The session its wakes go to now.
        first_started: The first time it was begun.
        started: The last time.
        failures: How often in a row it was begun and got nowhere.
        wait: What it waits for.
        last_wait: What it waits for, or waited for when it was last begun.
        external_ref: Where the work is really done.
        abandon_request: Somebody gave it up.
        cancel: Somebody asked it to stop.
        parked: Why it does not go on by itself.
        retry: Why the last attempt got nowhere.
        segment: Where it goes on.
        outcome: How it ended.
    """

    status: ProcessStatus = "running"
    sequence: int = 0
    updated_at_ms: int = 0
    wake_session_id: str | None = None
    first_started: ProcessStarted | None = None
    started: ProcessStarted | None = None
    failures: int = 0
    wait: WaitState | None = None
    last_wait: WaitState | None = None
    external_ref: ExternalRef | None = None
    abandon_request: AbandonRequest | None = None
    cancel: CancelRequested | None = None
    parked: ProcessParked | None = None
    retry: ProcessRetry | None = None
    segment: ProcessSegment = ProcessSegment()
    outcome: ProcessAwaitOutput | None = None


class ProcessRecord(Data):
    """A process as it stands.

    Attributes:
        registration: What was asked for.
        fingerprint: The registration as a hash; the same id with another one is a conflict.
        created_at_ms: When, in the store's clock.
        state: How it stands.
        change: Its place in the change feed.
        lease: Who runs it.
    """

    registration: ProcessRegistration
    fingerprint: str
    created_at_ms: int
    state: ProcessState
    change: int
    lease: LeaseState = LeaseState()

    @property
    def process_id(self) -> str:
        """The process."""
        return self.registration.process_id

    @property
    def status(self) -> ProcessStatus:
        """The label it is listed under."""
        return self.state.status

    @property
    def retired(self) -> bool:
        """Whether it has come to its end."""
        return self.state.status in RETIRED

    @property
    def outcome(self) -> ProcessAwaitOutput | None:
        """How it ended."""
        return self.state.outcome

    @property
    def payload(self) -> JsonValue:
        """What its engine runs now: the input's payload, or what it continued with."""
        if self.state.segment.ordinal:
            return self.state.segment.payload
        given = self.registration.input
        return given.payload if isinstance(given, EngineInput) else None


class ProcessTombstone(Data):
    """What is left of a process that was pruned. Its id is not used again."""

    process_id: str
    status: ProcessStatus
    pruned_at_ms: int
    change: int


def authority_of(process_id: str, lease: Lease) -> ProcessAuthority:
    """The proof that writes of a run present."""
    return ProcessAuthority(process_id=process_id, fence=lease.fence)


def segment_scope_id(process_id: str, ordinal: int) -> str:
    """The id under which a segment's effects are recorded; ids never hold a `#` themselves."""
    return f"{process_id}#{ordinal}" if ordinal else process_id
