"""Tool calls in a turn: side by side, in order, contained, and repeated only when that is safe."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.core.json import JsonObject
from lash.events import ToolCallCompleted, ToolCallStarted
from lash.llm.request import ToolSpec
from lash.runtime.following import WATCH_S
from lash.runtime.processes.discovery import IDLE_S
from lash.runtime.sweeping import OWNERS_S
from lash.sessions.model import messages_of
from lash.testing import ScriptedModel, calls, reply
from lash.testing.clock import VirtualClock
from lash.tools.function import FunctionTool
from lash.turn.messages import is_valid_transcript
from lash.turn.tools import (
    RetriesExhausted,
    SafeToRetry,
    ToolFailed,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
)


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else tmp_path / "agents.db"


Call = tuple[str, Mapping[str, object] | str]


def worker(tools: Sequence[object], *made: Call) -> lash.Agent:
    """An agent whose model makes these calls in one message."""
    model = ScriptedModel([calls(*made), reply("Over.")])
    return lash.Agent("worker", model=model, tools=tools)  # type: ignore[arg-type]  # tools of any make


async def turn(location: str | Path, agent: lash.Agent) -> lash.TurnResult:
    async with lash.Runtime(location, agents=[agent]) as runtime:
        async with asyncio.timeout(20):
            result = await runtime.session("s").run("Work.")
        nodes = await runtime.engine.store.load_path("s")
    assert is_valid_transcript(messages_of(nodes))
    assert result.text == "Over."
    return result


def failures(result: lash.TurnResult) -> list[ToolFailure]:
    outcomes = [call.output.outcome for call in result.tool_calls]
    return [outcome.payload for outcome in outcomes if isinstance(outcome, ToolFailed)]


def payloads(result: lash.TurnResult) -> list[object]:
    outcomes = [call.output.outcome for call in result.tool_calls]
    return [outcome.payload for outcome in outcomes if isinstance(outcome, ToolSuccess)]


# --- side by side -----------------------------------------------------------------------------------


async def test_calls_of_one_message_run_side_by_side(location: str | Path) -> None:
    everybody = asyncio.Barrier(3)

    @lash.tool
    async def meet(name: str) -> str:
        """Returns only when all three are there."""
        await everybody.wait()
        return name

    agent = worker([meet], *(("meet", {"name": name}) for name in "abc"))
    assert payloads(await turn(location, agent)) == ["a", "b", "c"]


async def test_plain_functions_run_side_by_side_too(location: str | Path) -> None:
    both = threading.Barrier(2, timeout=20)

    @lash.tool
    def meet(name: str) -> str:
        """Returns only when both are there."""
        both.wait()
        return name

    agent = worker([meet], ("meet", {"name": "a"}), ("meet", {"name": "b"}))
    assert payloads(await turn(location, agent)) == ["a", "b"]


async def test_results_come_in_call_order_whatever_order_they_finished_in(
    location: str | Path,
) -> None:
    done = {name: asyncio.Event() for name in "abcd"}
    done["d"].set()
    finished: list[str] = []

    @lash.tool
    async def after(name: str, other: str) -> str:
        """Finishes after the other."""
        await done[other].wait()
        finished.append(name)
        done[name].set()
        return name

    made = [("after", {"name": a, "other": b}) for a, b in ("ab", "bc", "cd")]
    agent = worker([after], *made)
    async with (
        lash.Runtime(location, agents=[agent]) as runtime,
        runtime.session("s").stream("Work.") as live,
    ):
        events = [event async for event in live]
        result = await live.result()
        history = await runtime.session("s").history()

    assert finished == ["c", "b", "a"]
    assert payloads(result) == ["a", "b", "c"]
    assert [answer.text for answer in history[2].tool_results] == ["a", "b", "c"]
    completed = [
        event.call.args["name"] for event in events if isinstance(event, ToolCallCompleted)
    ]
    assert completed == ["c", "b", "a"]


async def test_serial_tools_never_overlap_and_come_after_the_others(location: str | Path) -> None:
    running: set[str] = set()
    order: list[str] = []
    seen_together: list[set[str]] = []

    async def body(name: str) -> str:
        """Note who runs."""
        running.add(name)
        order.append(name)
        seen_together.append(set(running))
        for _ in range(20):
            await asyncio.sleep(0)
        running.remove(name)
        return name

    agent = worker(
        [FunctionTool(body, name="alone", serial=True), FunctionTool(body, name="beside")],
        ("alone", {"name": "x"}),
        ("beside", {"name": "a"}),
        ("alone", {"name": "y"}),
        ("beside", {"name": "b"}),
    )
    result = await turn(location, agent)

    assert payloads(result) == ["x", "a", "y", "b"]
    assert order[2:] == ["x", "y"]
    assert seen_together[2:] == [{"x"}, {"y"}]
    assert {"a", "b"} in seen_together


# --- what goes wrong is an answer -------------------------------------------------------------------


async def test_calls_that_cannot_be_made_are_answered_and_run_nothing(
    location: str | Path,
) -> None:
    ran: list[int] = []

    @lash.tool
    async def double(number: int) -> int:
        """Double a number."""
        ran.append(number)
        return number * 2

    agent = worker(
        [double],
        ("double", {"number": "four"}),
        ("double", {}),
        ("double", '{"number": '),
        ("double", "[1]"),
        ("halve", {"number": 4}),
        ("double", {"number": 4}),
    )
    result = await turn(location, agent)

    assert ran == [4]
    assert [failure.code for failure in failures(result)] == [
        *["invalid_tool_args"] * 4,
        "tool_unavailable",
    ]
    wrong, missing, broken, listed, unknown = failures(result)
    assert "`$.number`" in wrong.message
    assert "required argument" in missing.message
    assert "not valid JSON" in broken.message
    assert "must be a JSON object" in listed.message
    assert "Available tools: double" in unknown.message
    assert payloads(result) == [8]


async def test_a_tool_that_raises_tells_the_model_and_leaves_the_others_alone(
    location: str | Path,
) -> None:
    failed = asyncio.Event()

    @lash.tool
    async def broken() -> str:
        """Fail."""
        failed.set()
        raise ZeroDivisionError("no")

    @lash.tool
    async def sound() -> str:
        """Goes on after the other failed."""
        await failed.wait()
        return "sound"

    result = await turn(location, worker([broken, sound], ("broken", {}), ("sound", {})))
    assert [failure.message for failure in failures(result)] == ["ZeroDivisionError: no"]
    assert payloads(result) == ["sound"]


@pytest.mark.parametrize("count", [1, 2])
async def test_waiting_for_something_that_was_cancelled_is_a_failure_of_the_tool(
    location: str | Path, count: int
) -> None:
    @lash.tool
    async def impatient() -> str:
        """Waits for a task that is cancelled, as a connection pool's may be."""
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner
        return "never"

    agent = worker([impatient], *[("impatient", {})] * count)
    told = failures(await turn(location, agent))
    assert [failure.code for failure in told] == ["tool_panicked"] * count
    assert "was cancelled" in told[0].message


