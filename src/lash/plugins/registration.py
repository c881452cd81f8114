"""Which plugins there are, in order, and whether they go together (tools spec 4.2)."""

import inspect
from collections.abc import Iterable, Mapping, Sequence

from lash.core.errors import ConfigurationError, LashError
from lash.core.text import is_utf8
from lash.plugins.operations import Operation, operation_of, operations_of
from lash.plugins.plugin import AT_ONCE, HOOKS, Plugin, overrides


class PluginSet:
    """The plugins of an agent, in the order in which they were given.

    Raises:
        ConfigurationError: `plugin_invalid`; `plugin_conflict`, naming both.
    """

    def __init__(self, plugins: Iterable[Plugin] = ()) -> None:
        self.plugins = _listed(plugins)
        seen: dict[str, Plugin] = {}
        for plugin in self.plugins:
            _check(plugin)
            if plugin.id in seen:
                raise ConfigurationError(
                    "plugin_conflict",
                    f"Two plugins are called {plugin.id!r}: {seen[plugin.id]!r} of "
                    f"{_kind(seen[plugin.id])} and {plugin!r} of {_kind(plugin)}. Leave one out, or "
                    "give it an id of its own.",
                    plugins=(plugin.id, plugin.id),
                )
            seen[plugin.id] = plugin
        self._hooks: Mapping[str, Sequence[Plugin]] = {
            hook: tuple(plugin for plugin in self.plugins if overrides(plugin, hook))
            for hook in HOOKS
        }
        self._check_exclusive("show", "what the model is shown of a tool's answer")
        self._check_exclusive("history", "what the model is shown of the conversation")
        self._operations = {plugin.id: operations_of(plugin) for plugin in self.plugins}

    def __bool__(self) -> bool:
        return bool(self.plugins)

    def at(self, hook: str) -> Sequence[Plugin]:
        """Those that do something at a hook, in order."""
        return self._hooks[hook]

    def operations(self, plugin_id: str) -> Mapping[str, Operation]:
        """What may be asked of a plugin, by name.

        Raises:
            LashError: `plugin_unknown`, naming those there are.
        """
        self.plugin(plugin_id)
        return self._operations[plugin_id]

    def operation(self, plugin_id: str, name: str) -> Operation:
        """What may be asked of a plugin under a name.

        Raises:
            LashError: `plugin_unknown`, `plugin_operation_unknown`.
        """
        return operation_of(self.plugin(plugin_id), self._operations[plugin_id], name)

    def plugin(self, plugin_id: str) -> Plugin:
        """The plugin of an id. Raises as `operations`."""
        for plugin in self.plugins:
            if plugin.id == plugin_id:
                return plugin
        known = ", ".join(repr(each.id) for each in self.plugins) or "none"
        raise LashError(
            "plugin_unknown",
            f"There is no plugin {plugin_id!r} here; there are: {known}. Nothing was done.",
            plugin_id=plugin_id,
        )

    @property
    def shows(self) -> Plugin | None:
        """The one that says what the model is shown of a tool's answer."""
        return next(iter(self.at("show")), None)

    @property
    def asks_before_tools(self) -> bool:
        """Whether anybody is asked around tool calls."""
        return bool(self.at("before_tool") or self.at("after_tool") or self.at("show"))

    def _check_exclusive(self, hook: str, what: str) -> None:
        several = [plugin.id for plugin in self.at(hook)]
        if len(several) > 1:
            raise ConfigurationError(
                "plugin_conflict",
                f"The plugins {several[0]!r} and {several[1]!r} both say {what}; only one may. Leave "
                "one out.",
                plugins=tuple(several[:2]),
            )


def _listed(plugins: object) -> tuple[Plugin, ...]:
    if not isinstance(plugins, Iterable) or isinstance(plugins, str):
        raise ConfigurationError(
            "plugin_invalid", f"Plugins are given as a list: plugins=[…], not {plugins!r}."
        )
    return tuple(plugins)


def _check(plugin: Plugin) -> None:
    given: object = plugin
    if not isinstance(given, Plugin):
        raise ConfigurationError(
            "plugin_invalid",
            f"{given!r} is no plugin; pass objects of classes that derive from lash.Plugin.",
        )
    name: object = plugin.id
    if not isinstance(name, str) or not name.strip() or not is_utf8(name):
        raise ConfigurationError(
            "plugin_invalid", f"{_kind(plugin)} needs an id: text that is not blank."
        )
    for hook in AT_ONCE:
        # Its coroutine would pass for an answer: a tool that is withheld would be on offer.
        if inspect.iscoroutinefunction(getattr(plugin, hook)):
            raise ConfigurationError(
                "plugin_invalid",
                f"{_kind(plugin)}.{hook} of plugin {name!r} is asked at once and must be a plain "
                "function: write `def`, not `async def`.",
                plugin=name,
            )


def _kind(plugin: Plugin) -> str:
    return type(plugin).__qualname__


#: What an agent without plugins has.
NO_PLUGINS = PluginSet()
