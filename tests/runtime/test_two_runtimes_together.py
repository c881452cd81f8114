"""Two runtimes on one file: whatever is asked of a session in one is done by the one that drives it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.events import ToolCallStarted, TurnEvent
from lash.llm.request import LlmRequest, TextBlock
from lash.runtime.events import TurnCancelRequested
from lash.runtime.observed import Committed, Event, Snapshot
from lash.sessions.ingress import InputAlreadyClaimed, InputCancelled
from lash.sessions.model import messages_of
from lash.testing import ScriptedModel, calls, reply
from lash.testing.scripted import Step, calls_made
from lash.turn.messages import is_valid_transcript
from lash.turn.outcome import Cancelled

Together = tuple[lash.Runtime, lash.Runtime]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


class Desk:
    """An agent that calls `wait` when it is told to go, and else says what it was told.

    Every runtime has a copy of its own; `begun` and `go` belong to that copy.
    """

    def __init__(self, *tools: Any) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.ran = 0

        @lash.tool
        async def wait() -> str:
            """Wait."""
            self.ran += 1
            self.begun.set()
            await self.go.wait()
            return "done"

        self.model = ScriptedModel(self._answer)
        self.agent = lash.Agent("desk", model=self.model, tools=[wait, *tools])

    def _answer(self, request: LlmRequest) -> Step:
        said = texts(request)
        if calls_made(request) == 0 and said[-1].startswith("Go"):
            return calls(("wait", {}))
        return reply(f"{said[-1]}!")


def texts(request: LlmRequest) -> list[str]:
    """What the user said, as the model is shown it."""
    blocks = [
        block for message in request.messages if message.role == "user" for block in message.blocks
    ]
    return [block.text for block in blocks if isinstance(block, TextBlock)]


@asynccontextmanager
async def opened(path: Path, here: Desk, there: Desk | None = None) -> AsyncIterator[Together]:
    """Two runtimes on one file. The one that is asked first drives; by default both have the agent."""
    agents = [(there or Desk()).agent]
    async with (
        asyncio.timeout(30),
        lash.Runtime(path, agents=[here.agent]) as one,
        lash.Runtime(path, agents=agents) as other,
    ):
        yield one, other


def begin(
    runtime: lash.Runtime, prompt: str = "Go.", **named: Any
) -> "asyncio.Task[lash.TurnResult]":
    return asyncio.create_task(runtime.session("s").run(prompt, **named))


async def said(runtime: lash.Runtime) -> list[str]:
    history = await runtime.session("s").history()
    return [message.text for message in history if message.role == "user" and message.text]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)


async def code_of(work: Awaitable[object]) -> str:
    with pytest.raises(lash.LashError) as raised:
        await work
    return raised.value.code


def stopped_by(turn: lash.TurnResult) -> str | None:
    assert isinstance(turn.outcome, lash.Stopped)
    assert isinstance(turn.outcome.reason, Cancelled)
    return turn.outcome.reason.request_id


async def valid(runtime: lash.Runtime) -> bool:
    return is_valid_transcript(messages_of(await runtime.engine.store.load_path("s", whole=True)))


# --- stopping -----------------------------------------------------------------------------------------


async def test_a_turn_driven_there_is_stopped_from_here(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        receipt = await here.session("s").cancel("t", request_id="r", origin="here")
        assert (receipt.outcome, receipt.turn_id) == ("requested", "t")
        turn = await running
        assert stopped_by(turn) == "r"
        assert await here.session("s").wait("t") == turn
        assert await valid(here)
        assert (await there.session("s").run("Next.")).text == "Next.!"


async def test_who_follows_a_turn_there_hears_that_it_was_asked_to_stop_here(path: Path) -> None:
    desk = Desk()
    events: list[TurnEvent] = []
    async with (
        opened(path, desk) as (there, here),
        there.session("s").stream("Go.", turn_id="t") as live,
    ):
        async for event in live:
            events.append(event)
            if isinstance(event, ToolCallStarted):
                await here.session("s").cancel("t", request_id="r")
        assert stopped_by(await live.result()) == "r"
    (told,) = [event for event in events if isinstance(event, TurnCancelRequested)]
    assert told.cancellation.request_id == "r"


async def test_every_turn_is_stopped_from_the_other_one_after_the_other(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        for number in range(4):
            desk.begun.clear()
            running = begin(there, turn_id=f"t{number}")
            await desk.begun.wait()
            receipt = await here.session("s").cancel(request_id=f"r{number}")
            assert (receipt.outcome, receipt.turn_id) == ("requested", f"t{number}")
            assert stopped_by(await running) == f"r{number}"


async def test_turns_of_several_sessions_are_stopped_from_the_other(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        tasks = {
            name: asyncio.create_task(there.session(name).run("Go.", turn_id="t"))
            for name in ("a", "b", "c")
        }

        async def all_began() -> bool:
            return desk.ran == 3

        await until(all_began)
        await here.session("a").cancel("t", request_id="ra")
        await here.session("c").cancel("t", request_id="rc")
        assert stopped_by(await tasks["a"]) == "ra"
        assert stopped_by(await tasks["c"]) == "rc"
        assert not tasks["b"].done()
        desk.go.set()
        assert (await tasks["b"]).is_success


async def test_a_tools_broken_callback_does_not_keep_later_turns_from_being_stopped(
    path: Path,
) -> None:
    begun = asyncio.Event()

    def broken(_: object) -> None:
        raise RuntimeError("my own callback")

    @lash.tool
    async def touchy(ctx: lash.ToolContext) -> str:
        """Registers a callback."""
        ctx.cancel.on_cancel(broken)
        begun.set()
        await asyncio.Event().wait()
        return "never"

    desk = Desk()
    touched = lash.Agent("touched", model=ScriptedModel([calls(("touchy", {}))]), tools=[touchy])
    async with (
        asyncio.timeout(10),
        lash.Runtime(path, agents=[desk.agent, touched]) as there,
        lash.Runtime(path, agents=[desk.agent, touched]) as here,
    ):
        first = asyncio.create_task(there.session("x", agent="touched").run("Go.", turn_id="t"))
        await begun.wait()
        await here.session("x").cancel("t")
        assert stopped_by(await first) is not None
        second = asyncio.create_task(there.session("s", agent="desk").run("Go.", turn_id="t"))
        await desk.begun.wait()
        await here.session("s").cancel("t", request_id="r")
        assert stopped_by(await asyncio.wait_for(second, 2)) == "r"


async def test_a_stop_from_here_just_before_the_commit_there_wins(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        store: Any = there.engine.store
        commit = store.commit_turn
        outcomes: list[str] = []

        async def stopped_first(request: Any) -> Any:
            if not outcomes:
                receipt = await here.session("s").cancel("t", request_id="r")
                outcomes.append(receipt.outcome)
            return await commit(request)

        store.commit_turn = stopped_first
        turn = await there.session("s").run("Hello.", turn_id="t")
        assert outcomes == ["requested"]
        assert stopped_by(turn) == "r"
        assert await said(here) == ["Hello."]
        assert [message.role for message in await here.session("s").history()] == ["user"]


async def test_a_stop_from_here_after_the_commit_there_says_so(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        turn = await there.session("s").run("Hello.", turn_id="t")
        receipt = await here.session("s").cancel("t")
        assert (receipt.outcome, receipt.result) == ("completion_won_race", turn)


async def test_a_turn_that_comes_there_is_stopped_by_a_request_from_here_before(
    path: Path,
) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        await there.session("s").run("Hello.")
        assert (await here.session("s").cancel("t", request_id="r")).outcome == "requested"
        assert stopped_by(await there.session("s").run("Go.", turn_id="t")) == "r"
    assert desk.ran == 0


async def test_a_wait_for_the_outside_there_is_given_up_from_here(path: Path) -> None:
    keys: asyncio.Queue[lash.AwaitEventKey] = asyncio.Queue()

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask."""
        return await ctx.defer(keys.put)

    agent = lash.Agent("desk", model=ScriptedModel([calls(("ask", {}))]), tools=[ask])
    async with (
        asyncio.timeout(30),
        lash.Runtime(path, agents=[agent]) as there,
        lash.Runtime(path) as here,
    ):
        running = begin(there, turn_id="t")
        await keys.get()
        await there.idle()
        await here.session("s").cancel("t", request_id="r")
        assert stopped_by(await running) == "r"
        assert await valid(here)


