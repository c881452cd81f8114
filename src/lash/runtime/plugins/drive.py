"""What the plugins of an agent do during one drive of a turn, in one place."""

from collections.abc import Mapping

from lash.core.errors import LashError
from lash.effects.outcomes import (
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    StateChange,
    SyncExecutionEnvironmentOutcome,
)
from lash.runtime.agents import AgentDefinition
from lash.runtime.events import Announce
from lash.runtime.plugins.offering import OfferedTools
from lash.runtime.plugins.states import PluginStates
from lash.runtime.plugins.tool_hooks import ToolHooks
from lash.runtime.plugins.turn_hooks import TurnHooks
from lash.sessions.model import AcceptedTurn, SessionHead
from lash.turn.driver import CheckpointKind
from lash.turn.exchange import CheckpointDelivery, ExecutionEnvironment
from lash.turn.prompt import PromptLayer, render_prompt


class TurnPlugins:
    """The plugins of one drive.

    Attributes:
        states: What they remember.
        tools: The tools on offer.
        tool_hooks: Who is asked around tool calls; None where nobody is.
    """

    def __init__(
        self,
        agent: AgentDefinition,
        turn: AcceptedTurn,
        head: SessionHead,
        announce: Announce,
        message_scope: str,
    ) -> None:
        self._agent = agent
        self._turn = turn
        self._head = head
        self.states = PluginStates(head, announce)
        self._hooks = TurnHooks(agent.plugins, self.states, turn.turn_id, message_scope)
        self.tools = OfferedTools(agent, self._hooks)
        asked = agent.plugins.asks_before_tools
        self.tool_hooks = ToolHooks(agent.plugins, self.states) if asked else None
        self._told: ExecutionEnvironment | None = None

    async def synced(self, iteration: int, max_turns: int | None) -> EffectOutcome:
        """The environment of the next model call, and before the first one what plugins say."""
        states = self.states.begin()
        try:
            environment = self._environment()
            if iteration:
                return SyncExecutionEnvironmentOutcome(environment=environment, max_turns=max_turns)
            said = await self._hooks.before_turn(self._turn.input.text, iteration, states)
        except LashError as error:
            return EffectFailed(code=str(error.code), message=error.message)
        if said.abort is not None:
            return EffectFailed(code=said.abort.code, message=said.abort.message)
        return SyncExecutionEnvironmentOutcome(
            environment=environment,
            max_turns=max_turns,
            messages=tuple(said.messages),
            transient_messages=tuple(said.transient),
            plugin_state=states.changes,
        )

    def _environment(self) -> ExecutionEnvironment | None:
        self.tools.refresh()
        config, begun = self._head.config, self._turn.input
        further = [layer for layer in (config.prompt, begun.prompt) if layer is not None]
        layers: list[PromptLayer] = [*self._agent.layers, *self._hooks.layers(), *further]
        environment = ExecutionEnvironment(
            instructions=render_prompt(layers, tools=list(self.tools)), tools=self.tools.specs
        )
        if environment == self._told:
            return None  # what was said last holds
        self._told = environment
        return environment

    def was_told(self, environment: ExecutionEnvironment | None) -> None:
        """What the turn was told, now or when it was driven before."""
        if environment is not None:
            self._told = environment

    async def before_checkpoint(
        self, checkpoint: CheckpointKind, iteration: int
    ) -> tuple[CheckpointDelivery, Mapping[str, StateChange]] | EffectFailed:
        """What plugins put in at a checkpoint, and what they remember from here on."""
        states = self.states.begin()
        try:
            said = await self._hooks.at_checkpoint(checkpoint, iteration, states)
        except LashError as error:
            return EffectFailed(code=str(error.code), message=error.message)
        if said.abort is not None:
            return EffectFailed(code=said.abort.code, message=said.abort.message)
        delivery = CheckpointDelivery(
            messages=tuple(said.messages), transient_messages=tuple(said.transient)
        )
        return delivery, states.changes

    def took_place(self, outcome: EffectOutcome) -> None:
        """An effect of the turn has its outcome."""
        if isinstance(outcome, SyncExecutionEnvironmentOutcome):
            self.was_told(outcome.environment)
            self.states.took_place(outcome.plugin_state)
        elif isinstance(outcome, CheckpointOutcome):
            self.states.took_place(outcome.plugin_state)
