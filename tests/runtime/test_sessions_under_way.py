"""What two runtimes on one file owe each other, and who waits: the cases that are easily overlooked."""

import asyncio
from pathlib import Path

import pytest

import lash
from lash.events import Committed, Event
from lash.testing import ScriptedModel, calls, reply


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


def holding() -> tuple[asyncio.Event, asyncio.Event, lash.Agent]:
    begun, go = asyncio.Event(), asyncio.Event()

    @lash.tool
    async def hold() -> str:
        """Wait."""
        begun.set()
        await go.wait()
        return "held"

    model = ScriptedModel([calls(("hold", {})), reply("Over.")])
    return begun, go, lash.Agent("holding", model=model, tools=[hold])


async def test_what_was_queued_beside_a_driver_that_closes_is_taken_up_at_once(path: Path) -> None:
    begun, go, agent = holding()
    go.clear()
    lease = lash.LeaseTimings(ttl_ms=600_000, renew_ms=200_000)  # the slow sweep comes too late
    async with lash.Runtime(path, agents=[agent], lease=lease) as there:
        async with lash.Runtime(path, agents=[agent], lease=lease) as here:
            running = asyncio.create_task(here.session("s").run("Go.", turn_id="t"))
            await begun.wait()
            queued = await there.session("s").enqueue("And then?")
        with pytest.raises(lash.LashError):
            await running
        go.set()
        async with asyncio.timeout(20):
            assert (await queued.result()).text == "Over."
            turns = await there.session("s").turns()
    assert turns[0].turn_id == "t"


async def test_who_waits_for_a_turn_of_a_session_that_is_deleted_elsewhere_is_told(
    path: Path,
) -> None:
    begun, _, agent = holding()
    async with lash.Runtime(path, agents=[]) as watching, asyncio.timeout(20):
        async with lash.Runtime(path, agents=[agent]) as driving:
            running = asyncio.create_task(driving.session("s").run("Go.", turn_id="t"))
            await begun.wait()
            waiting = asyncio.create_task(watching.session("s").wait("t"))
            while not watching.engine.followers.any_of("s"):  # noqa: ASYNC110  polled
                await asyncio.sleep(0)
        with pytest.raises(lash.LashError):
            await running
        async with lash.Runtime(path, agents=[]) as third:
            assert await third.delete_session("s") is not None
        with pytest.raises(lash.LashError) as raised:
            await waiting
    assert raised.value.code in {"session_deleted", "agent_missing"}


async def test_callers_without_an_agent_name_keep_their_order(path: Path) -> None:
    agent = lash.Agent("a", model=ScriptedModel([reply("ok")]))
    async with lash.Runtime(path, agents=[agent]) as runtime, asyncio.timeout(30):
        for number in range(5):
            session = runtime.session(f"s{number}")
            await session.run("first")
            await asyncio.gather(
                *(session.enqueue(str(n)) for n in range(6)),
                session.run("last"),
                return_exceptions=True,
            )
            await runtime.idle()
            said = [item.text for item in await session.history() if item.role == "user"]
            assert said[0] == "first"
            assert "\n".join(said[1:]).split("\n") == ["0", "1", "2", "3", "4", "5", "last"]


async def test_an_observer_beside_the_driver_gets_every_message_of_every_turn(path: Path) -> None:
    agent = lash.Agent("a", model=ScriptedModel([reply("ok")]))
    async with (
        lash.Runtime(path, agents=[agent]) as driving,
        lash.Runtime(path, agents=[agent]) as watching,
        asyncio.timeout(60),
    ):
        session = driving.session("s")

        async def drive() -> None:
            for number in range(40):
                await session.run(str(number))

        running = asyncio.create_task(drive())
        view, cursor = lash.LiveView(), None
        while view.revision < 40:
            async with watching.session("s").observe(cursor) as items:
                item = await anext(items)
                view.apply(item)
                cursor = item.cursor
                if isinstance(item, Event) and isinstance(item.event, Committed):
                    assert len(item.event.messages) == 2
        await running
        assert [m.text for m in view.messages] == [
            m.text for m in await session.history(whole=True)
        ]


async def test_who_waits_behind_a_turn_that_fails_here_is_told_and_does_not_drive_it_on(
    path: Path,
) -> None:
    ran: list[str] = []

    @lash.tool
    async def ends() -> str:
        """Cancels what drives its turn."""
        ran.append("ends")
        for task in asyncio.all_tasks():
            if task.get_name().startswith("lash-turn-"):
                task.cancel()
        await asyncio.sleep(0)
        return "never"

    model = ScriptedModel([calls(("ends", {}), ("ends", {})), reply("Over.")])
    agent = lash.Agent("a", model=model, tools=[ends])
    async with lash.Runtime(path, agents=[agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        first = asyncio.create_task(session.run("Go."))
        while not ran:  # noqa: ASYNC110  polled
            await asyncio.sleep(0)
        with pytest.raises(lash.LashError) as raised:
            await (await session.enqueue("later")).result()
        with pytest.raises(lash.LashError):
            await first
    assert "waits behind" in str(raised.value)
    assert len(ran) <= 4


async def test_stopping_a_turn_stops_its_child_though_nobody_has_their_agents(path: Path) -> None:
    begun, _, child = holding()

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> str:
        """Ask the child."""
        return (await ctx.child("holding", "Go.")).text

    lead = lash.Agent("lead", model=ScriptedModel([calls(("ask", {})), reply("?")]), tools=[ask])
    async with lash.Runtime(path, agents=[lead, child]) as runtime:
        running = asyncio.create_task(runtime.session("s", agent="lead").run("Go.", turn_id="t"))
        await begun.wait()
    with pytest.raises(lash.LashError):
        await running
    async with lash.Runtime(path, agents=[]) as bare, asyncio.timeout(20):
        receipt = await bare.session("s").cancel("t", reason="enough")
        assert receipt.outcome == "requested"
        await bare.session("s").wait("t")
    async with lash.Runtime(path, agents=[lead, child]) as runtime, asyncio.timeout(20):
        await runtime.idle()
        (item,) = [each for each in await runtime.sessions() if each.session_id != "s"]
        (stopped,) = await runtime.session(item.session_id).turns()
    assert stopped.cancellation is not None
    assert (stopped.cancellation.origin, stopped.cancellation.reason) == ("parent", "enough")
