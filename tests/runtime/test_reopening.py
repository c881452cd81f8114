"""Opening a file again: what was left is finished, by the right code only, and silently replayed."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hooked_store import contents

import lash
from lash.core.json import canonical
from lash.events import (
    ModelRequestStarted,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    UsageReported,
)
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.testing import ScriptedModel, calls, reply
from lash.testing.scripted import Step, calls_made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


SCRIPT = [
    calls(("note", {"text": "one"}), ("note", {"text": "two"}), text="Noting."),
    calls(("wait", {})),
    reply("Over."),
]


class World:
    """An agent with two tools; `wait` waits until the world goes on. Notes what really runs."""

    def __init__(
        self,
        *,
        goes_on: bool = False,
        script: Sequence[Step] = SCRIPT,
        suffix: str = "",
        more_tools: Sequence[Callable[..., object]] = (),
        **options: Any,
    ) -> None:
        self.ran: list[str] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        if goes_on:
            self.go.set()

        @lash.tool
        async def note(text: str) -> str:
            """Note a text."""
            self.ran.append(text)
            return text + suffix

        @lash.tool
        async def wait() -> str:
            """Wait."""
            self.ran.append("wait")
            self.begun.set()
            await self.go.wait()
            return "done"

        self.model = ScriptedModel(script)
        declared: dict[str, Any] = {"name": "scribe", "instructions": "Be brief.", **options}
        self.agent = lash.Agent(model=self.model, tools=[note, wait, *more_tools], **declared)


async def leave_a_turn(path: Path, **options: Any) -> None:
    """Accept a turn, record one model call and two tools, and close while the third tool runs."""
    world = World(**options)
    async with lash.Runtime(path, agents=[world.agent]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Write.", turn_id="t"))
        await world.begun.wait()
    with pytest.raises(lash.LashError, match="The input is kept"):
        await running
    assert world.ran == ["one", "two", "wait"]


async def state(runtime: lash.Runtime) -> tuple[str, int, int]:
    (summary,) = await runtime.sessions()
    return summary.state, summary.turns, summary.open_turns


async def refusal(session: lash.Session, prompt: str = "And now?", **named: Any) -> lash.LashError:
    with pytest.raises(lash.LashError) as raised:
        await session.run(prompt, **named)
    return raised.value


# --- resuming -------------------------------------------------------------------------------------------


async def test_opening_finishes_what_was_left_without_being_asked(path: Path) -> None:
    await leave_a_turn(path)
    world = World(goes_on=True)
    async with lash.Runtime(path, agents=[world.agent]) as runtime:
        await runtime.idle(timeout=20)
        assert await state(runtime) == ("idle", 1, 0)
        (turn,) = await runtime.session("s").turns()
    assert turn.text == "Over."
    assert [call.tool for call in turn.tool_calls] == ["note", "note", "wait"]
    assert world.ran == ["wait"]  # the notes were recorded
    assert [calls_made(request) for request in world.model.requests] == [2]


async def test_a_finished_file_is_left_alone(path: Path) -> None:
    world = World(goes_on=True)
    async with lash.Runtime(path, agents=[world.agent]) as runtime:
        await runtime.session("s").run("Write.")
    before = contents(path)
    async with lash.Runtime(path, agents=[world.agent]) as runtime:
        await runtime.idle(timeout=20)
        assert contents(path) == before


async def test_replayed_work_announces_nothing(path: Path) -> None:
    await leave_a_turn(path)
    world = World()
    async with (
        lash.Runtime(path, agents=[world.agent]) as runtime,
        runtime.session("s").stream("Write.", turn_id="t") as live,
        asyncio.timeout(20),
    ):
        await world.begun.wait()
        world.go.set()
        heard = [event async for event in live]
        result = await live.result()
    assert [event.tool for event in heard if isinstance(event, ToolCallStarted)] in ([], ["wait"])
    assert [event.call.tool for event in heard if isinstance(event, ToolCallCompleted)] == ["wait"]
    started = [event for event in heard if isinstance(event, ModelRequestStarted)]
    assert [event.protocol_iteration for event in started] == [2]
    texts = [event.text for event in heard if isinstance(event, TextDelta)]
    assert "".join(texts) == "Over." == result.text
    assert sum(isinstance(event, UsageReported) for event in heard) == 1
    assert result.usage.input_tokens == 30  # the replayed calls count all the same


async def test_turns_queued_behind_the_one_left_are_finished_in_order(path: Path) -> None:
    world = World()
    async with lash.Runtime(path, agents=[world.agent]) as runtime:
        session = runtime.session("s")
        running = [asyncio.create_task(session.run("First."))]
        await world.begun.wait()
        running += [asyncio.create_task(session.run(text)) for text in ("Second.", "Third.")]
        while (await state(runtime))[2] < 3:  # noqa: ASYNC110  accepted when the store says so
            await asyncio.sleep(0)
    for task in running:
        with pytest.raises(lash.LashError, match="The input is kept"):
            await task
    async with lash.Runtime(path, agents=[World(goes_on=True).agent]) as runtime:
        await runtime.idle(timeout=20)
        history = await runtime.session("s").history()
    asked = [item.text for item in history if item.role == "user" and item.text]
    assert asked == ["First.", "Second.", "Third."]


# --- agents that are not here ---------------------------------------------------------------------------


async def test_a_turn_waits_for_its_agent_and_is_finished_where_it_is(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await leave_a_turn(path)
    other = lash.Agent("other", model=ScriptedModel([reply("Hi.")]))
    with caplog.at_level(logging.WARNING, "lash.runtime"):
        async with lash.Runtime(path, agents=[other]) as runtime, asyncio.timeout(20):
            await runtime.idle()  # what waits for an agent is not work that could go on here
            assert await state(runtime) == ("parked", 0, 1)
            assert (await runtime.session("free").run("Hello?")).text == "Hi."
            before = contents(path)
            assert (await refusal(runtime.session("s"))).code == "agent_unknown"
            assert contents(path) == before
    assert "waits for a runtime that has the agent" in caplog.text.replace("\n", " ")

    async with lash.Runtime(path, agents=[other, World(goes_on=True).agent]) as runtime:
        await runtime.idle(timeout=20)
        assert [turn.text for turn in await runtime.session("s").turns()] == ["Over."]


async def test_a_turn_waits_for_its_version_and_so_does_what_is_accepted_behind_it(
    path: Path,
) -> None:
    await leave_a_turn(path)
    newer = World(goes_on=True, version="2", script=[reply("Newer.")])
    async with lash.Runtime(path, agents=[newer.agent]) as runtime, asyncio.timeout(20):
        await runtime.idle()
        assert await state(runtime) == ("parked", 0, 1)
        error = await refusal(runtime.session("s"), "Write.", turn_id="t")
        assert error.code == "agent_version_missing"
        assert "register that version beside the new one" in error.message
        error = await refusal(runtime.session("s"), "And now?", turn_id="t2")
        assert error.code == "agent_version_missing"
        assert error.details["waits_behind"] == "t"
        assert "Do not send it again" in error.message
        assert await state(runtime) == ("parked", 0, 2)
    assert newer.ran == []

    older = World(goes_on=True)
    async with lash.Runtime(path, agents=[older.agent, newer.agent]) as runtime:
        await runtime.idle(timeout=20)
        turns = await runtime.session("s").turns()
    assert [(turn.turn_id, turn.text) for turn in turns] == [("t", "Over."), ("t2", "Newer.")]


# --- code that asks for something else ------------------------------------------------------------------


def reword_the_input(path: Path, before: str, after: str) -> None:
    """Have the turn of session `s` begin with other words, as an edited template would."""
    connection = sqlite3.connect(path)
    reword = "UPDATE inputs SET input = replace(input, ?, ?) WHERE session_id = 's'"
    assert connection.execute(reword, (before, after)).rowcount == 1
    connection.commit()
    connection.close()


async def test_a_turn_whose_code_asks_for_something_else_is_parked_until_the_right_code_comes(
    path: Path,
) -> None:
    await leave_a_turn(path)
    reword_the_input(path, "Write.", "Wrote.")
    world = World(goes_on=True)
    async with lash.Runtime(path, agents=[world.agent]) as runtime, asyncio.timeout(20):
        await runtime.idle()
        assert await state(runtime) == ("parked", 0, 1)
        (summary,) = await runtime.sessions()
        assert summary.parked is not None
        assert summary.parked.code == "effect_replay_mismatch"
        before = contents(path)
        error = await refusal(runtime.session("s"))
        assert error.code == "effect_replay_mismatch"
        assert "'t'" in error.message
        assert "Nothing was accepted" in error.message
        attached = await refusal(runtime.session("s"), "Wrote.", turn_id="t")
        assert attached.code == "effect_replay_mismatch"
        assert contents(path) == before
        assert (await runtime.session("free").run("Write.")).text == "Over."
    assert world.ran.count("one") == 1  # only in the free session

    reword_the_input(path, "Wrote.", "Write.")
    right = World(goes_on=True)
    async with lash.Runtime(path, agents=[right.agent]) as runtime, asyncio.timeout(20):
        follow_up = await runtime.session("s").run("And now?")  # not refused: it is tried again
        turns = await runtime.session("s").turns()
    assert [turn.turn_id for turn in turns] == ["t", follow_up.turn_id]
    assert turns[0].text == "Over."


async def test_a_caller_who_waits_for_a_turn_that_parks_is_told_where_it_diverged(
    path: Path,
) -> None:
    await leave_a_turn(path)
    reword_the_input(path, "Write.", "Wrote.")
    world = World(goes_on=True)
    async with lash.Runtime(path, agents=[world.agent]) as runtime, asyncio.timeout(20):
        error = await refusal(runtime.session("s"), "Wrote.", turn_id="t")
    assert error.code == "effect_replay_mismatch"
    assert "t" in error.message


# --- what a deploy changes ------------------------------------------------------------------------------


async def extra() -> str:
    """A tool that a deploy adds."""
    return "extra"


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"instructions": "Be long."}, {"surroundings.instructions"}),
        ({"more_tools": [extra]}, {"surroundings.tools"}),
        (
            {"instructions": "Be long.", "more_tools": [extra]},
            {"surroundings.instructions", "surroundings.tools"},
        ),
    ],
)
async def test_drift_is_accepted_and_reported_by_path(
    path: Path, changes: dict[str, Any], paths: set[str]
) -> None:
    await leave_a_turn(path)
    world = World(goes_on=True, **changes)
    async with lash.Runtime(path, agents=[world.agent]) as runtime:
        await runtime.idle(timeout=20)
        (turn,) = await runtime.session("s").turns()
    assert turn.is_success
    assert world.ran == ["wait"]
    assert [issue.code for issue in turn.issues] == ["surroundings_drift"] * 2  # two model calls
    assert {path for issue in turn.issues for path in issue.paths} == paths


async def test_drift_is_refused_where_the_host_wants_that(path: Path) -> None:
    await leave_a_turn(path)
    changed = World(goes_on=True, instructions="Be long.")
    async with lash.Runtime(path, agents=[changed.agent], on_drift="refuse") as runtime:
        await runtime.idle(timeout=20)
        assert await state(runtime) == ("parked", 0, 1)
        error = await refusal(runtime.session("s"))
        assert error.code == "effect_drift_refused"
    assert changed.ran == []

    same = World(goes_on=True)
    async with lash.Runtime(path, agents=[same.agent], on_drift="refuse") as runtime:
        await runtime.idle(timeout=20)
        (turn,) = await runtime.session("s").turns()
    assert turn.text == "Over."
    assert turn.issues == ()


async def test_a_version_left_to_drain_runs_with_its_own_code(path: Path) -> None:
    await leave_a_turn(path)
    old = World(goes_on=True)
    new = World(goes_on=True, version="2", instructions="Be long.", script=[reply("New.")])
    agents = [old.agent, new.agent]
    async with lash.Runtime(path, agents=agents, on_drift="refuse") as runtime:
        await runtime.idle(timeout=20)
        second = await runtime.session("s").run("And now?")
        first, _ = await runtime.session("s").turns()
    assert (first.text, first.issues, second.text) == ("Over.", (), "New.")


# --- prompt caches ----------------------------------------------------------------------------------------


class Recording(ScriptedModel):
    """Keeps each request's messages as the bytes they come to."""

    def __init__(self, kept: list[tuple[bytes, ...]]) -> None:
        super().__init__(SCRIPT)
        self._kept = kept

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        self._kept.append(tuple(canonical(message) for message in request.messages))
        return await super().complete(request, emit)


async def test_every_request_of_a_session_extends_the_one_before_also_after_a_restart(
    path: Path,
) -> None:
    kept: list[tuple[bytes, ...]] = []

    def agent(world: World) -> lash.Agent:
        model = Recording(kept)
        tools = world.agent.tools
        return lash.Agent("scribe", model=model, instructions="Be brief.", tools=tools)

    world = World()
    async with lash.Runtime(path, agents=[agent(world)]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("First."))
        await world.begun.wait()
    with pytest.raises(lash.LashError):
        await running
    for number in range(2):
        async with lash.Runtime(path, agents=[agent(World(goes_on=True))]) as runtime:
            await runtime.idle(timeout=20)
            for prompt in ("Another.", "And another."):
                await runtime.session("s").run(f"{number}: {prompt}")

    assert len(kept) == 3 + 4 * 3  # the turn left behind asked twice, and once more when resumed
    for before, after in pairwise(kept):
        assert after[: len(before)] == before
        assert len(after) > len(before)
