"""Plugins after a tool was run: what stands of its answer, what the model is shown, how often they are asked."""

import asyncio
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from plugin_harness import (
    Made,
    Till,
    answering,
    codes,
    desk,
    failures,
    location,
    opened,
    path,
    ran,
    shown_to,
    values,
)
from session_harness import Staged

import lash
from lash.effects.waits.model import AwaitEventKey
from lash.llm.request import AttachmentBlock, TextBlock, ToolResultBlock
from lash.plugins import Abort, Answer, Deny, Hold, ReplaceArgs, Say, ToolCallHook
from lash.testing import calls, reply
from lash.turn.tools import ToolFailed, ToolOutput, ToolSuccess

__all__ = ["location", "path"]


def busy(times: int, **declared: Any) -> Till:
    """A till that is busy so many times, and may be tried three times."""
    till = Till(retry=lash.ToolRetry(max_attempts=3, base_delay_ms=0), **declared)
    till.failures = [lash.ToolError("busy", code="busy", retry=True) for _ in range(times)]
    return till


async def test_an_after_hook_is_asked_once_per_attempt_with_what_it_came_to(
    location: str | Path,
) -> None:
    heard: list[tuple[int, object]] = []

    async def after_tool(call: ToolCallHook, output: ToolOutput) -> None:
        heard.append((call.attempt, output.outcome.__struct_config__.tag))

    _, _, agent = desk(7, till=busy(2))
    result = await ran(location, agent, Made("p", after_tool=after_tool))
    assert heard == [(1, "failure"), (2, "failure"), (3, "success")]
    assert values(result) == ["charged 7"]


async def test_a_failure_that_a_hook_turns_into_an_answer_is_not_tried_again(
    location: str | Path,
) -> None:
    async def after_tool(call: ToolCallHook, output: ToolOutput) -> Answer | None:
        return Answer("later") if isinstance(output.outcome, ToolFailed) else None

    till, _, agent = desk(7, till=busy(3))
    result = await ran(location, agent, Made("p", after_tool=after_tool))
    assert (till.charged, values(result), result.tool_calls[0].attempts) == ([7], ["later"], 1)


async def test_a_failure_that_a_hook_puts_in_the_place_of_another_is_not_tried_again(
    location: str | Path,
) -> None:
    till, _, agent = desk(7, till=busy(3))
    result = await ran(location, agent, Made("p", after_tool=answering(Deny("no", "late"))))
    assert (till.charged, codes(result)) == ([7], ["late"])


async def test_a_hook_sees_and_redacts_what_the_model_is_told(location: str | Path) -> None:
    async def after_tool(call: ToolCallHook, output: ToolOutput) -> Answer | None:
        if isinstance(output.outcome, ToolSuccess):
            return Answer(str(output.outcome.payload).replace("7", "*"))
        return None

    _, model, agent = desk(7, 8)
    result = await ran(location, agent, Made("redact", after_tool=after_tool))
    assert values(result) == ["charged *", "charged 8"]
    assert shown_to(model) == ["charged *", "charged 8"]


async def test_a_hook_after_the_tool_is_told_the_arguments_it_was_run_with(
    location: str | Path,
) -> None:
    heard: list[object] = []

    async def after_tool(call: ToolCallHook, output: ToolOutput) -> None:
        heard.append(dict(call.args))

    plugin = Made("p", before_tool=answering(ReplaceArgs({"amount": 8})), after_tool=after_tool)
    _, _, agent = desk(7)
    await ran(location, agent, plugin)
    assert heard == [{"amount": 8}]


# --- several of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(["abort", "answer", "deny"])), ids="-".join)
async def test_the_strongest_word_about_an_answer_holds_in_any_order(
    order: tuple[str, ...],
) -> None:
    plugins = {
        "abort": Made("abort", after_tool=answering(Abort("halt", "halted"))),
        "answer": Made("answer", after_tool=answering(Answer("instead"))),
        "deny": Made("deny", after_tool=answering(Deny("because", "refused"))),
    }
    till, _, agent = desk(7)
    result = await ran(":memory:", agent, *(plugins[name] for name in order))
    assert [(each.code, each.message) for each in failures(result)] == [("refused", "because")]
    assert till.charged == [7]


async def test_of_two_denials_of_an_answer_the_first_holds(location: str | Path) -> None:
    plugins = [Made(name, after_tool=answering(Deny("no", name))) for name in ("z", "a")]
    _, _, agent = desk(7)
    assert codes(await ran(location, agent, *plugins)) == ["z"]


