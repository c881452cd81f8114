"""What really happened, over all operating-system processes: a line per fact.

A line written with one `write` outlives SIGKILL.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path


class Ledger:
    """A file that is only ever appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._count = 0

    def note(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def nonce(self) -> str:
        """A word that nobody has noted yet."""
        self._count += 1
        return f"n{os.getpid()}-{time.monotonic_ns()}-{self._count}"

    def lines(self) -> Sequence[Sequence[str]]:
        return [line.split() for line in self._path.read_text().splitlines()]
