"""What the plugins of an agent do during one drive of a turn, in one place."""

from collections.abc import Iterable, Mapping, Sequence

from lash.core.errors import LashError
from lash.core.json import JsonObject
from lash.core.text import spelled_out
from lash.effects.outcomes import (
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    StateChange,
    SyncExecutionEnvironmentOutcome,
    ToolAttemptOutcome,
)
from lash.plugins.directives import Abort, Compact, OfHistory, ShowFrom
from lash.runtime.agents import AgentDefinition
from lash.runtime.events import Announce
from lash.runtime.history import History
from lash.runtime.model_call import Rewrite
from lash.runtime.plugins.offering import OfferedTools
from lash.runtime.plugins.states import EffectStates, PluginStates
from lash.runtime.plugins.tool_hooks import ToolHooks
from lash.runtime.plugins.turn_hooks import TurnHooks
from lash.sessions.ingress import CommandWork, EnqueueRequest
from lash.sessions.model import AcceptedTurn, CompactContext, SessionHead
from lash.turn.driver import CheckpointKind
from lash.turn.exchange import CheckpointDelivery, ExecutionEnvironment
from lash.turn.prompt import PromptLayer, render_prompt


class TurnPlugins:
    """The plugins of one drive.

    Attributes:
        states: What they remember.
        tools: The tools on offer.
        tool_hooks: Who is asked around tool calls; None where nobody is.
        resumed: Whether the turn was driven before: its beginning was replayed.
        shown_from: The message from which on the model is shown the conversation; None for all of it.
        compact: What a summary is to keep that is to be made after the turn; None for none.

    Args:
        agent: Whose plugins.
        turn: The turn.
        history: The session, as the turn finds it.
        window: The tokens that the model has room for, where that is known.
        announce: Told what plugins say to those who watch.
        message_scope: What the ids of messages derive from.
        told: The prompt and the tools that the turn begins with if nothing else is recorded.
    """

    def __init__(
        self,
        agent: AgentDefinition,
        turn: AcceptedTurn,
        history: History,
        *,
        window: int | None,
        announce: Announce,
        message_scope: str,
        told: ExecutionEnvironment,
    ) -> None:
        self._agent = agent
        self._turn = turn
        self._history = history
        self._head = history.head
        self._window = window
        self.states = PluginStates(history.head, announce)
        self._hooks = TurnHooks(agent.plugins, self.states, turn.turn_id, message_scope)
        self.tools = OfferedTools(agent, history.head.tools, self._hooks)
        asked = agent.plugins.asks_before_tools
        self.tool_hooks = ToolHooks(agent.plugins, self.states) if asked else None
        self._told = self._begun = told
        self._changes = bool(
            agent.providers or agent.plugins.at("prompt") or agent.plugins.at("offers")
        )
        self.resumed = True
        self.shown_from: str | None = None
        self.compact: str | None = None

    async def synced(self, iteration: int, max_turns: int | None) -> EffectOutcome:
        """The environment of the next model call, and before the first one what plugins say."""
        states = self.states.begin()
        try:
            if iteration:
                environment = self._environment()
                return SyncExecutionEnvironmentOutcome(environment=environment, max_turns=max_turns)
            self.resumed = False
            said = await self._hooks.before_turn(self._turn.input.text, iteration, states)
            if said.abort is not None:
                return _aborted(said.abort, states)
            shown = self._shown(states)
            environment = self._environment()  # in which what was remembered just now counts
        except LashError as error:
            return _failed(error, states)
        return SyncExecutionEnvironmentOutcome(
            environment=environment,
            max_turns=max_turns,
            messages=tuple(said.messages),
            transient_messages=tuple(said.transient),
            plugin_state=states.changes,
            shown_from=shown.message_id if isinstance(shown, ShowFrom) else None,
            compact=shown.instructions if isinstance(shown, Compact) else None,
        )

    def _shown(self, states: EffectStates) -> OfHistory | None:
        """What the model is to be shown of the conversation."""
        if not self._agent.plugins.at("history"):
            return None
        return self._hooks.history(tuple(self._history.entries), self._window, states)

    @property
    def rewrites(self) -> Rewrite | None:
        """What is made of what the model says; None where nobody is asked."""
        return self._hooks.rewritten if self._agent.plugins.at("rewrite") else None

    @property
    def queued(self) -> Sequence[EnqueueRequest]:
        """What the session is to do after the turn."""
        if self.compact is None:
            return ()
        command = CompactContext(instructions=self.compact)
        item_id = f"{self._turn.turn_id}:compact"
        work = CommandWork(command=command)
        return [EnqueueRequest(session_id=self._turn.session_id, item_id=item_id, payload=work)]

    def _environment(self) -> ExecutionEnvironment | None:
        if not self._changes and self._told is self._begun:
            return None  # nobody says anything that the agent does not
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

    async def before_checkpoint(
        self, checkpoint: CheckpointKind, iteration: int
    ) -> tuple[CheckpointDelivery, Mapping[str, StateChange]] | EffectFailed:
        """What plugins put in at a checkpoint, and what they remember from here on."""
        states = self.states.begin()
        try:
            said = await self._hooks.at_checkpoint(checkpoint, iteration, states)
        except LashError as error:
            return _failed(error, states)
        if said.abort is not None:
            return _aborted(said.abort, states)
        delivery = CheckpointDelivery(
            messages=tuple(said.messages), transient_messages=tuple(said.transient)
        )
        return delivery, states.changes

    def took_place(self, outcome: EffectOutcome) -> None:
        """An effect of the turn has its outcome, now or when it was driven before."""
        if isinstance(outcome, SyncExecutionEnvironmentOutcome) and outcome.environment is not None:
            self._told = outcome.environment
            self.tools.restore([tool.name for tool in outcome.environment.tools])
        if isinstance(outcome, SyncExecutionEnvironmentOutcome) and outcome.shown_from is not None:
            self.shown_from = outcome.shown_from
        if isinstance(outcome, SyncExecutionEnvironmentOutcome) and outcome.compact is not None:
            self.compact = outcome.compact
        self.recall((outcome,))

    def recall(self, outcomes: Iterable[EffectOutcome]) -> None:
        """Remember what was recorded.

        Of a turn that is resumed this is everything, before anything of it goes on: hooks that run now
        run after all those that are recorded, in whatever order the records are replayed.
        """
        for outcome in outcomes:
            if isinstance(outcome, _REMEMBERED):
                self.states.took_place(outcome.plugin_state)


#: The kinds of effect in which hooks are asked, and what they come to.
REMEMBERING = ("sync_execution_environment", "checkpoint", "tool_attempt")
_REMEMBERED = (
    SyncExecutionEnvironmentOutcome,
    CheckpointOutcome,
    ToolAttemptOutcome,
    EffectFailed,
)


def remembered(head: SessionHead, outcomes: Iterable[EffectOutcome]) -> JsonObject | None:
    """What plugins remember of a turn whose agent nobody here has; None for no change."""
    states = PluginStates(head, lambda _: None)
    for outcome in outcomes:
        if isinstance(outcome, _REMEMBERED):
            states.took_place(outcome.plugin_state)
    return states.to_commit


def _failed(error: LashError, states: EffectStates) -> EffectFailed:
    return EffectFailed(code=str(error.code), message=error.message, plugin_state=states.changes)


def _aborted(abort: Abort, states: EffectStates) -> EffectFailed:
    return EffectFailed(
        code=spelled_out(abort.code),
        message=spelled_out(abort.message),
        plugin_state=states.changes,
    )