@pytest.mark.parametrize("order", [0, 1])
async def test_an_answer_that_was_replaced_is_inspected_in_either_order(
    location: str | Path, order: int
) -> None:
    async def inspect(call: ToolCallHook, output: ToolOutput) -> Deny | None:
        if output.outcome == ToolSuccess(payload="secret"):
            return Deny("That is secret.", "secret")
        return None

    async def replace(call: ToolCallHook, output: ToolOutput) -> Answer | None:
        known = output.outcome == ToolSuccess(payload="charged 7")
        return Answer("secret") if known else None

    plugins = [Made("inspect", after_tool=inspect), Made("replace", after_tool=replace)]
    _, _, agent = desk(7)
    assert codes(await ran(location, agent, *plugins[:: 1 if order else -1])) == ["secret"]


async def test_two_that_always_replace_the_answer_are_a_typed_composition_error(
    location: str | Path,
) -> None:
    plugins = [Made(name, after_tool=answering(Answer(name))) for name in ("first", "second")]
    _, _, agent = desk(7)
    (failure,) = failures(await ran(location, agent, *plugins))
    assert failure.code == "plugin_directive_conflict"
    assert "'first'" in failure.message
    assert "'second'" in failure.message


# --- hooks that go wrong ----------------------------------------------------------------------------------

NONSENSE: list[tuple[object, str]] = [
    ("fine", "plugin_directive_invalid"),
    (ReplaceArgs({"amount": 1}), "plugin_directive_invalid"),
    (Hold(), "plugin_directive_invalid"),
    (Say("hello"), "plugin_directive_invalid"),
    (Answer({1, "a"}), "value_not_json"),
    (Answer("x" * 17_000_000), "tool_output_too_large"),
    (RuntimeError("oh"), "after_tool_call_failed"),
    (SystemExit(), "after_tool_call_failed"),
    (asyncio.CancelledError(), "after_tool_call_failed"),
]


@pytest.mark.parametrize(
    ("answer", "code"), NONSENSE, ids=[f"{type(each).__name__}-{code}" for each, code in NONSENSE]
)
async def test_a_hook_that_goes_wrong_fails_the_call_although_the_tool_ran(
    path: Path, answer: object, code: str
) -> None:
    till, _, agent = desk(7)
    result = await ran(path, agent, Made("clumsy", after_tool=answering(answer)))
    assert (codes(result), till.charged, result.text) == ([code], [7], "Done.")


async def test_what_a_hook_does_to_an_answer_without_saying_so_changes_nothing(
    location: str | Path,
) -> None:
    async def after_tool(call: ToolCallHook, output: Any) -> None:
        output.outcome.payload["amount"] = 9
        args: Any = call.args
        args.clear()

    def show(call: ToolCallHook, output: Any) -> None:
        output.outcome.payload["shown"] = True

    @lash.tool
    async def charge(amount: int) -> dict[str, int]:
        """Charge."""
        return {"amount": amount}

    till = Till()
    till.tool = charge
    _, model, agent = desk(7, till=till)
    result = await ran(location, agent, Made("p", after_tool=after_tool, show=show))
    assert values(result) == [{"amount": 7}]
    assert shown_to(model) == ['{"amount":7}']


# --- what the model is shown ------------------------------------------------------------------------------------


async def test_one_plugin_says_what_the_model_is_shown_and_the_record_keeps_the_answer(
    location: str | Path,
) -> None:
    def show(call: ToolCallHook, output: ToolOutput) -> str | None:
        if isinstance(output.outcome, ToolFailed):
            return f"({output.outcome.payload.code})"
        return f"{call.tool} of {call.args['amount']}: ok" if call.args["amount"] == 7 else None

    guard = Made("guard", before_tool=answering(None, None, Deny("no", "refused")))
    _, model, agent = desk(7, 8, 9)
    async with opened(location, agent, guard, Made("p", show=show)) as runtime:
        result = await runtime.session("s").run("Go.")
        answers = (await runtime.session("s").history())[2].tool_results
    assert values(result) == ["charged 7", "charged 8", "refused"]
    shown = ["charge of 7: ok", "charged 8", "(refused)"]
    assert shown_to(model) == shown
    assert [answer.text for answer in answers] == shown


