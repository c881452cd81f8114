"""One model call: attempts, waits, the ledger, and what the caller sees meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

import lash
from lash.events import ModelAttemptReset, RetryScheduled, TurnEvent
from lash.llm.request import LlmRequest
from lash.llm.response import LlmFailure, LlmResponse, ProviderFailure
from lash.llm.stream import Emit, PartCompleted, TextDelta, UsageReported
from lash.llm.usage import Usage
from lash.testing import ScriptedModel, fail, reply
from lash.testing.clock import VirtualClock
from lash.testing.scripted import Step


class Watched:
    """A turn on a clock that stands still; `wait` is how far it must move for the next attempt."""

    def __init__(self, live: lash.LiveTurn, clock: VirtualClock) -> None:
        self._live = live
        self._clock = clock
        self.events: list[TurnEvent] = []

    async def finish(self) -> lash.TurnResult:
        """Advance by exactly what is announced, each time."""
        async for event in self._live:
            self.events.append(event)
            if isinstance(event, RetryScheduled) and event.wait_ms:
                self._clock.advance(event.wait_ms / 1000)
        return await self._live.result()

    @property
    def waits(self) -> list[tuple[int, str]]:
        scheduled = [event for event in self.events if isinstance(event, RetryScheduled)]
        return [(event.wait_ms, event.reason) for event in scheduled]


@asynccontextmanager
async def watched(
    path: Path, model: ScriptedModel, retry: lash.RetryPolicy | None = None
) -> AsyncIterator[Watched]:
    clock = VirtualClock()
    agent = lash.Agent("a", model=model, retry=retry)
    lease = lash.LeaseTimings(ttl_ms=36_000_000, renew_ms=12_000_000)
    async with (
        lash.Runtime(path, agents=[agent], clock=clock, lease=lease) as runtime,
        runtime.session("s").stream("Hello?") as live,
    ):
        yield Watched(live, clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


async def test_waits_double_up_to_the_cap_and_the_ledger_keeps_every_attempt(path: Path) -> None:
    policy = lash.RetryPolicy(max_attempts=4, base_delay_ms=1_000, max_delay_ms=3_000)
    script: Sequence[Step] = [fail(status=500), fail(status=503), fail("reset"), reply("Hi.")]
    async with watched(path, ScriptedModel(script), policy) as turn:
        result = await turn.finish()

    assert [wait for wait, _ in turn.waits] == [1_000, 2_000, 3_000]
    assert result.text == "Hi."
    (ledger,) = result.llm_calls
    assert ledger.model == "scripted:script"
    assert [
        (item.ordinal, item.outcome, item.error.status if item.error else None, item.position)
        for item in ledger.attempts
    ] == [
        (1, "failed", 500, "response_observed"),
        (2, "failed", 503, "response_observed"),
        (3, "failed", None, "no_response"),
        (4, "completed", None, "terminal_observed"),
    ]
    starts = [item.started_at_ms for item in ledger.attempts]
    assert [after - before for before, after in pairwise(starts)] == [
        1_000,
        2_000,
        3_000,
    ]


async def test_attempts_run_out_and_the_failure_is_the_turns(path: Path) -> None:
    policy = lash.RetryPolicy(max_attempts=3, base_delay_ms=1)
    async with watched(path, ScriptedModel([fail("down", status=503)]), policy) as turn:
        result = await turn.finish()

    assert len(result.llm_calls[0].attempts) == 3
    last = result.llm_calls[0].attempts[-1].retry
    assert last is not None
    assert (last.scheduled, last.reason) == (False, "retry_budget_exhausted")
    assert not result.is_success
    assert "down" in result.issues[0].message


async def test_a_failure_that_cannot_get_better_is_not_tried_again(path: Path) -> None:
    model = ScriptedModel([fail(status=400), reply("never")])
    async with watched(path, model) as turn:
        result = await turn.finish()
    assert turn.waits == []
    assert len(model.requests) == 1
    assert not result.is_success


async def test_throttling_waits_as_asked_without_using_up_attempts(path: Path) -> None:
    throttled = [fail(status=429, retry_after=20.0) for _ in range(4)]
    policy = lash.RetryPolicy(max_attempts=1, throttle_wait_budget_ms=90_000)
    async with watched(path, ScriptedModel([*throttled, reply("Hi.")]), policy) as turn:
        result = await turn.finish()
    assert turn.waits == [(20_000, "provider_retry_after")] * 4
    assert result.text == "Hi."


async def test_throttling_has_a_budget_of_its_own(path: Path) -> None:
    policy = lash.RetryPolicy(max_attempts=1, throttle_wait_budget_ms=50_000)
    model = ScriptedModel([fail(status=429, retry_after=20.0)])
    async with watched(path, model, policy) as turn:
        result = await turn.finish()
    assert len(turn.waits) == 2  # a third would come to 60 s
    assert not result.is_success


async def test_a_long_wait_asked_for_is_capped(path: Path) -> None:
    policy = lash.RetryPolicy(retry_after_cap_ms=5_000)
    model = ScriptedModel([fail(status=503, retry_after=3_600.0), reply("Hi.")])
    async with watched(path, model, policy) as turn:
        await turn.finish()
    assert turn.waits == [(5_000, "provider_retry_after")]


class Streaming(ScriptedModel):
    """Streams and breaks off once, then answers with nothing but what it streamed."""

    def __init__(self, *, regenerates: bool) -> None:
        super().__init__([reply("unused")])
        self.regenerates_safely = regenerates
        self.broken = False

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        self.requests.append(request)
        emit(TextDelta(text="It is"))
        if not self.broken:
            self.broken = True
            emit(UsageReported(usage=Usage(input_tokens=3)))
            failure = LlmFailure(kind="stream", message="cut", retryable=True)
            raise ProviderFailure(failure)
        emit(TextDelta(text=" shipped."))
        emit(UsageReported(usage=Usage(input_tokens=4, output_tokens=2)))
        return LlmResponse(parts=(), usage=Usage(), terminal_reason="stop")


async def test_what_was_streamed_fills_a_bare_answer_and_failed_attempts_are_billed(
    path: Path,
) -> None:
    async with watched(path, Streaming(regenerates=True)) as turn:
        result = await turn.finish()
    assert any(isinstance(event, ModelAttemptReset) for event in turn.events)
    assert result.text == "It is shipped."
    assert result.usage == Usage(input_tokens=7, output_tokens=2)


async def test_an_answer_that_must_not_be_asked_for_twice_is_not(path: Path) -> None:
    async with watched(path, Streaming(regenerates=False)) as turn:
        result = await turn.finish()
    assert turn.waits == []
    assert [issue.code for issue in result.issues] == ["unsafe_retry_after_output_started"]


class Broken(ScriptedModel):
    """A provider with a bug: raises what no provider should."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__([reply("unused")])
        self._error = error

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        if self._error is not None:
            raise self._error
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner
        raise AssertionError


