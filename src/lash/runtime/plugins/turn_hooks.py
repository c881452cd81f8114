"""Asking plugins about a turn: what it begins with, what its checkpoints bring, what its prompt says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from lash.core.errors import LashError
from lash.core.json import JsonObject
from lash.core.text import spelled_out
from lash.plugins.contexts import CheckpointHook, HistoryEntry, HistoryHook, TurnHook
from lash.plugins.directives import Abort, Compact, OfHistory, Say, ShowFrom
from lash.plugins.plugin import Plugin
from lash.plugins.registration import PluginSet
from lash.runtime.plugins.asking import asked, asked_at_once
from lash.runtime.plugins.states import EffectStates, PluginStates
from lash.runtime.selfwaits import inside
from lash.turn.driver import CheckpointKind
from lash.turn.messages import Message, PluginOrigin, text_message
from lash.turn.prompt import PromptLayer


@dataclass(slots=True)
class Said:
    """What plugins answered: messages, or an abort."""

    messages: list[Message] = field(default_factory=list)
    transient: list[Message] = field(default_factory=list)
    abort: Abort | None = None
    aborted_by: list[str] = field(default_factory=list)


class TurnHooks:
    """The hooks of one drive of a turn.

    Args:
        plugins: Whom to ask.
        states: What they remember.
        turn_id: The turn.
        message_scope: What the ids of messages derive from.
    """

    def __init__(
        self, plugins: PluginSet, states: PluginStates, turn_id: str, message_scope: str
    ) -> None:
        self._plugins = plugins
        self._states = states
        self._turn_id = turn_id
        self._scope = message_scope

    def layers(self) -> Sequence[PromptLayer]:
        """What plugins say in the prompt, in order.

        Raises:
            LashError: `plugin_failed`, `plugin_directive_invalid`, or the plugin's own.
        """
        layers: list[PromptLayer] = []
        for plugin in self._plugins.at("prompt"):
            session = self._states.session(plugin.id)
            layer = asked_at_once(plugin, partial(plugin.prompt, session))
            if isinstance(layer, PromptLayer):
                layers.append(layer)
            elif layer is not None:
                raise _nonsense(plugin, layer)
        return layers

    def offers(self, tool: str) -> bool:
        """Whether every plugin lets a tool be on offer. Raises as `layers`."""
        for plugin in self._plugins.at("offers"):
            session = self._states.session(plugin.id)
            if not asked_at_once(plugin, partial(plugin.offers, tool, session)):
                return False
        return True

    async def before_turn(self, text: str, iteration: int, states: EffectStates) -> Said:
        """What plugins say before a turn's first model call.

        Raises:
            LashError: `plugin_failed`, or the plugin's own.
        """

        def ask(plugin: Plugin) -> object:
            session = self._states.session(plugin.id, states)
            return plugin.before_turn(TurnHook(session, self._turn_id, iteration, text))

        plugins = self._plugins.at("before_turn")
        said = await self._ask(plugins, ask, f"begin.{iteration}")
        _tell_conflicts(said, "before_turn", states)
        return said

    def history(
        self, messages: Sequence[HistoryEntry], window: int | None, states: EffectStates
    ) -> OfHistory | None:
        """What a model is to be shown of the conversation. Raises as `layers`."""
        for plugin in self._plugins.at("history"):
            session = self._states.session(plugin.id, states)
            hook = HistoryHook(session, self._turn_id, messages, window)
            answer = asked_at_once(plugin, partial(plugin.history, hook))
            match answer:
                case None | Compact(instructions=str()):
                    return answer
                case ShowFrom(message_id=from_id) if any(
                    each.begins and each.id == from_id for each in messages
                ):
                    return answer
                case _:
                    raise _nonsense(plugin, answer)
        return None

    def rewritten(self, text: str) -> str:
        """What is kept and shown in the place of a text of the model's. Raises as `layers`."""
        for plugin in self._plugins.at("rewrite"):
            session = self._states.session(plugin.id)
            answer = asked_at_once(plugin, partial(plugin.rewrite, text, session))
            if isinstance(answer, str):
                text = spelled_out(answer)
            elif answer is not None:
                raise _nonsense(plugin, answer)
        return text

    async def at_checkpoint(
        self, checkpoint: CheckpointKind, iteration: int, states: EffectStates
    ) -> Said:
        """What plugins put in at a checkpoint. Raises as `before_turn`."""

        def ask(plugin: Plugin) -> object:
            session = self._states.session(plugin.id, states)
            hook = CheckpointHook(session, self._turn_id, checkpoint, iteration)
            return plugin.at_checkpoint(hook)

        place = f"{checkpoint}.{iteration}"
        said = await self._ask(self._plugins.at("at_checkpoint"), ask, place)
        _tell_conflicts(said, "at_checkpoint", states)
        return said

    async def _ask(
        self, plugins: Sequence[Plugin], ask: Callable[[Plugin], object], place: str
    ) -> Said:
        said = Said()
        for plugin in plugins:
            with inside(self._states.session_id):
                answers = await asked(plugin, partial(ask, plugin))
            for directive in _several(answers):
                match directive:
                    case Abort(message=str(), code=str()):
                        said.abort = directive  # the last one holds
                        said.aborted_by.append(plugin.id)
                    case Say(text=str()):
                        number = len(said.messages) + len(said.transient)
                        message = self._message(plugin, directive, f"{place}.{number}")
                        (said.transient if directive.transient else said.messages).append(message)
                    case _:
                        raise _nonsense(plugin, directive)
        return said

    def _message(self, plugin: Plugin, said: Say, place: str) -> Message:
        if said.role not in ("user", "system"):
            raise LashError(
                "plugin_message_role",
                f"Plugin {plugin.id!r} may say something as user or system, not as {said.role!r}.",
                plugin_id=plugin.id,
            )
        return text_message(
            f"m_plugin_{self._scope}_{place}",
            said.role,
            spelled_out(said.text),
            origin=PluginOrigin(plugin_id=plugin.id, transient=bool(said.transient)),
        )


def _tell_conflicts(said: Said, hook: str, states: EffectStates) -> None:
    """Tell those who watch the session whose abort did not hold, and whose did."""
    for ignored in dict.fromkeys(said.aborted_by):
        if ignored != said.aborted_by[-1]:
            payload: JsonObject = {
                "winner_plugin_id": said.aborted_by[-1],
                "winner_directive": "abort",
                "ignored_plugin_id": ignored,
                "ignored_directive": "abort",
            }
            states.emit(said.aborted_by[-1], f"{hook}.directive_conflict", payload)


def _several(answers: object) -> Sequence[object]:
    if answers is None:
        return ()
    return answers if isinstance(answers, list | tuple) else (answers,)


def _nonsense(plugin: Plugin, answer: object) -> LashError:
    return LashError(
        "plugin_directive_invalid",
        f"Plugin {plugin.id!r} answered with {type(answer).__name__}, which means nothing here.",
        plugin_id=plugin.id,
    )
