"""What may be subscribed and emitted at all: refused here, before a store is asked."""

from typing import NoReturn

from lash.core.errors import LashError
from lash.core.text import is_utf8
from lash.triggers.commands import Declare, Prune, Register, Revive, TriggerOperation, Update
from lash.triggers.model import (
    HostOwner,
    OccurrenceRequest,
    ProcessTarget,
    SessionOwner,
    SessionTarget,
    SubscriptionDraft,
    TriggerOwner,
)
from lash.triggers.payloads import schema_problem
from lash.triggers.templates import check_text
from lash.triggers.transitions import keys_of

#: Keys that begin so are for lash's own subscriptions.
RESERVED = "lash.internal/"


def check_operation(operation: TriggerOperation) -> None:
    """Refuse what no store could keep or that could never work.

    Raises:
        LashError: `trigger_subscription_invalid`.
    """
    command = operation.command
    if not _is_name(operation.operation_id):
        _refuse("its operation id is blank")
    _check_owner(command.owner)
    if isinstance(command, Declare):
        for draft in command.drafts:
            check_draft(draft)
        if len({draft.key for draft in command.drafts}) < len(command.drafts):
            _refuse("a key stands for two of those that are declared")
        return
    for key in keys_of(command):
        if isinstance(command, Prune) and not is_utf8(key):
            _refuse("a key holds text that UTF-8 cannot carry")
        elif not isinstance(command, Prune):
            _check_key(key)
    if isinstance(command, Register | Update | Revive):
        check_draft(command.draft)


def check_draft(draft: SubscriptionDraft) -> None:
    """Refuse a subscription that could never be kept, matched or started.

    Raises:
        LashError: `trigger_subscription_invalid`.
    """
    _check_key(draft.key)
    if not _is_name(draft.event):
        _refuse("it names no event")
    if draft.name is not None and not _is_name(draft.name):
        _refuse("its name is blank")
    problem = schema_problem(draft.payload_schema)
    if problem is not None:
        _refuse(f"its payload schema is none: {problem}")
    if isinstance(draft.target, ProcessTarget):
        _check_process(draft.target)
    else:
        _check_session(draft.target)


def _check_process(target: ProcessTarget) -> None:
    if not _is_name(target.name) or not _is_name(target.version):
        _refuse("its process has no name or no version")
    if target.wake_session_id is not None and not _is_name(target.wake_session_id):
        _refuse("the session that its process wakes has a blank id")
    if target.label is not None and not _is_name(target.label):
        _refuse("its label is blank")


def _check_session(target: SessionTarget) -> None:
    if not _is_name(target.agent_name) or not _is_name(target.agent_version):
        _refuse("its agent has no name or no version")
    for text, what in ((target.session, "The session's id"), (target.prompt, "The prompt")):
        if not _is_name(text):
            _refuse(f"{what.lower()} is blank")
        check_text(text, what)


def check_occurrence(request: OccurrenceRequest) -> None:
    """Refuse an occurrence without a name or a key.

    Raises:
        LashError: `trigger_occurrence_invalid`.
    """
    for value, what in ((request.event, "name"), (request.key, "key")):
        if not _is_name(value):
            raise LashError(
                "trigger_occurrence_invalid",
                f"The {what} of what occurred is blank, or no text; nothing was written. Give it one.",
            )


def _check_owner(owner: TriggerOwner) -> None:
    if isinstance(owner, SessionOwner) and not _is_name(owner.session_id):
        _refuse("the id of the session that owns it is blank")
    if isinstance(owner, HostOwner) and not _is_name(owner.binding_id):
        _refuse("the name of the host that owns it is blank")


def _check_key(key: str) -> None:
    if not _is_name(key):
        _refuse("its key is blank, or no text")
    if key.startswith(RESERVED):
        _refuse(f"keys that begin with {RESERVED!r} are lash's own")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_utf8(value)


def _refuse(why: str) -> NoReturn:
    raise LashError(
        "trigger_subscription_invalid", f"The subscription cannot be: {why}. Nothing was changed."
    )
