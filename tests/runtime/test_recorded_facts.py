"""What was recorded is a fact: a resumed turn goes on from it, whatever code it finds itself in."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.core.json import JsonObject
from lash.llm.request import LlmRequest, ToolSpec
from lash.llm.response import LlmResponse, ToolCallPart
from lash.llm.stream import Emit
from lash.llm.stream import UsageReported as UsageStreamed
from lash.testing import ScriptedModel, calls, fail, reply
from lash.testing.scripted import calls_made
from lash.turn.outcome import AssistantMessage
from lash.turn.tools import ToolFailed, ToolOutput, ToolSuccess


class Gate(ScriptedModel):
    """Stops before the model call of this number until it is opened."""

    def __init__(self, script: list[Any], *, before: int) -> None:
        super().__init__(script)
        self.reached = asyncio.Event()
        self._before = before

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        if calls_made(request) == self._before:
            self.reached.set()
            await asyncio.Event().wait()
        return await super().complete(request, emit)


async def left_before_call(path: Path, number: int, script: list[Any], **agent: Any) -> None:
    """Drive a turn up to a model call, then close the runtime."""
    gate = Gate(script, before=number)
    async with lash.Runtime(path, agents=[lash.Agent("a", model=gate, **agent)]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await running


async def finished(path: Path, script: list[Any], **agent: Any) -> lash.TurnResult:
    model = ScriptedModel(script)
    async with lash.Runtime(path, agents=[lash.Agent("a", model=model, **agent)]) as runtime:
        await runtime.idle(timeout=20)
        (turn,) = await runtime.session("s").turns()
        return turn


def payment(attempts: list[int], retry: lash.ToolRetry | None) -> Callable[..., Any]:
    @lash.tool(retry=retry)
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise lash.ToolError("busy", retry=True)
        return "paid"

    return pay


@pytest.mark.parametrize(
    "later", [None, lash.ToolRetry(max_attempts=9, base_delay_ms=7)], ids=["removed", "changed"]
)
async def test_a_recorded_retry_stands_although_the_policy_changed(
    tmp_path: Path, later: lash.ToolRetry | None
) -> None:
    script = [calls(("pay", {})), reply("Done.")]
    attempts: list[int] = []
    first = payment(attempts, lash.ToolRetry(max_attempts=2, base_delay_ms=1))
    await left_before_call(tmp_path / "db", 1, script, tools=[first])
    turn = await finished(tmp_path / "db", script, tools=[payment(attempts, later)])
    assert attempts == [1, 2]
    (call,) = turn.tool_calls
    assert call.attempts == 2
    assert call.output.outcome == ToolSuccess(payload="paid")


async def test_a_lowered_turn_limit_does_not_throw_recorded_answers_away(tmp_path: Path) -> None:
    @lash.tool
    async def look() -> str:
        """Look."""
        return "seen"

    script = [calls(("look", {})), calls(("look", {})), reply("Seen twice.")]
    await left_before_call(tmp_path / "db", 2, script, tools=[look], max_turns=5)
    turn = await finished(tmp_path / "db", script, tools=[look], max_turns=1)
    # Both rounds of tools were recorded under the old limit; the new one would count from there on.
    assert turn.text == "Seen twice."
    assert len(turn.llm_calls) == 3
    assert [call.tool for call in turn.tool_calls] == ["look", "look"]


async def test_a_tool_that_changes_its_arguments_changes_nothing_recorded(tmp_path: Path) -> None:
    seen: list[int] = []

    @lash.tool(retry=lash.ToolRetry(max_attempts=2, base_delay_ms=1))
    async def count(order: dict[str, Any]) -> int:
        """Count."""
        seen.append(len(order["items"]))
        order["items"].append("gift")
        if len(seen) == 1:
            raise lash.ToolError("again", retry=True)
        return len(order["items"])

    script = [calls(("count", {"order": {"items": ["pen"]}})), reply("Done.")]
    await left_before_call(tmp_path / "db", 1, script, tools=[count])
    turn = await finished(tmp_path / "db", script, tools=[count])
    assert seen == [1, 1]
    assert turn.tool_calls[0].args == {"order": {"items": ["pen"]}}


class Dated:
    """A tool of the host's own making, whose output is not plain JSON yet."""

    id = "host:dated"
    name = "dated"
    spec = ToolSpec(name="dated", description="Today.", input_schema={"type": "object"})
    serial = False
    retry = None

    def check(self, args: JsonObject) -> None:
        pass

    async def run(self, args: JsonObject, context: lash.ToolContext) -> ToolOutput:
        payload: Any = {"day": date(2026, 1, 2), "raw": b"hi"}
        return ToolOutput(outcome=ToolSuccess(payload=payload))


