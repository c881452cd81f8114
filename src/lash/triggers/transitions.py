"""What may happen to subscriptions and occurrences, as pure decisions (tools spec 5.3 to 5.6).

1. What came of an operation is kept, a refusal too: asked again, it is answered from there.
2. The same definition again changes nothing, also where it was disabled since; another one is a conflict.
3. Every change presents the revision it has seen. Revisions count on over deletion and revival.
4. A deleted subscription leaves a tombstone, and only from there its key is used again.
5. What an occurrence means is decided when it comes, once: asked again, nothing new is matched.
6. Disabling or deleting a subscription takes nothing back that it has reserved.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from lash.core.json import Data, digest
from lash.triggers.commands import (
    Conflict,
    ConflictReason,
    Declare,
    Declared,
    Delete,
    Disable,
    Disposition,
    Enable,
    Mutated,
    Prune,
    Pruned,
    Register,
    Revive,
    StoredReceipt,
    TriggerCommand,
    TriggerOperation,
    TriggerOutcome,
    TriggerReceipt,
    Update,
)
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
from lash.triggers.listing import DeliverySettled, is_of_session
from lash.triggers.model import (
    Delivery,
    Occurrence,
    OccurrenceRequest,
    SessionActor,
    SessionOwner,
    Subscription,
    SubscriptionDraft,
    TriggerActor,
    TriggerOwner,
)

# --- commands -----------------------------------------------------------------------------------------


class CommandFacts(Data):
    """What the store knows when a command comes.

    `records` are the subscriptions, or tombstones, that the command names (`keys_of`), by key.
    """

    now_ms: int
    receipt: StoredReceipt | None = None
    records: Mapping[str, Subscription] = {}


class CommandPlan(Data):
    """What to answer, and what to persist. Without a receipt there is nothing to persist."""

    outcome: TriggerOutcome
    receipt: StoredReceipt | None = None
    records: tuple[Subscription, ...] = ()


def keys_of(command: TriggerCommand) -> tuple[str, ...]:
    """The keys that a command names."""
    match command:
        case Register(draft=draft):
            return (draft.key,)
        case Prune(keys=keys):
            return keys
        case Declare(drafts=drafts, others=others):
            return (*(draft.key for draft in drafts), *others)
        case _:
            return (command.key,)


def address_of(operation: TriggerOperation) -> str:
    """Where the receipt of an operation is kept."""
    return operation_address_of(operation.command.owner, operation.operation_id)


def plan_command(facts: CommandFacts, operation: TriggerOperation) -> CommandPlan:
    """What comes of a command."""
    command = operation.command
    command_hash = digest("trigger-command", command)
    if facts.receipt is not None:
        if facts.receipt.command_hash == command_hash:
            return CommandPlan(outcome=facts.receipt.outcome)
        key = min(keys_of(command), default="")
        return CommandPlan(outcome=Conflict(key=key, reason="operation_id_used"))
    outcome, records = _decide(facts, command)
    receipt = StoredReceipt(
        address=address_of(operation),
        command_hash=command_hash,
        outcome=outcome,
        created_at_ms=facts.now_ms,
    )
    return CommandPlan(outcome=outcome, receipt=receipt, records=records)


_Decision: TypeAlias = tuple[TriggerOutcome, tuple[Subscription, ...]]


def _decide(facts: CommandFacts, command: TriggerCommand) -> _Decision:
    now_ms = facts.now_ms
    match command:
        case Prune():
            return _prune(facts, command)
        case Declare():
            return _declare(facts, command)
        case Register():
            return _register(facts.records.get(command.draft.key), command, now_ms)
        case Revive():
            return _revive(facts.records.get(command.key), command, now_ms)
        case Update() | Enable() | Disable() | Delete():
            record = facts.records.get(command.key)
            refusal = _refused(record, command.key, command.expected_revision)
            if refusal is not None or record is None:
                return refusal or _conflict(command.key, None, "absent"), ()
            return _change(record, command, now_ms)


def _register(record: Subscription | None, command: Register, now_ms: int) -> _Decision:
    draft = command.draft
    if record is None:
        return _mutated("created", _new(command.owner, command.actor, draft, now_ms))
    if record.deleted:
        return _conflict(draft.key, record, "deleted", draft), ()
    if record.definition_hash != definition_hash_of(draft):
        return _conflict(draft.key, record, "definition_differs", draft), ()
    return Mutated(receipt=TriggerReceipt(disposition="unchanged", subscription=record)), ()


def _new(
    owner: TriggerOwner, actor: TriggerActor, draft: SubscriptionDraft, now_ms: int
) -> Subscription:
    subscription_id = subscription_id_of(owner, draft.key)
    return Subscription(
        subscription_id=subscription_id,
        owner=owner,
        draft=draft,
        source_key=source_key_of(draft.event, draft.source),
        incarnation=incarnation_of(subscription_id, 1),
        revision=1,
        definition_hash=definition_hash_of(draft),
        registrant=actor,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )


def _revive(record: Subscription | None, command: Revive, now_ms: int) -> _Decision:
    if record is None:
        return _conflict(command.key, None, "absent", command.draft), ()
    if not record.deleted:
        return _conflict(command.key, record, "not_deleted", command.draft), ()
    if command.expected_revision not in {None, record.revision}:
        return _conflict(command.key, record, "revision_differs", command.draft), ()
    revision = record.revision + 1
    revived = msgspec.structs.replace(
        _defined(record, command.key, command.draft),
        incarnation=incarnation_of(record.subscription_id, revision),
        revision=revision,
        registrant=command.actor,
        updated_at_ms=now_ms,
        enabled=True,
        deleted_at_ms=None,
    )
    return _mutated("revived", revived)


def _change(
    record: Subscription, command: Update | Enable | Disable | Delete, now_ms: int
) -> _Decision:
    match command:
        case Update():
            defined = _defined(record, command.key, command.draft)
            return _mutated("updated", _next(defined, command.actor, now_ms))
        case Delete():
            return _mutated("deleted", _ended(record, command.actor, now_ms))
        case Enable() | Disable():
            wanted = isinstance(command, Enable)
            said: Disposition = "enabled" if wanted else "disabled"
            if record.enabled == wanted:
                return Mutated(receipt=TriggerReceipt(disposition=said, subscription=record)), ()
            changed = msgspec.structs.replace(record, enabled=wanted)
            return _mutated(said, _next(changed, command.actor, now_ms))


def _prune(facts: CommandFacts, command: Prune) -> _Decision:
    found = (facts.records.get(key) for key in sorted(set(command.keys)))
    ended = tuple(
        _ended(record, command.actor, facts.now_ms)
        for record in found
        if record is not None and not record.deleted
    )
    receipts = tuple(TriggerReceipt(disposition="deleted", subscription=each) for each in ended)
    return Pruned(receipts=receipts), ended


def _declare(facts: CommandFacts, command: Declare) -> _Decision:
    """Each draft as registering or updating it would have it; what is not among them is marked."""
    said: dict[str, list[str]] = {}
    after: dict[str, Subscription] = {}
    for draft in sorted(command.drafts, key=lambda each: each.key):
        record = facts.records.get(draft.key)
        if record is not None and record.deleted:
            said.setdefault("deleted", []).append(draft.key)
            continue
        if record is None:
            what, record = "created", _new(command.owner, command.actor, draft, facts.now_ms)
        elif record.definition_hash == definition_hash_of(draft):
            what = "unchanged"
        else:
            defined = _defined(record, draft.key, draft)
            what, record = "changed", _next(defined, command.actor, facts.now_ms)
        said.setdefault(what, []).append(draft.key)
        after[draft.key] = msgspec.structs.replace(record, declared=True)
    for key in sorted({*command.others} - {draft.key for draft in command.drafts}):
        record = facts.records.get(key)
        if record is not None and not record.deleted:
            said.setdefault("orphaned", []).append(key)
            after[key] = msgspec.structs.replace(record, declared=False)
    written = tuple(each for key, each in after.items() if each != facts.records.get(key))
    return Declared(**{what: tuple(keys) for what, keys in said.items()}), written


def _defined(record: Subscription, key: str, draft: SubscriptionDraft) -> Subscription:
    """A subscription with another definition; its key is the command's, whatever the draft says."""
    kept = msgspec.structs.replace(draft, key=key)
    return msgspec.structs.replace(
        record,
        draft=kept,
        source_key=source_key_of(kept.event, kept.source),
        definition_hash=definition_hash_of(kept),
    )


