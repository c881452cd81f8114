"""Tools made from functions: what goes in, what comes out, and what becomes of trouble."""

import asyncio
import functools
import threading
from datetime import timedelta
from typing import Any

import msgspec
import pytest

import lash
from lash.core.cancel import CancelToken
from lash.tools.function import FunctionTool
from lash.tools.model import ToolContext, give_up
from lash.turn.tools import (
    FinishControl,
    NeverRetry,
    SafeToRetry,
    ToolFailed,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
)


def context() -> ToolContext:
    return ToolContext(
        session_id="s",
        turn_id="t",
        call_id="c",
        tool_name="tool",
        attempt=1,
        max_attempts=1,
        idempotency_key="k",
    )


async def value_of(tool: FunctionTool[..., Any], **args: Any) -> object:
    output = await tool.run(args, context())
    assert isinstance(output, ToolOutput)
    assert isinstance(output.outcome, ToolSuccess), output
    return output.outcome.payload


async def failure_of(tool: FunctionTool[..., Any], **args: Any) -> ToolFailure:
    output = await tool.run(args, context())
    assert isinstance(output, ToolOutput)
    assert isinstance(output.outcome, ToolFailed), output
    msgspec.json.encode(output)  # whatever it says can be stored
    return output.outcome.payload


async def test_a_function_stays_a_function() -> None:
    @lash.tool
    def double(number: int) -> int:
        """Double a number.

        Args:
            number: The number.
        """
        return number * 2

    @lash.tool(name="triple_it", description="Triple.", serial=True)
    async def triple(number: int) -> int:
        return number * 3

    assert double(4) == 8
    assert await triple(4) == 12
    assert functools.wraps(double)(lambda: None).__name__ == "double"
    assert (double.name, double.id, double.serial) == ("double", "tool:double", False)
    assert (triple.name, triple.id, triple.serial) == ("triple_it", "tool:triple_it", True)
    assert double.spec.description == "Double a number."
    assert triple.spec.description == "Triple."
    assert repr(double) == "<lash.tool double>"


async def test_a_plain_function_runs_in_a_thread_and_an_async_one_on_the_loop() -> None:
    loop_thread = threading.get_ident()

    @lash.tool
    def plain() -> bool:
        """Plain."""
        return threading.get_ident() == loop_thread

    @lash.tool
    async def on_loop() -> bool:
        """Async."""
        return threading.get_ident() == loop_thread

    assert await value_of(plain) is False
    assert await value_of(on_loop) is True


async def test_whatever_returns_an_awaitable_is_awaited() -> None:
    async def later(number: int, add: int) -> int:
        await asyncio.sleep(0)
        return number + add

    class Callable:
        """Adds."""

        async def __call__(self, number: int) -> int:
            return await later(number, 10)

    @lash.tool
    def hidden(number: int) -> int:
        """A plain function that hands on a coroutine."""
        return later(number, 1)  # type: ignore[return-value]  # as untyped code does

    assert await value_of(hidden, number=1) == 2
    assert await value_of(FunctionTool(Callable(), name="call"), number=1) == 11
    partial = functools.partial(later, add=5)
    assert await value_of(FunctionTool(partial, name="partial"), number=1) == 6


