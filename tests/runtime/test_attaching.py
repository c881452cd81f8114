"""turn_id and source_key: the same input again is the same turn, other input is a conflict."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hooked_store import contents

import lash
from lash.testing import ScriptedModel, calls, reply


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture(params=["turn_id", "source_key"])
def key(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {str(request.param): "order-7"}


class Waiting:
    """An agent whose turns wait in a tool until the test lets go."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        if is_open:
            self.go.set()
        self.ran = 0

        @lash.tool
        async def wait() -> str:
            """Wait."""
            self.ran += 1
            self.begun.set()
            await self.go.wait()
            return "done"

        model = ScriptedModel([calls(("wait", {})), reply("Over.")])
        self.agent = lash.Agent("patient", model=model, tools=[wait])


async def test_the_same_input_again_is_the_committed_turn(path: Path, key: dict[str, Any]) -> None:
    waiting = Waiting(is_open=True)
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime:
        session = runtime.session("s")
        first = await session.run("Wait.", **key)
        again = await session.run("Wait.", **key)
        assert again == first
        await session.run("Wait.")  # without the key it is a turn of its own
        assert await session.run("Wait.", **key) == first
        assert len(await session.turns()) == 2
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime:
        assert await runtime.session("s").run("Wait.", **key) == first
    assert waiting.ran == 2


async def test_the_same_input_again_joins_the_turn_in_progress(
    path: Path, key: dict[str, Any]
) -> None:
    waiting = Waiting()
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        first = asyncio.create_task(session.run("Wait.", **key))
        await waiting.begun.wait()
        others = [asyncio.create_task(session.run("Wait.", **key)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting.go.set()
        results = await asyncio.gather(first, *others)
    assert results == [results[0]] * 4
    assert waiting.ran == 1


async def test_the_same_input_at_the_same_moment_is_one_turn(
    path: Path, key: dict[str, Any]
) -> None:
    waiting = Waiting(is_open=True)
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        runs = [runtime.session("s").run("Wait.", **key) for _ in range(10)]
        results = await asyncio.gather(*runs)
    assert results == [results[0]] * 10
    assert waiting.ran == 1


async def test_a_turn_that_waits_its_turn_can_be_joined_too(
    path: Path, key: dict[str, Any]
) -> None:
    waiting = Waiting()
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        first = asyncio.create_task(session.run("First."))
        await waiting.begun.wait()
        second = asyncio.create_task(session.run("Second.", **key))
        joined = asyncio.create_task(session.run("Second.", **key))
        await asyncio.sleep(0)
        waiting.go.set()
        await first
        assert await second == await joined
    assert waiting.ran == 2


@pytest.mark.parametrize("when", ["in progress", "committed", "reopened"])
async def test_other_input_under_a_key_is_a_conflict_and_writes_nothing(
    path: Path, key: dict[str, Any], when: str
) -> None:
    waiting = Waiting(is_open=when != "in progress")
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        running = asyncio.create_task(session.run("Wait.", **key))
        await waiting.begun.wait()
        if when != "in progress":
            await running
        if when != "reopened":
            await refused(session, path, key)
        waiting.go.set()
        result = await running
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime:
        await refused(runtime.session("s"), path, key)
        assert await runtime.session("s").turns() == [result]


async def refused(session: lash.Session, path: Path, key: dict[str, Any]) -> None:
    before = contents(path)
    with pytest.raises(lash.ConflictError, match="nothing was accepted") as raised:
        await session.run("Do something else.", **key)
    assert raised.value.code == "turn_input_conflict"
    assert raised.value.details["session_id"] == "s"
    assert contents(path) == before


async def test_keys_belong_to_their_session(path: Path, key: dict[str, Any]) -> None:
    waiting = Waiting(is_open=True)
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime:
        one = await runtime.session("a").run("Wait.", **key)
        two = await runtime.session("b").run("Something else.", **key)
    assert (one.session_id, two.session_id) == ("a", "b")
    assert waiting.ran == 2


async def test_a_source_key_leads_to_the_turn_whatever_turn_id_comes_with_it(path: Path) -> None:
    waiting = Waiting(is_open=True)
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime:
        session = runtime.session("s")
        first = await session.run("Wait.", turn_id="t1", source_key="k")
        again = await session.run("Wait.", turn_id="t2", source_key="k")
        async with session.stream("Wait.", source_key="k") as live:
            assert live.turn_id == "t1"
    assert again == first
    assert waiting.ran == 1


async def test_who_cancels_a_joined_turn_cancels_nothing(path: Path, key: dict[str, Any]) -> None:
    waiting = Waiting()
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        first = asyncio.create_task(session.run("Wait.", **key))
        await waiting.begun.wait()
        joined = asyncio.create_task(session.run("Wait.", **key))
        await asyncio.sleep(0)
        joined.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joined
        waiting.go.set()
        assert (await first).text == "Over."


async def test_joining_a_turn_left_behind_drives_it(path: Path, key: dict[str, Any]) -> None:
    waiting, later = Waiting(), Waiting(is_open=True)
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime:
        left = asyncio.create_task(runtime.session("s").run("Wait.", **key))
        await waiting.begun.wait()
    with pytest.raises(lash.LashError, match="closed"):
        await left
    async with lash.Runtime(path, agents=[later.agent]) as runtime, asyncio.timeout(20):
        result = await runtime.session("s").run("Wait.", **key)
        assert await runtime.session("s").turns() == [result]
    assert later.ran == 1
