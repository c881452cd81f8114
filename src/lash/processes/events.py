"""Events of a process, and the state they come to: the fold (process spec 1.8, section 3).

The state that stores keep beside a process is made by this fold, in the transaction of the event, so
folding the log again gives the same.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from lash.core.json import Data, JsonValue
from lash.processes import event_types as types
from lash.processes.event_types import TerminalStatus
from lash.processes.model import (
    AbandonRequest,
    CancelRequested,
    ExternalRef,
    ProcessParked,
    ProcessRegistration,
    ProcessRetry,
    ProcessSegment,
    ProcessStarted,
    ProcessState,
    WaitState,
)
from lash.processes.outcomes import ProcessAwaitOutput


class Terminal(Data):
    """The event ended the process. Without `outcome`, the payload's `await_output` says how."""

    status: TerminalStatus
    outcome: ProcessAwaitOutput | None = None


class EventSemantics(Data):
    """What an event meant when it was appended. `wake` is what a session is told."""

    terminal: Terminal | None = None
    wake: str | None = None


class ProcessEvent(Data):
    """One fact in a process's log.

    Attributes:
        process_id: The process.
        sequence: Its place in the log, from 1, without gaps.
        event_type: What sort of fact.
        payload: The fact.
        occurred_at_ms: When, in the store's clock.
        semantics: What it meant.
        replay_key: Under the same key the same fact is appended once.
    """

    process_id: str
    sequence: int
    event_type: str
    payload: JsonValue
    occurred_at_ms: int
    semantics: EventSemantics = EventSemantics()
    replay_key: str | None = None

    def __repr__(self) -> str:
        place = f"{self.process_id!r}, {self.sequence}"
        return f"ProcessEvent({place}, {self.event_type}, payload=<hidden>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """What consoles show, which read fields past `repr`: as little. A payload may hold anything."""
        return [("sequence", self.sequence), ("event_type", self.event_type)]


# --- payloads of the runtime's own events ---------------------------------------------------------------


class StartedFact(Data):
    """It was begun. `lost` says that whoever ran it before was gone without giving it back."""

    started: ProcessStarted
    lost: bool = False


class WaitFact(Data):
    """It begins to wait, or no longer waits."""

    wait: WaitState


class CancelFact(Data):
    """It was asked to stop."""

    reason: str | None = None


class ExternalRefFact(Data):
    """Where the work is really done."""

    external_ref: ExternalRef


class AbandonFact(Data):
    """Somebody gave it up."""

    request: AbandonRequest


class ParkedFact(Data):
    """It does not go on by itself."""

    parked: ProcessParked


class RetryFact(Data):
    """The attempt got nowhere."""

    retry: ProcessRetry


class ContinuedFact(Data):
    """It goes on as new."""

    segment: ProcessSegment


class RetargetedFact(Data):
    """Its wakes go to another session, or nowhere."""

    session_id: str | None = None


class ObserverFact(Data):
    """A session may see it from here on, or may not."""

    session_id: str
    by: str


class _TerminalFact(Data):
    """How it ended."""

    await_output: ProcessAwaitOutput


OwnFact: TypeAlias = (
    StartedFact
    | WaitFact
    | CancelFact
    | ExternalRefFact
    | AbandonFact
    | ParkedFact
    | RetryFact
    | ContinuedFact
    | RetargetedFact
    | ObserverFact
)

_FACTS: Mapping[str, type[OwnFact]] = {
    types.STARTED: StartedFact,
    types.WAITING: WaitFact,
    types.RESUMED: WaitFact,
    types.CANCEL_REQUESTED: CancelFact,
    types.EXTERNAL_REF_SET: ExternalRefFact,
    types.ABANDON_REQUESTED: AbandonFact,
    types.PARKED: ParkedFact,
    types.RETRY_SCHEDULED: RetryFact,
    types.CONTINUED: ContinuedFact,
    types.WAKE_RETARGETED: RetargetedFact,
}


def initial(registration: ProcessRegistration, created_at_ms: int) -> ProcessState:
    """The state of a process without events."""
    return ProcessState(updated_at_ms=created_at_ms, wake_session_id=registration.wake_session_id)


def fold(
    registration: ProcessRegistration, created_at_ms: int, events: Iterable[ProcessEvent]
) -> ProcessState:
    """The state that a whole log comes to."""
    state = initial(registration, created_at_ms)
    for event in events:
        state = after(state, event)
    return state


def after(state: ProcessState, event: ProcessEvent) -> ProcessState:
    """The state once an event was appended to it."""
    changes: dict[str, object] = {
        "sequence": event.sequence,
        "updated_at_ms": event.occurred_at_ms,
    }
    terminal = event.semantics.terminal
    if terminal is not None:
        changes |= {"status": terminal.status, "outcome": _outcome_of(event, terminal)}
        changes |= {"wait": None, "last_wait": None, "parked": None, "retry": None}
    else:
        changes |= _changes(state, event)
    return msgspec.structs.replace(state, **changes)


def _outcome_of(event: ProcessEvent, terminal: Terminal) -> ProcessAwaitOutput:
    if terminal.outcome is not None:
        return terminal.outcome
    return msgspec.convert(event.payload, _TerminalFact).await_output


def _changes(state: ProcessState, event: ProcessEvent) -> Mapping[str, object]:  # noqa: C901, PLR0911  a case per fact
    kind = _FACTS.get(event.event_type)
    if kind is None:
        return {}
    match msgspec.convert(event.payload, kind):
        case StartedFact(started=started, lost=lost):
            return {
                "status": "running",
                "first_started": state.first_started or started,
                "started": started,
                "failures": state.failures + lost,
                "wait": None,
                "parked": None,
                "retry": None,
            }
        case WaitFact(wait=wait) if event.event_type == types.WAITING:
            # It got somewhere, so attempts that got nowhere are counted from here again.
            return {"status": "waiting", "wait": wait, "last_wait": wait, "failures": 0}
        case WaitFact():
            return {"status": "running", "wait": None, "last_wait": None}
        case CancelFact(reason=reason):
            asked = CancelRequested(requested_at_ms=event.occurred_at_ms, reason=reason)
            return {"cancel": state.cancel or asked}
        case ExternalRefFact(external_ref=external_ref):
            return {"external_ref": external_ref}
        case AbandonFact(request=request):
            return {"abandon_request": request}
        case ParkedFact(parked=parked):
            return {"status": "waiting", "parked": parked, "wait": None, "retry": None}
        case RetryFact(retry=retry):
            failures = state.failures + 1
            return {"status": "running", "retry": retry, "failures": failures, "wait": None}
        case ContinuedFact(segment=segment):
            running = {"status": "running", "wait": None, "last_wait": None, "failures": 0}
            return {"segment": segment, **running}
        case RetargetedFact(session_id=session_id):
            return {"wake_session_id": session_id}
        case _:
            return {}
