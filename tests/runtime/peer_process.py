"""Runtimes in processes of their own, as a test holds them."""

from pathlib import Path

import pytest
from told_process import ToldProcess, rows

__all__ = ["Peer", "database", "rows"]

WORKER = Path(__file__).with_name("peer_worker.py")


class Peer(ToldProcess):
    """One process, whose tools and models may wait at a gate."""

    def __init__(self, database: Path, *, ttl_ms: int = 30_000, renew_ms: int = 10_000) -> None:
        super().__init__(WORKER, database, ttl_ms, renew_ms, database=database)

    def run(self, session: str, turn: str, prompt: str) -> None:
        self.tell("run", session=session, turn=turn, prompt=prompt)

    def leave(self) -> None:
        """Have it end in the middle of its work."""
        self.close("leave")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"
