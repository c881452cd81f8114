"""One of several processes that drive the same sessions and bring them work, until they are killed.

What is to be done is decided by a seed, before anything runs. Each process has a part of it, and goes
on where the one before it in its place was killed: what was acknowledged is not asked for again, what
was not is asked for under the same key. A ledger keeps what really happened, a line per fact, written
with one `write`, so that it outlives SIGKILL:

    begin KEY NONCE         a tool body or a model call begins; NONCE is what it will answer
    done NUMBER             the work of this number was acknowledged
    stop TURN REQUEST HOW   a request to stop a turn was answered so
    back KEY HOW            taking input back was answered so
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from process_ledger import Ledger

import lash
from lash.llm.request import LlmRequest, TextBlock
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.testing import ScriptedModel, calls, reply
from lash.testing.scripted import Reply, calls_made

Kind = Literal["run", "enqueue", "inject", "inject_late", "stop", "back", "fork"]

#: How often each kind of work comes, of 100. `stop` runs something and asks the turn that runs then to
#: stop; `back` enqueues something and takes it back at once.
KINDS: Mapping[Kind, int] = {
    "run": 45,
    "enqueue": 22,
    "inject": 10,
    "inject_late": 5,
    "stop": 10,
    "back": 5,
    "fork": 3,
}

#: How long a model call takes at most, in seconds: most kills meet one under way.
MODEL_S = 0.08


@dataclass(frozen=True, slots=True)
class Work:
    """Something to ask for: at which time after the start, of which session, in seconds."""

    number: int
    kind: Kind
    session: str
    at: float
    place: int

    @property
    def key(self) -> str:
        return f"k{self.number}"

    @property
    def is_input(self) -> bool:
        return self.kind != "fork"


def planned(seed: int, *, sessions: int, turns: int, seconds: float, places: int) -> Sequence[Work]:
    """All that is to be done; as many inputs as `turns` says, and other work among them."""
    random = Random(f"work {seed}")  # noqa: S311  chance that can be had again
    names = [f"s{number}" for number in range(sessions)]
    work: list[Work] = []
    inputs = 0
    while inputs < turns:
        kind, number = random.choice(list(Counter(KINDS).elements())), len(work)
        # Half of it goes to a few sessions, so that they have a queue, and several who want to drive.
        session = random.choice(names if random.random() < 0.5 else names[: 1 + len(names) // 10])
        work.append(Work(number, kind, session, 0.0, random.randrange(places)))
        inputs += work[-1].is_input
        if kind == "fork":
            names.append(f"{session}.{number}")
    last = len(work)
    return [
        Work(each.number, each.kind, each.session, seconds * each.number / last, each.place)
        for each in work
    ]


def agents(ledger: Ledger) -> Sequence[lash.Agent]:
    """What runs the sessions. How a turn goes follows from the first key in its input."""

    @lash.tool
    async def work(ctx: lash.ToolContext, ms: int) -> str:
        """Do something that takes a while, and that can be told from doing it again."""
        nonce = ledger.nonce()
        ledger.note("begin", f"tool:{ctx.idempotency_key}", nonce)
        await asyncio.sleep(ms / 1000)
        return nonce

    @lash.tool
    async def delegate(ctx: lash.ToolContext) -> str:
        """Have the other agent do it."""
        return (await ctx.child("second", "Do it.")).text

    @lash.tool
    async def hop(ctx: lash.ToolContext) -> lash.SwitchFrame:
        """Go on in another frame."""
        return lash.SwitchFrame(frame_id=f"frame-{ctx.turn_id}", task="Go on.")

    class Model(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            self.nonce = ledger.nonce()
            ledger.note("begin", f"model:{request.scope.request_id}", self.nonce)
            answer = await super().complete(request, emit)
            chance = Random(request.scope.request_id)  # noqa: S311  the same for the same call
            await asyncio.sleep(chance.random() * MODEL_S)
            return answer

        def answer(self, request: LlmRequest) -> Reply:
            made, number = calls_made(request), first_key(request)
            steps = number % 3
            if made >= steps:
                return reply(f"It is {self.nonce}.")
            if made == 0 and number % 17 == 0:
                return calls(("delegate", {}), text=self.nonce)
            if made == 0 and number % 19 == 0:
                return calls(("hop", {}), text=self.nonce)
            wanted = [("work", {"ms": (number * 7 + made + index) % 20}) for index in range(steps)]
            return calls(*wanted, text=self.nonce)

    def model() -> Model:
        made = Model([])
        made._script = made.answer
        return made

    return [
        lash.Agent("first", model=model(), tools=[work, delegate, hop]),
        lash.Agent("second", model=model(), tools=[work]),
    ]


def first_key(request: LlmRequest) -> int:
    """The number of the first key that a turn was given; 1 for what has none."""
    added = request.messages[request.history.count :]
    text = next((block.text for block in added[0].blocks if isinstance(block, TextBlock)), "")
    return int(text.split()[0][2:-1]) if text.startswith("<k") else 1


class Client:
    """Brings one place's work to the sessions."""

    def __init__(self, runtime: lash.Runtime, ledger: Ledger) -> None:
        self._runtime = runtime
        self._ledger = ledger

    async def perform(self, work: Work) -> None:
        """Ask until it is acknowledged. Only what is said to be retryable is tried again."""
        while True:
            try:
                await self._ask(work)
            except lash.LashError as error:
                if error.code in {"session_unknown", "fork_session_exists"}:
                    break  # nothing to stop or to fork yet; or forked by who was here before
                if not isinstance(error, lash.SessionBusyError | lash.LeaseLostError):
                    raise
                await asyncio.sleep(0.02)
            else:
                break
        self._ledger.note("done", work.number)

    async def _ask(self, work: Work) -> None:
        session = self._runtime.session(work.session, agent="first")
        text = f"<{work.key}> Please."
        match work.kind:
            case "run":
                await session.run(text, source_key=work.key)
            case "enqueue":
                await session.enqueue(text, source_key=work.key)
            case "inject":
                await session.inject(text, source_key=work.key)
            case "inject_late":
                await session.inject(text, source_key=work.key, boundary="before_completion")
            case "fork":
                await session.fork(f"{work.session}.{work.number}")
            case "stop":
                stopping = asyncio.create_task(self._stop(session, work))
                try:
                    await session.run(text, source_key=work.key)
                finally:
                    await stopping
            case "back":
                item = await session.enqueue(text, source_key=work.key)
                outcome = await item.cancel()
                how = outcome.__struct_config__.tag
                self._ledger.note("back", work.key, how)

    async def _stop(self, session: lash.Session, work: Work) -> None:
        for _ in range(50):  # while there is nothing to stop yet
            receipt = await session.cancel(request_id=f"stop-{work.number}")
            if receipt.cancellation is not None and receipt.turn_id is not None:
                request = receipt.cancellation.request_id
                self._ledger.note("stop", receipt.turn_id, request, receipt.outcome)
                return
            await asyncio.sleep(0.005)


async def live(
    folder: Path, todo: Sequence[Work], started: float, lease: lash.LeaseTimings
) -> None:
    """Drive whatever there is and ask for what is left of `todo`, each at its time; then rest."""
    ledger = Ledger(folder / "ledger")
    done = {int(line[1]) for line in ledger.lines() if line[0] == "done"}
    async with lash.Runtime(folder / "agents.db", agents=agents(ledger), lease=lease) as runtime:
        client = Client(runtime, ledger)

        async def at_its_time(work: Work) -> None:
            await asyncio.sleep(max(0.0, started + work.at - time.time()))
            await client.perform(work)

        async with asyncio.TaskGroup() as group:
            for work in todo:
                if work.number not in done:
                    group.create_task(at_its_time(work))
        await runtime.idle(timeout=100)
