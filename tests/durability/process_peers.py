"""Workers in operating-system processes of their own, as a test holds them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

from process_ledger import Ledger

WORKER = Path(__file__).with_name("process_peer.py")

#: How long an answer is waited for, in seconds, where it does not matter how long it takes.
PATIENCE_S = 40.0

#: Leases as long as they are by default, and as short as they may be for tests that wait for the end of
#: one; how long they last and how often they are renewed, in milliseconds.
DEFAULT = (30_000, 10_000)
SHORT = (1500, 500)


class Peer:
    """One worker. `tell` sends it a command, `hear` waits for an answer that has a key."""

    def __init__(
        self,
        folder: Path,
        name: str,
        lease: tuple[int, int] = DEFAULT,
        halt: tuple[str, str, int] | None = None,
    ) -> None:
        self.folder = folder
        self.name = name
        timings = [str(each) for each in lease]
        at = [str(each) for each in halt or ()]
        self._said: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._heard: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(folder), name, *timings, *at],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put(None)

    def __enter__(self) -> Self:
        self.ready_ms: int = self.hear("ready")["ready"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def tell(self, do: str, **arguments: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def start(self, function: str, **given: object) -> None:
        """Start process `p`."""
        self.tell("start", function=function, id="p", **given)

    def hear(self, key: str, value: object = None, within: float = PATIENCE_S) -> Any:
        """What the next answer says that has `key` (with this value, if one is given)."""
        until = time.monotonic() + within
        while True:
            for index, said in enumerate(self._heard):
                if key in said and value in (None, said[key]):
                    return self._heard.pop(index)
            try:
                next_said = self._said.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                message = f"{self.name} did not say {key} within {within} s, but {self._heard}"
                raise AssertionError(message) from None
            assert next_said is not None, f"{self.name} ended without {key}: {self._heard}"
            self._heard.append(next_said)

    def said(self, key: str) -> Sequence[Any]:
        """What was said of something so far and not heard yet."""
        while not self._said.empty():
            said = self._said.get()
            if said is not None:
                self._heard.append(said)
        return [said[key] for said in self._heard if key in said]

    def result(self) -> Any:
        """What process `p` comes to, as this worker sees it."""
        self.tell("result", id="p")
        return self.hear("result", "p")["value"]

    def close(self) -> None:
        self.tell("close")
        self.hear("closed")
        assert self._process.wait(30) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def died(self) -> None:
        """Wait until it has killed itself."""
        assert self._process.wait(PATIENCE_S) == -signal.SIGKILL

    def stopped(self) -> None:
        """Wait until it has stopped itself."""
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def pause(self) -> None:
        """Stop the process, outside of a transaction: a writer's lock would stop everybody."""
        while True:
            os.kill(self._process.pid, signal.SIGSTOP)
            self.stopped()
            if _is_free(self.folder / "agents.db"):
                return
            self.resume()
            time.sleep(0.005)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


def _is_free(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True


def now_ms() -> int:
    """The time, as workers note it."""
    return time.time_ns() // 1_000_000


class Place:
    """A folder with a database and a ledger, as a test looks at them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "agents.db"

    def rows(self, query: str, *given: object) -> Sequence[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query, given).fetchall()

    def begun(self) -> Sequence[tuple[str, str]]:
        """What was begun, and by whom, in order."""
        return [(line[0], line[1]) for line in Ledger(self.folder / "ledger").lines()]

    def times(self) -> dict[str, int]:
        """When each was begun last, in milliseconds since the epoch."""
        return {line[0]: int(line[2]) for line in Ledger(self.folder / "ledger").lines()}

    def written(self) -> object:
        """All that is written of processes, but until when they are held: that is renewed all the time."""
        return [
            self.rows("SELECT process_id, state, change_seq, fencing_token, nonce FROM processes"),
            self.rows("SELECT * FROM process_events ORDER BY process_id, sequence"),
            self.rows("SELECT * FROM process_wakes"),
            self.rows("SELECT * FROM journal"),
        ]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        until = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until, what
            time.sleep(0.01)

    def until_waiting(self) -> None:
        """Wait until it is written down that process `p` waits."""
        query = "SELECT status FROM processes WHERE process_id = 'p'"
        self.until(lambda: self.rows(query) == [("waiting",)], "p does not wait")

    def until_told(self) -> None:
        """Wait until a session has taken up what it was told."""
        query = "SELECT state FROM queue"
        self.until(lambda: self.rows(query) == [("completed",)], "nobody was told")

    def fences(self) -> Sequence[tuple[str, int]]:
        """What process `p` recorded, in order, and under which fencing token."""
        query = "SELECT replay_key, fencing_token FROM journal ORDER BY rowid"
        return [(key, token) for key, token in self.rows(query)]
