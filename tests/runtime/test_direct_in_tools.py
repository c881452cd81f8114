"""Models that a tool's body asks: part of its attempt, paid for once, and told in the turn's costs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, finished, run, stopped

import lash
from lash.llm.request import LlmRequest
from lash.testing import ScriptedModel, calls, fail, reply
from lash.turn.tools import ToolFailed

ASKED = lash.Usage(input_tokens=7, output_tokens=3)
#: A turn of two model calls costs this without its tools.
TURN = lash.Usage(input_tokens=20, output_tokens=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


class Books:
    """A turn whose tool asks a model of its own; `asked` counts what that model really answered."""

    def __init__(self, tool: Any, *made: str, answers: Sequence[Any] = ()) -> None:
        self.side = ScriptedModel(answers or [reply("short", usage=ASKED)], name="side")
        model = ScriptedModel([calls(*((name, {}) for name in made)), reply("Over.")])
        self.agent = lash.Agent("books", model=model, tools=[tool(self.side)])

    @property
    def asked(self) -> int:
        return len(self.side.requests)


def ledger(turn: lash.TurnResult) -> list[tuple[str, str]]:
    return [(call.source, call.model) for call in turn.llm_calls]


MAIN, SIDE = ("turn", "scripted:script"), ("tool", "scripted:side")


def summing(side: ScriptedModel) -> Any:
    @lash.tool
    async def sum_up(ctx: lash.ToolContext) -> str:
        """Ask another model."""
        return (await ctx.direct("Sum it up.", model=side)).text

    return sum_up


async def test_what_a_tool_asked_is_booked_once_and_stands_behind_the_turns_own_calls(
    path: Path,
) -> None:
    books = Books(summing, "sum_up", "sum_up")
    async with lash.Runtime(path, agents=[books.agent]) as runtime:
        turn = await finished(run(runtime))
        (summary,) = await runtime.sessions()
        report = await runtime.replay("s", "t")
        assert list(await runtime.session("s").turns()) == [turn]
    assert books.asked == 2
    assert turn.usage == lash.Usage(input_tokens=34, output_tokens=16)
    assert summary.usage == turn.usage
    assert ledger(turn) == [MAIN, MAIN, SIDE, SIDE]
    assert len({call.call_id for call in turn.llm_calls}) == 4
    assert report.verdict == "identical"


async def test_an_agents_own_model_is_asked_unless_another_is_named(path: Path) -> None:
    @lash.tool
    async def sum_up(ctx: lash.ToolContext) -> str:
        """Ask the agent's model."""
        return (await ctx.direct("Sum it up.")).text

    def answer(request: LlmRequest) -> Any:
        if not request.tools:
            return reply("short", usage=ASKED)
        return reply("Over.") if len(request.messages) > 1 else calls(("sum_up", {}))

    agent = lash.Agent("books", model=ScriptedModel(answer), tools=[sum_up])
    async with lash.Runtime(path, agents=[agent]) as runtime:
        turn = await finished(run(runtime))
    assert ledger(turn) == [MAIN, MAIN, ("tool", "scripted:script")]
    assert turn.usage == TURN + ASKED


def failing(side: ScriptedModel) -> Any:
    @lash.tool(retry=lash.ToolRetry(max_attempts=3, base_delay_ms=1))
    async def sum_up(ctx: lash.ToolContext) -> str:
        """Ask another model, and fail all the same, twice."""
        answer = await ctx.direct("Sum it up.", model=side)
        if ctx.attempt < 3:
            raise lash.ToolError("not good enough", retry=True)
        return answer.text

    return sum_up


async def test_what_failed_attempts_asked_is_booked_with_them(path: Path) -> None:
    books = Books(failing, "sum_up")
    async with lash.Runtime(path, agents=[books.agent]) as runtime:
        turn = await finished(run(runtime))
    assert books.asked == 3
    assert turn.tool_calls[0].attempts == 3
    assert ledger(turn) == [MAIN, MAIN, SIDE, SIDE, SIDE]
    assert turn.usage == lash.Usage(input_tokens=20 + 21, output_tokens=10 + 9)


def giving_up(side: ScriptedModel) -> Any:
    @lash.tool
    async def sum_up(ctx: lash.ToolContext) -> str:
        """Ask another model, and fall over what it said."""
        raise ValueError((await ctx.direct("Sum it up.", model=side)).text)

    return sum_up


