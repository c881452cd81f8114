"""Opening and closing a runtime: nothing is lost, nothing is left running, callers hear the truth."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import lash
import lash.app.runtime as facade
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.runtime.environment import Environment
from lash.runtime.stores import Store
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, calls, reply

SCRIPT = [calls(("wait", {})), reply("Over.")]


class Gate:
    """A tool's body that waits until it is let go; counts how often it began."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.count = 0
        if is_open:
            self.go.set()

    def agent(self) -> lash.Agent:
        @lash.tool
        async def wait() -> str:
            """Wait."""
            self.count += 1
            self.begun.set()
            await self.go.wait()
            return "done"

        return lash.Agent("patient", model=ScriptedModel(SCRIPT), tools=[wait])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture(autouse=True)
async def no_task_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert [task.get_name() for task in left if task.get_name().startswith("lash")] == []


async def test_closing_mid_turn_tells_the_caller_and_the_next_opening_finishes_it(
    path: Path,
) -> None:
    gate = Gate()
    async with lash.Runtime(path, agents=[gate.agent()]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Wait."))
        await gate.begun.wait()
    with pytest.raises(lash.LashError, match="The input is kept") as raised:
        await running
    assert raised.value.code == "runtime_closed"

    reopened = Gate(is_open=True)
    async with lash.Runtime(path, agents=[reopened.agent()]) as runtime:
        await runtime.idle(timeout=20)
        (turn,) = await runtime.session("s").turns()
    assert turn.text == "Over."
    assert (gate.count, reopened.count) == (1, 1)


async def has_come_to(condition: Callable[[], object]) -> None:
    """Let the loop turn until something without an event of its own has happened."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  see above
            await asyncio.sleep(0)


def by_thread(runtime: lash.Runtime) -> None:
    """Have the store's thread take every write, as on a slow disk: the loop is to go on meanwhile."""
    store = runtime.engine.store
    assert isinstance(store, SqliteStore)
    store._writer._slow = 1_000_000


async def test_closing_while_input_is_accepted_keeps_it_and_drives_nothing_more(
    path: Path,
) -> None:
    taking, take = threading.Event(), threading.Event()

    def seams(seam: str) -> None:
        if seam == "accept.inside":
            taking.set()
            assert take.wait(20)

    gate = Gate(is_open=True)
    agent = gate.agent()
    runtime = lash.Runtime(path, agents=[agent], seams=seams)
    async with runtime:
        by_thread(runtime)
        running = asyncio.create_task(runtime.session("s").run("Wait."))
        await asyncio.to_thread(taking.wait, 20)
        lane = runtime.engine.lanes["s"]
        closing = asyncio.create_task(runtime.__aexit__(None, None, None))
        await has_come_to(lambda: lane._stopped)
        take.set()
        await closing
        with pytest.raises(lash.LashError, match="The input is kept") as raised:
            await running
    assert raised.value.code == "runtime_closed"
    assert isinstance(agent.model, ScriptedModel)
    assert agent.model.requests == []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT nonce FROM leases").fetchall() == [(None,)]

    async with lash.Runtime(path, agents=[gate.agent()]) as runtime:
        await runtime.idle(timeout=20)
        assert [turn.text for turn in await runtime.session("s").turns()] == ["Over."]


async def test_a_commit_under_way_is_finished_and_its_caller_gets_the_result(path: Path) -> None:
    committing, commit = threading.Event(), threading.Event()

    def seams(seam: str) -> None:
        if seam == "commit.inside":
            committing.set()
            assert commit.wait(20)

    runtime = lash.Runtime(path, agents=[Gate(is_open=True).agent()], seams=seams)
    async with runtime:
        by_thread(runtime)
        running = asyncio.create_task(runtime.session("s").run("Wait."))
        await asyncio.to_thread(committing.wait, 20)
        drive = runtime.engine.lanes["s"]._drive
        assert drive is not None
        closing = asyncio.create_task(runtime.__aexit__(None, None, None))
        await has_come_to(drive.cancelling)
        commit.set()
        await closing
        assert (await running).text == "Over."


async def test_cancelling_the_closing_closes_all_the_same(path: Path) -> None:
    gate = Gate()
    runtime = lash.Runtime(path, agents=[gate.agent()])
    await runtime.__aenter__()
    store = runtime.engine.store
    running = asyncio.create_task(runtime.session("s").run("Wait."))
    await gate.begun.wait()
    closing = asyncio.create_task(runtime.__aexit__(None, None, None))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(lash.LashError):
        await running
    with pytest.raises(lash.StoreError, match="closed"):
        await store.list_sessions()


async def test_cancelling_the_opening_leaves_no_store_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on = threading.Event(), threading.Event()
    opened: list[Store] = []
    real = facade._open_store

    def slow(location: str | Path, environment: Environment) -> Store:
        opening.set()
        assert go_on.wait(20)
        opened.append(real(location, environment))
        return opened[0]

    monkeypatch.setattr(facade, "_open_store", slow)
    entering = asyncio.create_task(lash.Runtime(path).__aenter__())
    await asyncio.to_thread(opening.wait, 20)
    entering.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await entering
    with pytest.raises(lash.StoreError, match="closed"):
        await opened[0].list_sessions()


class Counting(ScriptedModel):
    """A provider that counts how often it was closed."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(SCRIPT)
        self.closed = 0
        self.broken = broken

    async def aclose(self) -> None:
        self.closed += 1
        if self.broken:
            raise OSError("the connection is gone")


async def test_every_provider_is_closed_once_also_when_one_refuses(path: Path) -> None:
    broken, shared = Counting(broken=True), Counting()
    agents = [
        lash.Agent("a", model=broken),
        lash.Agent("b", model=shared),
        lash.Agent("c", model=shared),
    ]
    runtime = lash.Runtime(path, agents=agents)
    await runtime.__aenter__()
    with pytest.raises(OSError, match="the connection is gone"):
        await runtime.__aexit__(None, None, None)
    assert (broken.closed, shared.closed) == (1, 1)


async def test_a_tool_that_is_stopped_by_closing_is_not_recorded_as_failed(path: Path) -> None:
    begun = asyncio.Event()

    @lash.tool
    async def wait() -> str:
        """Turns its cancellation into an error of its own, as some libraries do."""
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("interrupted") from None
        return "never"

    agent = lash.Agent("patient", model=ScriptedModel(SCRIPT), tools=[wait])
    async with lash.Runtime(path, agents=[agent]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Wait."))
        await begun.wait()
    with pytest.raises(lash.LashError, match="closed"):
        await running

    async with lash.Runtime(path, agents=[Gate(is_open=True).agent()]) as runtime:
        await runtime.idle(timeout=20)
        (turn,) = await runtime.session("s").turns()
    assert turn.tool_calls[0].output.outcome.payload == "done"


async def test_a_tool_that_ignores_closing_is_recorded_and_nothing_more_is_begun(
    path: Path,
) -> None:
    begun = asyncio.Event()

    @lash.tool
    async def wait() -> str:
        """Finishes what it does although it is cancelled."""
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return "finished"

    model = ScriptedModel(SCRIPT)
    agent = lash.Agent("patient", model=model, tools=[wait])
    async with lash.Runtime(path, agents=[agent]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Wait."))
        await begun.wait()
    with pytest.raises(lash.LashError, match="closed"):
        await running
    assert len(model.requests) == 1

    gate = Gate(is_open=True)
    async with lash.Runtime(path, agents=[gate.agent()]) as runtime:
        await runtime.idle(timeout=20)
        (turn,) = await runtime.session("s").turns()
    assert gate.count == 0
    outcome = turn.tool_calls[0].output.outcome
    assert outcome.payload == "finished"


async def test_a_model_call_that_is_stopped_by_closing_is_not_recorded_as_failed(
    path: Path,
) -> None:
    begun = asyncio.Event()

    class Hanging(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ConnectionError("interrupted") from None
            return await super().complete(request, emit)

    async with lash.Runtime(path, agents=[lash.Agent("a", model=Hanging(SCRIPT))]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Hello?"))
        await begun.wait()
    with pytest.raises(lash.LashError, match="closed"):
        await running

    agent = lash.Agent("a", model=ScriptedModel([reply("Hi.")]))
    async with lash.Runtime(path, agents=[agent]) as runtime:
        await runtime.idle(timeout=20)
        assert [turn.text for turn in await runtime.session("s").turns()] == ["Hi."]


async def test_idle_says_that_work_goes_on_when_its_time_is_up(path: Path) -> None:
    gate = Gate()
    async with lash.Runtime(path, agents=[gate.agent()]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Wait."))
        await gate.begun.wait()
        with pytest.raises(lash.LashError) as raised:
            await runtime.idle(timeout=0.01)
        assert raised.value.code == "idle_timeout"
        assert raised.value.retryable
        gate.go.set()
        await runtime.idle()
        assert (await running).text == "Over."


async def test_an_idle_runtime_is_idle_at_once() -> None:
    async with lash.Runtime(":memory:") as runtime:
        await runtime.idle(timeout=5)
        assert runtime.durability == "ephemeral"


def test_a_loop_that_ends_with_a_turn_running_leaves_the_turn_for_the_next(path: Path) -> None:
    async def abandon() -> None:
        gate = Gate()
        runtime = lash.Runtime(path, agents=[gate.agent()])
        async with runtime:
            running = asyncio.create_task(runtime.session("s").run("Wait."))
            await gate.begun.wait()
            running.cancel()
            raise KeyError("the application failed")

    async def finish() -> list[str]:
        async with lash.Runtime(path, agents=[Gate(is_open=True).agent()]) as runtime:
            await runtime.idle(timeout=20)
            return [turn.text for turn in await runtime.session("s").turns()]

    with pytest.raises(KeyError):
        asyncio.run(abandon())
    assert asyncio.run(finish()) == ["Over."]
