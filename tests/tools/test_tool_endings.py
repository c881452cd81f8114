"""What tools say besides a value, and who may call them, in turns of a real runtime."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

import lash
from lash.core.json import JsonObject
from lash.testing import ScriptedModel, calls, reply
from lash.tools.manifest import (
    MaterializeProjectedValues,
    PreserveProjectedRefsInField,
    ToolManifest,
    activation_of,
    argument_projection_of,
    manifest_of,
)
from lash.turn.outcome import Stopped, ToolStopped
from lash.turn.tools import FailControl, ToolFailed, ToolFailure, ToolOutput, ToolSuccess


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else tmp_path / "agents.db"


def context() -> lash.ToolContext:
    return lash.ToolContext(
        session_id="s",
        turn_id="t",
        call_id="c",
        tool_name="tool",
        attempt=1,
        max_attempts=1,
        idempotency_key="k",
    )


# --- a tool that ends the turn as failed ----------------------------------------------------------

REFUSED: JsonObject = {
    "failure_class": "permission_denied",
    "code": "fraud",
    "message": "The account is closed.",
    "raw": {"account": 7},
}


@lash.tool
async def check_account() -> lash.Fail:
    """Check."""
    return lash.Fail(
        "The account is closed.",
        code="fraud",
        failure_class="permission_denied",
        raw={"account": 7},
    )


async def test_a_tool_ends_the_turn_as_failed_and_the_session_goes_on(
    location: str | Path,
) -> None:
    steps = iter([calls(("check_account", {})), reply("Hello again.")])
    model = ScriptedModel(lambda _: next(steps))
    agent = lash.Agent("bank", model=model, tools=[check_account])
    async with asyncio.timeout(20), lash.Runtime(location, agents=[agent]) as runtime:
        session = runtime.session("s")
        result = await session.run("Pay.", turn_id="t")
        again = await session.run("Pay.", turn_id="t")
        after = await session.run("Hello?")
        history = await session.history()
    assert result.outcome == Stopped(reason=ToolStopped(tool_name="check_account", value=REFUSED))
    assert again.outcome == result.outcome
    (call,) = result.tool_calls
    assert call.output == ToolOutput(
        outcome=ToolSuccess(payload="The account is closed."),
        control=FailControl(
            failure=ToolFailure(
                failure_class="permission_denied",
                code="fraud",
                message="The account is closed.",
                raw={"account": 7},
            )
        ),
    )
    assert after.text == "Hello again."
    assert [message.role for message in history] == [
        "user", "assistant", "user", "user", "assistant",
    ]  # fmt: skip


async def test_raw_tools_and_methods_end_turns_as_well() -> None:
    class Bank:
        @lash.tool
        def close(self) -> lash.Fail:
            """Close."""
            return lash.Fail("Closed.")

    raw = lash.raw_tool("close", "Close.", {}, lambda args: lash.Fail("Closed."))
    failure = ToolFailure(failure_class="execution", code="tool_error", message="Closed.")
    for tool in (Bank().close, raw):
        assert await tool.run({}, context()) == ToolOutput(
            outcome=ToolSuccess(payload="Closed."), control=FailControl(failure=failure)
        )


async def test_details_that_cannot_be_stored_do_not_hide_that_the_turn_failed() -> None:
    @lash.tool
    def close() -> lash.Fail:
        """Close."""
        return lash.Fail("Closed \ud800", code=7, raw=object())  # type: ignore[arg-type]  # as untyped code does

    output = await close.run({}, context())
    assert isinstance(output, ToolOutput)
    assert isinstance(output.control, FailControl)
    msgspec.json.encode(output)
    assert (output.control.failure.code, output.control.failure.message) == ("7", "Closed \\ud800")
    assert "object" in str(output.control.failure.raw)


# --- nulls for what was left out ------------------------------------------------------------------


async def test_a_null_for_a_parameter_with_a_default_counts_as_left_out() -> None:
    @lash.tool
    def search(
        query: str,
        limit: int = 5,
        note: str | None = "none",
        where: dict[str, int] = {"a": 1},  # noqa: B006  only read
        anything: Any = "default",
    ) -> list[Any]:
        """Search."""
        return [query, limit, note, where, anything]

    args = {"query": "q", "limit": None, "note": None, "where": None, "anything": None}
    search.check(args)
    output = await search.run(args, context())
    assert output == ToolOutput(outcome=ToolSuccess(payload=["q", 5, None, {"a": 1}, None]))
    wrong: Any
    for wrong in (
        {"query": None},
        {"query": "q", "limit": "five"},
        {"query": "q", "where": {"a": None}},
    ):
        with pytest.raises(lash.LashError) as refused:
            search.check(wrong)
        assert refused.value.code == "invalid_tool_args"


class Line(msgspec.Struct):
    sku: str
    count: int = 1


async def test_a_null_within_an_argument_counts_as_left_out_too() -> None:
    @lash.tool
    def order(lines: list[Line], gift: Line | None = None) -> list[Any]:
        """Order."""
        return [[line.sku, line.count] for line in [*lines, *([gift] if gift else [])]]

    args: Any = {"lines": [{"sku": "a", "count": None}], "gift": {"sku": "b", "count": None}}
    assert await order.run(args, context()) == ToolOutput(
        outcome=ToolSuccess(payload=[["a", 1], ["b", 1]])
    )
    with pytest.raises(lash.LashError) as refused:
        order.check({"lines": [{"sku": None, "count": None}]})
    assert refused.value.details["problems"] == ["`$.lines[0].sku`: expected `str`, got `null`"]


async def test_arguments_are_kept_as_the_model_sent_them() -> None:
    @lash.tool
    def search(limit: int = 5) -> int:
        """Search."""
        return limit

    model = ScriptedModel([calls(("search", {"limit": None})), reply("Over.")])
    agent = lash.Agent("a", model=model, tools=[search])
    async with lash.Runtime(":memory:", agents=[agent]) as runtime:
        result = await runtime.session("s").run("Go.")
    (call,) = result.tool_calls
    assert (call.args, call.output.outcome) == ({"limit": None}, ToolSuccess(payload=5))


def test_processes_take_null_for_what_it_is() -> None:
    @lash.process
    async def wait(ctx: lash.ProcessContext, days: int = 3) -> int:
        """Wait."""
        return days

    with pytest.raises(lash.LashError):
        wait._schema.convert({"days": None})


# --- tools that models are not offered ------------------------------------------------------------


def parts() -> tuple[lash.Agent, ScriptedModel, list[str]]:
    ran: list[str] = []

    @lash.tool(activation="internal")
    async def reindex(shelf: str) -> str:
        """Reindex."""
        ran.append(shelf)
        return f"reindexed {shelf}"

    def ping(args: Any) -> str:
        return "pong"

    raw = lash.raw_tool("audit", "Audit.", {}, ping, activation="internal")
    open_tool = lash.raw_tool("ping", "Ping.", {}, ping)
    model = ScriptedModel(
        [
            calls(("reindex", {"shelf": "a"}), ("tool:reindex", {"shelf": "a"}), ("audit", {})),
            calls(("ping", {})),
            reply("Over."),
        ]
    )
    return lash.Agent("clerk", model=model, tools=[reindex, raw, open_tool]), model, ran


async def test_normal_dispatch_refuses_internal_activation_by_name_and_id(
    location: str | Path,
) -> None:
    agent, model, ran = parts()
    async with asyncio.timeout(20), lash.Runtime(location, agents=[agent]) as runtime:
        result = await runtime.session("s").run("Go.")
    assert [[spec.name for spec in request.tools] for request in model.requests] == [["ping"]] * 3
    outcomes = [call.output.outcome for call in result.tool_calls]
    refused = [each.payload for each in outcomes if isinstance(each, ToolFailed)]
    assert [each.code for each in refused] == ["tool_unavailable"] * 3
    assert all("Available tools: ping." in each.message for each in refused)
    assert outcomes[3] == ToolSuccess(payload="pong")
    assert ran == []


async def test_processes_call_internal_tools(location: str | Path) -> None:
    agent, _, ran = parts()
    async with asyncio.timeout(20), lash.Runtime(location, agents=[agent]) as runtime:
        handle = await runtime.processes.start_tool("clerk", "reindex", {"shelf": "b"})
        assert await handle.result() == "reindexed b"
    assert ran == ["b"]


async def test_providers_and_prompts_do_not_tell_of_internal_tools() -> None:
    agent, model, _ = parts()
    inner = lash.raw_tool("inner", "", {}, lambda args: "x", activation="internal")
    outer = lash.raw_tool("outer", "", {}, lambda args: "x")

    class Bringing(lash.Plugin):
        id = "bringing"

        def tools(self) -> list[Any]:
            return [inner]

        def providers(self) -> list[Any]:
            return [self]

    class Offers:
        id = "offers"

        def tools(self) -> list[Any]:
            return [outer, lash.raw_tool("late", "", {}, lambda args: "x", activation="internal")]

    class Both(Bringing):
        def providers(self) -> list[Any]:
            return [Offers()]

    agent = lash.Agent("clerk", model=model, tools=agent.tools, plugins=[Both()])
    async with asyncio.timeout(20), lash.Runtime(":memory:", agents=[agent]) as runtime:
        await runtime.session("s").run("Go.")
    told = [[spec.name for spec in request.tools] for request in model.requests]
    assert told == [["ping", "outer"]] * 3


def test_an_activation_there_is_not_is_refused() -> None:
    with pytest.raises(lash.ConfigurationError, match="'always' or 'internal', not 'never'"):

        @lash.tool(activation="never")  # type: ignore[call-overload,untyped-decorator]  # the subject of the test
        def ping() -> None:
            """Ping."""


# --- tools as data --------------------------------------------------------------------------------


def test_a_tool_says_how_references_in_its_arguments_are_handed_in() -> None:
    keep = PreserveProjectedRefsInField(field="rows")

    @lash.tool(argument_projection=keep)
    def export(rows: list[str]) -> int:
        """Export."""
        return len(rows)

    @lash.tool
    def ping() -> None:
        """Ping."""

    assert argument_projection_of(export) == keep
    assert argument_projection_of(ping) == MaterializeProjectedValues()
    assert activation_of(ping) == "always"
    raw = lash.raw_tool("x", "", {}, lambda args: args, argument_projection=keep)
    assert argument_projection_of(raw) == keep
    manifest = msgspec.json.decode(msgspec.json.encode(manifest_of(export)))
    assert manifest["argument_projection"] == {
        "kind": "preserve_projected_refs_in_field",
        "field": "rows",
    }


def test_what_is_not_said_is_not_written() -> None:
    assert msgspec.json.encode(ToolManifest(id="tool:x", name="x")) == b'{"id":"tool:x","name":"x"}'


@pytest.mark.parametrize("kind", ["safe", "idempotent"])
async def test_a_failure_that_is_safe_to_repeat_is_repeated_under_either_policy(kind: Any) -> None:
    seen: list[tuple[int, str]] = []

    @lash.tool(retry=lash.ToolRetry(type=kind, max_attempts=3, base_delay_ms=0))
    async def charge(ctx: lash.ToolContext) -> str:
        """Charge."""
        seen.append((ctx.attempt, ctx.idempotency_key))
        if ctx.attempt < 3:
            raise lash.ToolError("busy", retry=True)
        return "charged"

    model = ScriptedModel([calls(("charge", {})), reply("Over.")])
    agent = lash.Agent("a", model=model, tools=[charge])
    async with asyncio.timeout(20), lash.Runtime(":memory:", agents=[agent]) as runtime:
        result = await runtime.session("s").run("Go.")
    assert result.tool_calls[0].output.outcome == ToolSuccess(payload="charged")
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 1


def test_a_retry_policy_has_a_type_there_is_and_numbers_that_count() -> None:
    assert lash.ToolRetry().type == "safe"
    for wrong in (
        {"type": "always"},
        {"max_attempts": 0},
        {"base_delay_ms": -1},
        {"max_delay_ms": True},
    ):
        with pytest.raises(lash.ConfigurationError) as refused:
            lash.ToolRetry(**wrong)
        assert refused.value.code == "retry_invalid"
