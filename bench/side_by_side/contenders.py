"""Who is measured: each a program of its own, most of them in an environment of their own."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from side_by_side.workloads import Workload

Say: TypeAlias = Callable[[str], None]

BENCH = Path(__file__).resolve().parents[1]
_ENVIRONMENTS = BENCH / ".venv-peers"

#: Imports what a user would, and says how long that took and how much memory there is then.
_IMPORT = """
import importlib, json, resource, sys, time
began = time.perf_counter()
importlib.import_module(sys.argv[1])
took = (time.perf_counter() - began) * 1000
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"import_time": took, "import_memory": peak / (2**20 if sys.platform == "darwin" else 2**10)}))
"""

#: No program takes as long; one that does hangs.
_LONGEST_S = 1_200


class NotMeasuredError(Exception):
    """Why a contender has no figure."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a peer is installed from, in exact versions.

    Attributes:
        name: Names its folder.
        requirements: What pip installs.
        packages: What npm installs beside it.
    """

    name: str
    requirements: tuple[str, ...]
    packages: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return _ENVIRONMENTS / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def prepare(self, say: Say) -> None:
        """Install it, unless just this is installed.

        Raises:
            NotMeasuredError: It could not be installed.
        """
        wanted = json.dumps([self.requirements, self.packages, sys.version_info[:2]])
        made = self.folder / "made.json"
        if made.exists() and made.read_text() == wanted:
            return
        say(f"installing {', '.join((*self.requirements, *self.packages))} (once) ...")
        venv.create(self.folder, with_pip=True, clear=True)
        pip = [str(self.python), "-m", "pip", "install", "--quiet"]
        self._install([*pip, "--disable-pip-version-check", *self.requirements])
        if self.packages:
            npm = shutil.which("npm")
            if npm is None:
                raise NotMeasuredError("needs npm")
            folder = str(self.folder)
            self._install([npm, "install", "--silent", "--prefix", folder, *self.packages])
        made.write_text(wanted)

    def _install(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotMeasuredError(
                f"could not be installed: {_last_line(done.stderr or done.stdout)}"
            )


@dataclass(frozen=True, slots=True)
class Contender:
    """Who does a workload, and how it is told to.

    Attributes:
        name: What results call it.
        title: What people are shown.
        program: The module that runs its workloads.
        workloads: Those it has an answer to.
        flavour: What its program is told of how to run them.
        environment: Where it is installed; None for the one that runs the bench.
        module: What a user imports.
        durable: How far what it does survives; shown beside it.
        share: What part of a workload it is given, where it is so slow that all of it takes minutes.
    """

    name: str
    title: str
    program: str
    workloads: frozenset[str]
    flavour: str = ""
    environment: Environment | None = None
    module: str = ""
    durable: str = ""
    share: float = 1.0

    @property
    def settings(self) -> dict[str, object]:
        """How it was measured."""
        environment = self.environment
        installed = (
            () if environment is None else (*environment.requirements, *environment.packages)
        )
        return {"durable": self.durable, "installed": list(installed), "share": self.share}

    async def run(
        self, workload: Workload, sizes: Mapping[str, int], folder: Path
    ) -> Mapping[str, float]:
        """Have it do a workload; what it measured.

        Raises:
            NotMeasuredError: It failed.
        """
        if workload.name == "import":
            return _figures(await self._program(["-c", _IMPORT, self.module]))
        given = {name: self._sized(name, size) for name, size in sizes.items()}
        words = ["-m", f"side_by_side.programs.{self.program}", self.flavour]
        rest = [str(folder), json.dumps(given)]
        if workload.planted:
            await self._program([*words, "plant", *rest], ends=-signal.SIGKILL)
        return _figures(await self._program([*words, workload.name, *rest]))

    def _sized(self, name: str, size: int) -> int:
        # Only what is repeated is cut: 64 at once are 64 at once, and turn 200 is turn 200.
        if name not in {"steps", "workflows", "signals"} or self.share == 1:
            return size
        return max(2, round(size * self.share))

    async def _program(self, words: list[str], ends: int = 0) -> str:
        python = sys.executable if self.environment is None else self.environment.python
        running = await asyncio.create_subprocess_exec(
            *(python, *words),
            cwd=BENCH,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_LONGEST_S):
                told, complaints = await running.communicate()
        except TimeoutError:
            running.kill()
            await running.wait()
            raise NotMeasuredError(f"still ran after {_LONGEST_S} s") from None
        if running.returncode != ends:
            raise NotMeasuredError(
                _last_line(complaints.decode()) or f"ended with {running.returncode}"
            )
        return _last_line(told.decode())


def _figures(told: str) -> Mapping[str, float]:
    return {name: float(figure) for name, figure in json.loads(told).items()}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


# --- who there is -------------------------------------------------------------------------------------

_DBOS = Environment("dbos", ("dbos==3.4.0",))
_LANGGRAPH = Environment("langgraph", ("langgraph==1.2.22", "langgraph-checkpoint-sqlite"))
_PYDANTIC_AI = Environment("pydantic-ai", ("pydantic-ai-slim==2.62.0", "dbos==3.4.0"))
_OPENAI_AGENTS = Environment("openai-agents", ("openai-agents==0.24.0",))
_RESTATE = Environment(
    "restate",
    ("restate-sdk[serde]==1.3.0", "hypercorn==0.18.0", "aiohttp==3.13.2"),
    ("@restatedev/restate-server@1.7.12",),
)

_RATES = frozenset({"steps_one", "steps_many", "workflows_one", "workflows_many"})
_TURNS = frozenset({"turn", "conversation"})
_FULL = "synchronous=FULL"

OURS = (
    Contender(
        name="lash",
        title="lash, SQLite",
        program="lash_program",
        workloads=_RATES | _TURNS | {"recovery", "signal", "import"},
        flavour="file",
        module="lash",
        durable=f"WAL, {_FULL}",
    ),
    Contender(
        name="lash_memory",
        title="lash, :memory:",
        program="lash_program",
        workloads=_RATES | _TURNS | {"signal"},
        flavour="memory",
        durable="nothing",
    ),
)

LIMITS = (
    Contender(
        name="raw_inline",
        title="raw SQLite, a row a commit",
        program="raw_program",
        workloads=frozenset({"steps_one"}),
        flavour="inline",
        durable=f"WAL, {_FULL}",
    ),
    Contender(
        name="raw_hop",
        title="raw SQLite, a row a commit, in a thread",
        program="raw_program",
        workloads=frozenset({"steps_one"}),
        flavour="hop",
        durable=f"WAL, {_FULL}",
    ),
    Contender(
        name="raw_grouped",
        title="raw SQLite, commits grouped, in a thread",
        program="raw_program",
        workloads=frozenset({"steps_many"}),
        flavour="grouped",
        durable=f"WAL, {_FULL}",
    ),
    Contender(
        name="asyncio",
        title="asyncio",
        program="raw_program",
        workloads=frozenset({"loop"}),
        flavour="loop",
    ),
)

PEERS = (
    Contender(
        name="dbos",
        title="DBOS, SQLite as it comes",
        program="dbos_program",
        workloads=_RATES | {"recovery", "signal", "import"},
        flavour="plain",
        environment=_DBOS,
        module="dbos",
        durable=f"rollback journal, {_FULL}",
        share=0.25,
    ),
    Contender(
        name="dbos_wal",
        title="DBOS, SQLite with WAL",
        program="dbos_program",
        workloads=_RATES | {"recovery", "signal"},
        flavour="wal",
        environment=_DBOS,
        durable=f"WAL, {_FULL}",
        share=0.25,
    ),
    Contender(
        name="restate",
        title="Restate, its own server",
        program="restate_program",
        workloads=_RATES | {"import"},
        environment=_RESTATE,
        module="restate",
        durable="the server's log",
        share=0.25,
    ),
    Contender(
        name="langgraph_sqlite",
        title="LangGraph, SQLite saver",
        program="langgraph_program",
        workloads=_TURNS | {"import"},
        flavour="sqlite",
        environment=_LANGGRAPH,
        module="langgraph.graph",
        durable="WAL, a checkpoint a step",
    ),
    Contender(
        name="langgraph_memory",
        title="LangGraph, memory saver",
        program="langgraph_program",
        workloads=frozenset({"turn"}),
        flavour="memory",
        environment=_LANGGRAPH,
        durable="nothing",
    ),
    Contender(
        name="pydantic_ai",
        title="Pydantic AI, history in memory",
        program="pydantic_ai_program",
        workloads=_TURNS | {"import"},
        flavour="plain",
        environment=_PYDANTIC_AI,
        module="pydantic_ai",
        durable="nothing",
    ),
    Contender(
        name="pydantic_ai_dbos",
        title="Pydantic AI with DBOS, SQLite",
        program="pydantic_ai_program",
        workloads=frozenset({"turn"}),
        flavour="dbos",
        environment=_PYDANTIC_AI,
        durable=f"rollback journal, {_FULL}",
    ),
    Contender(
        name="openai_agents",
        title="OpenAI Agents, history in memory",
        program="openai_agents_program",
        workloads=_TURNS | {"import"},
        flavour="memory",
        environment=_OPENAI_AGENTS,
        module="agents",
        durable="nothing",
    ),
    Contender(
        name="openai_agents_sqlite",
        title="OpenAI Agents, SQLite session",
        program="openai_agents_program",
        workloads=_TURNS,
        flavour="sqlite",
        environment=_OPENAI_AGENTS,
        durable="the conversation, after a turn",
    ),
)
