"""`ctx.triggers` of processes and operations: what recorded code emits and subscribes, once (tools spec 5.8).

Each is an effect. Its place makes the key of what is emitted, and the id of what is done to subscriptions,
so that code that dies between doing it and recording it finds on its next run what it did.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject, JsonValue, digest, to_json
from lash.core.scopes import journal_key
from lash.effects import executors, outcomes
from lash.effects import trigger_commands as effect
from lash.effects.commands import TriggerEffectCommand
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.trigger_commands import TriggerEffectOutcome, TriggerEmission
from lash.runtime.processes.code import refusal_of
from lash.runtime.processes.controlling import is_circumstance
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.recorded_code import envelope, wrong_outcome
from lash.runtime.triggers.declaring import TriggerDeclaration, owner_of, receipt_of
from lash.runtime.triggers.events import TriggerEvent
from lash.runtime.triggers.side import TriggerSide, emission_of, event_name
from lash.runtime.triggers.targets import SessionPrompt
from lash.triggers.commands import (
    Conflict,
    ConflictReason,
    Delete,
    Disable,
    Enable,
    Mutated,
    Revive,
    TriggerOutcome,
    TriggerReceipt,
)
from lash.triggers.listing import SubscriptionFilter
from lash.triggers.model import EventInput, HostOwner, Subscription, TriggerActor, TriggerOwner

#: Does what is asked for, under the id that its place makes.
_Perform: TypeAlias = Callable[[str], Awaitable[TriggerEffectOutcome]]


class RecordedTriggers:
    """Events and subscriptions, for code whose effects are recorded.

    Args:
        side: The triggers of the runtime.
        place: The replay key of what is asked for next, by its sort.
        entered: Where effects are executed, for whoever may ask for them now.
    """

    def __init__(
        self,
        side: TriggerSide,
        place: Callable[[str], str],
        entered: Callable[[], EffectController],
    ) -> None:
        self._side = side
        self._place = place
        self._entered = entered

    # --- emitting -------------------------------------------------------------------------------

    def emit(
        self,
        event: TriggerEvent | str,
        payload: object = None,
        *,
        key: str | None = None,
        source: object = None,
        session: str | None = None,
    ) -> Coroutine[object, object, TriggerEmission]:
        """Say that something occurred, once, however often the code is run; see `runtime.triggers.emit`.

        Without a `key` the place of this call in the code is the occurrence's name.

        Raises:
            ConflictError: `trigger_occurrence_conflict`. LashError: `trigger_payload_invalid`,
                `trigger_occurrence_invalid`, `value_not_json`, `session_id_invalid`.
            ConfigurationError: `trigger_event_unknown`: not recorded; a process waits for a runtime that
                has the event.
        """
        replay_key = self._place("emit")
        said, where = to_json(payload), to_json(source)
        command = effect.EmitTrigger(
            event=event_name(event), payload=said, key=key, source=where, session_id=session
        )

        async def perform(address: str) -> TriggerEffectOutcome:
            report = await self._side.emit(
                event,
                said,
                key=address if key is None else key,
                source=where,
                session=session,
            )
            return effect.TriggerEmitted(emission=emission_of(report))

        async def emit() -> TriggerEmission:
            result = await self._execute(replay_key, command, perform)
            if not isinstance(result, effect.TriggerEmitted):
                raise wrong_outcome(outcomes.TriggerOutcome(result=result))
            return result.emission

        return emit()

    # --- subscribing ----------------------------------------------------------------------------

    def subscribe(
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
    ) -> Coroutine[object, object, TriggerReceipt]:
        """Have something started whenever an event occurs; see `runtime.triggers.subscribe`.

        Raises:
            ConflictError: `trigger_subscription_conflict`.
            LashError: `trigger_subscription_invalid`, `value_not_json`, `session_id_invalid`.
            ConfigurationError: `trigger_event_unknown`, `process_unregistered`, `agent_unknown`: not
                recorded; a process waits for a runtime that has them.
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
            source=to_json(source),
            name=name,
            label=label,
            wakes=wakes,
        )
        owner, actor = owner_of(session, host)
        replaces = on_change == "update"
        command = effect.RegisterTrigger(
            owner_scope=_json_of(owner), draft=_described(wanted), replaces=replaces
        )
        return self._change(
            command,
            lambda address: self._side.subscribe(
                wanted, owner, actor, replaces=replaces, operation_id=address
            ),
        )

    def revive(
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
    ) -> Coroutine[object, object, TriggerReceipt]:
        """Begin a deleted subscription anew, as another incarnation.

        Raises:
            As `subscribe`.
        """
        wanted = TriggerDeclaration(
            event,
            target,
            key=key,
            input=input,
            source=to_json(source),
            name=name,
            label=label,
            wakes=wakes,
        )
        owner, actor = owner_of(session, host)
        command = effect.ReviveTrigger(
            owner_scope=_json_of(owner),
            subscription_key=key,
            draft=_described(wanted),
            expected_revision=expected_revision,
        )

        async def revive(address: str) -> TriggerOutcome:
            asked = Revive(
                owner=owner,
                actor=actor,
                key=key,
                draft=self._side.draft(wanted, owner),
                expected_revision=expected_revision,
            )
            return await self._side.execute(asked, address)

        return self._change(command, revive)

    def enable(
        self,
        key: str,
        *,
        expected_revision: int | None = None,
        session: str | None = None,
        host: str | None = None,
    ) -> Coroutine[object, object, TriggerReceipt]:
        """Have a subscription match again.

        Raises:
            ConflictError: `trigger_subscription_conflict`.
        """
        return self._set(
            effect.EnableTrigger, Enable, key, expected_revision, owner_of(session, host)
        )

    def disable(
        self,
        key: str,
        *,
        expected_revision: int | None = None,
        session: str | None = None,
        host: str | None = None,
    ) -> Coroutine[object, object, TriggerReceipt]:
        """Have a subscription match nothing more. What it has reserved is started all the same.

        Raises:
            ConflictError: `trigger_subscription_conflict`.
        """
        return self._set(
            effect.DisableTrigger, Disable, key, expected_revision, owner_of(session, host)
        )

    def delete(
        self,
        key: str,
        *,
        expected_revision: int | None = None,
        session: str | None = None,
        host: str | None = None,
    ) -> Coroutine[object, object, TriggerReceipt]:
        """End a subscription. What it has reserved is started all the same.

        Raises:
            ConflictError: `trigger_subscription_conflict`.
        """
        return self._set(
            effect.DeleteTrigger, Delete, key, expected_revision, owner_of(session, host)
        )

    def list(
        self,
        *,
        event: str | None = None,
        key: str | None = None,
        session: str | None = None,
        host: str | None = None,
    ) -> Coroutine[object, object, Sequence[Subscription]]:
        """Subscriptions that live, by owner and key, as they were when they were first asked for."""
        replay_key = self._place("list")
        wanted = SubscriptionFilter(
            owner=None if host is None else HostOwner(binding_id=host),
            session_id=session,
            key=key,
            event=event,
        )

        async def perform(_: str) -> TriggerEffectOutcome:
            found = await self._side.store.list_subscriptions(wanted)
            return effect.TriggersListed(records=tuple(_json_of(each) for each in found))

        async def list_them() -> Sequence[Subscription]:
            command = effect.ListTriggers(filter=_json_of(wanted))
            result = await self._execute(replay_key, command, perform)
            if not isinstance(result, effect.TriggersListed):
                raise wrong_outcome(outcomes.TriggerOutcome(result=result))
            return [msgspec.convert(each, Subscription) for each in result.records]

        return list_them()

    # --- small things ---------------------------------------------------------------------------

    def _set(
        self,
        recorded: type[effect.EnableTrigger | effect.DisableTrigger | effect.DeleteTrigger],
        command: type[Enable | Disable | Delete],
        key: str,
        expected_revision: int | None,
        owned: tuple[TriggerOwner, TriggerActor],
    ) -> Coroutine[object, object, TriggerReceipt]:
        """Have a subscription be on, off or ended: `recorded` is what the journal says of `command`."""
        owner, actor = owned
        said = recorded(
            owner_scope=_json_of(owner), subscription_key=key, expected_revision=expected_revision
        )
        wanted = command(owner=owner, actor=actor, key=key, expected_revision=expected_revision)
        return self._change(said, lambda address: self._side.execute(wanted, address))

    def _change(
        self, command: effect.TriggerCommand, change: Callable[[str], Awaitable[TriggerOutcome]]
    ) -> Coroutine[object, object, TriggerReceipt]:
        """Change a subscription; what came of it is recorded, a conflict too."""
        replay_key = self._place(str(command.__struct_config__.tag))

        async def perform(address: str) -> TriggerEffectOutcome:
            outcome = await change(address)
            if isinstance(outcome, Conflict):
                return effect.TriggerConflict(
                    subscription_key=outcome.key,
                    reason=outcome.reason,
                    existing_revision=outcome.existing_revision,
                )
            return effect.TriggerMutated(receipt=_json_of(receipt_of(outcome)))

        async def changed() -> TriggerReceipt:
            result = await self._execute(replay_key, command, perform)
            match result:
                case effect.TriggerMutated(receipt=receipt):
                    return receipt_of(Mutated(receipt=msgspec.convert(receipt, TriggerReceipt)))
                case effect.TriggerConflict():
                    return receipt_of(_conflict_of(result))
                case _:
                    raise wrong_outcome(outcomes.TriggerOutcome(result=result))

        return changed()

    async def _execute(
        self, replay_key: str, command: effect.TriggerCommand, perform: _Perform
    ) -> TriggerEffectOutcome:
        controller = self._entered()
        address = digest("trigger-effect", [journal_key(controller.scope), replay_key])

        async def recorded(_: RuntimeEffectEnvelope) -> outcomes.EffectOutcome:
            try:
                return outcomes.TriggerOutcome(result=await perform(address))
            except LashError as error:
                if is_circumstance(error):
                    raise
                # It may be caught, so what follows depends on it: it is recorded like any outcome.
                return outcomes.EffectFailed(code=str(error.code), message=error.message)

        asked = envelope(replay_key, TriggerEffectCommand(command=command))
        outcome = await controller.execute(asked, executors.triggers(recorded))
        if isinstance(outcome, outcomes.EffectFailed):
            raise refusal_of(outcome)
        if not isinstance(outcome, outcomes.TriggerOutcome):
            raise wrong_outcome(outcome)
        return outcome.result


