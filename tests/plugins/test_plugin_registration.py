"""Which plugins go together, and what is said of those that do not."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lash
from lash.plugins import Plugin, PluginSession, ToolCallHook
from lash.plugins.plugin import HOOKS, overrides
from lash.plugins.registration import NO_PLUGINS, PluginSet
from lash.testing import ScriptedModel, reply


class Named(Plugin):
    """A plugin that does nothing."""

    def __init__(self, name: Any) -> None:
        self.id = name


class Other(Plugin):
    id = "twin"


class Shows(Plugin):
    def __init__(self, name: str) -> None:
        self.id = name

    def show(self, call: ToolCallHook, output: Any) -> str | None:
        return None


def refused(build: Callable[[], object], code: str) -> str:
    with pytest.raises(lash.ConfigurationError) as raised:
        build()
    assert raised.value.code == code
    return str(raised.value)


@given(st.lists(st.text("abc", min_size=1, max_size=2), max_size=6))
def test_ids_are_unique_and_a_conflict_names_both(names: list[str]) -> None:
    plugins = [Named(name) for name in names]
    if len(set(names)) == len(names):
        assert PluginSet(plugins).plugins == tuple(plugins)
        return
    said = refused(lambda: PluginSet(plugins), "plugin_conflict")
    twice = next(name for place, name in enumerate(names) if name in names[:place])
    assert repr(twice) in said


def test_a_conflict_of_ids_tells_the_classes_of_both() -> None:
    said = refused(lambda: PluginSet([Named("twin"), Other()]), "plugin_conflict")
    assert "'twin'" in said
    assert "Named" in said
    assert "Other" in said


def test_only_one_plugin_says_what_is_shown_and_both_are_named() -> None:
    one = PluginSet([Shows("first"), Named("between")])
    assert one.shows is not None
    assert one.shows.id == "first"
    said = refused(lambda: PluginSet([Shows("first"), Shows("second")]), "plugin_conflict")
    assert "'first'" in said
    assert "'second'" in said


@pytest.mark.parametrize("name", ["", "  ", None, 7, "\ud800"], ids=repr)
def test_an_id_is_text_that_can_be_kept(name: object) -> None:
    refused(lambda: PluginSet([Named(name)]), "plugin_invalid")


def test_an_id_must_be_given() -> None:
    refused(lambda: PluginSet([Plugin()]), "plugin_invalid")


@pytest.mark.parametrize(
    "given", [Other, "twin", None, object(), [Other()]], ids=lambda given: type(given).__name__
)
def test_what_is_no_plugin_is_refused(given: Any) -> None:
    assert repr(given) in refused(lambda: PluginSet([given]), "plugin_invalid")


@pytest.mark.parametrize("given", [Other(), "twin", None, 3], ids=repr)
def test_what_is_no_list_is_refused_wherever_plugins_are_given(given: Any) -> None:
    model = ScriptedModel([reply("Hi.")])
    refused(lambda: PluginSet(given), "plugin_invalid")
    refused(lambda: lash.Agent("a", model=model, plugins=given), "plugin_invalid")
    agent = lash.Agent("a", model=model)
    refused(lambda: lash.Runtime(":memory:", agents=[agent], plugins=given), "plugin_invalid")
    refused(lambda: lash.Runtime(":memory:", plugins=given), "plugin_invalid")


@pytest.mark.parametrize("hook", ["tools", "providers", "prompt", "offers", "show"])
def test_what_is_asked_at_once_cannot_be_async(hook: str) -> None:
    async def late(*_: object) -> None:
        return None

    plugin = Named("late")
    setattr(plugin, hook, late)
    said = refused(lambda: PluginSet([plugin]), "plugin_invalid")
    assert f"Named.{hook}" in said
    assert "'late'" in said


def test_a_plugin_that_overrides_nothing_is_asked_nothing() -> None:
    nothing = PluginSet([Other()])
    assert [hook for hook in HOOKS if nothing.at(hook)] == []
    assert not nothing.asks_before_tools
    assert bool(nothing)
    assert not NO_PLUGINS


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_counts_where_it_is_overridden_by_class_by_parent_or_on_the_object(
    hook: str,
) -> None:
    def own(*_: object) -> None:
        return None

    child = type("Child", (type("Parent", (Other,), {hook: own}),), {})()
    single = Other()
    setattr(single, hook, own)
    for plugin in (child, single):
        assert [each for each in HOOKS if overrides(plugin, each)] == [hook]
    kept = PluginSet([Named("before"), single, Named("after")])
    assert kept.at(hook) == (single,)


def test_plugins_are_asked_in_the_order_in_which_they_were_given() -> None:
    async def own(*_: object) -> None:
        return None

    plugins = [Named(name) for name in ("z", "a", "m")]
    for plugin in plugins:
        setattr(plugin, "before_tool", own)  # noqa: B010  mypy: a method
    assert [plugin.id for plugin in PluginSet(plugins).at("before_tool")] == ["z", "a", "m"]


def test_a_session_outside_of_any_hook_remembers_nothing() -> None:
    session = PluginSession(session_id="s", agent="a", plugin_id="p")
    assert session.state is None
    for act in (partial(session.remember, 1), partial(session.emit, "told")):
        with pytest.raises(lash.LashError) as raised:
            act()
        assert raised.value.code == "plugin_state_read_only"


def test_a_plugin_and_its_session_say_who_they_are_and_nothing_else() -> None:
    assert repr(Other()) == "<plugin twin>"
    session = PluginSession(session_id="s", agent="a", plugin_id="p", options={"mood": 1})
    assert "_keeper" not in repr(session)
