"""A deploy under an unfinished turn: what each change of code does, under each policy.

The turn is left while its third tool runs: two model calls and two tools are recorded.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from deploys import (
    BEGINS_AGAIN,
    GOES_ON,
    POLICIES,
    PROMPT,
    RECORDED,
    SOURCE_KEY,
    TEXT,
    Deploy,
    leave,
    left,
    refusal,
    spare,
    summary,
)

import lash
from lash.core.json import JsonObject
from lash.effects.transitions import DriftPolicy
from lash.events import TurnParked, TurnRestarted
from lash.llm.request import ToolSpec
from lash.runtime.environment import RuntimeEvent
from lash.turn.tools import ToolFailed, ToolOutput, ToolSuccess


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


def failure_codes(turn: lash.TurnResult) -> set[str]:
    outcomes = [call.output.outcome for call in turn.tool_calls]
    return {outcome.payload.code for outcome in outcomes if isinstance(outcome, ToolFailed)}


# --- the table ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What a deploy changes, and what is expected where it is accepted and where the turn restarts.

    `ran` is what the new code really starts, `text` is what the model says in the end: the answers
    of the four tool calls. `failures` are the codes of those that failed.
    """

    what: str
    now: dict[str, Any]
    before: dict[str, Any] = field(default_factory=dict)
    paths: tuple[str, ...] = ("surroundings.tools",)
    ran: Sequence[str] = field(default_factory=lambda: GOES_ON)
    text: str = TEXT
    ran_again: Sequence[str] = field(default_factory=lambda: BEGINS_AGAIN)
    text_again: str = TEXT
    failures: frozenset[str] = frozenset()


TABLE = [
    Change("nothing", {}, paths=()),
    Change("instructions", {"instructions": "Be thorough."}, paths=("surroundings.instructions",)),
    Change("tool added", {"more": [lash.tool(spare)]}),
    Change("tool removed that no record needs", {}, before={"more": [lash.tool(spare)]}),
    Change(
        "tool removed that records need",
        {"without": "look"},
        ran=["hold", "m3", "m4"],
        text="one two held failed",
        ran_again=["m1", "m2", "hold", "m3", "m4"],
        text_again="failed failed held failed",
        failures=frozenset({"tool_unavailable"}),
    ),
    Change(
        "tool removed that was running",
        {"without": "hold"},
        ran=["m3", "three", "m4"],
        text="one two failed three",
        ran_again=["m1", "one", "two", "m2", "m3", "three", "m4"],
        text_again="one two failed three",
        failures=frozenset({"tool_unavailable"}),
    ),
    Change("schema widened", {"look": "optional"}),
    Change(
        "schema narrowed",
        {"look": "required"},
        ran=["hold", "m3", "m4"],
        text="one two held failed",
        ran_again=["m1", "m2", "hold", "m3", "m4"],
        text_again="failed failed held failed",
        failures=frozenset({"invalid_tool_args"}),
    ),
    Change("model", {"model": "better"}, paths=("surroundings.model",)),
    Change(
        "instructions and model",
        {"model": "better", "instructions": "Be thorough."},
        paths=("surroundings.instructions", "surroundings.model"),
    ),
    # By design: code is known by declared name and version, never by what it says.
    Change("code of a tool", {"look": "other code"}, paths=(), text="one two held three!"),
]

changes = pytest.mark.parametrize("change", TABLE, ids=[change.what for change in TABLE])
policies = pytest.mark.parametrize("policy", POLICIES)


@changes
async def test_accepted_changes_leave_what_was_recorded_standing_and_are_reported(
    path: Path, change: Change
) -> None:
    await left(path, **change.before)
    deploy, events = Deploy(**change.now), list[RuntimeEvent]()
    async with lash.Runtime(path, agents=[deploy.agent], on_event=events.append) as runtime:
        session = runtime.session("s")
        turn = await asyncio.wait_for(session.run(PROMPT, turn_id="t"), 20)
        assert list(await session.turns()) == [turn]
        assert await summary(runtime) == ("idle", None, None, 0)
    assert (turn.turn_id, turn.text, turn.is_success) == ("t", change.text, True)
    assert deploy.ran == change.ran
    assert failure_codes(turn) == change.failures
    # Each recorded model call is reported by itself.
    expected = [("surroundings_drift", change.paths)] * (2 if change.paths else 0)
    assert [(issue.code, issue.paths) for issue in turn.issues] == expected
    assert turn.usage == lash.Usage(input_tokens=40, output_tokens=20)
    assert events == []


