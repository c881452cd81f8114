"""What a session says about its model and prompt, its summary, and the provider its history is made with."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from session_harness import (
    Holding,
    Staged,
    answering,
    begin,
    code_of,
    echoing,
    is_valid,
    location,
    opened,
    path,
    patient,
    seen,
    stop_word,
    told,
    until,
)

import lash
import lash.app.model as naming
from lash.testing import calls, fail, reply

__all__ = ["location", "path"]

SUMMARY = "What was said before, summarised:\n\n"


def noted(summary: str) -> tuple[str, str]:
    """A summary as the model is shown it."""
    return ("system", f"Runtime note:\n{SUMMARY}{summary}")


def guided(*words: str) -> str:
    """The agent's instructions, and what its guidance says."""
    return "\n\n".join(["Be brief.", "## Guidance", *words])


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Staged]:
    """The providers that `provider:model` strings come to."""
    known: dict[str, Staged] = {}

    def find(kind: str) -> Staged:
        if kind not in known:
            raise lash.ConfigurationError("provider_unknown", f"No provider {kind!r}.")
        return known[kind]

    monkeypatch.setattr(naming, "provider_from_environment", find)
    return known


def echo_agent(kind: str = "scripted", **named: Any) -> tuple[Staged, lash.Agent]:
    model = Staged(echoing(), kind=kind)
    return model, lash.Agent("agent", model=model, instructions="Be brief.", **named)


def summing(words: str = "SUM") -> Any:
    """Echoes, and answers `SUM<n>` to the n-th request for a summary."""
    count = 0

    def answer(_: int, said: str) -> Any:
        nonlocal count
        if said.startswith("Summarise the conversation"):
            count += 1
            return reply(f"{words}{count}")
        return reply(f"{said}!")

    return answering(answer)


# --- the model ------------------------------------------------------------------------------------------


async def test_another_model_answers_later_turns_only(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    own, agent = echo_agent()
    other = providers["other"] = Staged(echoing(), kind="other")
    gate = own.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "One.")
        await gate.reached.wait()
        configuring = asyncio.create_task(session.configure(model="other:large"))

        async def queued() -> bool:
            info = await session.info()
            return info is not None and info.queued == 1

        await until(queued)
        gate.open()
        await running
        turn = await configuring
        assert (turn.command, stop_word(turn), turn.usage) == (
            "configure_session",
            "finished",
            lash.Usage(),
        )
        await session.run("Two.")
        await session.configure(model="")
        await session.run("Three.")
        assert await told(session) == [
            ("user", "One."),
            ("assistant", "One.!"),
            ("user", "Two."),
            ("assistant", "Two.!"),
            ("user", "Three."),
            ("assistant", "Three.!"),
        ]
    assert [(request.model.provider, request.model.name) for request in own.asked] == [
        ("scripted", "script"),
        ("scripted", "script"),
    ]
    assert [(request.model.provider, request.model.name) for request in other.asked] == [
        ("other", "large")
    ]
    assert seen(other.asked[0])[-1] == ("user", "Two.")
    assert other.asked[0].instructions == "Be brief."


async def test_what_was_configured_holds_after_a_restart(
    path: Path, providers: dict[str, Staged]
) -> None:
    own, agent = echo_agent()
    other = providers["other"] = Staged(echoing(), kind="other")
    loud = lash.PromptLayer.add("guidance", "Be loud.")
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.configure(model="other:large", prompt=loud)
    _, agent = echo_agent()
    async with opened(path, agent) as runtime:
        await runtime.session("s").run("Two.")
        await runtime.session("another").run("Two.")
    assert (len(own.asked), len(other.asked)) == (1, 1)
    assert other.asked[0].instructions == guided("Be loud.")


