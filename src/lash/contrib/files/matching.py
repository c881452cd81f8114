"""What `grep` looks for: plain text here, expressions in a process of their own that can be stopped."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from lash.contrib.files import regex_worker
from lash.contrib.files.root import refusal
from lash.tools.model import ToolError

#: How long an expression may take in all, in seconds.
REGEX_S = 10.0

#: How long the search program may take, in seconds.
_NARROW_S = 20.0

T = TypeVar("T")

_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")


class LineMatcher(Protocol):
    """Finds lines in files."""

    def lines(self, data: bytes, most: int) -> list[tuple[int, str]]:
        """The numbers and texts of the first lines that match, at most so many."""
        ...


def is_plain(pattern: str) -> bool:
    """Whether an expression is nothing but text."""
    return _SPECIAL.search(pattern) is None


class _Plain:
    """Finds text, which cannot run away."""

    def __init__(self, text: str, *, ignore_case: bool) -> None:
        self._pattern = re.compile(re.escape(text), re.IGNORECASE if ignore_case else 0)
        self._needle = None if ignore_case else text.encode()

    def lines(self, data: bytes, most: int) -> list[tuple[int, str]]:
        """The first lines that hold it."""
        if self._needle is not None and self._needle not in data:
            return []
        return regex_worker.find(self._pattern, data, most)


class _Begun(msgspec.Struct):
    """What the process says first."""

    error: str | None = None


class _Worker:
    """Finds an expression by means of a process of its own."""

    def __init__(self, worker: "subprocess.Popen[bytes]") -> None:
        self._worker = worker

    def begin(self, pattern: str, *, ignore_case: bool) -> None:
        asked = {"pattern": pattern, "ignore_case": ignore_case}
        told = self._ask(json.dumps(asked).encode() + b"\n", _Begun)
        if told.error is not None:
            raise refusal("pattern_invalid", f"{pattern!r} is no regular expression: {told.error}.")

    def lines(self, data: bytes, most: int) -> list[tuple[int, str]]:
        """The first lines that match."""
        return self._ask(b"%d %d\n" % (len(data), most) + data, list[tuple[int, str]])

    def _ask(self, data: bytes, kind: type[T]) -> T:
        given, told = self._worker.stdin, self._worker.stdout
        answer = b""
        try:
            if given is not None and told is not None:
                given.write(data)
                given.flush()
                answer = told.readline()
        except OSError:
            pass  # it was killed
        if not answer:
            raise ToolError(
                f"The expression took longer than {REGEX_S:g} s; make it simpler, or look in fewer files.",
                code="pattern_too_slow",
                failure_class="timeout",
            )
        return msgspec.json.decode(answer, type=kind)


@contextmanager
def matcher(pattern: str, *, ignore_case: bool) -> Iterator[LineMatcher]:
    """What finds an expression, for as long as it is needed.

    Raises:
        ToolError: `pattern_invalid`; from its `lines`, `pattern_too_slow`.
    """
    if is_plain(pattern):
        yield _Plain(pattern, ignore_case=ignore_case)
        return
    program = Path(regex_worker.__file__)
    worker = subprocess.Popen(  # noqa: S603  our own program, in our own interpreter
        [sys.executable, "-I", "-S", str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    patience = threading.Timer(REGEX_S, worker.kill)
    patience.daemon = True
    patience.start()
    try:
        asking = _Worker(worker)
        asking.begin(pattern, ignore_case=ignore_case)
        yield asking
    finally:
        patience.cancel()
        worker.kill()
        worker.communicate()


def narrowed(folder: str, text: str, *, ignore_case: bool) -> frozenset[str] | None:
    """The files below a folder that may hold a text, by ripgrep; None where it cannot tell.

    It is a hint, and nothing is shown because of it: files are opened and looked through here. So what
    is found is the same with it and without it.
    """
    program = shutil.which("rg")
    if program is None:
        return None
    command = [program, "--no-config", "--no-messages", "--no-ignore", "--hidden", "--text"]
    command += ["--encoding", "none", "--glob", "!.git", "--glob", "!node_modules"]
    command += ["--fixed-strings", "--files-with-matches", "--null"]
    command += ["--ignore-case"] if ignore_case else []
    try:
        done = subprocess.run(  # noqa: S603  no shell, and the text stands behind `-e`
            [*command, "-e", text, "--", "."],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_NARROW_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode not in {0, 1}:
        return None
    names = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    return frozenset(name.removeprefix("./") for name in names if name)
