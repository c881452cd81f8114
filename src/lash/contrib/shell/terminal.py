"""A command in a terminal, as a durable process: begun once, typed into by signals, read by its events.

It is bound to its worker: a terminal lives in the machine that made it, and cannot be begun again
elsewhere. When the worker dies the command is ended, and the process ends as `abandoned`.
"""

import asyncio
import codecs
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from lash.contrib.shell.output import Output
from lash.contrib.shell.running import Command, Ended, Launch
from lash.core.errors import LashError, ProcessCancelledError
from lash.core.json import Data
from lash.runtime.processes.context import ProcessContext
from lash.tools.model import ToolError

#: What its processes are known by.
NAME = "shell_command"

#: What its events are called.
OUTPUT = "output"

#: How much one event holds, in bytes.
EVENT_BYTES = 16 * 1024

#: How much all events of a command hold, in bytes; what comes behind is only in the file.
EVENTS_BYTES = 1024 * 1024

#: Output that comes within this time is told together, in seconds.
GATHER_S = 0.05

#: How much is read ahead of what was told; a command that prints more is made to wait. In bytes.
_AHEAD = 4 * EVENT_BYTES

#: How long typing waits for a command that does not read, in seconds.
_TYPE_S = 10.0


class Stdin(Data):
    """What is typed: text, and then perhaps the end of input."""

    chars: Annotated[str, msgspec.Meta(max_length=65_536)] = ""
    close_stdin: bool = False


class Resize(Data):
    """How large the terminal is to be."""

    rows: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    columns: Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Printed(Data):
    """What was printed: text as it came, with what only terminals understand.

    Attributes:
        text: The text; "" where there was too much.
        dropped: From here on no more is told.
    """

    text: str = ""
    dropped: bool = False


class Finished(Data):
    """How a command in a terminal ended.

    Attributes:
        exit_code: What it returned; None if a signal ended it.
        signal: The signal that ended it.
        output_bytes: How much it printed.
        full_output_path: Where all of that is, if it was much, in the machine it ran in.
        left_running: How many of its processes could not be ended.
    """

    exit_code: int | None = None
    signal: int | None = None
    output_bytes: int = 0
    full_output_path: str | None = None
    left_running: int = 0


class Terminal:
    """One command in a terminal, for the process that runs it."""

    def __init__(self, ctx: ProcessContext, launch: Launch, output: Output) -> None:
        self._ctx = ctx
        self._output = output
        self._pending = bytearray()
        self._news = asyncio.Event()
        self._told = 0
        self._over = self._dropped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._command = Command(launch, self._take)

    async def run(self) -> Finished:
        """Until it has ended; whatever happens, nothing of it is left.

        Raises:
            ProcessCancelledError: It was told to stop, and has stopped.
            LashError: `process_failed`: it cannot be begun.
        """
        try:
            await self._command.started()
            ended = await self._to_its_end()
        except ToolError as error:
            raise LashError("process_failed", error.failure.message) from error
        finally:
            await self._command.close()
            spilled = self._output.close()
        return Finished(
            exit_code=ended.exit_code,
            signal=ended.signal,
            output_bytes=self._output.size,
            full_output_path=spilled.path if spilled else None,
            left_running=ended.left,
        )

    def _take(self, data: bytes) -> None:
        """Something was printed."""
        self._output.add(data)
        if not self._dropped:
            self._pending += data
            if len(self._pending) > _AHEAD:
                self._command.pause()
        self._news.set()

    async def _to_its_end(self) -> Ended:
        """Type, resize and tell until it ends; if the process is told to stop, end it and tell the rest."""
        inputs = [
            asyncio.create_task(self._typing(), name="lash-terminal-stdin"),
            asyncio.create_task(self._resizing(), name="lash-terminal-resize"),
        ]
        telling = asyncio.create_task(self._telling(), name="lash-terminal-output")
        ending = asyncio.create_task(self._command.ended(), name="lash-terminal-end")
        everything: set[asyncio.Task[Any]] = {*inputs, telling, ending}
        try:
            await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                self._command.ask_to_end()
            ended = await ending
            for each in inputs:
                each.cancel()
            self._over = True
            self._news.set()
            await asyncio.wait({telling, *inputs})
        finally:
            for each in everything:
                each.cancel()
        await self._tell_rest()  # if that was what it was told to stop in
        _raise_what_came_of({telling, *inputs})
        return ended

    async def _typing(self) -> None:
        while True:
            typed = await self._ctx.signal("stdin", Stdin)
            data = typed.chars.encode() + (b"\x04" if typed.close_stdin else b"")
            try:
                async with asyncio.timeout(_TYPE_S):
                    await self._type(data)
            except TimeoutError:
                pass  # it does not read, and what it was told is lost, as on any terminal

    async def _type(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._command.write(data) :]
            except BlockingIOError:
                await asyncio.sleep(0.02)
            except OSError:
                return  # nobody has the terminal open any more

    async def _resizing(self) -> None:
        while True:
            size = await self._ctx.signal("resize", Resize)
            self._command.resize(size.rows, size.columns)

    async def _telling(self) -> None:
        """Tell what was printed, some at a time, until the command has ended and all was told."""
        while True:
            await self._news.wait()
            self._news.clear()  # first: what comes from here on is looked at in the next round
            over = self._over
            if not over and len(self._pending) < EVENT_BYTES:
                await asyncio.sleep(GATHER_S)
            await self._tell_rest()
            if over:
                return

    async def _tell_rest(self) -> None:
        while self._pending and self._told < EVENTS_BYTES:
            most = min(EVENT_BYTES, EVENTS_BYTES - self._told)
            data = bytes(self._pending[:most])
            del self._pending[:most]
            self._told += len(data)
            text = self._decoder.decode(data)
            if text:
                await self._ctx.emit(OUTPUT, Printed(text=text))
        if self._pending and not self._dropped:
            self._dropped = True
            await self._ctx.emit(OUTPUT, Printed(dropped=True))
        if self._dropped:
            self._pending.clear()
        self._command.resume()


def _raise_what_came_of(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Raise what ended one of them, if it was no cancellation of ours; that it is to stop comes last."""
    errors = [
        error for task in tasks if not task.cancelled() and (error := task.exception()) is not None
    ]
    errors.sort(key=lambda error: isinstance(error, ProcessCancelledError))
    if errors:
        raise errors[0]
