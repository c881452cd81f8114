"""Runtimes in processes of their own, as a test holds them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

WORKER = Path(__file__).with_name("peer_worker.py")


class Peer:
    """One process. `tell` sends it a command, `hear` waits for an answer that has a key."""

    def __init__(self, database: Path, *, ttl_ms: int = 30_000, renew_ms: int = 10_000) -> None:
        self._database = database
        self._heard: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(database), str(ttl_ms), str(renew_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self.hear("ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, do: str, **arguments: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def run(self, session: str, turn: str, prompt: str) -> None:
        self.tell("run", session=session, turn=turn, prompt=prompt)

    def hear(self, key: str, value: object = None) -> dict[str, Any]:
        """The next answer that has `key` (with this value, if one is given), in order."""
        assert self._process.stdout is not None
        while True:
            for index, said in enumerate(self._heard):
                if key in said and value in (None, said[key]):
                    return self._heard.pop(index)
            line = self._process.stdout.readline()
            assert line, f"the process ended without saying {key}; it said {self._heard}"
            self._heard.append(json.loads(line))

    def said(self, key: str) -> list[dict[str, Any]]:
        """What was said so far and not heard yet."""
        return [said for said in self._heard if key in said]

    def close(self) -> None:
        """Have it end its work, and then end."""
        self._end("close")

    def leave(self) -> None:
        """Have it end in the middle of its work."""
        self._end("leave")

    def _end(self, do: str) -> None:
        self.tell(do)
        self.hear("closed")
        assert self._process.wait(30) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop the process, outside of a transaction: a writer's lock would stop everybody."""
        while True:
            os.kill(self._process.pid, signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)
            if writable(self._database):
                return
            self.go_on()

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


def writable(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True


def rows(database: Path, query: str) -> Sequence[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"