# --- input --------------------------------------------------------------------------------------------


async def test_input_from_here_comes_into_the_turn_that_runs_there(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        item = await here.session("s").inject("And 8.")
        assert (item.state, item.turn_id) == ("pending_active", "t")
        desk.go.set()
        turn = await running
        assert turn.text == "And 8.!"
        assert await item.result() == turn
        assert await said(here) == ["Go.", "And 8."]
        assert (await item.refresh()).state == "completed"


async def test_input_queued_here_is_the_next_turn_of_the_one_that_drives(path: Path) -> None:
    desk, idle = Desk(), Desk()
    async with opened(path, desk, idle) as (there, here):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        items = [await here.session("s").enqueue(text) for text in ("A", "B")]
        results = [asyncio.create_task(item.result()) for item in items]
        mine = await there.session("s").enqueue("C")
        desk.go.set()
        await running
        turns = [await result for result in results]
        assert await mine.result() == turns[0]
        assert turns[0] == turns[1]
        assert turns[0].text == "A\nB\nC!"
        assert len(await here.session("s").turns()) == 2
    assert idle.model.requests == []


async def test_input_queued_here_while_nobody_drives_is_driven_here(path: Path) -> None:
    desk, own = Desk(), Desk()
    async with opened(path, desk, own) as (there, here):
        await there.session("s").run("Hello.")
        turn = await (await here.session("s").enqueue("Again.")).result()
        assert turn.text == "Again.!"
        assert await there.session("s").wait(turn.turn_id) == turn
        assert (await there.session("s").run("More.")).text == "More.!"
        assert await said(here) == ["Hello.", "Again.", "More."]
    assert len(own.model.requests) == 1
    assert [len(request.messages) for request in desk.model.requests] == [1, 5]


async def test_input_from_both_ends_each_in_one_turn_in_its_order(path: Path) -> None:
    async with opened(path, Desk()) as (one, other):

        async def feed(runtime: lash.Runtime, name: str) -> Sequence[lash.TurnResult]:
            items = [await runtime.session("s").enqueue(f"{name}{n}") for n in range(20)]
            return [await item.result() for item in items]

        await asyncio.gather(feed(one, "a"), feed(other, "b"))
        await one.idle()
        words = "\n".join(await said(one)).split("\n")
        assert [word for word in words if word[0] == "a"] == [f"a{n}" for n in range(20)]
        assert [word for word in words if word[0] == "b"] == [f"b{n}" for n in range(20)]
        assert len(words) == 40
        assert await valid(one)


async def test_the_same_source_key_from_both_is_one_item(path: Path) -> None:
    async with opened(path, Desk()) as (one, other):
        items = await asyncio.gather(
            *(
                runtime.session("s").enqueue("Once.", source_key="k")
                for runtime in (one, other, one, other)
            )
        )
        assert len({item.input_id for item in items}) == 1
        results = [await item.result() for item in items]
        assert results == [results[0]] * 4
        assert await said(one) == ["Once."]


async def test_input_queued_there_is_taken_back_here(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        queued = await there.session("s").enqueue("Later.")
        waiting = asyncio.create_task(code_of(queued.result()))
        injected = await there.session("s").inject("Now.")
        outcomes = await here.session("s").cancel_pending(queued.input_id, injected.input_id)
        assert [type(outcome) for outcome in outcomes] == [InputCancelled, InputCancelled]
        assert await waiting == "turn_input_cancelled"
        desk.go.set()
        await running
        assert await said(here) == ["Go."]


async def test_input_that_a_turn_there_took_is_not_taken_back_here(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        item = await there.session("s").enqueue("Go.")
        await desk.begun.wait()
        (outcome,) = await here.session("s").cancel_pending(item.input_id)
        assert isinstance(outcome, InputAlreadyClaimed)
        receipt = await here.session("s").cancel(outcome.item.turn_id)
        assert receipt.outcome == "requested"
        assert stopped_by(await item.result()) is not None


async def test_a_command_from_here_waits_its_turn_there(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        layer = lash.PromptLayer.add("guidance", "Be loud.")
        configuring = asyncio.create_task(here.session("s").configure(prompt=layer))

        async def queued() -> bool:
            info = await here.session("s").info()
            return info is not None and info.queued == 1

        await until(queued)
        desk.go.set()
        assert (await running).command is None
        assert (await configuring).command == "configure_session"
        await there.session("s").run("Hello.")
        assert "Be loud." in desk.model.requests[-1].instructions


# --- waiting and looking --------------------------------------------------------------------------------


async def test_a_turn_driven_there_is_waited_for_here(path: Path) -> None:
    desk, idle = Desk(), Desk()
    async with opened(path, desk, idle) as (there, here):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        waiting = asyncio.create_task(here.session("s").wait("t"))
        again = begin(here, turn_id="t")
        assert await code_of(here.session("s").run("Other.")) == "session_execution_busy"
        assert await code_of(here.session("s").wait("nobody")) == "turn_unknown"
        desk.go.set()
        turn = await running
        assert (await waiting, await again) == (turn, turn)
    assert (desk.ran, idle.ran) == (1, 0)


async def test_a_turn_that_was_left_there_is_carried_on_here_by_who_waits(path: Path) -> None:
    desk, own = Desk(), Desk()
    own.go.set()
    async with asyncio.timeout(30), lash.Runtime(path, agents=[own.agent]) as here:
        async with lash.Runtime(path, agents=[desk.agent]) as there:
            running = begin(there, turn_id="t")
            await desk.begun.wait()
            waiting = asyncio.create_task(here.session("s").wait("t"))
            later = await here.session("s").enqueue("Later.")
        assert await code_of(running) == "runtime_closed"
        assert (await waiting).text == "Go.!"
        assert (await later.result()).text == "Later.!"
        assert len(await here.session("s").turns()) == 2
    assert (desk.ran, own.ran) == (1, 1)


async def test_idle_here_waits_for_what_is_driven_and_queued_there(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        await here.session("s").enqueue("Later.")
        assert await code_of(here.idle(timeout=0.05)) == "idle_timeout"
        desk.go.set()
        await here.idle()
        assert running.done()
        assert len(await here.session("s").turns()) == 2


async def test_commits_there_are_observed_here(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        await there.session("s").run("One.", turn_id="t1")
        async with here.session("s").observe() as items:
            first = await anext(items)
            assert isinstance(first, Snapshot)
            assert [message.role for message in first.view.messages] == ["user", "assistant"]
            second = await there.session("s").run("Two.", turn_id="t2")
            seen = await anext(items)
            assert isinstance(seen, Event)
            assert isinstance(seen.event, Committed)
            assert (seen.event.turn_id, seen.event.revision) == ("t2", second.revision)
            third = await here.session("s").run("Three.", turn_id="t3")
            async for item in items:
                if isinstance(item, Event) and isinstance(item.event, Committed):
                    assert (item.event.turn_id, item.event.revision) == ("t3", third.revision)
                    break


async def test_a_view_here_ends_up_with_the_history_however_the_turns_were_driven(
    path: Path,
) -> None:
    from lash.app.live_view import LiveView

    async with opened(path, Desk()) as (there, here):
        view = LiveView()

        async def follow() -> None:
            async with here.session("s").observe() as items:
                async for item in items:
                    view.apply(item)
                    if view.turn_index == 9:
                        return

        following = asyncio.create_task(follow())
        for number in range(9):
            runtime = there if number % 3 else here
            await runtime.session("s").run(f"Number {number}.")
        await following
        assert list(view.messages) == list(await there.session("s").history())
        assert view.live == {}


async def test_a_runtime_without_the_agent_may_stop_wait_and_look(path: Path) -> None:
    desk = Desk()
    async with (
        asyncio.timeout(30),
        lash.Runtime(path, agents=[desk.agent]) as there,
        lash.Runtime(path) as here,
    ):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        waiting = asyncio.create_task(here.session("s").wait("t"))
        assert (await here.session("s").cancel(request_id="r")).outcome == "requested"
        turn = await running
        assert await waiting == turn
        assert stopped_by(turn) == "r"
        assert await here.session("s").turns() == [turn]