@pytest.mark.parametrize(
    "wrong", [lambda *_: 7, lambda *_: [], lambda *_: 1 / 0, lambda *_: exit(3)], ids=range(4)
)
async def test_an_answer_that_cannot_be_shown_is_kept_all_the_same(path: Path, wrong: Any) -> None:
    _, model, agent = desk(7)
    result = await ran(path, agent, Made("clumsy", show=wrong))
    assert values(result) == ["charged 7"]
    (shown,) = shown_to(model)
    assert shown.startswith("[The answer could not be shown: ")
    assert "'clumsy'" in shown


async def test_what_is_shown_is_text_that_can_be_kept(location: str | Path) -> None:
    _, model, agent = desk(7)
    await ran(location, agent, Made("p", show=lambda *_: "\ud800!"))
    assert shown_to(model) == ["\\ud800!"]


async def test_an_empty_text_is_shown_as_such(location: str | Path) -> None:
    _, model, agent = desk(7)
    await ran(location, agent, Made("p", show=lambda *_: ""))
    assert shown_to(model) == [""]


# --- answers from outside -----------------------------------------------------------------------------------


def asking(keys: "asyncio.Queue[AwaitEventKey]") -> lash.Agent:
    @lash.tool
    async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask."""
        return await ctx.defer(keys.put)

    model = Staged([calls(("ask", {})), reply("Done.")])
    return lash.Agent("clerk", model=model, tools=[ask])


async def test_after_hooks_are_asked_once_of_an_answer_from_outside(location: str | Path) -> None:
    keys: asyncio.Queue[AwaitEventKey] = asyncio.Queue()
    heard: list[object] = []

    async def after_tool(call: ToolCallHook, output: ToolOutput) -> Answer:
        heard.append(output.outcome)
        call.session.remember(len(heard))
        return Answer(["seen", 1])

    plugin = Made("p", after_tool=after_tool, show=lambda call, output: "shown")
    agent = asking(keys)
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        turn = asyncio.create_task(session.run("Go."))
        key = await keys.get()
        await runtime.idle()
        assert heard == []
        await runtime.completions.resolve(key, {"by": "ana"})
        result = await turn
        head = await runtime.engine.store.load_head("s")
    assert heard == [ToolSuccess(payload={"by": "ana"})]
    assert values(result) == [["seen", 1]]
    assert head is not None
    assert head.config.plugin_state == {"p": 1}


async def test_an_after_hook_may_refuse_an_answer_from_outside(location: str | Path) -> None:
    keys: asyncio.Queue[AwaitEventKey] = asyncio.Queue()
    async with opened(
        location, asking(keys), Made("p", after_tool=answering(Deny("no", "late")))
    ) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        await runtime.completions.resolve(await keys.get(), "yes")
        assert codes(await turn) == ["late"]


async def test_what_a_hook_makes_of_an_answer_shows_the_pictures_it_was_told_and_no_others(
    location: str | Path,
) -> None:
    looks_like = {"$lash_tool_value": "mine"}

    @lash.tool
    async def card() -> dict[str, object]:
        """A card with a picture."""
        picture = lash.InlineSource(data=b"%PDF-1.7", media_type="application/pdf")
        return {"picture": picture, "number": "1234", "data": looks_like}

    async def after_tool(call: ToolCallHook, output: ToolOutput) -> Answer | None:
        if not isinstance(output.outcome, ToolSuccess):
            return None
        told: Any = output.outcome.payload
        other = msgspec.json.decode(msgspec.json.encode(told["picture"]))
        other["source"]["attachment_ref"]["id"] = "0" * 64
        return Answer({**told, "number": "***", "other": other})

    model = Staged([calls(("card", {})), reply("Done.")])
    agent = lash.Agent("clerk", model=model, tools=[card])
    result = await ran(location, agent, Made("p", after_tool=after_tool))
    (record,) = result.tool_calls
    (kept,) = record.attachments
    assert isinstance(kept, lash.StoredSource)
    assert kept.attachment_ref.media_type == "application/pdf"
    (block,) = model.asked[-1].messages[-1].blocks
    assert isinstance(block, ToolResultBlock)
    before, picture, after = block.pieces
    assert isinstance(before, TextBlock)
    assert isinstance(picture, AttachmentBlock)
    assert isinstance(after, TextBlock)
    assert before.text.startswith('{"data":{"$lash_tool_value":"mine"},"number":"***","other":{')
    assert (before.text[-11:], after.text) == (',"picture":', "}")
