"""Processes in words: what they are, what they wait for, who runs them, how they ended."""

import shlex
from typing import assert_never

from lash.cli.ps.standing import Standing
from lash.cli.wording import local_time, one_line, printable, until
from lash.core.leases import LeaseOwner
from lash.processes.model import (
    EventWaitKind,
    HostOriginator,
    Originator,
    ProcessIdentity,
    ProcessParked,
    ProcessRecord,
    ProcessWaitKind,
    SessionOriginator,
    SignalWaitKind,
    TimerWaitKind,
    TurnWaitKind,
    WaitKind,
)
from lash.processes.outcomes import (
    AbandonWriter,
    ProcessAbandoned,
    ProcessAwaitOutput,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)

#: Longer reasons are cut; `--json` has them whole.
REASON_LIMIT = 600

_WRITERS: dict[AbandonWriter, str] = {
    "owner_drain": "as its worker shut down",
    "sweep": "as its worker was gone",
    "reconciled_request": "on request",
    "engine_gave_up": "after too many attempts",
}


def identity_text(identity: ProcessIdentity) -> str:
    """What runs: `refund v1`, `refund v1 (o-7)`, `turn of support v1`, `tool lookup_order`."""
    name, label = identity.definition, identity.label
    version = f" v{identity.version}" if identity.version is not None else ""
    match identity.kind:
        case "python":
            told = f"{name or label or '?'}{version}"
            return told if label in {None, name} else f"{told} ({label})"
        case "session_turn":
            return f"turn of {name or label}{version}"
        case kind:
            return " ".join([kind.replace("_", " "), *([label] if label else [])])


def owner_text(owner: LeaseOwner) -> str:
    """An owner, short enough for a table: its host and the end of its id."""
    short = owner.owner_id[-6:]
    return f"{owner.host}/{short}" if owner.host else short


def originator_text(originator: Originator) -> str:
    """Who is accountable."""
    match originator:
        case HostOriginator(scope=None):
            return "the host"
        case HostOriginator(scope=scope):
            return f"the host ({scope})"
        case SessionOriginator(session_id=session_id):
            return f"session {session_id}"


def awaited_text(kind: WaitKind, due_at_ms: int | None = None) -> str:
    """What is waited for: `signal approved`, `a timer until 2026-07-01 12:30:05`."""
    match kind:
        case SignalWaitKind(name=name, ordinal=ordinal):
            told = f"signal {name}" if ordinal == 1 else f"signal {name} #{ordinal}"
        case TimerWaitKind():
            told = "a timer"
        case ProcessWaitKind(process_id=process_id):
            told = f"process {process_id}"
        case TurnWaitKind(session_id=session_id, turn_id=turn_id):
            told = f"turn {turn_id} of session {session_id}"
        case EventWaitKind(name=name):
            told = f"an answer ({name.replace('_', ' ')})"
        case _:
            assert_never(kind)
    return f"{told}{until(due_at_ms)}"


def waits_text(process: Standing) -> str:
    """For what, or for whom, a process waits, and what it was asked; or how it ended."""
    told = [_waits(process)]
    if not process.record.retired:
        told += ["asked to stop"] if process.record.state.cancel is not None else []
        told += ["to be given up"] if process.record.state.abandon_request is not None else []
    return " · ".join(one_line(part) for part in told if part)


def _waits(process: Standing) -> str:  # noqa: PLR0911  a case per state
    state = process.record.state
    match process.state:
        case "waiting" if state.wait is not None:
            return awaited_text(state.wait.kind, process.due_at_ms)
        case "parked" if state.parked is not None:
            return "a person" if state.parked.waits_for == "person" else "its code"
        case "resting" if state.retry is not None:
            return f"its next attempt at {local_time(state.retry.next_attempt_at_ms)}"
        case "ready":
            return "a worker"
        case "stranded":
            return "a person"
        case "external":
            there = state.external_ref
            return "whoever does it" if there is None else f"{there.backend}:{there.id}"
        case _:
            return "" if process.record.outcome is None else outcome_text(process.record.outcome)


def outcome_text(outcome: ProcessAwaitOutput) -> str:
    """How a process ended, beside its status; "" where that says all."""
    match outcome:
        case ProcessSuccess():
            return ""
        case ProcessFailure(code=code, message=message):
            return f"{one_line(message, REASON_LIMIT)} [{code}]"
        case ProcessCancelled(message=message):
            return one_line(message, REASON_LIMIT)
        case ProcessAbandoned(evidence=evidence):
            return f"given up {_WRITERS[evidence.writer]}"


def attempts_text(record: ProcessRecord) -> str:
    """How often it was begun: `3`, `3 (2 in vain)`; "" for one that was not."""
    started, failures = record.state.started, record.state.failures
    if started is None:
        return ""
    return f"{started.attempt} ({failures} in vain)" if failures else str(started.attempt)


def parked_text(parked: ProcessParked) -> str:
    """Why a process does not go on by itself, and for whom it waits."""
    whom = "needs a person" if parked.waits_for == "person" else "waits for its code"
    return f"{whom}: {one_line(parked.message, REASON_LIMIT)} [{parked.code}]"


def attention_text(process: Standing) -> str | None:
    """Why a process does not go on by itself just now, if it does not; a line of its own."""
    record, state = process.record, process.record.state
    if process.state == "parked" and state.parked is not None:
        return printable(f"{record.process_id} {parked_text(state.parked)}")
    if process.state == "resting" and state.retry is not None:
        why = f"{one_line(state.retry.message, REASON_LIMIT)} [{state.retry.code}]"
        at = local_time(state.retry.next_attempt_at_ms)
        return printable(f"{record.process_id} rests until {at}, its last attempt failed: {why}")
    if process.state == "stranded":
        return printable(
            f"{record.process_id} needs a person: its worker is gone, and it is never begun again "
            f"elsewhere. Give it up: lash abandon {shlex.quote(record.process_id)}"
        )
    return None
