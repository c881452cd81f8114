"""Calls that take too long, servers that freeze, and when a server is tried again."""

import asyncio
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp_harness import Bench, bench, failure, fair, kill, lives, noted, rude, until, value

from lash.contrib.mcp import Elicitation, ElicitationAnswer
from lash.testing import VirtualClock

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"reconnect_first": 0.05, "reconnect_most": 0.05}


def _has(folder: Path, line: str) -> bool:
    return line in noted(folder)


def _has_failed(b: Bench, times: int) -> bool:
    return b.status("rude").failures == times


async def _settle() -> None:
    """Let everything that can go on go on; what is read from pipes takes real time."""
    for _ in range(20):
        await asyncio.sleep(0.005)


async def test_a_call_without_a_sign_of_life_times_out(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with bench(fair(tmp_path, call_timeout=60), clock=clock) as b:
        session = b.session("s", ("mcp__fair__wait", {"name": "never"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: "wait never" in noted(tmp_path), "the call arrives")
        clock.advance(59.9)
        await _settle()
        assert not running.done()
        clock.advance(0.2)
        failed = failure((await running).tool_calls[0].output)
        assert (failed.code, failed.failure_class) == ("mcp_call_timeout", "timeout")
        assert "gave no sign of life for 60 s" in failed.message
        await until(lambda: "cancelled never" in noted(tmp_path), "the server is told")
        assert b.status("fair").state == "connected"  # it answered the probe


@pytest.mark.parametrize(
    ("extends", "code"), [(True, "mcp_call_deadline_exceeded"), (False, "mcp_call_timeout")]
)
async def test_progress_is_a_sign_of_life_up_to_the_limit_in_all(
    tmp_path: Path, *, extends: bool, code: str
) -> None:
    clock = VirtualClock()
    server = fair(tmp_path, call_timeout=60, call_max_total_timeout=150, progress_extends=extends)
    async with bench(server, clock=clock) as b:
        session = b.session("s", ("mcp__fair__wait", {"name": "go"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: "wait go" in noted(tmp_path), "the call arrives")
        for number in range(3 if extends else 2):  # 50, 100 and 150 seconds
            with (tmp_path / "go").open("a") as file:
                file.write(f"p{number}\n")
            told = partial(_has, tmp_path, f"progress p{number}")
            await until(told, "it is told")
            await _settle()
            assert not running.done()
            clock.advance(50)
            await _settle()
        failed = failure((await running).tool_calls[0].output)
        assert failed.code == code


async def test_while_the_host_is_asked_something_the_call_is_alive(tmp_path: Path) -> None:
    clock = VirtualClock()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def person(question: Elicitation) -> ElicitationAnswer:
        asked.set()
        await answer.wait()
        return ElicitationAnswer(action="decline")

    server = fair(tmp_path, protocol="handshake", elicitation=person, call_timeout=60)
    async with bench(server, clock=clock) as b:
        wanted = ("mcp__fair__ask", {"what": "person, then wait"})
        running = asyncio.create_task(b.session("s", wanted).run("Do it."))
        await asked.wait()
        for _ in range(5):  # 250 seconds in which a person thinks
            clock.advance(50)
            await _settle()
        answer.set()
        await until(partial(_has, tmp_path, "answered"), "the server has the answer")
        clock.advance(50)  # and then the server
        await _settle()
        assert not running.done()
        (tmp_path / "go").write_text("end")
        assert "decline" in value((await running).tool_calls[0].output)


async def test_a_server_that_does_not_answer_to_a_ping_is_given_up_and_started_again(
    tmp_path: Path,
) -> None:
    server = rude(tmp_path, "freezes", call_timeout=0.3, probe_timeout=0.3, **QUICK)
    async with bench(server) as b:
        assert failure(await b.call("mcp__rude__say", text="x")).code == "mcp_call_timeout"
        await until(lambda: noted(tmp_path).count("started") == 2, "it is started again")
        await until(lambda: b.status("rude").connections == 2, "it is connected again")


async def test_a_frozen_server_is_found_by_regular_questions_alone(tmp_path: Path) -> None:
    server = fair(tmp_path, probe_interval=0.1, probe_timeout=0.3, **QUICK)
    async with bench(server) as b:
        pid = kill(tmp_path, signal.SIGSTOP)
        await until(lambda: b.status("fair").connections == 2, "it is connected again")
        await until(lambda: not lives(pid), "the frozen one is gone")


async def test_a_server_is_given_up_after_so_many_timeouts_in_a_row(tmp_path: Path) -> None:
    server = rude(
        tmp_path,
        "silent-calls",
        call_timeout=0.1,
        on_timeout="consecutive_timeouts",
        timeouts_before_disconnect=2,
        **QUICK,
    )
    async with bench(server) as b:
        await b.call("mcp__rude__say", text="x")
        await asyncio.sleep(0)
        assert b.status("rude").connections == 1
        await b.call("mcp__rude__say", text="x")
        await until(lambda: b.status("rude").connections == 2, "it is connected again")


async def test_reconnecting_waits_longer_each_time_by_the_runtimes_clock(tmp_path: Path) -> None:
    clock = VirtualClock()
    server = rude(tmp_path, "exits", protocol="handshake")
    async with bench(server, clock=clock) as b:
        for tries, wait in ((1, 0.5), (2, 1.0), (3, 2.0)):
            failed = partial(_has_failed, b, tries)
            await until(failed, "it is tried in vain")
            assert noted(tmp_path) == ["started"] * tries
            await _settle()
            clock.advance(wait - 0.01)
            await _settle()
            assert noted(tmp_path) == ["started"] * tries
            clock.advance(0.02)
