"""The tools that `lash mcp` offers: their names, schemas and descriptions, for what a module holds."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lash.cli.mcp.desk import Desk, Report
from lash.core.json import JsonObject, JsonValue, canonical

_Run: TypeAlias = Callable[[JsonObject, Report], Awaitable[JsonObject]]

#: A client that asks for longer is to ask again.
_LONGEST_WAIT_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool on offer.

    Attributes:
        name: Its name.
        description: What a model is told.
        schema: What its arguments must fit.
        run: Does it.
        reads: Whether it changes nothing.
        repeats: Whether doing it twice with the same arguments is the same as doing it once.
    """

    name: str
    description: str
    schema: JsonObject
    run: _Run
    reads: bool = False
    repeats: bool = False


def offered(desk: Desk) -> Mapping[str, Offered]:
    """The tools, by name. What a module does not hold is not on offer."""
    tools = [*_of_sessions(desk)]
    if desk.agents:
        tools = [_run_agent(desk), *tools]
    if desk.processes:
        tools += _of_processes(desk)
    return {tool.name: tool for tool in tools}


def _run_agent(desk: Desk) -> Offered:
    agent = _text("Which agent, for a conversation that is begun.", enum=desk.agents)
    known = ", ".join(desk.agents)
    return Offered(
        "run_agent",
        f"Have an agent answer in a durable conversation, and wait for its answer. Agents: {known}. "
        "Once accepted, the turn is finished whatever happens to this connection. Give a request_id of "
        "your own: asked again with the same one and the same prompt, you get the same turn and its "
        "answer, and nothing is done twice.",
        _object(
            {
                "agent": agent,
                "session": _text("The conversation; one that does not exist is begun."),
                "prompt": _text("What to say to the agent."),
                "request_id": _text("Your own name for this request."),
            },
            ["session", "prompt"],
        ),
        desk.run_agent,
    )


def _of_sessions(desk: Desk) -> list[Offered]:
    session = _text("The conversation.")
    return [
        Offered(
            "cancel_turn",
            "Ask a turn to stop. Leaving or cancelling a request does not stop it; this does.",
            _object(
                {
                    "session": session,
                    "request_id": _text("The turn; the one that runs if not given."),
                    "reason": _text("Why."),
                },
                ["session"],
            ),
            desk.cancel_turn,
            repeats=True,
        ),
        Offered(
            "list_sessions",
            "List the conversations, the most recent first.",
            _object({}, []),
            desk.list_sessions,
            reads=True,
        ),
        Offered(
            "session_history",
            "What was said in a conversation, oldest first. A turn that runs is not part of it.",
            _object(
                {
                    "session": session,
                    "last": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 10_000,
                        "description": "How many messages at most (default 50).",
                    },
                },
                ["session"],
            ),
            desk.session_history,
            reads=True,
        ),
    ]


def _of_processes(desk: Desk) -> list[Offered]:
    process = _text("The process.")
    known = "\n".join(
        f"- {name}: {each.description or 'no description'} Arguments: "
        f"{canonical(each.json_schema).decode()}"
        for name, each in desk.processes.items()
    )
    return [
        Offered(
            "start_process",
            "Start a durable background process, which is finished whatever happens to this connection. "
            "Give it an id of your own: the same id with the same arguments is the same process. "
            f"Processes:\n{known}",
            _object(
                {
                    "name": _text("Which process.", enum=list(desk.processes)),
                    "args": {"type": "object", "description": "Its arguments by name."},
                    "id": _text("Your own name for it."),
                },
                ["name"],
            ),
            desk.start_process,
        ),
        Offered(
            "process_status",
            "How it stands with a process.",
            _object({"id": process}, ["id"]),
            desk.process_status,
            reads=True,
        ),
        Offered(
            "process_result",
            "What a process came to. Waits for it; if that takes too long, ask again.",
            _object(
                {
                    "id": process,
                    "timeout": {
                        "type": "number",
                        "minimum": 0,
                        "maximum": _LONGEST_WAIT_S,
                        "description": "Seconds to wait at most (default 30).",
                    },
                },
                ["id"],
            ),
            desk.process_result,
            reads=True,
        ),
        Offered(
            "signal_process",
            "Send a process a signal; it is kept until the process asks for one of its name.",
            _object(
                {
                    "id": process,
                    "name": _text("Which signal."),
                    "payload": {"description": "What it says: any JSON."},
                    "signal_id": _text("Your own name for it, so that it is sent once."),
                },
                ["id", "name"],
            ),
            desk.signal_process,
        ),
        Offered(
            "cancel_process",
            "Ask a process to stop. It ends some time later, or finishes first.",
            _object({"id": process, "reason": _text("Why.")}, ["id"]),
            desk.cancel_process,
            repeats=True,
        ),
    ]


def _object(properties: Mapping[str, JsonValue], required: list[str]) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _text(description: str, enum: list[str] | None = None) -> JsonObject:
    schema: dict[str, JsonValue] = {"type": "string", "minLength": 1, "description": description}
    return schema if enum is None else {**schema, "enum": enum}
