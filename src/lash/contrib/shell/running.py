"""One command under its supervisor: begun, read from, asked to end, and never left behind."""

import asyncio
import errno
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from lash.contrib.shell import supervisor
from lash.core.json import Data
from lash.effects.shielding import shielded
from lash.tools.model import ToolError

T = TypeVar("T")

#: How much is read at once, in bytes.
CHUNK = 65_536

#: How long output is waited for that comes behind the end of its command, in seconds.
DRAIN_S = 1.0

#: How long a supervisor may take to end all there is, in seconds.
REAP_S = supervisor.KILL_S + 1.0


class Launch(Data):
    """What is to be run.

    Attributes:
        command: The program, with its path, and its arguments.
        folder: Where.
        env: Its whole environment.
        terminal: The size of its terminal, rows and columns; None for a pipe and no input.
    """

    command: Sequence[str]
    folder: str
    env: Mapping[str, str]
    terminal: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Launch({self.command!r}, folder={self.folder!r}, env=<hidden>)"


class Ended(Data):
    """How a command ended.

    Attributes:
        exit_code: What it returned; None if a signal ended it, or nobody knows.
        signal: The signal that ended it.
        left: How many of its processes could not be ended.
    """

    exit_code: int | None = None
    signal: int | None = None
    left: int = 0


class _Report(msgspec.Struct):
    """A line of the supervisor's."""

    pid: int | None = None
    error: str | None = None
    exit: int | None = None
    left: int | None = None


