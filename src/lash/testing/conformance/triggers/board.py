"""A store's triggers with short ways to use them, and the class that their properties are made from."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lash.core.json import JsonValue
from lash.runtime.stores import Store
from lash.sessions.deleting import Deleted, DeleteReport
from lash.testing.conformance.processes.registry import Registry
from lash.testing.conformance.rig import Properties, Rig, expect
from lash.testing.conformance.samples import ANA, claim
from lash.triggers.commands import (
    Conflict,
    Delete,
    Disable,
    Enable,
    Mutated,
    Prune,
    Pruned,
    Register,
    Revive,
    TriggerCommand,
    TriggerOperation,
    TriggerOutcome,
    TriggerReceipt,
    Update,
)
from lash.triggers.listing import (
    DeliveryFilter,
    DeliverySettled,
    OccurrenceFilter,
    RetentionReport,
    RetentionRequest,
    SubscriptionFilter,
)
from lash.triggers.model import (
    Delivery,
    EventInput,
    FixedInput,
    HostActor,
    HostOwner,
    Occurrence,
    OccurrenceRequest,
    PlatformOwner,
    ProcessTarget,
    SessionActor,
    SessionOwner,
    SessionTarget,
    Subscription,
    SubscriptionDraft,
    TriggerActor,
    TriggerOwner,
    TriggerTarget,
)
from lash.triggers.store import TriggerStore
from lash.triggers.transitions import (
    AlreadyIngested,
    Ingested,
    IngestResult,
    OccurrenceConflict,
)

START_MS = 1_750_000_000_000
APP = PlatformOwner()
DESK = HostOwner(binding_id="desk")
HOST = HostActor()

#: A process is started; its arguments are of every sort.
REFUND = ProcessTarget(
    name="refund",
    version="2",
    input_template={
        "order_id": EventInput(path=("order", 0, "é")),
        "event": EventInput(),
        "limits": FixedInput(value={"most": [7, 2.5, None, True, "☃"]}),
    },
    label="refund ☃",
    wake_session_id="s",
)
#: Something is said in a session.
SAY = SessionTarget(
    session="c-{event.id}", agent_name="support", agent_version="1", prompt="Paid: {event}"
)


def of_session(session: str) -> SessionOwner:
    """A session as an owner."""
    return SessionOwner(session_id=session)


def actor_of(owner: TriggerOwner) -> TriggerActor:
    """Who acts in the name of an owner."""
    return SessionActor(session_id=owner.session_id) if isinstance(owner, SessionOwner) else HOST


def draft(
    key: str = "k",
    *,
    event: str = "paid",
    target: TriggerTarget = REFUND,
    source: JsonValue = None,
    name: str | None = None,
) -> SubscriptionDraft:
    """What is asked for."""
    return SubscriptionDraft(
        key=key,
        event=event,
        target=target,
        source=source,
        payload_schema={"type": "object", "required": ["id"]},
        name=name,
    )


def occurred(
    key: str = "o1",
    *,
    event: str = "paid",
    payload: JsonValue = None,
    source: JsonValue = None,
    session: str | None = None,
) -> OccurrenceRequest:
    """Something occurred."""
    told: JsonValue = {"id": 7, "list": [None, "é ☃"]} if payload is None else payload
    return OccurrenceRequest(event=event, key=key, payload=told, source=source, session_id=session)


class Board:
    """The triggers of a store under test.

    Args:
        rig: The store, and its sessions.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.registry = Registry(rig)
        self._operations = 0

    @property
    def store(self) -> Store:
        """The store as it is open now."""
        return self.rig.store

    @property
    def triggers(self) -> TriggerStore:
        """Its triggers."""
        return self.rig.store.triggers

    @property
    def now_ms(self) -> int:
        """What its clock says."""
        return self.rig.clock.now_ms()

    async def interlude(self) -> None:
        """Close the store and open it again, in the run that does."""
        await self.rig.interlude()

    def later(self, milliseconds: int = 1000) -> None:
        """Let time pass."""
        self.rig.clock.advance(milliseconds / 1000)

    # --- commands -------------------------------------------------------------------------------

    async def do(self, command: TriggerCommand, operation: str | None = None) -> TriggerOutcome:
        """What comes of a command, under an operation id of its own unless one is given."""
        self._operations += 1
        chosen = f"op-{self._operations}" if operation is None else operation
        return await self.triggers.execute(TriggerOperation(operation_id=chosen, command=command))

    async def done(self, command: TriggerCommand, operation: str | None = None) -> TriggerReceipt:
        """Do what must be done."""
        return expect(Mutated, await self.do(command, operation)).receipt

    async def refused(self, command: TriggerCommand, operation: str | None = None) -> Conflict:
        """Do what must be refused."""
        return expect(Conflict, await self.do(command, operation))

    async def register(
        self,
        key: str = "k",
        *,
        owner: TriggerOwner = APP,
        event: str = "paid",
        target: TriggerTarget = REFUND,
        source: JsonValue = None,
        name: str | None = None,
    ) -> Subscription:
        """Subscribe what must be new."""
        asked = draft(key, event=event, target=target, source=source, name=name)
        receipt = await self.done(registration(asked, owner))
        assert receipt.disposition == "created"
        return receipt.subscription

    async def delete(self, key: str = "k", *, owner: TriggerOwner = APP) -> Subscription:
        """Delete what must be there."""
        record = expect(Subscription, await self.triggers.find_subscription(owner, key))
        command = Delete(
            owner=owner, actor=actor_of(owner), key=key, expected_revision=record.revision
        )
        return (await self.done(command)).subscription

    async def disable(self, key: str = "k", *, owner: TriggerOwner = APP) -> Subscription:
        """Disable what must be there."""
        record = expect(Subscription, await self.triggers.find_subscription(owner, key))
        command = Disable(
            owner=owner, actor=actor_of(owner), key=key, expected_revision=record.revision
        )
        return (await self.done(command)).subscription

    async def delete_session(self, session: str) -> DeleteReport:
        """Delete a session that must be there, and that nobody holds."""
        return expect(Deleted, await self.store.delete_session(session, claim(ANA))).report

    async def found(self, key: str = "k", *, owner: TriggerOwner = APP) -> Subscription:
        """A subscription or tombstone that must be there."""
        return expect(Subscription, await self.triggers.find_subscription(owner, key))

    async def listed(self, wanted: SubscriptionFilter | None = None) -> list[str]:
        """The keys of the subscriptions that a filter means."""
        found = await self.triggers.list_subscriptions(wanted or SubscriptionFilter())
        return [record.key for record in found]

    # --- occurrences ----------------------------------------------------------------------------

    async def ingest(self, request: OccurrenceRequest | None = None) -> IngestResult:
        """What comes of an occurrence."""
        return await self.triggers.ingest(request or occurred())

    async def new(self, request: OccurrenceRequest | None = None) -> Ingested:
        """An occurrence that must be new."""
        return expect(Ingested, await self.ingest(request))

    async def known(self, request: OccurrenceRequest | None = None) -> AlreadyIngested:
        """An occurrence that must be known."""
        return expect(AlreadyIngested, await self.ingest(request))

    async def contradicted(self, request: OccurrenceRequest) -> OccurrenceConflict:
        """An occurrence whose key must be another one's."""
        return expect(OccurrenceConflict, await self.ingest(request))

    async def occurrences(self, wanted: OccurrenceFilter | None = None) -> list[str]:
        """The keys of the occurrences that a filter means."""
        found = await self.triggers.list_occurrences(wanted or OccurrenceFilter())
        return [each.key for each in found]

    async def deliveries(self, wanted: DeliveryFilter | None = None) -> list[Delivery]:
        """The deliveries that a filter means."""
        return list(await self.triggers.list_deliveries(wanted or DeliveryFilter()))

    async def started(self, *deliveries: Delivery) -> int:
        """Say that deliveries were started."""
        return await self.triggers.settle(
            [DeliverySettled(delivery_id=each.delivery_id, state="started") for each in deliveries]
        )

    async def retain(
        self, *, before_ms: int | None = None, failed: bool = False, limit: int = 500
    ) -> RetentionReport:
        """Remove what came to rest before now, or before another time."""
        before = self.now_ms if before_ms is None else before_ms
        return await self.triggers.retain(
            RetentionRequest(before_ms=before, failed=failed, limit=limit)
        )

    async def everything(self) -> dict[str, object]:
        """All that can be read about triggers."""
        triggers = self.triggers
        return {
            "subscriptions": list(
                await triggers.list_subscriptions(SubscriptionFilter(deleted=True))
            ),
            "occurrences": list(await triggers.list_occurrences(OccurrenceFilter())),
            "deliveries": list(await triggers.list_deliveries(DeliveryFilter())),
        }

    @asynccontextmanager
    async def untouched(self) -> AsyncIterator[None]:
        """Whatever happens inside must leave no trace that can be read."""
        before = await self.everything()
        yield
        await self.interlude()
        assert await self.everything() == before


