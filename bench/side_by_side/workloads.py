"""What is measured: workloads, the measures each of them gives, and what is aimed at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["/s", "ms", "s", "KB", "MB"]


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is measured.

    Attributes:
        name: What programs call it.
        title: What people are shown.
        unit: What it is counted in. Of what is counted per second more is better, of all else less.
    """

    name: str
    title: str
    unit: Unit

    @property
    def more_is_better(self) -> bool:
        """Whether the higher figure is the better one."""
        return self.unit == "/s"


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that contenders do.

    Attributes:
        name: What programs call it.
        measures: What it gives.
        sizes: How much of everything.
        quick: How much in a run that only shows that all of it works.
        planted: Whether a program begins it that is killed, and another one goes on.
        once: Whether it takes so long that it is done in the first round alone.
    """

    name: str
    measures: tuple[Measure, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)
    quick: Mapping[str, int] = field(default_factory=dict)
    planted: bool = False
    once: bool = False


WORKLOADS = (
    Workload(
        "steps_one",
        (Measure("steps_one", "durable steps of one workflow, one after the other", "/s"),),
        {"steps": 1_000},
        {"steps": 20},
    ),
    Workload(
        "steps_many",
        (Measure("steps_many", "durable steps of 64 workflows at once", "/s"),),
        {"lanes": 64, "steps": 20},
        {"lanes": 8, "steps": 2},
    ),
    Workload(
        "workflows_one",
        (Measure("workflows_one", "workflows of one step, one after the other", "/s"),),
        {"workflows": 200},
        {"workflows": 5},
    ),
    Workload(
        "workflows_many",
        (Measure("workflows_many", "workflows of one step, 64 at once", "/s"),),
        {"lanes": 64, "workflows": 20},
        {"lanes": 8, "workflows": 1},
    ),
    Workload(
        "recovery",
        (Measure("recovery", "recovery of 1,000 that were killed in their third step", "s"),),
        {"planted": 1_000},
        {"planted": 20},
        planted=True,
    ),
    Workload(
        "signal",
        (Measure("signal", "from a signal to the line behind the wait", "ms"),),
        {"signals": 30},
        {"signals": 3},
    ),
    Workload(
        "turn",
        (Measure("turn_2", "agent turn with 10 tool calls: turns 2 to 6 of a conversation", "ms"),),
        {"turns": 6},
        {"turns": 2},
    ),
    Workload(
        "conversation",
        (
            Measure("turn_50", "the same, turns 46 to 50", "ms"),
            Measure("turn_200", "the same, turns 196 to 200", "ms"),
            Measure("turn_growth", "KB that turns 2 to 6 leave on disk, each", "KB"),
            Measure("turn_200_growth", "KB that turns 196 to 200 leave on disk, each", "KB"),
        ),
        {"turns": 200, "middle": 50},
        {"turns": 8, "middle": 7},
        once=True,
    ),
    Workload(
        "import",
        (
            Measure("import_time", "import in a fresh interpreter", "ms"),
            Measure("import_memory", "memory after the import", "MB"),
        ),
    ),
    Workload(
        "loop",
        (
            Measure("task_switches", "asyncio: task switches", "/s"),
            Measure("thread_hops", "asyncio: calls in a thread and back", "/s"),
        ),
        {"switches": 200_000, "hops": 5_000},
        {"switches": 1_000, "hops": 50},
    ),
)

MEASURES: Mapping[str, Measure] = {
    measure.name: measure for workload in WORKLOADS for measure in workload.measures
}


@dataclass(frozen=True, slots=True)
class Aim:
    """What lash is to reach in a measure, beside another contender or by itself.

    Attributes:
        measure: What is measured.
        subject: Which of lash's contenders.
        against: Beside whom; None for a figure by itself.
        at_least: How many times as good as them.
        at_most: The figure that is not to be passed, where it stands by itself.
        against_measure: What is measured of them, if something else.
    """

    measure: str
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    subject: str = "lash"
    against_measure: str | None = None


AIMS = (
    Aim("steps_one", "raw_hop", at_least=0.6),
    Aim("steps_one", "dbos", at_least=5),
    Aim("steps_one", "restate", at_least=2.5),
    Aim("steps_many", "raw_grouped", at_least=0.25),
    Aim("steps_many", "dbos", at_least=20),
    Aim("workflows_one", "dbos", at_least=10),
    Aim("workflows_many", "dbos", at_least=10),
    Aim("recovery", at_most=2),
    Aim("recovery", "dbos", at_least=10),
    Aim("turn_2", "pydantic_ai", at_least=1),
    Aim("turn_2", "openai_agents", at_least=1),
    Aim("turn_2", "langgraph_sqlite", at_least=5),
    Aim("turn_2", "pydantic_ai_dbos", at_least=8),
    Aim("turn_200", "lash", at_least=1 / 1.2, against_measure="turn_2"),
    Aim("turn_200_growth", at_most=32),
    Aim("turn_2", at_most=5, subject="lash_memory"),
    Aim("signal", at_most=5),
)