class Homemade:
    """A tool of the host's own making that keeps none of the promises."""

    id = "tool:homemade"
    name = "homemade"
    spec = ToolSpec(name="homemade", description="", input_schema={"type": "object"})
    serial = False
    retry = None

    def __init__(self, *, check: Exception | None = None, run: object = None) -> None:
        self._check, self._run = check, run

    def check(self, args: JsonObject) -> None:
        if self._check is not None:
            raise self._check

    async def run(self, args: JsonObject, context: lash.ToolContext) -> ToolOutput:
        if isinstance(self._run, Exception):
            raise self._run
        return ToolOutput(outcome=ToolSuccess(payload=self._run))  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("tool", "code"),
    [
        (Homemade(check=RuntimeError("validator")), "invalid_tool_args"),
        (Homemade(run=RuntimeError("body")), "tool_panicked"),
        (Homemade(run=lash.StoreError("store_failed", "of another store")), "tool_panicked"),
        (Homemade(run=object()), "tool_output_not_json"),
    ],
)
async def test_a_tool_of_another_make_is_contained(
    location: str | Path, tool: Homemade, code: str
) -> None:
    result = await turn(location, worker([tool], ("homemade", {})))
    assert [failure.code for failure in failures(result)] == [code]


async def test_what_is_too_large_to_record_is_a_failure_that_names_the_place(
    location: str | Path,
) -> None:
    @lash.tool
    async def dump() -> dict[str, Any]:
        """Too much."""
        return {"summary": "ok", "rows": ["x" * (17 * 1024 * 1024)]}

    (failure,) = failures(await turn(location, worker([dump], ("dump", {}))))
    assert (failure.code, failure.failure_class) == ("tool_output_too_large", "resource_limit")
    assert "$.rows[0]" in failure.message


async def test_a_tool_that_takes_too_long_is_answered_and_the_turn_goes_on(
    location: str | Path,
) -> None:
    @lash.tool(timeout=timedelta(milliseconds=10))
    async def forever() -> str:
        """Never returns."""
        await asyncio.Event().wait()
        return "never"

    (failure,) = failures(await turn(location, worker([forever], ("forever", {}))))
    assert (failure.code, failure.failure_class) == ("tool_timeout", "timeout")


