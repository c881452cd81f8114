"""What the processes of the crash matrix play on: a ledger, a trace, deaths on cue, and an agent.

The ledger gets a line for every model call and tool body that really starts; a line written with one
`write` outlives SIGKILL. The trace names every point passed: seams, and `during.<what>` for a model
call or tool body under way. A process dies when it passes a point for the nth time. At chosen points
it has another process do something, and waits for it; those points are `other.<seam>`.
"""

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forked import forked

import lash
from lash.core.cancel import Cancellation
from lash.core.clock import SystemClock
from lash.core.seams import Seam
from lash.llm.request import LlmRequest, TextBlock
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit, TextDelta
from lash.testing import ScriptedModel, reply
from lash.testing.scripted import Reply, calls_made

#: What a process asks the other one to do: the operation, and what it is given.
Order = tuple[str, Mapping[str, str]]

#: Where the completion key of a parked tool is left for whoever answers it.
TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Play:
    """A scenario as the processes play it.

    Attributes:
        plans: What the model answers, by the first word it is told in a turn.
        orders: What the other process is asked to do, by the point and which of its occurrences.
        hangs: The bodies and model calls that never end by themselves once the other process has
            done what it was asked to at them.
        waits: The bodies that end as soon as their turn is asked to stop, and not before.
    """

    plans: Mapping[str, Sequence[Reply]]
    orders: Mapping[tuple[str, int], Sequence[Order]] = field(default_factory=dict)
    hangs: frozenset[str] = frozenset()
    waits: frozenset[str] = frozenset()


class Ids:
    """Ids that say which process made them, so that tables can name them."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._made: Counter[str] = Counter()

    def new(self, prefix: str) -> str:
        self._made[prefix] += 1
        return f"{prefix}-{self._label}-{self._made[prefix]}"


class PatientClock(SystemClock):
    """Gives tools that were asked to stop as long as a loaded machine may take."""

    def __init__(self) -> None:
        super().__init__(asyncio.sleep)

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        watches = task is not None and task.get_name() == "lash-stop-watch"
        await super().sleep(seconds if watches or seconds != 0.05 else 20.0)


class Other:
    """Another process, which does what it is asked to. Forked before there is any thread."""

    def __init__(self, perform: Callable[[Order], Sequence[str]]) -> None:
        asked, self._ask = os.pipe()
        self._answer, answered = os.pipe()

        def body() -> None:
            os.close(self._ask)
            os.close(self._answer)
            with os.fdopen(asked) as orders, os.fdopen(answered, "w") as answers:
                for line in orders:
                    operation, given = json.loads(line)
                    answers.write(json.dumps(perform((operation, given))) + "\n")
                    answers.flush()

        self._pid = forked(body)
        os.close(asked)
        os.close(answered)
        self._answers = os.fdopen(self._answer)

    def do(self, order: Order) -> Sequence[str] | None:
        """Have something done; the points it passed, or None when it died on the way."""
        os.write(self._ask, (json.dumps(order) + "\n").encode())
        line = self._answers.readline()
        if line:
            passed: list[str] = json.loads(line)
            return passed
        return None

    def close(self) -> int:
        """Let it end; how it did."""
        os.close(self._ask)
        self._answers.close()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


class Stage:
    """One process's part of a scene."""

    def __init__(
        self,
        folder: Path,
        play: Play,
        *,
        kill: tuple[str, int] | None,
        other: Other | None = None,
        prefix: str = "",
    ) -> None:
        self.folder = folder
        self.play = play
        self.trace: list[str] = []
        self._ledger = os.open(folder / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._kill = kill
        self._other = other
        self._prefix = prefix
        self._lock = threading.Lock()
        self._dead_other = False

    def seam(self, seam: Seam) -> None:
        if not seam.startswith("wakes."):  # the outbox is looked at whenever a runtime opens
            self.at(seam)

    def at(self, point: str) -> bool:
        """Pass a point; whether the other process did something there."""
        point = self._prefix + point
        with self._lock:
            self.trace.append(point)
            nth = self.trace.count(point)
        if self._kill == (point, nth):
            os.kill(os.getpid(), signal.SIGKILL)
        done = False
        for order in self.play.orders.get((point, nth), ()) if self._other else ():
            if self._other is None or self._dead_other:
                break
            passed = self._other.do(order)
            self._dead_other = passed is None
            self.trace.extend(passed or ())
            done = passed is not None
        return done

    async def during(self, what: str, cancelled: asyncio.Event | None = None) -> None:
        """Say that something really starts, and be in the middle of it."""
        os.write(self._ledger, f"{what}\n".encode())
        if not self.at(f"during.{what}"):
            return
        if what in self.play.hangs:
            await asyncio.Event().wait()
        if what in self.play.waits and cancelled is not None:
            await cancelled.wait()

    def agents(self) -> Sequence[lash.Agent]:
        """The agent that follows the plans, and one that it may hand work to."""
        stage = self

        @lash.tool
        async def a(ctx: lash.ToolContext) -> str:
            """Do a."""
            await stage.during("a", tripped(ctx))
            return "a done"

        @lash.tool
        async def b(ctx: lash.ToolContext) -> str:
            """Do b."""
            await stage.during("b", tripped(ctx))
            return "b done"

        @lash.tool
        async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
            """Leave the answer to the outside."""
            await stage.during("ask")

            def announce(key: lash.AwaitEventKey) -> None:
                (stage.folder / TOKEN).write_text(key.token)

            return await ctx.defer(announce)

        @lash.tool
        async def hop(frame: str, task: str) -> lash.SwitchFrame:
            """Go on in another frame."""
            await stage.during(f"hop-{frame}")
            return lash.SwitchFrame(frame_id=frame, task=task)

        @lash.tool
        async def delegate(ctx: lash.ToolContext, task: str) -> str:
            """Have the other agent do it."""
            await stage.during("delegate")
            answer = await ctx.child("second", task)
            return f"It says: {answer.text}"

        model = Planned(self)
        return [
            lash.Agent("first", model=model, tools=[a, b, ask, hop, delegate]),
            lash.Agent("second", model=model, tools=[a, b]),
        ]


def tripped(ctx: lash.ToolContext) -> asyncio.Event:
    """Set once the turn of a tool is asked to stop."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def trip(_: Cancellation) -> None:
        loop.call_soon_threadsafe(event.set)

    ctx.cancel.on_cancel(trip)
    return event


class Planned(ScriptedModel):
    """Answers by the plan that a turn's first words name.

    What begins with "also" was brought into the turn: the answer says that it was heard.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(self._planned)
        self._stage = stage

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        emit(TextDelta(text="half a sen"))
        name, heard = told(request)
        number = "heard" if heard else str(calls_made(request) + 1)
        await self._stage.during(f"{name}.{number}")
        return await super().complete(request, emit)

    def _planned(self, request: LlmRequest) -> Reply:
        name, heard = told(request)
        if heard:
            return reply(f"Heard {heard}.")
        return self._stage.play.plans[name][calls_made(request)]


def told(request: LlmRequest) -> tuple[str, str]:
    """The plan that a turn names, and what was brought into it since the model last answered."""
    added = request.messages[request.history.count :]
    first = [block.text for block in added[0].blocks if isinstance(block, TextBlock)]
    name = first[0].split()[0] if first else ""
    heard: list[str] = []
    for message in added[1:]:
        if message.role == "assistant":
            heard = []
        heard += [
            block.text
            for block in message.blocks
            if isinstance(block, TextBlock) and block.text.startswith("also")
        ]
    return name, ", ".join(heard)
