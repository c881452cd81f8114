"""The demo's ledger: what really ran, written by the model and the tools themselves.

Each line is one `write` to a file opened for appending, so it outlives SIGKILL and two processes
never mix their lines. It knows nothing of lash's journal, which is what makes it a witness.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from lash.core.clock import Clock
from lash.core.json import Data, encode


class LedgerLine(Data):
    """Something began or ended, in which process, when.

    `effect` names it the way the journal can: a model call by its request id, a tool attempt by call
    id and number.
    """

    phase: Literal["started", "ended"]
    effect: str
    label: str
    pid: int
    at_ms: int
    idempotency_key: str = ""


class Execution(Data):
    """One real execution of a model call or a tool; `ended_at_ms` is None if it never came to its end."""

    effect: str
    label: str
    pid: int
    started_at_ms: int
    ended_at_ms: int | None = None
    idempotency_key: str = ""


class Ledger:
    """The writer's end."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._clock = clock

    def started(self, effect: str, label: str, *, idempotency_key: str = "") -> None:
        """Something begins."""
        self._write("started", effect, label, idempotency_key)

    def ended(self, effect: str, label: str) -> None:
        """It came to its end."""
        self._write("ended", effect, label, "")

    def _write(
        self, phase: Literal["started", "ended"], effect: str, label: str, idempotency_key: str
    ) -> None:
        line = LedgerLine(
            phase=phase,
            effect=effect,
            label=label,
            pid=os.getpid(),
            at_ms=self._clock.now_ms(),
            idempotency_key=idempotency_key,
        )
        os.write(self._file, encode(line) + b"\n")


def read_ledger(path: Path) -> Sequence[LedgerLine]:
    """The lines written so far; none when nothing ran."""
    if not path.exists():
        return ()
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [msgspec.json.decode(line, type=LedgerLine) for line in whole.splitlines()]


def executions(lines: Sequence[LedgerLine]) -> list[Execution]:
    """The executions a ledger tells of, in the order they began."""
    begun: list[Execution] = []
    for line in lines:
        if line.phase == "started":
            begun.append(
                Execution(
                    effect=line.effect,
                    label=line.label,
                    pid=line.pid,
                    started_at_ms=line.at_ms,
                    idempotency_key=line.idempotency_key,
                )
            )
            continue
        for index, one in enumerate(begun):
            if (one.effect, one.pid, one.ended_at_ms) == (line.effect, line.pid, None):
                begun[index] = msgspec.structs.replace(one, ended_at_ms=line.at_ms)
                break
    return begun
