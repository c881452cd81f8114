"""Starting one delivery: a process is registered, or input put into a session's queue, once."""

from typing import Protocol

from lash.core.causality import TriggerOccurrenceCauseRef
from lash.core.errors import ConfigurationError, LashError
from lash.processes.model import (
    HostOriginator,
    Originator,
    ProcessProvenance,
    SessionOriginator,
)
from lash.processes.registration import RegisterRequest
from lash.runtime.agents import AgentRegistry
from lash.runtime.arriving import Arrivals
from lash.runtime.checks import check_id, check_prompt
from lash.runtime.processes.side import ProcessSide
from lash.runtime.stores import Store
from lash.sessions.ingress import EnqueueRequest, NextTurn, UserInput
from lash.sessions.model import AgentRef, TextItem, TurnInput
from lash.triggers.model import Delivery, ProcessTarget, SessionActor, SessionTarget, TriggerActor
from lash.triggers.payloads import payload_problem
from lash.triggers.templates import arguments, render

#: The id is a delivery's, so whatever has it is what the delivery has started.
_STARTED_BEFORE = frozenset({"process_conflict", "process_no_longer_retained"})


class StartHost(Protocol):
    """What starting needs of the runtime it belongs to."""

    store: Store
    agents: AgentRegistry
    arrivals: Arrivals
    processes: ProcessSide


async def start(host: StartHost, delivery: Delivery) -> None:
    """Start a delivery, or find that it was started.

    Raises:
        LashError: Why it cannot be started: `trigger_payload_invalid`, `trigger_input_missing`,
            `process_arguments_invalid`, `process_unregistered`; what registering a process or
            queueing input raises.
    """
    target, payload = delivery.subscription.draft.target, delivery.occurrence.payload
    problem = payload_problem(delivery.subscription.draft.payload_schema, payload)
    if problem is not None:
        raise LashError(
            "trigger_payload_invalid",
            f"The event does not fit what subscription {delivery.subscription.key!r} takes: {problem}.",
        )
    if isinstance(target, ProcessTarget):
        await _start_process(host, delivery, target)
    else:
        await _speak(host, delivery, target)


async def _start_process(host: StartHost, delivery: Delivery, target: ProcessTarget) -> None:
    function = host.processes.functions.find(target.name, target.version)
    if function is None:
        if await host.store.load_process(delivery.delivery_id) is not None:
            return  # whoever has the code was here before
        raise ConfigurationError(
            "process_unregistered",
            f"Process {target.name!r} (version {target.version!r}) is not registered in this "
            "runtime; whoever has it starts the delivery.",
        )
    args = arguments(target.input_template, delivery.occurrence.payload)
    wakes = target.wake_session_id
    request: RegisterRequest = function.registration(
        delivery.delivery_id,
        function.arguments((), args),
        provenance=ProcessProvenance(
            originator=_originator(delivery.subscription.registrant), caused_by=cause_of(delivery)
        ),
        wake_session_id=wakes,
        observers=() if wakes is None else (wakes,),
        label=target.label,
    )
    try:
        await host.processes.worker.register(request)
    except LashError as error:
        if error.code not in _STARTED_BEFORE:
            raise


async def _speak(host: StartHost, delivery: Delivery, target: SessionTarget) -> None:
    payload = delivery.occurrence.payload
    session_id = render(target.session, payload)
    check_id(
        session_id, "session_id_invalid", "The session id that a subscription makes of an event"
    )
    agent = AgentRef(name=target.agent_name, version=target.agent_version)
    if target.agent_name in host.agents.names:
        agent = host.agents.newest(target.agent_name).ref
    said = TurnInput(items=(TextItem(text=check_prompt(render(target.prompt, payload))),))
    await host.arrivals.enqueue(
        EnqueueRequest(
            session_id=session_id,
            item_id=delivery.delivery_id,
            payload=UserInput(input=said),
            ingress=NextTurn(),
            agent=agent,
            source_key=delivery.delivery_id,
            provider_id=host.agents.provider_of(agent),
        )
    )


def spoken_to(delivery: Delivery) -> str | None:
    """The session that a delivery speaks to, as far as the event says which."""
    target = delivery.subscription.draft.target
    if isinstance(target, ProcessTarget):
        return None
    try:
        return render(target.session, delivery.occurrence.payload)
    except LashError:
        return None


def cause_of(delivery: Delivery) -> TriggerOccurrenceCauseRef:
    """Because of what a delivery does what it does."""
    subscription = delivery.subscription
    return TriggerOccurrenceCauseRef(
        occurrence_id=delivery.occurrence.occurrence_id,
        subscription_id=subscription.subscription_id,
        incarnation=subscription.incarnation,
        revision=subscription.revision,
    )


def _originator(actor: TriggerActor) -> Originator:
    if isinstance(actor, SessionActor):
        return SessionOriginator(session_id=actor.session_id)
    return HostOriginator(scope=actor.scope)
