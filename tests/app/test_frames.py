"""Handing a task to another agent frame: one chain of turns, one answer, and nothing in between."""

import asyncio
from pathlib import Path

from session_harness import (
    Holding,
    Staged,
    accepted,
    answering,
    begin,
    held_at_the_model,
    is_valid,
    just_before,
    left_under_way,
    location,
    opened,
    path,
    seen,
    speaking,
    stop_word,
    told,
)

import lash
from lash.app.live_view import LiveView
from lash.core.json import JsonObject
from lash.events import TextDelta
from lash.llm.request import ToolSpec
from lash.runtime.observed import AgentFrameSwitched, Committed, Event
from lash.testing import calls, reply
from lash.testing.scripted import Step
from lash.turn.outcome import AgentFrameSwitch
from lash.turn.tools import SwitchAgentFrameControl, ToolOutput, ToolSuccess

__all__ = ["location", "path"]


class Handover:
    """A tool that hands a task to a frame."""

    id, name, serial, retry = "tool:hand_over", "hand_over", False, None
    spec = ToolSpec(
        name="hand_over",
        description="Go on in another frame.",
        input_schema={
            "type": "object",
            "properties": {"frame": {"type": "string"}, "task": {"type": "string"}},
        },
    )

    def __init__(self) -> None:
        self.ran = 0

    def check(self, args: JsonObject) -> None:
        """Anything goes."""

    async def run(self, args: JsonObject, context: lash.ToolContext) -> ToolOutput:
        """Hand over."""
        self.ran += 1
        control = SwitchAgentFrameControl(frame_id=str(args["frame"]), task=str(args["task"]))
        return ToolOutput(outcome=ToolSuccess(payload="handed over"), control=control)


def to(frame: str, task: str) -> Step:
    return calls(("hand_over", {"frame": frame, "task": task}))


def chained(*steps: tuple[str, Step]) -> tuple[Staged, lash.Agent]:
    """Answers what is said last by its step, and anything else with `<it>!`."""
    by_word = dict(steps)

    def answer(_: int, said: str) -> Step:
        return by_word.get(said, reply(f"{said}!"))

    model = Staged(answering(answer))
    return model, lash.Agent("agent", model=model, tools=[Handover()])


ONCE = ("Go.", to("f1", "Task 1."))
TWICE = (ONCE, ("Task 1.", to("f2", "Task 2.")))


async def test_the_answer_of_a_run_is_that_of_the_frame_that_finished_the_task(
    location: str | Path,
) -> None:
    model, agent = chained(*TWICE)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("Hello.", turn_id="t0")
        turn = await session.run("Go.", turn_id="t")
        turns = await session.turns()
        short, whole = await told(session), await told(session, whole=True)
        assert await session.wait("t") == turn
        assert await session.run("Go.", turn_id="t") == turn
        assert await is_valid(runtime)

    assert (turn.turn_id, turn.text) == ("t:agent-frame:2", "Task 2.!")
    assert [each.turn_id for each in turns] == ["t0", "t", "t:agent-frame:1", "t:agent-frame:2"]
    assert [each.outcome for each in turns[1:3]] == [
        AgentFrameSwitch(frame_id="f1", task="Task 1."),
        AgentFrameSwitch(frame_id="f2", task="Task 2."),
    ]
    assert seen(model.asked[2]) == [("user", "Task 1.")]
    assert seen(model.asked[3]) == [("user", "Task 2.")]
    assert short == [("user", "Task 2."), ("assistant", "Task 2.!")]
    assert [text for _, text in whole] == [
        "Hello.",
        "Hello.!",
        "Go.",
        "->hand_over",
        "<-handed over",
        "Task 1.",
        "->hand_over",
        "<-handed over",
        "Task 2.",
        "Task 2.!",
    ]


async def test_the_session_goes_on_in_the_frame_it_came_to(location: str | Path) -> None:
    model, agent = chained(ONCE)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("Go.")
        await session.run("And now?")
    assert seen(model.asked[-1]) == [
        ("user", "Task 1."),
        ("assistant", "Task 1.!"),
        ("user", "And now?"),
    ]


async def test_a_task_handed_on_in_the_frame_it_is_in_keeps_what_was_said(
    location: str | Path,
) -> None:
    model, agent = chained(("Go.", to("", "Task 1.")))
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t")
        assert await is_valid(runtime)
    assert (turn.turn_id, turn.text) == ("t:agent-frame:1", "Task 1.!")
    assert [text for _, text in seen(model.asked[1])] == [
        "Go.",
        "->hand_over",
        "<-handed over",
        "Task 1.",
    ]


async def test_a_task_may_come_back_to_a_frame_that_was_left(location: str | Path) -> None:
    model, agent = chained(*TWICE, ("Task 2.", to("f1", "Task 3.")))
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t")
        assert await is_valid(runtime)
    assert (turn.turn_id, turn.text) == ("t:agent-frame:3", "Task 3.!")
    assert seen(model.asked[3]) == [("user", "Task 3.")]


