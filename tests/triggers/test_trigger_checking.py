"""What can be subscribed and emitted at all."""

import msgspec
import pytest

from lash.core.errors import LashError
from lash.core.json import JsonObject
from lash.triggers.checking import check_draft, check_occurrence, check_operation
from lash.triggers.commands import Prune, Register, TriggerOperation
from lash.triggers.model import (
    HostActor,
    HostOwner,
    OccurrenceRequest,
    PlatformOwner,
    ProcessTarget,
    SessionOwner,
    SessionTarget,
    SubscriptionDraft,
    TriggerOwner,
    TriggerTarget,
)
from lash.triggers.payloads import payload_problem

GOOD = SubscriptionDraft(key="k", event="paid", target=ProcessTarget(name="refund", version="1"))


def refused(draft: SubscriptionDraft) -> str:
    with pytest.raises(LashError) as raised:
        check_draft(draft)
    assert raised.value.code == "trigger_subscription_invalid"
    return raised.value.message


def test_a_usable_draft_passes() -> None:
    check_draft(GOOD)


@pytest.mark.parametrize("key", ["", " ", "lash.internal/", "lash.internal/k", "\ud800"])
def test_unusable_and_reserved_keys_are_refused(key: str) -> None:
    assert "key" in refused(msgspec.structs.replace(GOOD, key=key))


@pytest.mark.parametrize(
    "target",
    [
        ProcessTarget(name=" ", version="1"),
        ProcessTarget(name="refund", version=""),
        ProcessTarget(name="refund", version="1", label=" "),
        ProcessTarget(name="refund", version="1", wake_session_id=""),
        SessionTarget(session=" ", agent_name="a", agent_version="1", prompt="p"),
        SessionTarget(session="s", agent_name="", agent_version="1", prompt="p"),
        SessionTarget(session="s", agent_name="a", agent_version="1", prompt=""),
        SessionTarget(session="{id}", agent_name="a", agent_version="1", prompt="p"),
        SessionTarget(session="s", agent_name="a", agent_version="1", prompt="{event"),
    ],
)
def test_a_target_that_could_never_be_started_is_refused(target: TriggerTarget) -> None:
    refused(msgspec.structs.replace(GOOD, target=target))


def test_what_is_no_schema_is_refused() -> None:
    schema: JsonObject = {"type": "nonsense"}
    assert "schema" in refused(msgspec.structs.replace(GOOD, payload_schema=schema))


@pytest.mark.parametrize("owner", [SessionOwner(session_id=" "), HostOwner(binding_id="")])
def test_an_owner_without_a_name_is_refused(owner: TriggerOwner) -> None:
    command = Register(owner=owner, actor=HostActor(), draft=GOOD)
    with pytest.raises(LashError) as raised:
        check_operation(TriggerOperation(operation_id="o", command=command))
    assert raised.value.code == "trigger_subscription_invalid"


def test_an_operation_without_an_id_is_refused_and_pruning_takes_any_key() -> None:
    command = Prune(owner=PlatformOwner(), actor=HostActor(), keys=("", "lash.internal/x"))
    check_operation(TriggerOperation(operation_id="o", command=command))
    with pytest.raises(LashError):
        check_operation(TriggerOperation(operation_id=" ", command=command))


@pytest.mark.parametrize(("event", "key"), [("", "k"), ("paid", " "), ("\ud800", "k")])
def test_an_occurrence_needs_a_name_and_a_key(event: str, key: str) -> None:
    with pytest.raises(LashError) as raised:
        check_occurrence(OccurrenceRequest(event=event, key=key))
    assert raised.value.code == "trigger_occurrence_invalid"


def test_a_payload_that_does_not_fit_is_told_where() -> None:
    schema: JsonObject = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert payload_problem(schema, {"n": 1}) is None
    assert payload_problem({}, {"n": "x"}) is None
    # What it says there is not repeated: it may be secret.
    told = payload_problem(schema, {"n": "secret"})
    assert told == 'at $.n it does not satisfy {"type":"integer"}'
    told = payload_problem({"required": ["n"]}, {"m": "secret"})
    assert told == 'at $ it does not satisfy {"required":["n"]}'


def test_a_schema_that_refers_elsewhere_fetches_nothing() -> None:
    schema: JsonObject = {"$ref": "http://localhost:9/never"}
    told = payload_problem(schema, 1)
    assert told is not None
    assert "which is not in it" in told
