"""What a tool call costs: in a turn, in memory and on disk; its checks, its hooks, its catalogue; over MCP.

    python bench/tools.py [--rounds 5] [--quick] [--no-mcp] [--json]

The model answers at once and the tools do nothing. A call's cost is what a turn with calls takes longer
than a turn without, over their number; the first of a message also pays for the second model call. It
stands beside a bare call of the same function, and SQLite beside memory, in the same run, round by
round in turns: trust the ratios. Checks are timed alone. A catalogue's cost is a turn of one call with
1,000 tools beside one with 10, and what each turn leaves in memory. A call over MCP stands beside one of
the official client to the same server. Not shown: large arguments and results, many sessions at once.
"""

import argparse
import asyncio
import importlib.util
import json
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

import lash
from lash.plugins.contexts import ToolCallHook
from lash.plugins.directives import AfterTool, BeforeTool
from lash.testing import ScriptedModel, calls, reply
from lash.testing.scripted import Step
from lash.turn.tools import ToolOutput
from samples import Facts, Samples

_SERVER = """
from mcp.server import MCPServer

server = MCPServer("bench")

@server.tool()
def nothing(number: int) -> str:
    return "done"

server.run("stdio")
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything is measured in a round."""

    rounds: int = 5
    turns: int = 20
    messages: tuple[int, ...] = (1, 8, 64)
    bare: int = 20_000
    checks: int = 200
    properties: tuple[int, ...] = (5, 50, 500)
    catalogue: tuple[int, int] = (10, 1_000)
    mcp_calls: int = 100


QUICK = Sizes(
    rounds=1, turns=1, messages=(1, 8), bare=1_000, checks=3, catalogue=(10, 100), mcp_calls=10
)


async def on_the_loop(number: int) -> str:
    """Do nothing."""
    return f"done {number}"


def in_a_thread(number: int) -> str:
    """Do nothing."""
    return f"done {number}"


class Hooks(lash.Plugin):
    """Is asked around every call, and lets all of it pass."""

    id = "bench-hooks"

    def __init__(self) -> None:
        self.asked = 0

    async def before_tool(self, call: ToolCallHook) -> BeforeTool | None:
        """Have it run as it is."""
        del call
        self.asked += 1
        return None

    async def after_tool(self, call: ToolCallHook, output: ToolOutput) -> AfterTool | None:
        """Let its answer stand."""
        del call, output
        self.asked += 1
        return None


# --- turns --------------------------------------------------------------------------------------------


def agent(tools: Sequence[Any], tool: str, count: int) -> lash.Agent:
    """An agent whose model calls a tool so many times in one message, and then answers."""
    made = [(tool, {"number": number}) for number in range(count)]
    script: list[Step] = [calls(*made), reply("Over.")] if made else [reply("Over.")]
    return lash.Agent("bench", model=ScriptedModel(script), tools=tools)


async def turn_us(runtime: lash.Runtime, turns: int, name: str) -> float:
    """The median of some turns, each of a new session, in microseconds."""
    took: list[float] = []
    for number in range(turns + 1):
        session = runtime.session(f"{name}-{number}")
        started = time.perf_counter()
        result = await session.run("Go.")
        took.append((time.perf_counter() - started) * 1e6)
        assert result.text == "Over."
    return statistics.median(took[1:])  # the first warms up


async def calls_us(
    store: str | Path, tool: Any, count: int, turns: int, *plugins: lash.Plugin
) -> float:
    """What a turn with so many calls takes longer than one without, for each of them."""
    async with lash.Runtime(store, agents=[agent([tool], tool.name, 0)]) as runtime:
        without = await turn_us(runtime, turns, f"none-{time.perf_counter_ns()}")
    many = agent([tool], tool.name, count)
    async with lash.Runtime(store, agents=[many], plugins=plugins) as runtime:
        return (await turn_us(runtime, turns, f"some-{time.perf_counter_ns()}") - without) / count


async def measure_calls(folder: Path, sizes: Sizes, samples: Samples) -> None:
    for body, kind in ((on_the_loop, "async"), (in_a_thread, "sync")):
        samples.note(f"bare_{kind}_us", await bare_us(body, sizes.bare))
        tool = lash.tool(body)
        for count in sizes.messages:
            for store, place in ((":memory:", "memory"), (folder / "bench.db", "sqlite")):
                name = f"{place}_{kind}_{count}"
                samples.note(f"{name}_us", await calls_us(store, tool, count, sizes.turns))
                samples.ratio(f"{name}_to_bare", f"{name}_us", f"bare_{kind}_us")
            samples.ratio(
                f"sqlite_{kind}_{count}_to_memory",
                f"sqlite_{kind}_{count}_us",
                f"memory_{kind}_{count}_us",
            )


