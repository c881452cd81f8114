"""Plugins in tests: made of functions, with a tool whose runs are counted and runtimes that have them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from session_harness import Staged

import lash
from lash.app.results import TurnResult
from lash.llm.request import ToolResultBlock
from lash.plugins import Plugin, ToolCallHook
from lash.plugins.plugin import ToolLike
from lash.testing import calls, reply
from lash.testing.scripted import Script, Step
from lash.turn.tools import ToolFailed, ToolFailure, ToolSuccess


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else path


class Made(Plugin):
    """A plugin made of functions."""

    def __init__(self, name: str, **hooks: Callable[..., object]) -> None:
        self.id = name
        for hook, function in hooks.items():
            setattr(self, hook, function)


def answering(*answers: object) -> Callable[..., Awaitable[object]]:
    """A hook that gives these answers, one each time, and the last one for ever; exceptions are raised."""
    left = list(answers)

    async def hook(*_: object) -> object:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return hook


class Till:
    """A tool called `charge`, and what it was really run with."""

    def __init__(self, **declared: Any) -> None:
        self.charged: list[int] = []
        self.failures: list[Exception] = []

        @lash.tool(**declared)
        async def charge(amount: int) -> str:
            """Charge an amount."""
            self.charged.append(amount)
            if self.failures:
                raise self.failures.pop(0)
            return f"charged {amount}"

        self.tool: ToolLike = charge


def charging(*amounts: object) -> Step:
    """One message that charges these amounts."""
    return calls(*(("charge", {"amount": amount}) for amount in amounts))


def desk(
    *amounts: object, script: Script | None = None, till: Till | None = None, **named: Any
) -> tuple[Till, Staged, lash.Agent]:
    """A till, and an agent that charges these amounts in one message and then says `Done.`"""
    till = till or Till()
    model = Staged(script or [charging(*(amounts or (7,))), reply("Done.")])
    return till, model, lash.Agent("clerk", model=model, tools=[till.tool], **named)


@asynccontextmanager
async def opened(
    location: str | Path, agent: lash.Agent | Sequence[lash.Agent], *plugins: Plugin, **options: Any
) -> AsyncIterator[lash.Runtime]:
    """An open runtime with plugins, in which keys may be handed out; an end to tests that hang."""
    agents = [agent] if isinstance(agent, lash.Agent) else agent
    async with (
        asyncio.timeout(20),
        lash.Runtime(
            location,
            agents=agents,
            plugins=plugins,
            process_lifetime_keys=location == ":memory:",
            **options,
        ) as runtime,
    ):
        yield runtime


async def ran(
    location: str | Path, agent: lash.Agent, *plugins: Plugin, prompt: str = "Go."
) -> TurnResult:
    """What one turn of session `s` comes to."""
    async with opened(location, agent, *plugins) as runtime:
        return await runtime.session("s").run(prompt, turn_id="t")


def failures(result: TurnResult) -> list[ToolFailure]:
    """Why its calls failed; every one of them must have."""
    outcomes = [call.output.outcome for call in result.tool_calls]
    found = [outcome.payload for outcome in outcomes if isinstance(outcome, ToolFailed)]
    assert len(found) == len(outcomes)
    return found


def codes(result: TurnResult) -> list[str]:
    return [failure.code for failure in failures(result)]


def values(result: TurnResult) -> list[object]:
    """What its calls came to; a failure as its code."""
    found: list[object] = []
    for call in result.tool_calls:
        match call.output.outcome:
            case ToolSuccess(payload=payload):
                found.append(payload)
            case ToolFailed(payload=failure):
                found.append(failure.code)
            case other:
                found.append(other.__struct_config__.tag)
    return found


def shown_to(model: Staged, number: int = -1) -> list[str]:
    """What a request shows its model of tool answers."""
    return [
        str(block.content)
        for message in model.asked[number].messages
        for block in message.blocks
        if isinstance(block, ToolResultBlock)
    ]


async def state_of(runtime: lash.Runtime, session_id: str = "s") -> Mapping[str, Any]:
    """What plugins remember of a session."""
    head = await runtime.engine.store.load_head(session_id)
    assert head is not None
    return head.config.plugin_state


def counting(name: str = "counter", hook: str = "before_tool") -> Made:
    """A plugin that remembers how often a hook of its was asked."""

    async def count(told: Any, *_: object) -> None:
        told.session.remember((told.session.state or 0) + 1)

    return Made(name, **{hook: count})


def by_amount(answers: Mapping[object, object]) -> Callable[[ToolCallHook], Awaitable[object]]:
    """A hook that answers by the amount of a call."""

    async def before_tool(call: ToolCallHook) -> object:
        return answers.get(call.args["amount"])

    return before_tool
