"""The triggers' side of a runtime, as everybody asks for them who is in it: hosts, processes and tools."""

from collections.abc import Sequence
from typing import Protocol

from lash.core.json import to_json
from lash.effects.trigger_commands import EmittedDelivery, TriggerEmission
from lash.runtime.agents import AgentRegistry
from lash.runtime.environment import Environment
from lash.runtime.processes.side import ProcessSide
from lash.runtime.stores import Store
from lash.runtime.triggers.declaring import (
    ReconcileReport,
    TriggerDeclaration,
    checked_session,
    owner_of,
)
from lash.runtime.triggers.events import TriggerEvent, TriggerEvents
from lash.runtime.triggers.reports import EmitReport
from lash.runtime.triggers.router import TriggerRouter
from lash.runtime.triggers.targets import target_of
from lash.triggers.commands import (
    Conflict,
    Declare,
    Declared,
    Register,
    TriggerCommand,
    TriggerOperation,
    TriggerOutcome,
    Update,
)
from lash.triggers.listing import SubscriptionFilter
from lash.triggers.model import (
    OccurrenceRequest,
    SessionOwner,
    SubscriptionDraft,
    TriggerActor,
    TriggerOwner,
)
from lash.triggers.store import TriggerStore


class TriggerHost(Protocol):
    """What triggers need of the runtime they belong to."""

    store: Store
    agents: AgentRegistry
    environment: Environment
    processes: ProcessSide
    triggers: TriggerRouter


class TriggerSide:
    """Everything that may be asked of triggers in one runtime.

    Args:
        host: The runtime. Nothing is asked of it before it is made.
    """

    def __init__(self, host: TriggerHost) -> None:
        self._host = host
        self.events = TriggerEvents(host.environment.triggers)

    @property
    def store(self) -> TriggerStore:
        """Where they are kept."""
        return self._host.store.triggers

    # --- emitting -------------------------------------------------------------------------------

    async def emit(
        self,
        event: TriggerEvent | str,
        payload: object,
        *,
        key: str | None,
        source: object,
        session: object,
    ) -> EmitReport:
        """Say that something occurred; without a key it is a new occurrence.

        Raises:
            ConfigurationError: `trigger_event_unknown`. ConflictError: `trigger_occurrence_conflict`.
            LashError: `trigger_payload_invalid`, `trigger_occurrence_invalid`, `value_not_json`,
                `session_id_invalid`, `runtime_closed`.
        """
        declared = self.events.named(event)
        request = OccurrenceRequest(
            event=declared.name,
            key=self._host.environment.ids.new("occurrence") if key is None else key,
            payload=declared.check(payload),
            source=to_json(source),
            session_id=checked_session(session),
        )
        return await self._host.triggers.emit(request)

    # --- subscribing ----------------------------------------------------------------------------

    def draft(self, wanted: TriggerDeclaration, owner: TriggerOwner) -> SubscriptionDraft:
        """What is asked for, as it is stored.

        Raises:
            ConfigurationError: `trigger_event_unknown`, `process_unregistered`, `agent_unknown`.
            LashError: `trigger_subscription_invalid`, `value_not_json`.
        """
        declared, wakes = self.events.named(wanted.event), wanted.wakes
        if wakes is None and isinstance(owner, SessionOwner):
            wakes = owner.session_id
        return SubscriptionDraft(
            key=wanted.key,
            event=declared.name,
            target=target_of(
                wanted.target,
                self._host.processes.functions,
                self._host.agents,
                template=wanted.input,
                label=wanted.label,
                wake_session_id=wakes,
            ),
            source=to_json(wanted.source),
            payload_schema=declared.payload_schema,
            name=wanted.name,
        )

    async def execute(
        self, command: TriggerCommand, operation_id: str | None = None
    ) -> TriggerOutcome:
        """Do something to subscriptions, once under its id.

        Raises:
            LashError: `trigger_subscription_invalid`, `runtime_closed`.
        """
        ids = self._host.environment.ids
        chosen = ids.new("operation") if operation_id is None else operation_id
        return await self._host.triggers.execute(
            TriggerOperation(operation_id=chosen, command=command)
        )

    async def subscribe(
        self,
        wanted: TriggerDeclaration,
        owner: TriggerOwner,
        actor: TriggerActor,
        *,
        replaces: bool,
        operation_id: str | None,
    ) -> TriggerOutcome:
        """Subscribe; with `replaces`, put this definition in place of another one.

        Raises:
            As `draft` and `execute`.
        """
        draft = self.draft(wanted, owner)
        register = Register(owner=owner, actor=actor, draft=draft)
        outcome = await self.execute(register, operation_id)
        differs = isinstance(outcome, Conflict) and outcome.reason == "definition_differs"
        if not differs or not replaces:
            return outcome
        update = Update(
            owner=owner, actor=actor, key=draft.key, draft=draft, expected_revision=None
        )
        # Another operation, which a repeated call finds under the same name.
        return await self.execute(
            update, None if operation_id is None else f"{operation_id}#update"
        )

    async def reconcile(
        self, wanted: Sequence[TriggerDeclaration], host: str | None
    ) -> ReconcileReport:
        """Have an owner's subscriptions be these; see `runtime.triggers.reconcile`."""
        owner, actor = owner_of(None, host)
        drafts = tuple(self.draft(each, owner) for each in wanted)
        declared = {each.key for each in drafts}
        others = await self._keys(owner) - declared
        first = said = await self._declare(owner, actor, drafts, others)
        # Another set may have been declared meanwhile. Whoever wrote last sees what both wrote, so that one
        # of them comes to stand, and not a mixture that nobody declared.
        while since := await self._keys(owner) - declared - others:
            others |= since
            said = await self._declare(owner, actor, drafts, others)
        return ReconcileReport(
            created=first.created,
            unchanged=first.unchanged,
            changed=first.changed,
            orphaned=said.orphaned,
            deleted=said.deleted,
        )

    async def _keys(self, owner: TriggerOwner) -> set[str]:
        found = await self.store.list_subscriptions(SubscriptionFilter(owner=owner))
        return {each.key for each in found}

    async def _declare(
        self,
        owner: TriggerOwner,
        actor: TriggerActor,
        drafts: tuple[SubscriptionDraft, ...],
        others: set[str],
    ) -> Declared:
        asked = Declare(owner=owner, actor=actor, drafts=drafts, others=tuple(sorted(others)))
        outcome = await self.execute(asked)
        return outcome if isinstance(outcome, Declared) else Declared()


def emission_of(report: EmitReport) -> TriggerEmission:
    """What was emitted, as it is recorded: what the event says is with the occurrence."""
    return TriggerEmission(
        occurrence_id=report.occurrence.occurrence_id,
        event=report.occurrence.event,
        key=report.occurrence.key,
        replayed=report.replayed,
        deliveries=tuple(
            EmittedDelivery(
                delivery_id=each.delivery_id,
                key=each.key,
                status=each.status,
                process_id=each.process_id,
                session_id=each.session_id,
                code=each.code,
            )
            for each in report.deliveries
        ),
    )


def event_name(event: object) -> str:
    """What an event is called that is given by itself or by its name; whether it is declared shows later."""
    return event.name if isinstance(event, TriggerEvent) else str(event)