async def bare_us(body: Callable[[int], Awaitable[str] | str], count: int) -> float:
    started = time.perf_counter()
    for number in range(count):
        result = body(number)
        if not isinstance(result, str):
            await result
    return (time.perf_counter() - started) * 1e6 / count


async def measure_hooks(sizes: Sizes, samples: Samples) -> None:
    """A hook before and one behind each of the calls of a message."""
    tool, count = lash.tool(on_the_loop), max(sizes.messages)
    without = await calls_us(":memory:", tool, count, sizes.turns)
    hooks = Hooks()
    hooked = await calls_us(":memory:", tool, count, sizes.turns, hooks)
    assert hooks.asked == 2 * count * (sizes.turns + 1)
    samples.note("hooks_us", max(0.0, hooked - without))
    samples.note("hooks_to_call", hooked / without)


async def measure_catalogue(sizes: Sizes, samples: Samples) -> None:
    """A turn of one call, with few tools and with many."""
    for label, count in zip(("few", "many"), sizes.catalogue, strict=True):
        tools = [_numbered(number) for number in range(count)]
        who = agent(tools, "look_0", 1)
        async with lash.Runtime(":memory:", agents=[who]) as runtime:
            samples.note(f"{label}_tools_us", await turn_us(runtime, sizes.turns, "timed"))
            _forget(who)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            session = runtime.session("kept")
            for _ in range(sizes.turns):
                await session.run("Go.")
                _forget(who)
            kept = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            samples.note(f"{label}_tools_kib", kept / 1024 / sizes.turns)
    samples.ratio("many_tools_to_few", "many_tools_us", "few_tools_us")
    samples.ratio("many_tools_kib_to_few", "many_tools_kib", "few_tools_kib")


def _numbered(place: int) -> Any:
    async def look(number: int) -> str:
        """Look one of many things up, and tell what it is."""
        return f"done {number}"

    return lash.tool(name=f"look_{place}")(look)


def _forget(who: lash.Agent) -> None:
    model = who.model
    if isinstance(model, ScriptedModel):
        model.requests.clear()  # kept for tests; here it would be the bench's own growth


# --- checks -------------------------------------------------------------------------------------------


