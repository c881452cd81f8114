"""Finding what `module:name` on the command line names: tools, agents, processes, events."""

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, cast

from lash.app.agent import Agent, ToolLike
from lash.core.errors import ConfigurationError
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.triggers.events import TriggerEvent

#: Makes the error of an argument that cannot be used, given why.
_Refuse: TypeAlias = Callable[[str], ConfigurationError]


def import_tools(specs: Sequence[str]) -> list[ToolLike]:
    """The functions, tools and lists of them that `specs` name, in order.

    Modules of the current directory can be imported, as with `python -m`.

    Raises:
        ConfigurationError: `tool_import_failed`, saying which part of which spec does not work.
    """
    return [tool for spec in specs for tool in _tools_of(spec)]


def import_agents(spec: str) -> list[Agent]:
    """The agents that `module:name` names, or all that stand in `module`.

    The name may be that of an agent, of a list of agents, or of a function without parameters that
    returns either. Modules of the current directory can be imported, as with `python -m`.

    Raises:
        ConfigurationError: `agent_import_failed`, saying which part of the spec does not work.
    """

    def refuse(why: str) -> ConfigurationError:
        return ConfigurationError("agent_import_failed", f"--app {spec}: {why}.", spec=spec)

    module_name, colon, name = spec.partition(":")
    if not module_name or module_name.startswith(".") or (colon and not name):
        raise refuse("write it as MODULE or MODULE:NAME, for example shop.agents:support")
    module = _module(module_name, refuse)
    if colon:
        return _agents(_made(_attribute(module, name, refuse), refuse), refuse)
    # One agent may have several names there.
    found = {id(value): value for value in vars(module).values() if isinstance(value, Agent)}
    if not found:
        raise refuse(
            f"module {module_name} holds no agent of its own; write MODULE:NAME to name a list of "
            "agents, or a function that makes them"
        )
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker can run, and the events that what it runs may emit."""

    agents: list[Agent] = field(default_factory=list)
    processes: list[ProcessFunction[..., Any]] = field(default_factory=list)
    triggers: list[TriggerEvent] = field(default_factory=list)

    def take(self, value: object) -> bool:
        """Add an agent, a process function or an event, once; False for anything else."""
        kept: list[Any] | None = None
        if isinstance(value, Agent):
            kept = self.agents
        elif isinstance(value, ProcessFunction):
            kept = self.processes
        elif isinstance(value, TriggerEvent):
            kept = self.triggers
        if kept is None:
            return False
        if all(value is not known for known in kept):  # one may have several names
            kept.append(value)
        return True


def import_work(spec: str) -> Work:
    """The agents, process functions and events that stand in `module`, or that `module:name` names.

    The name may be that of one of them, of a list of them, or of a function without parameters that
    returns either. Modules of the current directory can be imported, as with `python -m`.

    Raises:
        ConfigurationError: `worker_module_invalid`, saying which part of the spec does not work.
    """

    def refuse(why: str) -> ConfigurationError:
        return ConfigurationError("worker_module_invalid", f"{spec}: {why}.", spec=spec)

    module_name, colon, name = spec.partition(":")
    if not module_name or module_name.startswith(".") or (colon and not name):
        raise refuse("write it as MODULE or MODULE:NAME, for example shop.work")
    module, work = _module(module_name, refuse), Work()
    if not colon:
        for value in vars(module).values():
            work.take(value)
        if not work.agents and not work.processes:
            raise refuse(
                f"module {module_name} holds no agent and no process function at its top level; "
                "decorate functions with @lash.process, or write MODULE:NAME to name a list"
            )
        return work
    value = _attribute(module, name, refuse)
    if not work.take(value):
        made = _made(value, refuse)
        for item in made if isinstance(made, list | tuple) else [made]:
            if not work.take(item):
                raise refuse(
                    f"it names a value of type {type(item).__name__}, not an agent, a process "
                    "function, a list of them, or a function that returns either"
                )
    if not work.agents and not work.processes:
        found = "events alone" if work.triggers else "an empty list"
        raise refuse(f"it names {found}; there is nothing to run")
    return work


# --- modules ----------------------------------------------------------------------------------------


def _module(name: str, refuse: _Refuse) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr):  # stdout is the command's own
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            why = f"there is no module {error.name!r} here or among the installed packages"
            raise refuse(why) from error
        raise refuse(f"importing {name} failed: {error}") from error
    except (Exception, SystemExit) as error:  # a module's code may raise anything
        why = f"importing {name} failed: {type(error).__name__}: {error}"
        raise refuse(why) from error


def _attribute(module: ModuleType, name: str, refuse: _Refuse) -> object:
    if not hasattr(module, name):
        raise refuse(f"module {module.__name__} has no {name!r}")
    return cast("object", getattr(module, name))


# --- tools ------------------------------------------------------------------------------------------


def _tools_of(spec: str) -> list[ToolLike]:
    def refuse(why: str) -> ConfigurationError:
        return ConfigurationError("tool_import_failed", f"--tools {spec}: {why}.", spec=spec)

    module_name, colon, name = spec.partition(":")
    if not colon or not module_name or not name or module_name.startswith("."):
        raise refuse("write it as MODULE:NAME, for example shop.tools:lookup_order")
    value = _attribute(_module(module_name, refuse), name, refuse)
    if isinstance(value, list | tuple):
        return [_tool(item, refuse) for item in value]
    return [_tool(value, refuse)]


def _tool(value: object, refuse: _Refuse) -> ToolLike:
    if isinstance(value, type) or not (callable(value) or hasattr(value, "spec")):
        kind = type(value).__name__
        raise refuse(f"it names a value of type {kind}, not a function, a tool or a list of them")
    return cast("ToolLike", value)


# --- agents -----------------------------------------------------------------------------------------


def _made(value: object, refuse: _Refuse) -> object:
    """What a function returns; any other value as it is."""
    if not callable(value) or isinstance(value, type):
        return value
    try:
        with redirect_stdout(sys.stderr):
            return cast("object", value())
    except (Exception, SystemExit) as error:  # it is code of the user's
        why = f"calling it without arguments failed: {type(error).__name__}: {error}"
        raise refuse(why) from error


def _agents(value: object, refuse: _Refuse) -> list[Agent]:
    items: Iterable[object] = value if isinstance(value, list | tuple) else [value]
    agents: list[Agent] = []
    for item in items:
        if not isinstance(item, Agent):
            raise refuse(
                f"it names a value of type {type(item).__name__}, not an agent, a list of agents, or "
                "a function that returns either"
            )
        agents.append(item)
    if not agents:
        raise refuse("it names an empty list; there is no agent to replay with")
    return agents