def _next(record: Subscription, actor: TriggerActor, now_ms: int) -> Subscription:
    return msgspec.structs.replace(
        record, revision=record.revision + 1, registrant=actor, updated_at_ms=now_ms
    )


def _ended(record: Subscription, actor: TriggerActor, now_ms: int) -> Subscription:
    ended = msgspec.structs.replace(record, enabled=False, deleted_at_ms=now_ms)
    return _next(ended, actor, now_ms)


def _mutated(disposition: Disposition, record: Subscription) -> _Decision:
    receipt = TriggerReceipt(disposition=disposition, subscription=record)
    return Mutated(receipt=receipt), (record,)


def _refused(record: Subscription | None, key: str, expected: int | None) -> Conflict | None:
    """Why a live subscription at a revision, or at any, is not there, if it is not."""
    if record is None:
        return _conflict(key, None, "absent")
    if record.deleted:
        return _conflict(key, record, "deleted")
    if expected not in {None, record.revision}:
        return _conflict(key, record, "revision_differs")
    return None


def _conflict(
    key: str,
    record: Subscription | None,
    reason: ConflictReason,
    draft: SubscriptionDraft | None = None,
) -> Conflict:
    return Conflict(
        key=key,
        reason=reason,
        existing_revision=None if record is None else record.revision,
        existing_definition_hash=None if record is None else record.definition_hash,
        requested_definition_hash=None if draft is None else definition_hash_of(draft),
    )


