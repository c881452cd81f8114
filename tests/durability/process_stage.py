"""What the processes' crash matrix is played on: `crash_stage`, with steps, keys and gates.

Steps are counted in the ledger, like tools. Keys are what something outside is done under; whatever is
done again must be done under the same. Gates order what runs side by side: in the process that drives,
something is held back until a point was passed, so that a scenario passes its points in one order. In
the processes that recover, every gate is open.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crash_stage import Other, Play, Stage

import lash
from lash.core.seams import Seam
from lash.testing import ScriptedModel

#: How long a gate stays closed before the scene is given up, in seconds.
PATIENCE_S = 15.0

#: A point and which of its occurrences.
At = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Gates:
    """What is held back until a point was passed.

    Attributes:
        before: Steps, tools and model calls that do not begin before.
        after: Those that do not end before.
    """

    before: Mapping[str, At] = field(default_factory=dict)
    after: Mapping[str, At] = field(default_factory=dict)


OPEN = Gates()


class ProcessStage(Stage):
    """One operating-system process's part of a scene with durable processes."""

    def __init__(
        self,
        folder: Path,
        play: Play,
        *,
        kill: At | None,
        other: Other | None = None,
        prefix: str = "",
        gates: Gates | None = OPEN,
    ) -> None:
        super().__init__(folder, play, kill=kill, other=other, prefix=prefix)
        self._gates = gates
        self._keys = os.open(folder / "keys", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def seam(self, seam: Seam) -> None:
        self.at(seam)

    def _is_open(self, gate: At, until: float) -> bool:
        point, nth = gate
        if self._gates is None or self.trace.count(point) >= nth:
            return True
        if time.monotonic() > until:
            message = f"{point} was not passed {nth} times: {self.trace}"
            raise RuntimeError(message)
        return False

    async def until(self, point: str, nth: int = 1) -> None:
        """A gate: wait until a point was passed the nth time."""
        until = time.monotonic() + PATIENCE_S
        while not self._is_open((point, nth), until):  # noqa: ASYNC110  points are passed in threads too
            await asyncio.sleep(0.001)

    async def during(self, what: str, cancelled: asyncio.Event | None = None) -> None:
        gates = self._gates or OPEN
        if what in gates.before:
            await self.until(*gates.before[what])
        await super().during(what, cancelled)
        if what in gates.after:
            await self.until(*gates.after[what])

    async def run(self, what: str) -> str:
        """The body of a step."""
        await self.during(what)
        return f"{what} done"

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process that does what it was asked to, or not any more."""
        return self._other is None or self._dead_other

    def given(self, what: str, key: str) -> None:
        """Note the key that something outside is done under."""
        os.write(self._keys, f"{what} {key}\n".encode())

    def calls(self, what: str) -> int:
        """How often something was begun so far, over all processes."""
        return (self.folder / "ledger").read_text().split().count(what)

    def agents(self) -> Sequence[lash.Agent]:
        """Those of the crash matrix, and one whose tool is told under which key it is called."""
        stage = self

        @lash.tool
        async def pay(ctx: lash.ToolContext) -> str:
            """Pay."""
            stage.given("pay", ctx.idempotency_key)
            await stage.during("pay")
            return "paid"

        return [*super().agents(), lash.Agent("cashier", model=ScriptedModel([]), tools=[pay])]
