"""The triggers of a runtime: subscribing to events, emitting them, and looking at what came of them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from lash.core.clock import Clock
from lash.core.durations import milliseconds
from lash.core.errors import ConfigurationError, ConflictError, LashError
from lash.core.json import to_json
from lash.runtime.checks import check_id
from lash.runtime.engine import Engine
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.triggers.events import TriggerEvent, TriggerEvents
from lash.runtime.triggers.reports import DeliveryReport, EmitReport
from lash.runtime.triggers.targets import SessionPrompt, target_of
from lash.triggers.commands import (
    Conflict,
    Delete,
    Disable,
    Enable,
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
from lash.triggers.identities import source_key_of
from lash.triggers.listing import (
    DeliveryFilter,
    OccurrenceFilter,
    RetentionReport,
    RetentionRequest,
    SubscriptionFilter,
)
from lash.triggers.model import (
    Delivery,
    DeliveryState,
    HostActor,
    HostOwner,
    Occurrence,
    OccurrenceRequest,
    PlatformOwner,
    SessionActor,
    SessionOwner,
    Subscription,
    SubscriptionDraft,
    TriggerActor,
    TriggerOwner,
)

#: Whichever source.
ANY_SOURCE: object = object()

#: How often a change that depends on what is there is tried when somebody else changes it meanwhile.
_ATTEMPTS = 10

#: Conflicts that another definition comes to when it is put in place of what stands.
_REPLACED = frozenset({"definition_differs", "revision_differs"})

_SAID: Mapping[str, str] = {
    "definition_differs": "it exists with another definition; use update",
    "deleted": "it was deleted; use revive to begin it anew",
    "not_deleted": "it exists and was not deleted; use update",
    "absent": "there is none; use subscribe",
    "revision_differs": "it was changed meanwhile; look at it again, and say which revision you mean",
    "operation_id_used": "the operation id was used before, for something else; use another one",
}


class Triggers:
    """Events and what they start: `runtime.triggers`.

    Subscriptions belong to the application by default; `session=` makes them a session's, with which
    they go, and `host=` those of a part of the application that has a name of its own. Keys are unique
    among those of one owner.
    """

    def __init__(self, engine: Engine, events: TriggerEvents) -> None:
        self._engine = engine
        self._events = events
        self._store = engine.store.triggers

    @property
    def clock(self) -> Clock:
        """What tells the time here, for sources that emit when it has come."""
        return self._engine.environment.clock

    # --- emitting -------------------------------------------------------------------------------

    async def emit(
        self,
        event: TriggerEvent | str,
        payload: object = None,
        *,
        key: str | None = None,
        source: object = None,
        session: str | None = None,
    ) -> EmitReport:
        """Say that something occurred: all that subscribed is started, once.

            await runtime.triggers.emit("order.paid", {"order_id": "o-7"}, key="payment-993")

        When this returns, the event and what it means are durable, and everything that could be started
        is. What could not be is in the report, and fails nothing else.

        Args:
            event: One of the runtime's `triggers`.
            payload: What it says; checked against what was declared.
            key: Your own name for this one time. The same key with the same content, in whatever
                process, is the same occurrence; with other content it is a conflict. Without one, it
                is a new occurrence each time.
            source: Where it occurred, if events of this name come from several sources.
            session: Only subscriptions of this session are meant.

        Raises:
            ConfigurationError: `trigger_event_unknown`. ConflictError: `trigger_occurrence_conflict`.
            LashError: `trigger_payload_invalid`, `trigger_occurrence_invalid`, `value_not_json`,
                `session_id_invalid`, `runtime_closed`.
        """
        declared = self._events.named(event)
        request = OccurrenceRequest(
            event=declared.name,
            key=self._engine.environment.ids.new("occurrence") if key is None else key,
            payload=declared.check(payload),
            source=to_json(source),
            session_id=_session(session),
        )
        return await self._engine.triggers.emit(request)

    async def retry(self, delivery_id: str) -> DeliveryReport:
        """Try again to start a delivery that failed.

        Raises:
            LashError: `trigger_delivery_unknown`, `runtime_closed`.
        """
        return await self._engine.triggers.retry(delivery_id)

    # --- subscribing ----------------------------------------------------------------------------

    async def subscribe(
        self,
        event: TriggerEvent | str,
        target: ProcessFunction[..., Any] | SessionPrompt,
        *,
        key: str,
        input: Mapping[str, object] | None = None,  # noqa: A002  what it is
        source: object = None,
        name: str | None = None,
        label: str | None = None,
        wakes: str | None = None,
        session: str | None = None,
        host: str | None = None,
        on_change: Literal["refuse", "update"] = "refuse",
        operation_id: str | None = None,
    ) -> TriggerReceipt:
        """Have something started whenever an event occurs; call it at every start of your application.

            await runtime.triggers.subscribe("order.paid", refund, key="refunds",
                                             input={"order_id": lash.from_event("order_id")})

        The same again changes nothing, also where the subscription was disabled since.

        Args:
            event: One of the runtime's `triggers`.
            target: A process function of the runtime, or a `SessionPrompt`.
            key: Your own name for the subscription.
            input: The arguments of the process: `lash.from_event(…)` takes them from the event, all
                others are fixed. By default, the only parameter gets all that the event says.
            source: Where it has to occur: what `emit` is given as `source`.
            name: What people call it.
            label: What its processes are shown as.
            wakes: The session that may see its processes, and is woken by them; by default the owner, if
                that is a session.
            session: The session that owns it.
            host: The part of the application that owns it.
            on_change: What to do when the subscription is there with another definition: refuse, or
                put this one in its place. One that was deleted is not begun anew either way.
            operation_id: Your own name for this call, so that it is done once, however often it is tried.

        Raises:
            ConfigurationError: `trigger_event_unknown`, `process_unregistered`, `agent_unknown`.
            ConflictError: `trigger_subscription_conflict`, with the reason in its details.
            LashError: `trigger_subscription_invalid`, `value_not_json`, `session_id_invalid`,
                `runtime_closed`.
        """
        if on_change not in {"refuse", "update"}:
            raise ConfigurationError(
                "trigger_subscription_invalid",
                f"on_change is 'refuse' or 'update', not {on_change!r}. Nothing was subscribed.",
            )
        owner, actor = _owner(session, host)
        draft = self._draft(
            key,
            event,
            target,
            input,
            source=source,
            name=name,
            label=label,
            wakes=wakes,
            owner=owner,
        )
        register = Register(owner=owner, actor=actor, draft=draft)
        outcome = await self._execute(register, operation_id)
        for attempt in range(_ATTEMPTS if on_change == "update" else 0):
            if not isinstance(outcome, Conflict) or outcome.reason not in _REPLACED:
                break
            update = Update(
                owner=owner,
                actor=actor,
                key=key,
                draft=draft,
                expected_revision=outcome.existing_revision or 0,
            )
            # Another operation, which a repeated call finds under the same name.
            tried = None if operation_id is None else f"{operation_id}#update-{attempt}"
            outcome = await self._execute(update, tried)
        return _receipt(outcome)

    async def update(
        self,
        event: TriggerEvent | str,
        target: ProcessFunction[..., Any] | SessionPrompt,
        *,
        key: str,
        expected_revision: int | None = None,
        input: Mapping[str, object] | None = None,  # noqa: A002  what it is
        source: object = None,
        name: str | None = None,
        label: str | None = None,
        wakes: str | None = None,
        session: str | None = None,
        host: str | None = None,
        operation_id: str | None = None,
    ) -> TriggerReceipt:
        """Put another definition in place of a subscription's. It stays as enabled as it was.

        What was reserved before is started as it was reserved. `expected_revision` is the one you have
        seen; None for whichever stands.

        Raises:
            As `subscribe`.
        """
        owner, actor = _owner(session, host)
        draft = self._draft(
            key,
            event,
            target,
            input,
            source=source,
            name=name,
            label=label,
            wakes=wakes,
            owner=owner,
        )
        seen = await self._seen(owner, key, expected_revision)
        command = Update(owner=owner, actor=actor, key=key, draft=draft, expected_revision=seen)
        return _receipt(await self._execute(command, operation_id))

    async def revive(
        self,
        event: TriggerEvent | str,
        target: ProcessFunction[..., Any] | SessionPrompt,
        *,
        key: str,
        expected_revision: int | None = None,
        input: Mapping[str, object] | None = None,  # noqa: A002  what it is
        source: object = None,
        name: str | None = None,
        label: str | None = None,
        wakes: str | None = None,
        session: str | None = None,
        host: str | None = None,
        operation_id: str | None = None,
    ) -> TriggerReceipt:
        """Begin a deleted subscription anew, enabled, as another incarnation.

        Raises:
            As `subscribe`.
        """
        owner, actor = _owner(session, host)
        draft = self._draft(
            key,
            event,
            target,
            input,
            source=source,
            name=name,
            label=label,
            wakes=wakes,
            owner=owner,
        )
        seen = await self._seen(owner, key, expected_revision)
        command = Revive(owner=owner, actor=actor, key=key, draft=draft, expected_revision=seen)
        return _receipt(await self._execute(command, operation_id))

    async def enable(
        self,
        key: str,
        *,
        expected_revision: int | None = None,
        session: str | None = None,
        host: str | None = None,
        operation_id: str | None = None,
    ) -> TriggerReceipt:
        """Have a subscription match again. What occurred meanwhile is not made up for.

        Raises:
            ConflictError: `trigger_subscription_conflict`. LashError: As `subscribe`.
        """
        owner, actor = _owner(session, host)
        seen = await self._seen(owner, key, expected_revision)
        command = Enable(owner=owner, actor=actor, key=key, expected_revision=seen)
        return _receipt(await self._execute(command, operation_id))

    async def disable(
        self,
        key: str,
        *,
        expected_revision: int | None = None,
        session: str | None = None,
        host: str | None = None,
        operation_id: str | None = None,
    ) -> TriggerReceipt:
        """Have a subscription match nothing more. What it has reserved is started all the same.

        Raises:
            ConflictError: `trigger_subscription_conflict`. LashError: As `subscribe`.
        """
        owner, actor = _owner(session, host)
        seen = await self._seen(owner, key, expected_revision)
        command = Disable(owner=owner, actor=actor, key=key, expected_revision=seen)
        return _receipt(await self._execute(command, operation_id))

    async def delete(
        self,
        key: str,
        *,
        expected_revision: int | None = None,
        session: str | None = None,
        host: str | None = None,
        operation_id: str | None = None,
    ) -> TriggerReceipt:
        """End a subscription. What it has reserved is started all the same.

        Its key is not used again by `subscribe`, only by `revive`.

        Raises:
            ConflictError: `trigger_subscription_conflict`. LashError: As `subscribe`.
        """
        owner, actor = _owner(session, host)
        seen = await self._seen(owner, key, expected_revision)
        command = Delete(owner=owner, actor=actor, key=key, expected_revision=seen)
        return _receipt(await self._execute(command, operation_id))

    async def prune(
        self,
        keys: Sequence[str],
        *,
        session: str | None = None,
        host: str | None = None,
        operation_id: str | None = None,
    ) -> Sequence[TriggerReceipt]:
        """End those of an owner's subscriptions that are named and live, in one transaction.

        Raises:
            LashError: As `subscribe`.
        """
        owner, actor = _owner(session, host)
        command = Prune(owner=owner, actor=actor, keys=tuple(keys))
        outcome = await self._execute(command, operation_id)
        if isinstance(outcome, Pruned):
            return outcome.receipts
        return (_receipt(outcome),)

    # --- looking --------------------------------------------------------------------------------

    async def get(
        self, key: str, *, session: str | None = None, host: str | None = None
    ) -> Subscription | None:
        """A subscription, or what is left of a deleted one."""
        owner, _ = _owner(session, host)
        return await self._store.find_subscription(owner, key)

    async def list(
        self,
        *,
        event: str | None = None,
        key: str | None = None,
        name: str | None = None,
        target: str | None = None,
        enabled: bool | None = None,
        session: str | None = None,
        host: str | None = None,
        deleted: bool = False,
    ) -> Sequence[Subscription]:
        """Subscriptions by owner and key; without `deleted`, those that live.

        Args:
            event: To this event.
            key: With this key.
            name: With this name.
            target: Of this process function, or agent.
            enabled: Only those that match, or only those that do not.
            session: A session's.
            host: Those of a part of the application.
            deleted: Tombstones too.
        """
        wanted = SubscriptionFilter(
            owner=None if host is None else HostOwner(binding_id=host),
            session_id=session,
            key=key,
            name=name,
            event=event,
            target=target,
            enabled=enabled,
            deleted=deleted,
        )
        return await self._store.list_subscriptions(wanted)

    async def occurrences(
        self,
        event: str | None = None,
        *,
        source: object = ANY_SOURCE,
        key: str | None = None,
        from_ms: int | None = None,
        before_ms: int | None = None,
        limit: int = 1000,
        newest: bool = False,
    ) -> Sequence[Occurrence]:
        """What occurred, in order; with `newest`, the last ones.

        A source goes with its event; None is what was emitted without one.
        """
        wanted = OccurrenceFilter(
            event=event,
            source_key=(
                None
                if event is None or source is ANY_SOURCE
                else source_key_of(event, to_json(source))
            ),
            key=key,
            from_ms=from_ms,
            before_ms=before_ms,
        )
        return await self._store.list_occurrences(wanted, limit=limit, newest=newest)

    async def deliveries(
        self,
        *,
        occurrence: str | None = None,
        subscription: str | None = None,
        delivery: str | None = None,
        state: DeliveryState | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> Sequence[Delivery]:
        """Deliveries by id, behind `after`. One that started a process goes with that process.

        Args:
            occurrence: Of this occurrence, by its id.
            subscription: Of this subscription, by its id.
            delivery: This one; the id is also its process's.
            state: Those that stand like this.
            after: Ids behind this one.
            limit: At most so many.
        """
        wanted = DeliveryFilter(
            delivery_id=delivery,
            occurrence_id=occurrence,
            subscription_id=subscription,
            state=state,
        )
        return await self._store.list_deliveries(wanted, after=after, limit=limit)

    # --- keeping --------------------------------------------------------------------------------

    async def retain(self, older_than: timedelta, *, failed: bool = False) -> RetentionReport:
        """Forget what is older than `older_than` and concerns nobody any more.

        Occurrences that have no deliveries left, the deliveries of input that is in its session, and
        receipts of operations. Deliveries of processes go when their processes are pruned; what is
        reserved is never touched. A key whose occurrence is forgotten is new when it comes again.

        Args:
            older_than: Leave alone what is younger.
            failed: Give up deliveries that failed, too.

        Raises:
            LashError: `duration_invalid`.
        """
        age_ms = milliseconds(older_than, "older_than")
        now_ms = self._engine.environment.clock.now_ms()
        request = RetentionRequest(before_ms=now_ms - age_ms + (not age_ms), failed=failed)
        total = RetentionReport()
        while True:  # a bounded piece at a time, so that no writer waits long
            step = await self._store.retain(request)
            total = RetentionReport(
                receipts=total.receipts + step.receipts,
                deliveries=total.deliveries + step.deliveries,
                occurrences=total.occurrences + step.occurrences,
                subscriptions=total.subscriptions + step.subscriptions,
            )
            if not step.more or not step.removed:
                return total

    # --- small things ---------------------------------------------------------------------------

    def _draft(
        self,
        key: str,
        event: TriggerEvent | str,
        target: ProcessFunction[..., Any] | SessionPrompt,
        template: Mapping[str, object] | None,
        *,
        source: object,
        name: str | None,
        label: str | None,
        wakes: str | None,
        owner: TriggerOwner,
    ) -> SubscriptionDraft:
        declared = self._events.named(event)
        if wakes is None and isinstance(owner, SessionOwner):
            wakes = owner.session_id
        return SubscriptionDraft(
            key=key,
            event=declared.name,
            target=target_of(
                target,
                self._engine.processes.functions,
                self._engine.agents,
                template=template,
                label=label,
                wake_session_id=wakes,
            ),
            source=to_json(source),
            payload_schema=declared.payload_schema,
            name=name,
        )

    async def _seen(self, owner: TriggerOwner, key: str, given: int | None) -> int:
        """The revision that is meant: the one given, or the one that stands."""
        if given is not None:
            return given
        record = await self._store.find_subscription(owner, key)
        return 0 if record is None else record.revision

    async def _execute(self, command: TriggerCommand, operation_id: str | None) -> TriggerOutcome:
        chosen = operation_id
        if chosen is None:
            chosen = self._engine.environment.ids.new("operation")
        return await self._engine.triggers.execute(
            TriggerOperation(operation_id=chosen, command=command)
        )


def _receipt(outcome: TriggerOutcome) -> TriggerReceipt:
    if isinstance(outcome, Conflict):
        raise ConflictError(
            "trigger_subscription_conflict",
            f"Subscription {outcome.key!r} is not as it has to be for this: {_SAID[outcome.reason]}. "
            "Nothing was changed.",
            key=outcome.key,
            reason=outcome.reason,
            existing_revision=outcome.existing_revision,
        )
    if isinstance(outcome, Pruned):
        raise LashError(
            "trigger_subscription_conflict", "The operation id was used before, to prune."
        )
    return outcome.receipt


def _owner(session: str | None, host: str | None) -> tuple[TriggerOwner, TriggerActor]:
    if session is not None and host is not None:
        raise LashError(
            "trigger_subscription_invalid",
            "A subscription has one owner: session= or host=, not both. Nothing was changed.",
        )
    owner = _session(session)
    if owner is not None:
        return SessionOwner(session_id=owner), SessionActor(session_id=owner)
    if host is not None:
        return HostOwner(binding_id=host), HostActor(scope=host)
    return PlatformOwner(), HostActor()


def _session(given: object) -> str | None:
    if given is None:
        return None
    check_id(given, "session_id_invalid", "A session id")
    return str(given)
