"""Asking plugins about a turn: what it begins with, what its checkpoints bring, what its prompt says."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from lash.core.errors import LashError
from lash.core.text import described, spelled_out
from lash.plugins.contexts import CheckpointHook, PluginSession, TurnHook
from lash.plugins.directives import Abort, Say
from lash.plugins.plugin import Plugin
from lash.plugins.registration import PluginSet
from lash.runtime.plugins.states import EffectStates, PluginStates
from lash.turn.driver import CheckpointKind
from lash.turn.messages import Message, PluginOrigin, text_message
from lash.turn.prompt import PromptLayer

_log = logging.getLogger("lash.plugins")


@dataclass(slots=True)
class Said:
    """What plugins answered: messages, or an abort."""

    messages: list[Message] = field(default_factory=list)
    transient: list[Message] = field(default_factory=list)
    abort: Abort | None = None


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
        """What plugins say in the prompt, in order."""
        layers = [self._guarded(plugin, plugin.prompt) for plugin in self._plugins.at("prompt")]
        return [layer for layer in layers if layer is not None]

    def offers(self, tool: str) -> bool:
        """Whether every plugin lets a tool be on offer."""
        return all(
            plugin.offers(tool, self._states.session(plugin.id))
            for plugin in self._plugins.at("offers")
        )

    def _guarded(
        self, plugin: Plugin, ask: Callable[[PluginSession], PromptLayer | None]
    ) -> PromptLayer | None:
        try:
            return ask(self._states.session(plugin.id))
        except Exception as error:
            raise _failed(plugin, error) from error

    async def before_turn(self, text: str, iteration: int, states: EffectStates) -> Said:
        """What plugins say before a turn's first model call.

        Raises:
            LashError: `plugin_failed`, or the plugin's own.
        """

        async def ask(plugin: Plugin) -> object:
            session = self._states.session(plugin.id, states)
            return await plugin.before_turn(TurnHook(session, self._turn_id, iteration, text))

        return await self._ask(self._plugins.at("before_turn"), ask, f"begin.{iteration}")

    async def at_checkpoint(
        self, checkpoint: CheckpointKind, iteration: int, states: EffectStates
    ) -> Said:
        """What plugins put in at a checkpoint. Raises as `before_turn`."""

        async def ask(plugin: Plugin) -> object:
            session = self._states.session(plugin.id, states)
            hook = CheckpointHook(session, self._turn_id, checkpoint, iteration)
            return await plugin.at_checkpoint(hook)

        place = f"{checkpoint}.{iteration}"
        return await self._ask(self._plugins.at("at_checkpoint"), ask, place)

    async def _ask(
        self,
        plugins: Sequence[Plugin],
        ask: Callable[[Plugin], Awaitable[object]],
        place: str,
    ) -> Said:
        said = Said()
        for plugin in plugins:
            try:
                answers = await ask(plugin)
            except Exception as error:
                raise _failed(plugin, error) from error
            for directive in _several(answers):
                match directive:
                    case Abort():
                        said.abort = directive  # the last one holds
                    case Say():
                        number = len(said.messages) + len(said.transient)
                        message = self._message(plugin, directive, f"{place}.{number}")
                        (said.transient if directive.transient else said.messages).append(message)
                    case _:
                        raise LashError(
                            "plugin_directive_invalid",
                            f"Plugin {plugin.id!r} answered with {type(directive).__name__}, which "
                            "means nothing here.",
                            plugin_id=plugin.id,
                        )
        return said

    def _message(self, plugin: Plugin, said: Say, place: str) -> Message:
        return text_message(
            f"m_plugin_{self._scope}_{place}",
            said.role,
            spelled_out(said.text),
            origin=PluginOrigin(plugin_id=plugin.id, transient=said.transient),
        )


def _several(answers: object) -> Sequence[object]:
    if answers is None:
        return ()
    return answers if isinstance(answers, list | tuple) else (answers,)


def _failed(plugin: Plugin, error: Exception) -> LashError:
    if isinstance(error, LashError):
        return error
    _log.error("plugin %s failed", plugin.id, exc_info=error)
    return LashError(
        "plugin_failed", f"Plugin {plugin.id!r} failed: {described(error)}", plugin_id=plugin.id
    )
