"""Ids of triggers are the same for ever: golden values, and how their bytes are made up."""

import hashlib

from lash.triggers.identities import (
    definition_hash_of,
    delivery_id_of,
    incarnation_of,
    occurrence_id_of,
    operation_address_of,
    request_hash_of,
    source_key_of,
    subscription_id_of,
)
from lash.triggers.model import (
    HostOwner,
    OccurrenceRequest,
    PlatformOwner,
    ProcessTarget,
    SessionOwner,
    SubscriptionDraft,
)


def hashed(family: str, content: str) -> str:
    """A digest by its definition, from bytes that are written here by hand."""
    data = f"{family}:v1".encode() + b"\0" + content.encode()
    return f"{family}:v1:sha256:{hashlib.sha256(data).hexdigest()}"


def test_ids_are_made_of_these_bytes() -> None:
    assert source_key_of("paid", None) == hashed("trigger-source", '["paid",null]')
    assert source_key_of("paid", {"b": 1, "a": "é"}) == hashed(
        "trigger-source", '["paid",{"a":"é","b":1}]'
    )
    assert subscription_id_of(PlatformOwner(), "k") == hashed(
        "trigger-subscription", '["host","k"]'
    )
    assert subscription_id_of(HostOwner(binding_id="d"), "k") == hashed(
        "trigger-subscription", '["host:d","k"]'
    )
    assert subscription_id_of(SessionOwner(session_id="s"), "k") == hashed(
        "trigger-subscription", '["session:s","k"]'
    )
    assert incarnation_of("sub", 3) == hashed("trigger-incarnation", '["sub",3]')
    assert operation_address_of(PlatformOwner(), "op") == hashed(
        "trigger-operation", '["host","op"]'
    )
    assert occurrence_id_of("p1") == hashed("trigger-occurrence", '"p1"')
    assert delivery_id_of("o", "s", "i", 2) == hashed("trigger-delivery", '["o","s","i",2]')


def test_ids_are_these_for_ever() -> None:
    assert subscription_id_of(PlatformOwner(), "k") == (
        "trigger-subscription:v1:sha256:"
        "8347c6b25b2bb242c50cd527261267887f5203807eab057f0830d2c5b5e88495"
    )
    assert occurrence_id_of("p1") == (
        "trigger-occurrence:v1:sha256:"
        "d42e3bb09bc6c7635b4ca0efa6e0def0499477e0a9210fcedfd018bcb99f09e0"
    )


def test_a_definition_is_all_that_was_asked_for() -> None:
    draft = SubscriptionDraft(
        key="k", event="paid", target=ProcessTarget(name="refund", version="1")
    )
    assert definition_hash_of(draft) == hashed(
        "trigger-definition",
        '{"event":"paid","key":"k","target":{"name":"refund","type":"process","version":"1"}}',
    )


def test_what_occurred_is_the_same_whenever_and_for_whomever_it_is_told() -> None:
    request = OccurrenceRequest(event="paid", key="p1", payload={"id": 7}, session_id="s")
    source = hashed("trigger-source", '["paid",null]')
    assert request_hash_of(request) == hashed("trigger-request", f'["paid","{source}",{{"id":7}}]')
