"""Plugins of installed packages are found by their entry points, and only those that are asked for."""

from pathlib import Path

import pytest

import lash
from lash.testing import ScriptedModel, calls, reply
from lash.turn.tools import ToolFailed

CODE = """
from lash.plugins import Deny, Plugin

class Guard(Plugin):
    id = "acme_guard"

    async def before_tool(self, call):
        return Deny("Not in this house.")

def broken():
    raise RuntimeError("no license")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip would install it."""
    site = tmp_path / "site"
    info = site / "acme_guard-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_guard_of_a_test.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-guard\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lash.plugins]\n"
        "guard = acme_guard_of_a_test:Guard\n"
        "broken = acme_guard_of_a_test:broken\n"
        "number = acme_guard_of_a_test:int\n"
    )
    monkeypatch.syspath_prepend(str(site))


@lash.tool
def delete_all() -> str:
    """Delete everything."""
    return "deleted"


@pytest.mark.usefixtures("package")
async def test_a_plugin_of_a_package_is_made_by_its_name() -> None:
    model = ScriptedModel([calls(("delete_all", {})), reply("It may not be.")])
    agent = lash.Agent("a", model=model, tools=[delete_all])
    plugins = lash.installed_plugins("guard")
    async with lash.Runtime(":memory:", agents=[agent], plugins=plugins) as runtime:
        session = runtime.session("s")
        result = await session.run("Delete all.")
        (call,) = result.tool_calls
        shown = [each.text for message in await session.history() for each in message.tool_results]
    assert shown == ["[Tool execution failed]\nNot in this house."]
    assert isinstance(call.output.outcome, ToolFailed)
    assert call.output.outcome.payload.code == "tool_denied"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("missing", "plugin_not_installed", "broken, guard, number"),
        ("broken", "plugin_invalid", "no license"),
        ("number", "plugin_invalid", "could not be loaded"),
    ],
)
def test_what_cannot_be_made_is_told(name: str, code: str, says: str) -> None:
    with pytest.raises(lash.ConfigurationError) as refused:
        lash.installed_plugins(name)
    assert refused.value.code == code
    assert says in refused.value.message
