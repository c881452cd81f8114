"""What a turn costs the store: one transaction to accept, one per effect, one to commit (D5)."""

from pathlib import Path

import lash
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, calls, reply


@lash.tool
async def step(number: int) -> int:
    """Do a step."""
    return number


def transactions(runtime: lash.Runtime) -> int:
    store = runtime.engine.store
    assert isinstance(store, SqliteStore)
    return store.transactions


async def cost_of(path: Path, script: ScriptedModel, turns: int = 1) -> list[int]:
    agent = lash.Agent("worker", model=script, tools=[step])
    costs = []
    async with lash.Runtime(path, agents=[agent]) as runtime:
        session = runtime.session("s", agent="worker")
        for _ in range(turns):
            before = transactions(runtime)
            assert (await session.run("Work.")).is_success
            await runtime.idle()
            costs.append(transactions(runtime) - before)
    return costs


async def test_a_turn_of_eleven_model_calls_and_ten_tools_is_23_transactions(
    tmp_path: Path,
) -> None:
    script = [*(calls(("step", {"number": number})) for number in range(10)), reply("Over.")]
    assert await cost_of(tmp_path / "agents.db", ScriptedModel(script)) == [23]


async def test_a_turn_costs_the_same_however_long_the_history_is(tmp_path: Path) -> None:
    script = [calls(("step", {"number": 1})), reply("Over.")]
    assert await cost_of(tmp_path / "agents.db", ScriptedModel(script), turns=5) == [5] * 5


async def test_an_answer_costs_three(tmp_path: Path) -> None:
    assert await cost_of(tmp_path / "agents.db", ScriptedModel([reply("Hi.")])) == [3]


async def test_a_repeated_call_that_joins_a_committed_turn_costs_one(tmp_path: Path) -> None:
    agent = lash.Agent("worker", model=ScriptedModel([reply("Hi.")]))
    async with lash.Runtime(tmp_path / "agents.db", agents=[agent]) as runtime:
        session = runtime.session("s", agent="worker")
        await session.run("Work.", turn_id="t")
        before = transactions(runtime)
        await session.run("Work.", turn_id="t")
        await runtime.idle()
        assert transactions(runtime) - before == 1
