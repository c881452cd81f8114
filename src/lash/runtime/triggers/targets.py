"""What a subscription does, as an application says it: which part of the event becomes which argument."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lash.core.errors import LashError
from lash.core.json import to_json
from lash.runtime.agents import AgentRegistry
from lash.runtime.processes.function import ProcessFunction, ProcessFunctions
from lash.triggers.model import (
    EventInput,
    FixedInput,
    InputSource,
    ProcessTarget,
    SessionTarget,
    TriggerTarget,
)


def from_event(*path: str | int) -> EventInput:
    """What the event says, or a part of it, as an argument of a process.

        input={"order_id": lash.from_event("order", "id"), "reason": "paid"}

    Args:
        *path: The names, and places in lists, that lead to the part; none for all of it.
    """
    return EventInput(path=tuple(path))


@dataclass(frozen=True, slots=True)
class SessionPrompt:
    """Something that is said in a session when an event occurs.

        lash.SessionPrompt("customer-{event.customer}", "Order {event.order_id} was paid.")

    Both are templates: `{event}` is all that the event says, `{event.order.id}` a part of it, `{{` is a
    brace. Text is put in as it is, everything else as JSON.

    Attributes:
        session: The session; it begins with this if it is new.
        prompt: What is said, by the user.
        agent: The session's agent; may be left out when the runtime has only one.
    """

    session: str
    prompt: str
    agent: str | None = None


def target_of(
    wanted: ProcessFunction[..., Any] | SessionPrompt,
    functions: ProcessFunctions,
    agents: AgentRegistry,
    *,
    template: Mapping[str, object] | None,
    label: str | None,
    wake_session_id: str | None,
) -> TriggerTarget:
    """What a subscription is to do, as it is stored.

    Raises:
        LashError: `trigger_subscription_invalid`, `process_unregistered`, `agent_unknown`,
            `value_not_json`.
    """
    given: object = wanted
    if isinstance(given, ProcessFunction):
        functions.check(given)
        return ProcessTarget(
            name=given.name,
            version=given.version,
            input_template=_template(given, template),
            label=label,
            wake_session_id=wake_session_id,
        )
    if not isinstance(given, SessionPrompt):
        raise _invalid(f"it starts a process function or a SessionPrompt, not {given!r}")
    if template is not None or label is not None:
        raise _invalid("input= and label= are for processes; a SessionPrompt is a template itself")
    if given.agent is None and len(agents.names) != 1:
        raise _invalid("say which agent the session has: SessionPrompt(…, agent=…)")
    agent = agents.newest(given.agent if given.agent is not None else agents.names[0]).ref
    return SessionTarget(
        session=given.session,
        agent_name=agent.name,
        agent_version=agent.version,
        prompt=given.prompt,
    )


def _template(
    function: ProcessFunction[..., Any], template: Mapping[str, object] | None
) -> Mapping[str, InputSource]:
    known, required = _parameters(function)
    if template is None:
        if len(known) > 1:
            raise _invalid(
                f"process {function.name!r} takes {', '.join(known)}: say what becomes of the event, "
                f"as input={{{known[0]!r}: lash.from_event(…), …}}"
            )
        return {name: EventInput() for name in known}
    strange = sorted(str(name) for name in template if name not in known)
    missing = sorted(name for name in required if name not in template)
    if strange:
        raise _invalid(f"process {function.name!r} has no parameter {', '.join(strange)}")
    if missing:
        raise _invalid(f"process {function.name!r} needs {', '.join(missing)}, which input= lacks")
    return {name: _source(value) for name, value in template.items()}


def _parameters(function: ProcessFunction[..., Any]) -> tuple[list[str], list[str]]:
    """The parameters of a process behind its context, and those of them without a default."""
    properties, required = (function.json_schema.get(name) for name in ("properties", "required"))
    named = list(properties) if isinstance(properties, Mapping) else []
    needed = required if isinstance(required, Sequence) else ()
    return named, [name for name in named if name in needed]


def _source(value: object) -> InputSource:
    if not isinstance(value, EventInput):
        return FixedInput(value=to_json(value))
    for step in value.path:
        given: object = step
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise _invalid(f"from_event takes names and places in lists, not {given!r}")
    return value


def _invalid(why: str) -> LashError:
    return LashError(
        "trigger_subscription_invalid", f"The subscription cannot be: {why}. Nothing was changed."
    )
