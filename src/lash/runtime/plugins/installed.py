"""Plugins that installed packages offer, by entry point.

A package says in its `pyproject.toml`:

    [project.entry-points."lash.plugins"]
    audit = "acme_audit:AuditPlugin"
"""

from collections.abc import Sequence

from lash.core.errors import ConfigurationError
from lash.core.text import described
from lash.plugins.plugin import Plugin

GROUP = "lash.plugins"


def installed_plugins(*names: str) -> Sequence[Plugin]:
    """The plugins that packages offer under these names, made without arguments; all of them by default.

    Nothing is loaded that is not asked for here: installing a package changes no runtime by itself.

    Raises:
        ConfigurationError: `plugin_not_installed`, naming what there is; `plugin_invalid`: what is
            offered could not be loaded, or is no plugin.
    """
    from importlib.metadata import entry_points  # slow to import, for the few who ask

    offered = {point.name: point for point in entry_points(group=GROUP)}
    for name in names:
        if name not in offered:
            known = ", ".join(sorted(offered)) or "none"
            raise ConfigurationError(
                "plugin_not_installed",
                f"No installed package offers a plugin {name!r}; there are: {known}. Install the package "
                "that has it.",
                plugin=name,
            )
    made: list[Plugin] = []
    for name in names or sorted(offered):
        try:
            plugin = offered[name].load()()
        except Exception as error:
            raise ConfigurationError(
                "plugin_invalid", f"The plugin {name!r} could not be loaded: {described(error)}"
            ) from error
        if not isinstance(plugin, Plugin):
            raise ConfigurationError(
                "plugin_invalid", f"What is offered as plugin {name!r} is none: {plugin!r}."
            )
        made.append(plugin)
    return made
