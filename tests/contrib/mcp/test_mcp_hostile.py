"""Servers that lie, flood, freeze, die or say nothing: each has a clear outcome, and the runtime stays up."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp_harness import bench, failure, fair, kill, noted, rude, until, value

from lash.contrib.mcp import HttpServer, StdioServer

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"reconnect_first": 0.05, "reconnect_most": 0.05}


# --- away at the start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manner", "settings", "reason"),
    [
        ("exits", {}, "the server's process ended with exit code 3"),
        ("mute", {"startup_timeout": 0.5}, "the server did not answer the handshake within 0.5 s"),
        (
            "old",
            {},
            "the handshake failed: Unsupported protocol version from the server: 1999-01-01",
        ),
        (
            "no-list",
            {},
            (
                "the server could not name its tools: its answer does not fit the protocol "
                "(tools.0.inputSchema: Field required)"
            ),
        ),
    ],
)
async def test_a_server_that_does_not_come_up_is_away_with_the_reason(
    tmp_path: Path, manner: str, settings: dict[str, Any], reason: str
) -> None:
    async with bench(rude(tmp_path / "r", manner, **settings), fair(tmp_path / "f")) as b:
        status = b.status("rude")
        assert (status.state, status.reason) == ("away", reason)
        assert value(await b.call("mcp__fair__say", text="here")) == "here"


async def test_programs_and_hosts_that_are_not_there_keep_no_runtime_from_opening(
    tmp_path: Path,
) -> None:
    async with bench(
        StdioServer("none", "/no/such/program"),
        HttpServer("closed", "http://127.0.0.1:9/mcp?key=hunter2"),
        fair(tmp_path),
    ) as b:
        assert b.status("none").reason == "it could not be started: No such file or directory"
        assert b.status("closed").reason == "it could not be connected to"
        assert value(await b.call("mcp__fair__say", text="here")) == "here"


async def test_a_server_that_does_not_answer_is_connected_to_once_it_does(tmp_path: Path) -> None:
    flag = tmp_path / "up"
    wait = f'while [ ! -e {flag} ]; do sleep 0.05; done; exec {sys.executable} "$@"'
    real = rude(tmp_path / "r", "polite")
    server = StdioServer("rude", "sh", ["-c", wait, "sh", *real.args], startup_timeout=2, **QUICK)
    async with bench(server) as b:
        assert b.status("rude").state == "away"
        assert b.tools() == set()
        flag.touch()
        await until(lambda: b.status("rude").state == "connected", "it is connected")
        assert value(await b.call("mcp__rude__say", text="late")) == "hello"


async def test_a_server_that_ends_when_asked_for_the_newest_protocol_is_connected_to_at_once(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "hates-discover")) as b:
        assert b.status("rude").state == "connected"
        assert value(await b.call("mcp__rude__say", text="x")) == "hello"


async def test_a_server_that_passes_over_what_it_does_not_know_is_connected_to_in_time(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "ignores-unknown", startup_timeout=2)) as b:
        assert b.status("rude").state == "connected"
        assert noted(tmp_path) == ["started"]


async def test_a_server_that_cannot_be_reached_as_often_as_allowed_is_given_up(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "exits", reconnect_attempts=2, **QUICK)) as b:
        await until(lambda: b.status("rude").state == "exhausted", "it is given up")
        started = len(noted(tmp_path))
    # Each try asks for the newest protocol first, and begins with the handshake after that went wrong.
    assert started == 6


async def test_what_a_server_says_on_stderr_is_in_no_reason(tmp_path: Path) -> None:
    async with bench(rude(tmp_path, "exits")) as b:
        assert "secret-token-123" not in str(b.status("rude"))


# --- what it names ------------------------------------------------------------------------------------


async def test_tools_whose_schema_cannot_be_used_are_not_on_offer_and_others_are(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "bad-schema")) as b:
        status = b.status("rude")
        assert status.tools == ("mcp__rude__say",)
        assert status.refused == {
            "outside": "its schema cannot be used: it refers to 'https://a.example/s', which is not in it; "
            "schemas are never fetched, so put what it means under $defs and refer to it with #/$defs/…",
            "wrong": "its schema cannot be used: -1 is less than the minimum of 0",
            "say": "the server names it twice",
        }
        assert value(await b.call("mcp__rude__say", text="x")) == "hello"


@pytest.mark.parametrize("manner", ["flood", "endless-list"])
async def test_a_server_cannot_offer_tools_without_end(tmp_path: Path, manner: str) -> None:
    async with bench(rude(tmp_path, manner)) as b:
        assert b.status("rude").state == "connected"
        assert len(b.tools()) == {"flood": 512, "endless-list": 64}[manner]


async def test_names_stay_the_same_when_the_server_comes_back_with_another_order(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "shuffles", **QUICK)) as b:
        before = {tool.id: tool.name for tool in b.mcp.providers()[0].tools()}
        (tmp_path / "again").touch()
        kill(tmp_path)
        await until(lambda: b.status("rude").connections == 2, "it is connected again")
        tools = b.mcp.providers()[0].tools()
        assert [tool.id for tool in tools] == ["mcp:rude/a_b", "mcp:rude/a.b", "mcp:rude/a-b"]
        assert {tool.id: tool.name for tool in tools} == before
    assert before == {
        "mcp:rude/a-b": "mcp__rude__a_b",
        "mcp:rude/a.b": "mcp__rude__a_b_2",
        "mcp:rude/a_b": "mcp__rude__a_b_3",
    }


async def test_a_pattern_that_takes_for_ever_holds_nobody_up(tmp_path: Path) -> None:
    async with bench(rude(tmp_path, "slow-pattern")) as b:
        async with asyncio.timeout(10):
            assert value(await b.call("mcp__rude__say", text="a" * 40 + "!")) == "hello"


# --- what it answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manner", "settings", "code", "said"),
    [
        ("lies", {}, "mcp_result_invalid", "/n: 'seven' is not of type 'integer'.\nhello"),
        ("no-result", {}, "mcp_result_invalid", "something that is no result of MCP"),
        ("refuses", {}, "mcp_request_refused", "refused say (JSON-RPC -32602): no such thing"),
        (
            "huge",
            {"max_message_bytes": 1_000_000},
            "mcp_result_too_large",
            "more than the 1000000 that are read",
        ),
        (
            "huge-nameless",
            {"max_message_bytes": 1_000_000},
            "mcp_connection_lost",
            "a message of 3000000 bytes, more than the 1000000 that are read",
        ),
    ],
)
async def test_an_answer_that_cannot_be_used_is_a_failure_and_the_next_call_works(
    tmp_path: Path, manner: str, settings: dict[str, Any], code: str, said: str
) -> None:
    async with bench(rude(tmp_path / "r", manner, **settings), fair(tmp_path / "f")) as b:
        failed = failure(await b.call("mcp__rude__say", text="x"))
        assert failed.code == code
        assert said in failed.message
        assert value(await b.call("mcp__fair__say", text="here")) == "here"
        await until(lambda: b.status("rude").state == "connected", "it is there (again)")


async def test_halves_of_characters_are_mended(tmp_path: Path) -> None:
    async with bench(rude(tmp_path, "surrogates")) as b:
        assert value(await b.call("mcp__rude__say", text="x")) == "a\ufffd"


async def test_output_without_end_is_not_held(tmp_path: Path) -> None:
    server = rude(tmp_path, "endless", max_message_bytes=100_000, call_timeout=1)
    async with bench(server, fair(tmp_path / "f")) as b:
        failed = failure(await b.call("mcp__rude__say", text="x"))
        assert failed.code == "mcp_call_timeout"
        assert value(await b.call("mcp__fair__say", text="here")) == "here"


async def test_garbage_between_messages_is_passed_over(tmp_path: Path) -> None:
    async with bench(rude(tmp_path, "chatty")) as b:
        assert value(await b.call("mcp__rude__say", text="x")) == "hello"
