"""What effects may ask of triggers (tools spec 5.3, 5.8).

What a subscription is made of is the trigger domain's to say; here it travels as a JSON object. The
effect's id doubles as the store's operation id, so that a repeated command answers with its receipt.
"""

from typing import TypeAlias

from lash.core.json import Data, JsonObject


class RegisterTrigger(Data, tag_field="op", tag="register"):
    """Subscribe; the same definition again changes nothing."""

    owner_scope: JsonObject
    draft: JsonObject


class UpdateTrigger(Data, tag_field="op", tag="update"):
    """Replace a live subscription that stands at `expected_revision`."""

    owner_scope: JsonObject
    subscription_key: str
    draft: JsonObject
    expected_revision: int


class EnableTrigger(Data, tag_field="op", tag="enable"):
    """Let a subscription match again."""

    owner_scope: JsonObject
    subscription_key: str
    expected_revision: int


class DisableTrigger(Data, tag_field="op", tag="disable"):
    """Keep a subscription from matching."""

    owner_scope: JsonObject
    subscription_key: str
    expected_revision: int


class DeleteTrigger(Data, tag_field="op", tag="delete"):
    """End a subscription; what it reserved still runs."""

    owner_scope: JsonObject
    subscription_key: str
    expected_revision: int


class ReviveTrigger(Data, tag_field="op", tag="revive"):
    """Begin a deleted subscription anew."""

    owner_scope: JsonObject
    subscription_key: str
    draft: JsonObject
    expected_revision: int


class PruneTriggers(Data, tag_field="op", tag="prune"):
    """End the named subscriptions of an owner."""

    owner_scope: JsonObject
    subscription_keys: tuple[str, ...]


class ListTriggers(Data, tag_field="op", tag="list"):
    """The subscriptions that match a filter."""

    filter: JsonObject


TriggerCommand: TypeAlias = (
    RegisterTrigger
    | UpdateTrigger
    | EnableTrigger
    | DisableTrigger
    | DeleteTrigger
    | ReviveTrigger
    | PruneTriggers
    | ListTriggers
)


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


TriggerEffectOutcome: TypeAlias = TriggerMutated | TriggersListed | TriggersPruned | TriggerConflict
