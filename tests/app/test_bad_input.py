"""Bad input: a typed error whose message says what to do, and nothing is stored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import lash
from lash.testing import ScriptedModel, reply

SURROGATE = "broken \ud800 text"


@lash.tool
def max_of(values: list[int]) -> int:
    """The largest."""
    return max(values)


def unannotated(value) -> str:  # type: ignore[no-untyped-def]  # that is the point
    """Lacks what the schema is made of."""
    return cast("str", value)


def agent(name: str = "support", **options: Any) -> lash.Agent:
    return lash.Agent(name, model=ScriptedModel([reply("Hi.")]), **options)


async def refused(runtime: lash.Runtime, session_id: str = "s", **options: Any) -> lash.LashError:
    """What running answers; nothing may have been stored."""
    chosen = options.pop("agent", None)
    prompt = options.pop("prompt", "Hello?")
    with pytest.raises(lash.LashError) as raised:
        await runtime.session(session_id, agent=chosen).run(prompt, **options)
    assert await runtime.sessions() == []
    return raised.value


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"prompt": ""}, "turn_input_empty", "Say what the agent should do"),
        ({"prompt": " \n\t"}, "turn_input_empty", "Say what the agent should do"),
        ({"prompt": None}, "turn_input_invalid", "must be text, not NoneType"),
        ({"prompt": SURROGATE}, "turn_input_invalid", "Decode the text properly"),
        ({"turn_id": ""}, "turn_id_invalid", "must not be blank"),
        ({"turn_id": "  "}, "turn_id_invalid", "must not be blank"),
        ({"turn_id": 7}, "turn_id_invalid", "must be text, not int"),
        ({"turn_id": SURROGATE}, "turn_id_invalid", "UTF-8 cannot carry"),
        ({"source_key": ""}, "source_key_invalid", "must not be blank"),
        ({"source_key": SURROGATE}, "source_key_invalid", "UTF-8 cannot carry"),
        ({"session_id": ""}, "session_id_invalid", "must not be blank"),
        ({"session_id": "\t"}, "session_id_invalid", "must not be blank"),
        ({"session_id": None}, "session_id_invalid", "must be text, not NoneType"),
        ({"session_id": SURROGATE}, "session_id_invalid", "UTF-8 cannot carry"),
        ({"agent": "nobody"}, "agent_unknown", "registered are: 'support'"),
    ],
)
async def test_unusable_arguments_are_named(
    tmp_path: Path, options: dict[str, Any], code: str, says: str
) -> None:
    async with lash.Runtime(tmp_path / "agents.db", agents=[agent()]) as runtime:
        error = await refused(runtime, **options)
    assert error.code == code
    assert error.terminal
    assert says in error.message


async def test_unusable_arguments_of_a_stream_are_named_on_entering(tmp_path: Path) -> None:
    async with lash.Runtime(tmp_path / "agents.db", agents=[agent()]) as runtime:
        with pytest.raises(lash.LashError) as raised:
            await runtime.session("s").stream(" ").__aenter__()
        assert raised.value.code == "turn_input_empty"
        assert await runtime.sessions() == []


@pytest.mark.parametrize(
    "text", ["ユーザー 42", "a:b/c?d#e%20", "x" * 5_000, "line\nbreak", "zero\0byte", "'; DROP--"]
)
async def test_any_other_text_is_an_id(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agents.db"
    async with lash.Runtime(path, agents=[agent()]) as runtime:
        result = await runtime.session(text).run(text, turn_id=text, source_key=text)
        assert (result.session_id, result.turn_id) == (text, text)
    async with lash.Runtime(path, agents=[agent()]) as runtime:
        session = runtime.session(text)
        assert await session.run(text, turn_id=text) == result
        assert [message.text for message in await session.history()] == [text, "Hi."]


async def test_several_agents_ask_for_a_choice_for_a_new_session_only(tmp_path: Path) -> None:
    agents = [agent("support"), agent("sales")]
    async with lash.Runtime(tmp_path / "agents.db", agents=agents) as runtime:
        error = await refused(runtime)
        assert error.code == "agent_ambiguous"
        assert "support, sales" in error.message
        assert "runtime.session(id, agent=" in error.message
        await runtime.session("s", agent="sales").run("Hello?")
        assert (await runtime.session("s").run("Again.")).text == "Hi."


async def test_a_runtime_without_agents_says_so(tmp_path: Path) -> None:
    async with lash.Runtime(tmp_path / "agents.db") as runtime:
        error = await refused(runtime)
    assert error.code == "agent_unknown"
    assert "has no agents" in error.message


async def test_a_session_of_another_agent_is_refused_with_nothing_accepted(tmp_path: Path) -> None:
    agents = [agent("support"), agent("sales")]
    async with lash.Runtime(tmp_path / "agents.db", agents=agents) as runtime:
        await runtime.session("s", agent="support").run("Hello?")
        with pytest.raises(lash.ConflictError) as raised:
            await runtime.session("s", agent="sales").run("Hello?")
        assert raised.value.code == "session_agent_mismatch"
        assert raised.value.details["agent"] == "support"
        (summary,) = await runtime.sessions()
        assert (summary.turns, summary.open_turns, summary.state) == (1, 0, "idle")


async def test_a_session_whose_agent_is_not_here_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    async with lash.Runtime(path, agents=[agent("support")]) as runtime:
        await runtime.session("s").run("Hello?")
    async with lash.Runtime(path, agents=[agent("sales")]) as runtime:
        with pytest.raises(lash.LashError) as raised:
            await runtime.session("s").run("Hello?")
        assert raised.value.code == "agent_unknown"
        assert [(item.turns, item.open_turns) for item in await runtime.sessions()] == [(1, 0)]


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda: agent(" "), "agent_invalid", "needs a name"),
        (lambda: agent(version=""), "agent_invalid", "needs a name and a version"),
        (lambda: agent(max_turns=0), "agent_invalid", "at least 1"),
        (lambda: agent(tools=[max_of, max_of]), "tool_duplicate", "rename one with name="),
        (lambda: agent(tools=["max_of"]), "tool_signature_invalid", "is not a tool"),
        (lambda: agent(tools=[unannotated]), "tool_signature_invalid", "value"),
        (lambda: lash.Model("m", max_output_tokens=0), "model_invalid", "at least 1"),
        (lambda: lash.LeaseTimings(ttl_ms=100, renew_ms=50), "lease_timings_invalid", "three"),
        (lambda: lash.LeaseTimings(ttl_ms=100, renew_ms=0), "lease_timings_invalid", "three"),
    ],
)
def test_unusable_declarations_are_named(make: Callable[[], object], code: str, says: str) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        make()
    assert raised.value.code == code
    assert says in raised.value.message


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"agents": [agent(), agent()]}, "agent_duplicate", "another name or version"),
        ({"model": "gpt-5.2"}, "model_invalid", "'provider:model'"),
        ({"model": "openai:"}, "model_invalid", "'provider:model'"),
        ({"model": ":gpt-5.2"}, "model_invalid", "'provider:model'"),
        ({"model": ""}, "model_invalid", "'provider:model'"),
        ({"model": 7}, "model_invalid", "pass 'provider:model', a Model, or a provider"),
        ({"model": "nobody:gpt"}, "provider_unknown", "'nobody'"),
        ({"model": lash.Model("nobody:gpt")}, "provider_unknown", "'nobody'"),
        ({"model": "openai:gpt-5.2"}, "provider_not_configured", "OPENAI_API_KEY"),
        ({"store": "mysql://host/db"}, "store_url_unknown", "mysql://"),
        ({"store": " "}, "store_url_unknown", "blank"),
        ({"on_drift": "ignore"}, "drift_policy_unknown", "'accept', 'refuse', 'restart'"),
    ],
)
def test_unusable_pieces_are_named_before_anything_is_opened(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    code: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if "model" in options:
        options = {"agents": [lash.Agent("support", model=options["model"])]}
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(**{"store": "agents.db", **options})
    assert raised.value.code == code
    assert says in raised.value.message
    assert list(tmp_path.iterdir()) == []


async def test_a_runtime_is_used_inside_its_block(tmp_path: Path) -> None:
    runtime = lash.Runtime(tmp_path / "agents.db", agents=[agent()])
    session = runtime.session("s", agent="support")
    for _ in range(2):
        for use in (lambda: session.run("Hello?"), session.history, runtime.sessions, runtime.idle):
            with pytest.raises(lash.LashError) as raised:
                await use()
            assert raised.value.code == "runtime_closed"
            assert "async with" in raised.value.message
        async with runtime:
            assert (await session.run("Hello?")).text == "Hi."
            with pytest.raises(lash.LashError) as raised:
                await runtime.__aenter__()
            assert raised.value.code == "runtime_closed"
            assert "only once" in raised.value.message


async def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(lash.StoreError) as raised:
        await lash.Runtime(tmp_path / "missing" / "agents.db").__aenter__()
    assert raised.value.code == "store_unreachable"
    foreign = tmp_path / "notes.txt"
    foreign.write_text("Not a database, but long enough to be read as the header of one. " * 40)
    with pytest.raises(lash.StoreError) as raised:
        await lash.Runtime(foreign).__aenter__()
    assert raised.value.code == "store_foreign"