@pytest.mark.parametrize("location", [":memory:", "file"])
@pytest.mark.parametrize(
    "error", [KeyError("choices"), lash.StoreError("store_failed", "of its own"), None]
)
async def test_a_providers_bug_is_a_failed_call_and_not_a_lost_turn(
    path: Path, location: str, error: Exception | None
) -> None:
    agent = lash.Agent("a", model=Broken(error))
    store = path if location == "file" else location
    async with lash.Runtime(store, agents=[agent]) as runtime, asyncio.timeout(20):
        result = await runtime.session("s").run("Hello?")
    assert [issue.code for issue in result.issues] == ["effect_panicked"]
    named = "CancelledError" if error is None else type(error).__name__
    assert named in result.issues[0].message


async def test_parts_and_text_streamed_without_a_final_list_are_kept(path: Path) -> None:
    from lash.llm.response import ToolCallPart

    @lash.tool
    async def ping() -> str:
        """Ping."""
        return "pong"

    class Bare(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            self.requests.append(request)
            if len(self.requests) > 1:
                return await super().complete(request, emit)
            emit(TextDelta(text="Pinging."))
            call = ToolCallPart(call_id="c1", tool_name="ping", input_json="{}")
            emit(PartCompleted(part=call))
            return LlmResponse(parts=(), usage=Usage(), terminal_reason="tool_use")

    agent = lash.Agent("a", model=Bare([reply("unused"), reply("Done.")]), tools=[ping])
    async with lash.Runtime(path, agents=[agent]) as runtime:
        result = await runtime.session("s").run("Ping.")
        history = await runtime.session("s").history()
    assert [call.call_id for call in result.tool_calls] == ["c1"]
    assert history[1].text == "Pinging."
    assert result.text == "Done."
