"""An agent whose tools leave questions to the outside, as tests of waits hold it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

import lash
from lash.core.json import JsonObject
from lash.core.scopes import TurnScope, journal_key
from lash.llm.request import LlmRequest, ToolResultBlock
from lash.llm.response import LlmResponse, ToolCallPart
from lash.llm.stream import Emit
from lash.testing import ScriptedModel, VirtualClock, calls, reply
from lash.testing.scripted import Step, calls_made
from lash.turn.tools import (
    ToolFailed,
    ToolFailure,
    ToolOutcome,
)

Key = lash.AwaitEventKey


class Forgetful(ScriptedModel):
    """Names its calls `call_0`, `call_1` in every message, as some models do."""

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        response = await super().complete(request, emit)
        parts = tuple(
            msgspec.structs.replace(part, call_id=f"call_{index}")
            if isinstance(part, ToolCallPart)
            else part
            for index, part in enumerate(response.parts)
        )
        return msgspec.structs.replace(response, parts=parts)


class Desk:
    """A model that makes some calls in one message, and tools that leave questions to the outside.

    In the end the model says what it was shown. `ran` tells what the tools really did.
    """

    def __init__(self, *made: tuple[str, JsonObject], tools: Sequence[Any] = ()) -> None:
        self.made = made
        self.ran: list[str] = []
        self.keys: dict[str, Key] = {}
        self.timeout: timedelta | float | None = None
        self._changed = asyncio.Condition()

        @lash.tool
        async def ask(question: str, ctx: lash.ToolContext) -> lash.PendingCompletion:
            """Ask somebody."""
            self.ran.append(question)
            return await ctx.defer(self.post(question), timeout=self.timeout)

        @lash.tool
        async def echo(text: str) -> str:
            """Say it again."""
            self.ran.append(text)
            return text

        self.model = Forgetful(self._answer)
        self.agent = lash.Agent("desk", model=self.model, tools=[ask, echo, *tools])

    def _answer(self, request: LlmRequest) -> Step:
        if calls_made(request) == 0:
            return calls(*self.made)
        added = request.messages[request.history.count :]
        blocks = [block for message in added for block in message.blocks]
        return reply(
            " | ".join(block.content for block in blocks if isinstance(block, ToolResultBlock))
        )

    def post(self, question: str) -> Callable[[Key], Awaitable[None]]:
        """What announces the key of a question to the test."""

        async def announce(key: Key) -> None:
            async with self._changed:
                self.keys[question] = key
                self._changed.notify_all()

        return announce

    async def key(self, question: str = "may I?") -> Key:
        """The key of a question, once it was asked."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: question in self.keys)
            return self.keys[question]


ASK = ("ask", {"question": "may I?"})


def ask(question: str) -> tuple[str, JsonObject]:
    return "ask", {"question": question}


async def finished(task: "asyncio.Task[lash.TurnResult]") -> lash.TurnResult:
    return await asyncio.wait_for(task, 20)


def run(runtime: lash.Runtime) -> "asyncio.Task[lash.TurnResult]":
    return asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))


def outcomes(turn: lash.TurnResult) -> list[ToolOutcome]:
    return [call.output.outcome for call in turn.tool_calls]


def failure(turn: lash.TurnResult) -> ToolFailure:
    (outcome,) = outcomes(turn)
    assert isinstance(outcome, ToolFailed)
    return outcome.payload


async def stopped(task: "asyncio.Task[lash.TurnResult]") -> None:
    with pytest.raises(lash.LashError, match="The input is kept"):
        await finished(task)


async def waiting(clock: VirtualClock) -> None:
    """Until a turn waits and nothing goes on: whoever keeps leases, sweeps, follows, waits and reads sleeps."""
    async with asyncio.timeout(20):
        while clock.sleeping < 6:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)


async def parked(runtime: lash.Runtime) -> None:
    """Until the store knows what the turn waits for."""
    scope_key = journal_key(TurnScope(session_id="s", turn_id="t"))
    async with asyncio.timeout(20):
        while not await runtime.engine.store.list_waits(scope_key):  # noqa: ASYNC110  polled
            await asyncio.sleep(0)