async def test_a_task_that_goes_round_is_stopped_after_sixteen_times(
    location: str | Path,
) -> None:
    def answer(_: int, said: str) -> Step:
        return reply("Next.!") if said == "Next." else to(f"f{len(model.asked)}", "Again.")

    model, agent = speaking(answering(answer), tools=[Handover()])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t")
        turns = await session.turns()
        assert await is_valid(runtime)
        assert (await session.run("Next.")).text == "Next.!"
    assert (turn.turn_id, stop_word(turn)) == ("t:agent-frame:16", "runtime_error")
    assert [issue.code for issue in turn.issues] == ["agent_frame_switch_limit"]
    assert len(turns) == 17


async def test_a_chain_is_finished_before_anything_else_of_the_session(
    location: str | Path,
) -> None:
    async with held_at_the_model(location, chained(*TWICE), turn_id="t") as (session, held):
        queued = await session.enqueue("Queued.")
        behind = begin(session, "Behind.", turn_id="b")
        await accepted(session, 2)
        injected = await session.inject("Injected.")
        assert (await held.let_go()).turn_id == "t:agent-frame:2"
        await asyncio.gather(behind, queued.result(), injected.result())
        turns = [turn.turn_id for turn in await session.turns()]
        assert await is_valid(held.runtime)
    assert turns == [
        "t",
        "t:agent-frame:1",
        "t:agent-frame:2",
        f"{queued.input_id}:turn",
        "b",
        f"{injected.input_id}:turn",
    ]


async def test_queued_input_that_is_handed_on_ends_with_the_chain(location: str | Path) -> None:
    _, agent = chained(ONCE)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        queued = await session.enqueue("Go.")
        turn = await queued.result()
        assert turn.turn_id == f"{queued.input_id}:turn:agent-frame:1"
        assert turn.text == "Task 1.!"
        assert (await queued.refresh()).state == "completed"


async def test_input_comes_into_the_frame_that_runs(location: str | Path) -> None:
    chain = chained(*TWICE)
    async with held_at_the_model(location, chain, number=2, turn_id="t") as (session, held):
        item = await session.inject("And this.")
        assert item.turn_id == "t:agent-frame:2"
        turn = await held.let_go()
        assert turn.text == "And this.!"
        assert await item.result() == turn


async def test_a_stream_hears_the_whole_chain(location: str | Path) -> None:
    _, agent = chained(*TWICE)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.", turn_id="t") as live:
            events = [event async for event in live]
            turn = await live.result()
        assert live.turn_id == turn.turn_id == "t:agent-frame:2"
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == "Task 2.!"
    assert [event.__struct_config__.tag for event in events].count("tool_call_completed") == 2


async def test_observers_are_told_of_the_frames_and_fold_them(location: str | Path) -> None:
    _, agent = chained(*TWICE)
    view, frames = LiveView(), list[str]()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.observe() as items:
            view.apply(await anext(items))
            await session.run("Go.", turn_id="t")
            async for item in items:
                view.apply(item)
                if not isinstance(item, Event):
                    continue
                if isinstance(item.event, AgentFrameSwitched):
                    frames.append(item.event.frame_id)
                elif isinstance(item.event, Committed) and view.turn_index == 3:
                    break
        assert list(view.messages) == list(await session.history(whole=True))
    assert frames == ["f1", "f2"]
    assert dict(view.live) == {}


# --- stopping -------------------------------------------------------------------------------------------


async def test_stopping_a_chain_stops_the_turn_it_has_come_to(location: str | Path) -> None:
    async with held_at_the_model(
        location, chained(*TWICE), number=2, said=["Half"], turn_id="t"
    ) as (session, held):
        first = await session.cancel("t", request_id="r1")
        second = await session.cancel("t:agent-frame:2", request_id="r2")
        assert (first.outcome, first.turn_id) == ("requested", "t:agent-frame:2")
        assert (second.outcome, second.turn_id) == ("already_requested", "t:agent-frame:2")
        turn = await held.running
        assert (turn.turn_id, stop_word(turn)) == ("t:agent-frame:2", "cancelled")
        stops = [stop_word(each) for each in await session.turns()]
        assert stops == ["agent_frame_switch", "agent_frame_switch", "cancelled"]
        assert await told(session) == [("user", "Task 2.")]
        assert await is_valid(held.runtime)
        await session.run("Next.")
    assert seen(held.model.asked[-1]) == [("user", "Task 2."), ("user", "Next.")]


