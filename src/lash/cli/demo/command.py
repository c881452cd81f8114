"""`lash demo`: kill a turn, let another process finish it, and check what ran."""

import asyncio
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from lash.cli.demo.plan import KillPoint
from lash.cli.demo.processes import ProcessRun, Stage
from lash.cli.demo.report import DemoReport, collect, report_json
from lash.cli.demo.screen import Screen
from lash.cli.demo.worker import SESSION, ResumeReport
from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import console, note
from lash.core.clock import SystemClock
from lash.core.errors import ConfigurationError, LashError


def demo(kill: KillPoint, *, keep: Path | None, as_json: bool) -> int:
    """Run the demo; 0 when every promise was kept.

    Raises:
        LashError: `usage_invalid`, or `demo_failed` when a process did not do its part.
    """
    with ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lash-demo-")))
        else:
            folder = _prepare(keep)
        screen = None if as_json else Screen(console())
        if screen is not None:
            screen.open(kill)
        report = _perform(kill, folder, screen)
        if screen is None:
            write_json(report_json(report, keep))
        else:
            screen.finish(report)
    if keep is not None and not as_json:
        note(f"Kept in {keep}. Look around: lash show {SESSION} --db {keep / 'demo.db'}")
    if report.ok:
        return ExitCode.DONE
    note(f"The demo failed: {' '.join(report.verdict.problems)}", "red")
    return ExitCode.FAILED


def _prepare(keep: Path) -> Path:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise ConfigurationError(
                "usage_invalid", f"{keep} is not empty; --keep wants a new or empty folder."
            )
    except OSError as error:
        raise ConfigurationError(
            "usage_invalid", f"--keep {keep}: the folder cannot be used: {error.strerror}."
        ) from error
    return keep


def _perform(kill: KillPoint, folder: Path, screen: Screen | None) -> DemoReport:
    begun: list[int] = []

    def begin(pid: int) -> None:
        begun.append(pid)
        if screen is not None:
            screen.begin(pid, len(begun))

    stage = Stage(
        folder,
        SystemClock(asyncio.sleep),
        begin,
        screen.watch if screen is not None else lambda *_: None,
    )
    first = stage.drive(kill)
    _expect_killed(first, kill)
    if screen is not None:
        screen.killed(first)
    second = stage.resume()
    if second.returncode != 0:
        raise _failed("second", second)
    resume = msgspec.json.decode(second.output, type=ResumeReport)
    return asyncio.run(collect(kill, (first, second), resume, stage.database, stage.ledger))


def _expect_killed(run: ProcessRun, kill: KillPoint) -> None:
    if run.returncode == 0:
        raise ConfigurationError(
            "usage_invalid",
            f"The turn passes {kill.seam} fewer than {kill.nth} times, so the process was never "
            "killed. Choose a smaller number.",
        )
    if run.returncode != -signal.SIGKILL:
        raise _failed("first", run)


def _failed(which: str, run: ProcessRun) -> LashError:
    said = run.errors.strip().splitlines()
    return LashError(
        "demo_failed",
        f"The {which} process (pid {run.pid}) ended with return code {run.returncode}: "
        f"{said[-1] if said else 'it said nothing'}",
    )
