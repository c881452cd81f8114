"""An application in different states of its code, and a turn it left behind when it was stopped.

Run as a script, `deploys.py DATABASE LEDGER POINT`, this file opens such a database with changed code
and dies with SIGKILL in the middle of beginning the turn again.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, cast

import pytest
from hooked_store import HookedStore

import lash
import lash.stores.sqlite.rows as stored_rows
from lash.core.clock import Clock, SystemClock
from lash.effects.transitions import DriftPolicy
from lash.llm.request import LlmRequest, ToolResultBlock
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.runtime.environment import RuntimeEvent
from lash.runtime.stores import Store
from lash.stores.sqlite import SqliteStore
from lash.testing import KillAt, ScriptedModel, VirtualClock, calls, reply
from lash.testing.scripted import Step, calls_made

POLICIES: tuple[DriftPolicy, ...] = ("accept", "refuse", "restart")
PROMPT = "Look around."
SOURCE_KEY = "message-7"


class Watched(ScriptedModel):
    """Looks twice, holds, looks again, and says what it was answered, one word for each call."""

    def __init__(self, note: Callable[[str], None], name: str) -> None:
        super().__init__(self.answer, name=name)
        self._note = note

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        self._note(f"m{calls_made(request) + 1}")
        return await super().complete(request, emit)

    @staticmethod
    def answer(request: LlmRequest) -> Step:
        steps = [
            calls(("look", {"at": "one"}), ("look", {"at": "two"})),
            calls(("hold", {})),
            calls(("look", {"at": "three"})),
        ]
        made = calls_made(request)
        return steps[made] if made < len(steps) else reply(" ".join(answers(request)))


def answers(request: LlmRequest) -> Sequence[str]:
    """What the running turn's tools said, as the model was shown it; failures are `failed`."""
    added = request.messages[request.history.count :]
    blocks = [block for message in added for block in message.blocks]
    shown = [block.content for block in blocks if isinstance(block, ToolResultBlock)]
    return ["failed" if text.startswith("[Tool execution failed]") else text for text in shown]


class Deploy:
    """One state of the application's code. `ran` tells what was really started, in order."""

    def __init__(
        self,
        *,
        goes_on: bool = True,
        look: str = "plain",
        without: str = "",
        more: Sequence[Any] = (),
        model: str = "script",
        note: Callable[[str], None] | None = None,
        name: str = "scout",
        version: str = "1",
        instructions: str = "Be brief.",
    ) -> None:
        self.ran: list[str] = []
        self.holding = asyncio.Event()
        self.go = asyncio.Event()
        if goes_on:
            self.go.set()
        self.note = note or self.ran.append
        tools = {"look": self._look(look), "hold": self._hold()}
        tools.pop(without, None)
        self.agent = lash.Agent(
            name,
            version=version,
            instructions=instructions,
            model=Watched(self.note, model),
            tools=[*tools.values(), *more],
        )

    def _hold(self) -> Any:
        @lash.tool
        async def hold() -> str:
            """Hold until the test goes on."""
            self.note("hold")
            self.holding.set()
            await self.go.wait()
            return "held"

        return hold

    def _look(self, kind: str) -> Any:
        async def look(at: str) -> str:
            """Look at a place."""
            self.note(at)
            return at + ("!" if kind == "other code" else "")

        async def look_in(at: str, lang: str = "en") -> str:
            """Look at a place."""
            return await look(at)

        async def look_only_in(at: str, lang: str) -> str:
            """Look at a place."""
            return await look(at)

        bodies: dict[str, Any] = {"optional": look_in, "required": look_only_in}
        return lash.tool(name="look")(bodies.get(kind, look))


async def spare() -> str:
    """A tool that nobody calls."""
    return "spare"


RECORDED = ["m1", "one", "two", "m2", "hold"]


async def leave(path: Path, deploy: Deploy, **options: Any) -> None:
    """Drive the turn until it holds, then close the runtime."""
    async with lash.Runtime(path, agents=[deploy.agent], **options) as runtime:
        session = runtime.session("s")
        running = asyncio.create_task(session.run(PROMPT, turn_id="t", source_key=SOURCE_KEY))
        await asyncio.wait_for(deploy.holding.wait(), 20)
    with pytest.raises(lash.LashError, match="The input is kept"):
        await running


async def left(path: Path, **code: Any) -> None:
    """Leave a turn of which two model calls and two tools are recorded, and a third tool runs."""
    deploy = Deploy(goes_on=False, **code)
    await leave(path, deploy)
    assert deploy.ran == RECORDED


async def refusal(session: lash.Session, prompt: str, **named: Any) -> lash.LashError:
    with pytest.raises(lash.LashError) as raised:
        await session.run(prompt, **named)
    return raised.value


async def summary(runtime: lash.Runtime) -> tuple[str, str | None, str | None, int]:
    """A session in brief: its state, why it is parked, what for, and how many turns are open."""
    (found,) = await runtime.sessions()
    parked = found.parked
    code, waits_for = (parked.code, parked.waits_for) if parked else (None, None)
    return found.state, code, waits_for, found.open_turns


GOES_ON = ["hold", "m3", "three", "m4"]
BEGINS_AGAIN = ["m1", "one", "two", "m2", "hold", "m3", "three", "m4"]
TEXT = "one two held three"


class Opened:
    """A runtime over a file, its store's hooks, and what it told."""

    def __init__(
        self,
        path: Path,
        *agents: lash.Agent,
        clock: Clock | None = None,
        on_drift: DriftPolicy = "accept",
    ) -> None:
        self.clock = clock or SystemClock(asyncio.sleep)
        self.store = HookedStore(SqliteStore(path, self.clock))
        self.events: list[RuntimeEvent] = []
        self.runtime = lash.Runtime(
            cast("Store", self.store),
            agents=agents,
            clock=self.clock,
            on_drift=on_drift,
            on_event=self.events.append,
        )

    async def __aenter__(self) -> Self:
        await self.runtime.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runtime.__aexit__(None, None, None)

    async def sweep(self) -> None:
        """Let the time of a lease pass, and wait until the sweep that follows has come to its end."""
        assert isinstance(self.clock, VirtualClock)
        async with asyncio.timeout(20):
            while self.clock.sleeping < 4:  # noqa: ASYNC110  whoever looks after the store
                await asyncio.sleep(0)
            swept = self.store.counts["open_sessions"]
            self.clock.advance(30)
            while self.store.counts["open_sessions"] == swept:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0)
            await self.runtime.idle()


async def _die(path: Path, ledger: Path, point: str) -> None:
    """Open a file with changed code and be killed at a point of beginning its turn again."""

    async def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_inside(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def note(what: str) -> None:
        with ledger.open("a") as file:
            file.write(f"{what}\n")

    ledger.touch()
    seams = KillAt("record.after") if point == "first record" else KillAt("commit.before")
    store = HookedStore(SqliteStore(path, SystemClock(asyncio.sleep)))
    if point == "inside":  # the old turn is closed in the transaction, the new one not yet there
        vars(stored_rows)["add_input"] = kill_inside
    elif point != "first record":
        (store.before if point == "before" else store.after)["restart_turn"] = kill
    changed = Deploy(instructions="Be thorough.", note=note)
    async with lash.Runtime(
        cast("Store", store), agents=[changed.agent], on_drift="restart", seams=seams
    ) as runtime:
        await runtime.idle(timeout=30)


if __name__ == "__main__":
    asyncio.run(_die(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
