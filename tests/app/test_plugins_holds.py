"""Calls that are held until the outside has spoken: approvals, over restarts, many at once."""

import asyncio
import logging
from pathlib import Path
from typing import Any

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
    state_of,
    values,
)
from session_harness import until

import lash
from lash.contrib.approvals import ApprovalRequest, Approvals
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventKey,
    ResolveAccepted,
    ResolvedOk,
    ResolvedTimeout,
)
from lash.events import ToolCallDeferred, ToolCallStarted
from lash.plugins import Deny, Hold, Plugin, ReplaceArgs, ToolCallHook
from lash.testing import VirtualClock

__all__ = ["location", "path"]


class Desk:
    """Collects what is asked, by amount."""

    def __init__(self) -> None:
        self.asked: list[ApprovalRequest] = []
        self._news = asyncio.Condition()

    async def ask(self, request: ApprovalRequest) -> None:
        async with self._news:
            self.asked.append(request)
            self._news.notify_all()

    async def key(self, amount: object, nth: int = 1) -> AwaitEventKey:
        """The key of the nth request about an amount."""

        def found() -> list[ApprovalRequest]:
            return [each for each in self.asked if each.args["amount"] == amount]

        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: len(found()) >= nth)
        return found()[nth - 1].key


def large(call: ToolCallHook) -> bool:
    return bool(call.args["amount"] >= 100)


async def waits(runtime: lash.Runtime, session_id: str = "s") -> None:
    """Until everything that can go on without an answer has."""
    await runtime.idle(timeout=20)


async def passes(clock: VirtualClock, turn: "asyncio.Task[Any]") -> None:
    """Let time pass until the turn is over: whoever waits looks now and then whether it is due."""

    async def over() -> bool:
        clock.advance(0.05)
        return turn.done()

    await until(over)


# --- a word -------------------------------------------------------------------------------------------------

YES: list[object] = [True, {"approved": True}, {"approved": True, "reason": "fine"}]
NO: list[tuple[object, str]] = [
    (False, "The call of charge was not approved."),
    (None, "The call of charge was not approved."),
    ("yes", "The call of charge was not approved."),
    (1, "The call of charge was not approved."),
    ({"approved": "true"}, "The call of charge was not approved."),
    ({"approved": False, "reason": "too much"}, "The call of charge was not approved: too much."),
    ({"approved": 1, "reason": ["a"]}, "The call of charge was not approved: ['a']."),
]


