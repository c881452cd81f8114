"""Subscriptions as an application asks for them: whose they are, what they take, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lash.core.errors import ConflictError, LashError
from lash.core.json import Data
from lash.runtime.checks import check_id
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.triggers.events import TriggerEvent
from lash.runtime.triggers.targets import SessionPrompt
from lash.triggers.commands import Conflict, Declared, Pruned, TriggerOutcome, TriggerReceipt
from lash.triggers.model import (
    HostActor,
    HostOwner,
    PlatformOwner,
    SessionActor,
    SessionOwner,
    TriggerActor,
    TriggerOwner,
)

_SAID: Mapping[str, str] = {
    "definition_differs": "it exists with another definition; use update",
    "deleted": "it was deleted; use revive to begin it anew",
    "not_deleted": "it exists and was not deleted; use update",
    "absent": "there is none; use subscribe",
    "revision_differs": "it was changed meanwhile; look at it again, and say which revision you mean",
    "operation_id_used": "the operation id was used before, for something else; use another one",
}


@dataclass(frozen=True, slots=True)
class TriggerDeclaration:
    """A subscription of a set that an application declares as a whole: `runtime.triggers.reconcile`.

        lash.TriggerDeclaration("order.paid", ship, key="shipping",
                                input={"order_id": lash.from_event("order_id")})

    Attributes:
        event: One of the runtime's `triggers`.
        target: A process function of the runtime, or a `SessionPrompt`.
        key: Your own name for it.
        input: The arguments of the process, as for `runtime.triggers.subscribe`.
        source: Where the event has to occur.
        name: What people call it.
        label: What its processes are shown as.
        wakes: The session that may see its processes, and is woken by them.
    """

    event: TriggerEvent | str
    target: ProcessFunction[..., Any] | SessionPrompt
    key: str = field(kw_only=True)
    input: Mapping[str, object] | None = field(default=None, kw_only=True)
    source: object = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    label: str | None = field(default=None, kw_only=True)
    wakes: str | None = field(default=None, kw_only=True)


class ReconcileReport(Data):
    """What became of a set of subscriptions that was declared, by key.

    Attributes:
        created: They are new.
        unchanged: They were there like this; also those that somebody disabled, which they stay.
        changed: Another definition was put in place.
        orphaned: They are there and not declared. They go on until you `prune` them.
        deleted: They are declared and were deleted. They are not begun anew, unless you `revive` them.
    """

    created: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def owner_of(session: object, host: str | None) -> tuple[TriggerOwner, TriggerActor]:
    """Whose a subscription is, and who asks.

    Raises:
        LashError: `trigger_subscription_invalid`, `session_id_invalid`.
    """
    if session is not None and host is not None:
        raise LashError(
            "trigger_subscription_invalid",
            "A subscription has one owner: session= or host=, not both. Nothing was changed.",
        )
    owner = checked_session(session)
    if owner is not None:
        return SessionOwner(session_id=owner), SessionActor(session_id=owner)
    if host is not None:
        return HostOwner(binding_id=host), HostActor(scope=host)
    return PlatformOwner(), HostActor()


def checked_session(given: object) -> str | None:
    """A session's id, if one is given.

    Raises:
        LashError: `session_id_invalid`.
    """
    if given is None:
        return None
    check_id(given, "session_id_invalid", "A session id")
    return str(given)


def receipt_of(outcome: TriggerOutcome) -> TriggerReceipt:
    """The receipt of a change.

    Raises:
        ConflictError: `trigger_subscription_conflict`, with the reason in its details.
    """
    if isinstance(outcome, Conflict):
        raise ConflictError(
            "trigger_subscription_conflict",
            f"Subscription {outcome.key!r} is not as it has to be for this: {_SAID[outcome.reason]}. "
            "Nothing was changed.",
            key=outcome.key,
            reason=outcome.reason,
            existing_revision=outcome.existing_revision,
        )
    if isinstance(outcome, Pruned | Declared):
        raise LashError(
            "trigger_subscription_conflict",
            "The operation id was used before, for several subscriptions.",
        )
    return outcome.receipt
