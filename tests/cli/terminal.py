"""A terminal of our own: a command in a pty, and what its screen shows.

It understands the little that a line-oriented program sends. Nothing here sleeps for a fixed time: a
test says what it waits for, and gets the screen when that does not come.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from cli_harness import clean_environment

_SEQUENCE = re.compile(
    r"\x1b(?:\[([0-9;?]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78M])"
)
_DEADLINE_S = 30.0

ENTER, TAB, ESC, CTRL_C, CTRL_D = "\r", "\t", "\x1b", "\x03", "\x04"


class Screen:
    """Rows of characters, growing downwards for ever: what scrolled away can still be read."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.height = columns, rows
        self._cells: list[list[str]] = [[]]
        self._row = self._column = 0
        self._pending = ""
        self._wraps = True

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def feed(self, data: str) -> None:
        data = self._pending + data
        at = 0
        while at < len(data):
            if data[at] == "\x1b":
                found = _SEQUENCE.match(data, at)
                if found is None:
                    break  # the rest of it is still to come
                self._control(found[1] or "", found[2] or "")
                at = found.end()
            else:
                self._char(data[at])
                at += 1
        self._pending = data[at:]

    def _char(self, char: str) -> None:
        match char:
            case "\n":
                self._row += 1
            case "\r":
                self._column = 0
            case "\b":
                self._column = max(0, self._column - 1)
            case "\x07":
                pass
            case _:
                if self._column >= self.columns and self._wraps:
                    self._row, self._column = self._row + 1, 0
                self._put(char)
        while len(self._cells) <= self._row:
            self._cells.append([])

    def _put(self, char: str) -> None:
        while len(self._cells) <= self._row:
            self._cells.append([])
        row, column = self._cells[self._row], min(self._column, self.columns - 1)
        row.extend(" " * (column + 1 - len(row)))
        row[column] = char
        self._column += 1

    def _control(self, arguments: str, final: str) -> None:  # noqa: C901  a case per sequence
        number = int(arguments) if arguments.isdigit() else 0
        match final:
            case "A":
                self._row = max(0, self._row - max(1, number))
            case "B":
                self._row += max(1, number)
            case "C":
                self._column = min(self.columns - 1, self._column + max(1, number))
            case "D":
                self._column = max(0, min(self._column, self.columns - 1) - max(1, number))
            case "H" if arguments in {"", "1;1"}:
                self._row = self._column = 0  # the screen's top, while nothing has scrolled away
            case "G":
                self._column = max(0, number - 1)
            case "K":
                del self._cells[self._row][self._column :]
            case "J" if number == 0:
                del self._cells[self._row][self._column :]
                del self._cells[self._row + 1 :]
            case "h" | "l" if arguments == "?7":
                self._wraps = final == "h"
            case _:
                pass  # colours and modes
        while len(self._cells) <= self._row:
            self._cells.append([])


class Terminal:
    """A running command and its terminal."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        columns: int = 100,
        rows: int = 30,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.screen = Screen(columns, rows)
        self.raw = ""
        self._master, self._slave = pty.openpty()
        self._resize(columns, rows)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lash", *arguments],
            cwd=cwd,
            env=clean_environment() | {"TERM": "xterm-256color"} | dict(env or {}),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509  no threads here
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        os.close(self._master)
        os.close(self._slave)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def say(self, text: str) -> None:
        """Type a line and press Enter, once the terminal has shown the line."""
        self.write(text)
        self.type(ENTER)

    def write(self, text: str) -> None:
        """Type a line and wait until the input line shows it."""
        self.type(text)
        self.until(lambda: self.input == text, f"the input line {text!r}")

    @property
    def input(self) -> str:
        """What the input line holds: it is the last line there is."""
        last = next((line for line in reversed(self.screen.lines) if line), "")
        return last.removeprefix("> ").removeprefix(">") if last.startswith(">") else ""

    def see(self, text: str, times: int = 1) -> None:
        """Wait until the screen shows a text."""
        self.until(lambda: self.screen.text.count(text) >= times, repr(text))

    def until(self, condition: Callable[[], bool], what: str, seconds: float = _DEADLINE_S) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                if condition():
                    return
                raise AssertionError(f"never saw {what}:\n{self.screen.text}")

    def resize(self, columns: int, rows: int) -> None:
        self.screen.columns, self.screen.height = columns, rows
        self._resize(columns, rows)
        os.kill(self._process.pid, signal.SIGWINCH)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def modes(self) -> int:
        """The terminal's local modes, such as `termios.ICANON`."""
        modes: int = termios.tcgetattr(self._slave)[3]
        return modes

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ended(self) -> int:
        """Wait for the command's end; its exit code. No command ever shows a traceback."""
        deadline = time.monotonic() + _DEADLINE_S
        while self._process.poll() is None and time.monotonic() < deadline:
            self._read(0.02)
        code = self._process.wait(timeout=1)
        while self._read(0):
            pass
        assert "Traceback" not in self.raw, self.raw
        return code

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], seconds)
        try:
            data = os.read(self._master, 65_536) if ready else b""
        except OSError:  # nobody holds the other end any more
            return False
        text = data.decode(errors="replace")
        self.raw += text
        self.screen.feed(text)
        return bool(data)

    def _resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