def registration(asked: SubscriptionDraft | None = None, owner: TriggerOwner = APP) -> Register:
    """The command that subscribes."""
    return Register(owner=owner, actor=actor_of(owner), draft=asked or draft())


def update(revision: int, asked: SubscriptionDraft, owner: TriggerOwner = APP) -> Update:
    """The command that puts another definition in place."""
    return Update(
        owner=owner, actor=actor_of(owner), key="k", draft=asked, expected_revision=revision
    )


def enable(revision: int, owner: TriggerOwner = APP) -> Enable:
    """The command that has a subscription match again."""
    return Enable(owner=owner, actor=actor_of(owner), key="k", expected_revision=revision)


def disable(revision: int, owner: TriggerOwner = APP) -> Disable:
    """The command that has a subscription match no more."""
    return Disable(owner=owner, actor=actor_of(owner), key="k", expected_revision=revision)


def delete(revision: int, owner: TriggerOwner = APP) -> Delete:
    """The command that ends a subscription."""
    return Delete(owner=owner, actor=actor_of(owner), key="k", expected_revision=revision)


def revive(revision: int, asked: SubscriptionDraft | None = None) -> Revive:
    """The command that begins a deleted subscription anew."""
    return Revive(
        owner=APP, actor=HOST, key="k", draft=asked or draft(), expected_revision=revision
    )


def prune(*keys: str, owner: TriggerOwner = APP) -> Prune:
    """The command that ends those that are named."""
    return Prune(owner=owner, actor=actor_of(owner), keys=keys)


def pruned(outcome: TriggerOutcome) -> list[str]:
    """The keys of what was ended."""
    return [receipt.subscription.key for receipt in expect(Pruned, outcome).receipts]


def heard(result: Ingested | AlreadyIngested) -> list[str]:
    """Who hears of an occurrence, in order: the keys."""
    return [each.subscription.key for each in result.deliveries]


def names(occurrence: Occurrence) -> tuple[str, str, JsonValue, JsonValue]:
    """What occurred, as it was told."""
    return (occurrence.event, occurrence.key, occurrence.payload, occurrence.source)


class TriggerProperties(Properties):
    """What every group of properties of triggers is made from."""

    @asynccontextmanager
    async def board(self) -> AsyncIterator[Board]:
        """A new store to try a property on."""
        async with self.rig() as rig:
            yield Board(rig)
