"""Asking past whatever says nothing of a tool: it must not become the answer of the tool's call."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from lash.core.clock import Clock
from lash.core.errors import LashError, StoreError
from lash.runtime.rests import Rests

T = TypeVar("T")

_log = logging.getLogger("lash.runtime")


async def asking_again(work: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Do something that may be done twice.

    A store in trouble is asked again; in a runtime that closes, the attempt waits to be stopped.

    Raises:
        LashError: What is no circumstance.
    """
    rests = Rests(clock)
    while True:
        try:
            return await work()
        except LashError as error:
            if error.code == "runtime_closed":
                await _for_ever()
            if not isinstance(error, StoreError) or error.terminal:
                raise
            _log.info("a tool waits for the store: %s", error)
        await rests.rest()


async def _for_ever() -> NoReturn:
    """Wait to be stopped."""
    while True:
        await asyncio.get_running_loop().create_future()
