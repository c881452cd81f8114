"""What a session costs: long histories, many at once, stopping, the queue, forks.

    python bench/session.py [--quick] [--json]

Every measure is told in milliseconds and beside a raw commit of one row, made by a thread in the same
run (`raw_store.RawWriter`), round by round, because a disk's sync is most of the cost: trust the ratios.
Long histories are not driven but committed through the store, many messages at a time; from there on
turns are driven as an application drives them: one tool call, two model calls, five transactions. The
model answers at once. Memory is what Python allocated (`tracemalloc`), measured apart from the time.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TypeAlias

import lash
from effects import transactions
from lash.core.clock import SystemClock
from lash.core.leases import LeaseClaim
from lash.core.scopes import TurnScope, journal_key
from lash.core.seams import Seam
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.llm.usage import Usage
from lash.sessions.accepting import Accepted, AcceptRequest
from lash.sessions.committing import CommitReceipt, TurnCommit
from lash.sessions.model import AgentRef, TextItem, TurnInput
from lash.sessions.queueing import CheckpointClaim
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, calls, reply
from lash.turn.messages import Message, text_message
from lash.turn.outcome import AssistantMessage, Finished
from raw_store import RawWriter

Facts: TypeAlias = dict[str, float]
Sections: TypeAlias = dict[str, Facts]

LENGTHS = (1, 100, 1_000, 10_000)
AGENT = AgentRef(name="bench")
SAID = "Where are my orders? " * 10  # 210 bytes, about what a message weighs
#: Messages of one commit while a history is built.
_CHUNK = 1_000


class Model(ScriptedModel):
    """Calls the tool and answers, at once; or says that it began and never answers, when held."""

    def __init__(self) -> None:
        super().__init__([calls(("look_up", {"order": 7})), reply("It is on its way.")])
        self.held: set[str] = set()
        self.begun = asyncio.Semaphore(0)

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        """Answer, unless the session is held."""
        if request.scope.session_id in self.held:
            self.begun.release()
            await asyncio.Event().wait()
        try:
            return await super().complete(request, emit)
        finally:
            self.requests.clear()  # kept for tests; here it would be the bench's own growth


class Bench:
    """One runtime, its model, and what its tool is to do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = Model()
        self.inject = False
        self.hold_tool = False
        self.tool_begun = asyncio.Semaphore(0)

        @lash.tool
        async def look_up(order: int, ctx: lash.ToolContext) -> dict[str, object]:
            """Look up one order."""
            if self.inject:
                await self.runtime.session(ctx.session_id).inject("And order 8?")
            if self.hold_tool:
                self.tool_begun.release()
                await asyncio.Event().wait()
            return {"order": order, "status": "shipped", "carrier": "post", "days": 2}

        self.agent = lash.Agent(
            "bench", model=self.model, instructions="Be brief.", tools=[look_up]
        )
        self.committed_at = 0.0
        self.runtime = lash.Runtime(path, agents=[self.agent], seams=self._passed)

    def _passed(self, seam: Seam) -> None:
        if seam == "commit.after":
            self.committed_at = time.perf_counter()

    async def turn(self, session_id: str) -> float:
        """Milliseconds of one turn."""
        began = time.perf_counter()
        result = await self.runtime.session(session_id).run(SAID)
        took = (time.perf_counter() - began) * 1000
        assert result.is_success
        return took

    def written(self) -> int:
        """Bytes of the pages in use: what the file grows by, whenever it is checkpointed."""
        connection = sqlite3.connect(self.path)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.close()
        return int(pages * size)


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Bench]:
    bench = Bench(path)
    async with bench.runtime:
        yield bench


