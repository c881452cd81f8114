"""Tools that misbehave: each call has an answer that says so, and other sessions go on as ever."""

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from session_harness import path

import lash
from lash.runtime.containing import STANDSTILL_S
from lash.testing import ScriptedModel, calls, reply
from lash.tools.function import FunctionTool
from lash.turn.tools import ToolCancelled, ToolFailed, ToolSuccess

__all__ = ["path"]


class OddError(BaseException):
    """As test frameworks and other loops raise them."""


class SpeechlessError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class LeavingError(SpeechlessError):
    """Would end the program when it is looked at."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class NoClass:
    """Cannot even be asked what it is."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, value: object) -> None: ...


class Liar:
    """Says that it is a dict."""

    @property
    def __class__(self) -> Any:
        return dict

    @__class__.setter
    def __class__(self, value: object) -> None: ...


class Leaving:
    """Ends the program when it is turned into data."""

    def model_dump(self, mode: str) -> object:
        raise SystemExit(4)


class Endless:
    """Turned into data, it is what it was."""

    def model_dump(self, mode: str) -> object:
        return self


def made(body: Callable[..., object], **settings: Any) -> FunctionTool[..., Any]:
    """A tool called `hostile`."""
    return FunctionTool(body, name="hostile", description="Misbehaves.", **settings)


@lash.tool
def look() -> str:
    """Look."""
    return "seen"


def agents(tool: FunctionTool[..., Any], **arguments: object) -> list[lash.Agent]:
    script = [calls(("hostile", arguments)), reply("Over.")]
    return [
        lash.Agent("host", model=ScriptedModel(script), tools=[tool]),
        lash.Agent(
            "neighbour", model=ScriptedModel([calls(("look", {})), reply("Well.")]), tools=[look]
        ),
    ]


async def and_others_go_on(runtime: lash.Runtime) -> None:
    """A turn of another session, with a tool call."""
    result = await runtime.session("other", agent="neighbour").run("Look.")
    (call,) = result.tool_calls
    assert (result.text, call.output.outcome) == ("Well.", ToolSuccess(payload="seen"))


async def came_to(
    store: str | Path, tool: FunctionTool[..., Any], **arguments: object
) -> ToolSuccess | ToolFailed:
    """What the call came to. The turn goes on with the answer, and so do others."""
    async with (
        asyncio.timeout(20),
        lash.Runtime(store, agents=agents(tool, **arguments)) as runtime,
    ):
        result = await runtime.session("s", agent="host").run("Go.")
        await and_others_go_on(runtime)
    (call,) = result.tool_calls
    assert (result.is_success, result.text) == (True, "Over.")
    assert isinstance(call.output.outcome, ToolSuccess | ToolFailed)
    return call.output.outcome


def told(outcome: ToolSuccess | ToolFailed) -> tuple[str, str]:
    assert isinstance(outcome, ToolFailed)
    return outcome.payload.code, outcome.payload.message


# --- what it raises -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["loop", "thread"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("x"), "ValueError: x"),
        (SystemExit(3), "SystemExit: 3"),
        (OddError("x"), "OddError: x"),
        (
            BaseExceptionGroup("both", [OddError(), SystemExit(1)]),
            "BaseExceptionGroup: both (2 sub-exceptions)",
        ),
        (MemoryError(), "MemoryError"),
        (SpeechlessError(), "SpeechlessError"),
        (LeavingError(), "LeavingError"),
        (GeneratorExit("x"), None),
        (StopIteration("x"), None),
        (
            asyncio.CancelledError(),
            "hostile waited for something that was cancelled, or cancelled itself.",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_whatever_it_raises_is_a_failure_that_the_model_is_told(
    path: Path, error: BaseException, message: str | None, where: str
) -> None:
    async def on_the_loop() -> None:
        raise error

    def in_a_thread() -> None:
        raise error

    code, said = told(await came_to(path, made(on_the_loop if where == "loop" else in_a_thread)))
    assert code == "tool_panicked"
    assert said == message if message is not None else type(error).__name__ in said


async def itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def itself_without_waiting() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "done"


async def for_ever() -> None:
    await for_ever()


def for_ever_in_a_thread() -> None:
    for_ever_in_a_thread()


async def the_loop() -> None:
    asyncio.get_running_loop().close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (itself, "cancelled itself"),
        (itself_without_waiting, "cancelled itself"),
        (for_ever, "RecursionError: "),
        (for_ever_in_a_thread, "RecursionError: "),
        (the_loop, "RuntimeError: Cannot close a running event loop"),
    ],
)
async def test_what_it_does_to_itself_and_to_the_loop_is_a_failure(
    path: Path, body: Callable[[], Any], says: str
) -> None:
    code, message = told(await came_to(path, made(body)))
    assert code == "tool_panicked"
    assert says in message


