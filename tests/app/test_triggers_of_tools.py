"""Events that tools emit: once for all attempts of a call, and told in the turn's record."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from session_harness import on_go
from trigger_harness import opened, rested

import lash
from lash.core.causality import TriggerOccurrenceCauseRef
from lash.events import ToolCallCompleted
from lash.testing import ScriptedModel, calls, reply
from lash.turn.tools import ToolFailed

PAID = lash.TriggerEvent("order.paid", payload=dict[str, Any])


@lash.process
async def ship(ctx: lash.ProcessContext, event: Any) -> str:
    return f"shipped {event['id']}"


def selling(*tools: Any, made: tuple[str, ...] = ("pay",)) -> lash.Agent:
    model = ScriptedModel([calls(*((name, {}) for name in made)), reply("Done.")])
    return lash.Agent("shop", model=model, tools=tools)


def runtime(place: str | Path, agent: lash.Agent, **options: Any) -> Any:
    return opened(place, [ship], agents=[agent], **{"triggers": [PAID], **options})


def failure(call: Any) -> str:
    assert isinstance(call.output.outcome, ToolFailed)
    return call.output.outcome.payload.code


async def shipped(running: lash.Runtime) -> list[str]:
    await rested(running)
    found = await running.processes.list(status="completed")
    return sorted(str(each.outcome.value) for each in found)  # type: ignore[union-attr]


async def test_what_a_tool_emits_starts_what_subscribed_and_is_told_once(tmp_path: Path) -> None:
    emitted: list[lash.TriggerEmission] = []

    @lash.tool
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        emitted.append(await ctx.triggers.emit(PAID, {"id": "o-7"}))
        return "paid"

    async with runtime(tmp_path / "db", selling(pay)) as running:
        await running.triggers.subscribe(PAID, ship, key="ship")
        session = running.session("s")
        async with session.stream("Pay.") as live:
            heard = [event async for event in live]
            result = await live.result()

        (emission,) = emitted
        assert [each.status for each in emission.deliveries] == ["started"]
        (occurrence,) = await running.triggers.occurrences()
        assert (occurrence.occurrence_id, occurrence.key) == (
            emission.occurrence_id,
            emission.key,
        )
        (call,) = result.tool_calls
        assert call.emitted == (occurrence.occurrence_id,)
        told = [each.call.emitted for each in heard if isinstance(each, ToolCallCompleted)]
        assert told == [(occurrence.occurrence_id,)]
        assert await shipped(running) == ["shipped o-7"]
        process = await running.processes.get(emission.deliveries[0].process_id)
        cause = process.registration.provenance.caused_by
        assert isinstance(cause, TriggerOccurrenceCauseRef)
        assert cause.occurrence_id == occurrence.occurrence_id


async def test_an_attempt_that_is_made_again_emits_once(tmp_path: Path) -> None:
    attempts: list[bool] = []

    @lash.tool(retry=lash.ToolRetry(max_attempts=3, base_delay_ms=0))
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        attempts.append((await ctx.triggers.emit("order.paid", {"id": "o-7"})).replayed)
        if len(attempts) < 3:
            raise lash.ToolError("the bank is busy", retry=True)
        return "paid"

    async with runtime(tmp_path / "db", selling(pay)) as running:
        await running.triggers.subscribe(PAID, ship, key="ship")
        result = await running.session("s").run("Pay.")
        assert attempts == [False, True, True]
        (occurrence,) = await running.triggers.occurrences()
        assert result.tool_calls[0].emitted == (occurrence.occurrence_id,)
        assert await shipped(running) == ["shipped o-7"]


async def test_what_an_attempt_emitted_stands_although_it_failed(tmp_path: Path) -> None:
    @lash.tool
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        await ctx.triggers.emit(PAID, {"id": "o-7"})
        raise lash.ToolError("declined", code="declined")

    async with runtime(tmp_path / "db", selling(pay)) as running:
        await running.triggers.subscribe(PAID, ship, key="ship")
        (call,) = (await running.session("s").run("Pay.")).tool_calls
        (occurrence,) = await running.triggers.occurrences()
        assert (failure(call), call.emitted) == ("declined", (occurrence.occurrence_id,))
        assert await shipped(running) == ["shipped o-7"]


async def test_calls_and_places_within_a_call_are_told_apart(tmp_path: Path) -> None:
    @lash.tool
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        await asyncio.gather(*(ctx.triggers.emit(PAID, {"id": "same"}) for _ in range(2)))
        await ctx.triggers.emit(PAID, {"id": "same"})
        return "paid"

    async with runtime(tmp_path / "db", selling(pay, made=("pay", "pay"))) as running:
        await running.triggers.subscribe(PAID, ship, key="ship")
        result = await running.session("s").run("Pay.")
        assert [len(call.emitted) for call in result.tool_calls] == [3, 3]
        assert len(await running.triggers.occurrences()) == 6
        assert await shipped(running) == ["shipped same"] * 6


async def test_an_attempt_that_says_something_else_at_the_same_place_is_refused(
    tmp_path: Path,
) -> None:
    attempts: list[int] = []

    @lash.tool(retry=lash.ToolRetry(max_attempts=2, base_delay_ms=0))
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        attempts.append(1)
        await ctx.triggers.emit(PAID, {"id": f"o-{len(attempts)}"})
        raise lash.ToolError("the bank is busy", retry=True)

    async with runtime(tmp_path / "db", selling(pay)) as running:
        (call,) = (await running.session("s").run("Pay.")).tool_calls
        assert failure(call) == "trigger_occurrence_conflict"
        assert "earlier run of this tool call" in call.output.outcome.payload.message
        (occurrence,) = await running.triggers.occurrences()
        assert (occurrence.payload, call.emitted) == (
            {"id": "o-1"},
            (occurrence.occurrence_id,),
        )


async def test_a_key_of_the_tools_own_is_the_same_occurrence_for_all_calls(tmp_path: Path) -> None:
    @lash.tool
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        for _ in range(2):
            await ctx.triggers.emit(PAID, {"id": "o-7"}, key="payment-1")
        return "paid"

    async with runtime(tmp_path / "db", selling(pay, made=("pay", "pay"))) as running:
        await running.triggers.subscribe(PAID, ship, key="ship")
        result = await running.session("s").run("Pay.")
        (occurrence,) = await running.triggers.occurrences()
        assert occurrence.key == "payment-1"
        assert [call.emitted for call in result.tool_calls] == [(occurrence.occurrence_id,)] * 2
        assert await shipped(running) == ["shipped o-7"]


async def test_what_cannot_be_emitted_is_the_calls_failure(tmp_path: Path) -> None:
    @lash.tool
    async def unknown(ctx: lash.ToolContext) -> str:
        """Emit what was never declared."""
        await ctx.triggers.emit("order.lost")
        return "lost"

    @lash.tool
    async def misfit(ctx: lash.ToolContext) -> str:
        """Emit what does not fit."""
        await ctx.triggers.emit("order.paid", "seven")
        return "odd"

    agent = selling(unknown, misfit, made=("unknown", "misfit"))
    async with runtime(tmp_path / "db", agent) as running:
        result = await running.session("s").run("Try.")
        assert [failure(call) for call in result.tool_calls] == [
            "trigger_event_unknown",
            "trigger_payload_invalid",
        ]
        assert list(await running.triggers.occurrences()) == []


async def test_a_tool_that_runs_as_a_process_emits_once(tmp_path: Path) -> None:
    @lash.tool
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        return (await ctx.triggers.emit(PAID, {"id": "o-7"})).event

    async with runtime(tmp_path / "db", selling(pay)) as running:
        await running.triggers.subscribe(PAID, ship, key="ship")
        handle = await running.session("s").processes.start_tool("pay", {}, id="pay-1")
        assert await handle.result(timeout=20) == "order.paid"
        assert await shipped(running) == ["order.paid", "shipped o-7"]


async def test_an_event_that_a_turn_emits_may_speak_to_its_own_session(tmp_path: Path) -> None:
    @lash.tool
    async def pay(ctx: lash.ToolContext) -> str:
        """Pay."""
        await ctx.triggers.emit(PAID, {"id": "o-7"}, session=ctx.session_id)
        return "paid"

    agent = lash.Agent("shop", model=ScriptedModel(on_go("pay")), tools=[pay])
    async with runtime(tmp_path / "db", agent) as running:
        session = running.session("s")
        prompt = lash.SessionPrompt("s", "Order {event.id} was paid.")
        await session.triggers.subscribe(PAID, prompt, key="tell")
        await running.triggers.subscribe(PAID, ship, key="everybody's")
        await session.run("Go.")
        await rested(running)
        said = [each.text for each in await session.history()]
        assert said[-2:] == ["Order o-7 was paid.", "Order o-7 was paid.!"]
        assert await shipped(running) == []


async def test_a_context_outside_of_a_runtime_emits_nothing() -> None:
    context = lash.ToolContext(
        session_id="s",
        turn_id="t",
        call_id="c",
        tool_name="pay",
        attempt=1,
        max_attempts=1,
        idempotency_key="k",
    )
    with pytest.raises(lash.LashError) as raised:
        await context.triggers.emit(PAID)
    assert raised.value.code == "tool_context_detached"
