"""Input that is refused, and what who waits for queued input is told when no turn can take it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from session_harness import (
    Holding,
    Staged,
    code_of,
    echo_agent,
    echo_session,
    echoing,
    held_at_the_model,
    held_in_a_tool,
    left_in_a_tool,
    location,
    opened,
    path,
    until_parked,
)

import lash

__all__ = ["location", "path"]


@pytest.mark.parametrize("how", ["enqueue", "inject"])
async def test_input_that_cannot_be_kept_is_refused(location: str | Path, how: str) -> None:
    async with echo_session(location) as (_, session):
        say = getattr(session, how)
        assert await code_of(say(" ")) == "turn_input_empty"
        assert await code_of(say("\ud800")) == "turn_input_invalid"
        assert await code_of(say(7)) == "turn_input_invalid"
        assert await code_of(say("Hi.", source_key=" ")) == "source_key_invalid"
        assert await session.info() is None


async def test_a_boundary_that_does_not_exist_is_refused(location: str | Path) -> None:
    async with held_in_a_tool(location, turn_id="t") as (session, _):
        with pytest.raises(lash.LashError) as raised:
            await session.inject("Hi.", boundary="whenever")  # type: ignore[arg-type]  # that is the point
        assert not isinstance(raised.value, lash.StoreError)


@pytest.mark.parametrize(
    "layer",
    [
        "Be loud.",
        lash.PromptLayer.add("guidance", 7),  # type: ignore[arg-type]  # that is the point
        lash.PromptLayer(slots={"nowhere": 7}),  # type: ignore[dict-item]  # that is the point
    ],
    ids=["text", "content", "slot"],
)
async def test_a_prompt_layer_that_is_none_is_refused(location: str | Path, layer: Any) -> None:
    async with held_in_a_tool(location, turn_id="t") as (session, _):
        with pytest.raises(lash.LashError) as raised:
            await session.enqueue("Hi.", prompt_layer=layer)
        assert not isinstance(raised.value, lash.StoreError)


async def test_queued_input_for_another_agents_session_is_refused(location: str | Path) -> None:
    other = lash.Agent("other", model=Staged(echoing()))
    _, agent = echo_agent()
    async with opened(location, agent, other) as runtime:
        await runtime.session("s", agent="agent").run("Go.")
        session = runtime.session("s", agent="other")
        assert await code_of(session.enqueue("Hi.")) == "session_agent_mismatch"
        assert await code_of(session.inject("Hi.")) == "session_agent_mismatch"
        assert await session.pending() == []


async def closed_under_a_waiter(location: str | Path) -> str:
    """What somebody is told who waits for input that no turn has taken when the runtime closes."""
    async with held_at_the_model(location) as (session, _):
        queued = await session.enqueue("Later.")
        waiting = asyncio.create_task(queued.result())
        for _ in range(3):  # it has looked for the turn that takes its input, and found none
            await queued.refresh()
        assert not waiting.done()
    async with asyncio.timeout(2):
        return await code_of(waiting)


async def test_who_waits_for_queued_input_in_memory_is_told_that_the_runtime_closed() -> None:
    assert await closed_under_a_waiter(":memory:") == "runtime_closed"


async def test_who_waits_for_queued_input_on_a_file_is_told_that_the_runtime_closed(
    path: Path,
) -> None:
    assert await closed_under_a_waiter(path) == "runtime_closed"


async def code_of_result(session: lash.Session, what: str) -> str:
    """What who waits for an input or a command is told within a second."""
    async with asyncio.timeout(1):
        if what == "a command":
            return await code_of(session.configure(prompt=lash.PromptLayer()))
        say = session.enqueue if what == "queued input" else session.inject
        return await code_of((await say("Later.")).result())


@pytest.mark.parametrize("what", ["queued input", "injected input", "a command"])
async def test_who_waits_behind_a_turn_that_needs_a_person_is_told_as_run_tells(
    path: Path, what: str
) -> None:
    await left_in_a_tool(path)
    model = Staged(echoing())
    tools = [Holding(is_open=True).tool]
    changed = lash.Agent("agent", model=model, instructions="Changed.", tools=tools)
    async with opened(path, changed, on_drift="refuse") as runtime:
        session = runtime.session("s")
        await until_parked(session)
        assert await code_of(session.run("Now.")) == "effect_drift_refused"
        assert await code_of_result(session, what) == "effect_drift_refused"


@pytest.mark.parametrize("what", ["queued input", "a command"])
async def test_who_waits_behind_a_turn_whose_agent_is_missing_is_told_as_run_tells(
    path: Path, what: str
) -> None:
    await left_in_a_tool(path)
    newer = lash.Agent("agent", model=Staged(echoing()), version="2")
    async with opened(path, newer) as runtime:
        session = runtime.session("s")
        assert await code_of(session.run("Now.")) == "agent_version_missing"
        assert await code_of_result(session, what) == "agent_version_missing"
