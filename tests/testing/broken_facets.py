"""Stores whose triggers, or attachments, have one fault each; as `broken_places`, and found by the same test."""

import asyncio
from collections.abc import Sequence

import msgspec

from lash.attachments.model import AttachmentMeta
from lash.attachments.transitions import (
    AttachmentIntent,
    CondemnAnswer,
    Condemnation,
    Sweeper,
    WriteAnswer,
    WriteGranted,
    is_live,
)
from lash.runtime.stores import Store
from lash.stores.memory import MemoryStore
from lash.stores.memory.attachments import Attachments
from lash.stores.memory.triggers import MemoryTriggers
from lash.testing.clock import VirtualClock
from lash.testing.conformance.attachments.suite import AttachmentStoreProperties
from lash.testing.conformance.rig import Properties
from lash.testing.conformance.triggers.suite import TriggerStoreProperties
from lash.triggers.commands import (
    Declare,
    Delete,
    Prune,
    Revive,
    TriggerOperation,
    TriggerOutcome,
)
from lash.triggers.identities import occurrence_id_of, subscription_id_of
from lash.triggers.listing import DeliverySettled
from lash.triggers.model import OccurrenceRequest, Subscription
from lash.triggers.transitions import (
    AlreadyIngested,
    Ingested,
    IngestFacts,
    IngestResult,
    plan_ingest,
)


class _Stores(Properties):
    triggers: type[MemoryTriggers] = MemoryTriggers
    attachments: type[Attachments] = Attachments

    async def make_store(self, clock: VirtualClock) -> Store:
        store = MemoryStore(clock)
        store.triggers.__class__ = self.triggers
        store.attachments.__class__ = self.attachments
        return store

    async def reopen(self, store: Store, clock: VirtualClock) -> Store:
        return store


# --- triggers ---------------------------------------------------------------------------------------


class Rehearing(MemoryTriggers):
    """Matches again what it is told again."""

    async def ingest(self, request: OccurrenceRequest) -> IngestResult:
        result = await super().ingest(request)
        if not isinstance(result, AlreadyIngested):
            return result
        facts = IngestFacts(
            now_ms=self._clock.now_ms(), live=tuple(self._held.subscriptions.values())
        )
        again = plan_ingest(facts, request)
        assert isinstance(again, Ingested)
        self._held.deliveries.update((each.delivery_id, each) for each in again.deliveries)
        return AlreadyIngested(occurrence=result.occurrence, deliveries=again.deliveries)


class Torn(MemoryTriggers):
    """Looks whether an occurrence is known in one transaction, and writes it in another."""

    async def ingest(self, request: OccurrenceRequest) -> IngestResult:
        known = occurrence_id_of(request.key) in self._held.occurrences
        await asyncio.sleep(0)
        if not known:
            self._held.occurrences.pop(occurrence_id_of(request.key), None)
        return await super().ingest(request)


class Unrepeatable(MemoryTriggers):
    """Keeps no receipts."""

    async def execute(self, operation: TriggerOperation) -> TriggerOutcome:
        outcome = await super().execute(operation)
        self._held.receipts.clear()
        return outcome


class Undying(MemoryTriggers):
    """Revives a subscription as the incarnation that it was."""

    async def execute(self, operation: TriggerOperation) -> TriggerOutcome:
        command = operation.command
        key = command.key if isinstance(command, Revive) else ""
        before = await self.find_subscription(command.owner, key)
        outcome = await super().execute(operation)
        after = await self.find_subscription(command.owner, key)
        if before is not None and after is not None:
            kept = msgspec.structs.replace(after, incarnation=before.incarnation)
            self._held.subscriptions[kept.subscription_id] = kept
        return outcome


class Burying(MemoryTriggers):
    """Leaves no tombstones."""

    async def execute(self, operation: TriggerOperation) -> TriggerOutcome:
        outcome, command = await super().execute(operation), operation.command
        if isinstance(command, Delete):
            self._held.subscriptions.pop(subscription_id_of(command.owner, command.key), None)
        return outcome


class Resettling(MemoryTriggers):
    """Says again and again that a delivery was started, or that it failed after all."""

    async def settle(self, settled: Sequence[DeliverySettled]) -> int:
        for each in settled:
            found = self._held.deliveries.get(each.delivery_id)
            if found is not None:
                again = msgspec.structs.replace(found, state="reserved", failure=None)
                self._held.deliveries[each.delivery_id] = again
        return await super().settle(settled)


class Following(MemoryTriggers):
    """Delivers what a subscription has become, and not what it was when it was reserved."""

    def _put(self, records: Sequence[Subscription]) -> None:
        super()._put(records)
        now = {each.subscription_id: each for each in records}
        for name, each in self._held.deliveries.items():
            subscription = now.get(each.subscription.subscription_id, each.subscription)
            self._held.deliveries[name] = msgspec.structs.replace(each, subscription=subscription)