async def test_the_first_drive_sees_what_a_later_one_reads_back(tmp_path: Path) -> None:
    script = [calls(("dated", {})), calls(("dated", {})), reply("Done.")]
    await left_before_call(tmp_path / "db", 2, script, tools=[Dated()])
    turn = await finished(tmp_path / "db", script, tools=[Dated()])
    payloads = [call.output.outcome.payload for call in turn.tool_calls]
    assert payloads == [{"day": "2026-01-02", "raw": "aGk="}] * 2
    assert turn.text == "Done."


async def test_what_is_not_recorded_looks_the_same() -> None:
    model = ScriptedModel([calls(("dated", {})), reply("Done.")])
    async with lash.Runtime(
        ":memory:", agents=[lash.Agent("a", model=model, tools=[Dated()])]
    ) as runtime:
        turn = await runtime.session("s").run("Go.")
    outcome = turn.tool_calls[0].output.outcome
    assert outcome == ToolSuccess(payload={"day": "2026-01-02", "raw": "aGk="})


async def test_one_key_per_call_although_the_model_repeats_its_call_ids(tmp_path: Path) -> None:
    keys: list[str] = []

    @lash.tool
    async def charge(cents: int, ctx: lash.ToolContext) -> str:
        """Charge."""
        keys.append(ctx.idempotency_key)
        return f"{cents}"

    class Forgetful(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            number = calls_made(request)
            if number == 2:
                return await super().complete(request, emit)
            call = ToolCallPart(
                call_id="call_0", tool_name="charge", input_json=f'{{"cents":{number}}}'
            )
            return LlmResponse(parts=(call,), terminal_reason="tool_use")

    model = Forgetful([reply("unused"), reply("unused"), reply("Done.")])
    agent = lash.Agent("a", model=model, tools=[charge])
    async with lash.Runtime(tmp_path / "db", agents=[agent]) as runtime:
        first = await runtime.session("user:1").run("Go.", turn_id="2")
        await runtime.session("user").run("Go.", turn_id="1:2")
        assert first.text == "Done."
    assert len(keys) == len(set(keys)) == 4


def exit_now() -> str:
    """Leave."""
    sys.exit(2)


async def exit_on_the_loop() -> str:
    """Leave."""
    sys.exit(2)


@pytest.mark.parametrize("leave", [exit_now, exit_on_the_loop])
async def test_a_tool_that_exits_has_failed_and_the_process_lives(
    tmp_path: Path, leave: Callable[[], str] | Callable[[], Awaitable[str]]
) -> None:
    model = ScriptedModel([calls(("leave", {})), reply("It left.")])
    agent = lash.Agent("a", model=model, tools=[lash.tool(name="leave")(leave)])
    async with lash.Runtime(tmp_path / "db", agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    assert turn.text == "It left."
    outcome = turn.tool_calls[0].output.outcome
    assert isinstance(outcome, ToolFailed)
    assert outcome.payload.code == "tool_panicked"


class Odd(BaseException):
    """What test frameworks and foreign runtimes raise past every `except Exception`."""


@pytest.mark.parametrize("threaded", [True, False])
async def test_a_tool_that_raises_past_exception_has_failed(tmp_path: Path, threaded: bool) -> None:
    async def odd_on_the_loop() -> str:
        raise Odd("strange")

    def odd_in_a_thread() -> str:
        raise Odd("strange")

    odd: Callable[..., object] = odd_in_a_thread if threaded else odd_on_the_loop
    model = ScriptedModel([calls(("odd", {})), reply("Odd.")])
    agent = lash.Agent("a", model=model, tools=[lash.tool(name="odd", description="Odd.")(odd)])
    async with lash.Runtime(tmp_path / "db", agents=[agent]) as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run("Go."), 10)
    outcome = turn.tool_calls[0].output.outcome
    assert isinstance(outcome, ToolFailed)
    assert outcome.payload.message == "Odd: strange"


async def test_what_no_handler_expects_is_told_and_does_not_hang(tmp_path: Path) -> None:
    class Broken(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            raise Odd

    agent = lash.Agent("a", model=Broken([reply("unused")]))
    async with lash.Runtime(tmp_path / "db", agents=[agent]) as runtime:
        with pytest.raises(lash.LashError) as raised:
            await asyncio.wait_for(runtime.session("s").run("Go."), 10)
        assert raised.value.code == "effect_panicked"
        assert "Odd" in raised.value.message


async def test_a_tool_that_cancels_its_own_task_leaves_the_one_beside_it_alone(
    tmp_path: Path,
) -> None:
    @lash.tool
    async def quit_itself() -> str:
        """Quit."""
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()
        return "never"

    @lash.tool
    async def fine() -> str:
        """Be fine."""
        return "fine"

    model = ScriptedModel([calls(("quit_itself", {}), ("fine", {})), reply("Done.")])
    agent = lash.Agent("a", model=model, tools=[quit_itself, fine])
    async with lash.Runtime(tmp_path / "db", agents=[agent]) as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run("Go."), 10)
    quit_call, fine_call = turn.tool_calls
    assert turn.text == "Done."
    assert quit_call.output.outcome.payload.code == "tool_panicked"  # type: ignore[union-attr]  # a failure
    assert fine_call.output.outcome.payload == "fine"


@pytest.mark.parametrize("where", [":memory:", "file"])
async def test_text_that_utf8_cannot_carry_is_mended_and_kept(tmp_path: Path, where: str) -> None:
    path = where if where == ":memory:" else tmp_path / "db"
    halves = ["half \ud83d", "\ude00 whole, \ud83d alone"]
    model = ScriptedModel([reply("".join(halves), deltas=halves)])
    async with lash.Runtime(path, agents=[lash.Agent("a", model=model)]) as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run("Go."), 10)
        assert turn.text == "half 😀 whole, \ufffd alone"
        assert [message.text for message in await runtime.session("s").history()][-1] == turn.text


