"""Models and agents that processes ask: once, over restarts, and found again where they are."""

from pathlib import Path
from typing import Any

from process_harness import (
    left,
    opened,
    outcome,
    path,
    result_after_go,
    signalled,
)

import lash
from lash.processes.outcomes import ProcessSuccess
from lash.testing import ScriptedModel, fail, reply

__all__ = ["path"]


async def test_a_model_is_asked_once_over_restarts(path: Path) -> None:
    one, other = ScriptedModel([reply("Paris")]), ScriptedModel([reply("Berlin")])

    @lash.process
    async def asking(ctx: lash.ProcessContext) -> Any:
        france = await ctx.direct("The capital of France?", model=one)
        await ctx.signal("go")
        germany = await ctx.direct("The capital of Germany?", model=other)
        await ctx.signal("go")
        return [france.text, france.value, germany.text]

    await left(path, asking)
    for _ in range(2):
        await signalled(path, asking)
    assert await outcome(path, asking) == ProcessSuccess(value=["Paris", "Paris", "Berlin"])
    assert [len(model.requests) for model in (one, other)] == [1, 1]


async def test_a_model_that_does_not_answer_is_a_failure_that_can_be_caught(path: Path) -> None:
    model = ScriptedModel([fail(status=400), reply("not asked again")])

    @lash.process
    async def asking(ctx: lash.ProcessContext) -> Any:
        try:
            await ctx.direct("Hi.", model=model)
        except lash.DirectError as error:
            return [error.code, await ctx.signal("go")]

    await left(path, asking)
    assert await result_after_go(path, asking, payload=1) == ["direct_failed", 1]
    assert len(model.requests) == 1


async def test_an_agents_turn_is_run_once_over_restarts(path: Path) -> None:
    model = ScriptedModel([reply("forty-two")])
    agent = lash.Agent("helper", model=model)

    @lash.process
    async def asking(ctx: lash.ProcessContext) -> Any:
        answer = await ctx.run_turn("helper", "What is it?", output=None)
        await ctx.signal("go")
        return [answer.text, answer.value, answer.session_id]

    await left(path, asking, agents=[agent])
    async with opened(path, asking, agents=[agent]) as runtime:
        await runtime.processes.signal("p", "go")
        text, value, session_id = await runtime.processes.handle("p").result(timeout=20)
        assert (text, value) == ("forty-two", "forty-two")
        assert [each.session_id for each in await runtime.sessions()] == [session_id]
        (child,) = await runtime.processes.list(status="any", parent="p")
        assert (child.registration.identity.kind, child.status) == ("session_turn", "completed")
        assert session_id == f"{child.process_id}:session"
    assert len(model.requests) == 1


async def test_a_turn_whose_agent_is_not_here_is_refused(path: Path) -> None:
    @lash.process
    async def asking(ctx: lash.ProcessContext) -> None:
        await ctx.run_turn("nobody", "Hi.")

    async with opened(path, asking) as runtime:
        handle = await runtime.processes.start(asking, id="p")
        await runtime.idle(30)
        parked = (await handle.status()).state.parked
        assert parked is not None
        assert (parked.code, parked.waits_for) == ("agent_unknown", "code")
