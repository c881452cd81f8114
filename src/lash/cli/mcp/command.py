"""`lash mcp`: opens a runtime with what a module holds, and serves it over stdio or HTTP."""

import asyncio
import importlib.util
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

from lash.app.runtime import Runtime
from lash.cli.exit_codes import ExitCode
from lash.cli.importing import Work, import_work
from lash.cli.reading import check_path
from lash.core.errors import ConfigurationError

#: The variable that holds what clients have to show over HTTP.
TOKEN_VARIABLE = "LASH_MCP_TOKEN"  # noqa: S105  a name, not a secret

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class McpRequest:
    """What the command line asked for; `http` is None for stdio."""

    module: str
    db: str
    http: str | None


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int


def serve(request: McpRequest) -> int:
    """Serve until the client leaves (stdio) or until told to stop.

    Raises:
        ConfigurationError: `worker_module_invalid`, `usage_invalid`, `mcp_not_installed`, and what
            declaring agents and processes raises.
        StoreError: The database cannot be used.
    """
    if importlib.util.find_spec("mcp") is None:
        raise ConfigurationError(
            "mcp_not_installed",
            "lash mcp needs the official package: pip install 'lash-runtime[mcp]'.",
        )
    address = None if request.http is None else read_address(request.http)
    token = os.environ.get(TOKEN_VARIABLE) or None
    if address is not None and address.host not in _LOOPBACK and token is None:
        raise ConfigurationError(
            "usage_invalid",
            f"Whoever reaches {address.host} could run agents. Listen on 127.0.0.1, or set "
            f"{TOKEN_VARIABLE} to a secret that clients send as a bearer token.",
        )
    path = check_path(request.db)
    work = import_work(request.module)
    ended = asyncio.run(
        _serve(Runtime(path, agents=work.agents, processes=work.processes), work, address, token)
    )
    if not ended:
        # A thread that reads stdin cannot be stopped, and the interpreter would wait for it. The runtime
        # is closed, and nothing else is open.
        sys.stderr.flush()
        os._exit(ExitCode.DONE)
    return ExitCode.DONE


async def _serve(runtime: Runtime, work: Work, address: Address | None, token: str | None) -> bool:
    """Serve; False when something could not be ended."""
    from lash.cli.mcp.desk import Desk
    from lash.cli.mcp.serving import make_server, serve_http, serve_stdio

    stopping = asyncio.Event()
    _listen(stopping)
    async with runtime:
        server = make_server(Desk(runtime, work))
        if address is not None:
            await serve_http(server, address.host, address.port, token, stopping)
            return True
        serving = asyncio.create_task(serve_stdio(server))
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if serving.done():
            serving.result()
    return serving.done()


def read_address(text: str) -> Address:
    """`HOST:PORT`, or `PORT` of this machine alone; port 0 is any that is free.

    Raises:
        ConfigurationError: `usage_invalid`.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError(
            "usage_invalid", f"--http {text}: write it as HOST:PORT, such as 127.0.0.1:8765."
        )
    return Address(host, int(port))


def _listen(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        for number in (signal.SIGTERM, signal.SIGINT):  # who asks again has it end at once
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop)
