"""An emitter is killed with SIGKILL at every seam; whoever opens the file next finishes what it began.

The table was written by hand. The rule: until the occurrence is committed nothing happened, and the
caller, who heard nothing, emits again; from then on every subscription is started, exactly once, without
anybody asking, and emitting again starts nothing.
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from crash_matrix import LONG, KillScene
from trigger_worker import AGENT, functions

import lash

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("trigger_worker.py")

#: Nobody has heard of the event.
NOTHING = {
    "occurrences": [],
    "deliveries": [],
    "processes": [],
    "linked": True,
    "results": [],
    "said": [],
    "findings": [],
    "statuses": [],
}
#: All that the event means was done.
WHOLE = {
    "occurrences": ["payment-1"],
    "deliveries": [["archive", "started"], ["refunds", "started"], ["tell", "started"]],
    "processes": [["archive", "completed"], ["refund", "completed"]],
    "linked": True,
    "results": ["archive 7", "refund 7"],
    "said": [["user", "Order 7 was paid."], ["assistant", "Noted."]],
    "findings": [],
    "statuses": [],
}
KEYS = ("archive", "refunds", "tell")

# Where it dies, and what whoever comes next finds, having asked for nothing. Commands come before: three
# subscriptions, of which the third is not there if it dies in the middle of it.
MATRIX = [
    ("trigger.execute.inside", 3, NOTHING),
    ("trigger.ingest.before", 1, NOTHING),
    ("trigger.ingest.inside", 1, NOTHING),
    ("trigger.ingest.after", 1, WHOLE),
    ("trigger.start.before", 1, WHOLE),
    ("trigger.start.before", 3, WHOLE),
    ("process.register.before", 1, WHOLE),
    ("process.register.inside", 1, WHOLE),
    ("process.register.inside", 2, WHOLE),
    ("process.register.after", 2, WHOLE),
    ("enqueue.inside", 1, WHOLE),
    ("trigger.start.after", 1, WHOLE),
    ("trigger.start.after", 2, WHOLE),
    ("trigger.start.after", 3, WHOLE),
    ("trigger.settle.before", 1, WHOLE),
    ("trigger.settle.inside", 1, WHOLE),
    ("trigger.settle.after", 1, WHOLE),
]

#: Who recovers dies as well, and a third process finishes.
PAIRS = [
    ("trigger.ingest.after", 1, "trigger.start.before", 1),
    ("trigger.ingest.after", 1, "trigger.start.after", 1),
    ("trigger.ingest.after", 1, "process.register.inside", 2),
    ("trigger.start.after", 2, "trigger.settle.inside", 1),
]


class Scene(KillScene):
    """A folder in which an event is emitted."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "emit", WORKER)

    def steps(self) -> Counter[str]:
        """How often each step began: more than once only where a kill met it."""
        return Counter(self.lines("ledger"))


#: As a rule nothing is different there from the point before: these are killed at in the long run only.
SELDOM = ("trigger.start.before", "process.register.before", "process.register.after")


@pytest.mark.parametrize(
    ("point", "nth", "left"),
    [each for each in MATRIX if LONG or each[0] not in SELDOM],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_an_emitter_began_that_was_killed_is_finished_without_asking(
    tmp_path: Path, point: str, nth: int, left: dict[str, Any]
) -> None:
    scene = Scene(tmp_path)
    scene.killed("emit", point, nth)
    assert scene.finished("recover") == left
    status = "started" if left is NOTHING else "already_started"
    assert scene.finished("again") == WHOLE | {"statuses": [f"{key} {status}" for key in KEYS]}
    # One process for each subscription, whose step began again only if it was under way.
    assert {line.split(" ")[0] for line in scene.steps()} == {"refund", "archive"}
    assert len(scene.steps()) == 2
    assert max(scene.steps().values()) <= 2


@pytest.mark.parametrize(("first", "nth", "second", "times"), PAIRS)
def test_two_deaths_in_a_row_converge(
    tmp_path: Path, first: str, nth: int, second: str, times: int
) -> None:
    scene = Scene(tmp_path)
    scene.killed("emit", first, nth)
    scene.killed("recover", second, times)
    assert scene.finished("recover") == WHOLE
    assert len(scene.steps()) == 2


async def test_what_an_emitter_leaves_that_dies_is_started_by_who_works_beside_it(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    made = functions(tmp_path / "ledger")
    async with lash.Runtime(tmp_path / "agents.db", agents=[AGENT], processes=made) as runtime:
        await runtime.idle(timeout=30)
        await asyncio.to_thread(scene.killed, "emit", "trigger.ingest.after", 1)
        async with asyncio.timeout(20):
            while [each.state for each in await runtime.triggers.deliveries()] != ["started"] * 3:  # noqa: ASYNC110  nobody here is told
                await asyncio.sleep(0.02)
        await runtime.idle(timeout=30)
        assert len(await runtime.processes.list(status="completed")) == 2
    assert len(scene.steps()) == 2
