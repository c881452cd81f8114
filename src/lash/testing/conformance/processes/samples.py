"""The processes that the properties are told with: registrations, event types, outcomes."""

from collections.abc import Mapping
from typing import TypedDict, Unpack

from lash.core.json import JsonValue
from lash.core.leases import Fence
from lash.core.scopes import ProcessScope, journal_key
from lash.processes.event_types import (
    ProcessEventType,
    SelectConst,
    Selector,
    SelectPointer,
    TerminalSpec,
    WakeSpec,
)
from lash.processes.model import (
    EngineInput,
    EventWaitKind,
    ExternalInput,
    ProcessEnv,
    ProcessIdentity,
    ProcessInput,
    ProcessParked,
    ProcessProvenance,
    ProcessRegistration,
    ProcessRetry,
    RecoveryDisposition,
    TimerWaitKind,
    WaitState,
    segment_scope_id,
)
from lash.processes.outcomes import (
    AbandonEvidence,
    ProcessAbandoned,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)
from lash.processes.registration import env_ref_of, prepare
from lash.processes.writes import AppendEvent

#: The time at which the clock of every test begins.
START_MS = 1_750_000_000_000
DAY_MS = 24 * 3600 * 1000

ENV = ProcessEnv(agent_name="support", plugin_options={"mood": ["kind", 1]})
IDENTITY = ProcessIdentity(kind="python", label="Refund é", definition="refund", version="1")


def schema(name: str, kind: str) -> Mapping[str, JsonValue]:
    """The schema of an object with one member, which must be there."""
    return {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}


#: Says something, and nothing comes of it.
NOTE = ProcessEventType(name="note", payload_schema=schema("n", "integer"))
#: Wakes the session with a text.
RING = ProcessEventType(name="ring", wake=WakeSpec(input=SelectPointer(pointer="/text")))
#: End the process: with its whole payload, with what a pointer leads to, and as something else.
SOLD = ProcessEventType(name="sold", terminal=TerminalSpec(status="completed"))
BROKE = ProcessEventType(
    name="broke",
    payload_schema={"type": "object"},
    terminal=TerminalSpec(status="failed", outcome=SelectPointer(pointer="/why")),
)
STOPPED = ProcessEventType(
    name="stopped", terminal=TerminalSpec(status="cancelled", outcome=SelectConst(value="enough"))
)
APPROVE = ProcessEventType(name="signal.approve", payload_schema=schema("by", "string"))
HELLO = ProcessEventType(name="signal.hello")
EVENT_TYPES = (NOTE, RING, SOLD, BROKE, STOPPED, APPROVE, HELLO)


class Changes(TypedDict, total=False):
    """What a registration may have in place of what `refund` says."""

    input: ProcessInput
    identity: ProcessIdentity
    provenance: ProcessProvenance
    event_types: tuple[ProcessEventType, ...]
    open_signals: bool
    env_ref: str | None
    max_attempts: int | None
    wake_session_id: str | None


def refund(
    process_id: str = "p",
    disposition: RecoveryDisposition = "rerunnable",
    **changes: Unpack[Changes],
) -> ProcessRegistration:
    """A registration that a runtime may make: an engine's payload, or work that is done elsewhere."""
    external = disposition == "externally_owned"
    asked = Changes(
        input=ExternalInput(metadata={"label": "bank"})
        if external
        else EngineInput(kind="python", payload={"order": "o-7", "lines": [1, 2.5, None]}),
        identity=IDENTITY,
        event_types=EVENT_TYPES,
        env_ref=None if external else env_ref_of(ENV),
    )
    asked.update(changes)
    return prepare(ProcessRegistration(process_id=process_id, disposition=disposition, **asked))


def note(n: int, key: str | None = None, fence: Fence | None = None) -> AppendEvent:
    """An event that says a number."""
    return AppendEvent(event_type="note", payload={"n": n}, replay_key=key, fence=fence)


def ring(text: str, key: str | None = None) -> AppendEvent:
    """An event that wakes a session."""
    return AppendEvent(event_type="ring", payload={"text": text}, replay_key=key)


def cancel(reason: str | None = None, key: str = "cancel") -> AppendEvent:
    """Somebody asks the process to stop."""
    payload: JsonValue = {} if reason is None else {"reason": reason}
    return AppendEvent(event_type="process.cancel_requested", payload=payload, replay_key=key)


def signal(name: str, payload: JsonValue, signal_id: str) -> AppendEvent:
    """Somebody tells the process something."""
    return AppendEvent(
        event_type=f"signal.{name}", payload=payload, replay_key=f"{name}:{signal_id}"
    )


def waking(wake_input: Selector, when: Selector | None = None) -> ProcessEventType:
    """An event type that wakes as it is told."""
    return ProcessEventType(name="waking", wake=WakeSpec(input=wake_input, when=when))


def terminal_type(name: str, spec: TerminalSpec) -> ProcessEventType:
    """An event type that ends the process as it is told."""
    return ProcessEventType(name=name, terminal=spec)


def scope(process_id: str = "p", segment: int = 0) -> str:
    """The key of a process's journal."""
    return journal_key(ProcessScope(process_id=segment_scope_id(process_id, segment)))


#: One outcome of each kind. They hold every sort of JSON value.
DONE = ProcessSuccess(value={"refunded": [7, 2.5, None, True, "é ☃"]}, control={"finish": 1})
FAILED = ProcessFailure(
    failure_class="external", code="bank_said_no", message="The bank said no.", raw={"status": 402}
)
CANCELLED = ProcessCancelled(message="The customer kept it.", raw=["thanks"])
ABANDONED = ProcessAbandoned(
    evidence=AbandonEvidence(writer="reconciled_request", epoch_ms=START_MS)
)

APPROVAL = EventWaitKind(name="approval")
TIMER = TimerWaitKind()
PERSON = ProcessParked(code="process_journal_left_over", message="decide", waits_for="person")
CODE = ProcessParked(code="process_missing", message="none here", waits_for="code")


def wait(since_ms: int = START_MS, *, due_at_ms: int | None = None) -> WaitState:
    """A wait for an answer from outside."""
    return WaitState(kind=APPROVAL, since_ms=since_ms, due_at_ms=due_at_ms)


def rest(until_ms: int) -> ProcessRetry:
    """An attempt that got nowhere."""
    return ProcessRetry(
        code="process_recovery_failed", message="no disk", next_attempt_at_ms=until_ms
    )
