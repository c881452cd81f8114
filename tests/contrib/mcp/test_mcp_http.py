"""Servers over streamable HTTP: they restart, refuse and flood like others."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mcp_harness import HERE, bench, failure, noted, until, value

from lash.contrib.mcp import Elicitation, ElicitationAnswer, HttpServer
from lash.turn.tools import SafeToRetry

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"reconnect_first": 0.05, "reconnect_most": 0.05}
ERAS = pytest.mark.parametrize("protocol", ["auto", "handshake"])


class Web:
    """A fair server over HTTP, on a port that it keeps over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def start(self) -> None:
        (self._folder / "port").unlink(missing_ok=True)
        script = [str(HERE / "fair_server.py"), str(self._folder), "http", str(self.port)]
        self._process = subprocess.Popen([sys.executable, *script])
        await until((self._folder / "port").exists, "the server listens")
        self.port = int((self._folder / "port").read_text())

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    server = Web(tmp_path)
    yield server
    server.kill()


@ERAS
async def test_calls_go_over_http(web: Web, tmp_path: Path, protocol: Any) -> None:
    await web.start()
    async with bench(HttpServer("fair", web.url, protocol=protocol)) as b:
        assert value(await b.call("mcp__fair__weather", city="Oslo")) == {
            "city": "Oslo",
            "degrees": 21,
        }
        async with asyncio.timeout(20):
            met = await b.call_all(("mcp__fair__meet", {}), ("mcp__fair__meet", {}))
        assert [value(each) for each in met] == ["met", "met"]
        assert value(await b.call("mcp__fair__change", add="added", remove="")) == "changed"
        await until(lambda: "mcp__fair__added" in b.tools(), "the new tool is on offer")


