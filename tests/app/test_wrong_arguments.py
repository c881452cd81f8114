"""Arguments of the wrong kind are told at once, with a code, and nothing is stored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.testing import ScriptedModel, reply

MODEL = ScriptedModel([reply("ok")])
AGENT = lash.Agent("a", model=MODEL)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lash.Agent(b"a", model=MODEL),  # type: ignore[arg-type]  # wrong on purpose
        lambda: lash.Agent("a\ud800", model=MODEL),
        lambda: lash.Agent("a", model=MODEL, instructions="\ud800"),
        lambda: lash.Agent("a", model=MODEL, instructions=None),  # type: ignore[arg-type]  # wrong on purpose
        lambda: lash.Agent("a", model=MODEL, version=2),  # type: ignore[arg-type]  # wrong on purpose
        lambda: lash.Agent("a", model=MODEL, tools=print),  # type: ignore[arg-type]  # wrong on purpose
        lambda: lash.Runtime(":memory:", agents=AGENT),  # type: ignore[arg-type]  # wrong on purpose
        lambda: lash.Runtime(":memory:", agents=[None]),  # type: ignore[list-item]  # wrong on purpose
    ],
)
def test_an_agent_that_could_not_be_stored_is_refused_when_it_is_made(
    make: Callable[[], object],
) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        make()
    assert raised.value.code == "agent_invalid"


@lash.process
async def nothing(ctx: lash.ProcessContext) -> None:
    """Nothing."""


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: lash.Runtime(":memory:", processes=nothing), "process_function_invalid"),  # type: ignore[arg-type]  # no list
        (
            lambda: lash.Runtime(":memory:", triggers=lash.TriggerEvent("e")),  # type: ignore[arg-type]  # no list
            "trigger_event_invalid",
        ),
        (lambda: lash.grant_tool(print), "tool_signature_invalid"),  # type: ignore[arg-type]  # no tool
    ],
)
def test_one_in_the_place_of_a_list_and_what_is_no_tool_are_told_with_a_code(
    make: Callable[[], object], code: str
) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        make()
    assert raised.value.code == code


@pytest.mark.parametrize("store", [None, 42])
def test_a_runtime_over_no_store_is_refused(store: Any) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(store)
    assert raised.value.code == "store_url_unknown"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda s: s.wait("\ud800"), "turn_id_invalid"),
        (lambda s: s.wait("t", timeout="1"), "duration_invalid"),
        (lambda s: s.wait("t", timeout=float("nan")), "duration_invalid"),
        (lambda s: s.cancel_pending("\ud800"), "source_key_invalid"),
        (lambda s: s.cancel_pending(42), "source_key_invalid"),
        (lambda s: s.cancel_pending_from(None), "source_key_invalid"),
        (lambda s: s.run("Hi.", turn_id="t:agent-frame:1"), "turn_id_invalid"),
    ],
)
async def test_what_a_session_is_asked_wrongly_is_told_with_a_code(
    tmp_path: Path, call: Callable[[lash.Session], Any], code: str
) -> None:
    async with lash.Runtime(tmp_path / "agents.db", agents=[AGENT]) as runtime:
        session = runtime.session("s")
        await session.run("Hello.")
        with pytest.raises(lash.LashError) as raised:
            await call(session)
        assert raised.value.code == code
        assert len(await session.turns()) == 1


async def test_a_cursor_that_is_no_text_is_refused(tmp_path: Path) -> None:
    wrong: Any = 42
    async with lash.Runtime(tmp_path / "agents.db", agents=[AGENT]) as runtime:
        with pytest.raises(lash.LashError) as raised:
            runtime.session("s").observe(wrong)
    assert raised.value.code == "session_cursor_malformed"


async def test_one_source_key_given_as_text_is_one_key(tmp_path: Path) -> None:
    async with lash.Runtime(tmp_path / "agents.db", agents=[AGENT]) as runtime:
        session = runtime.session("s")
        (outcome,) = await session.cancel_pending(source_keys="mail-1")
    assert outcome.target.value == "mail-1"  # type: ignore[union-attr]  # not found, and says what
