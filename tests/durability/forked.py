"""Processes that are forked off for one thing, and end with it."""

import os
import sys
import traceback
from collections.abc import Callable


def forked(body: Callable[[], object]) -> int:
    """Fork a process for `body`; its id. It ends with 0, or with 1 and a trace if `body` raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        body()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