def _conflict_of(told: effect.TriggerConflict) -> Conflict:
    """A conflict as it was recorded."""
    return Conflict(
        key=told.subscription_key,
        reason=msgspec.convert(told.reason, ConflictReason),
        existing_revision=told.existing_revision,
    )


def _described(wanted: TriggerDeclaration) -> JsonObject:
    """What is compared when the code is run again: not the versions that a deploy brings."""
    target = wanted.target
    if isinstance(target, SessionPrompt):
        does: JsonObject = {
            "session": target.session,
            "prompt": target.prompt,
            "agent": target.agent,
        }
    else:
        does = {"process": target.name}
    given: JsonValue = None
    if wanted.input is not None:
        given = {name: _source(value) for name, value in wanted.input.items()}
    return {
        "key": wanted.key,
        "event": event_name(wanted.event),
        "target": does,
        "input": given,
        "source": to_json(wanted.source),
        "name": wanted.name,
        "label": wanted.label,
        "wakes": wanted.wakes,
    }


def _source(value: object) -> JsonValue:
    if isinstance(value, EventInput):
        return {"event": list(value.path)}
    return {"fixed": to_json(value)}


def _json_of(
    value: TriggerOwner | TriggerReceipt | SubscriptionFilter | Subscription,
) -> JsonObject:
    told: JsonObject = msgspec.to_builtins(value)
    return told
