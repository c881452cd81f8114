"""Running a plain function beside the event loop, in a thread that nobody has to wait for.

A pool would be shared: a few hung tools would keep others from starting, and Python from exiting. A
thread per call costs some ten microseconds, and a daemon thread that never returns holds up nothing.
"""

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")

_log = logging.getLogger("lash.tools")


async def in_thread(function: Callable[..., T], keywords: Mapping[str, object]) -> T:
    """Call `function` in a thread of its own and wait for it.

    Cancelling the wait does not stop the thread; what it returns is then dropped.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()
    pid = os.getpid()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # T may be None

    def work() -> None:
        result: T | None = None
        raised: BaseException | None = None
        try:
            result = context.run(function, **keywords)
        except (StopIteration, GeneratorExit) as error:
            # A future cannot carry the one, and the other would end the coroutine that waits for it.
            raised = RuntimeError(f"the function raised {type(error).__name__}")
            raised.__cause__ = error
        except BaseException as error:  # noqa: BLE001  raised again where the caller waits
            raised = error
        end_if_forked(pid)
        try:
            loop.call_soon_threadsafe(deliver, result, raised)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    threading.Thread(target=work, name="lash-tool", daemon=True).start()
    return await done


def end_if_forked(pid: int) -> None:
    """End this process at once if it is not the one that began: a function has forked it and come back.

    What it was forked from has the result, the event loop and the store. Ended any other way, this one
    would run exit handlers and finally blocks of a program that goes on elsewhere.
    """
    if os.getpid() != pid:
        _log.error("a tool forked process %d and let it return; it is ended", os.getpid())
        os._exit(1)