async def test_the_context_is_handed_in_and_not_shown_to_the_model() -> None:
    @lash.tool
    async def who(name: str, ctx: ToolContext) -> str:
        """Who."""
        return f"{name} {ctx.session_id} {ctx.turn_id} {ctx.call_id} {ctx.idempotency_key}"

    assert await value_of(who, name="Ana") == "Ana s t c k"
    properties = who.spec.input_schema["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == ["name"]
    with pytest.raises(lash.LashError, match="ctx"):
        who.check({"name": "Ana", "ctx": {}})


async def test_arguments_are_checked_before_the_body_runs() -> None:
    ran = []

    @lash.tool
    async def add(left: int, right: int = 1) -> int:
        """Add."""
        ran.append(left)
        return left + right

    add.check({"left": 2})
    for args in ({}, {"left": "two"}, {"left": 2, "more": 3}, {"left": None}):
        with pytest.raises(lash.LashError) as raised:
            add.check(args)
        assert raised.value.code == "invalid_tool_args"
    assert ran == []
    assert await value_of(add, left=2) == 3


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (ValueError("no such order"), "ValueError: no such order"),
        (KeyError("order"), "KeyError: 'order'"),
        (ValueError(), "ValueError"),
        (ValueError("bad \ud800"), "ValueError: bad \\ud800"),
        (TimeoutError("theirs"), "TimeoutError: theirs"),
        (StopIteration("end"), "StopIteration"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_body_raises_is_a_failure_the_model_is_told(
    raised: Exception, says: str, *, is_async: bool
) -> None:
    def plain() -> str:
        """Fail."""
        raise raised

    async def on_loop() -> str:
        """Fail."""
        raise raised

    async with asyncio.timeout(20):
        failure = await failure_of(FunctionTool(on_loop if is_async else plain, name="fail"))
    assert failure.code == "tool_panicked"
    assert failure.failure_class == "execution"
    assert failure.source == "tool"
    assert failure.retry == NeverRetry()
    assert says in failure.message


async def test_an_error_of_lash_keeps_its_code() -> None:
    async def body() -> str:
        """Fail."""
        raise lash.SessionBusyError("session_execution_busy", "somebody else drives it")

    failure = await failure_of(FunctionTool(body, name="fail"))
    assert (failure.code, failure.message) == ("session_execution_busy", "somebody else drives it")
    assert failure.source == "tool"


async def test_an_exception_without_a_text_is_still_told() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @lash.tool
    async def fail() -> str:
        """Fail."""
        raise MuteError

    assert (await failure_of(fail)).message == "MuteError"


async def test_a_declared_failure_is_told_as_declared() -> None:
    @lash.tool
    async def charge() -> str:
        """Charge."""
        raise lash.ToolError(
            "card declined",
            code="declined",
            failure_class="external",
            retry=True,
            retry_after_ms=50,
            raw={"processor": [1, 2]},
        )

    assert await failure_of(charge) == ToolFailure(
        failure_class="external",
        code="declined",
        message="card declined",
        retry=SafeToRetry(after_ms=50),
        raw={"processor": [1, 2]},
    )


async def test_details_of_a_failure_that_cannot_be_stored_do_not_hide_the_failure() -> None:
    @lash.tool
    async def charge() -> str:
        """Charge."""
        raise lash.ToolError("declined \ud800", raw={"socket": object()})  # type: ignore[dict-item]  # as untyped code does

    failure = await failure_of(charge)
    assert failure.message == "declined \\ud800"
    assert failure.code == "tool_error"
    assert "$.socket" in str(failure.raw)


async def test_finish_ends_the_turn_with_its_value() -> None:
    @lash.tool
    async def decide() -> lash.Finish:
        """Decide."""
        return lash.Finish(value=(1, 2))

    output = await decide.run({}, context())
    assert output == ToolOutput(
        outcome=ToolSuccess(payload=[1, 2]), control=FinishControl(value=[1, 2])
    )


@pytest.mark.parametrize(
    "value", [object(), {1: "a"}, float("nan"), {"deep": [{1, "a"}]}, "\ud800"]
)
async def test_a_value_that_cannot_be_stored_is_a_failure_that_names_the_place(value: Any) -> None:
    @lash.tool
    async def give(*, ending: bool) -> Any:
        """Give."""
        return lash.Finish(value=value) if ending else value

    for ending in (True, False):
        failure = await failure_of(give, ending=ending)
        assert failure.code == "tool_output_not_json"
        assert "give returned something that cannot be stored" in failure.message
        assert "$" in failure.message


async def test_a_body_that_takes_too_long_is_told_to_stop() -> None:
    tokens: list[CancelToken] = []
    over = threading.Event()

    @lash.tool(timeout=timedelta(milliseconds=20))
    async def on_loop(ctx: ToolContext) -> str:
        """Wait."""
        tokens.append(ctx.cancel)
        await asyncio.Event().wait()
        return "never"

    @lash.tool(timeout=timedelta(milliseconds=20))
    def plain(ctx: ToolContext) -> str:
        """Wait."""
        tokens.append(ctx.cancel)
        ctx.cancel.on_cancel(lambda _: over.set())
        assert over.wait(20)
        return "too late"

    for tool in (on_loop, plain):
        failure = await failure_of(tool)
        assert (failure.code, failure.failure_class) == ("tool_timeout", "timeout")
        assert "0.02 s" in failure.message
    assert [token.cancelled for token in tokens] == [True, True]
    assert over.is_set()


async def test_a_cancel_callback_that_fails_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = context()

    def broken(_: object) -> None:
        raise ValueError("broken")

    given.cancel.on_cancel(broken)
    give_up(given, "stopped")
    assert given.cancel.cancelled
    assert "cancel callback" in caplog.text


async def test_cancelling_is_passed_on_and_is_no_failure() -> None:
    begun = asyncio.Event()

    @lash.tool
    async def wait() -> str:
        """Wait."""
        begun.set()
        await asyncio.Event().wait()
        return "never"

    running = asyncio.create_task(wait.run({}, context()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