def measure_checks(sizes: Sizes, samples: Samples) -> None:
    """Arguments that fit, checked against schemas of some sizes; and the first check, which compiles."""
    for count in sizes.properties:
        names = [f"p{number}" for number in range(count)]
        flat = dict.fromkeys(names, 1)
        shape = msgspec.defstruct(f"Shape{count}", [(name, int) for name in names])
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: {"type": "integer"} for name in names},
            "required": names,
        }
        samples.note(f"check_function_{count}_us", check_us(_taking(shape), {"a": flat}, sizes))
        samples.note(f"check_raw_{count}_us", check_us(_raw(schema), flat, sizes))
        # As many again, ten to an object.
        inner = {"type": "object", "properties": {f"q{n}": {"type": "integer"} for n in range(10)}}
        groups = max(1, count // 10)
        nested = {"type": "object", "properties": {f"g{n}": inner for n in range(groups)}}
        value = {f"g{n}": {f"q{m}": 1 for m in range(10)} for n in range(groups)}
        samples.note(f"check_nested_{count}_us", check_us(_raw(nested), value, sizes))
    few, many = min(sizes.properties), max(sizes.properties)
    for kind in ("function", "raw", "nested"):
        samples.ratio(f"check_{kind}_growth", f"check_{kind}_{many}_us", f"check_{kind}_{few}_us")


def _taking(shape: Any) -> Any:
    async def take(a: Any) -> None:
        """Take it."""

    take.__annotations__["a"] = shape
    return lash.tool(take)


def _raw(schema: dict[str, Any]) -> Any:
    return lash.raw_tool("take", "Take it.", schema, str)


def check_us(tool: Any, args: dict[str, Any], sizes: Sizes) -> float:
    tool.check(args)  # compiled once
    started = time.perf_counter()
    for _ in range(sizes.checks):
        tool.check(args)
    return (time.perf_counter() - started) * 1e6 / sizes.checks


# --- MCP ----------------------------------------------------------------------------------------------


async def measure_mcp(folder: Path, sizes: Sizes, samples: Samples) -> None:
    """Calls one after the other: of the official client, and in a turn."""
    from mcp import Client, StdioServerParameters

    from lash.contrib.mcp import Mcp, StdioServer

    script = folder / "server.py"
    script.write_text(_SERVER)
    parameters = StdioServerParameters(command=sys.executable, args=[str(script)])
    count = sizes.mcp_calls
    async with Client(parameters) as client:
        await client.call_tool("nothing", {"number": 0})
        started = time.perf_counter()
        for number in range(count):
            await client.call_tool("nothing", {"number": number})
        samples.note("mcp_client_us", (time.perf_counter() - started) * 1e6 / count)
    name = "mcp__bench__nothing"
    steps: list[Step] = [calls((name, {"number": number})) for number in range(count)]
    over = lash.Agent("bench", model=ScriptedModel([*steps, reply("Over.")]), max_turns=count + 1)
    local = lash.Agent(
        "local",
        model=ScriptedModel([calls(("on_the_loop", {"number": 0}))] * count + [reply("Over.")]),
        tools=[lash.tool(on_the_loop)],
        max_turns=count + 1,
    )
    mcp = Mcp([StdioServer("bench", sys.executable, [str(script)])])
    async with lash.Runtime(":memory:", agents=[over, local], plugins=[mcp]) as runtime:
        took: dict[str, float] = {}
        for which in ("local", "bench"):
            started = time.perf_counter()
            result = await runtime.session(which, agent=which).run("Go.")
            took[which] = (time.perf_counter() - started) * 1e6 / count
            assert len(result.tool_calls) == count
    # What the turn itself costs is a turn of as many calls of a function.
    samples.note("mcp_call_us", max(0.0, took["bench"] - took["local"]))
    samples.ratio("mcp_to_client", "mcp_call_us", "mcp_client_us")


# --- all of it ----------------------------------------------------------------------------------------


async def measure(folder: Path, sizes: Sizes, *, mcp: bool) -> Facts:
    samples = Samples()
    for number in range(sizes.rounds):
        print(f"round {number + 1} of {sizes.rounds} ...", file=sys.stderr)
        await measure_calls(folder, sizes, samples)
        await measure_hooks(sizes, samples)
        await measure_catalogue(sizes, samples)
        measure_checks(sizes, samples)
        if mcp:
            await measure_mcp(folder, sizes, samples)
    return samples.facts()


def rows(facts: Facts, sizes: Sizes) -> list[tuple[str, str, str]]:
    """What is shown: a measure, its value, its ratios."""

    def us(name: str) -> str:
        return f"{facts[name]['median']:,.1f} µs"

    def ratio(name: str, of: str) -> str:
        return f"{facts[name]['median']:,.2f} times {of}"

    shown: list[tuple[str, str, str]] = []
    for kind in ("async", "sync"):
        shown.append((f"bare {kind} function", f"{facts[f'bare_{kind}_us']['median']:.2f} µs", ""))
        for place in ("memory", "sqlite"):
            for count in sizes.messages:
                name = f"{place}_{kind}_{count}"
                beside = ratio(f"{name}_to_memory", "memory") if place == "sqlite" else ""
                shown.append((f"  as a tool, {place}, {count} a message", us(f"{name}_us"), beside))
    shown.append(("a before and an after hook", us("hooks_us"), ratio("hooks_to_call", "without")))
    few, many = sizes.catalogue
    shown.append((f"turn of one call, {few} tools", us("few_tools_us"), ""))
    beside = ratio("many_tools_to_few", f"{few} tools")
    shown.append((f"turn of one call, {many:,} tools", us("many_tools_us"), beside))
    for label, count in (("few", few), ("many", many)):
        kept = f"{facts[f'{label}_tools_kib']['median']:,.1f} KiB"
        shown.append((f"  a turn leaves in memory, {count:,} tools", kept, ""))
    for kind in ("function", "raw", "nested"):
        shown += [
            (f"check, {kind}, {count} properties", us(f"check_{kind}_{count}_us"), "")
            for count in sizes.properties
        ]
    if "mcp_call_us" in facts:
        shown.append(("MCP call, official client", us("mcp_client_us"), ""))
        shown.append(("MCP call, tool", us("mcp_call_us"), ratio("mcp_to_client", "client")))
    return shown


def report(facts: Facts, sizes: Sizes) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Tool calls that do nothing, synchronous=FULL")
    table.add_column("measure", no_wrap=True)
    table.add_column("median", justify="right")
    table.add_column("beside", justify="right")
    for row in rows(facts, sizes):
        table.add_row(*row)
    console = Console()
    console.print(table)
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    console.print(f"{versions}, {platform.machine()}. Ratios travel; times do not.")


async def main(options: argparse.Namespace) -> None:
    sizes = QUICK if options.quick else replace(Sizes(), rounds=options.rounds)
    mcp = not options.no_mcp and importlib.util.find_spec("mcp") is not None
    with tempfile.TemporaryDirectory() as name:
        facts = await measure(Path(name), sizes, mcp=mcp)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        report(facts, sizes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a few of everything, in seconds")
    parser.add_argument("--no-mcp", action="store_true", help="start no MCP server")
    parser.add_argument("--json", action="store_true")
    asyncio.run(main(parser.parse_args()))