async def build(path: Path, session_id: str, length: int) -> None:
    """A session whose history has `length` messages, without driving a turn for each pair."""
    store = SqliteStore(path, SystemClock(asyncio.sleep))
    owner = store.register_owner("builder", f"builder-{session_id}")
    try:
        for number, first in enumerate(range(0, length, _CHUNK)):
            turn_id = f"built-{number}"
            request = AcceptRequest(
                session_id=session_id,
                agent=AGENT,
                turn_id=turn_id,
                input=TurnInput(items=(TextItem(text=SAID),)),
                claim=LeaseClaim(owner=owner, nonce=turn_id, ttl_ms=30_000),
            )
            accepted = await store.accept_turn(request)
            assert isinstance(accepted, Accepted)
            scope = TurnScope(session_id=session_id, turn_id=turn_id)
            commit = TurnCommit(
                session_id=session_id,
                turn_id=turn_id,
                expected_revision=number,
                fence=accepted.lease.fence,
                messages=tuple(_message(n) for n in range(first, min(first + _CHUNK, length))),
                outcome=Finished(result=AssistantMessage(text=SAID)),
                usage=Usage(),
                text=SAID,
                scope_key=journal_key(scope),
            )
            assert isinstance(await store.commit_turn(commit), CommitReceipt)
    finally:
        await store.aclose()


def _message(number: int) -> Message:
    return text_message(f"built.m{number}", "assistant" if number % 2 else "user", SAID)


def _allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


# --- what is measured ---------------------------------------------------------------------------------


async def measure_lengths(path: Path, turns: int) -> Sections:
    """Turns of sessions with short and long histories, one of each in turns."""
    took: dict[int, list[float]] = {length: [] for length in LENGTHS}
    grew: dict[int, list[int]] = {length: [] for length in LENGTHS}
    for length in LENGTHS:
        await build(path, f"long-{length}", length)
    async with opened(path) as bench:
        for length in LENGTHS:
            await bench.turn(f"long-{length}")  # reads the history
        before = transactions(bench.runtime)
        for _ in range(turns):
            for length in LENGTHS:
                size = bench.written()
                took[length].append(await bench.turn(f"long-{length}"))
                grew[length].append(bench.written() - size)
        each = (transactions(bench.runtime) - before) / (turns * len(LENGTHS))
    return {
        f"history_{length}": {
            "turn_ms": statistics.median(took[length]),
            "p99_ms": at(took[length], 0.99),
            "bytes_per_turn": statistics.fmean(grew[length]),
            "transactions": each,
        }
        for length in LENGTHS
    }


