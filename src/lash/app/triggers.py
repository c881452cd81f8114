"""The triggers of a runtime: emitting events, and subscribing to them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lash.app.trigger_records import TriggerRecords
from lash.core.errors import ConfigurationError
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.triggers.declaring import (
    ReconcileReport,
    TriggerDeclaration,
    owner_of,
    receipt_of,
)
from lash.runtime.triggers.events import TriggerEvent
from lash.runtime.triggers.reports import DeliveryReport, EmitReport
from lash.runtime.triggers.targets import SessionPrompt
from lash.triggers.commands import (
    Delete,
    Disable,
    Enable,
    Prune,
    Pruned,
    Revive,
    TriggerCommand,
    TriggerReceipt,
    Update,
)


class Triggers(TriggerRecords):
    """Events and what they start: `runtime.triggers`.

    Subscriptions belong to the application by default; `session=` makes them a session's, with which
    they go, and `host=` those of a part of the application that has a name of its own. Keys are unique
    among those of one owner.
    """

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
        return await self._side.emit(event, payload, key=key, source=source, session=session)

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
        wanted = TriggerDeclaration(
            event,
            target,
            key=key,
            input=input,
            source=source,
            name=name,
            label=label,
            wakes=wakes,
        )
        owner, actor = owner_of(session, host)
        return receipt_of(
            await self._side.subscribe(
                wanted,
                owner,
                actor,
                replaces=on_change == "update",
                operation_id=operation_id,
            )
        )

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
        wanted = TriggerDeclaration(
            event,
            target,
            key=key,
            input=input,
            source=source,
            name=name,
            label=label,
            wakes=wakes,
        )
        owner, actor = owner_of(session, host)
        command = Update(
            owner=owner,
            actor=actor,
            key=key,
            draft=self._side.draft(wanted, owner),
            expected_revision=expected_revision,
        )
        return await self._done(command, operation_id)

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
        wanted = TriggerDeclaration(
            event,
            target,
            key=key,
            input=input,
            source=source,
            name=name,
            label=label,
            wakes=wakes,
        )
        owner, actor = owner_of(session, host)
        command = Revive(
            owner=owner,
            actor=actor,
            key=key,
            draft=self._side.draft(wanted, owner),
            expected_revision=expected_revision,
        )
        return await self._done(command, operation_id)

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
        owner, actor = owner_of(session, host)
        command = Enable(owner=owner, actor=actor, key=key, expected_revision=expected_revision)
        return await self._done(command, operation_id)

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
        owner, actor = owner_of(session, host)
        command = Disable(owner=owner, actor=actor, key=key, expected_revision=expected_revision)
        return await self._done(command, operation_id)

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
        owner, actor = owner_of(session, host)
        command = Delete(owner=owner, actor=actor, key=key, expected_revision=expected_revision)
        return await self._done(command, operation_id)

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
        if isinstance(keys, str):  # its letters are no keys
            raise ConfigurationError(
                "trigger_subscription_invalid",
                f"prune takes a list of keys: [{keys!r}]. Nothing was changed.",
            )
        owner, actor = owner_of(session, host)
        command = Prune(owner=owner, actor=actor, keys=tuple(keys))
        outcome = await self._side.execute(command, operation_id)
        if isinstance(outcome, Pruned):
            return outcome.receipts
        return (receipt_of(outcome),)

    async def reconcile(
        self, wanted: Sequence[TriggerDeclaration], *, host: str | None = None
    ) -> ReconcileReport:
        """Have the subscriptions of a part of the application be these; call it at every start.

            report = await runtime.triggers.reconcile(
                [lash.TriggerDeclaration(paid, ship, key="shipping")], host="shop")
            await runtime.triggers.prune(report.orphaned, host="shop")

        In one transaction, what is new is begun and what differs is put in place. What is there and not
        declared is reported as orphaned, and goes on until you prune it. Of two sets that are declared at
        once, as by two versions in a deploy, one stands. What somebody disabled stays so,
        and what was deleted is not begun anew. `Subscription.membership` says from then on which is which.

        Args:
            wanted: All of them, each under a key of its own.
            host: Whose they are. Without one they are the application's, and so is all else that it
                subscribed without a name.

        Raises:
            ConfigurationError: `trigger_event_unknown`, `process_unregistered`, `agent_unknown`.
            LashError: `trigger_subscription_invalid`, `value_not_json`, `runtime_closed`.
        """
        given: object = wanted  # whatever a caller without a type checker passes
        if not isinstance(given, Sequence) or not all(
            isinstance(each, TriggerDeclaration) for each in given
        ):
            raise ConfigurationError(
                "trigger_subscription_invalid",
                "reconcile takes a list of lash.TriggerDeclaration(…), all that there are to be. "
                "Nothing was changed.",
            )
        return await self._side.reconcile(wanted, host)

    async def _done(self, command: TriggerCommand, operation_id: str | None) -> TriggerReceipt:
        return receipt_of(await self._side.execute(command, operation_id))