class Command:
    """A running command. `close` it in any case: then nothing of it is left.

    Args:
        launch: What to run.
        on_output: Told what it prints, on the event loop.

    Raises:
        ToolError: `shell_unavailable`: it cannot be begun.
    """

    def __init__(self, launch: Launch, on_output: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_output = on_output
        self._output: int | None = None
        self._status: int | None = None
        self._reports = b""
        self._pid: int | None = None
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[Ended] = self._loop.create_future()
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._reading = self._rushing = False
        try:
            self._supervisor, self._control, self._status = self._spawn(launch)
        except OSError as error:
            self._close_descriptors()
            said = error.strerror or str(error)
            raise ToolError(
                f"The command cannot be begun: {said}.",
                code="shell_unavailable",
                failure_class="unavailable",
            ) from error
        self.resume()
        self._loop.add_reader(self._status, self._read_status)

    def _spawn(self, launch: Launch) -> "tuple[subprocess.Popen[bytes], int, int]":
        asked = {
            "command": list(launch.command),
            "folder": launch.folder,
            "env": dict(launch.env),
            "terminal": launch.terminal is not None,
        }
        if launch.terminal is None:
            self._output, theirs = os.pipe()
        else:
            self._output, theirs = pty.openpty()
            set_size(self._output, *launch.terminal)
        reports, status = os.pipe()
        given, control = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603  our own program, in our own interpreter
                [sys.executable, "-I", "-S", str(Path(supervisor.__file__)), str(status)],
                stdin=given,
                stdout=theirs,
                stderr=subprocess.DEVNULL,
                pass_fds=(status,),
                start_new_session=True,
            )
        except BaseException:
            os.close(control)
            os.close(reports)
            raise
        finally:
            for each in (given, theirs, status):
                os.close(each)
        os.set_blocking(self._output, False)
        os.set_blocking(reports, False)
        try:
            _write_all(control, msgspec.json.encode(asked) + b"\n")
        except OSError:
            pass  # it died; its status comes to an end and says so
        return process, control, reports

    # --- reading --------------------------------------------------------------------------------

    def pause(self) -> None:
        """Read no more for now; a command that goes on printing is made to wait."""
        if not self._rushing:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading and self._output is not None:
            self._loop.remove_reader(self._output)
            self._reading = False

    def resume(self) -> None:
        """Read on."""
        if not self._reading and not self._drained.done() and self._output is not None:
            self._loop.add_reader(self._output, self._read_output)
            self._reading = True

    def _read_output(self) -> None:
        if self._output is None:
            return
        try:
            data = os.read(self._output, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # how a terminal tells that nobody has it open any more
            data = b""
        if data:
            self._on_output(data)
            return
        self._stop_reading()
        _settle(self._drained, None)

    def _read_status(self) -> None:
        if self._status is None:
            return
        try:
            data = os.read(self._status, 4096)
        except BlockingIOError:
            return
        self._reports += data
        *lines, self._reports = self._reports.split(b"\n")
        for line in lines:
            self._report(msgspec.json.decode(line, type=_Report))
        if not data:
            self._loop.remove_reader(self._status)
            self._report(_Report(error="its supervisor was killed"))
            self._lost()

    def _report(self, report: _Report) -> None:
        if report.error is not None and not self._started.done():
            error = ToolError(
                f"The command cannot be begun: {report.error}.",
                code="shell_unavailable",
                failure_class="unavailable",
            )
            self._started.set_exception(error)
            self._started.exception()  # whoever waits is told; nobody need wait
        elif report.left is not None:
            code = report.exit
            by_signal = code is not None and code < 0
            ended = Ended(
                exit_code=None if by_signal else code,
                signal=-code if by_signal and code is not None else None,
                left=report.left,
            )
            _settle(self._ended, ended)
        elif report.pid is not None:
            self._pid = report.pid
            _settle(self._started, None)

    def _lost(self) -> None:
        """The supervisor is gone. If it was killed, the command's group is ended from here."""
        if not self._ended.done() and self._pid is not None:
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except OSError:
                pass  # it is gone as well
        _settle(self._ended, Ended())

    # --- what is asked of it --------------------------------------------------------------------

    async def started(self) -> None:
        """Wait until it runs.

        Raises:
            ToolError: `shell_unavailable`: it cannot be begun.
        """
        await asyncio.shield(self._started)

    async def ended(self) -> Ended:
        """Wait until it and all that it left behind have ended, and its output was read."""
        ended = await asyncio.shield(self._ended)
        # What is left to read is what fits into a pipe.
        self.resume()
        self._rushing = True
        # What could not be ended may hold the output open; what it says is not waited for.
        await asyncio.wait({self._drained}, timeout=DRAIN_S)
        return ended

    def ask_to_end(self) -> None:
        """Ask it to end; what does not within a grace is made to."""
        self._tell(b"T")

    def kill(self) -> None:
        """Make it end, with all that it left behind."""
        control, self._control = self._control, -1
        if control >= 0:
            os.close(control)

    def _tell(self, word: bytes) -> None:
        if self._control >= 0:
            try:
                os.write(self._control, word)
            except OSError:
                pass  # it has ended

    def write(self, data: bytes) -> int:
        """Type something into its terminal; how much of it was taken.

        Raises:
            BlockingIOError: Nothing was; it does not read what was typed before.
            OSError: Nobody has the terminal open any more.
        """
        if self._output is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.write(self._output, data)

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        if self._output is not None:
            set_size(self._output, rows, columns)

    async def close(self) -> None:
        """End what is left, and wait for its end: also when the task that asks is being cancelled."""
        self.kill()
        try:
            await shielded(self._reaped())
        finally:
            self._close_descriptors()

    async def _reaped(self) -> None:
        await asyncio.wait({self._ended}, timeout=REAP_S)
        if not self._ended.done():
            self._supervisor.kill()
        # It has told its last; what is left of it is the time the system takes.
        for _ in range(1000):
            if self._supervisor.poll() is not None:
                return
            await asyncio.sleep(0.002)

    def _close_descriptors(self) -> None:
        self._stop_reading()
        if self._output is not None:
            os.close(self._output)
            self._output = None
        if self._status is not None:
            self._loop.remove_reader(self._status)
            os.close(self._status)
            self._status = None


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal how large it is."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _settle(future: "asyncio.Future[T]", value: T) -> None:
    if not future.done():
        future.set_result(value)


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
