"""One session, many callers: order, cancellation, and every race of a lane with its accepts."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hooked_store import HookedStore, contents, hooked

import lash
from lash.events import TurnEvent
from lash.sessions.model import AgentRef, TextItem, TurnInput
from lash.testing import ScriptedModel, calls, reply
from lash.testing.clock import VirtualClock

__all__ = ["hooked"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else path


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

        self.model = ScriptedModel([calls(("wait", {})), reply("Over.")])
        self.agent = lash.Agent("patient", model=self.model, tools=[wait])


def echo() -> lash.Agent:
    return lash.Agent("echo", model=ScriptedModel([reply("Hi.")]))


async def said(session: lash.Session) -> list[str]:
    return [item.text for item in await session.history() if item.role == "user" and item.text]


def begin(session: lash.Session, prompt: str, **named: Any) -> "asyncio.Task[lash.TurnResult]":
    return asyncio.create_task(session.run(prompt, **named))


async def code_of(running: "asyncio.Task[lash.TurnResult]") -> str:
    with pytest.raises(lash.LashError) as raised:
        await running
    return raised.value.code


# --- order --------------------------------------------------------------------------------------------


async def test_runs_of_one_session_queue_in_the_order_they_came(location: str | Path) -> None:
    prompts = [f"Prompt {number}" for number in range(12)]
    async with lash.Runtime(location, agents=[echo()]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        results = await asyncio.gather(*(session.run(prompt) for prompt in prompts))
        assert await said(session) == prompts
    assert [result.revision for result in results] == list(range(1, 13))


async def test_a_run_after_a_run_never_waits_for_a_sweep(location: str | Path) -> None:
    async with lash.Runtime(location, agents=[echo()]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        for number in range(50):
            assert (await session.run(f"Prompt {number}")).revision == number + 1


async def test_sessions_run_side_by_side(location: str | Path) -> None:
    everybody = asyncio.Barrier(5)

    @lash.tool
    async def meet() -> str:
        """Returns only when all five are there."""
        await everybody.wait()
        return "met"

    model = ScriptedModel([calls(("meet", {})), reply("Over.")])
    agent = lash.Agent("guest", model=model, tools=[meet])
    async with lash.Runtime(location, agents=[agent]) as runtime, asyncio.timeout(20):
        runs = (runtime.session(f"s{number}").run("Meet.") for number in range(5))
        results = await asyncio.gather(*runs)
        states = [(item.state, item.turns) for item in await runtime.sessions()]
    assert [result.text for result in results] == ["Over."] * 5
    assert states == [("idle", 1)] * 5


async def test_many_runs_in_many_sessions_all_commit(path: Path) -> None:
    async with lash.Runtime(path, agents=[echo()]) as runtime, asyncio.timeout(60):
        runs = [runtime.session(f"s{n % 7}").run(f"Prompt {n}") for n in range(140)]
        await asyncio.gather(*runs)
        for number in range(7):
            expected = [f"Prompt {n}" for n in range(number, 140, 7)]
            assert await said(runtime.session(f"s{number}")) == expected


# --- dropping a caller ----------------------------------------------------------------------------------


async def test_cancelling_a_run_does_not_cancel_the_turn(location: str | Path) -> None:
    waiting = Waiting()
    async with lash.Runtime(location, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        running = begin(session, "Wait.")
        await waiting.begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [item.state for item in await runtime.sessions()] == ["running"]
        waiting.go.set()
        await runtime.idle()
        assert [item.text for item in await session.history()][-1] == "Over."
    assert waiting.ran == 1


async def test_a_run_cancelled_while_its_input_is_accepted_is_driven_at_once(
    location: str | Path, hooked: list[HookedStore]
) -> None:
    waiting = Waiting(is_open=True)
    taken, answer = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        taken.set()
        await answer.wait()

    async with lash.Runtime(location, agents=[waiting.agent]) as runtime, asyncio.timeout(10):
        hooked[0].after["accept_turn"] = hold
        running = begin(runtime.session("s"), "Wait.")
        await taken.wait()
        running.cancel()
        await asyncio.sleep(0)
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        await waiting.begun.wait()  # nobody asked for it, and no sweep is due for half a minute
        await runtime.idle()
        assert len(await runtime.session("s").turns()) == 1
    assert waiting.ran == 1


async def test_one_caller_more_or_less_does_not_matter_to_the_others(
    location: str | Path,
) -> None:
    waiting = Waiting()
    async with lash.Runtime(location, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        first = begin(session, "Wait.", turn_id="t")
        await waiting.begun.wait()
        second = begin(session, "Wait.", turn_id="t")
        conflicting = begin(session, "Something else.", turn_id="t")
        assert await code_of(conflicting) == "turn_input_conflict"
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = begin(session, "Wait.", turn_id="t")
        waiting.go.set()
        assert (await first) == (await third)
    assert waiting.ran == 1


async def test_an_observer_that_fails_disturbs_neither_the_turn_nor_the_others(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[TurnEvent] = []

    def broken(event: TurnEvent) -> None:
        raise ValueError("broken observer")

    waiting = Waiting()
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        tickets = [
            await runtime.engine.arrivals.submit(
                "s",
                AgentRef(name="patient"),
                TurnInput(items=(TextItem(text="Hello?"),)),
                turn_id="t",
                observer=observer,
            )
            for observer in (broken, heard.append)
        ]
        waiting.go.set()
        assert [(await ticket.record()).text for ticket in tickets] == ["Over.", "Over."]
    assert heard
    assert "broken observer" in caplog.text


async def test_who_leaves_is_forgotten_while_the_turn_goes_on(path: Path) -> None:
    waiting = Waiting()
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        session, engine = runtime.session("s"), runtime.engine
        first = begin(session, "Wait.", turn_id="t")
        await waiting.begun.wait()
        joined = begin(session, "Wait.", turn_id="t")

        def followed() -> bool:
            return any("lash-follow" in task.get_name() for task in engine._tasks)

        while not followed():  # noqa: ASYNC110  joining has no event of its own
            await asyncio.sleep(0)
        for running in (first, joined):
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert engine.followers._tickets == {}
        while followed():  # noqa: ASYNC110  it notices when it looks the next time
            await asyncio.sleep(0)
        waiting.go.set()
        await runtime.idle()
        assert len(await session.turns()) == 1


async def test_nobody_is_remembered_once_everybody_has_heard(path: Path) -> None:
    waiting = Waiting()
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        running = [begin(session, "Wait.", source_key="k") for _ in range(3)]
        await waiting.begun.wait()
        running.append(begin(session, "Wait.", source_key="k"))
        dropped = begin(session, "Wait.", source_key="k")
        await asyncio.sleep(0)
        dropped.cancel()
        waiting.go.set()
        await asyncio.gather(*running)
        await runtime.idle()
        engine = runtime.engine
        assert engine.followers._tickets == {}
        assert engine.lanes == {}


# --- races of a lane with its accepts -----------------------------------------------------------------


class Held:
    """A hook that holds one call up: `reached` says that it came, `release` lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.release.wait()


async def passed_on(store: HookedStore, method: str, count: int) -> None:
    """Wait until a method was called that often."""
    async with asyncio.timeout(10):
        while store.counts[method] < count:  # noqa: ASYNC110  calls have no event of their own
            await asyncio.sleep(0)


async def test_input_accepted_while_a_lease_is_given_back_is_driven_at_once(
    path: Path, hooked: list[HookedStore]
) -> None:
    async with lash.Runtime(path, agents=[echo()]) as runtime, asyncio.timeout(10):
        store = hooked[0]
        session = runtime.session("s")
        await session.run("One.")

        # A turn that fails has its lease given back outside of a commit.
        async def refuse(*_: object) -> None:
            raise lash.StoreError("store_full", "no space")

        held = Held()
        store.instead["commit_turn"] = refuse
        store.after["release_lease"] = held
        second = begin(session, "Two.")
        await held.reached.wait()
        del store.instead["commit_turn"]
        third = begin(session, "Three.")
        await passed_on(store, "accept_turn", 3)
        held.release.set()
        assert await code_of(second) == "store_full"
        assert (await third).text == "Hi."
        assert await said(session) == ["One.", "Two.", "Three."]


async def test_input_accepted_while_a_turn_fails_hears_of_its_own_fate(
    path: Path, hooked: list[HookedStore]
) -> None:
    async with lash.Runtime(path, agents=[echo()]) as runtime, asyncio.timeout(10):
        store = hooked[0]
        session = runtime.session("s")
        refused = asyncio.Event()

        async def refuse(*_: object) -> None:
            refused.set()
            raise lash.StoreError("store_full", "no space")

        held = Held()
        store.instead["commit_turn"] = refuse
        first = begin(session, "One.")
        await passed_on(store, "commit_turn", 1)
        store.after["accept_turn"] = held
        second = begin(session, "Two.")
        await held.reached.wait()
        assert await code_of(first) == "store_full"
        del store.instead["commit_turn"]
        held.release.set()
        assert (await second).text == "Hi."
        assert await said(session) == ["One.", "Two."]


async def test_a_recorded_effect_is_not_run_again_when_a_failed_turn_is_driven_once_more(
    path: Path, hooked: list[HookedStore]
) -> None:
    waiting = Waiting(is_open=True)
    async with lash.Runtime(path, agents=[waiting.agent]) as runtime, asyncio.timeout(10):
        store = hooked[0]
        session = runtime.session("s")

        async def refuse(*_: object) -> None:
            raise lash.StoreError("store_full", "no space")

        held = Held()
        store.before["commit_turn"] = held
        first = begin(session, "One.", turn_id="one")
        await held.reached.wait()
        store.instead["commit_turn"] = refuse
        accepting = Held()
        store.after["accept_turn"] = accepting
        second = begin(session, "Two.", turn_id="two")
        await accepting.reached.wait()
        del store.before["commit_turn"]
        held.release.set()
        assert await code_of(first) == "store_full"
        del store.instead["commit_turn"]
        accepting.release.set()
        await second
        turns = await session.turns()
    assert [turn.turn_id for turn in turns] == ["one", "two"]
    assert waiting.ran == 2
    assert len(waiting.model.requests) == 4


async def test_a_turn_that_commits_before_an_accept_is_answered_is_not_driven_again(
    location: str | Path, hooked: list[HookedStore]
) -> None:
    waiting = Waiting()
    async with lash.Runtime(location, agents=[waiting.agent]) as runtime, asyncio.timeout(10):
        session = runtime.session("s")
        first = begin(session, "One.")
        await waiting.begun.wait()
        held = Held()
        hooked[0].after["accept_turn"] = held
        second = begin(session, "Two.")
        await held.reached.wait()  # accepted behind the first, which is still open
        waiting.go.set()
        await first
        held.release.set()
        await second
        assert await said(session) == ["One.", "Two."]
    assert waiting.ran == 2
    assert len(waiting.model.requests) == 4


async def test_a_cancel_from_inside_is_told_and_the_turn_stays_accepted(
    path: Path, hooked: list[HookedStore]
) -> None:
    async with lash.Runtime(path, agents=[echo()]) as runtime, asyncio.timeout(10):
        session = runtime.session("s")
        await session.run("One.")
        runtime.engine.histories.forget("s")

        async def cancelled(*_: object) -> None:
            raise asyncio.CancelledError

        hooked[0].instead["load_path"] = cancelled
        assert await code_of(begin(session, "Two.")) == "effect_panicked"
        hooked[0].instead.clear()
        assert (await session.run("Three.")).text == "Hi."
        assert await said(session) == ["One.", "Two.", "Three."]


async def test_an_unexpected_error_is_told_and_the_turn_stays_accepted(
    path: Path, hooked: list[HookedStore], caplog: pytest.LogCaptureFixture
) -> None:
    async with lash.Runtime(path, agents=[echo()]) as runtime, asyncio.timeout(10):
        session = runtime.session("s")

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        for method in ("commit_turn", "release_lease"):
            hooked[0].instead[method] = broken
        async with session.stream("One.") as live:
            async for _ in live:
                pass
            with pytest.raises(ZeroDivisionError):
                await live.result()
        hooked[0].instead.clear()
        assert (await session.run("Two.")).text == "Hi."
        assert await said(session) == ["One.", "Two."]
    assert "driving session s failed" in caplog.text


async def test_an_idle_runtime_does_not_ask_a_model_over_and_over_for_what_cannot_be_kept(
    path: Path, hooked: list[HookedStore]
) -> None:
    model = ScriptedModel([reply("Hi.")])
    agent = lash.Agent("echo", model=model)
    async with lash.Runtime(path, agents=[agent]) as runtime, asyncio.timeout(20):

        async def refuse(*_: object) -> None:
            raise lash.StoreError("store_full", "no space")

        hooked[0].instead["record"] = refuse
        assert await code_of(begin(runtime.session("s"), "Hello?", turn_id="t")) == "store_full"
        with pytest.raises(lash.LashError, match="still going on"):
            await runtime.idle(timeout=0.5)
        assert len(model.requests) <= 5
        del hooked[0].instead["record"]
        await runtime.idle()
        assert len(await runtime.session("s").turns()) == 1


# --- leases lost ------------------------------------------------------------------------------------------


FAST = lash.LeaseTimings(ttl_ms=30_000, renew_ms=5)


async def test_a_lease_lost_in_a_tool_stops_the_turn_and_tells_the_caller(
    path: Path, hooked: list[HookedStore]
) -> None:
    waiting = Waiting()
    async with (
        lash.Runtime(path, agents=[waiting.agent], lease=FAST) as runtime,
        asyncio.timeout(20),
    ):
        running = begin(runtime.session("s"), "Wait.")
        await waiting.begun.wait()

        async def lost(*_: object) -> Sequence[str]:
            return ["s"]

        hooked[0].instead["renew_leases"] = lost
        with pytest.raises(lash.LeaseLostError) as raised:
            await running
        assert raised.value.details["session_id"] == "s"
        assert hooked[0].counts["commit_turn"] == 0
        hooked[0].instead.clear()
        waiting.go.set()
        await runtime.idle()  # nobody else had taken it, so it is finished here
        assert len(await runtime.session("s").turns()) == 1


async def test_a_renewal_that_crosses_the_commit_does_not_hide_the_result(
    path: Path, hooked: list[HookedStore]
) -> None:
    async with (
        lash.Runtime(path, agents=[echo()], lease=FAST) as runtime,
        asyncio.timeout(20),
    ):
        committed, renewed = Held(), asyncio.Event()

        async def after_the_commit(*_: object) -> Sequence[str]:
            await committed.reached.wait()
            renewed.set()
            return ["s"]  # the commit gave the lease back, and its answer is still on the way

        hooked[0].after["commit_turn"] = committed
        hooked[0].instead["renew_leases"] = after_the_commit
        running = begin(runtime.session("s"), "Hello?")
        await renewed.wait()
        await asyncio.sleep(0)
        committed.release.set()
        assert (await running).text == "Hi."


async def test_a_renewal_of_a_lease_given_back_since_does_not_cost_the_next_one(
    path: Path, hooked: list[HookedStore]
) -> None:
    waiting = Waiting()
    async with (
        lash.Runtime(path, agents=[waiting.agent], lease=FAST) as runtime,
        asyncio.timeout(20),
    ):
        session, renewed = runtime.session("s"), asyncio.Event()
        asked = Held()

        async def stale(*_: object) -> Sequence[str]:
            await asked()
            renewed.set()
            return ["s"]

        hooked[0].instead["renew_leases"] = stale
        first = begin(session, "One.")
        await asked.reached.wait()
        waiting.go.set()
        await first
        waiting.go.clear()
        waiting.begun.clear()
        second = begin(session, "Two.")  # under a lease of its own
        await waiting.begun.wait()
        asked.release.set()
        await renewed.wait()
        del hooked[0].instead["renew_leases"]
        await passed_on(hooked[0], "renew_leases", hooked[0].counts["renew_leases"] + 1)
        waiting.go.set()
        assert (await second).text == "Over."


async def test_a_renewal_that_fails_is_tried_again(
    path: Path, hooked: list[HookedStore], caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Waiting()
    async with (
        lash.Runtime(path, agents=[waiting.agent], lease=FAST) as runtime,
        asyncio.timeout(20),
    ):
        running = begin(runtime.session("s"), "Wait.")
        await waiting.begun.wait()

        async def broken(*_: object) -> Sequence[str]:
            raise ZeroDivisionError

        hooked[0].instead["renew_leases"] = broken
        await passed_on(hooked[0], "renew_leases", hooked[0].counts["renew_leases"] + 3)
        waiting.go.set()
        assert (await running).text == "Over."
    assert "leases could not be renewed" in caplog.text


def years_later() -> VirtualClock:
    """A clock by which every lease of this test has expired."""
    return VirtualClock(start_ms=9_000_000_000_000)


async def test_who_was_taken_over_writes_nothing_and_says_so(path: Path) -> None:
    slow, quick = Waiting(), Waiting(is_open=True)
    async with lash.Runtime(path, agents=[slow.agent]) as runtime, asyncio.timeout(20):
        running = begin(runtime.session("s"), "Wait.", turn_id="t")
        await slow.begun.wait()
        async with lash.Runtime(path, agents=[quick.agent], clock=years_later()) as other:
            await other.idle()
            (turn,) = await other.session("s").turns()
        before = contents(path)
        slow.go.set()
        with pytest.raises(lash.LeaseLostError, match="'s'"):
            await running
        await runtime.idle()
        assert contents(path) == before
        assert await runtime.session("s").run("Wait.", turn_id="t") == turn
    assert (slow.ran, quick.ran) == (1, 1)


async def test_input_accepted_after_a_takeover_does_not_suffer_from_the_lost_turn(
    path: Path, hooked: list[HookedStore]
) -> None:
    slow, quick = Waiting(), Waiting(is_open=True)
    async with lash.Runtime(path, agents=[slow.agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        lost = begin(session, "One.", turn_id="one")
        await slow.begun.wait()
        accepted = Held()
        accepted.release.set()
        hooked[0].after["accept_turn"] = accepted
        behind = begin(session, "Two.", turn_id="two")
        await accepted.reached.wait()
        async with lash.Runtime(path, agents=[quick.agent], clock=years_later()) as other:
            await other.idle()
        later = begin(session, "Three.", turn_id="three")  # a new lease, while "one" still runs
        assert await code_of(behind) == "session_execution_lease_lost"
        slow.go.set()
        assert await code_of(lost) == "session_execution_lease_lost"
        assert (await later).text == "Over."
        assert await said(session) == ["One.", "Two.", "Three."]
    assert (slow.ran, quick.ran) == (2, 2)


# --- two runtimes in one process ------------------------------------------------------------------------


async def test_two_runtimes_in_one_process_keep_out_of_each_others_sessions(path: Path) -> None:
    waiting, other_waiting = Waiting(), Waiting(is_open=True)
    async with (
        lash.Runtime(path, agents=[waiting.agent]) as first,
        lash.Runtime(path, agents=[other_waiting.agent]) as second,
        asyncio.timeout(20),
    ):
        running = begin(first.session("s"), "Wait.", turn_id="t")
        await waiting.begun.wait()
        with pytest.raises(lash.SessionBusyError) as raised:
            await second.session("s").run("Me too.")
        assert raised.value.retryable
        assert "owner_" in str(raised.value.details["holder"])
        assert (await second.session("other").run("Wait.")).text == "Over."
        attached = begin(second.session("s"), "Wait.", turn_id="t")
        waiting.go.set()
        assert (await running) == (await attached)
        assert await said(second.session("s")) == ["Wait."]
    assert (waiting.ran, other_waiting.ran) == (1, 1)


async def test_what_one_runtime_leaves_on_closing_the_other_picks_up(path: Path) -> None:
    waiting, other_waiting = Waiting(), Waiting(is_open=True)
    async with lash.Runtime(path, agents=[other_waiting.agent]) as second, asyncio.timeout(20):
        async with lash.Runtime(path, agents=[waiting.agent]) as first:
            running = begin(first.session("s"), "Wait.", turn_id="t")
            await waiting.begun.wait()
            attached = begin(second.session("s"), "Wait.", turn_id="t")
            await asyncio.sleep(0)
        assert await code_of(running) == "runtime_closed"
        assert (await attached).text == "Over."
    assert (waiting.ran, other_waiting.ran) == (1, 1)
