"""Plugins before a tool is run: denials, answers, other arguments, and several plugins that disagree."""

import asyncio
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from plugin_harness import (
    Made,
    Till,
    answering,
    by_amount,
    codes,
    counting,
    desk,
    failures,
    location,
    opened,
    path,
    ran,
    shown_to,
    values,
)
from session_harness import told

import lash
from lash.events import PluginEmitted, ToolCallCompleted
from lash.plugins import Abort, Answer, Deny, Hold, Plugin, ReplaceArgs, Say, ToolCallHook
from lash.testing import calls, reply
from lash.turn.tools import ToolFailed, ToolFailure

__all__ = ["location", "path"]


class Guard(Plugin):
    """Ten lines that keep a house in order."""

    id = "guard"

    async def before_tool(self, call: ToolCallHook) -> Deny | None:
        if call.args["amount"] > 100:
            return Deny("Not more than 100.", code="too_much")
        return None


async def test_a_guard_denies_and_the_turn_goes_on(location: str | Path) -> None:
    till, model, agent = desk(7, 500, 8)
    async with opened(location, agent, Guard()) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.")
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->charge ->charge ->charge"),
            (
                "user",
                "<-charged 7 <-[Tool execution failed]\nNot more than 100. <-charged 8",
            ),
            ("assistant", "Done."),
        ]
    assert till.charged == [7, 8]
    assert (result.text, result.is_success) == ("Done.", True)
    assert values(result) == ["charged 7", "too_much", "charged 8"]
    assert shown_to(model)[1] == "[Tool execution failed]\nNot more than 100."


async def test_a_denial_is_the_answer_of_the_call_and_says_whose_it_is(
    location: str | Path,
) -> None:
    _, _, agent = desk()
    plugin = Made("p", before_tool=answering(Deny("No \ud800.")))
    assert failures(await ran(location, agent, plugin)) == [
        ToolFailure(
            failure_class="permission_denied",
            code="tool_denied",
            message="No \\ud800.",
            source="plugin",
        )
    ]


async def test_a_hook_is_told_what_it_decides_about(location: str | Path) -> None:
    heard: list[ToolCallHook] = []

    async def before_tool(call: ToolCallHook) -> None:
        heard.append(call)

    _, _, agent = desk(7)
    await ran(location, agent, Made("p", before_tool=before_tool))
    (call,) = heard
    assert (call.session.session_id, call.session.agent, call.session.plugin_id) == (
        "s",
        "clerk",
        "p",
    )
    assert (call.turn_id, call.tool, dict(call.args), call.attempt) == (
        "t",
        "charge",
        {"amount": 7},
        1,
    )
    assert call.answer is None
    assert call.call_id
    assert call.idempotency_key


async def test_the_hook_and_the_tool_are_given_the_same_idempotency_key(
    location: str | Path,
) -> None:
    keys: list[str] = []

    async def before_tool(call: ToolCallHook) -> None:
        keys.append(call.idempotency_key)

    @lash.tool
    async def charge(ctx: lash.ToolContext, amount: int) -> str:
        """Charge."""
        keys.append(ctx.idempotency_key)
        return "charged"

    till = Till()
    till.tool = charge
    _, _, agent = desk(7, till=till)
    await ran(location, agent, Made("p", before_tool=before_tool))
    assert len(keys) == 2
    assert len(set(keys)) == 1


# --- an answer in the tool's place ------------------------------------------------------------------------


async def test_an_answer_in_the_tools_place_runs_neither_tool_nor_after_hooks(
    location: str | Path,
) -> None:
    till, model, agent = desk(7, 8)
    cache = Made("cache", before_tool=by_amount({7: Answer({"cached": [7]})}))
    after = counting("after", "after_tool")
    async with opened(location, agent, cache, after) as runtime:
        result = await runtime.session("s").run("Go.")
    assert till.charged == [8]
    assert values(result) == [{"cached": [7]}, "charged 8"]
    assert shown_to(model) == ['{"cached":[7]}', "charged 8"]


