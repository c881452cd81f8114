"""What is done to subscriptions, and what comes of it (tools spec 5.3).

Each command is one transaction under an operation id. What came of it, success or conflict, is kept as
a receipt: asked again under the same id it is answered from there, whatever happened since.

A change presents the revision it has seen, as `expected_revision`; None means whichever stands.
"""

from typing import Literal, TypeAlias

from lash.core.json import Data
from lash.triggers.model import Subscription, SubscriptionDraft, TriggerActor, TriggerOwner

# --- what is asked ------------------------------------------------------------------------------------


class Register(Data, tag_field="op", tag="register"):
    """Subscribe. The same definition again changes nothing, also where it was disabled since."""

    owner: TriggerOwner
    actor: TriggerActor
    draft: SubscriptionDraft


class Update(Data, tag_field="op", tag="update"):
    """Put another definition in place of the one that stands at a revision. It stays as enabled as it was."""

    owner: TriggerOwner
    actor: TriggerActor
    key: str
    draft: SubscriptionDraft
    expected_revision: int | None


class Enable(Data, tag_field="op", tag="enable"):
    """Have a subscription match again."""

    owner: TriggerOwner
    actor: TriggerActor
    key: str
    expected_revision: int | None


class Disable(Data, tag_field="op", tag="disable"):
    """Have a subscription match nothing more. What it has reserved is started all the same."""

    owner: TriggerOwner
    actor: TriggerActor
    key: str
    expected_revision: int | None


class Delete(Data, tag_field="op", tag="delete"):
    """End a subscription. What it has reserved is started all the same; a tombstone stays."""

    owner: TriggerOwner
    actor: TriggerActor
    key: str
    expected_revision: int | None


class Revive(Data, tag_field="op", tag="revive"):
    """Begin a deleted subscription anew, from its tombstone at a revision."""

    owner: TriggerOwner
    actor: TriggerActor
    key: str
    draft: SubscriptionDraft
    expected_revision: int | None


class Prune(Data, tag_field="op", tag="prune"):
    """End those of an owner's subscriptions that are named and live."""

    owner: TriggerOwner
    actor: TriggerActor
    keys: tuple[str, ...]


class Declare(Data, tag_field="op", tag="declare"):
    """Have an owner's subscriptions be these: begin what is new, put in place what changed.

    What else it has is marked as orphaned, and goes on. What was deleted is not begun anew, and what was
    disabled is not enabled.

    Attributes:
        others: The keys of what else the owner has, as far as whoever asks knows.
    """

    owner: TriggerOwner
    actor: TriggerActor
    drafts: tuple[SubscriptionDraft, ...]
    others: tuple[str, ...] = ()


TriggerCommand: TypeAlias = Register | Update | Enable | Disable | Delete | Revive | Prune | Declare


class TriggerOperation(Data):
    """A command under the id by which it is done once."""

    operation_id: str
    command: TriggerCommand


# --- what comes of it ---------------------------------------------------------------------------------

Disposition: TypeAlias = Literal[
    "created", "unchanged", "updated", "enabled", "disabled", "deleted", "revived"
]


class TriggerReceipt(Data):
    """What became of one subscription, and the subscription as it then was."""

    disposition: Disposition
    subscription: Subscription

    @property
    def revision(self) -> int:
        """Its revision then."""
        return self.subscription.revision


class Mutated(Data, tag_field="type", tag="mutation"):
    """It is done."""

    receipt: TriggerReceipt


class Pruned(Data, tag_field="type", tag="prune"):
    """It is done: what was ended, by key."""

    receipts: tuple[TriggerReceipt, ...]


class Declared(Data, tag_field="type", tag="declare"):
    """It is done: by key, what became of each. `orphaned` is what is not declared, `deleted` what was ended."""

    created: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


#: Why a command was refused: the key is taken by another definition; only a tombstone is there; it is
#: there and lives; nothing is there; it stands at another revision; the operation id was used before.
ConflictReason: TypeAlias = Literal[
    "definition_differs",
    "deleted",
    "not_deleted",
    "absent",
    "revision_differs",
    "operation_id_used",
]


class Conflict(Data, tag_field="type", tag="conflict"):
    """The subscription is not what the command takes it for; nothing was changed."""

    key: str
    reason: ConflictReason
    existing_revision: int | None = None
    existing_definition_hash: str | None = None
    requested_definition_hash: str | None = None


TriggerOutcome: TypeAlias = Mutated | Pruned | Declared | Conflict


class StoredReceipt(Data):
    """What came of an operation, as it is kept."""

    address: str
    command_hash: str
    outcome: TriggerOutcome
    created_at_ms: int
