"""Processes of their own that are told what to do, and say what they do, as a test holds them.

Both in JSON lines. Tests of other folders than this one build on it too.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

#: How long something is waited for, in seconds, where it does not matter how long it takes.
PATIENCE_S = 40.0


#: Stands behind the last line.
ENDED = ""


class ToldProcess:
    """One process. `tell` sends it a command, `hear` waits for an answer that has a key.

    Attributes:
        patience_s: How long an answer is waited for if nothing else is said, in seconds; None is for as
            long as a test may take.
    """

    patience_s: float | None = None

    def __init__(
        self, script: Path, *arguments: object, database: Path, name: str = "the process"
    ) -> None:
        self.name = name
        self._database = database
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._heard: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(ENDED)

    def __enter__(self) -> Self:
        self.hear("ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what it was told last it did not live to read
                pipe.close()

    def tell(self, do: str, **arguments: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def hear(self, key: str, value: object = None, within: float | None = None) -> dict[str, Any]:
        """The next answer that has `key` (with this value, if one is given), in order."""
        patience = self.patience_s if within is None else within
        until = None if patience is None else time.monotonic() + patience
        while True:
            for index, said in enumerate(self._heard):
                if key in said and value in (None, said[key]):
                    return self._heard.pop(index)
            left = None if until is None else max(0.0, until - time.monotonic())
            try:
                line = self._lines.get(timeout=left)
            except Empty:
                message = f"{self.name} did not say {key} within {patience} s, but {self._heard}"
                raise AssertionError(message) from None
            if not self._note(line):
                message = f"{self.name} ended without saying {key}; it said {self._heard}"
                raise AssertionError(message)

    def said(self, key: str) -> Sequence[Any]:
        """What was said of something so far and not heard yet."""
        while not self._lines.empty() and self._note(self._lines.get()):
            pass
        return [said[key] for said in self._heard if key in said]

    def _note(self, line: str) -> bool:
        """Keep what was said until it is heard; whether there may be more."""
        if line == ENDED:
            self._lines.put(ENDED)  # whoever asks again is told the same
            return False
        self._heard.append(json.loads(line))
        return True

    def close(self, do: str = "close") -> None:
        """Have it end its work, and then end."""
        self.tell(do)
        self.hear("closed")
        assert self._process.wait(30) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def died(self) -> None:
        """Wait until it has killed itself."""
        assert self._process.wait(PATIENCE_S) == -signal.SIGKILL

    def stopped(self) -> None:
        """Wait until it has stopped itself, or was stopped."""
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def pause(self) -> None:
        """Stop the process, outside of a transaction: a writer's lock would stop everybody."""
        while True:
            os.kill(self._process.pid, signal.SIGSTOP)
            self.stopped()
            if is_free(self._database):
                return
            self.go_on()
            time.sleep(0.005)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


def is_free(database: Path) -> bool:
    """Whether nobody is writing to a database just now."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True


def rows(database: Path, query: str, *given: object) -> Sequence[tuple[Any, ...]]:
    """What a database says, read without the code under test."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, given).fetchall()
