"""Two runtimes on one file in tests: an agent for each, and a turn that the first one drives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.llm.request import LlmRequest, TextBlock
from lash.sessions.model import messages_of
from lash.testing import ScriptedModel, calls, reply
from lash.testing.scripted import Step, calls_made
from lash.turn.messages import is_valid_transcript
from lash.turn.outcome import Cancelled

Together = tuple[lash.Runtime, lash.Runtime]
Going = tuple[lash.Runtime, lash.Runtime, "asyncio.Task[lash.TurnResult]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


class Desk:
    """An agent that calls `wait` when it is told to go, and else says what it was told.

    Every runtime has a copy of its own; `begun` and `go` belong to that copy.
    """

    def __init__(self, *tools: Any) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.ran = 0

        @lash.tool
        async def wait() -> str:
            """Wait."""
            self.ran += 1
            self.begun.set()
            await self.go.wait()
            return "done"

        self.model = ScriptedModel(self._answer)
        self.agent = lash.Agent("desk", model=self.model, tools=[wait, *tools])

    def _answer(self, request: LlmRequest) -> Step:
        said = texts(request)
        if calls_made(request) == 0 and said[-1].startswith("Go"):
            return calls(("wait", {}))
        return reply(f"{said[-1]}!")


def texts(request: LlmRequest) -> list[str]:
    """What the user said, as the model is shown it."""
    blocks = [
        block for message in request.messages if message.role == "user" for block in message.blocks
    ]
    return [block.text for block in blocks if isinstance(block, TextBlock)]


@asynccontextmanager
async def opened(path: Path, here: Desk, there: Desk | None = None) -> AsyncIterator[Together]:
    """Two runtimes on one file. The one that is asked first drives; by default both have the agent."""
    agents = [(there or Desk()).agent]
    async with (
        asyncio.timeout(30),
        lash.Runtime(path, agents=[here.agent]) as one,
        lash.Runtime(path, agents=agents) as other,
    ):
        yield one, other


def begin(
    runtime: lash.Runtime, prompt: str = "Go.", **named: Any
) -> "asyncio.Task[lash.TurnResult]":
    return asyncio.create_task(runtime.session("s").run(prompt, **named))


@asynccontextmanager
async def going(path: Path, here: Desk, there: Desk | None = None) -> AsyncIterator[Going]:
    """Two runtimes on one file, and a turn `t` that stands in the tool of the one that drives."""
    async with opened(path, here, there) as (one, other):
        running = begin(one, turn_id="t")
        await here.begun.wait()
        yield one, other, running


async def said(runtime: lash.Runtime) -> list[str]:
    history = await runtime.session("s").history()
    return [message.text for message in history if message.role == "user" and message.text]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)


async def code_of(work: Awaitable[object]) -> str:
    with pytest.raises(lash.LashError) as raised:
        await work
    return raised.value.code


def stopped_by(turn: lash.TurnResult) -> str | None:
    assert isinstance(turn.outcome, lash.Stopped)
    assert isinstance(turn.outcome.reason, Cancelled)
    return turn.outcome.reason.request_id


async def valid(runtime: lash.Runtime) -> bool:
    return is_valid_transcript(messages_of(await runtime.engine.store.load_path("s", whole=True)))