async def test_a_session_may_begin_with_its_configuration(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    own, agent = echo_agent()
    other = providers["other"] = Staged(echoing(), kind="other")
    async with opened(location, agent) as runtime:
        session = runtime.session("new")
        await session.configure(model="other:large")
        assert (await session.run("Hello.")).text == "Hello.!"
    assert (len(own.asked), len(other.asked)) == (0, 1)


async def test_a_model_nobody_serves_changes_nothing(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    own, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        assert await code_of(session.configure(model="nobody:large")) == "provider_unknown"
        assert await code_of(session.configure(model="large")) == "model_invalid"
        assert len(await session.turns()) == 1
        await session.run("Two.")
    assert len(own.asked) == 2


async def test_another_model_is_asked_again_as_often_as_the_agent_says(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    _, agent = echo_agent(retry=lash.RetryPolicy(max_attempts=2, base_delay_ms=0))
    other = providers["other"] = Staged([fail(status=500, retry_after=0.0)], kind="other")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.configure(model="other:large")
        assert stop_word(await session.run("One.")) == "provider_error"
    assert len(other.asked) == 2


async def test_a_model_that_cannot_be_had_here_is_no_loss(
    path: Path, providers: dict[str, Staged]
) -> None:
    _, agent = echo_agent()
    providers["other"] = Staged(echoing(), kind="other")
    async with opened(path, agent) as runtime:
        await runtime.session("s").configure(model="other:large")
    del providers["other"]
    _, agent = echo_agent()
    async with opened(path, agent) as runtime:
        code = await code_of(runtime.session("s").run("One.", turn_id="t"))
        assert code == "provider_unknown"
    other = providers["other"] = Staged(echoing(), kind="other")
    _, agent = echo_agent()
    async with opened(path, agent) as runtime:
        assert (await runtime.session("s").wait("t")).text == "One.!"
    assert len(other.asked) == 1


# --- the provider ---------------------------------------------------------------------------------------


async def test_an_agent_that_went_to_another_provider_is_refused_an_old_session(
    path: Path, providers: dict[str, Staged]
) -> None:
    _, agent = echo_agent("first")
    async with opened(path, agent) as runtime:
        await runtime.session("s").run("One.")
    second, agent = echo_agent("second")
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        with pytest.raises(lash.ConflictError) as raised:
            await session.run("Two.", turn_id="t")
        assert raised.value.code == "provider_mismatch"
        assert raised.value.details["recorded"] == "first"
        assert raised.value.details["given"] == "second"
        assert await code_of(session.wait("t")) == "turn_unknown"
        assert (await runtime.session("new").run("Hello.")).text == "Hello.!"
        # On purpose it may go over.
        providers["second"] = second
        await session.configure(model="second:large")
        assert (await session.run("Two.", turn_id="t")).text == "Two.!"
        assert len(await told(session)) == 4
    assert [seen(request)[-1][1] for request in second.asked] == ["Hello.", "Two."]


async def test_queued_input_does_not_take_a_session_over_to_another_provider(path: Path) -> None:
    _, agent = echo_agent("first")
    async with opened(path, agent) as runtime:
        await runtime.session("s").run("One.")
    second, agent = echo_agent("second")
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        with pytest.raises(lash.ConflictError) as raised:
            await (await session.enqueue("Two.")).result()
        assert raised.value.code == "provider_mismatch"
    assert second.asked == []


async def test_a_session_that_named_another_provider_stays_with_it(
    path: Path, providers: dict[str, Staged]
) -> None:
    _, agent = echo_agent("first")
    other = providers["other"] = Staged(echoing(), kind="other")
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.configure(model="other:large")
        await session.run("Two.")
    third, agent = echo_agent("third")
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        assert (await session.run("Three.")).text == "Three.!"
        await session.configure(model="")
        assert (await session.run("Four.")).text == "Four.!"
    assert (len(other.asked), len(third.asked)) == (2, 1)


# --- the prompt -----------------------------------------------------------------------------------------


async def test_agent_session_and_turn_speak_in_this_order(location: str | Path) -> None:
    model, agent = echo_agent(prompt=lash.PromptLayer.add("guidance", "Agent."))
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("0")
        await session.configure(prompt=lash.PromptLayer.add("guidance", "Session."))
        await session.run("1")
        await session.run("2", prompt_layer=lash.PromptLayer.add("guidance", "Turn."))
        await session.run("3", prompt_layer=lash.PromptLayer.replace("guidance", "Only."))
        await session.run("4")
        await session.configure(model="")
        await session.run("5")
        await session.configure(prompt=lash.PromptLayer())
        await session.run("6")
    assert [request.instructions for request in model.asked] == [
        guided("Agent."),
        guided("Agent.", "Session."),
        guided("Agent.", "Session.", "Turn."),
        guided("Only."),
        guided("Agent.", "Session."),
        guided("Agent.", "Session."),
        guided("Agent."),
    ]


async def test_a_turns_prompt_layer_holds_for_all_its_requests_and_a_restart(path: Path) -> None:
    holding = Holding()
    model, agent = patient(holding)
    layer = lash.PromptLayer.add("guidance", "Be loud.")
    async with opened(path, agent) as runtime:
        running = begin(runtime.session("s"), "Go.", turn_id="t", prompt_layer=layer)
        await holding.begun.wait()
    await code_of(running)
    again, agent = patient(Holding(is_open=True))
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        turn = await session.wait("t")
        assert (turn.text, turn.issues) == ("Over.", ())
        assert await code_of(session.run("Go.", turn_id="t")) == "turn_input_conflict"
        assert await session.run("Go.", turn_id="t", prompt_layer=layer) == turn
    assert [request.instructions for request in (*model.asked, *again.asked)] == [
        "## Guidance\n\nBe loud."
    ] * 2


@pytest.mark.parametrize("how", ["run", "stream", "configure"])
async def test_a_prompt_layer_that_is_none_is_refused(location: str | Path, how: str) -> None:
    _, agent = echo_agent()
    layer: Any = "Be loud."
    async with opened(location, agent) as runtime:
        session = runtime.session("s")

        async def say() -> None:
            async with asyncio.timeout(1):
                match how:
                    case "run":
                        await session.run("Hi.", prompt_layer=layer)
                    case "stream":
                        async with session.stream("Hi.", prompt_layer=layer) as live:
                            await live.result()
                    case _:
                        await session.configure(prompt=layer)

        with pytest.raises(lash.LashError) as raised:
            await say()
        assert not isinstance(raised.value, lash.StoreError)
        assert await session.info() is None


async def test_a_prompt_layer_that_is_none_does_not_keep_the_database_from_opening(
    path: Path,
) -> None:
    _, agent = echo_agent()
    layer: Any = "Be loud."
    async with opened(path, agent) as runtime:
        await runtime.session("other").run("Hi.")
        with pytest.raises((lash.LashError, TypeError, TimeoutError)):
            async with asyncio.timeout(0.5):
                await runtime.session("s").run("Hi.", prompt_layer=layer)
    _, agent = echo_agent()
    async with opened(path, agent) as runtime:
        assert (await runtime.session("other").run("Hi again.")).is_success


# --- the summary ----------------------------------------------------------------------------------------


async def test_after_a_summary_the_model_sees_it_in_place_of_what_was_said(
    location: str | Path,
) -> None:
    model = Staged(summing())
    agent = lash.Agent("agent", model=model, instructions="Be brief.")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.run("Two.")
        turn = await session.compact("Keep the numbers.")
        after = await told(session)
        await session.run("Three.")
        short, whole = await told(session), await told(session, whole=True)
        usage = await session.usage()
        turns = await session.turns()
        assert await is_valid(runtime)

    said = [("user", "One."), ("assistant", "One.!"), ("user", "Two."), ("assistant", "Two.!")]
    summary = ("system", f"{SUMMARY}SUM1")
    last = [("user", "Three."), ("assistant", "Three.!")]
    asked = seen(model.asked[2])
    assert asked[:4] == said
    assert len(asked) == 5
    assert asked[4][1].endswith("Keep the numbers.")
    assert model.asked[2].instructions == "Be brief."
    assert after == [summary]
    assert seen(model.asked[3]) == [noted("SUM1"), last[0]]
    assert short == [summary, *last]
    assert whole == [*said, summary, *last]
    assert (turn.command, turn.text, stop_word(turn)) == ("compact_context", "SUM1", "finished")
    assert [each.command for each in turns] == [None, None, "compact_context", None]
    assert usage.by_source == {
        "turn": lash.Usage(input_tokens=30, output_tokens=15),
        "compaction": lash.Usage(input_tokens=10, output_tokens=5),
    }


async def test_a_second_summary_is_of_the_first_and_what_came_since(
    location: str | Path,
) -> None:
    model = Staged(summing())
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.compact()
        await session.run("Two.")
        await session.compact()
        await session.run("Three.")
        whole = await told(session, whole=True)
        assert await is_valid(runtime)

    assert seen(model.asked[3])[:-1] == [
        noted("SUM1"),
        ("user", "Two."),
        ("assistant", "Two.!"),
    ]
    assert seen(model.asked[4]) == [noted("SUM2"), ("user", "Three.")]
    assert [text for _, text in whole] == [
        "One.",
        "One.!",
        f"{SUMMARY}SUM1",
        "Two.",
        "Two.!",
        f"{SUMMARY}SUM2",
        "Three.",
        "Three.!",
    ]


async def test_a_summary_holds_after_a_restart(path: Path) -> None:
    model = Staged(summing())
    async with opened(path, lash.Agent("agent", model=model)) as runtime:
        await runtime.session("s").run("One.")
        await runtime.session("s").compact()
    model = Staged(summing())
    async with opened(path, lash.Agent("agent", model=model)) as runtime:
        await runtime.session("s").run("Two.")
    assert seen(model.asked[0]) == [noted("SUM1"), ("user", "Two.")]


@pytest.mark.parametrize(
    ("step", "word"),
    [
        (fail("no", status=401), "provider_error"),
        (reply("  "), "provider_error"),
        (calls(("look", {})), "provider_error"),
    ],
    ids=["refused", "blank", "calls"],
)
async def test_without_a_summary_the_conversation_stays_as_it_is(
    location: str | Path, step: Any, word: str
) -> None:
    def answer(made: int, said: str) -> Any:
        return step if said.startswith("Summarise the conversation") else reply(f"{said}!")

    model = Staged(answering(answer))
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        turn = await session.compact()
        assert (stop_word(turn), turn.command, turn.text) == (word, "compact_context", "")
        assert await told(session) == [("user", "One."), ("assistant", "One.!")]
        await session.run("Two.")
        assert await is_valid(runtime)
    assert seen(model.asked[-1]) == [("user", "One."), ("assistant", "One.!"), ("user", "Two.")]


async def test_a_summary_that_is_stopped_changes_nothing(location: str | Path) -> None:
    model = Staged(summing())
    model.hold(1, "SU")
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        compacting = asyncio.create_task(session.compact())

        async def asked() -> bool:
            return len(model.asked) == 2

        await until(asked)
        receipt = await session.cancel(request_id="r")
        assert receipt.outcome == "requested"
        turn = await compacting
        assert (stop_word(turn), turn.text) == ("cancelled", "")
        assert await told(session, whole=True) == [("user", "One."), ("assistant", "One.!")]
        await session.run("Two.")
    assert seen(model.asked[2])[0] == ("user", "One.")


async def test_of_nothing_there_is_no_summary_and_nobody_is_asked(location: str | Path) -> None:
    model = Staged(summing())
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("new")
        turn = await session.compact()
        assert (turn.command, turn.text, stop_word(turn)) == ("compact_context", "", "finished")
        assert await told(session, whole=True) == []
        assert (await session.run("One.")).text == "One.!"
    assert [seen(request) for request in model.asked] == [[("user", "One.")]]


async def test_a_summary_waits_for_what_was_accepted_before_and_holds_for_what_came_after(
    location: str | Path,
) -> None:
    model = Staged(summing())
    gate = model.hold(0)
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        running = begin(session, "One.")
        await gate.reached.wait()
        before = await session.enqueue("Before.")
        compacting = asyncio.create_task(session.compact())

        async def queued() -> bool:
            info = await session.info()
            return info is not None and info.queued == 2

        await until(queued)
        after = await session.enqueue("After.")
        gate.open()
        await running
        await compacting
        assert (await before.result()).turn_id != (await after.result()).turn_id
    assert seen(model.asked[-1]) == [noted("SUM1"), ("user", "After.")]
    assert [text for _, text in seen(model.asked[2])[:-1]] == [
        "One.",
        "One.!",
        "Before.",
        "Before.!",
    ]


async def test_a_summary_of_a_turn_with_tools_is_one_every_provider_can_give(
    location: str | Path,
) -> None:
    holding = Holding(is_open=True)

    def answer(made: int, said: str) -> Any:
        if said.startswith("Summarise the conversation"):
            return reply("SUM")
        return calls(("wait", {})) if made == 0 else reply("Over.")

    model = Staged(answering(answer))
    agent = lash.Agent("agent", model=model, tools=[holding.tool])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.compact()
        await session.run("Two.")
        assert await is_valid(runtime)
    assert [text for _, text in seen(model.asked[2])[:-1]] == ["One.", "->wait", "<-done", "Over."]
    assert seen(model.asked[3]) == [noted("SUM"), ("user", "Two.")]
    assert [tool.name for tool in model.asked[3].tools] == ["wait"]


async def test_a_summary_under_way_is_carried_on_after_a_restart(path: Path) -> None:
    model = Staged(summing())
    gate = model.hold(1)
    async with opened(path, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        compacting = asyncio.create_task(session.compact())
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await compacting
    model = Staged(summing())
    async with opened(path, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await runtime.idle()
        assert await told(session) == [("system", f"{SUMMARY}SUM1")]
        assert [turn.command for turn in await session.turns()] == [None, "compact_context"]


async def test_instructions_for_a_summary_that_are_no_text_are_refused(
    location: str | Path,
) -> None:
    _, agent = echo_agent()
    wrong: Any = 7
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        with pytest.raises(lash.LashError) as raised:
            async with asyncio.timeout(1):
                await session.compact(wrong)
        assert not isinstance(raised.value, lash.StoreError)


async def test_a_fork_begins_with_the_summary_or_before_it(location: str | Path) -> None:
    model = Staged(summing())
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.compact()
        before = (await session.history(whole=True))[1]
        assert before.text == "One.!"
        newest = await session.fork("newest")
        earlier = await session.fork("earlier", at=before.id)
        assert await told(newest) == [("system", f"{SUMMARY}SUM1")]
        assert await told(earlier) == [("user", "One."), ("assistant", "One.!")]
        await newest.run("Two.")
        await earlier.run("Two.")
        assert await told(session) == [("system", f"{SUMMARY}SUM1")]
        assert await is_valid(runtime, "newest")
        assert await is_valid(runtime, "earlier")
        compacted = await earlier.compact()
        assert compacted.text == "SUM2"
        await earlier.run("Three.")
    assert seen(model.asked[2]) == [noted("SUM1"), ("user", "Two.")]
    assert seen(model.asked[3]) == [("user", "One."), ("assistant", "One.!"), ("user", "Two.")]
    assert seen(model.asked[5]) == [noted("SUM2"), ("user", "Three.")]


async def test_a_fork_has_the_configuration_of_its_origin_and_goes_its_own_way(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    own, agent = echo_agent()
    other = providers["other"] = Staged(echoing(), kind="other")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        loud = lash.PromptLayer.add("guidance", "Loud.")
        await session.configure(model="other:large", prompt=loud)
        fork = await session.fork("fork")
        await fork.run("Two.")
        await fork.configure(model="")
        await fork.run("Three.")
        await session.run("Four.")
    assert [seen(request)[-1][1] for request in other.asked] == ["Two.", "Four."]
    assert [seen(request)[-1][1] for request in own.asked] == ["One.", "Three."]
    assert [request.instructions for request in other.asked] == [guided("Loud.")] * 2


async def test_a_turn_whose_model_cannot_be_had_here_is_nothing_to_wait_for(
    path: Path, providers: dict[str, Staged]
) -> None:
    _, agent = echo_agent()
    providers["other"] = Staged(echoing(), kind="other")
    async with opened(path, agent) as runtime:
        await runtime.session("s").configure(model="other:large")
    del providers["other"]
    _, agent = echo_agent()
    async with opened(path, agent) as runtime:
        assert await code_of(runtime.session("s").run("One.")) == "provider_unknown"
        await runtime.idle(timeout=0.5)