def forget_session(
    records: Sequence[Subscription], session_id: str, now_ms: int
) -> tuple[Subscription, ...]:
    """The tombstones of what a session owned or wrote, when it is deleted; nobody asked, so no receipts."""
    actor = SessionActor(session_id=session_id)
    return tuple(
        _ended(record, actor, now_ms)
        for record in records
        if not record.deleted and is_of_session(record, session_id)
    )


# --- occurrences --------------------------------------------------------------------------------------


class IngestFacts(Data):
    """What the store knows when something occurred.

    `known` is the occurrence that has the key, with its `deliveries`; `live` are the subscriptions that
    match its event and source, if it is new.
    """

    now_ms: int
    known: Occurrence | None = None
    deliveries: tuple[Delivery, ...] = ()
    live: tuple[Subscription, ...] = ()


class Ingested(Data, tag_field="status", tag="ingested"):
    """It is written, with all it means: deliveries in the order of owner, key and id."""

    occurrence: Occurrence
    deliveries: tuple[Delivery, ...] = ()


class AlreadyIngested(Data, tag_field="status", tag="already_ingested"):
    """It was written before; its deliveries, as they stand now. Nothing new was matched."""

    occurrence: Occurrence
    deliveries: tuple[Delivery, ...] = ()


class OccurrenceConflict(Data, tag_field="status", tag="conflict"):
    """The key is another occurrence's; nothing was written."""

    occurrence: Occurrence


IngestResult: TypeAlias = Ingested | AlreadyIngested | OccurrenceConflict


def plan_ingest(facts: IngestFacts, request: OccurrenceRequest) -> IngestResult:
    """What an occurrence means. Only `Ingested` is to be persisted."""
    request_hash = request_hash_of(request)
    if facts.known is not None:
        if facts.known.request_hash != request_hash:
            return OccurrenceConflict(occurrence=facts.known)
        return AlreadyIngested(occurrence=facts.known, deliveries=in_order(facts.deliveries))
    occurrence = Occurrence(
        occurrence_id=occurrence_id_of(request.key),
        event=request.event,
        source_key=source_key_of(request.event, request.source),
        key=request.key,
        request_hash=request_hash,
        occurred_at_ms=facts.now_ms,
        payload=request.payload,
        source=request.source,
    )
    matched = [each for each in facts.live if _matches(each, occurrence, request.session_id)]
    deliveries = [_delivery(occurrence, each, facts.now_ms) for each in matched]
    return Ingested(occurrence=occurrence, deliveries=in_order(deliveries))


def _matches(subscription: Subscription, occurrence: Occurrence, session_id: str | None) -> bool:
    return (
        subscription.enabled
        and not subscription.deleted
        and subscription.source_key == occurrence.source_key
        and (session_id is None or is_of_session(subscription, session_id))
    )


def _delivery(occurrence: Occurrence, subscription: Subscription, now_ms: int) -> Delivery:
    return Delivery(
        delivery_id=delivery_id_of(
            occurrence.occurrence_id,
            subscription.subscription_id,
            subscription.incarnation,
            subscription.revision,
        ),
        occurrence=occurrence,
        subscription=subscription,
        created_at_ms=now_ms,
    )


def in_order(deliveries: Sequence[Delivery]) -> tuple[Delivery, ...]:
    """Deliveries of one occurrence in the order in which they are started and reported."""
    return tuple(sorted(deliveries, key=lambda each: each.subscription.place))


def settle(delivery: Delivery, settled: DeliverySettled, now_ms: int) -> Delivery | None:
    """A delivery with what became of it; None where that was known. What was started stays so."""
    if delivery.state == "started":
        return None
    if (delivery.state, delivery.failure) == (settled.state, settled.failure):
        return None
    return msgspec.structs.replace(
        delivery, state=settled.state, failure=settled.failure, settled_at_ms=now_ms
    )


# --- retention ----------------------------------------------------------------------------------------


def is_delivery_spent(delivery: Delivery, before_ms: int, *, failed: bool) -> bool:
    """Whether nobody will ask for a delivery any more.

    One that started a process goes with that process, and with nothing else: as long as the process is
    there, the delivery says that it was started.
    """
    if delivery.settled_at_ms is None or delivery.settled_at_ms >= before_ms:
        return False
    if delivery.state == "failed":
        return failed
    return delivery.state == "started" and delivery.process_id is None


def is_tombstone_spent(record: Subscription, *, session_deleted: bool, deliveries: int) -> bool:
    """Whether a tombstone may go: its session is gone for ever, and so is all that it ever reserved.

    All other tombstones stay, so that nobody takes a key up again by accident.
    """
    owned = isinstance(record.owner, SessionOwner)
    return record.deleted and owned and session_deleted and deliveries == 0
