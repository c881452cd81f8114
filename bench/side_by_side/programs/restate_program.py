"""The workloads on the Restate SDK over a real server, which this starts with free ports and stops."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import aiohttp
import restate

from side_by_side.programs.common import Figures, Sizes, main

service = restate.Service("Bench")


@service.handler()
async def steps(ctx: restate.Context, count: int) -> int:
    for _ in range(count):
        await ctx.run_typed("nothing", lambda: 1)
    return count


app = restate.app([service])

_NPM = Path(sys.prefix) / "node_modules" / "@restatedev"


def server_program() -> Path:
    """The server itself, not the script that npm puts before it: that one does not pass on signals."""
    found = [path for path in _NPM.glob("restate-server-*/bin/restate-server") if path.is_file()]
    if not found:
        message = f"no Restate server under {_NPM}"
        raise FileNotFoundError(message)
    return found[0]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator["Caller"]:
    """A server, and the service registered with it."""
    ingress, admin, node, own = free_ports(4)
    settings = {
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_INGRESS__ADVERTISED_INGRESS_ENDPOINT": f"http://127.0.0.1:{ingress}/",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}/",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "warn",
    }
    module = "side_by_side.programs.restate_program:app"
    commands: list[list[str | Path]] = [
        [server_program(), "--base-dir", folder / "restate", "--node-name", "bench"],
        [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{own}", module],
    ]
    with (folder / "restate.log").open("wb") as log, running(commands, settings, log):
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=120),
            connector=aiohttp.TCPConnector(limit=200),
        ) as client:
            await _registered(client, admin, own)
            yield Caller(client, f"http://127.0.0.1:{ingress}/Bench/steps")


@contextlib.contextmanager
def running(
    commands: list[list[str | Path]], settings: dict[str, str], log: IO[bytes]
) -> Iterator[None]:
    """Programs that run, and are stopped in the end."""
    environment = {**os.environ, **settings}
    started = [
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        for command in commands
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _registered(client: aiohttp.ClientSession, admin: int, own: int) -> None:
    """Register the service as soon as both are up."""
    what = {"uri": f"http://127.0.0.1:{own}", "force": True}
    for _ in range(200):
        with contextlib.suppress(aiohttp.ClientError):
            async with client.post(f"http://127.0.0.1:{admin}/deployments", json=what) as answer:
                if answer.ok:
                    return
        await asyncio.sleep(0.2)
    message = "the Restate server did not take the service"
    raise TimeoutError(message)


class Caller:
    """Invokes the service through the server."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client = client
        self._url = url

    async def in_turn(self, workflows: int, step_count: int) -> None:
        """Invoke it so many times, one after the other."""
        for _ in range(workflows):
            async with self._client.post(self._url, json=step_count) as answer:
                answer.raise_for_status()
                assert await answer.json() == step_count


async def rate(folder: Path, lanes: int, workflows: int, step_count: int) -> float:
    async with served(folder) as caller:
        await caller.in_turn(3, 1)
        began = time.perf_counter()
        await asyncio.gather(*(caller.in_turn(workflows, step_count) for _ in range(lanes)))
        return lanes * workflows * step_count / (time.perf_counter() - began)


async def steps_one(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    del flavour
    return {"steps_one": await rate(folder, 1, 1, sizes["steps"])}


async def steps_many(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    del flavour
    return {"steps_many": await rate(folder, sizes["lanes"], 1, sizes["steps"])}


async def workflows_one(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    del flavour
    return {"workflows_one": await rate(folder, 1, sizes["workflows"], 1)}


async def workflows_many(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    del flavour
    return {"workflows_many": await rate(folder, sizes["lanes"], sizes["workflows"], 1)}


if __name__ == "__main__":
    main(
        {
            "steps_one": steps_one,
            "steps_many": steps_many,
            "workflows_one": workflows_one,
            "workflows_many": workflows_many,
        }
    )