@pytest.mark.parametrize("where", [":memory:", "file"])
async def test_an_answer_too_large_to_keep_is_still_paid_for(tmp_path: Path, where: str) -> None:
    path = where if where == ":memory:" else tmp_path / "db"
    usage = lash.Usage(output_tokens=1_500_000)
    model = ScriptedModel([reply("x" * 17_000_000, usage=usage, deltas=[])])
    async with lash.Runtime(path, agents=[lash.Agent("a", model=model)]) as runtime:
        turn = await runtime.session("s").run("Go.")
    assert not turn.is_success
    assert turn.issues[0].code == "effect_outcome_too_large"
    assert turn.usage == usage
    assert len(turn.llm_calls) == 1


async def test_an_error_raised_in_a_hurry_is_kept_as_text(tmp_path: Path) -> None:
    @lash.tool
    async def fetch() -> str:
        """Fetch."""
        code: Any = 404
        message: Any = ValueError("gone")
        raise lash.ToolError(message, code=code, retry=True, retry_after_ms=1)

    model = ScriptedModel([calls(("fetch", {})), reply("Gone.")])
    agent = lash.Agent("a", model=model, tools=[fetch])
    async with lash.Runtime(tmp_path / "db", agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
        assert list(await runtime.session("s").turns()) == [turn]
    outcome = turn.tool_calls[0].output.outcome
    assert isinstance(outcome, ToolFailed)
    assert (outcome.payload.code, outcome.payload.message) == ("404", "gone")


async def test_usage_counts_the_attempt_that_ended_the_ladder(tmp_path: Path) -> None:
    class Costly(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            emit(UsageStreamed(usage=lash.Usage(input_tokens=1_000)))
            return await super().complete(request, emit)

    model = Costly([fail("dropped")])
    retry = lash.RetryPolicy(max_attempts=2, base_delay_ms=0)
    agent = lash.Agent("a", model=model, retry=retry)
    async with lash.Runtime(tmp_path / "db", agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    assert not isinstance(turn.outcome, AssistantMessage)
    assert turn.usage.input_tokens == 2_000


@pytest.mark.parametrize(
    "wrong", [{"max_attempts": 0}, {"base_delay_ms": 0.5}, {"max_delay_ms": -1}], ids=str
)
@pytest.mark.parametrize("policy", [lash.ToolRetry, lash.RetryPolicy])
def test_a_retry_policy_that_cannot_be_counted_is_refused(
    policy: Callable[..., object], wrong: dict[str, object]
) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        policy(**wrong)
    assert raised.value.code == "retry_invalid"
