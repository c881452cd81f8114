"""The tools for commands: `exec_command`, and with terminals `start_command` and what belongs to it."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec

from lash.contrib.output_budget import OutputBudget, cut_text
from lash.contrib.shell.output import Output, cleaned
from lash.contrib.shell.running import Command, Ended, Launch
from lash.contrib.shell.terminal import NAME, OUTPUT, Finished, Printed, Resize, Stdin, Terminal
from lash.core.cancel import Cancellation
from lash.core.durations import Duration, milliseconds
from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject, to_json
from lash.runtime.processes.context import ProcessContext
from lash.runtime.processes.function import ProcessFunction, process
from lash.tools.function import FunctionTool
from lash.tools.model import Tool, ToolContext, ToolError
from lash.tools.processes import ProcessView

#: How long a command may take unless the host says otherwise.
TIMEOUT = timedelta(minutes=10)

#: How much of an output is told, in bytes.
MAX_TOLD = 50 * 1024

#: How long `read_output` waits at most, in milliseconds.
MAX_WAIT_MS = 30_000

#: How often it looks meanwhile, in seconds.
_LOOK_S = 0.1

#: What a command is told of its surroundings unless the host says otherwise: nothing that is a secret.
PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TZ",
    "TERM",
)

_BUDGET = OutputBudget(max_bytes=MAX_TOLD, max_lines=100_000, keep="tail")


class Shell:
    """Tools for commands, for an agent's `tools`.

        shell = Shell("/srv/project", output_folder="/var/lib/agents/output")
        coder = lash.Agent("coder", model=…, tools=shell.tools())
        runtime = lash.Runtime("agents.db", agents=[coder], processes=shell.processes())

    Commands run with the rights of the runtime's own user: this is no sandbox. None outlives the runtime,
    not even one that is killed, nor does what a command has forked.

    Args:
        workdir: Where commands run; a command may be given a folder below it.
        env: Their whole environment. By default the few variables of `PASSED_ON`.
        shell: The shell, with its path; it is given `-c` and the command.
        output_folder: Where output goes that is longer than 50 KiB, in files that only their owner may
            read. The host removes them. Without a folder only the end of long output is kept.
        timeout: How long a command of `exec_command` may take; a model may ask for less.
        terminals: Whether there are `start_command` and what belongs to it; the runtime then needs
            `processes()`.

    Raises:
        ConfigurationError: `tool_set_invalid`: there is no such folder or shell.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        env: Mapping[str, str] | None = None,
        shell: str = "/bin/sh",
        output_folder: str | Path | None = None,
        timeout: Duration = TIMEOUT,
        terminals: bool = True,
    ) -> None:
        self._workdir = os.path.realpath(workdir)
        self._shell = shell
        self._env = dict(_passed_on() if env is None else env)
        self._folder = None if output_folder is None else os.path.realpath(output_folder)
        self._timeout_ms = milliseconds(timeout, "The timeout of Shell")
        self._terminals = terminals
        self._check()
        self._process = self._terminal_process()

    def __repr__(self) -> str:
        return f"Shell({self._workdir!r}, shell={self._shell!r}, env=<hidden>)"

    def _check(self) -> None:
        why = None
        if not sys.executable:
            why = "this Python does not know its own program, which commands are run by"
        elif not os.path.isdir(self._workdir):  # noqa: PTH112  a real path, and text from here on
            why = f"the folder {self._workdir!r} does not exist"
        elif not os.path.isabs(self._shell) or not os.access(self._shell, os.X_OK):  # noqa: PTH117  as above
            why = f"the shell {self._shell!r} is no program with its path"
        if why is not None:
            raise ConfigurationError("tool_set_invalid", f"Shell cannot be set up: {why}.")

    def tools(self) -> list[Tool]:
        """The tools."""
        tools: list[Tool] = [FunctionTool(self.exec_command)]
        if self._terminals:
            tools += [
                FunctionTool(self.start_command),
                FunctionTool(self.write_stdin, serial=True),
                FunctionTool(self.read_output),
                FunctionTool(self.stop_command),
            ]
        return tools

    def processes(self) -> list[ProcessFunction[..., Any]]:
        """What the runtime is to be given as `processes`, beside its own."""
        return [self._process] if self._terminals else []

    # --- at once --------------------------------------------------------------------------------

    async def exec_command(
        self,
        cmd: Annotated[str, msgspec.Meta(min_length=1, max_length=100_000)],
        ctx: ToolContext,
        workdir: str = ".",
        timeout_ms: Annotated[int, msgspec.Meta(ge=1)] | None = None,
    ) -> JsonObject:
        """Run a shell command and wait for its end. What it leaves in the background is ended with it.

        Args:
            cmd: The command, for the shell. It has no input.
            ctx: The call.
            workdir: The folder to run it in, below the usual one.
            timeout_ms: How long it may take, in milliseconds.
        """
        limit_ms = min(timeout_ms or self._timeout_ms, self._timeout_ms)
        output = Output(self._folder, f"exec-{_name_of(ctx.idempotency_key)}.txt")
        begun = asyncio.get_running_loop().time()
        try:
            ended, why = await self._run(self._launch(cmd, workdir), output, ctx, limit_ms)
        finally:
            spilled = output.close()
        seconds = round(asyncio.get_running_loop().time() - begun, 3)
        shown = cut_text(output.text, _BUDGET)
        told: dict[str, object] = {
            "output": shown.text,
            "status": why or "completed",
            "exit_code": ended.exit_code,
            "wall_time_seconds": seconds,
        }
        more: dict[str, object] = {
            "signal": ended.signal,
            "output_bytes": output.size if output.size > MAX_TOLD else None,
            "full_output_path": spilled.path if spilled else None,
            "full_output_cut": True if spilled and not spilled.complete else None,
            "left_running": ended.left or None,
        }
        told |= {name: each for name, each in more.items() if each is not None}
        if why is not None:
            raise _given_up(why, limit_ms, told)
        return _json(told)

    async def _run(
        self, launch: Launch, output: Output, ctx: ToolContext, limit_ms: int
    ) -> tuple[Ended, str | None]:
        """Run a command; how it ended, and why it did if it was made to."""
        command = Command(launch, output.add)
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Whoever trips it may do so in another thread.

        def stop(_: Cancellation) -> None:
            loop.call_soon_threadsafe(stopped.set)

        unsubscribe = ctx.cancel.on_cancel(stop)
        stopping = asyncio.create_task(stopped.wait())
        ending = asyncio.create_task(command.ended())
        try:
            await command.started()
            done, _ = await asyncio.wait(
                {ending, stopping},
                timeout=limit_ms / 1000,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if ending in done:
                return await ending, None
            if stopping in done:
                command.kill()
                return await ending, "stopped"
            command.ask_to_end()
            return await ending, "timed_out"
        finally:
            unsubscribe()
            stopping.cancel()
            ending.cancel()
            await command.close()

    def _launch(self, cmd: str, workdir: str, size: tuple[int, int] | None = None) -> Launch:
        folder = os.path.realpath(os.path.join(self._workdir, workdir))  # noqa: PTH118  text
        if folder != self._workdir and not folder.startswith(f"{self._workdir.rstrip('/')}/"):
            raise ToolError(
                f"{workdir!r} is not below the folder that commands run in.",
                code="path_outside_root",
                failure_class="permission_denied",
            )
        if "\0" in cmd:
            raise ToolError("A command holds no zero bytes.", code="command_invalid")
        env = self._env if size is None else {"TERM": "xterm-256color", **self._env}
        return Launch(command=[self._shell, "-c", cmd], folder=folder, env=env, terminal=size)

    # --- terminals ------------------------------------------------------------------------------

    def _terminal_process(self) -> ProcessFunction[..., Any]:
        @process(
            name=NAME,
            recovery="owner_bound",
            signals={"stdin": Stdin, "resize": Resize},
            events={OUTPUT: Printed},
        )
        async def shell_command(
            ctx: ProcessContext, cmd: str, workdir: str, rows: int, columns: int
        ) -> Finished:
            """A command in a terminal."""
            launch = self._launch(cmd, workdir, (rows, columns))
            output = Output(self._folder, f"command-{_name_of(ctx.id)}.txt")
            return await Terminal(ctx, launch, output).run()

        return shell_command

    async def start_command(
        self,
        cmd: Annotated[str, msgspec.Meta(min_length=1, max_length=100_000)],
        ctx: ToolContext,
        workdir: str = ".",
        rows: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 24,
        columns: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 80,
    ) -> JsonObject:
        """Start a shell command in a terminal and leave it running: a server, or something to type into.

        Args:
            cmd: The command, for the shell.
            ctx: The call.
            workdir: The folder to run it in, below the usual one.
            rows: How many lines the terminal shows.
            columns: How wide it is.
        """
        self._launch(cmd, workdir)
        started = await ctx.processes.start(
            self._process, cmd=cmd, workdir=workdir, rows=rows, columns=columns
        )
        view = await ctx.processes.get(started)
        return {"__handle__": "process", "id": view.id, "status": _status(view)}

    async def write_stdin(
        self,
        process_id: str,
        chars: Annotated[str, msgspec.Meta(max_length=65_536)],
        ctx: ToolContext,
        close_stdin: bool = False,
    ) -> JsonObject:
        """Type into the terminal of a command that was started.

        Args:
            process_id: The command, as `start_command` calls it.
            chars: What to type; end a line with a line break. Control-C is the character 3.
            ctx: The call.
            close_stdin: Type the end of input behind it.
        """
        await _command(ctx, process_id)
        typed = Stdin(chars=chars, close_stdin=close_stdin)
        await ctx.processes.signal(process_id, "stdin", typed)
        return {"process_id": process_id, "status": "signalled"}

    async def read_output(
        self,
        process_id: str,
        ctx: ToolContext,
        after: Annotated[int, msgspec.Meta(ge=0)] = 0,
        wait_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_WAIT_MS)] = 1000,
    ) -> JsonObject:
        """What a command that was started has printed since, and how it stands.

        Args:
            process_id: The command, as `start_command` calls it.
            ctx: The call.
            after: `next` of the last answer; 0 for all output.
            wait_ms: How long to wait if there is nothing new and it still runs.
        """
        looks = round(wait_ms / 1000 / _LOOK_S)
        while True:
            # In this order: what was printed before it ended is there once it is seen to have ended.
            view = await _command(ctx, process_id)
            text, upto, more = await _printed(ctx, process_id, after)
            if text or view.status not in _LIVE or looks <= 0 or ctx.cancel.cancelled:
                break
            await asyncio.sleep(_LOOK_S)
            looks -= 1
        told: dict[str, object] = {
            "process_id": process_id,
            "output": cleaned(text),
            "next": upto,
            "status": _status(view),
        }
        if more:
            told["more"] = True
        elif view.status == "completed":
            told |= _plain(await ctx.processes.result(process_id))
        return _json(told)

    async def stop_command(self, process_id: str, ctx: ToolContext) -> JsonObject:
        """End a command that was started, with all that it has started itself.

        Args:
            process_id: The command, as `start_command` calls it.
            ctx: The call.
        """
        view = await _command(ctx, process_id)
        if view.status in _LIVE:
            await ctx.processes.cancel(process_id, "stop_command")
            view = await ctx.processes.wait(process_id, timeout=MAX_WAIT_MS / 1000)
        return {"process_id": process_id, "status": _status(view)}


