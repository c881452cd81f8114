"""Servers that flood, in whatever direction: bounded, told in a typed way, and harmless to their neighbours.

What lies, freezes, dies and comes back is in `test_mcp_hostile`, `test_mcp_away` and `test_mcp_time`.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mcp_harness import Bench, bench, failure, noted, rude, until, value
from test_mcp_http import Odd, odd

from lash.contrib.mcp import HttpServer, SamplingAnswer, SamplingRequest
from lash.contrib.mcp.servers import Server

#: Closing takes no longer than this, whatever the servers do.
BOUND_S = 5


@asynccontextmanager
async def beside_a_polite_one(server: Server, folder: Path) -> AsyncIterator[Bench]:
    """A runtime with a server and its neighbour, who is well to the end; it closes in time."""
    async with bench(server, rude(folder / "polite", "polite", name="polite")) as b:
        yield b
        assert value(await b.call("mcp__polite__say", text="still here?")) == "hello"
        begun = time.monotonic()
    assert time.monotonic() - begun < BOUND_S


async def test_a_storm_of_changes_has_the_tools_named_a_few_times(tmp_path: Path) -> None:
    async with beside_a_polite_one(rude(tmp_path / "r", "storm"), tmp_path) as b:
        for _ in range(3):
            assert value(await b.call("mcp__rude__say", text="x")) == "hello"
        await until(lambda: noted(tmp_path / "r").count("listed") > 1, "they are named again")
        assert b.tools() == {"mcp__rude__say", "mcp__polite__say"}
        assert b.status("rude").connections == 1
    assert noted(tmp_path / "r").count("listed") < 20


@pytest.mark.parametrize("manner", ["stderr", "progress", "twice"])
async def test_what_nobody_asked_for_is_passed_over(tmp_path: Path, manner: str) -> None:
    async with beside_a_polite_one(rude(tmp_path / "r", manner), tmp_path) as b:
        for _ in range(2):
            assert value(await b.call("mcp__rude__say", text="x")) == "hello"
        assert b.status("rude").connections == 1


async def test_fifty_megabytes_are_a_failure_of_their_call_alone(tmp_path: Path) -> None:
    async with beside_a_polite_one(rude(tmp_path / "r", "larger"), tmp_path) as b:
        failed = failure(await b.call("mcp__rude__say", text="x"))
        assert failed.code == "mcp_result_too_large"
        assert "more than the 16777216 that are read" in failed.message
        assert b.status("rude").connections == 1


async def test_schemas_that_are_too_much_are_refused_and_promises_that_are_none_ignored(
    tmp_path: Path,
) -> None:
    async with beside_a_polite_one(rude(tmp_path / "r", "monstrous"), tmp_path) as b:
        status = b.status("rude")
        assert status.tools == ("mcp__rude__say",)
        assert status.refused == {
            "large": "its schema cannot be used: it is larger than 262144 bytes",
            "deep": "its schema cannot be used: it is nested too deeply",
        }
        assert value(await b.call("mcp__rude__say", text="x")) == "hello"


async def test_what_is_nested_too_deeply_to_be_read_is_told_at_once(tmp_path: Path) -> None:
    async with beside_a_polite_one(rude(tmp_path / "r", "deep-answer"), tmp_path) as b:
        failed = failure(await b.call("mcp__rude__say", text="x"))
        assert failed.code == "mcp_result_invalid"
        assert "nested too deeply to be read" in failed.message
        assert b.status("rude").connections == 1
    async with beside_a_polite_one(rude(tmp_path / "d", "too-deep"), tmp_path) as b:
        assert b.status("rude").reason == (
            "the server could not name its tools: its answer is no message, or nested too deeply to be "
            "read"
        )


async def test_a_flood_of_questions_has_a_few_answered_and_the_rest_refused(
    tmp_path: Path,
) -> None:
    open_now, most, together = 0, 0, asyncio.Event()

    async def sample(request: SamplingRequest) -> SamplingAnswer:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 16:
            together.set()
        await together.wait()
        await asyncio.sleep(0.1)  # all others have come meanwhile, and are refused
        open_now -= 1
        return SamplingAnswer(text="x", model="m")

    async with beside_a_polite_one(rude(tmp_path / "r", "asks", sampling=sample), tmp_path) as b:
        assert value(await b.call("mcp__rude__say", text="x")) == "hello"
        (line,) = [line for line in noted(tmp_path / "r") if line.startswith("refused")]
    assert most == 16
    assert int(line.split()[1]) > 0


async def test_nulls_for_what_was_left_out_and_whole_numbers_reach_the_server_as_it_wants_them(
    tmp_path: Path,
) -> None:
    async with beside_a_polite_one(rude(tmp_path / "r", "counts"), tmp_path) as b:
        session = b.session("s", ("mcp__rude__say", {"count": 3.0, "text": None}))
        result = await session.run("Do it.")
        assert value(result.tool_calls[0].output) == "hello"
        # What the model said is what is recorded.
        assert result.tool_calls[0].args == {"count": 3.0, "text": None}
        refused = failure(await b.call("mcp__rude__say", count=None))
        assert (refused.code, refused.message) == (
            "invalid_tool_args",
            "/count: None is not of type 'integer'",
        )
    assert noted(tmp_path / "r")[1:] == ['call {"count": 3}']


class Slamming(Odd):
    """Closes the connection instead of answering."""

    def do_POST(self) -> None:  # noqa: N802  what the class calls it
        self.close_connection = True
        self.connection.close()

    do_GET = do_DELETE = do_POST  # noqa: N815  what the class calls them


class Endless(Odd):
    """Begins a stream of events and never sends one."""

    over: ClassVar[float] = 20.0

    def do_POST(self) -> None:  # noqa: N802  what the class calls it
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        deadline = time.monotonic() + self.over
        try:
            while time.monotonic() < deadline:
                self.wfile.write(b": nothing yet\n\n")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    do_GET = do_DELETE = do_POST  # noqa: N815  what the class calls them


class Elsewhere(Odd):
    """Sends everybody to another host, where a credential has no business."""

    def do_POST(self) -> None:  # noqa: N802  what the class calls it
        self.seen.append(self.path)
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.send_response(307)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_DELETE = do_POST  # noqa: N815  what the class calls them


@pytest.mark.parametrize(
    ("kind", "manner", "reason"),
    [
        (Odd, {"status": 500}, "the handshake failed: "),
        (Elsewhere, {}, "the server sends elsewhere (HTTP 307); give its own url"),
        (Slamming, {}, "it broke off the connection"),
        (Endless, {}, "the server did not answer the handshake within 0.3 s"),
    ],
)
async def test_an_http_server_that_answers_wrongly_is_away_with_the_reason(
    tmp_path: Path, kind: type[Odd], manner: dict[str, Any], reason: str
) -> None:
    with odd(kind, **manner) as (url, seen):
        server = HttpServer("odd", url, {"authorization": "Bearer x"}, startup_timeout=0.3)
        async with beside_a_polite_one(server, tmp_path) as b:
            status = b.status("odd")
            assert status.state == "away"
            assert (status.reason or "").startswith(reason)
        assert "/elsewhere" not in seen
