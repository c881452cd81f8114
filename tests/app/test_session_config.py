"""What a session says about its model and prompt, and the provider its history is made with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from session_harness import (
    Holding,
    Staged,
    code_of,
    echoing,
    held_at_the_model,
    left_under_way,
    location,
    opened,
    path,
    patient,
    seen,
    stop_word,
    told,
    until_queued,
)

import lash
import lash.app.model as naming
from lash.testing import fail

__all__ = ["location", "path"]


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


def brief_agent(kind: str = "scripted", **named: Any) -> tuple[Staged, lash.Agent]:
    """A model of a provider that answers `<what was said>!`, and its agent."""
    model = Staged(echoing(), kind=kind)
    return model, lash.Agent("agent", model=model, instructions="Be brief.", **named)


def brief_agent_and_other(providers: dict[str, Staged]) -> tuple[Staged, Staged, lash.Agent]:
    """The agent's own model, the one that is asked as `other:<model>`, and the agent."""
    own, agent = brief_agent()
    providers["other"] = Staged(echoing(), kind="other")
    return own, providers["other"], agent


async def configure_and_lose_the_provider(path: Path, providers: dict[str, Staged]) -> None:
    """Leave session `s` with the model of a provider that cannot be had any more."""
    _, agent = brief_agent()
    providers["other"] = Staged(echoing(), kind="other")
    async with opened(path, agent) as runtime:
        await runtime.session("s").configure(model="other:large")
    del providers["other"]


@asynccontextmanager
async def gone_over(path: Path) -> AsyncIterator[tuple[Staged, lash.Runtime, lash.Session]]:
    """Session `s`, which began with the provider `first`, and its agent, which went to `second`."""
    _, agent = brief_agent("first")
    async with opened(path, agent) as runtime:
        await runtime.session("s").run("One.")
    second, agent = brief_agent("second")
    async with opened(path, agent) as runtime:
        yield second, runtime, runtime.session("s")


# --- the model ------------------------------------------------------------------------------------------


async def test_another_model_answers_later_turns_only(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    own, other, agent = brief_agent_and_other(providers)
    async with held_at_the_model(location, (own, agent), prompt="One.") as (session, held):
        configuring = asyncio.create_task(session.configure(model="other:large"))
        await until_queued(session, 1)
        await held.let_go()
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
    own, other, agent = brief_agent_and_other(providers)
    loud = lash.PromptLayer.add("guidance", "Be loud.")
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.configure(model="other:large", prompt=loud)
    _, agent = brief_agent()
    async with opened(path, agent) as runtime:
        await runtime.session("s").run("Two.")
        await runtime.session("another").run("Two.")
    assert (len(own.asked), len(other.asked)) == (1, 1)
    assert other.asked[0].instructions == guided("Be loud.")


async def test_a_session_may_begin_with_its_configuration(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    own, other, agent = brief_agent_and_other(providers)
    async with opened(location, agent) as runtime:
        session = runtime.session("new")
        await session.configure(model="other:large")
        assert (await session.run("Hello.")).text == "Hello.!"
    assert (len(own.asked), len(other.asked)) == (0, 1)


async def test_a_model_nobody_serves_changes_nothing(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    own, agent = brief_agent()
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
    _, agent = brief_agent(retry=lash.RetryPolicy(max_attempts=2, base_delay_ms=0))
    other = providers["other"] = Staged([fail(status=500, retry_after=0.0)], kind="other")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.configure(model="other:large")
        assert stop_word(await session.run("One.")) == "provider_error"
    assert len(other.asked) == 2


async def test_a_model_that_cannot_be_had_here_is_no_loss(
    path: Path, providers: dict[str, Staged]
) -> None:
    await configure_and_lose_the_provider(path, providers)
    _, agent = brief_agent()
    async with opened(path, agent) as runtime:
        code = await code_of(runtime.session("s").run("One.", turn_id="t"))
        assert code == "provider_unknown"
    other = providers["other"] = Staged(echoing(), kind="other")
    _, agent = brief_agent()
    async with opened(path, agent) as runtime:
        assert (await runtime.session("s").wait("t")).text == "One.!"
    assert len(other.asked) == 1


# --- the provider ----------------------------------------------------------------------------------------


async def test_an_agent_that_went_to_another_provider_is_refused_an_old_session(
    path: Path, providers: dict[str, Staged]
) -> None:
    async with gone_over(path) as (second, runtime, session):
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
    async with gone_over(path) as (second, _, session):
        with pytest.raises(lash.ConflictError) as raised:
            await (await session.enqueue("Two.")).result()
        assert raised.value.code == "provider_mismatch"
    assert second.asked == []


async def test_a_session_that_named_another_provider_stays_with_it(
    path: Path, providers: dict[str, Staged]
) -> None:
    _, agent = brief_agent("first")
    other = providers["other"] = Staged(echoing(), kind="other")
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.configure(model="other:large")
        await session.run("Two.")
    third, agent = brief_agent("third")
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        assert (await session.run("Three.")).text == "Three.!"
        await session.configure(model="")
        assert (await session.run("Four.")).text == "Four.!"
    assert (len(other.asked), len(third.asked)) == (2, 1)


# --- the prompt ------------------------------------------------------------------------------------------


async def test_agent_session_and_turn_speak_in_this_order(location: str | Path) -> None:
    model, agent = brief_agent(prompt=lash.PromptLayer.add("guidance", "Agent."))
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
    await left_under_way(path, agent, holding.begun, prompt_layer=layer)
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
    layer: Any = "Be loud."
    _, agent = brief_agent()
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
    _, agent = brief_agent()
    layer: Any = "Be loud."
    async with opened(path, agent) as runtime:
        await runtime.session("other").run("Hi.")
        with pytest.raises((lash.LashError, TypeError, TimeoutError)):
            async with asyncio.timeout(0.5):
                await runtime.session("s").run("Hi.", prompt_layer=layer)
    _, agent = brief_agent()
    async with opened(path, agent) as runtime:
        assert (await runtime.session("other").run("Hi again.")).is_success


# --- forks, and models that are gone ---------------------------------------------------------------------


async def test_a_fork_has_the_configuration_of_its_origin_and_goes_its_own_way(
    location: str | Path, providers: dict[str, Staged]
) -> None:
    own, other, agent = brief_agent_and_other(providers)
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
    await configure_and_lose_the_provider(path, providers)
    _, agent = brief_agent()
    async with opened(path, agent) as runtime:
        assert await code_of(runtime.session("s").run("One.")) == "provider_unknown"
        await runtime.idle(timeout=0.5)
