"""The output budget as a plugin: the model is shown a part, the record keeps the whole."""

from pathlib import Path

import pytest

import lash
from lash.contrib.budget_plugin import ToolOutputBudget
from lash.contrib.output_budget import OutputBudget
from lash.testing import ScriptedModel, calls, reply
from lash.turn.tools import ToolSuccess


@lash.tool
def long() -> str:
    """Say much."""
    return "first\n" + "x" * 10_000 + "\nlast"


@lash.tool(name="exec_command")
def command() -> str:
    """Print much."""
    return "first\n" + "x" * 20_000 + "\nlast"


@lash.tool
def breaks() -> str:
    """Fail at length."""
    raise lash.ToolError("y" * 2_000)


def agent() -> lash.Agent:
    model = ScriptedModel(
        [calls(("long", {}), ("exec_command", {}), ("breaks", {})), reply("Read."), reply("Again.")]
    )
    return lash.Agent("reader", model=model, tools=[long, command, breaks])


async def test_the_model_is_shown_a_part_and_the_record_keeps_all(tmp_path: Path) -> None:
    budget = ToolOutputBudget(OutputBudget(max_bytes=1_000))
    async with lash.Runtime(tmp_path / "a.db", agents=[agent()], plugins=[budget]) as runtime:
        session = runtime.session("s")
        result = await session.run("Read.")
        shown = [each.text for message in await session.history() for each in message.tool_results]
    assert len(shown[0].encode()) <= 1_000
    assert shown[0].startswith("first\n")
    assert shown[1].endswith("last")
    assert len(shown[1].encode()) <= 16_384
    assert shown[2] == "[Tool execution failed]\n" + "y" * 2_000
    kept = result.tool_calls[0].output.outcome
    assert isinstance(kept, ToolSuccess)
    assert kept.payload == "first\n" + "x" * 10_000 + "\nlast"


async def test_a_session_may_be_given_another_budget(tmp_path: Path) -> None:
    async with lash.Runtime(
        tmp_path / "a.db", agents=[agent()], plugins=[ToolOutputBudget()]
    ) as runtime:
        session = runtime.session("s")
        await session.configure(plugins={"tool_output_budget": {"max_bytes": 500}})
        await session.run("Read.")
        shown = [each.text for message in await session.history() for each in message.tool_results]
        assert len(shown[0].encode()) <= 500
        assert len(shown[1].encode()) <= 500
        await session.configure(plugins={"tool_output_budget": None})
        info = await runtime.engine.store.load_head("s")
        assert info is not None
        assert info.config.plugin_options == {}


def test_a_budget_that_nothing_fits_into_is_refused() -> None:
    with pytest.raises(lash.ConfigurationError) as refused:
        ToolOutputBudget(OutputBudget(max_bytes=10))
    assert refused.value.code == "tool_set_invalid"
