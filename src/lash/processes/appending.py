"""Appending an event to a process: in which order it is checked is part of the contract (spec 2.2)."""

from functools import lru_cache

import jsonschema
import jsonschema.exceptions
import msgspec

from lash.core.errors import LashError
from lash.core.json import JsonValue, canonical, encode
from lash.core.leases import is_current
from lash.processes import event_types as types
from lash.processes.event_types import ProcessEventType
from lash.processes.events import ProcessEvent
from lash.processes.materializing import materialize
from lash.processes.model import ProcessRecord
from lash.processes.planning import WriteFacts, WritePlan, already_ended, one, refused
from lash.processes.writes import AlreadyApplied, AppendEvent, FenceLost


def append(facts: WriteFacts, write: AppendEvent) -> WritePlan:
    """Append an event, or give the one that was appended under its key."""
    record = facts.record
    if write.replay_key is not None:
        known = facts.find(write.replay_key)
        if known is not None:
            return _replayed(record, known, write)
    if record.retired and write.event_type == types.CANCEL_REQUESTED:
        return WritePlan(AlreadyApplied(record=record))
    if record.retired:
        return already_ended(record)
    if write.fence is not None and not is_current(record.lease, write.fence):
        return WritePlan(FenceLost())
    declared = _declared(record, write.event_type)
    if isinstance(declared, WritePlan):
        return declared
    return _checked(facts, write, declared)


#: What lash's own keys say behind the process.
_OWN_KEYS = ("started:", "continued:", "terminal:")


def _is_own_key(process_id: str, replay_key: str | None) -> bool:
    own = f"process:{process_id}:"
    return replay_key is not None and replay_key.startswith(tuple(own + key for key in _OWN_KEYS))


def _checked(facts: WriteFacts, write: AppendEvent, declared: ProcessEventType) -> WritePlan:
    record, ends = facts.record, declared.terminal is not None
    if _is_own_key(record.process_id, write.replay_key):
        return refused(
            "process_event_reserved",
            f"The key {write.replay_key!r} is one that lash gives itself; use another one.",
        )
    if (ends or declared.name == types.CANCEL_REQUESTED) and write.replay_key is None:
        return refused(
            "process_event_without_key",
            f"An event of type {declared.name!r} needs a replay key, so that it is appended once.",
        )
    if ends and write.fence is None and record.registration.disposition != "externally_owned":
        return refused(
            "process_completion_refused",
            f"{declared.name!r} ends process {record.process_id!r}, which only its runner may do.",
        )
    misfit = _misfit(declared, write.payload)
    if misfit is not None:
        return refused(
            "process_event_invalid",
            f"The payload of {declared.name!r} does not fit what process {record.process_id!r} "
            f"declares: {misfit}. Nothing was appended.",
            event_type=declared.name,
        )
    try:
        semantics = materialize(declared, write.payload)
    except LashError as error:
        return refused(error.code, error.message)
    return one(facts, write.event_type, write.payload, write.replay_key, semantics)


def _replayed(record: ProcessRecord, known: ProcessEvent, write: AppendEvent) -> WritePlan:
    same = known.event_type == write.event_type and same_payload(known.payload, write.payload)
    if same:
        return WritePlan(AlreadyApplied(record=record, event=known))
    return refused(
        "process_event_conflict",
        f"Process {record.process_id!r} has another {known.event_type!r} under the key of this one; "
        "nothing was appended. The same key stands for the same event: use a new one.",
        replay_key=known.replay_key,
        sequence=known.sequence,
    )


def same_payload(one: JsonValue, other: JsonValue) -> bool:
    """Whether two payloads are equal as JSON: the order of keys and the sign of zero say nothing."""
    return canonical(_unsigned(one)) == canonical(_unsigned(other))


def _unsigned(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return value + 0.0  # -0.0 becomes 0.0
    if isinstance(value, dict):
        return {key: _unsigned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unsigned(item) for item in value]
    return value


def _declared(record: ProcessRecord, name: str) -> "ProcessEventType | WritePlan":
    registration = record.registration
    if name in types.RESERVED:
        return refused(
            "process_event_reserved",
            f"Events of type {name!r} are appended by lash itself, through operations of their own.",
        )
    if name == types.CANCEL_REQUESTED:
        return types.BUILT_IN[name]
    for declared in registration.event_types:
        if declared.name == name:
            return declared
    signal = types.is_signal(name)
    if signal and registration.open_signals and types.is_signal_name(name[7:]):
        return ProcessEventType(name=name)
    known = sorted(
        each.name.removeprefix(types.SIGNAL_PREFIX) if signal else each.name
        for each in registration.event_types
        if types.is_signal(each.name) == signal
    )
    listed = ", ".join(known) or "none"
    what = f"signal {name[7:]!r}" if signal else f"event type {name!r}"
    return refused(
        "process_signal_undeclared" if signal else "process_event_undeclared",
        f"Process {record.process_id!r} declares no {what}; nothing was appended. It declares: "
        f"{listed}.",
        known=known,
    )


def _misfit(declared: ProcessEventType, payload: JsonValue) -> str | None:
    """Why a payload does not fit its schema, worded for whoever sent it; None when it does."""
    if not declared.payload_schema:
        return None
    validator = _validator(encode(declared.payload_schema))
    error = jsonschema.exceptions.best_match(validator.iter_errors(payload))
    if error is None:
        return None
    return f"at {error.json_path}: {error.message[:300]}"


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(msgspec.json.decode(schema))
