"""Workers in operating-system processes of their own, as a test holds them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from process_ledger import Ledger
from told_process import PATIENCE_S, ToldProcess, rows

WORKER = Path(__file__).with_name("process_peer.py")

#: Leases as long as they are by default, and as short as they may be for tests that wait for the end of
#: one; how long they last and how often they are renewed, in milliseconds.
DEFAULT = (30_000, 10_000)
SHORT = (1500, 500)


class Peer(ToldProcess):
    """One worker."""

    patience_s = PATIENCE_S

    def __init__(
        self,
        folder: Path,
        name: str,
        lease: tuple[int, int] = DEFAULT,
        halt: tuple[str, str, int] | None = None,
    ) -> None:
        arguments = (folder, name, *lease, *(halt or ()))
        super().__init__(WORKER, *arguments, database=folder / "agents.db", name=name)

    def __enter__(self) -> Self:
        self.ready_ms: int = self.hear("ready")["ready"]
        return self

    def start(self, function: str, **given: object) -> None:
        """Start process `p`."""
        self.tell("start", function=function, id="p", **given)

    def result(self) -> Any:
        """What process `p` comes to, as this worker sees it."""
        self.tell("result", id="p")
        return self.hear("result", "p")["value"]


def now_ms() -> int:
    """The time, as workers note it."""
    return time.time_ns() // 1_000_000


class Place:
    """A folder with a database and a ledger, as a test looks at them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "agents.db"

    def rows(self, query: str, *given: object) -> Sequence[tuple[Any, ...]]:
        return rows(self.database, query, *given)

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
