"""What a turn runs with: agent, session and turn each say something about model, prompt and protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lash.core.json import digest
from lash.protocols.commands import CompactionProtocol, ConfigureProtocol
from lash.protocols.standard import StandardProtocol
from lash.runtime.agents import AgentDefinition
from lash.runtime.direct import BoundModel, ResolveModel
from lash.runtime.history import History
from lash.runtime.tool_catalog import own_tools
from lash.sessions.ingress import message_id_of
from lash.sessions.model import (
    AcceptedTurn,
    CompactContext,
    ConfigureSession,
    ForkedSession,
    RunOperation,
    SessionCommand,
    SessionHead,
)
from lash.sessions.tools import fits
from lash.tools.model import Tool
from lash.turn.driver import ProtocolDriver
from lash.turn.injection import cause_message
from lash.turn.machine import MachineConfig
from lash.turn.messages import Message, Pieces, TurnInputOrigin, message_of_pieces
from lash.turn.outcome import TurnIssue
from lash.turn.output import output_contract
from lash.turn.prompt import render_prompt


@dataclass(frozen=True, slots=True)
class TurnSetup:
    """What one turn runs with.

    Attributes:
        config: What its machine runs with.
        input: The messages it begins with.
        model: The model it asks, with its provider.
        max_turns: How many model calls it may make.
        message_scope: What the ids of its messages derive from.
        tools: What its agent is declared with and its session has, by name.
    """

    config: MachineConfig
    input: Sequence[Message]
    model: BoundModel
    max_turns: int | None
    message_scope: str
    tools: Mapping[str, Tool]

    @property
    def model_name(self) -> str:
        """The model, as `provider:name`."""
        return f"{self.model.spec.provider}:{self.model.spec.name}"


def set_up(
    agent: AgentDefinition, turn: AcceptedTurn, history: History, resolve: ResolveModel
) -> TurnSetup:
    """What a turn runs with.

    Raises:
        ConfigurationError: The model that the session names cannot be used here.
    """
    head = history.head
    scope, model = message_scope(head, turn.turn_id), _model(agent, head, resolve)
    command = turn.input.command
    output = turn.input.output
    tools, specs = own_tools(agent, head.tools)
    config = MachineConfig(
        driver=_driver(command, head),
        session_id=turn.session_id,
        turn_id=turn.turn_id,
        model=model.spec,
        instructions=_instructions(agent, turn, head, tools),
        tools=specs,
        history=history.reference,
        projection=history.projection,
        max_turns=agent.max_turns,
        message_scope=scope,
        output=output_contract(output) if output is not None else None,
    )
    return TurnSetup(
        config=config,
        input=input_messages(turn, scope),
        model=model,
        max_turns=agent.max_turns,
        message_scope=scope,
        tools=tools,
    )


def message_scope(head: SessionHead, turn_id: str) -> str:
    """What the ids of a turn's messages derive from.

    A fork shares messages with the session it comes from, where a turn of the same id may have been.
    """
    if not isinstance(head.relation, ForkedSession):
        return turn_id
    return digest("message-scope", [head.session_id, turn_id]).rpartition(":")[2][:24]


def _driver(command: SessionCommand | None, head: SessionHead) -> ProtocolDriver:
    match command:
        case None:
            return StandardProtocol()
        case CompactContext(instructions=instructions):
            return CompactionProtocol(instructions)
        case ConfigureSession(tools=tools):
            late = tools is not None and not fits(head.tools, tools)
            return ConfigureProtocol(_changed_meanwhile(head) if late else None)
        case RunOperation():
            return ConfigureProtocol()


def _changed_meanwhile(head: SessionHead) -> TurnIssue:
    return TurnIssue(
        kind="session_command",
        code="tool_catalog_generation_mismatch",
        message="The tools of the session were changed by somebody else since they were read; they are at "
        f"generation {head.tools.generation}. Nothing was changed; read them again.",
    )


def _model(agent: AgentDefinition, head: SessionHead, resolve: ResolveModel) -> BoundModel:
    if head.config.model is not None:
        named = resolve(head.config.model)
        return BoundModel(spec=named.spec, provider=named.provider, retry=agent.retry)
    return BoundModel(spec=agent.model, provider=agent.provider, retry=agent.retry)


def _instructions(
    agent: AgentDefinition, turn: AcceptedTurn, head: SessionHead, tools: Mapping[str, Tool]
) -> str:
    """The system prompt: what the agent says, and on top what its session and this turn say."""
    further = [layer for layer in (head.config.prompt, turn.input.prompt) if layer is not None]
    if not further and head.tools.says_nothing:
        return agent.instructions
    return render_prompt([*agent.layers, *further], tools=list(tools))


def input_messages(turn: AcceptedTurn, scope: str) -> Sequence[Message]:
    """What a turn begins with: its causes, then what the user says, if anything."""
    begun = turn.input
    causes = [cause_message(cause) for cause in begun.causes]
    if begun.command is not None or (causes and not begun.items and begun.frame_task is None):
        return causes
    first = begun.input_ids[0] if begun.input_ids else None
    message_id = message_id_of(first) if first is not None else f"m_turn_{scope}_input"
    said: Pieces = (begun.frame_task.task,) if begun.frame_task else begun.pieces
    origin = TurnInputOrigin(turn_id=turn.turn_id, input_id=first)
    return [*causes, message_of_pieces(message_id, "user", said, origin=origin)]