@pytest.mark.parametrize("word", YES, ids=str)
async def test_a_yes_lets_the_call_pass(path: Path, word: object) -> None:
    people = Desk()
    till, _, agent = desk(100)
    async with opened(path, agent, Approvals("charge", ask=people.ask)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        key = await people.key(100)
        await waits(runtime)
        assert till.charged == []
        assert await runtime.completions.resolve(key, word) == ResolveAccepted()
        assert values(await turn) == ["charged 100"]
    assert till.charged == [100]
    (request,) = people.asked
    assert (request.session_id, request.turn_id, request.tool, request.args) == (
        "s",
        "t",
        "charge",
        {"amount": 100},
    )


@pytest.mark.parametrize(("word", "said"), NO, ids=[str(word) for word, _ in NO])
async def test_anything_else_is_a_no_and_the_model_is_told_the_reason(
    path: Path, word: object, said: str
) -> None:
    people = Desk()
    till, _, agent = desk(100)
    async with opened(path, agent, Approvals("charge", ask=people.ask)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        await runtime.completions.resolve(await people.key(100), word)
        (failure,) = failures(await turn)
    assert (failure.code, failure.message) == ("tool_not_approved", said)
    assert till.charged == []


async def test_a_failure_and_a_cancelled_wait_are_a_no(location: str | Path) -> None:
    people = Desk()
    _, _, agent = desk(100, 101)
    async with opened(location, agent, Approvals("charge", ask=people.ask)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        await runtime.completions.fail(await people.key(100), "the line is dead")
        await runtime.completions.cancel(await people.key(101))
        said = [failure.message for failure in failures(await turn)]
    assert said == [
        "The call of charge was not approved: the line is dead.",
        "The call of charge was not approved.",
    ]


async def test_silence_is_a_no_after_the_timeout(location: str | Path) -> None:
    people, clock = Desk(), VirtualClock()
    till, _, agent = desk(100)
    approvals = Approvals("charge", ask=people.ask, timeout=3600)
    async with opened(location, agent, approvals, clock=clock) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        key = await people.key(100)
        await waits(runtime)
        clock.advance(3599.9)
        await waits(runtime)
        assert await runtime.completions.peek(key) is None
        assert not turn.done()
        await passes(clock, turn)
        (failure,) = failures(await turn)
        late = await runtime.completions.resolve(key, True)
    assert failure.message == "The call of charge was not approved: nobody answered in time."
    assert late == AlreadyResolved(terminal=ResolvedTimeout())
    assert till.charged == []


async def test_the_first_word_stands(location: str | Path) -> None:
    people = Desk()
    _, _, agent = desk(100)
    async with opened(location, agent, Approvals("charge", ask=people.ask)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        key = await people.key(100)
        assert await runtime.completions.resolve(key, True) == ResolveAccepted()
        again = await runtime.completions.resolve(key, False)
        assert again == AlreadyResolved(terminal=ResolvedOk(payload=True))
        assert values(await turn) == ["charged 100"]


async def test_only_calls_that_need_a_word_wait(location: str | Path) -> None:
    people = Desk()
    till, _, agent = desk(7, 100, 8)
    async with opened(location, agent, Approvals(large, ask=people.ask)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        key = await people.key(100)
        await waits(runtime)
        assert sorted(till.charged) == [7, 8]
        await runtime.completions.resolve(key, True)
        assert values(await turn) == ["charged 7", "charged 100", "charged 8"]


async def test_a_turn_that_is_stopped_waits_no_longer(location: str | Path) -> None:
    people = Desk()
    _, _, agent = desk(7, 100)
    async with opened(location, agent, Approvals(large, ask=people.ask)) as runtime:
        session = runtime.session("s")
        turn = asyncio.create_task(session.run("Go.", turn_id="t"))
        await people.key(100)
        await waits(runtime)
        await session.cancel("t")
        assert values(await turn) == ["charged 7", "cancelled"]


async def test_nothing_to_wait_for_is_refused() -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        Approvals(ask=print)
    assert raised.value.code == "plugin_invalid"


async def test_a_runtime_whose_keys_die_with_it_refuses_to_hold() -> None:
    till, _, agent = desk(100)
    approvals = Approvals("charge", ask=Desk().ask)
    async with lash.Runtime(":memory:", agents=[agent], plugins=[approvals]) as runtime:
        result = await runtime.session("s").run("Go.")
    assert codes(result) == ["tool_completion_key_process_lifetime"]
    assert till.charged == []


# --- over restarts --------------------------------------------------------------------------------------------

DAY = 86_400


async def test_two_of_three_calls_are_approved_in_reverse_order_a_day_later_over_a_restart(
    path: Path,
) -> None:
    people, till, clock = Desk(), Till(), VirtualClock()

    def clerk() -> lash.Agent:
        return desk(100, 7, 101, till=till)[2]

    approvals = Approvals(large, ask=people.ask)
    async with opened(path, clerk(), approvals, clock=clock) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        first, second = await people.key(100), await people.key(101)
        await waits(runtime)
        assert till.charged == [7]
    with pytest.raises(lash.LashError):
        await turn
    clock.advance(DAY)
    async with opened(path, clerk(), approvals, clock=clock) as runtime:
        await waits(runtime)
        await runtime.completions.resolve(second.token, True)
        await waits(runtime)
        assert till.charged == [7, 101]
    async with opened(path, clerk(), approvals, clock=clock) as runtime:
        await runtime.completions.resolve(first.token, {"approved": False, "reason": "closed"})
        result = await runtime.session("s").run("Go.", turn_id="t")
    assert values(result) == ["tool_not_approved", "charged 7", "charged 101"]
    assert till.charged == [7, 101]
    # Asked twice, in all: what is held is not asked about again when the turn is resumed.
    assert sorted(request.args["amount"] for request in people.asked) == [100, 101]


async def test_a_deadline_is_the_same_over_a_restart(path: Path) -> None:
    people, till, clock = Desk(), Till(), VirtualClock()
    approvals = Approvals("charge", ask=people.ask, timeout=DAY)
    agent = desk(100, till=till)[2]
    async with opened(path, agent, approvals, clock=clock) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await people.key(100)
        await waits(runtime)
    with pytest.raises(lash.LashError):
        await turn
    clock.advance(DAY - 1)
    async with opened(path, agent, approvals, clock=clock) as runtime:
        await waits(runtime)
        assert (await runtime.sessions())[0].open_turns == 1
        again = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        clock.advance(1)
        await passes(clock, again)
        assert codes(await again) == ["tool_not_approved"]


async def test_many_sessions_wait_at_once_and_each_gets_its_own_word(location: str | Path) -> None:
    people, count = Desk(), 60
    till = Till()
    _, _, agent = desk(100, till=till)
    async with opened(location, agent, Approvals("charge", ask=people.ask)) as runtime:
        turns = [
            asyncio.create_task(runtime.session(f"s{number}").run("Go.")) for number in range(count)
        ]
        await people.key(100, count)
        await waits(runtime)
        assert till.charged == []
        by_session = {request.session_id: request.key for request in people.asked}
        assert len(by_session) == count
        assert len({key.key_id for key in by_session.values()}) == count
        for number in reversed(range(count)):
            key = by_session[f"s{number}"]
            await runtime.completions.resolve(key, number % 2 == 0)
        results = await asyncio.gather(*turns)
    expected = ["charged 100", "tool_not_approved"] * (count // 2)
    assert [values(result)[0] for result in results] == expected
    assert len(till.charged) == count // 2


# --- several that hold, and holding again ---------------------------------------------------------------------


async def test_a_plugin_may_hold_a_call_again_and_is_answered_by_another_key(
    location: str | Path,
) -> None:
    """Two approvals by two people, as a plugin of one's own."""
    keys: asyncio.Queue[AwaitEventKey] = asyncio.Queue()

    async def before_tool(call: ToolCallHook) -> Hold | Deny | None:
        if call.answer is not None:
            assert isinstance(call.answer, ResolvedOk)
            call.session.remember([*(call.session.state or []), call.answer.payload])
        heard = call.session.state or []
        return None if len(heard) == 2 else Hold(announce=keys.put)

    till, _, agent = desk(100)
    async with opened(location, agent, Made("two", before_tool=before_tool)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        first = await keys.get()
        await runtime.completions.resolve(first, "ana")
        second = await keys.get()
        assert second.key_id != first.key_id
        await waits(runtime)
        assert till.charged == []
        await runtime.completions.resolve(second, "bo")
        assert values(await turn) == ["charged 100"]
        assert await state_of(runtime) == {"two": ["ana", "bo"]}


@pytest.mark.parametrize("order", [0, 1])
async def test_two_plugins_that_hold_are_asked_one_after_the_other(
    location: str | Path, order: int
) -> None:
    ana, bo = Desk(), Desk()
    plugins = [
        Approvals("charge", ask=ana.ask, id="ana"),
        Approvals("charge", ask=bo.ask, id="bo"),
    ]
    till, _, agent = desk(100)
    async with opened(location, agent, *plugins[:: 1 if order else -1]) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        key = await ana.key(100)
        await waits(runtime)
        assert bo.asked == []
        await runtime.completions.resolve(key, True)
        key = await bo.key(100)
        await waits(runtime)
        assert till.charged == []
        await runtime.completions.resolve(key, True)
        assert values(await turn) == ["charged 100"]
    assert (len(ana.asked), len(bo.asked)) == (1, 1)


async def test_after_a_no_nobody_else_is_asked(location: str | Path) -> None:
    ana, bo = Desk(), Desk()
    plugins = [
        Approvals("charge", ask=ana.ask, id="ana"),
        Approvals("charge", ask=bo.ask, id="bo"),
    ]
    _, _, agent = desk(100)
    async with opened(location, agent, *plugins) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        await runtime.completions.resolve(await ana.key(100), False)
        assert codes(await turn) == ["tool_not_approved"]
    assert bo.asked == []


async def test_what_is_denied_is_not_held(location: str | Path) -> None:
    people = Desk()
    _, _, agent = desk(100)
    plugins = [Approvals("charge", ask=people.ask), Made("p", before_tool=answering(Deny("no")))]
    async with opened(location, agent, *plugins) as runtime:
        assert codes(await runtime.session("s").run("Go.")) == ["tool_denied"]
    assert people.asked == []


# --- arguments: what was approved is what is run --------------------------------------------------------------


class Raise(Plugin):
    """Charges more than the model said: another sum each time it is asked, if it is to."""

    id = "raise"

    def __init__(self, *amounts: int) -> None:
        self._amounts = list(amounts)

    async def before_tool(self, call: ToolCallHook) -> ReplaceArgs:
        return ReplaceArgs(
            {"amount": self._amounts.pop(0) if self._amounts[1:] else self._amounts[0]}
        )


@pytest.mark.parametrize("order", [0, 1])
async def test_somebody_is_asked_about_the_arguments_that_the_tool_will_be_run_with(
    location: str | Path, order: int
) -> None:
    people = Desk()
    till, _, agent = desk(7)
    plugins: list[Plugin] = [Approvals("charge", ask=people.ask), Raise(500)]
    async with opened(location, agent, *plugins[:: 1 if order else -1]) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        key = await people.key(500)
        await runtime.completions.resolve(key, True)
        assert values(await turn) == ["charged 500"]
    assert [request.args for request in people.asked] == [{"amount": 500}]
    assert till.charged == [500]


@pytest.mark.parametrize("order", [0, 1])
async def test_a_rule_that_only_the_replaced_arguments_meet_holds_the_call_in_either_order(
    location: str | Path, order: int
) -> None:
    people = Desk()
    till, _, agent = desk(7)
    plugins: list[Plugin] = [Approvals(large, ask=people.ask), Raise(500)]
    async with opened(location, agent, *plugins[:: 1 if order else -1]) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        await runtime.completions.resolve(await people.key(500), False)
        assert codes(await turn) == ["tool_not_approved"]
    assert till.charged == []


@pytest.mark.parametrize("order", [0, 1])
async def test_a_word_about_other_arguments_is_no_word(location: str | Path, order: int) -> None:
    people = Desk()
    till, _, agent = desk(7)
    plugins: list[Plugin] = [Approvals("charge", ask=people.ask), Raise(200, 300)]
    async with opened(location, agent, *plugins[:: 1 if order else -1]) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go."))
        await runtime.completions.resolve(await people.key(200), True)
        key = await people.key(300)
        await waits(runtime)
        assert till.charged == []
        await runtime.completions.resolve(key, True)
        assert values(await turn) == ["charged 300"]
    assert till.charged == [300]


# --- asking that goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [OSError("no line"), SystemExit(1), asyncio.CancelledError()])
async def test_a_call_that_nobody_was_asked_about_fails(path: Path, wrong: BaseException) -> None:
    async def ask(request: ApprovalRequest) -> None:
        raise wrong

    till, _, agent = desk(100)
    async with opened(path, agent, Approvals("charge", ask=ask)) as runtime:
        (failure,) = failures(await runtime.session("s").run("Go."))
    assert failure.code == "before_tool_call_failed"
    assert "'approvals'" in failure.message
    assert till.charged == []


# --- secrets --------------------------------------------------------------------------------------------------


async def test_the_key_is_in_no_log_no_repr_and_no_event(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    people, seen = Desk(), list[Any]()
    _, model, agent = desk(100)

    async def before_tool(call: ToolCallHook) -> None:
        seen.append(call)

    async def ask(request: ApprovalRequest) -> None:
        seen.append(request)
        logging.getLogger("app").info("asking %r %s", request, request)
        await people.ask(request)

    plugins = [Approvals("charge", ask=ask), Made("listening", before_tool=before_tool)]
    async with opened(path, agent, *plugins) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.") as live:
            kinds: list[type] = []
            key: AwaitEventKey | None = None
            async for event in live:
                kinds.append(type(event))
                seen.append(event)
                if isinstance(event, ToolCallDeferred):
                    key = await people.key(100)
                    await runtime.completions.resolve(key, {"approved": True, "by": "ana"})
            seen.append(await live.result())
        seen += [await session.history(), await session.turns(), model.asked]
        seen += [await runtime.journal("s", live.turn_id), await runtime.sessions()]
    assert key is not None
    assert {ToolCallStarted, ToolCallDeferred} <= set(kinds)
    told = "\n".join([*map(repr, seen), *map(str, seen), caplog.text])
    for secret in (key.signature, key.token):
        assert secret not in told


async def test_a_call_that_is_held_is_listed_as_waiting(path: Path) -> None:
    people = Desk()
    _, _, agent = desk(100)
    async with opened(path, agent, Approvals("charge", ask=people.ask)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await people.key(100)
        await waits(runtime)
        info = await runtime.session("s").info()
        assert info is not None
        assert info.open_turns == 1
        turn.cancel()
