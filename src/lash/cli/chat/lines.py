"""A chat without a terminal: every line of stdin is a turn, or a command."""

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping

from lash.app.agent import Agent
from lash.app.runtime import Runtime
from lash.app.session import Session
from lash.cli.chat.commands import Commands, error_text, is_command, is_quit, sent_text
from lash.cli.chat.screen import Kind, Screen
from lash.cli.live import LivePrinter
from lash.cli.output import note
from lash.cli.wording import counted
from lash.core.errors import LashError, SessionBusyError

_CHUNK = 65_536


class PlainScreen:
    """Answers to stdout, everything beside them to stderr."""

    def line(self, text: str, kind: Kind = "note") -> None:
        """Print text."""
        if kind in {"error", "warning"}:
            note(text, "red" if kind == "error" else "yellow")
        else:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def refresh(self) -> None:
        """Nothing is shown that could change."""


class LineChat:
    """Takes lines one after the other; `failed` tells whether a turn was stopped or refused."""

    def __init__(self, runtime: Runtime, session: Session, agents: Mapping[str, Agent]) -> None:
        self.runtime = runtime
        self.session = session
        self.screen: Screen = PlainScreen()
        self.failed = False
        self._commands = Commands(self, agents)

    async def switch(self, session: Session) -> None:
        """Talk to another session."""
        self.session = session

    async def run(self) -> None:
        """Take every line of stdin."""
        info = await self.session.info()
        if info is not None and info.open_turns:
            note(f"[resume] {counted(info.open_turns, 'turn')} accepted before: finished first")
        async for line in _lines():
            if is_quit(line):
                return
            if line.strip():
                await self._take(line)

    async def _take(self, line: str) -> None:
        try:
            if is_command(line):
                await self._commands.run(line)
            else:
                await self._turn(sent_text(line))
        except LashError as error:
            self.failed = True
            self.screen.line(error_text(error), "error")

    async def _turn(self, text: str) -> None:
        printer = LivePrinter(sys.stdout)
        try:
            async with self.session.stream(text) as live:
                async for event in live:
                    printer.show(event)
                result = await live.result()
        except SessionBusyError:
            note("[queue] another process drives this session; it takes the line next")
            result = await (await self.session.enqueue(text)).result()
        printer.finish(result)
        self.failed = self.failed or not result.is_success


async def _lines() -> AsyncIterator[str]:
    """The lines of stdin, read in a thread that nobody has to wait for."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        while True:
            try:
                # Not through sys.stdin: the interpreter could not end while its lock is held.
                chunk = os.read(0, _CHUNK)
            except OSError:
                chunk = b""
            try:
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            except RuntimeError:
                return  # the loop has ended
            if not chunk:
                return

    threading.Thread(target=read, name="lash-stdin", daemon=True).start()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    while chunk := await chunks.get():
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield line.removesuffix("\r")
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest
