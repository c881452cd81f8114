"""A stop and a restart: whoever comes after carries the stop out, and keeps what was done."""

import asyncio
from pathlib import Path

from session_harness import (
    Holding,
    Staged,
    begin,
    code_of,
    echo_agent,
    echoing,
    just_before,
    left_in_a_tool,
    left_under_way,
    opened,
    path,
    patient,
    told,
    until_parked,
    user_texts,
)
from stopping_harness import GONE, goes_on, stopped_by, went

import lash
from lash.testing import ScriptedModel, calls, reply

__all__ = ["path"]


async def test_a_turn_is_stopped_by_the_runtime_that_comes_after(path: Path) -> None:
    await left_in_a_tool(path)

    other = lash.Agent("other", model=ScriptedModel([reply("Hi.")]))
    async with opened(path, other) as runtime:
        session = runtime.session("s")
        receipt = await session.cancel("t", request_id="r")
        assert receipt.outcome == "requested"
        turn = await session.wait("t")
        assert stopped_by(turn) == "r"
        info = await session.info()
        assert info is not None
        assert (info.state, info.open_turns) == ("idle", 0)
        assert await told(session) == [("user", "Go.")]

    _, agent = patient(Holding(is_open=True))
    async with opened(path, agent) as runtime:
        await goes_on(runtime, runtime.session("s"))


async def test_a_stop_that_nobody_carried_out_yet_outlives_the_runtime(path: Path) -> None:
    _, agent = echo_agent()
    async with opened(path, agent) as runtime:
        await runtime.session("s").run("Hello.")
        await runtime.session("s").cancel("t", request_id="r")
    model, agent = echo_agent()
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        receipt = await session.cancel("t", request_id="later")
        assert receipt.outcome == "already_requested"
        assert stopped_by(await session.run("Go.", turn_id="t")) == "r"
    assert model.asked == []


async def test_a_resumed_turn_that_is_to_stop_keeps_what_was_done(path: Path) -> None:
    holding = Holding()
    ran: list[str] = []

    @lash.tool
    async def look() -> str:
        """Look."""
        ran.append("look")
        return "seen"

    def agent() -> lash.Agent:
        model = Staged([calls(("look", {})), calls(("wait", {})), reply("Never.")])
        return lash.Agent("agent", model=model, tools=[look, holding.tool])

    await left_under_way(path, agent(), holding.begun)

    holding.gate.reached.clear()
    async with opened(path, agent()) as runtime:
        session = runtime.session("s")
        await holding.begun.wait()
        await session.cancel("t")
        turn = await session.wait("t")
        assert (went(turn), ran) == (["success", "cancelled"], ["look"])
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->look"),
            ("user", "<-seen"),
            ("assistant", "->wait"),
            ("user", f"<-{GONE}"),
        ]


async def test_a_parked_turn_can_be_stopped_and_the_session_goes_on(path: Path) -> None:
    await left_in_a_tool(path)

    # The same turn now asks for something else than what was recorded.
    other = Holding(is_open=True)
    changed = lash.Agent(
        "agent", model=Staged(echoing()), instructions="Changed.", tools=[other.tool]
    )
    async with opened(path, changed, on_drift="refuse") as runtime:
        session = runtime.session("s")
        await until_parked(session)
        assert await code_of(session.run("More.")) == "effect_drift_refused"
        receipt = await session.cancel("t", request_id="r")
        assert receipt.outcome == "requested"
        assert stopped_by(await session.wait("t")) == "r"
        await goes_on(runtime, session)
        said = await user_texts(session)
        assert said == ["Go.", "Next."]


async def test_a_stop_outlives_a_commit_that_failed_and_what_was_done_is_kept(
    path: Path,
) -> None:
    holding = Holding()

    @lash.tool
    async def tidy() -> str:
        """Says what it came to."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "tidied up"
        return "never"

    def agent() -> lash.Agent:
        model = Staged([calls(("tidy", {}), ("wait", {})), reply("Never.")])
        return lash.Agent("agent", model=model, tools=[tidy, holding.tool])

    async def fail_once() -> None:
        raise lash.StoreError("store_failed", "The disk is full.")

    async with opened(path, agent()) as runtime:
        session = runtime.session("s")
        just_before(runtime, "commit_turn", fail_once)
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        await session.cancel("t", request_id="r")
        assert await code_of(running) == "store_failed"
    async with opened(path, agent()) as runtime:
        session = runtime.session("s")
        turn = await session.wait("t")
        assert (stopped_by(turn), went(turn)) == ("r", ["success", "cancelled"])
        assert (await told(session))[-1] == ("user", f"<-tidied up <-{GONE}")
        assert turn.usage == lash.Usage(input_tokens=10, output_tokens=5)
    assert holding.ran == 1


async def test_what_a_turn_used_is_booked_also_when_it_is_stopped_without_its_agent(
    path: Path,
) -> None:
    await left_in_a_tool(path)
    async with opened(path) as runtime:
        session = runtime.session("s")
        await session.cancel("t")
        turn = await session.wait("t")
        assert turn.usage == lash.Usage(input_tokens=10, output_tokens=5)
