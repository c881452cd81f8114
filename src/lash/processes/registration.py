"""What may be registered as a process, and what makes two registrations the same (spec 1.5, 2.1)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import jsonschema
import jsonschema.exceptions
import msgspec

from lash.core.causality import ProcessCauseRef
from lash.core.errors import LashError
from lash.core.json import Data, digest, digest_bytes, encode
from lash.core.leases import Lease, LeaseClaim
from lash.core.text import is_utf8
from lash.processes.event_types import (
    BUILT_IN,
    ProcessEventType,
    is_signal,
    is_signal_name,
)
from lash.processes.model import (
    EngineInput,
    ExternalInput,
    ProcessEnv,
    ProcessProvenance,
    ProcessRecord,
    ProcessRegistration,
    ProcessTombstone,
    SessionTurnInput,
    ToolCallInput,
)

#: Ids end up in keys of journals, events and promises.
_LONGEST_ID = 1024


class RegisterRequest(Data):
    """A process on its way into the store: row, observers and environment in one transaction.

    Attributes:
        registration: What is asked for; `prepare` has passed it.
        observers: The sessions that may see it.
        env: The environment that `registration.env_ref` names.
        claim: Whoever registers it also begins it, if it is new: the lease is taken with the row.
    """

    registration: ProcessRegistration
    observers: tuple[str, ...] = ()
    env: ProcessEnv | None = None
    claim: LeaseClaim | None = None


class Registered(Data, tag_field="status", tag="registered"):
    """It is new. `lease` is the claimer's."""

    record: ProcessRecord
    lease: Lease | None = None


class AlreadyRegistered(Data, tag_field="status", tag="already_registered"):
    """The same process was registered before; nothing was written."""

    record: ProcessRecord


class RegistrationConflict(Data, tag_field="status", tag="conflict"):
    """The id is another process's; nothing was written. `differs` names what is not the same."""

    record: ProcessRecord
    differs: tuple[str, ...] = ()


RegisterResult: TypeAlias = Registered | AlreadyRegistered | RegistrationConflict | ProcessTombstone


def env_ref_of(env: ProcessEnv) -> str:
    """An environment's name, by its content."""
    return digest("process-env", env)


def check_process_id(process_id: object) -> str:
    """An id that a process may have.

    Raises:
        LashError: `process_id_invalid`.
    """
    if not isinstance(process_id, str):
        raise _bad_id(f"it must be text, not {type(process_id).__name__}")
    if not process_id.strip():
        raise _bad_id("it is blank")
    if "#" in process_id:
        raise _bad_id("it holds a '#', which lash uses for the parts of a process")
    if not is_utf8(process_id):
        raise _bad_id("it holds text that UTF-8 cannot carry")
    if len(process_id) > _LONGEST_ID:
        raise _bad_id(f"it is longer than {_LONGEST_ID} characters")
    return process_id


def _bad_id(why: str) -> LashError:
    return LashError(
        "process_id_invalid", f"That is no id of a process: {why}. Nothing was registered."
    )


def child_provenance(parent: ProcessRecord) -> ProcessProvenance:
    """Where a child comes from: it is accountable to whoever its parent is."""
    return ProcessProvenance(
        originator=parent.registration.provenance.originator,
        caused_by=ProcessCauseRef(process_id=parent.process_id),
        parent_id=parent.process_id,
    )


def prepare(registration: ProcessRegistration) -> ProcessRegistration:
    """The registration as it is stored, or what is wrong with it.

    Raises:
        LashError: `process_id_invalid`, `process_registration_invalid`.
    """
    check_process_id(registration.process_id)
    kept = [each for each in registration.event_types if BUILT_IN.get(each.name) != each]
    names: set[str] = set()
    for event_type in kept:
        _check_event_type(event_type, names)
        names.add(event_type.name)
    _check_env(registration)
    if registration.max_attempts is not None and registration.max_attempts < 1:
        raise _invalid("max_attempts must be at least 1")
    if isinstance(registration.input, ExternalInput) != (
        registration.disposition == "externally_owned"
    ):
        raise _invalid("external input, and only that, is externally owned")
    ordered = tuple(sorted(kept, key=lambda each: each.name))
    return ProcessRegistration(
        **{
            name: getattr(registration, name)
            for name in registration.__struct_fields__
            if name != "event_types"
        },
        event_types=ordered,
    )


def _check_event_type(event_type: ProcessEventType, names: set[str]) -> None:
    name = event_type.name
    if not name.strip() or not is_utf8(name):
        raise _invalid("an event type has no name")
    if name in names:
        raise _invalid(f"the event type {name!r} is declared twice")
    if name in BUILT_IN:
        raise _invalid(f"the event type {name!r} is lash's own")
    if is_signal(name) and not is_signal_name(name.removeprefix("signal.")):
        raise _invalid(f"{name!r} is no signal: names are letters, digits, '_' and '-'")
    terminal = event_type.terminal
    if terminal is not None and terminal.status != "completed" and terminal.outcome is None:
        raise _invalid(
            f"the event type {name!r} ends the process as {terminal.status}, and not how"
        )
    wrong = _schema_error(encode(event_type.payload_schema))
    if wrong is not None:
        raise _invalid(f"the schema of {name!r} is none: {wrong}")


@lru_cache(maxsize=1024)
def _schema_error(schema: bytes) -> str | None:
    """What is wrong with a schema. Kept: checking one took half of the time of a registration."""
    try:
        jsonschema.Draft202012Validator.check_schema(msgspec.json.decode(schema))
    except jsonschema.exceptions.SchemaError as error:
        return error.message
    return None


def _check_env(registration: ProcessRegistration) -> None:
    match registration.input:
        case ToolCallInput() | EngineInput() if registration.env_ref is None:
            raise _invalid("a tool call or an engine runs under an environment, and none is named")
        case ExternalInput() | SessionTurnInput() if registration.env_ref is not None:
            raise _invalid("it runs under no environment, and one is named")
        case _:
            pass


def _invalid(why: str) -> LashError:
    return LashError("process_registration_invalid", f"The process cannot be registered: {why}.")


def fingerprint(registration: ProcessRegistration, observers: Sequence[str]) -> str:
    """What makes two registrations of one id the same: everything but the id."""
    content = {
        name: getattr(registration, name)
        for name in registration.__struct_fields__
        if name != "process_id"
    }
    content["observers"] = sorted(set(observers))
    # All of it is JSON already, checked where it came in.
    return digest_bytes("process-registration", encode(content))


def differences(known: ProcessRegistration, asked: ProcessRegistration) -> tuple[str, ...]:
    """Which fields of two registrations are not the same; observers are not among them."""
    return tuple(
        name
        for name in known.__struct_fields__
        if encode(getattr(known, name)) != encode(getattr(asked, name))
    )
