"""What becomes of a process: state in, decision out (process spec, sections 2 to 4).

A store reads a row, asks here, and persists what it is told. Who is asked twice under one replay key is
given the first answer, whatever happened since: that check comes before every other.
"""

from dataclasses import dataclass, replace
from typing import assert_never

import msgspec

from lash.core.json import JsonObject
from lash.processes import event_types as types
from lash.processes.appending import append
from lash.processes.ending import abandon_run, complete, complete_by_authority
from lash.processes.events import ProcessEvent, initial
from lash.processes.model import ProcessRecord, ProcessTombstone
from lash.processes.planning import (
    WriteFacts,
    WritePlan,
    already_ended,
    appended,
    event_of,
    one,
    refused,
)
from lash.processes.registration import (
    AlreadyRegistered,
    Registered,
    RegisterRequest,
    RegisterResult,
    RegistrationConflict,
    differences,
    fingerprint,
)
from lash.processes.running import (
    begin,
    claim,
    clear_wait,
    continue_as_new,
    mark_wait,
    park,
    release,
)
from lash.processes.writes import (
    AbandonRun,
    AlreadyApplied,
    AppendEvent,
    ChangeObservers,
    ClaimRun,
    ClearWait,
    CompleteByAuthority,
    CompleteRun,
    ContinueRun,
    MarkWait,
    ParkRun,
    ProcessWrite,
    ReleaseRun,
    RequestAbandon,
    RetargetWakes,
    SetExternalRef,
    Written,
)


@dataclass(frozen=True, slots=True)
class RegisterPlan:
    """What to persist when a process is registered. Without a record there is nothing to persist."""

    result: RegisterResult
    record: ProcessRecord | None = None
    events: tuple[ProcessEvent, ...] = ()


def plan_register(
    known: ProcessRecord | ProcessTombstone | None,
    request: RegisterRequest,
    *,
    now_ms: int,
    next_change: int,
) -> RegisterPlan:
    """A new process, or the one there is under its id."""
    asked = request.registration
    print_of_it = fingerprint(asked, request.observers)
    if isinstance(known, ProcessTombstone):
        return RegisterPlan(known)
    if known is not None:
        if known.fingerprint == print_of_it:
            return RegisterPlan(AlreadyRegistered(record=known))
        differs = differences(known.registration, asked) or ("observers",)
        return RegisterPlan(RegistrationConflict(record=known, differs=differs))
    record = ProcessRecord(
        registration=asked,
        fingerprint=print_of_it,
        created_at_ms=now_ms,
        state=initial(asked, now_ms),
        change=next_change,
    )
    if request.claim is None or asked.disposition == "externally_owned":
        return RegisterPlan(Registered(record=record), record)
    begun, event, lease = begin(record, request.claim, now_ms)
    return RegisterPlan(Registered(record=begun, lease=lease), begun, (event,))


def plan_write(facts: WriteFacts, write: ProcessWrite) -> WritePlan:  # noqa: C901, PLR0911, PLR0912  a case per write
    """What comes of something done to a process."""
    match write:
        case AppendEvent():
            return append(facts, write)
        case ClaimRun():
            return claim(facts, write)
        case ReleaseRun():
            return release(facts, write)
        case ParkRun():
            return park(facts, write)
        case MarkWait():
            return mark_wait(facts, write)
        case ClearWait():
            return clear_wait(facts, write)
        case CompleteRun():
            return complete(facts, write)
        case CompleteByAuthority():
            return complete_by_authority(facts, write)
        case AbandonRun():
            return abandon_run(facts, write)
        case ContinueRun():
            return continue_as_new(facts, write)
        case SetExternalRef():
            return _set_external_ref(facts, write)
        case RequestAbandon():
            return _request_abandon(facts, write)
        case RetargetWakes():
            return _retarget(facts, write)
        case ChangeObservers():
            return _change_observers(facts, write)
        case _:
            assert_never(write)


def _set_external_ref(facts: WriteFacts, write: SetExternalRef) -> WritePlan:
    record, known = facts.record, facts.record.state.external_ref
    if known == write.external_ref:
        return WritePlan(AlreadyApplied(record=record))
    if known is not None:
        return refused(
            "process_external_ref_conflict",
            f"Process {record.process_id!r} is known elsewhere as {known.backend}:{known.id}; that is "
            "written once.",
        )
    if record.retired:
        return already_ended(record)
    fact: JsonObject = {"external_ref": msgspec.to_builtins(write.external_ref)}
    return one(facts, types.EXTERNAL_REF_SET, fact)


def _request_abandon(facts: WriteFacts, write: RequestAbandon) -> WritePlan:
    record = facts.record
    if record.retired:
        return already_ended(record)
    if record.state.abandon_request is not None:
        return WritePlan(AlreadyApplied(record=record))
    fact: JsonObject = {"request": msgspec.to_builtins(write.request)}
    return one(facts, types.ABANDON_REQUESTED, fact)


def _retarget(facts: WriteFacts, write: RetargetWakes) -> WritePlan:
    record = facts.record
    if record.state.wake_session_id == write.session_id:
        return WritePlan(AlreadyApplied(record=record))
    fact: JsonObject = {} if write.session_id is None else {"session_id": write.session_id}
    plan = one(facts, types.WAKE_RETARGETED, fact)
    return replace(plan, discard_wakes=True)


def _change_observers(facts: WriteFacts, write: ChangeObservers) -> WritePlan:
    record, now_ms = facts.record, facts.now_ms
    events: list[ProcessEvent] = []
    changes = [(types.OBSERVER_REMOVED, name) for name in write.remove]
    changes += [(types.OBSERVER_ADDED, name) for name in write.add]
    if not changes:
        return WritePlan(AlreadyApplied(record=record))
    for event_type, session_id in changes:
        fact: JsonObject = {"session_id": session_id, "by": write.by}
        event = event_of(record, event_type, fact, now_ms)
        record = appended(record, event, change=facts.next_change)
        events.append(event)
    return WritePlan(
        Written(record=record, event=events[-1]),
        record,
        tuple(events),
        add_observers=write.add,
        remove_observers=write.remove,
    )
