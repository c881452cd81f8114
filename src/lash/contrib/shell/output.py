"""What a command prints: its end kept, all of it in a file if it is long, and cleaned for reading."""

import os
import re
from collections import deque

from lash.core.json import Data

#: How much of an output's end is kept in memory, in bytes.
KEPT_BYTES = 512_000

#: An output that is longer goes into a file, in bytes.
SPILL_ABOVE = 50 * 1024

#: How much of it goes there at most, in bytes; what comes behind is dropped.
SPILL_MOST = 64 * 1024 * 1024

#: Colours and cursor movements, titles and other messages to a terminal, and the shorter codes.
_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]+[0-~]"
    r"|\x1b[0-~]?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def cleaned(text: str) -> str:
    """Text without what only a terminal understands."""
    text = _ANSI.sub("", text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text)


def decoded(data: bytes) -> str:
    """Bytes as text; what is no UTF-8 becomes a mark, and half a character at the start is left out."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:].decode("utf-8", "replace")


class Spilled(Data):
    """Where all of an output is.

    Attributes:
        path: The file, which only its owner may read.
        complete: Whether all of it is there; else it was too much, or could not be written.
    """

    path: str
    complete: bool


class Output:
    """What one command has printed.

    Args:
        folder: Where long output goes; None for nowhere.
        name: What the file is called there.
    """

    def __init__(self, folder: str | None, name: str) -> None:
        self._folder = folder
        self._name = name
        self._chunks: deque[bytes] = deque()
        self._kept = 0
        self._file: int | None = None
        self._written = 0
        self._complete = True
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take note of what was printed."""
        if self._file is None and self.size + len(data) > SPILL_ABOVE and self._folder is not None:
            self._spill()
        self.size += len(data)
        self._chunks.append(data)
        self._kept += len(data)
        while self._kept - len(self._chunks[0]) >= KEPT_BYTES:
            self._kept -= len(self._chunks.popleft())
        self._write(data)

    def _spill(self) -> None:
        """Begin the file, with what is kept, which is all there was so far."""
        folder = self._folder or ""
        path = os.path.join(folder, self._name)  # noqa: PTH118  the name is text from a hash
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103  as above
            try:
                os.unlink(path)  # noqa: PTH108  left by a call that died
            except FileNotFoundError:
                pass
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o600)
        except OSError:
            self._folder = None  # it goes on without
            return
        for chunk in self._chunks:
            self._write(chunk)

    def _write(self, data: bytes) -> None:
        if self._file is None or not self._complete:
            return
        left = memoryview(data)[: SPILL_MOST - self._written]
        self._complete = len(left) == len(data)
        self._written += len(left)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            self._complete = False  # the disk is full

    def close(self) -> Spilled | None:
        """Close the file, if there is one; where it is."""
        if self._file is None:
            return None
        os.close(self._file)
        self._file = None
        path = os.path.join(self._folder or "", self._name)  # noqa: PTH118  as above
        return Spilled(path=path, complete=self._complete)

    @property
    def text(self) -> str:
        """The end of what was printed, cleaned."""
        data = b"".join(self._chunks)
        return cleaned(decoded(data[-KEPT_BYTES:]))