async def test_a_stop_just_before_the_task_is_handed_on_ends_the_chain_there(
    location: str | Path,
) -> None:
    model, agent = chained(ONCE)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        just_before(runtime, "commit_turn", lambda: session.cancel("t", request_id="r"))
        turn = await session.run("Go.", turn_id="t")
        assert (turn.turn_id, stop_word(turn)) == ("t", "cancelled")
        await runtime.idle()
        assert len(await session.turns()) == 1
        assert [text for _, text in await told(session)] == ["Go.", "->hand_over", "<-handed over"]
        await session.run("Next.")
    assert [text for _, text in seen(model.asked[-1])] == [
        "Go.",
        "->hand_over",
        "<-handed over",
        "Next.",
    ]


async def test_leaving_the_stream_of_a_chain_stops_the_turn_it_has_come_to(
    location: str | Path,
) -> None:
    model, agent = chained(*TWICE)
    model.hold(2, "Half")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.", turn_id="t") as live:
            async for event in live:
                if isinstance(event, TextDelta):
                    break
        turns = await session.turns()
        assert [stop_word(turn) for turn in turns][-1] == "cancelled"
        assert await live.result() == turns[-1]


async def test_a_stop_after_a_chains_end_says_how_it_ended(location: str | Path) -> None:
    _, agent = chained(*TWICE)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t")
        for turn_id in ("t", "t:agent-frame:1", "t:agent-frame:2"):
            assert (await session.cancel(turn_id)).outcome == "completion_won_race"
        assert (await session.cancel("t:agent-frame:2")).result == turn


# --- over restarts --------------------------------------------------------------------------------------


async def test_a_chain_is_carried_on_after_a_restart_and_who_asks_gets_its_end(
    path: Path,
) -> None:
    model, agent = chained(*TWICE)
    gate = model.hold(2)
    await left_under_way(path, agent, gate.reached, source_key="k")

    again, agent = chained(*TWICE)
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t")
        assert (turn.turn_id, turn.text) == ("t:agent-frame:2", "Task 2.!")
        assert await session.run("Go.", source_key="k") == turn
        assert [each.turn_id for each in await session.turns()] == [
            "t",
            "t:agent-frame:1",
            "t:agent-frame:2",
        ]
    assert [seen(request)[-1][1] for request in again.asked] == ["Task 2."]


async def test_a_task_that_was_handed_on_is_taken_up_by_a_runtime_that_nobody_asks(
    path: Path,
) -> None:
    model, agent = chained(ONCE)
    gate = model.hold(1)
    await left_under_way(path, agent, gate.reached)
    _, agent = chained(ONCE)
    async with opened(path, agent) as runtime:
        await runtime.idle()
        turns = await runtime.session("s").turns()
    assert [turn.turn_id for turn in turns] == ["t", "t:agent-frame:1"]
    assert turns[-1].text == "Task 1.!"


async def test_a_function_hands_a_task_on_by_what_it_returns(location: str | Path) -> None:
    @lash.tool
    async def hand_over(frame: str, task: str) -> lash.SwitchFrame:
        """Go on in another frame."""
        return lash.SwitchFrame(frame_id=frame, task=task)

    model, _ = chained(*TWICE)
    agent = lash.Agent("agent", model=model, tools=[hand_over])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t")
        assert (turn.turn_id, turn.text) == ("t:agent-frame:2", "Task 2.!")
        assert await is_valid(runtime)
    assert seen(model.asked[2]) == [("user", "Task 2.")]


async def test_stopping_a_turn_within_a_chain_stops_the_turn_it_has_come_to(
    location: str | Path,
) -> None:
    chain = chained(*TWICE)
    async with held_at_the_model(location, chain, number=2, turn_id="t") as (session, held):
        receipt = await session.cancel("t:agent-frame:1", request_id="r")
        turn = await held.let_go()
        assert (receipt.outcome, receipt.turn_id) == ("requested", "t:agent-frame:2")
        assert stop_word(turn) == "cancelled"


async def test_a_chain_whose_first_turn_was_begun_again_is_stopped_by_its_old_id(
    path: Path,
) -> None:
    holding = Holding()

    def answer(made: int, said: str) -> Step:
        if said == "Go.":
            return calls(("wait", {}))
        return to("f1", "Task 1.") if made == 1 else reply(f"{said}!")

    def tool_and_model(instructions: str) -> tuple[Staged, lash.Agent]:
        model = Staged(answering(answer))
        agent = lash.Agent(
            "agent", model=model, instructions=instructions, tools=[holding.tool, Handover()]
        )
        return model, agent

    _, agent = tool_and_model("Before.")
    await left_under_way(path, agent, holding.begun)

    holding.gate.open()
    model, agent = tool_and_model("After.")
    gate = model.hold(2)
    async with opened(path, agent, on_drift="restart") as runtime:
        session = runtime.session("s")
        await gate.reached.wait()
        receipt = await session.cancel("t", request_id="r")
        gate.open()
        assert (receipt.outcome, receipt.turn_id) == ("requested", "t:restart:1:agent-frame:1")
        assert stop_word(await session.wait("t")) == "cancelled"