@pytest.mark.parametrize("how", ["interrupt", "stop"])
def test_an_interrupt_is_the_hosts_and_the_turn_goes_on_later_under_the_same_key(
    path: Path, how: str
) -> None:
    keys: list[str] = []

    async def ends_the_loop_once(ctx: lash.ToolContext) -> str:
        keys.append(ctx.idempotency_key)
        if len(keys) == 1 and how == "interrupt":
            raise KeyboardInterrupt
        if len(keys) == 1:
            asyncio.get_running_loop().stop()
            await asyncio.Event().wait()
        return "done"

    async def host() -> str:
        async with lash.Runtime(path, agents=agents(made(ends_the_loop_once))) as runtime:
            return (await runtime.session("s", agent="host").run("Go.", turn_id="t")).text

    with pytest.raises(KeyboardInterrupt if how == "interrupt" else RuntimeError):
        asyncio.run(host())
    assert asyncio.run(host()) == "Over."
    assert len(keys) == 2
    assert len(set(keys)) == 1


# --- how long it takes --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["loop", "thread"])
@pytest.mark.parametrize("ends", ["by its timeout", "by a cancel"])
async def test_one_that_never_ends_is_left_behind(path: Path, ends: str, where: str) -> None:
    begun, gate = threading.Event(), threading.Event()

    async def on_the_loop() -> None:
        begun.set()
        await asyncio.Event().wait()

    def in_a_thread() -> None:
        begun.set()
        gate.wait(30)

    limit = timedelta(seconds=0.05) if ends == "by its timeout" else None
    tool = made(on_the_loop if where == "loop" else in_a_thread, timeout=limit)
    try:
        if limit is not None:
            assert told(await came_to(path, tool)) == (
                "tool_timeout",
                "hostile took more than 0.05 s.",
            )
            return
        async with lash.Runtime(path, agents=agents(tool)) as runtime:
            session = runtime.session("s", agent="host")
            running = asyncio.create_task(session.run("Go."))
            await asyncio.to_thread(begun.wait, 20)
            await and_others_go_on(runtime)
            await session.cancel()
            (call,) = (await running).tool_calls
            assert isinstance(call.output.outcome, ToolCancelled)
    finally:
        gate.set()


