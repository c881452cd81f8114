"""Running the demo's two processes, and watching their ledger while they work."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lash.cli.demo.ledger import LedgerLine, read_ledger
from lash.cli.demo.plan import KillPoint
from lash.core.clock import Clock
from lash.core.json import Data

#: How often the ledger is looked at; fast enough to look live.
_LOOK_S = 0.03
#: The demo fails rather than hang.
_PATIENCE_MS = 30_000

Watch = Callable[[int, LedgerLine], None]


class ProcessRun(Data):
    """A process that came to its end, one way or the other. Times are wall clock."""

    pid: int
    returncode: int
    started_at_ms: int
    ended_at_ms: int
    output: bytes
    errors: str


class Stage:
    """The files in which the two processes meet.

    Args:
        folder: Where they lie.
        clock: Times the processes.
        begun: Told the pid of each process as it begins.
        watch: Told of each line of the ledger as it appears, with the process's starting time.
    """

    def __init__(
        self, folder: Path, clock: Clock, begun: Callable[[int], None], watch: Watch
    ) -> None:
        self.database = folder / "demo.db"
        self.ledger = folder / "ledger.jsonl"
        self._clock = clock
        self._begun = begun
        self._watch = watch
        self._seen = 0

    def drive(self, kill: KillPoint) -> ProcessRun:
        """Run the process that begins the turn and is killed."""
        return self._run("drive", kill.seam, str(kill.nth))

    def resume(self) -> ProcessRun:
        """Run the process that finds the turn."""
        return self._run("resume")

    def _run(self, mode: str, *arguments: str) -> ProcessRun:
        # -P: a file of the current directory must not pass for a module of ours.
        worker = [sys.executable, "-P", "-m", "lash.cli.demo.worker", mode]
        files = [str(self.database), str(self.ledger)]
        started_at_ms = self._clock.now_ms()
        process = subprocess.Popen(  # noqa: S603  our own module and our own paths
            [*worker, *files, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._begun(process.pid)
        try:
            output, errors = self._follow(process, started_at_ms)
        finally:
            if process.poll() is None:  # interrupted: leave nobody behind
                process.kill()
                process.wait()
        return ProcessRun(
            pid=process.pid,
            returncode=process.returncode,
            started_at_ms=started_at_ms,
            ended_at_ms=self._clock.now_ms(),
            output=output,
            errors=errors.decode(errors="replace"),
        )

    def _follow(
        self, process: "subprocess.Popen[bytes]", started_at_ms: int
    ) -> tuple[bytes, bytes]:
        while True:
            try:
                ended = process.communicate(timeout=_LOOK_S)
            except subprocess.TimeoutExpired:
                if self._clock.now_ms() - started_at_ms > _PATIENCE_MS:
                    process.terminate()  # asked, not killed: a kill is what the demo looks for
                ended = None
            for line in self._new_lines():
                self._watch(started_at_ms, line)
            if ended is not None:
                return ended

    def _new_lines(self) -> Sequence[LedgerLine]:
        lines = read_ledger(self.ledger)
        fresh = lines[self._seen :]
        self._seen = len(lines)
        return fresh
