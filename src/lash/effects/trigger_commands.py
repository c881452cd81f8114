"""What effects may ask of triggers (tools spec 2.9, 5.3, 5.8).

What a subscription is made of is the trigger domain's to say; here it travels as a JSON object. The
effect's replay key makes the store's operation id, and the key of an occurrence that was given none, so
that a repeated command answers with its receipt, and a repeated emission is the same occurrence.
"""

from typing import Literal, TypeAlias

from lash.core.json import Data, JsonObject, JsonValue


class EmitTrigger(Data, tag_field="op", tag="emit"):
    """Say that something occurred. Without a `key` the effect's own place is its name."""

    event: str
    payload: JsonValue = None
    key: str | None = None
    source: JsonValue = None
    session_id: str | None = None


class RegisterTrigger(Data, tag_field="op", tag="register"):
    """Subscribe; the same definition again changes nothing, another one is refused unless it `replaces`."""

    owner_scope: JsonObject
    draft: JsonObject
    replaces: bool = False


class UpdateTrigger(Data, tag_field="op", tag="update"):
    """Replace a live subscription that stands at `expected_revision`."""

    owner_scope: JsonObject
    subscription_key: str
    draft: JsonObject
    expected_revision: int | None = None


class EnableTrigger(Data, tag_field="op", tag="enable"):
    """Let a subscription match again."""

    owner_scope: JsonObject
    subscription_key: str
    expected_revision: int | None = None


class DisableTrigger(Data, tag_field="op", tag="disable"):
    """Keep a subscription from matching."""

    owner_scope: JsonObject
    subscription_key: str
    expected_revision: int | None = None


class DeleteTrigger(Data, tag_field="op", tag="delete"):
    """End a subscription; what it reserved still runs."""

    owner_scope: JsonObject
    subscription_key: str
    expected_revision: int | None = None


class ReviveTrigger(Data, tag_field="op", tag="revive"):
    """Begin a deleted subscription anew."""

    owner_scope: JsonObject
    subscription_key: str
    draft: JsonObject
    expected_revision: int | None = None


class PruneTriggers(Data, tag_field="op", tag="prune"):
    """End the named subscriptions of an owner."""

    owner_scope: JsonObject
    subscription_keys: tuple[str, ...]


class ListTriggers(Data, tag_field="op", tag="list"):
    """The subscriptions that match a filter."""

    filter: JsonObject


TriggerCommand: TypeAlias = (
    EmitTrigger
    | RegisterTrigger
    | UpdateTrigger
    | EnableTrigger
    | DisableTrigger
    | DeleteTrigger
    | ReviveTrigger
    | PruneTriggers
    | ListTriggers
)


class EmittedDelivery(Data):
    """One subscription that heard what was emitted, and what came of it then.

    Attributes:
        delivery_id: The delivery; also the process's id.
        key: The subscription's key.
        status: `failed` says that it was not started then; what passes is tried again without asking.
        process_id: The process it starts, if it starts one.
        session_id: The session it speaks to, if it speaks to one.
        code: Why it was not started, as an error's code.
    """

    delivery_id: str
    key: str
    status: Literal["started", "already_started", "failed"]
    process_id: str | None = None
    session_id: str | None = None
    code: str | None = None


class TriggerEmission(Data):
    """An event that was emitted from inside a process, an operation or a tool.

    Attributes:
        occurrence_id: What it is stored as.
        event: What occurred.
        key: Its name: the caller's, or the one that was made of the place it was emitted from.
        replayed: It was written before: by somebody else, or by a run of the same code that died.
        deliveries: Who heard it, by owner and key.
    """

    occurrence_id: str
    event: str
    key: str
    replayed: bool = False
    deliveries: tuple[EmittedDelivery, ...] = ()


class TriggerEmitted(Data, tag_field="type", tag="emission"):
    """What was emitted."""

    emission: TriggerEmission


class TriggerMutated(Data, tag_field="type", tag="mutation"):
    """The receipt of a change."""

    receipt: JsonObject


class TriggersListed(Data, tag_field="type", tag="list"):
    """The subscriptions found."""

    records: tuple[JsonObject, ...]


class TriggersPruned(Data, tag_field="type", tag="prune"):
    """The receipts of everything that was ended, by key."""

    receipts: tuple[JsonObject, ...]


class TriggerConflict(Data, tag_field="type", tag="conflict"):
    """The subscription is not what the command takes it for."""

    subscription_key: str
    reason: str
    existing_revision: int | None = None


TriggerEffectOutcome: TypeAlias = (
    TriggerEmitted | TriggerMutated | TriggersListed | TriggersPruned | TriggerConflict
)
