"""Keeps stdout for the output proper: what tools print, and programs that they start, goes to stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

_STDOUT, _STDERR = 1, 2


@contextmanager
def own_stdout() -> Iterator[TextIO]:
    """Where to write while code of others runs, which may print or replace `sys.stdout`."""
    if not _is_the_process_stdout(sys.stdout):  # a stand-in; nothing but Python code writes to it
        out = sys.stdout
        with redirect_stdout(sys.stderr):
            yield out
        return
    sys.stdout.flush()
    kept = os.dup(_STDOUT)  # no program that is started inherits it
    os.dup2(_STDERR, _STDOUT)
    own = open(  # noqa: SIM115  closed below, where a reader that has left changes nothing
        kept,
        "w",
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        buffering=1 if sys.stdout.isatty() else -1,
        closefd=False,
    )
    try:
        with redirect_stdout(sys.stderr):
            yield own
    finally:
        with suppress(OSError):
            own.close()
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _is_the_process_stdout(stream: TextIO) -> bool:
    try:
        return stream.fileno() == _STDOUT
    except (AttributeError, OSError, ValueError):
        return False