async def test_one_that_blocks_the_loop_keeps_its_session_and_is_named_in_the_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It does so for longer than the lease lasts: nobody is there to take the session over."""
    ran: list[int] = []

    async def blocks() -> str:
        ran.append(1)
        time.sleep(STANDSTILL_S * 2)  # noqa: ASYNC251  that is the point
        return "done"

    lease = lash.LeaseTimings(ttl_ms=300, renew_ms=100)
    with caplog.at_level(logging.WARNING, "lash.runtime"):
        async with lash.Runtime(path, agents=agents(made(blocks)), lease=lease) as runtime:
            result = await runtime.session("s", agent="host").run("Go.")
            await and_others_go_on(runtime)
    assert (result.text, ran) == ("Over.", [1])
    (line,) = [record.message for record in caplog.records if "held up" in record.message]
    assert line.startswith("tool hostile held up the event loop for 0.5 s")


async def test_one_that_waits_is_not_said_to_hold_up_the_loop(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def works() -> None:
        time.sleep(STANDSTILL_S * 1.2)

    async def waits() -> None:
        await asyncio.to_thread(works)

    await asyncio.gather(came_to(path, made(waits)), came_to(":memory:", made(works)))
    assert "held up" not in caplog.text


# --- what it returns ----------------------------------------------------------------------------------


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


@pytest.mark.parametrize(
    ("value", "code", "says"),
    [
        (lambda: "x" * 50_000_000, "tool_output_too_large", "most of it is at $ (50000002 bytes)"),
        (lambda: float("nan"), "tool_output_not_json", "nan is not a JSON number (at $)"),
        (lambda: {"a": [-float("inf")]}, "tool_output_not_json", "-inf is not a JSON number"),
        (lambda: {1, "a"}, "tool_output_not_json", "have no order among themselves"),
        (cyclic, "tool_output_not_json", "nested too deeply, or holds itself"),
        (lambda: nested(100_000), "tool_output_not_json", "nested too deeply, or holds itself"),
        (lambda: nested(201), "tool_output_not_json", "nested more than 200 deep"),
        (lambda: "\ud800", "tool_output_not_json", "unpaired surrogate"),
        (lambda: lash.Finish(value=float("nan")), "tool_output_not_json", "not a JSON number"),
        (NoClass, "tool_panicked", "RuntimeError: no class"),
        (Liar, "tool_panicked", "AttributeError"),
        (Leaving, "tool_panicked", "SystemExit: 4"),
        (Endless, "tool_output_not_json", "nested too deeply, or holds itself"),
        (lambda: int, "tool_output_not_json", "values of type type have no JSON form"),
        (lambda: lash.Fail(SpeechlessError()), "tool_panicked", "RuntimeError"),  # type: ignore[arg-type]  # that is the point
    ],
)
async def test_a_value_that_cannot_be_kept_is_a_failure_that_says_why(
    path: Path, value: Callable[[], object], code: str, says: str
) -> None:
    async def returns() -> object:
        return value()

    got, message = told(await came_to(path, made(returns)))
    assert got == code
    assert says in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({3, 1, 2}, [1, 2, 3]),
        (b"\xff\x00", "/wA="),
        (10**400, 10**400),
        ("a\0b", "a\0b"),
        (nested(200), nested(200)),
    ],
    ids=["a set", "bytes", "a large number", "a zero byte", "a nested list"],
)
async def test_an_odd_value_that_can_be_kept_is(path: Path, value: object, kept: object) -> None:
    async def returns() -> object:
        return value

    assert await came_to(path, made(returns)) == ToolSuccess(payload=kept)  # type: ignore[arg-type]  # it is JSON


async def test_arguments_that_are_nested_too_deeply_never_reach_it(path: Path) -> None:
    async def takes(deep: list[Any]) -> str:
        return "ran"

    assert told(await came_to(path, made(takes), deep=nested(200))) == (
        "invalid_tool_args",
        "The arguments are nested too deeply.",
    )
    assert await came_to(":memory:", made(takes), deep=nested(199)) == ToolSuccess(payload="ran")


@pytest.mark.parametrize("kind", ["function", "raw"])
async def test_what_it_does_to_its_arguments_is_in_no_record(path: Path, kind: str) -> None:
    said = {"order": {"id": 7, "lines": [1, 2]}}
    seen: list[object] = []

    def changes(order: dict[str, Any]) -> None:
        seen.append(order.get("id"))
        order["lines"].clear()
        order["id"] = order
        if len(seen) < 3:
            raise lash.ToolError("again", retry=True)

    retry = lash.ToolRetry(max_attempts=3, base_delay_ms=0)
    tool: Any = made(changes, retry=retry)
    if kind == "raw":
        tool = lash.raw_tool(
            "hostile", "", {"type": "object"}, lambda args: changes(args["order"]), retry=retry
        )
    async with lash.Runtime(path, agents=agents(tool, **said)) as runtime:
        result = await runtime.session("s", agent="host").run("Go.", turn_id="t")
    assert (seen, result.tool_calls[0].output.outcome) == ([7, 7, 7], ToolSuccess())
    assert result.tool_calls[0].args == said
    async with lash.Runtime(path, agents=agents(tool, **said)) as runtime:
        history = await runtime.session("s").history()
        report = await runtime.replay("s", "t")
    assert history[1].tool_calls[0].arguments == '{"order":{"id":7,"lines":[1,2]}}'
    assert (report.verdict, report.committed) == ("identical", True)


# --- what it does to the program ------------------------------------------------------------------------


async def replaces_stdout() -> str:
    sys.stdout = None
    return "done"


async def changes_directory() -> str:
    os.chdir("/")
    return "done"


async def sets_signal_handlers() -> str:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    return "done"


async def leaves_tasks_behind() -> str:
    async def fails_later() -> None:
        await asyncio.sleep(0)
        raise ValueError("left behind")

    asyncio.get_running_loop().create_task(fails_later())
    asyncio.get_running_loop().create_task(asyncio.Event().wait())
    return "done"


@pytest.mark.parametrize(
    "body", [replaces_stdout, changes_directory, sets_signal_handlers, leaves_tasks_behind]
)
async def test_what_it_changes_for_the_whole_program_does_not_keep_turns_from_going_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    body: Callable[[], Awaitable[str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    before = signal.getsignal(signal.SIGUSR2)
    request.addfinalizer(lambda: signal.signal(signal.SIGUSR2, before))
    # The store is named by where the program was when it was opened.
    assert await came_to("here.db", made(body)) == ToolSuccess(payload="done")
    assert (tmp_path / "here.db").exists()


# --- forks --------------------------------------------------------------------------------------------


class _Turn:
    """Gives way to the event loop, and asks it for nothing."""

    def __await__(self) -> Any:
        yield


@pytest.mark.parametrize("store", ["durable", "ephemeral"])
@pytest.mark.parametrize("comes_back", ["returning", "raising", "waiting", "from a thread"])
async def test_a_child_that_comes_back_is_ended_and_drives_no_turn(
    tmp_path: Path, store: str, comes_back: str
) -> None:
    notes, children = tmp_path / "notes", list[int]()

    def fork() -> bool:
        child = os.fork()
        children.append(child)
        return child == 0

    async def on_the_loop() -> str:
        if fork():
            if comes_back == "raising":
                raise ValueError("child")
            if comes_back == "waiting":
                await _Turn()
                notes.write_text("the child went on")
        return "done"

    def in_a_thread() -> str:
        fork()
        return "done"

    tool = made(in_a_thread if comes_back == "from a thread" else on_the_loop)
    where = tmp_path / "agents.db" if store == "durable" else ":memory:"
    assert await came_to(where, tool) == ToolSuccess(payload="done")
    (child,) = children
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert not notes.exists()


async def test_a_child_that_does_its_work_and_ends_disturbs_nobody(path: Path) -> None:
    def works() -> int | None:
        process = multiprocessing.get_context("fork").Process(target=os.getcwd)
        process.start()
        process.join(20)
        return process.exitcode

    assert await came_to(path, made(works)) == ToolSuccess(payload=0)


# --- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "\u202eevil", "a\0", "a\ud800"])
def test_a_name_that_cannot_be_printed_is_refused_when_the_tool_is_made(name: str) -> None:
    for make in (
        lambda: FunctionTool(lambda: None, name=name),
        lambda: lash.raw_tool(name, "", {"type": "object"}, lambda args: args),
    ):
        with pytest.raises(lash.ConfigurationError) as refused:
            make()
        assert refused.value.code == "tool_signature_invalid"
        assert name not in refused.value.message
