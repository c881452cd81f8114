"""Dispatch of tool calls: what is looked at before a tool runs, and what is recorded when it is run again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from plugin_harness import location, opened, path, values
from session_harness import begin
from tools_harness import Watched, clerk

import lash
from lash.core.scopes import TurnScope, journal_key
from lash.testing import calls

__all__ = ["location", "path"]


class Flaky:
    """A tool called `flaky` that fails in a way that is safe to repeat, until it has failed so often."""

    def __init__(self, failures: int, *, kind: Any = "safe") -> None:
        self.attempts: list[tuple[int, str]] = []

        @lash.tool(retry=lash.ToolRetry(type=kind, max_attempts=3))
        async def flaky(ctx: lash.ToolContext) -> str:
            """Fail, and then do not."""
            self.attempts.append((ctx.attempt, ctx.idempotency_key))
            if len(self.attempts) > failures:
                return "done"
            raise lash.ToolError("Not yet.", retry=True, retry_after_ms=1)

        self.tool = flaky


async def recorded(runtime: lash.Runtime, *kinds: str) -> list[str]:
    """The effects of these kinds that turn `t` of session `s` recorded, by kind."""
    key = journal_key(TurnScope(session_id="s", turn_id="t"))
    return [
        each.kind for each in await runtime.engine.store.load_journal(key) if each.kind in kinds
    ]


async def test_dispatch_resolves_contract_only_for_called_tool_before_execution(
    location: str | Path,
) -> None:
    called, other = Watched("called"), Watched("other")
    _, agent = clerk(called, other, says=[calls(("called", {"n": 1}))])
    async with opened(location, agent) as runtime:
        assert values(await runtime.session("s").run("Go.")) == ["called ran"]
    assert (called.checked, called.ran) == ([{"n": 1}], [{"n": 1}])
    assert other.checked == []


@pytest.mark.parametrize("kind", ["safe", "idempotent"])
async def test_idempotent_retry_policy_uses_journaled_attempts_without_provider_replay_key(
    path: Path, kind: str
) -> None:
    flaky = Flaky(2, kind=kind)
    _, agent = clerk(flaky.tool, says=[calls(("flaky", {}))])
    async with opened(path, agent) as runtime:
        result = await runtime.session("s").run("Go.", turn_id="t")
        # And the wait between two attempts is an effect of its own.
        assert await recorded(runtime, "tool_attempt", "sleep") == [
            *("tool_attempt", "sleep") * 2,
            "tool_attempt",
        ]
    assert (values(result), result.tool_calls[0].attempts) == (["done"], 3)
    assert [number for number, _ in flaky.attempts] == [1, 2, 3]
    assert len({key for _, key in flaky.attempts}) == 1


async def test_retry_policy_stops_after_pending_launch(location: str | Path) -> None:
    keys: asyncio.Queue[lash.AwaitEventKey] = asyncio.Queue()

    @lash.tool(retry=lash.ToolRetry(max_attempts=3))
    async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask somebody."""
        return await ctx.defer(keys.put_nowait)

    _, agent = clerk(ask, says=[calls(("ask", {}))])
    async with opened(location, agent) as runtime:
        running = begin(runtime.session("s"), "Go.")
        await runtime.completions.fail(await keys.get(), "No.", code="refused")
        result = await running
    assert (values(result), result.tool_calls[0].attempts) == (["refused"], 1)
    assert keys.empty()
