"""What may come of writing to a process, as errors that say what to do."""

from lash.core.errors import ConflictError, LashError, ProcessError
from lash.core.json import JsonValue
from lash.effects.journal import ProcessAuthority
from lash.effects.journaling import lease_lost
from lash.processes.model import ProcessRecord, ProcessTombstone
from lash.processes.outcomes import (
    NoLongerRetained,
    ObservedOutput,
    ProcessAbandoned,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)
from lash.processes.registration import RegistrationConflict
from lash.processes.writes import (
    AlreadyApplied,
    FenceLost,
    ProcessUnknown,
    RunBusy,
    RunRefused,
    Superseded,
    WriteRefused,
    WriteResult,
    Written,
)


def unknown(process_id: str) -> LashError:
    """The error of a process that was never registered."""
    return LashError(
        "process_unknown",
        f"No process {process_id!r} is stored here. Check the id, and that it is the right database.",
        process_id=process_id,
    )


def pruned(tombstone: ProcessTombstone) -> LashError:
    """The error of a process that was forgotten."""
    return LashError(
        "process_no_longer_retained",
        f"Process {tombstone.process_id!r} ended ({tombstone.status}) and was pruned since; its id is "
        "not used again.",
        process_id=tombstone.process_id,
        status=tombstone.status,
        pruned_at_ms=tombstone.pruned_at_ms,
    )


def conflict(result: RegistrationConflict) -> ConflictError:
    """The error of an id that is another process's."""
    listed = ", ".join(result.differs)
    return ConflictError(
        "process_conflict",
        f"Process {result.record.process_id!r} exists already and is another one: it differs in "
        f"{listed}. Nothing was registered; the same id stands for the same process, use a new one.",
        process_id=result.record.process_id,
        differs=result.differs,
    )


def not_visible(process_id: str, session_id: str) -> LashError:
    """The error of a process that a session cannot see, or that there is none of."""
    return LashError(
        "process_not_visible",
        f"Session {session_id!r} cannot see a process {process_id!r}.",
        process_id=process_id,
        session_id=session_id,
    )


def standing(
    result: WriteResult, process_id: str, authority: ProcessAuthority | None = None
) -> Written | AlreadyApplied | Superseded:
    """What was written, or stood before.

    Raises:
        LashError: Why nothing was written.
    """
    match result:
        case Written() | AlreadyApplied() | Superseded():
            return result
        case _:
            raise _error(result, process_id, authority)


def _error(
    result: FenceLost | RunBusy | RunRefused | WriteRefused | ProcessUnknown | ProcessTombstone,
    process_id: str,
    authority: ProcessAuthority | None,
) -> LashError:
    match result:
        case FenceLost():
            return lease_lost(authority)
        case WriteRefused(code=code, message=message, details=details):
            kind = ConflictError if code == "process_event_conflict" else LashError
            return kind(code, message, **details)
        case ProcessUnknown():
            return unknown(process_id)
        case ProcessTombstone():
            return pruned(result)
        case RunBusy(holder=holder):
            return LashError(
                "process_recovery_failed",
                f"Process {process_id!r} is run by {holder.owner.owner_id} "
                f"on {holder.owner.host or 'this host'}.",
                process_id=process_id,
            )
        case RunRefused(why=why):
            return LashError(
                "process_recovery_failed",
                f"Process {process_id!r} is not to be begun now: {why}.",
                process_id=process_id,
            )


def value_of(process_id: str, output: ObservedOutput) -> JsonValue:
    """What a process came to, for whoever waits for its value.

    Raises:
        ProcessError: It came to no value: its own code, `process_cancelled`, `process_abandoned`,
            `process_no_longer_retained`.
    """
    match output:
        case ProcessSuccess(value=value):
            return value
        case ProcessFailure(code=code, message=message, failure_class=kind, raw=raw):
            raise ProcessError(code, message, process_id=process_id, failure_class=kind, raw=raw)
        case ProcessCancelled(message=message):
            raise ProcessError(
                "process_cancelled",
                f"Process {process_id!r} was cancelled: {message}",
                process_id=process_id,
            )
        case ProcessAbandoned(evidence=evidence):
            raise ProcessError(
                "process_abandoned",
                f"Process {process_id!r} was given up ({evidence.writer}); nobody knows how far it got.",
                process_id=process_id,
                writer=evidence.writer,
            )
        case NoLongerRetained(terminal_status=status):
            raise ProcessError(
                "process_no_longer_retained",
                f"Process {process_id!r} ended ({status}) and was pruned since.",
                process_id=process_id,
            )


def is_retired(record: ProcessRecord | ProcessTombstone) -> bool:
    """Whether a process has come to its end."""
    return isinstance(record, ProcessTombstone) or record.retired
