"""Starting the plugins of a runtime when it opens, and stopping them when it has closed."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.text import described
from lash.plugins.contexts import TurnEnded
from lash.plugins.plugin import Plugin
from lash.plugins.registration import PluginSet
from lash.runtime.events import TurnEvent
from lash.runtime.plugins.states import PluginStates
from lash.sessions.model import SessionHead, TurnRecord

_log = logging.getLogger("lash.plugins")


@dataclass(frozen=True, slots=True)
class Host:
    """The runtime, as a plugin sees it when it starts; see `lash.plugins.plugin.PluginHost`."""

    clock: Clock


class PluginLives:
    """The plugins of a runtime and of its agents, each of them once.

    One object may serve several agents.
    """

    def __init__(self, plugins: Iterable[Plugin], clock: Clock) -> None:
        self._plugins = tuple({id(plugin): plugin for plugin in plugins}.values())
        self._host = Host(clock)
        self._begun: list[Plugin] = []

    async def start(self) -> None:
        """Start them in order; if one fails, those that were begun are stopped.

        Raises:
            LashError: `plugin_start_failed`.
        """
        for plugin in self._plugins:
            self._begun.append(plugin)
            try:
                await plugin.start(self._host)
            except BaseException as error:
                await self.stop()
                if not isinstance(error, Exception):
                    raise
                raise LashError(
                    "plugin_start_failed",
                    f"Plugin {plugin.id!r} could not be started: {described(error)}",
                    plugin_id=plugin.id,
                ) from error

    async def stop(self) -> None:
        """Stop what was begun, the last first. One that fails keeps no other from being stopped."""
        while self._begun:
            plugin = self._begun.pop()
            try:
                await plugin.stop()
            except Exception:  # noqa: BLE001  the others are to be stopped all the same
                _log.exception("plugin %s could not be stopped", plugin.id)


async def tell_after_turn(plugins: PluginSet, head: SessionHead, record: TurnRecord) -> None:
    """Tell plugins of a turn that was committed. They change nothing any more."""
    states = PluginStates(head, _unheard)
    for plugin in plugins.at("after_turn"):
        ended = TurnEnded(
            session=states.session(plugin.id),
            turn_id=record.turn_id,
            outcome=record.outcome,
            text=record.text,
            usage=record.usage,
        )
        try:
            await plugin.after_turn(ended)
        except Exception:  # noqa: BLE001  the turn is committed, whatever becomes of this
            _log.exception("plugin %s failed after turn %s", plugin.id, record.turn_id)


def _unheard(event: TurnEvent) -> None:
    del event