async def test_after_hooks_are_not_asked_of_denied_answered_unknown_or_misfitting_calls(
    location: str | Path,
) -> None:
    seen: list[object] = []

    async def after_tool(call: ToolCallHook, output: object) -> None:
        seen.append(call.args.get("amount"))

    script = [
        calls(
            ("charge", {"amount": 1}),
            ("charge", {"amount": 2}),
            ("charge", {"amount": "many"}),
            ("charge", "{not json"),
            ("nothing", {"amount": 3}),
            ("charge", {"amount": 4}),
        ),
        reply("Done."),
    ]
    till, _, agent = desk(script=script)
    guard = Made("guard", before_tool=by_amount({1: Deny("no"), 2: Answer("yes")}))
    result = await ran(location, agent, guard, Made("after", after_tool=after_tool))
    assert values(result) == [
        "tool_denied",
        "yes",
        "invalid_tool_args",
        "invalid_tool_args",
        "tool_unavailable",
        "charged 4",
    ]
    assert (seen, till.charged) == ([4], [4])


async def test_hooks_are_not_asked_about_calls_that_cannot_be_one_of_a_tool(
    location: str | Path,
) -> None:
    asked: list[object] = []

    async def before_tool(call: ToolCallHook) -> None:
        asked.append(call.args)

    script = [calls(("nothing", {}), ("charge", "{not json")), reply("Done.")]
    _, _, agent = desk(script=script)
    result = await ran(location, agent, Made("p", before_tool=before_tool))
    assert codes(result) == ["tool_unavailable", "invalid_tool_args"]
    assert asked == []


# --- other arguments ----------------------------------------------------------------------------------------


async def test_replaced_arguments_are_what_the_tool_is_run_with_and_the_model_keeps_its_own(
    location: str | Path,
) -> None:
    till, _, agent = desk(7)
    plugin = Made("p", before_tool=answering(ReplaceArgs({"amount": 8})))
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.")
        (call,) = (await session.history())[1].tool_calls
    assert (till.charged, values(result)) == ([8], ["charged 8"])
    assert call.arguments == '{"amount":7}'


async def test_replaced_arguments_are_checked_like_any_other(location: str | Path) -> None:
    till, _, agent = desk(7)
    plugin = Made("p", before_tool=answering(ReplaceArgs({"amount": "many"})))
    assert codes(await ran(location, agent, plugin)) == ["invalid_tool_args"]
    assert till.charged == []


async def test_replaced_arguments_mend_what_the_model_got_wrong(location: str | Path) -> None:
    till, _, agent = desk("many")
    plugin = Made("p", before_tool=answering(ReplaceArgs({"amount": 3})))
    assert values(await ran(location, agent, plugin)) == ["charged 3"]
    assert till.charged == [3]


async def test_later_attempts_use_the_replaced_arguments_and_ask_no_hook_before_the_tool(
    location: str | Path,
) -> None:
    till = Till(retry=lash.ToolRetry(max_attempts=3, base_delay_ms=0))
    till.failures = [lash.ToolError("busy", retry=True), lash.ToolError("busy", retry=True)]
    _, _, agent = desk(7, till=till)
    asked: list[int] = []

    async def before_tool(call: ToolCallHook) -> ReplaceArgs:
        asked.append(call.attempt)
        return ReplaceArgs({"amount": 8})

    result = await ran(location, agent, Made("p", before_tool=before_tool))
    assert (till.charged, asked, result.tool_calls[0].attempts) == ([8, 8, 8], [1], 3)


# --- several of them ------------------------------------------------------------------------------------------

LIMIT = Made("limit", before_tool=by_amount({8: Deny("not 8", code="eight")}))


def replacing(name: str = "replacer") -> Made:
    return Made(name, before_tool=by_amount({7: ReplaceArgs({"amount": 8})}))


@pytest.mark.parametrize("order", [0, 1])
async def test_replacement_is_reinspected_by_earlier_policy_in_either_registration_order(
    location: str | Path, order: int
) -> None:
    till, _, agent = desk(7)
    plugins = [LIMIT, replacing()][:: 1 if order else -1]
    assert codes(await ran(location, agent, *plugins)) == ["eight"]
    assert till.charged == []


@pytest.mark.parametrize("order", [0, 1])
async def test_two_unconditional_replacers_are_a_typed_composition_error(
    location: str | Path, order: int
) -> None:
    till, _, agent = desk(7)
    plugins = [
        Made("first", before_tool=answering(ReplaceArgs({"amount": 1}))),
        Made("second", before_tool=answering(ReplaceArgs({"amount": 2}))),
    ][:: 1 if order else -1]
    (failure,) = failures(await ran(location, agent, *plugins))
    assert failure.code == "plugin_directive_conflict"
    assert "'first'" in failure.message
    assert "'second'" in failure.message
    assert till.charged == []


async def test_two_replacers_that_accept_what_the_other_made_of_it_get_along(
    location: str | Path,
) -> None:
    _, _, agent = desk(7)
    last = Made("last", before_tool=by_amount({8: ReplaceArgs({"amount": 9})}))
    assert values(await ran(location, agent, replacing(), last)) == ["charged 9"]


ALL: dict[str, Made] = {
    "abort": Made("abort", before_tool=answering(Abort("halt", code="halted"))),
    "answer": Made("answer", before_tool=answering(Answer("instead"))),
    "deny": Made("deny", before_tool=answering(Deny("because", code="refused"))),
    "replace": replacing("replace"),
}


@pytest.mark.parametrize("order", list(permutations(ALL)), ids="-".join)
async def test_multi_plugin_abort_wins_in_either_registration_order(order: tuple[str, ...]) -> None:
    till, _, agent = desk(7)
    result = await ran(":memory:", agent, *(ALL[name] for name in order))
    # The abort holds, and the model is told the words of the denial that it displaces.
    assert [(each.code, each.message) for each in failures(result)] == [("refused", "because")]
    assert (till.charged, result.is_success) == ([], True)
    without = [ALL[name] for name in order if name != "deny"]
    assert codes(await ran(":memory:", desk(7)[2], *without)) == ["halted"]


async def test_an_abort_fails_the_call_and_not_the_turn(location: str | Path) -> None:
    till, _, agent = desk(7, 8)
    plugin = Made("p", before_tool=by_amount({7: Abort("halt")}))
    result = await ran(location, agent, plugin)
    assert (values(result), result.text) == (["plugin_aborted", "charged 8"], "Done.")
    assert till.charged == [8]


async def test_a_replacement_counts_from_the_next_plugin_on(location: str | Path) -> None:
    heard: dict[str, list[Any]] = {"before": [], "after": []}

    def listening(name: str) -> Made:
        async def before_tool(call: ToolCallHook) -> None:
            heard[name].append(call.args["amount"])

        return Made(name, before_tool=before_tool)

    _, _, agent = desk(7)
    await ran(location, agent, listening("before"), replacing(), listening("after"))
    assert heard == {"before": [7, 8], "after": [8]}


# --- hooks that go wrong ----------------------------------------------------------------------------------

#: What no type checker would let pass.
ODD: Any = 7
ODD_OBJECT: Any = object()

NONSENSE: list[tuple[object, str]] = [
    ("yes", "plugin_directive_invalid"),
    (True, "plugin_directive_invalid"),
    (Deny, "plugin_directive_invalid"),
    ([Deny("no")], "plugin_directive_invalid"),
    (Say("hello"), "plugin_directive_invalid"),
    (Deny(ODD), "plugin_directive_invalid"),
    (Abort("x", code=ODD), "plugin_directive_invalid"),
    (Answer(object()), "value_not_json"),
    (Answer(float("nan")), "value_not_json"),
    (ReplaceArgs(ODD), "value_not_json"),
    (ReplaceArgs({"amount": ODD_OBJECT}), "value_not_json"),
    (Hold(timeout=-1), "duration_invalid"),
    (Hold(announce=ODD), "before_tool_call_failed"),
    (ValueError("oh"), "before_tool_call_failed"),
    (SystemExit(3), "before_tool_call_failed"),
    (asyncio.CancelledError(), "before_tool_call_failed"),
    (lash.LashError("session_unknown", "no"), "session_unknown"),
]


@pytest.mark.parametrize(
    ("answer", "code"), NONSENSE, ids=[f"{type(each).__name__}-{code}" for each, code in NONSENSE]
)
async def test_a_hook_that_goes_wrong_fails_its_call_and_names_the_plugin(
    path: Path, answer: object, code: str
) -> None:
    till, _, agent = desk(7)
    result = await ran(path, agent, Made("clumsy", before_tool=answering(answer)))
    (failure,) = failures(result)
    assert failure.code == code
    if code != "duration_invalid":
        assert "'clumsy'" in failure.message
    assert (till.charged, result.text) == ([], "Done.")


async def test_a_hook_that_goes_wrong_fails_its_own_call_and_no_other(
    location: str | Path,
) -> None:
    async def before_tool(call: ToolCallHook) -> None:
        if call.args["amount"] == 8:
            raise SystemExit

    till, _, agent = desk(7, 8, 9)
    result = await ran(location, agent, Made("p", before_tool=before_tool))
    assert values(result) == ["charged 7", "before_tool_call_failed", "charged 9"]
    assert sorted(till.charged) == [7, 9]


