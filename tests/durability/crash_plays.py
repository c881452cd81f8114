"""The scenarios of the crash matrix, as the processes play them: what the application does in each."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from crash_stage import TOKEN, Order, Play, Stage

import lash
from lash.testing import calls, reply
from lash.testing.scripted import Reply

Script = Callable[[lash.Runtime, Stage], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played, and what the application does in it."""

    play: Play
    script: Script


async def other_does(runtime: lash.Runtime, order: Order, stage: Stage) -> None:
    """What the other process does when it is asked to."""
    operation, given = order
    session = runtime.session("s")
    match operation:
        case "inject":
            boundary = given.get("boundary", "after_work")
            key, text = given["key"], given["text"]
            if boundary == "before_completion":
                await session.inject(text, source_key=key, boundary="before_completion")
            else:
                await session.inject(text, source_key=key)
        case "enqueue":
            await session.enqueue(given["text"], source_key=given["key"])
        case "cancel":
            receipt = await session.cancel(given["turn"], origin="ana", request_id="stop-1")
            assert receipt.outcome == "requested", receipt
        case "delete":
            assert await runtime.delete_session("s") is not None
        case "stop":
            await session.cancel("t1", origin="ana")
        case "resolve":
            token = (stage.folder / TOKEN).read_text()
            await runtime.completions.resolve(token, "yes")
        case _:
            raise AssertionError(operation)


# --- what the application does ----------------------------------------------------------------------------


async def one_turn(runtime: lash.Runtime, stage: Stage) -> None:
    await runtime.session("s", agent="first").run("t1", turn_id="t1")


async def turn_then_stopped_turn(runtime: lash.Runtime, stage: Stage) -> None:
    session = runtime.session("s", agent="first")
    await session.run("t0", turn_id="t0")
    stage.at("application")
    await session.run("t1", turn_id="t1")


async def one_turn_and_what_follows(runtime: lash.Runtime, stage: Stage) -> None:
    await runtime.session("s", agent="first").run("t1", turn_id="t1")
    await runtime.idle(timeout=20)


async def fork_and_go_on(runtime: lash.Runtime, stage: Stage) -> None:
    session = runtime.session("s", agent="first")
    await session.run("t1", turn_id="t1")
    fork = await session.fork("f")
    await fork.run("t2", turn_id="t2")
    await session.run("t3", turn_id="t3")


async def compact_and_go_on(runtime: lash.Runtime, stage: Stage) -> None:
    session = runtime.session("s", agent="first")
    await session.run("t1", turn_id="t1")
    await session.compact()
    await session.run("t2", turn_id="t2")


async def fork_and_delete(runtime: lash.Runtime, stage: Stage) -> None:
    session = runtime.session("s", agent="first")
    await session.run("t1", turn_id="t1")
    fork = await session.fork("f")
    await runtime.delete_session("s")
    stage.at("application")
    await fork.run("t2", turn_id="t2")


async def claim_for_nothing(runtime: lash.Runtime, stage: Stage) -> None:
    await runtime.session("s", agent="first").run("t1", turn_id="t1")
    # As a driver does that hears of work which another one has done by then.
    await runtime.engine.claim("s")
    stage.at("application")


async def structured(runtime: lash.Runtime, stage: Stage) -> None:
    result = await runtime.session("s", agent="first").run("t1", output=dict, turn_id="t1")
    assert result.output == {"n": 1}


# --- the scenarios ------------------------------------------------------------------------------------------

PLAIN: Mapping[str, Sequence[Reply]] = {
    "t1": [calls(("a", {})), reply("Done.")],
    "also": [reply("Later.")],
}
INJECT = ("inject", {"text": "also x", "key": "k1"})
INJECT_LATE = ("inject", {"text": "also x", "key": "k1", "boundary": "before_completion"})
CANCEL = ("cancel", {"turn": "t1"})
QUEUE = [("enqueue", {"text": f"q{number} please", "key": f"k{number}"}) for number in (1, 2, 3)]


def injected(point: str, nth: int, order: Order = INJECT) -> Scenario:
    return Scenario(Play(PLAIN, {(point, nth): [order]}), one_turn_and_what_follows)


def cancelled(point: str, nth: int, *, hangs: str = "", waits: str = "") -> Scenario:
    play = Play(
        PLAIN,
        {(point, nth): [CANCEL]},
        hangs=frozenset(hangs.split()),
        waits=frozenset(waits.split()),
    )
    return Scenario(play, one_turn)


SCENARIOS: Mapping[str, Scenario] = {
    "inject_in_tool": injected("during.a", 1),
    "inject_in_tool_for_the_end": injected("during.a", 1, INJECT_LATE),
    "inject_at_first_checkpoint": injected("checkpoint.before", 1),
    "inject_at_last_checkpoint": injected("checkpoint.before", 2),
    "inject_at_commit": injected("commit.before", 1),
    "cancel_before_start": Scenario(
        Play({**PLAIN, "t0": [reply("Hello.")]}, {("application", 1): [CANCEL]}),
        turn_then_stopped_turn,
    ),
    "cancel_in_model": cancelled("during.t1.2", 1, hangs="t1.2"),
    "cancel_in_tool": cancelled("during.a", 1, hangs="a"),
    "cancel_in_tool_that_ends": cancelled("during.a", 1, waits="a"),
    "cancel_at_commit": cancelled("commit.before", 1),
    "cancel_once_taken": Scenario(
        Play(PLAIN, {("during.a", 1): [INJECT], ("checkpoint.after", 1): [CANCEL]}), one_turn
    ),
    "fork": Scenario(
        Play({**PLAIN, "t2": [reply("Fork.")], "t3": [reply("Source.")]}), fork_and_go_on
    ),
    "parked": Scenario(
        Play(
            {"t1": [calls(("ask", {})), reply("Told.")]},
            {("record.after", 2): [("resolve", {})]},
        ),
        one_turn,
    ),
    "compaction": Scenario(
        Play({**PLAIN, "Summarise": [reply("All of a.")], "t2": [reply("More.")]}),
        compact_and_go_on,
    ),
    "composition": Scenario(
        Play(
            {**PLAIN, "q1": [calls(("b", {})), reply("All three.")]},
            {("during.a", 1): QUEUE},
        ),
        one_turn_and_what_follows,
    ),
    "child": Scenario(
        Play(
            {
                "t1": [calls(("delegate", {"task": "c1"})), reply("Done.")],
                "c1": [calls(("b", {})), reply("Child.")],
            }
        ),
        one_turn,
    ),
    "frames": Scenario(
        Play(
            {
                "t1": [calls(("hop", {"frame": "f1", "task": "t2"}))],
                "t2": [calls(("hop", {"frame": "f2", "task": "t3"}))],
                "t3": [calls(("a", {})), reply("Arrived.")],
            }
        ),
        one_turn,
    ),
    "deletion": Scenario(Play({**PLAIN, "t2": [reply("Fork.")]}), fork_and_delete),
    "claimed_for_nothing": Scenario(Play(PLAIN), claim_for_nothing),
    "structured": Scenario(
        Play({"t1": [calls(("a", {})), reply("one"), reply('{"n":1}')]}), structured
    ),
}
