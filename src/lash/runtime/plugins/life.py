"""Starting the plugins of a runtime when it opens, and stopping them when it has closed."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import msgspec

from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.json import encode
from lash.core.text import described
from lash.plugins.contexts import TurnEnded
from lash.plugins.plugin import Plugin
from lash.plugins.registration import PluginSet
from lash.runtime.cancelling import being_cancelled
from lash.runtime.events import TurnEvent
from lash.runtime.plugins.asking import asked, failure
from lash.runtime.plugins.states import PluginStates
from lash.runtime.selfwaits import outside
from lash.runtime.stopping import CLOSE_PATIENCE_S
from lash.sessions.model import SessionHead, TurnRecord
from lash.turn.outcome import TurnOutcome

_log = logging.getLogger("lash.plugins")

_OUTCOME: msgspec.json.Decoder[TurnOutcome] = msgspec.json.Decoder(TurnOutcome)


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
                cancelled = isinstance(error, asyncio.CancelledError) and not being_cancelled()
                if not (cancelled or isinstance(error, Exception)):
                    raise  # somebody ends the process, or gave up opening the runtime
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
            except BaseException as error:  # noqa: BLE001  the others are to be stopped all the same
                failure(plugin, error)
                _log.warning("plugin %s could not be stopped", plugin.id, exc_info=error)


class AfterTurns:
    """Tells plugins of turns that were committed, in the background."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, plugins: PluginSet, head: SessionHead, record: TurnRecord) -> None:
        """Begin to tell them."""
        telling = _tell_after_turn(plugins, head, record)
        task = asyncio.get_running_loop().create_task(
            telling, name="lash-after-turn", context=outside()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Let those who were told come to their end, for a while."""
        if not self._tasks:
            return
        patience = asyncio.ensure_future(self._clock.sleep(CLOSE_PATIENCE_S))
        told = asyncio.ensure_future(asyncio.wait(tuple(self._tasks)))
        try:
            await asyncio.wait((told, patience), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (patience, told, *self._tasks):
                each.cancel()


async def _tell_after_turn(plugins: PluginSet, head: SessionHead, record: TurnRecord) -> None:
    """Tell plugins of a turn that was committed. They change nothing any more."""
    states = PluginStates(head, _unheard)
    for plugin in plugins.at("after_turn"):
        ended = TurnEnded(
            session=states.session(plugin.id),
            turn_id=record.turn_id,
            outcome=_OUTCOME.decode(encode(record.outcome)),  # which is others' as well
            text=record.text,
            usage=record.usage,
        )
        try:
            await asked(plugin, partial(plugin.after_turn, ended))
        except LashError as error:
            # The turn is committed, whatever becomes of this.
            _log.warning("plugin %s after turn %s: %s", plugin.id, record.turn_id, error.message)


def _unheard(event: TurnEvent) -> None:
    del event