# --- again, if that is safe ---------------------------------------------------------------------------


class Flaky:
    """Fails a number of times, and notes what it is told about each attempt."""

    def __init__(self, failing: int, retry: lash.ToolRetry, *, safe: bool = True) -> None:
        self.contexts: list[lash.ToolContext] = []

        @lash.tool(retry=retry)
        async def charge(amount: int, ctx: lash.ToolContext) -> str:
            """Charge."""
            self.contexts.append(ctx)
            if len(self.contexts) <= failing:
                raise lash.ToolError("gateway down", retry=safe)
            return f"charged {amount}"

        self.tool = charge


async def test_a_safe_failure_is_repeated_with_the_same_idempotency_key(
    location: str | Path,
) -> None:
    flaky = Flaky(2, lash.ToolRetry(max_attempts=3, base_delay_ms=0))
    agent = worker([flaky.tool], ("charge", {"amount": 5}), ("charge", {"amount": 6}))
    result = await turn(location, agent)

    assert payloads(result) == ["charged 5", "charged 6"]
    assert sorted(call.attempts for call in result.tool_calls) in ([1, 3], [2, 2])
    keys = {context.call_id: context.idempotency_key for context in flaky.contexts}
    assert len(set(keys.values())) == 2
    for context in flaky.contexts:
        assert context.idempotency_key == keys[context.call_id]
        assert context.max_attempts == 3
    by_call = {key: [c.attempt for c in flaky.contexts if c.call_id == key] for key in keys}
    assert all(attempts == list(range(1, len(attempts) + 1)) for attempts in by_call.values())


async def test_a_safe_failure_that_lasts_runs_out_of_attempts(location: str | Path) -> None:
    flaky = Flaky(99, lash.ToolRetry(max_attempts=3, base_delay_ms=0))
    result = await turn(location, worker([flaky.tool], ("charge", {"amount": 5})))

    (failure,) = failures(result)
    assert failure.retry == RetriesExhausted(attempts=3)
    assert failure.message == "gateway down"
    assert result.tool_calls[0].attempts == len(flaky.contexts) == 3


async def test_a_failure_that_is_not_declared_safe_is_never_repeated(location: str | Path) -> None:
    flaky = Flaky(99, lash.ToolRetry(max_attempts=3, base_delay_ms=0), safe=False)
    result = await turn(location, worker([flaky.tool], ("charge", {"amount": 5})))
    assert result.tool_calls[0].attempts == len(flaky.contexts) == 1


async def test_without_a_policy_even_a_safe_failure_is_final(location: str | Path) -> None:
    ran: list[int] = []

    @lash.tool
    async def charge() -> str:
        """Charge."""
        ran.append(1)
        raise lash.ToolError("gateway down", retry=True)

    (failure,) = failures(await turn(location, worker([charge], ("charge", {}))))
    assert failure.retry == SafeToRetry()
    assert ran == [1]


class SleepLog(VirtualClock):
    """Tells who goes to sleep for how long, the runtime's own housekeeping left out."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        if WATCH_S < seconds < 600 and seconds not in (IDLE_S, OWNERS_S):
            self.begun.put_nowait(seconds)
        await super().sleep(seconds)


async def test_the_wait_between_attempts_is_the_clocks(location: str | Path) -> None:
    clock = SleepLog()
    flaky = Flaky(2, lash.ToolRetry(max_attempts=3, base_delay_ms=4_000, max_delay_ms=60_000))
    agent = worker([flaky.tool], ("charge", {"amount": 5}))
    lease = lash.LeaseTimings(ttl_ms=3_600_000, renew_ms=1_200_000)
    async with lash.Runtime(location, agents=[agent], clock=clock, lease=lease) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Work."))
        for attempt, seconds in ((1, 4.0), (2, 8.0)):
            assert await clock.begun.get() == seconds
            assert len(flaky.contexts) == attempt
            clock.advance(seconds)
        assert (await running).tool_calls[0].attempts == 3


async def test_a_repeated_call_is_announced_once(location: str | Path) -> None:
    flaky = Flaky(2, lash.ToolRetry(max_attempts=3, base_delay_ms=0))
    agent = worker([flaky.tool], ("charge", {"amount": 5}))
    async with (
        lash.Runtime(location, agents=[agent]) as runtime,
        runtime.session("s").stream("Work.") as live,
    ):
        events = [event async for event in live]
    assert sum(isinstance(event, ToolCallStarted) for event in events) == 1
    (completed,) = [event for event in events if isinstance(event, ToolCallCompleted)]
    assert completed.call.attempts == 3