@ERAS
async def test_a_stopped_turn_cancels_its_request_over_http(
    web: Web, tmp_path: Path, protocol: Any
) -> None:
    await web.start()
    async with bench(HttpServer("fair", web.url, protocol=protocol)) as b:
        session = b.session("s", ("mcp__fair__wait", {"name": "never"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: "wait never" in noted(tmp_path), "the call arrives")
        await session.cancel()
        await running
        await until(lambda: "cancelled never" in noted(tmp_path), "the server is told")


async def test_a_person_is_asked_over_http(web: Web) -> None:
    async def person(question: Elicitation) -> ElicitationAnswer:
        return ElicitationAnswer(action="decline")

    await web.start()
    async with bench(HttpServer("fair", web.url, elicitation=person)) as b:
        assert '"action":"decline"' in value(await b.call("mcp__fair__ask_later"))


@ERAS
async def test_a_server_that_is_killed_in_the_middle_of_a_call_and_started_again_is_found_again(
    web: Web, tmp_path: Path, protocol: Any
) -> None:
    await web.start()
    async with bench(HttpServer("fair", web.url, protocol=protocol, **QUICK)) as b:
        offered = b.tools()
        session = b.session("s", ("mcp__fair__wait", {"name": "never"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: "wait never" in noted(tmp_path), "the call arrives")
        web.kill()
        failed = failure((await running).tool_calls[0].output)
        assert (failed.code, failed.retry) == ("mcp_connection_lost", SafeToRetry())
        assert b.tools() == offered
        await b.call("mcp__fair__who")  # whatever it comes to: somebody has to notice
        await until(lambda: b.status("fair").state == "away", "it is away")
        assert failure(await b.call("mcp__fair__who")).code == "mcp_server_unavailable"
        await web.start()
        await until(lambda: b.status("fair").state == "connected", "it is connected again")
        assert value(await b.call("mcp__fair__say", text="again")) == "again"


async def test_a_session_that_the_server_forgot_is_begun_again(web: Web) -> None:
    await web.start()
    async with bench(HttpServer("fair", web.url, protocol="handshake", **QUICK)) as b:
        assert value(await b.call("mcp__fair__say", text="one")) == "one"
        web.kill()
        await web.start()  # before anybody noticed
        failed = failure(await b.call("mcp__fair__say", text="two"))
        assert failed.code == "mcp_connection_lost"
        await until(lambda: b.status("fair").connections >= 2, "a session is begun again")
        await until(lambda: b.status("fair").state == "connected", "it is connected")
        assert value(await b.call("mcp__fair__say", text="three")) == "three"


@ERAS
async def test_an_answer_that_is_too_long_fails_its_call_alone(web: Web, protocol: Any) -> None:
    await web.start()
    server = HttpServer("fair", web.url, protocol=protocol, max_message_bytes=100_000)
    async with bench(server) as b:
        long, short = await b.call_all(
            ("mcp__fair__say", {"text": "x" * 200_000}), ("mcp__fair__say", {"text": "short"})
        )
        assert failure(long).code == "mcp_result_too_large"
        assert value(short) == "short"
        assert b.status("fair").connections == 1


# --- servers that are none --------------------------------------------------------------------------------


class Odd(BaseHTTPRequestHandler):
    """Answers every request with the same thing."""

    status: ClassVar[int] = 200
    kind: ClassVar[str] = "text/html"
    body: ClassVar[bytes] = b""
    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.seen.append(self.headers.get("authorization", ""))
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.send_response(self.status)
        self.send_header("content-type", self.kind)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        try:
            self.wfile.write(self.body)
        except OSError:
            pass

    do_GET = do_DELETE = do_POST  # noqa: N815  what the class calls them

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def odd(base: type[Odd] = Odd, /, **manner: object) -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Handler", (base,), {**manner, "seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ({"status": 401}, "the server refused the credentials (HTTP 401)"),
        ({"status": 403}, "the server refused the credentials (HTTP 403)"),
        ({"status": 503}, "the server answered with HTTP 503"),
        ({"status": 404}, "the handshake failed: Not Found"),
        ({"body": b"<html>"}, "the handshake failed: Unexpected content type: text/html"),
        (
            {"kind": "application/json", "body": b"x" * 200_000},
            "the handshake failed: ",
        ),
    ],
)
async def test_what_speaks_no_mcp_is_away_with_the_reason(
    manner: dict[str, Any], reason: str
) -> None:
    with odd(**manner) as (url, _):
        async with bench(HttpServer("odd", url, max_message_bytes=100_000)) as b:
            status = b.status("odd")
            assert status.state == "away"
            assert (status.reason or "").startswith(reason)


async def test_headers_are_sent_and_never_told() -> None:
    with odd(status=401) as (url, seen):
        server = HttpServer("odd", url, {"authorization": "Bearer hunter2"})
        async with bench(server) as b:
            assert set(seen) == {"Bearer hunter2"}
            assert "hunter2" not in f"{b.mcp.status()} {server!r} {b.mcp!r}"


class Forgetful(Odd):
    """Speaks MCP just well enough, and answers sessions that it does not know with HTTP 400."""

    sessions: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        shown = self.headers.get("mcp-session-id")
        if shown is not None and shown not in self.sessions:
            self._answer(400, {"error": {"code": -32000, "message": "No valid session"}})
            return
        match request.get("method"):
            case "initialize":
                self.sessions.append(f"session-{len(self.seen)}")
                self.seen.append("session")
                version = request["params"]["protocolVersion"]
                info = {"name": "forgetful", "version": "1"}
                capabilities: dict[str, Any] = {"tools": {}}
                result: Any = {
                    "protocolVersion": version,
                    "capabilities": capabilities,
                    "serverInfo": info,
                }
            case "tools/list":
                result = {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]}
            case "tools/call":
                result = {"content": [{"type": "text", "text": "hello"}]}
            case _:
                result = {}
        self._answer(200, {"jsonrpc": "2.0", "id": request.get("id"), "result": result})

    def _answer(self, status: int, message: Any) -> None:
        body = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if self.sessions:
            self.send_header("mcp-session-id", self.sessions[-1])
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer(405, {})

    do_DELETE = do_GET  # noqa: N815  what the class calls it


async def test_a_session_that_is_answered_with_a_bad_request_is_begun_again() -> None:
    sessions: list[str] = []
    with odd(Forgetful, sessions=sessions) as (url, seen):
        async with bench(HttpServer("odd", url, protocol="handshake", **QUICK)) as b:
            assert value(await b.call("mcp__odd__say")) == "hello"
            sessions.clear()
            await b.call("mcp__odd__say")  # whatever it comes to: somebody has to notice
            await until(lambda: b.status("odd").connections == 2, "a session is begun again")
            await until(lambda: b.status("odd").state == "connected", "it is connected")
            assert value(await b.call("mcp__odd__say")) == "hello"
            assert seen == ["session", "session"]


async def test_a_server_that_freezes_is_given_up_and_does_not_hold_up_the_end(web: Web) -> None:
    await web.start()
    quick: dict[str, Any] = {**QUICK, "startup_timeout": 2, "probe_timeout": 0.3}
    server = HttpServer("fair", web.url, protocol="handshake", call_timeout=0.5, **quick)
    async with bench(server) as b:
        web.signal(signal.SIGSTOP)
        failed = failure(await b.call("mcp__fair__say", text="x"))
        assert failed.code == "mcp_call_timeout"
        await until(lambda: b.status("fair").state == "away", "it is given up")
        web.signal(signal.SIGCONT)
        await until(lambda: b.status("fair").connections == 2, "it is connected again")
        assert value(await b.call("mcp__fair__say", text="x")) == "x"
        web.signal(signal.SIGSTOP)
        begun = time.monotonic()
    assert time.monotonic() - begun < 4