@pytest.mark.parametrize("where", [":memory:", "file"])
async def test_a_tool_that_falls_over_has_paid_for_what_it_asked(path: Path, where: str) -> None:
    books = Books(giving_up, "sum_up")
    async with lash.Runtime(
        where if where == ":memory:" else path, agents=[books.agent]
    ) as runtime:
        turn = await finished(run(runtime))
    assert isinstance(turn.tool_calls[0].output.outcome, ToolFailed)
    assert ledger(turn) == [MAIN, MAIN, SIDE]
    assert turn.usage == TURN + ASKED


async def test_a_model_that_does_not_answer_a_tool_is_in_the_ledger_too(path: Path) -> None:
    books = Books(
        summing,
        "sum_up",
        answers=[fail("busy", status=503, retry_after=0.01), fail("no", status=400)],
    )
    async with lash.Runtime(path, agents=[books.agent]) as runtime:
        turn = await finished(run(runtime))
    outcome = turn.tool_calls[0].output.outcome
    assert isinstance(outcome, ToolFailed)
    assert outcome.payload.code == "direct_failed"
    assert ledger(turn) == [MAIN, MAIN, SIDE]
    attempts = turn.llm_calls[2].attempts
    assert [(attempt.outcome, attempt.error and attempt.error.status) for attempt in attempts] == [
        ("failed", 503),
        ("failed", 400),
    ]
    assert turn.usage == TURN


def deferring(desk: Desk) -> Any:
    def tool(side: ScriptedModel) -> Any:
        @lash.tool(retry=lash.ToolRetry(max_attempts=2, base_delay_ms=1))
        async def sum_up(ctx: lash.ToolContext) -> lash.PendingCompletion:
            """Ask a model, fail; ask it again, and leave the answer to the outside."""
            await ctx.direct("Sum it up.", model=side)
            if ctx.attempt == 1:
                raise lash.ToolError("not good enough", retry=True)
            return await ctx.defer(desk.post("approve?"))

        return sum_up

    return tool


async def test_what_was_asked_before_a_restart_is_booked_once_and_not_asked_again(
    path: Path,
) -> None:
    desk = Desk()
    books = Books(deferring(desk), "sum_up")
    async with lash.Runtime(path, agents=[books.agent]) as runtime:
        turn, key = run(runtime), await desk.key("approve?")
        await runtime.idle(timeout=20)
    await stopped(turn)
    assert books.asked == 2

    again = Books(deferring(desk), "sum_up")
    async with lash.Runtime(path, agents=[again.agent]) as runtime:
        await runtime.completions.resolve(key, "approved")
        result = await finished(run(runtime))
        (summary,) = await runtime.sessions()
        report = await runtime.replay("s", "t")
    assert again.asked == 0
    assert ledger(result) == [MAIN, MAIN, SIDE, SIDE]
    assert result.usage == lash.Usage(input_tokens=20 + 14, output_tokens=10 + 6)
    assert summary.usage == result.usage
    assert report.verdict == "identical"


async def test_what_an_attempt_asked_that_was_never_recorded_is_not_known(path: Path) -> None:
    reached = asyncio.Event()

    def stopping(side: ScriptedModel) -> Any:
        @lash.tool
        async def sum_up(ctx: lash.ToolContext) -> str:
            """Ask another model, and be stopped the first time."""
            answer = await ctx.direct("Sum it up.", model=side)
            if not reached.is_set():
                reached.set()
                await asyncio.Event().wait()
            return answer.text

        return sum_up

    first, second = Books(stopping, "sum_up"), Books(stopping, "sum_up")
    async with lash.Runtime(path, agents=[first.agent]) as runtime:
        turn = run(runtime)
        await asyncio.wait_for(reached.wait(), 20)
    await stopped(turn)
    async with lash.Runtime(path, agents=[second.agent]) as runtime:
        result = await finished(run(runtime))
    assert (first.asked, second.asked) == (1, 1)
    assert ledger(result) == [MAIN, MAIN, SIDE]
    assert result.usage == TURN + ASKED
    # The provider can tell the two apart from one: they carry one name.
    names = {request.scope.request_id for request in (*first.side.requests, *second.side.requests)}
    assert len(names) == 1
