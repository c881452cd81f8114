"""A chat in a terminal: a line to type in, what is under way above it, and everything said above that."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from lash.app.agent import Agent
from lash.app.runtime import Runtime
from lash.app.session import Session
from lash.cli.chat.commands import Commands, is_command, is_quit, sent_text
from lash.cli.chat.conversation import Conversation
from lash.cli.chat.screen import Kind
from lash.cli.exit_codes import ExitCode
from lash.cli.wording import printable

_STYLES: Mapping[Kind, str] = {
    "user": "ansicyan bold",
    "answer": "",
    "note": "ansibrightblack",
    "tool": "ansimagenta",
    "warning": "ansiyellow",
    "error": "ansired",
}
_STYLE = Style([])
#: How many seconds a lone Esc is waited on, in case it begins the sequence of another key.
_ESCAPE_S = 0.05
#: Rows that are left to the input and the line of help, however much is under way.
_ROWS_LEFT = 4
_HINT_RUNNING = "Esc: stop · Enter: into this turn · Tab: next turn"
_HINT_IDLE = "Enter: send · /help · Ctrl-D: leave"


class TerminalChat:
    """The chat of one terminal. `run` returns the exit code."""

    def __init__(self, runtime: Runtime, session: Session, agents: Mapping[str, Agent]) -> None:
        self._conversation = Conversation(runtime, session, self)
        self._commands = Commands(self._conversation, agents)
        # Where the cursor stands is never asked for: the answer would end up in the input.
        self._output = Vt100_Output(
            sys.stdout, _size, term=os.environ.get("TERM"), enable_cpr=False
        )
        self._buffer = Buffer(multiline=False, accept_handler=self._accept)
        self._interrupted = False
        self._app = self._application()

    async def run(self) -> int:
        """Talk until the user leaves."""
        try:
            await self._conversation.open()
            # Ended from outside, the terminal is put in order first.
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self._exit, ExitCode.INTERRUPTED)
            return await self._app.run_async()
        finally:
            await self._conversation.close()

    def tell_left(self) -> None:
        """Say what became of a turn that was left."""
        if self._conversation.running:
            self.line(
                "[left] what was accepted stays so: it is gone on with when the session is opened"
            )

    # --- what is shown ------------------------------------------------------------------------------

    def line(self, text: str, kind: Kind = "note") -> None:
        """Show text for good, above the input."""
        shown = self._app.is_running
        if shown:
            self._app.renderer.erase()
        # Not by the shortcut of this name, which gives the keyboard away meanwhile.
        fragments = [(_STYLES[kind], printable(text).expandtabs(4)), ("", "\n")]
        print_formatted_text(self._output, FormattedText(fragments), _STYLE)
        if shown:
            self._app.renderer.reset()
            self._app.invalidate()

    def refresh(self) -> None:
        """What is under way has changed."""
        self._app.invalidate()

    def _application(self) -> Application[int]:
        above = Window(
            FormattedTextControl(self._under_way), dont_extend_height=True, always_hide_cursor=True
        )
        line = Window(
            BufferControl(self._buffer, input_processors=[BeforeInput("> ", "ansicyan bold")]),
            dont_extend_height=True,
            wrap_lines=True,
        )
        app: Application[int] = Application(
            layout=Layout(HSplit([above, line]), focused_element=line),
            key_bindings=self._keys(),
            output=self._output,
            erase_when_done=True,
            refresh_interval=1.0,  # durations grow
        )
        app.ttimeoutlen = app.timeoutlen = _ESCAPE_S
        return app

    def _under_way(self) -> FormattedText:
        size = self._output.get_size()
        rows: list[tuple[str, str]] = []
        for text, kind in self._conversation.under_way():
            rows += [(_STYLES[kind], row) for row in wrapped(printable(text), size.columns)]
        rows = rows[-max(1, size.rows - _ROWS_LEFT) :]
        hint = _HINT_RUNNING if self._conversation.running else _HINT_IDLE
        about = f"{self._conversation.session.id} · {hint}"
        rows.append((_STYLES["note"], next(wrapped(printable(about), size.columns), "")))
        last = len(rows) - 1
        return FormattedText(
            [(style, row if at == last else f"{row}\n") for at, (style, row) in enumerate(rows)]
        )

    # --- keys ---------------------------------------------------------------------------------------

    def _accept(self, buffer: Buffer) -> bool:
        self._interrupted = False
        line = buffer.text.strip()
        if not line:
            return False
        if is_quit(line):
            self._exit(ExitCode.DONE)
        elif is_command(line):
            self.line(line)
            self._conversation.aside(self._commands.run(line))
        else:
            self._conversation.say(sent_text(line))
        return False  # the line is emptied

    def _next(self) -> None:
        self._interrupted = False
        line = self._buffer.text.strip()
        if not line:
            return
        if is_command(line):
            self._buffer.validate_and_handle()
            return
        self._buffer.append_to_history()
        self._buffer.reset()
        self._conversation.say_next(sent_text(line))

    def _interrupt(self) -> None:
        """The first time stops the turn, or empties the line; the second time leaves."""
        if self._interrupted:
            self._exit(ExitCode.INTERRUPTED)
            return
        self._interrupted = True
        if self._conversation.running:
            self._conversation.stop()
        self._buffer.reset()
        self.line("Ctrl-C again leaves.")

    def _exit(self, code: ExitCode) -> None:
        if self._app.is_running and not self._app.is_done:
            self.tell_left()
            self._app.exit(result=code)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("tab")
        def _(event: KeyPressEvent) -> None:
            del event
            self._next()

        @keys.add("escape", eager=True)
        def _(event: KeyPressEvent) -> None:
            del event
            self._interrupted = False
            if self._conversation.running:
                self._conversation.stop()

        @keys.add("c-c", eager=True)
        @keys.add("<sigint>")
        def _(event: KeyPressEvent) -> None:
            del event
            self._interrupt()

        @keys.add("c-d", eager=True)
        def _(event: KeyPressEvent) -> None:
            del event
            if self._buffer.text:
                self._buffer.delete()
            else:
                self._exit(ExitCode.DONE)

        return keys


def _size() -> Size:
    """How large the terminal is; 80 by 24 where it does not say."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return Size(rows=rows or 24, columns=columns or 80)


def wrapped(text: str, columns: int) -> Iterator[str]:
    """Text in rows of a terminal: broken at spaces where there are any."""
    for line in text.expandtabs(4).split("\n"):
        row, width = "", 0
        for char in line:
            wide = get_cwidth(char)
            if width + wide > columns:
                head, space, tail = row.rpartition(" ")
                if not space or char == " ":
                    head, tail = row, ""
                yield head
                row, width = tail, get_cwidth(tail)
                if char == " " and not row:
                    continue
            row, width = row + char, width + wide
        yield row
