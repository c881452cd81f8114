"""Ids that are derived: whoever writes the same again gets the same ids, in every store."""

from lash.core.json import JsonValue, digest
from lash.triggers.model import OccurrenceRequest, SubscriptionDraft, TriggerOwner, namespace


def source_key_of(event: str, source: JsonValue) -> str:
    """Event and source as one word; who subscribes and who emits derive the same."""
    return digest("trigger-source", [event, source])


def subscription_id_of(owner: TriggerOwner, key: str) -> str:
    """A subscription's id, for as long as its owner lives."""
    return digest("trigger-subscription", [namespace(owner), key])


def incarnation_of(subscription_id: str, revision: int) -> str:
    """The life of a subscription that begins with a revision."""
    return digest("trigger-incarnation", [subscription_id, revision])


def definition_hash_of(draft: SubscriptionDraft) -> str:
    """What makes two drafts the same."""
    return digest("trigger-definition", draft)


def operation_address_of(owner: TriggerOwner, operation_id: str) -> str:
    """Under which the receipt of an operation is kept."""
    return digest("trigger-operation", [namespace(owner), operation_id])


def occurrence_id_of(key: str) -> str:
    """An occurrence's id."""
    return digest("trigger-occurrence", key)


def request_hash_of(request: OccurrenceRequest) -> str:
    """What makes two reports the same occurrence: not when, nor for which session."""
    return digest(
        "trigger-request",
        [request.event, source_key_of(request.event, request.source), request.payload],
    )


def delivery_id_of(
    occurrence_id: str, subscription_id: str, incarnation: str, revision: int
) -> str:
    """A delivery's id, and its process's."""
    return digest("trigger-delivery", [occurrence_id, subscription_id, incarnation, revision])