@changes
async def test_a_turn_whose_surroundings_changed_is_begun_again_where_the_host_wants_that(
    path: Path, change: Change
) -> None:
    await left(path, **change.before)
    deploy, events = Deploy(**change.now), list[RuntimeEvent]()
    async with lash.Runtime(
        path, agents=[deploy.agent], on_drift="restart", on_event=events.append
    ) as runtime:
        session = runtime.session("s")
        turn = await asyncio.wait_for(session.run(PROMPT, turn_id="t"), 20)
        assert list(await session.turns()) == [turn]
        assert await session.run(PROMPT, source_key=SOURCE_KEY) == turn
        assert await summary(runtime) == ("idle", None, None, 0)
        history = [message.text for message in await session.history() if message.text]
    assert turn.is_success
    assert failure_codes(turn) == change.failures
    if not change.paths:  # nothing that counts has changed: the turn goes on
        assert (turn.turn_id, turn.text, turn.issues) == ("t", change.text, ())
        assert (deploy.ran, events) == (change.ran, [])
        return
    assert (turn.turn_id, turn.text) == ("t:restart:1", change.text_again)
    assert deploy.ran == change.ran_again
    assert [issue.code for issue in turn.issues] == ["turn_restarted"]
    assert history == [PROMPT, change.text_again]
    assert turn.usage == lash.Usage(input_tokens=40, output_tokens=20)
    (event,) = events
    assert isinstance(event, TurnRestarted)
    assert (event.session_id, event.turn_id, event.restarted_as) == ("s", "t", "t:restart:1")
    assert all(changed in event.message for changed in change.paths)


@changes
async def test_refused_changes_park_the_turn_until_the_old_code_is_back(
    path: Path, change: Change
) -> None:
    await left(path, **change.before)
    deploy, events = Deploy(**change.now), list[RuntimeEvent]()
    async with lash.Runtime(
        path, agents=[deploy.agent], on_drift="refuse", on_event=events.append
    ) as runtime:
        await runtime.idle(timeout=20)
        session = runtime.session("s")
        if not change.paths:
            (turn,) = await session.turns()
            assert (turn.turn_id, turn.text, turn.issues) == ("t", change.text, ())
            assert (deploy.ran, events) == (change.ran, [])
            return
        assert await summary(runtime) == ("parked", "effect_drift_refused", "person", 1)
        for prompt, named in (
            ("And now?", {}),
            (PROMPT, {"turn_id": "t"}),
            (PROMPT, {"source_key": SOURCE_KEY}),
        ):
            error = await refusal(session, prompt, **named)
            assert error.code == "effect_drift_refused"
            assert all(changed in error.message for changed in change.paths)
        assert await session.turns() == []
    assert deploy.ran == []
    (event,) = events
    assert isinstance(event, TurnParked)
    assert (event.turn_id, event.code, event.waits_for) == ("t", "effect_drift_refused", "person")

    old = Deploy(**change.before)
    async with lash.Runtime(path, agents=[old.agent], on_drift="refuse") as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run(PROMPT, turn_id="t"), 20)
    assert (turn.turn_id, turn.text, turn.issues, old.ran) == ("t", TEXT, (), GOES_ON)


async def test_answers_come_from_the_model_that_was_asked(path: Path) -> None:
    await left(path)
    async with lash.Runtime(path, agents=[Deploy(model="better").agent]) as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run(PROMPT, turn_id="t"), 20)
    models = [call.model for call in turn.llm_calls]
    assert models == ["scripted:script"] * 2 + ["scripted:better"] * 2


