"""Finding the functions that `--tools module:name` names."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from lash.app.agent import ToolLike
from lash.core.errors import ConfigurationError


def import_tools(specs: Sequence[str]) -> list[ToolLike]:
    """The functions, tools and lists of them that `specs` name, in order.

    Modules of the current directory can be imported, as with `python -m`.

    Raises:
        ConfigurationError: `tool_import_failed`, saying which part of which spec does not work.
    """
    here = str(Path.cwd())
    if specs and here not in sys.path:
        sys.path.insert(0, here)
    return [tool for spec in specs for tool in _tools_of(spec)]


def _tools_of(spec: str) -> list[ToolLike]:
    value = _value_of(spec)
    if isinstance(value, list | tuple):
        return [_tool(spec, item) for item in value]
    return [_tool(spec, value)]


def _value_of(spec: str) -> object:
    module_name, colon, name = spec.partition(":")
    if not colon or not module_name or not name or module_name.startswith("."):
        raise _failed(spec, "write it as MODULE:NAME, for example shop.tools:lookup_order")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            why = f"there is no module {error.name!r} here or among the installed packages"
            raise _failed(spec, why) from error
        raise _failed(spec, f"importing {module_name} failed: {error}") from error
    except Exception as error:  # a module's code may raise anything
        why = f"importing {module_name} failed: {type(error).__name__}: {error}"
        raise _failed(spec, why) from error
    if not hasattr(module, name):
        raise _failed(spec, f"module {module_name} has no {name!r}")
    return cast("object", getattr(module, name))


def _tool(spec: str, value: object) -> ToolLike:
    if isinstance(value, type) or not (callable(value) or hasattr(value, "spec")):
        why = f"it names a value of type {type(value).__name__}, not a function, a tool or a list of them"
        raise _failed(spec, why)
    return cast("ToolLike", value)


def _failed(spec: str, why: str) -> ConfigurationError:
    return ConfigurationError("tool_import_failed", f"--tools {spec}: {why}.", spec=spec)
