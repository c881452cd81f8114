"""Processes for programs: the same keys every time, and no payloads."""

from collections.abc import Mapping

from lash.cli.json_output import plain
from lash.cli.ps.standing import Standing
from lash.processes.model import ProcessRecord, ProcessTombstone, SessionTurnInput
from lash.processes.outcomes import (
    ProcessAbandoned,
    ProcessAwaitOutput,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)


def standing_json(process: Standing) -> dict[str, object]:
    """A process as JSON commands tell it. Results, arguments and other payloads are no part of it."""
    record = process.record
    registration, state = record.registration, record.state
    identity, provenance = registration.identity, registration.provenance
    given = registration.input
    return {
        "process_id": record.process_id,
        "kind": identity.kind,
        "label": identity.label,
        "name": identity.definition,
        "version": identity.version,
        "status": record.status,
        "state": process.state,
        "since_ms": process.since_ms,
        "needs_person": process.needs_person,
        "waits_for": None if state.wait is None else state.wait.kind,
        "due_at_ms": process.due_at_ms,
        "parked": state.parked,
        "retry": state.retry,
        "attempts": 0 if state.started is None else state.started.attempt,
        "failures": state.failures,
        "max_attempts": registration.max_attempts,
        "cancel_requested": state.cancel,
        "abandon_requested": state.abandon_request,
        "owner": _owner_json(process),
        "originator": provenance.originator,
        "caused_by": provenance.caused_by,
        "parent_id": provenance.parent_id,
        "session_id": given.session_id if isinstance(given, SessionTurnInput) else None,
        "wake_session_id": state.wake_session_id,
        "recovery": registration.disposition,
        "segment": state.segment.ordinal,
        "external_ref": _external_json(record),
        "created_at_ms": record.created_at_ms,
        "updated_at_ms": state.updated_at_ms,
        "pruned_at_ms": None,
        "outcome": None if record.outcome is None else outcome_json(record.outcome),
        "change": record.change,
    }


def pruned_json(tombstone: ProcessTombstone) -> dict[str, object]:
    """What is left of a process that was pruned, under the keys of one that was not."""
    return dict.fromkeys(_KEYS) | {
        "process_id": tombstone.process_id,
        "status": tombstone.status,
        "state": "pruned",
        "needs_person": False,
        "pruned_at_ms": tombstone.pruned_at_ms,
        "change": tombstone.change,
    }


_KEYS = (
    "process_id",
    "kind",
    "label",
    "name",
    "version",
    "status",
    "state",
    "since_ms",
    "needs_person",
    "waits_for",
    "due_at_ms",
    "parked",
    "retry",
    "attempts",
    "failures",
    "max_attempts",
    "cancel_requested",
    "abandon_requested",
    "owner",
    "originator",
    "caused_by",
    "parent_id",
    "session_id",
    "wake_session_id",
    "recovery",
    "segment",
    "external_ref",
    "created_at_ms",
    "updated_at_ms",
    "pruned_at_ms",
    "outcome",
    "change",
)


def outcome_json(outcome: ProcessAwaitOutput) -> Mapping[str, object]:
    """How a process ended, without what it returned or raised beside its message."""
    told: dict[str, object] = {
        "type": str(outcome.__struct_config__.tag),
        "failure_class": None,
        "code": None,
        "message": None,
        "evidence": None,
    }
    match outcome:
        case ProcessSuccess():
            return told
        case ProcessFailure(failure_class=kind, code=code, message=message):
            return told | {"failure_class": kind, "code": code, "message": message}
        case ProcessCancelled(message=message):
            return told | {"message": message}
        case ProcessAbandoned(evidence=evidence):
            return told | {"evidence": plain(evidence)}


def _owner_json(process: Standing) -> dict[str, object] | None:
    held = process.holder
    if held is None:
        return None
    return {
        "owner_id": held.owner.owner_id,
        "incarnation": held.owner.incarnation,
        "host": held.owner.host,
        "alive": process.holder_lives,
        "expires_at_ms": held.expires_at_ms,
    }


def _external_json(record: ProcessRecord) -> dict[str, object] | None:
    there = record.state.external_ref
    return None if there is None else {"backend": there.backend, "id": there.id}
