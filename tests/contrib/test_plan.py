"""`update_plan`: the plan is in the conversation, and nowhere else."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.contrib.plan import Plan, PlanStep, current_plan
from lash.testing import ScriptedModel, calls, reply

FIRST = [{"step": "Look", "status": "in_progress"}, {"step": "Mend"}]
THEN = [{"step": "Look", "status": "completed"}, {"step": "Mend", "status": "in_progress"}]


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else tmp_path / "a.db"


def planner(*plans: Any, **more: Any) -> lash.Agent:
    script = [*(calls(("update_plan", {"plan": plan, **more})) for plan in plans), reply("Done.")]
    return lash.Agent("planner", model=ScriptedModel(script), tools=Plan().tools())


def payloads(turn: lash.TurnResult) -> list[Any]:
    return [call.output.outcome.payload for call in turn.tool_calls]


async def test_the_plan_is_the_tool_s_result_and_the_last_one_is_found_in_the_history(
    location: str | Path,
) -> None:
    agent = planner(FIRST, THEN, explanation="because")
    async with asyncio.timeout(30), lash.Runtime(location, agents=[agent]) as runtime:
        session = runtime.session("s")
        assert current_plan(await session.history()) is None
        turn = await session.run("Go.")
        history = await session.history()
    assert payloads(turn)[0] == {
        "plan": [
            {"step": "Look", "status": "in_progress"},
            {"step": "Mend", "status": "pending"},
        ],
        "explanation": "because",
    }
    assert current_plan(history) == [
        PlanStep(step="Look", status="completed"),
        PlanStep(step="Mend", status="in_progress"),
    ]


async def test_at_most_one_step_is_in_progress_and_a_refused_plan_changes_nothing(
    location: str | Path,
) -> None:
    both = [{"step": "a", "status": "in_progress"}, {"step": "b", "status": "in_progress"}]
    agent = planner(FIRST, both)
    async with asyncio.timeout(30), lash.Runtime(location, agents=[agent]) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.")
        plan = current_plan(await session.history())
    assert payloads(turn)[1].code == "plan_invalid"
    assert plan is not None
    assert [each.step for each in plan] == ["Look", "Mend"]


@pytest.mark.parametrize(
    "plan",
    [
        [{"step": ""}],
        [{"step": "x" * 2001}],
        [{"step": "a", "status": "done"}],
        [{"step": "a"}] * 51,
    ],
)
async def test_a_plan_within_bounds_only(plan: Any) -> None:
    agent = planner(plan)
    async with asyncio.timeout(30), lash.Runtime(":memory:", agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    assert payloads(turn)[0].code == "invalid_tool_args"


async def test_a_plan_may_be_emptied() -> None:
    async with asyncio.timeout(30), lash.Runtime(":memory:", agents=[planner([])]) as runtime:
        session = runtime.session("s")
        await session.run("Go.")
        assert current_plan(await session.history()) == []
