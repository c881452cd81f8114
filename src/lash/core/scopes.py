"""Execution scopes: whose work an effect belongs to. A scope names a journal (effects spec, 1.1)."""

from typing import TypeAlias

import msgspec

from lash.core.errors import LashError
from lash.core.json import Data, encode

_JOURNAL_KEY_VERSION = 2


class TurnScope(Data, tag_field="type", tag="turn"):
    """One turn of one session."""

    session_id: str
    turn_id: str


class ProcessScope(Data, tag_field="type", tag="process"):
    """One background process."""

    process_id: str


class QueueDrainScope(Data, tag_field="type", tag="queue_drain"):
    """One drain of a session's queued work."""

    session_id: str
    drain_id: str


class SessionDeleteScope(Data, tag_field="type", tag="session_delete"):
    """The deletion of one session."""

    session_id: str


class RuntimeOperationScope(Data, tag_field="type", tag="runtime_operation"):
    """One operation of the host outside any session; it holds no lease."""

    operation_id: str


ExecutionScope: TypeAlias = (
    TurnScope | ProcessScope | QueueDrainScope | SessionDeleteScope | RuntimeOperationScope
)


def scope_id(scope: ExecutionScope) -> str:
    """The scope's own id, for display; not unique across kinds of scope."""
    match scope:
        case TurnScope(turn_id=value) | QueueDrainScope(drain_id=value):
            return value
        case ProcessScope(process_id=value) | RuntimeOperationScope(operation_id=value):
            return value
        case SessionDeleteScope(session_id=value):
            return value


def scope_session_id(scope: ExecutionScope) -> str | None:
    """The session the scope belongs to, or None for processes and runtime operations."""
    match scope:
        case ProcessScope() | RuntimeOperationScope():
            return None
        case TurnScope() | QueueDrainScope() | SessionDeleteScope():
            return scope.session_id


def validate_scope(scope: ExecutionScope) -> None:
    """Refuse blank ids. Ids are checked, never trimmed.

    Raises:
        LashError: `missing_execution_scope_id`.
    """
    for name in scope.__struct_fields__:
        value = getattr(scope, name)
        if not value.strip():
            kind = scope.__struct_config__.tag
            raise LashError(
                "missing_execution_scope_id",
                f"The {name} of a {kind} scope is blank; give it a non-blank id.",
                field=name,
                scope=kind,
            )


class _JournalKey(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The journal key's wire form; field order is part of it."""

    version: int
    kind: str
    session_id: str | None = None
    execution_id: str | None = None


_JOURNAL_KEY = msgspec.json.Decoder(_JournalKey)


def journal_key(scope: ExecutionScope) -> str:
    """The scope as a string that no other scope shares: compact JSON, version first."""
    return msgspec.json.encode(_key_of(scope)).decode()


def _key_of(scope: ExecutionScope) -> _JournalKey:
    version = _JOURNAL_KEY_VERSION
    match scope:
        case TurnScope(session_id=session, turn_id=execution):
            return _JournalKey(version, "turn", session, execution)
        case QueueDrainScope(session_id=session, drain_id=execution):
            return _JournalKey(version, "drain", session, execution)
        case SessionDeleteScope(session_id=session):
            return _JournalKey(version, "delete", session)
        case ProcessScope(process_id=execution):
            return _JournalKey(version, "process", None, execution)
        case RuntimeOperationScope(operation_id=execution):
            return _JournalKey(version, "op", None, execution)


def from_journal_key(text: str) -> ExecutionScope | None:
    """Invert `journal_key`; None for another version, an unknown kind or a scope that is not valid."""
    try:
        key = _JOURNAL_KEY.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None
    scope = _scope_of(key) if key.version == _JOURNAL_KEY_VERSION else None
    if scope is None:
        return None
    try:
        validate_scope(scope)
    except LashError:
        return None
    return scope


def _scope_of(key: _JournalKey) -> ExecutionScope | None:
    match key.kind, key.session_id, key.execution_id:
        case "turn", str(session), str(execution):
            return TurnScope(session_id=session, turn_id=execution)
        case "drain", str(session), str(execution):
            return QueueDrainScope(session_id=session, drain_id=execution)
        case "delete", str(session), None:
            return SessionDeleteScope(session_id=session)
        case "process", None, str(execution):
            return ProcessScope(process_id=execution)
        case "op", None, str(execution):
            return RuntimeOperationScope(operation_id=execution)
        case _:
            return None


_DECODER: msgspec.json.Decoder[ExecutionScope] = msgspec.json.Decoder(ExecutionScope)


def scope_to_wire(scope: ExecutionScope) -> bytes:
    """The scope's tagged JSON form, as it travels inside other values."""
    return encode(scope)


def scope_from_wire(data: bytes | str) -> ExecutionScope:
    """Read a scope back from its tagged JSON form.

    Raises:
        LashError: `value_not_json` when the text is not a scope; `missing_execution_scope_id`.
    """
    try:
        scope: ExecutionScope = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise LashError("value_not_json", f"This is not an execution scope: {error}.") from error
    validate_scope(scope)
    return scope