async def test_a_plain_function_will_do_for_a_hook(location: str | Path) -> None:
    till, _, agent = desk(7)
    assert codes(await ran(location, agent, Made("p", before_tool=lambda _: Deny("no")))) == [
        "tool_denied"
    ]
    assert till.charged == []


async def test_what_a_hook_does_to_what_it_is_given_changes_nothing(
    location: str | Path,
) -> None:
    async def before_tool(call: ToolCallHook) -> None:
        args: Any = call.args
        args["amount"] = 9
        options: Any = call.session.options
        options["mine"] = True
        state: Any = call.session.state
        assert state is None

    till, _, agent = desk(7)
    result = await ran(location, agent, Made("p", before_tool=before_tool))
    assert (till.charged, values(result)) == ([7], ["charged 7"])


async def test_a_hook_that_hangs_is_given_up_when_the_turn_is_stopped(
    location: str | Path,
) -> None:
    reached, ended = asyncio.Event(), asyncio.Event()

    async def before_tool(call: ToolCallHook) -> None:
        if call.args["amount"] == 8:
            reached.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    _, _, agent = desk(7, 8)
    async with opened(location, agent, Made("p", before_tool=before_tool)) as runtime:
        session = runtime.session("s")
        turn = asyncio.create_task(session.run("Go.", turn_id="t"))
        await reached.wait()
        await session.cancel("t")
        result = await turn
    assert isinstance(result.outcome, lash.Stopped)
    assert values(result) == ["charged 7", "cancelled"]
    assert ended.is_set()


async def test_a_hook_cannot_wait_for_a_turn_of_its_own_session(location: str | Path) -> None:
    _, _, agent = desk(7)
    runtimes: list[lash.Runtime] = []

    async def before_tool(call: ToolCallHook) -> None:
        await runtimes[0].session(call.session.session_id).run("Are you there?")

    async with opened(location, agent, Made("p", before_tool=before_tool)) as runtime:
        runtimes.append(runtime)
        result = await runtime.session("s").run("Go.")
    assert codes(result) == ["session_waits_for_itself"]


async def test_watchers_hear_of_a_denied_call_once(location: str | Path) -> None:
    _, _, agent = desk(500)
    async with (
        opened(location, agent, Guard()) as runtime,
        runtime.session("s").stream("Go.") as live,
    ):
        heard = [event async for event in live if isinstance(event, ToolCallCompleted)]
    (event,) = heard
    assert isinstance(event.call.output.outcome, ToolFailed)


# --- telling of conflicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["abcd", "dcba"])
async def test_watchers_hear_once_whose_word_did_not_hold(path: Path, order: str) -> None:
    words = {"a": Answer(1), "b": Deny("no"), "c": Hold(), "d": Abort("stop")}
    made = [Made(name, before_tool=answering(words[name])) for name in order]
    async with opened(path, desk(7)[2], *made) as runtime:
        async with runtime.session("s").stream("Go.", turn_id="t") as live:
            heard = [event async for event in live if isinstance(event, PluginEmitted)]
        await runtime.replay("s", "t")
    assert [(event.plugin_id, event.name, event.payload) for event in heard] == [
        (
            "d",
            "before_tool.directive_conflict",
            {
                "winner_plugin_id": "d",
                "winner_directive": "abort",
                "ignored_plugin_id": ignored,
                "ignored_directive": directive,
            },
        )
        for ignored, directive in (("a", "answer"), ("b", "deny"), ("c", "hold"))
    ]


async def test_nobody_hears_of_conflicts_where_all_agree(location: str | Path) -> None:
    made = [Made("a", before_tool=answering(None)), Made("b", before_tool=answering(Deny("no")))]
    async with (
        opened(location, desk(7)[2], *made) as runtime,
        runtime.session("s").stream("Go.") as live,
    ):
        heard = [event async for event in live if isinstance(event, PluginEmitted)]
    assert heard == []


async def test_watchers_hear_which_of_two_aborts_did_not_hold(location: str | Path) -> None:
    made = [Made(name, before_turn=answering(Abort("no", name))) for name in ("a", "b")]
    async with (
        opened(location, desk(7)[2], *made) as runtime,
        runtime.session("s").stream("Go.") as live,
    ):
        heard = [event async for event in live if isinstance(event, PluginEmitted)]
    assert [(event.plugin_id, event.name) for event in heard] == [
        ("b", "before_turn.directive_conflict")
    ]