class Tidy(MemoryTriggers):
    """Ends what is not declared any more, although nobody asked for that."""

    async def execute(self, operation: TriggerOperation) -> TriggerOutcome:
        outcome, command = await super().execute(operation), operation.command
        if isinstance(command, Declare):
            gone = Prune(owner=command.owner, actor=command.actor, keys=command.others)
            await super().execute(TriggerOperation(operation_id="tidy", command=gone))
        return outcome


class TestRehearing(_Stores, TriggerStoreProperties):
    triggers = Rehearing


class TestTorn(_Stores, TriggerStoreProperties):
    triggers = Torn


class TestUnrepeatable(_Stores, TriggerStoreProperties):
    triggers = Unrepeatable


class TestUndying(_Stores, TriggerStoreProperties):
    triggers = Undying


class TestBurying(_Stores, TriggerStoreProperties):
    triggers = Burying


class TestResettling(_Stores, TriggerStoreProperties):
    triggers = Resettling


class TestFollowing(_Stores, TriggerStoreProperties):
    triggers = Following


class TestTidy(_Stores, TriggerStoreProperties):
    triggers = Tidy


# --- attachments ------------------------------------------------------------------------------------


class Unannounced(Attachments):
    """Lets bytes be written of which nobody says that they are referred to."""

    async def begin_write(self, intent: AttachmentIntent) -> WriteAnswer:
        answer = await super().begin_write(intent)
        self._kept.forget(intent.session_id, intent.attachment_id)
        return answer


class Public(Attachments):
    """Lets every session read everything."""

    async def holds_ref(self, session_id: str, attachment_id: str) -> bool:
        return True


class Adding(Attachments):
    """Commits what was never put."""

    async def commit_refs(self, session_id: str, attachment_ids: Sequence[str]) -> Sequence[str]:
        missing = await super().commit_refs(session_id, attachment_ids)
        for each in missing:
            meta = AttachmentMeta(media_type="text/plain", byte_len=0)
            intent = AttachmentIntent(session_id=session_id, attachment_id=each, meta=meta)
            self._kept.add(intent, self._clock.now_ms())
        return missing


class Forgetful(Attachments):
    """Forgets a content for every session at once."""

    async def forget(self, session_id: str, attachment_id: str) -> bool:
        for other in {key.session_id for key in self._kept.refs} - {session_id}:
            self._kept.forget(other, attachment_id)
        return await super().forget(session_id, attachment_id)


class Racing(Attachments):
    """Looks which references are too old, and drops them in another transaction."""

    async def forget_aged_uncommitted(self, before_ms: int) -> int:
        gone = [
            key
            for key, entry in self._kept.refs.items()
            if not is_live(entry, self._state_of(entry.intent), before_ms)
        ]
        await asyncio.sleep(0)
        for key in gone:
            self._kept.refs.pop(key, None)
        return len(gone)


class Ruthless(Attachments):
    """Drops what is old, although its turn still runs."""

    async def forget_aged_uncommitted(self, before_ms: int) -> int:
        entries = await self.list_uncommitted(before_ms)
        for entry in entries:
            self._kept.forget(entry.intent.session_id, entry.intent.attachment_id)
        return len(entries)


class Stubborn(Attachments):
    """Goes on with a condemnation that a writer took away."""

    async def begin_write(self, intent: AttachmentIntent) -> WriteAnswer:
        fence = self._kept.fences.get(intent.attachment_id)
        answer = await super().begin_write(intent)
        if fence is not None and isinstance(answer, WriteGranted):
            self._kept.fences[intent.attachment_id] = Condemnation(
                attachment_id=intent.attachment_id, sweeper=fence.sweeper
            )
        return answer


class Blind(Attachments):
    """Condemns what somebody refers to."""

    async def condemn(self, attachment_id: str, sweeper: Sweeper) -> CondemnAnswer:
        kept = dict(self._kept.refs)
        self._kept.refs.clear()
        try:
            return await super().condemn(attachment_id, sweeper)
        finally:
            self._kept.refs.update(kept)


class TestUnannounced(_Stores, AttachmentStoreProperties):
    attachments = Unannounced


class TestPublic(_Stores, AttachmentStoreProperties):
    attachments = Public


class TestAdding(_Stores, AttachmentStoreProperties):
    attachments = Adding


class TestForgetfulOfOthers(_Stores, AttachmentStoreProperties):
    attachments = Forgetful


class TestRacing(_Stores, AttachmentStoreProperties):
    attachments = Racing


class TestRuthless(_Stores, AttachmentStoreProperties):
    attachments = Ruthless


class TestStubborn(_Stores, AttachmentStoreProperties):
    attachments = Stubborn


class TestBlind(_Stores, AttachmentStoreProperties):
    attachments = Blind
