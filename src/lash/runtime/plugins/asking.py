"""Asking one plugin: whatever goes wrong in it is told as its failure, and ends nothing else."""

import asyncio
import inspect
import logging
from collections.abc import Callable

from lash.core.errors import LashError
from lash.core.text import described
from lash.plugins.plugin import Plugin
from lash.runtime.cancelling import being_cancelled

_log = logging.getLogger("lash.plugins")


async def asked(plugin: Plugin, hook: Callable[[], object]) -> object:
    """What a hook answers.

    Raises:
        LashError: `plugin_failed`, or the plugin's own.
    """
    try:
        answer = hook()
        return await answer if inspect.isawaitable(answer) else answer
    except BaseException as error:
        raise failure(plugin, error) from error


def asked_at_once(plugin: Plugin, hook: Callable[[], object]) -> object:
    """What a hook answers that awaits nothing. Raises as `asked`."""
    try:
        return hook()
    except BaseException as error:
        raise failure(plugin, error) from error


def failure(plugin: Plugin, error: BaseException) -> LashError:
    """What a plugin raised, as an error of ours; raised itself if it is no failure but an end."""
    if isinstance(error, LashError):
        return error
    let_through(error)
    _log.error("plugin %s failed", plugin.id, exc_info=error)
    return LashError(
        "plugin_failed", f"Plugin {plugin.id!r} failed: {described(error)}", plugin_id=plugin.id
    )


def let_through(error: BaseException) -> None:
    """Raise what is no failure but an end.

    An exit, or a cancellation that nobody asked for, is a failure: let through it would end the process
    or lose the turn, and again wherever the turn is resumed.
    """
    stopped = isinstance(error, asyncio.CancelledError) and being_cancelled()
    if stopped or isinstance(error, KeyboardInterrupt | GeneratorExit):
        raise error
