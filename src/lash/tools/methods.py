"""All tools of one object: the methods of its class that were declared with `@lash.tool`."""

import inspect

from lash.core.errors import ConfigurationError
from lash.tools.function import FunctionTool
from lash.tools.model import Tool
from lash.tools.raw import RawTool


def tools_of(instance: object) -> tuple[Tool, ...]:
    """The tools of an object, in the order in which its classes declare them, base classes first.

        Agent("shop", model=…, tools=[*lash.tools_of(orders), search])

    A method that a subclass overrides without `@lash.tool` is no tool of it.

    Args:
        instance: An object whose class declares methods as tools.

    Raises:
        ConfigurationError: `tool_signature_invalid`: it is a class, or declares no tools.
    """
    if isinstance(instance, type):
        raise ConfigurationError(
            "tool_signature_invalid",
            f"{instance.__name__} is a class; its tools are those of an instance. Make one and pass it, "
            f"as in `lash.tools_of({instance.__name__}(…))`.",
        )
    names = dict.fromkeys(name for kind in reversed(type(instance).__mro__) for name in vars(kind))
    declared = [name for name in names if _declares(type(instance), name)]
    if not declared:
        raise ConfigurationError(
            "tool_signature_invalid",
            f"{type(instance).__name__} declares no tools. Put @lash.tool above the methods that a model "
            "may call.",
        )
    return tuple(getattr(instance, name) for name in declared)


def _declares(kind: type, name: str) -> bool:
    """Whether a class has a tool of a name; looked at without running properties."""
    found = inspect.getattr_static(kind, name)
    if isinstance(found, staticmethod):
        found = found.__func__
    return isinstance(found, FunctionTool | RawTool)
