"""What triggers are made of: owners, subscriptions, occurrences, deliveries (tools spec 5.3, 5.4).

A *subscription* says what is to be done when an event occurs. An *occurrence* is one time that it did. A
*delivery* is what one occurrence means for one subscription: it is reserved with the occurrence, in one
transaction, holds the subscription as it was then, and is started once.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from lash.core.json import Data, JsonObject, JsonValue

# --- who ----------------------------------------------------------------------------------------------


class SessionOwner(Data, tag_field="type", tag="session"):
    """The subscription is a session's, and goes with it."""

    session_id: str


class HostOwner(Data, tag_field="type", tag="host"):
    """The subscription belongs to a part of the application that has a name of its own."""

    binding_id: str


class PlatformOwner(Data, tag_field="type", tag="platform"):
    """The subscription is the application's."""


TriggerOwner: TypeAlias = SessionOwner | HostOwner | PlatformOwner


def namespace(owner: TriggerOwner) -> str:
    """The owner as one word. Keys of subscriptions are unique in it, and lists are ordered by it."""
    match owner:
        case SessionOwner(session_id=session_id):
            return f"session:{session_id}"
        case HostOwner(binding_id=binding_id):
            return f"host:{binding_id}"
        case PlatformOwner():
            return "host"


class HostActor(Data, tag_field="type", tag="host"):
    """The application does it; `scope` is a name of its own."""

    scope: str | None = None


class SessionActor(Data, tag_field="type", tag="session"):
    """A session does it."""

    session_id: str


TriggerActor: TypeAlias = HostActor | SessionActor


# --- what is to be done -------------------------------------------------------------------------------


class EventInput(Data, tag_field="type", tag="event"):
    """What the event says, or a part of it: `path` leads there, by names and places in lists."""

    path: tuple[str | int, ...] = ()


class FixedInput(Data, tag_field="type", tag="fixed"):
    """The same every time."""

    value: JsonValue = None


InputSource: TypeAlias = EventInput | FixedInput


class ProcessTarget(Data, tag_field="type", tag="process"):
    """A process is started.

    Attributes:
        name: Its function.
        version: Which one.
        input_template: Its arguments, by parameter.
        label: What it is shown as; the function's name by default.
        wake_session_id: The session that may see it and is woken by it.
    """

    name: str
    version: str
    input_template: Mapping[str, InputSource] = {}
    label: str | None = None
    wake_session_id: str | None = None


class SessionTarget(Data, tag_field="type", tag="session"):
    """Something is said in a session, which begins with it if it is new.

    Attributes:
        session: The session's id, a template as `lash.triggers.templates` has them.
        agent_name: Its agent.
        agent_version: Its version.
        prompt: What is said, a template too.
    """

    session: str
    agent_name: str
    agent_version: str
    prompt: str


TriggerTarget: TypeAlias = ProcessTarget | SessionTarget


class SubscriptionDraft(Data):
    """What is asked for; its hash is the subscription's definition.

    Attributes:
        key: The owner's name for the subscription.
        event: What has to occur.
        target: What is done then.
        source: Where it has to occur, if events of a name come from several sources.
        payload_schema: What the event has to say to be acted on, as a JSON schema.
        name: What people call it.
    """

    key: str
    event: str
    target: TriggerTarget
    source: JsonValue = None
    payload_schema: JsonObject = msgspec.field(default_factory=dict)
    name: str | None = None


#: `declared`: in the set that its owner declared last. `orphaned`: not in it any more, or not yet.
#: `unknown`: its owner has declared none since it is there.
Membership: TypeAlias = Literal["declared", "orphaned", "unknown"]


class Subscription(Data):
    """A subscription as it stands, or the tombstone that is left of one.

    Attributes:
        subscription_id: Owner and key as one id.
        owner: Whose it is.
        draft: What was asked for.
        source_key: Event and source as one word, by which occurrences are matched.
        incarnation: This life of it: another one after it was deleted and revived.
        revision: Counts its changes from 1, over all of its lives.
        definition_hash: The draft as a hash.
        registrant: Who wrote it last.
        enabled: Whether it matches.
        created_at_ms: When it was first written.
        updated_at_ms: When it was last changed.
        deleted_at_ms: When it was deleted; a tombstone keeps its key from being used by accident.
        declared: Whether it belongs to the set that its owner declared last; None if it declared none.
    """

    subscription_id: str
    owner: TriggerOwner
    draft: SubscriptionDraft
    source_key: str
    incarnation: str
    revision: int
    definition_hash: str
    registrant: TriggerActor
    created_at_ms: int
    updated_at_ms: int
    enabled: bool = True
    deleted_at_ms: int | None = None
    declared: bool | None = None

    @property
    def key(self) -> str:
        """The owner's name for it."""
        return self.draft.key

    @property
    def deleted(self) -> bool:
        """Whether only its tombstone is left."""
        return self.deleted_at_ms is not None

    @property
    def membership(self) -> Membership:
        """Whether it belongs to what its owner declared last."""
        if self.declared is None:
            return "unknown"
        return "declared" if self.declared else "orphaned"

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands in lists, and in the order of deliveries."""
        return (namespace(self.owner), self.draft.key, self.subscription_id)


# --- what occurred ------------------------------------------------------------------------------------


class OccurrenceRequest(Data):
    """Something occurred.

    Attributes:
        event: What.
        key: The caller's name for this one time, unique among all occurrences.
        payload: What the event says.
        source: Where it occurred.
        session_id: Only this session's subscriptions are meant.
    """

    event: str
    key: str
    payload: JsonValue = None
    source: JsonValue = None
    session_id: str | None = None


class Occurrence(Data):
    """One time that an event occurred; it never changes.

    Attributes:
        occurrence_id: Its key as an id.
        event: What occurred.
        source_key: Event and source as one word.
        key: The caller's name for it.
        payload: What the event says.
        source: Where it occurred.
        request_hash: What was said about it, as a hash; the time is no part of it.
        occurred_at_ms: When it was written, in the store's clock.
    """

    occurrence_id: str
    event: str
    source_key: str
    key: str
    request_hash: str
    occurred_at_ms: int
    payload: JsonValue = None
    source: JsonValue = None


#: `reserved`: it will be started. `started`: its process is registered, its input is in the queue.
#: `failed`: it could not be started and somebody has to see why; it is tried again when it is asked for.
DeliveryState: TypeAlias = Literal["reserved", "started", "failed"]


class DeliveryFailure(Data):
    """Why a delivery was not started: an error's code and message."""

    code: str
    message: str


class Delivery(Data):
    """What one occurrence means for one subscription.

    Attributes:
        delivery_id: Its id; also the id of the process, or the source key of the input.
        occurrence: What occurred.
        subscription: The subscription as it was then; what becomes of it later changes nothing here.
        created_at_ms: When it was reserved.
        state: What became of it.
        settled_at_ms: When that was.
        failure: Why it was not started.
    """

    delivery_id: str
    occurrence: Occurrence
    subscription: Subscription
    created_at_ms: int
    state: DeliveryState = "reserved"
    settled_at_ms: int | None = None
    failure: DeliveryFailure | None = None

    @property
    def process_id(self) -> str | None:
        """The process it starts, if it starts one."""
        return (
            self.delivery_id if isinstance(self.subscription.draft.target, ProcessTarget) else None
        )