async def measure_residence(path: Path, turns: int) -> Facts:
    """Memory of one open session: what its history weighs, and what a turn leaves behind."""
    facts: Facts = {}
    longest = f"long-{LENGTHS[-1]}"
    async with opened(path) as bench:
        await bench.turn(f"long-{LENGTHS[0]}")
        tracemalloc.start()
        empty = _allocated()
        await bench.turn(longest)
        loaded = _allocated()
        marks = [loaded]
        for _ in range(2):
            for _ in range(turns // 2):
                await bench.turn(longest)
            marks.append(_allocated())
        tracemalloc.stop()
    facts["history_bytes_per_message"] = (loaded - empty) / LENGTHS[-1]
    facts["bytes_left_first_half"] = (marks[1] - marks[0]) / (turns // 2)
    facts["bytes_left_second_half"] = (marks[2] - marks[1]) / (turns // 2)
    return facts


async def measure_opening(path: Path, rounds: int) -> Facts:
    """The first turn after opening, which reads ten thousand messages, and the one after it."""
    opening: list[float] = []
    first: list[float] = []
    second: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        async with opened(path) as bench:
            opening.append((time.perf_counter() - began) * 1000)
            first.append(await bench.turn(f"long-{LENGTHS[-1]}"))
            second.append(await bench.turn(f"long-{LENGTHS[-1]}"))
    return {
        "open_ms": statistics.median(opening),
        "first_turn_ms": statistics.median(first),
        "second_turn_ms": statistics.median(second),
    }


async def measure_many(path: Path, count: int, turns: int) -> Facts:
    """Very many sessions open at once: first at rest, then each with a turn under way."""
    facts: Facts = {"sessions": count}
    names = [f"one-of-{number}" for number in range(count)]
    async with opened(path) as bench, contextlib.AsyncExitStack() as handles:
        await bench.turn("warm")
        alone = [await bench.turn("alone") for _ in range(turns)]
        tracemalloc.start()
        before = _allocated()
        for fact, begin, end in (("memory_half", 0, count // 2), ("memory_all", count // 2, count)):
            for name in names[begin:end]:
                await handles.enter_async_context(bench.runtime.session(name))
            await asyncio.gather(*(bench.turn(name) for name in names[begin:end]))
            facts[fact] = (_allocated() - before) / end
        tracemalloc.stop()
        among = [await bench.turn(names[number * count // turns]) for number in range(turns)]
        bench.model.held.update(names)
        tracemalloc.start()
        before = _allocated()
        running = [asyncio.create_task(bench.runtime.session(name).run(SAID)) for name in names]
        for _ in names:
            await bench.model.begun.acquire()
        facts["memory_running"] = (_allocated() - before) / count
        tracemalloc.stop()
        beside = [await bench.turn("alone") for _ in range(turns)]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    facts["alone_ms"], facts["among_ms"] = statistics.median(alone), statistics.median(among)
    facts["beside_running_ms"] = statistics.median(beside)
    return facts


async def measure_stopping(path: Path, rounds: int) -> Sections:
    """From a request to stop to the committed turn: a model call or a tool is under way."""
    async with opened(path) as bench:
        await bench.turn("stopped")
        gathered = {
            "stop_model_here": await _stops(bench, rounds, None, tool=False),
            "stop_tool_here": await _stops(bench, rounds, None, tool=True),
        }
        peer = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            "--peer",
            str(path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        gathered["stop_model_elsewhere"] = await _stops(bench, rounds, peer, tool=False)
        assert peer.stdin is not None
        peer.stdin.close()
        await peer.wait()
    return {
        kind: {
            "median_ms": statistics.median(took),
            "p90_ms": at(took, 0.9),
            "p99_ms": at(took, 0.99),
            "max_ms": max(took),
        }
        for kind, took in gathered.items()
    }


async def _stops(
    bench: Bench, rounds: int, peer: asyncio.subprocess.Process | None, *, tool: bool
) -> list[float]:
    session, took = bench.runtime.session("stopped"), list[float]()
    begun = bench.tool_begun if tool else bench.model.begun
    bench.hold_tool = tool
    if not tool:
        bench.model.held.add(session.id)
    for number in range(rounds):
        turn_id = f"stop-{tool}-{peer is not None}-{number}"
        running = asyncio.create_task(session.run(SAID, turn_id=turn_id))
        await begun.acquire()
        await asyncio.sleep(0.02 + 0.06 * number / rounds)  # anywhere between two looks
        if peer is None:
            asked = time.perf_counter()
            receipt = await session.cancel(turn_id)
            assert receipt.outcome == "requested"
        else:
            assert peer.stdin is not None
            assert peer.stdout is not None
            peer.stdin.write(f"{turn_id}\n".encode())
            asked = float(await peer.stdout.readline())  # one clock for the whole machine
        result = await running
        took.append((time.perf_counter() - asked) * 1000)
        assert result.cancellation is not None
    bench.hold_tool = False
    bench.model.held.discard(session.id)
    return took


async def be_peer(path: Path) -> None:
    """Stop the turns that are named, and say when."""
    async with lash.Runtime(path) as runtime:
        session = runtime.session("stopped")
        while turn_id := (await asyncio.to_thread(sys.stdin.readline)).strip():
            asked = time.perf_counter()
            receipt = await session.cancel(turn_id)
            assert receipt.outcome == "requested"
            print(asked, flush=True)


async def measure_queue(path: Path, rounds: int) -> Facts:
    """An idle checkpoint, an injection, and input that is queued and waited for."""
    gathered: dict[str, list[float]] = {}

    def note(name: str, took: float) -> None:
        gathered.setdefault(name, []).append(took)

    async with opened(path) as bench:
        session = bench.runtime.session("queue")
        await bench.turn("queue")
        for took in await _idle_checkpoints(bench, rounds):
            note("idle_checkpoint_ms", took)
        for _ in range(rounds):
            before = transactions(bench.runtime)
            note("turn_ms", await bench.turn("queue"))
            between = transactions(bench.runtime)
            bench.inject = True
            note("turn_with_injection_ms", await bench.turn("queue"))
            bench.inject = False
            after = transactions(bench.runtime)
            note("injection_transactions", (after - between) - (between - before))
            began = time.perf_counter()
            queued = await session.enqueue(SAID)
            note("enqueue_ms", (time.perf_counter() - began) * 1000)
            await queued.result()
            note("enqueue_to_result_ms", (time.perf_counter() - began) * 1000)
            note("enqueue_to_commit_ms", (bench.committed_at - began) * 1000)
            note("enqueued_transactions", transactions(bench.runtime) - after)
    facts = {name: statistics.median(values) for name, values in gathered.items()}
    facts["injection_ms"] = facts["turn_with_injection_ms"] - facts["turn_ms"]
    return facts


async def _idle_checkpoints(bench: Bench, rounds: int) -> list[float]:
    """What a checkpoint asks while nothing waits for it: input for the next turn does not."""
    session, store, took = bench.runtime.session("idle"), bench.runtime.engine.store, list[float]()
    bench.model.held.add(session.id)
    running = asyncio.create_task(session.run(SAID, turn_id="held"))
    await bench.model.begun.acquire()
    await session.enqueue("Later.")
    lease = (await store.lease_of(session.id)).held
    assert lease is not None
    claim = CheckpointClaim(
        session_id=session.id,
        turn_id="held",
        checkpoint="after_work",
        effect_key="idle",
        fence=lease.fence,
    )
    before = transactions(bench.runtime)
    for _ in range(rounds):
        began = time.perf_counter()
        assert not await store.has_arrived(claim)
        took.append((time.perf_counter() - began) * 1000)
    assert transactions(bench.runtime) == before
    await session.cancel_pending(*(item.input_id for item in await session.pending()))
    await session.cancel("held")
    await running
    return took


async def measure_forks(path: Path, rounds: int) -> Facts:
    """Forks of ten thousand messages: at the newest, and in the middle."""
    newest: list[float] = []
    middle: list[float] = []
    grew = 0
    async with opened(path) as bench:
        session = bench.runtime.session(f"long-{LENGTHS[-1]}")
        size = bench.written()
        for number in range(rounds):
            began = time.perf_counter()
            await session.fork(f"fork-{number}")
            newest.append((time.perf_counter() - began) * 1000)
        grew = bench.written() - size
        for number in range(max(1, rounds // 5)):
            began = time.perf_counter()
            await session.fork(f"middle-{number}", at=f"built.m{LENGTHS[-1] // 2}")
            middle.append((time.perf_counter() - began) * 1000)
    return {
        "newest_ms": statistics.median(newest),
        "middle_ms": statistics.median(middle),
        "bytes": grew / rounds,
    }


async def measure_raw(path: Path, commits: int) -> float:
    """Milliseconds of a raw commit of one row."""
    writer = RawWriter(path)
    took: list[float] = []
    try:
        await writer.commit()
        for _ in range(commits):
            began = time.perf_counter()
            await writer.commit()
            took.append((time.perf_counter() - began) * 1000)
    finally:
        writer.close()
    return statistics.median(took)


def at(values: Sequence[float], part: float) -> float:
    """The value that `part` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


# --- telling it ---------------------------------------------------------------------------------------


async def measure(folder: Path, *, quick: bool) -> Sections:
    path, share = folder / "bench.db", 5 if quick else 1

    def say(what: str) -> None:
        print(f"{what} ...", file=sys.stderr)

    say("raw commits")
    raw = [await measure_raw(folder / "raw.db", 500 // share)]
    say("turns on histories of " + ", ".join(f"{length:,}" for length in LENGTHS))
    facts = await measure_lengths(path, 100 // share)
    facts["residence"] = await measure_residence(path, 500 // share)
    say("opening")
    facts["opening"] = await measure_opening(path, max(3, 10 // share))
    say("forking")
    facts["forks"] = await measure_forks(path, 50 // share)
    say("queue")
    facts["queue"] = await measure_queue(folder / "queue.db", 100 // share)
    say("stopping")
    facts |= await measure_stopping(folder / "stopping.db", 100 // share)
    say("many sessions")
    facts["many"] = await measure_many(folder / "many.db", 1_000 // share, 50 // share)
    raw.append(await measure_raw(folder / "raw.db", 500 // share))  # the disk may have changed
    facts["raw"] = {"commit_ms": statistics.fmean(raw)}
    long, short = facts[f"history_{LENGTHS[-1]}"], facts["history_100"]
    facts["ratios"] = {"turn_10000_to_100": long["turn_ms"] / short["turn_ms"]}
    return facts


#: What is shown: a fact, its name, its aim. What ends in `_ms` is shown beside the raw commit too.
ROWS = (
    ("raw.commit_ms", "raw: thread hop and one committed row", ""),
    *((f"history_{length}.turn_ms", f"turn on {length:,} messages", "") for length in LENGTHS),
    ("ratios.turn_10000_to_100", "  on 10,000 to on 100", "≤ 1.3"),
    ("history_10000.transactions", "  transactions", "5"),
    ("history_100.bytes_per_turn", "  bytes written, on 100 messages", ""),
    ("history_10000.bytes_per_turn", "  bytes written, on 10,000 messages", "the same"),
    ("residence.history_bytes_per_message", "open session: bytes in memory per message", ""),
    ("residence.bytes_left_first_half", "  bytes a turn leaves there, first half", ""),
    ("residence.bytes_left_second_half", "  second half", "its 4 messages"),
    ("opening.open_ms", "opening a runtime", ""),
    ("opening.first_turn_ms", "  first turn, which reads 10,000 messages", ""),
    ("opening.second_turn_ms", "  second turn", ""),
    ("many.sessions", "sessions open at once", ""),
    ("many.memory_half", "  bytes in memory of each, at half of them", ""),
    ("many.memory_all", "  at all of them", "no more"),
    ("many.memory_running", "  added by a turn under way in each", ""),
    ("many.alone_ms", "  turn while no others are open", ""),
    ("many.among_ms", "  turn of one among them, at rest", ""),
    ("many.beside_running_ms", "  turn beside as many turns under way", ""),
    ("stop_model_here.median_ms", "stop to commit: model call, same process", ""),
    ("stop_model_here.p90_ms", "  90 %", ""),
    ("stop_model_here.max_ms", "  worst", ""),
    ("stop_tool_here.median_ms", "stop to commit: tool that waits, same process", "grace of 50 ms"),
    ("stop_tool_here.max_ms", "  worst", ""),
    ("stop_model_elsewhere.median_ms", "stop to commit: model call, other process", ""),
    ("stop_model_elsewhere.p90_ms", "  90 %", ""),
    ("stop_model_elsewhere.max_ms", "  worst", "a look each 50 ms"),
    ("queue.idle_checkpoint_ms", "idle checkpoint, no transaction", ""),
    ("queue.turn_ms", "turn of a short session", ""),
    ("queue.injection_ms", "  an injection adds", ""),
    ("queue.injection_transactions", "  transactions that it adds", "3"),
    ("queue.enqueue_ms", "enqueue", ""),
    ("queue.enqueue_to_commit_ms", "  until its turn is committed", ""),
    ("queue.enqueue_to_result_ms", "  until its result() is there", ""),
    ("queue.enqueued_transactions", "  transactions, the turn's included", "6"),
    ("forks.newest_ms", "fork of 10,000 messages, at the newest", ""),
    ("forks.middle_ms", "  in the middle, which reads them", ""),
    ("forks.bytes", "  bytes of a fork", ""),
)


def report(facts: Sections) -> None:
    from rich.console import Console
    from rich.table import Table

    raw_ms = facts["raw"]["commit_ms"]
    table = Table(title="Sessions: turns of one tool call and two model calls, synchronous=FULL")
    table.add_column("measure")
    for name in ("value", "to raw", "aim"):
        table.add_column(name, justify="right")
    for place, name, aim in ROWS:
        section, _, fact = place.partition(".")
        value = facts[section][fact]
        if fact.endswith("_ms"):
            table.add_row(name, f"{value:.2f} ms", f"{value / raw_ms:.1f}", aim)
        else:
            table.add_row(name, f"{value:,.2f}" if value < 3 else f"{value:,.0f}", "", aim)
    console = Console()
    console.print(table)
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    console.print(f"{versions}, {platform.machine()}. Ratios travel; milliseconds do not.")


async def main(options: argparse.Namespace) -> None:
    if options.peer:
        await be_peer(options.peer)
        return
    with tempfile.TemporaryDirectory() as name:
        facts = await measure(Path(name), quick=options.quick)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        report(facts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of everything")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    asyncio.run(main(parser.parse_args()))
