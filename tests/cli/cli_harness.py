"""Running the `lash` command as its users do, in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What the machine of a test run may have set must not decide how a test ends.
_OURS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LASH_MODEL", "FORCE_COLOR", "COLUMNS", "LINES")


@dataclass(frozen=True)
class Ended:
    """A command that came to its end. No command ever shows a traceback."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """A running `python -m lash …`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def stop_reading(self) -> None:
        """Close our end of its stdout, as a pager does that was left."""
        transport = self._process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]  # asyncio has no other way
        transport.close()

    async def line(self) -> str:
        """The next line of stdout, or "" at its end."""
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            return (await self._process.stdout.readline()).decode()

    async def ended(self, told: str | None = None) -> Ended:
        """Wait for the end, having told it something on stdin."""
        given = None if told is None else told.encode()
        out, err = await self._process.communicate(given)
        assert self._process.returncode is not None
        ended = Ended(self._process.returncode, out.decode(), err.decode())
        assert "Traceback" not in ended.err
        assert "Traceback" not in ended.out
        return ended


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OURS}


async def start(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: int = asyncio.subprocess.DEVNULL,
) -> Command:
    environment = clean_environment()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lash",
        *arguments,
        cwd=cwd,
        env=environment | dict(env or {}),
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return Command(process)


async def lash(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, told: str | None = None
) -> Ended:
    stdin = asyncio.subprocess.DEVNULL if told is None else asyncio.subprocess.PIPE
    return await (await start(*arguments, cwd=cwd, env=env, stdin=stdin)).ended(told)