_LIVE = frozenset({"running", "waiting"})


def _status(view: ProcessView) -> str:
    """How a command stands. One that waits does so for what is typed, and runs."""
    return "running" if view.status in _LIVE else view.status


async def _command(ctx: ToolContext, process_id: str) -> ProcessView:
    """A command that the session sees; other processes are none of these tools' business.

    Raises:
        LashError: `process_not_visible`.
    """
    view = await ctx.processes.get(process_id)
    if view.label != NAME:
        raise LashError("process_not_visible", f"{process_id!r} is no command of this session.")
    return view


async def _printed(ctx: ToolContext, process_id: str, after: int) -> tuple[str, int, bool]:
    """What was printed behind a place, where it ends, and whether there is more."""
    events = await ctx.processes.events(process_id, OUTPUT, after=after)
    told, size = "", 0
    for event in events:
        printed = msgspec.convert(event.payload, Printed)
        size += len(printed.text.encode())
        if told and size > MAX_TOLD:
            return told, after, True
        told += printed.text
        if printed.dropped:
            told += "\n[There was more; no more of it is told here.]\n"
        after = event.sequence
    return told, after, False


def _given_up(why: str, limit_ms: int, told: Mapping[str, object]) -> ToolError:
    said = "was stopped" if why == "stopped" else f"took more than {limit_ms} ms, and was ended"
    shown = f" It had printed:\n{told['output']}" if told["output"] else " It had printed nothing."
    if "full_output_path" in told:
        shown = f" All that it had printed is in {told['full_output_path']}.{shown}"
    return ToolError(
        f"The command {said}.{shown}",
        code="shell_stopped" if why == "stopped" else "shell_timeout",
        raw=_json(told),
    )


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def _name_of(key: str) -> str:
    """A file's name for a call or a process: the same when it is run again."""
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _json(told: Mapping[str, object]) -> JsonObject:
    return _plain(to_json(told))


def _plain(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