class HostMade:
    """A tool of the host's own making, with an id of its own."""

    id = "host:ask"
    name = "look"
    spec = ToolSpec(name="look", description="Look.", input_schema={"type": "object"})
    serial = False
    retry = None

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def check(self, args: JsonObject) -> None:
        pass

    async def run(self, args: JsonObject, context: lash.ToolContext) -> ToolOutput:
        self._note(str(args["at"]))
        return ToolOutput(outcome=ToolSuccess(payload=args["at"]))


async def test_the_recorded_answers_of_a_host_made_tool_stand_when_it_is_removed(
    path: Path,
) -> None:
    ran: list[str] = []
    deploy = Deploy(goes_on=False, without="look", more=[HostMade(ran.append)], note=ran.append)
    await leave(path, deploy)
    assert ran == RECORDED
    removed = Deploy(without="look")
    async with lash.Runtime(path, agents=[removed.agent]) as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run(PROMPT, turn_id="t"), 20)
    assert turn.text == "one two held failed"


# --- agents that are not here -----------------------------------------------------------------------------

AWAY = [
    ("agent_version_missing", {"version": "2"}),
    ("agent_missing", {"name": "pathfinder"}),
]


@policies
@pytest.mark.parametrize(("code", "now"), AWAY, ids=[code for code, _ in AWAY])
async def test_a_turn_waits_for_its_agent_under_every_policy(
    path: Path, policy: DriftPolicy, code: str, now: dict[str, Any]
) -> None:
    await left(path)
    events = list[RuntimeEvent]()
    new = Deploy(instructions="Be thorough.", **now)
    async with lash.Runtime(
        path, agents=[new.agent], on_drift=policy, on_event=events.append
    ) as runtime:
        await runtime.idle(timeout=20)
        assert await summary(runtime) == ("parked", code, "agent", 1)
    assert new.ran == []
    (event,) = events
    assert isinstance(event, TurnParked)
    assert (event.turn_id, event.code, event.waits_for) == ("t", code, "agent")

    old, beside = Deploy(), Deploy(instructions="Be thorough.", **now)
    async with lash.Runtime(
        path, agents=[old.agent, beside.agent], on_drift=policy, on_event=events.append
    ) as runtime:
        await runtime.idle(timeout=20)
        assert await summary(runtime) == ("idle", None, None, 0)
        (turn,) = await runtime.session("s").turns()
    assert (turn.turn_id, turn.text, turn.issues) == ("t", TEXT, ())
    assert (old.ran, beside.ran) == (GOES_ON, [])
    assert len(events) == 1


# --- what was asked is another thing --------------------------------------------------------------------


def reword_the_input(path: Path, before: str, after: str) -> None:
    """Have the turn begin with other words, as an edited template would."""
    with closing(sqlite3.connect(path)) as connection:
        reword = "UPDATE inputs SET input = replace(input, ?, ?) WHERE turn_id = 't'"
        assert connection.execute(reword, (before, after)).rowcount == 1
        connection.commit()


@policies
@pytest.mark.parametrize("now", [{}, {"instructions": "Be thorough."}], ids=["same", "drifted"])
async def test_a_mismatch_of_what_was_asked_parks_the_turn_under_every_policy(
    path: Path, policy: DriftPolicy, now: dict[str, Any]
) -> None:
    await left(path)
    reword_the_input(path, PROMPT, "Look away.")
    deploy, events = Deploy(**now), list[RuntimeEvent]()
    async with lash.Runtime(
        path, agents=[deploy.agent], on_drift=policy, on_event=events.append
    ) as runtime:
        await runtime.idle(timeout=20)
        assert await summary(runtime) == ("parked", "effect_replay_mismatch", "person", 1)
        assert (await refusal(runtime.session("s"), "And now?")).code == "effect_replay_mismatch"
    assert deploy.ran == []
    (event,) = events
    assert isinstance(event, TurnParked)
    assert (event.turn_id, event.code, event.waits_for) == ("t", "effect_replay_mismatch", "person")

    reword_the_input(path, "Look away.", PROMPT)
    right = Deploy()
    async with lash.Runtime(path, agents=[right.agent], on_drift=policy) as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run(PROMPT, turn_id="t"), 20)
    assert (turn.turn_id, turn.text, right.ran) == ("t", TEXT, GOES_ON)
