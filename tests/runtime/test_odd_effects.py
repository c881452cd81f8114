"""Effects that no usual turn comes to: code without a dialect, records of another kind, no runtime."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

import lash
import lash.runtime.turn_setup as driving
from lash.core.causality import turn_effect
from lash.core.scopes import TurnScope
from lash.effects import executors
from lash.effects.commands import CheckpointCommand
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.replaying import ReplayController
from lash.protocols.standard import StandardProtocol
from lash.stores.memory import MemoryStore
from lash.testing import ScriptedModel, VirtualClock, reply
from lash.turn.driver import DriverAction, StartExec, TurnView
from lash.turn.outcome import RuntimeStopped, Stopped


class Coder(StandardProtocol):
    """Wants a piece of code run instead of asking the model."""

    def prepare_protocol_iteration(self, turn: TurnView) -> Sequence[DriverAction]:
        return (StartExec(language="cobol", code="DISPLAY 'HI'"),)


@pytest.mark.parametrize("where", ["db", ":memory:"])
async def test_code_without_a_dialect_ends_the_turn_and_says_why(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "StandardProtocol", Coder)
    agent = lash.Agent("a", model=ScriptedModel([reply("never")]))
    place = where if where == ":memory:" else tmp_path / where
    async with lash.Runtime(place, agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    assert turn.outcome == Stopped(reason=RuntimeStopped())
    assert [(issue.code, "cobol" in issue.message) for issue in turn.issues] == [
        ("code_dialect_unknown", True)
    ]


async def count() -> int:
    return 7


async def test_a_step_whose_record_is_another_effects_outcome_is_not_taken_for_its_value(
    tmp_path: Path,
) -> None:
    path = tmp_path / "db"
    async with lash.Runtime(path) as runtime, runtime.operation("o") as operation:
        assert await operation.step(count) == 7
    connection = sqlite3.connect(path)
    connection.execute('UPDATE journal SET outcome = \'{"type":"sleep","due_at_ms":1}\'')
    connection.commit()
    connection.close()
    async with lash.Runtime(path) as runtime, runtime.operation("o") as operation:
        with pytest.raises(lash.StepError) as refused:
            await operation.step(count)
    assert refused.value.code == "runtime_effect_wrong_outcome"


async def test_a_context_without_a_runtime_can_only_be_read() -> None:
    context = lash.ToolContext(
        session_id="s",
        turn_id="t",
        call_id="c",
        tool_name="refund",
        attempt=1,
        max_attempts=1,
        idempotency_key="k",
    )
    for asked in (context.defer(), context.direct("Hello?")):
        with pytest.raises(lash.LashError) as refused:
            await asked
        assert refused.value.code == "tool_context_detached"
        assert "refund" in refused.value.message


async def test_a_replay_of_what_is_over_stops_at_what_was_not_recorded() -> None:
    scope = TurnScope(session_id="s", turn_id="t")
    replay = ReplayController(MemoryStore(VirtualClock()), scope, is_open=False)
    envelope = RuntimeEffectEnvelope(
        invocation=turn_effect(
            session_id="s",
            turn_id="t",
            turn_index=1,
            protocol_iteration=0,
            kind="checkpoint",
            effect_id=4,
        ),
        command=CheckpointCommand(checkpoint="after_work"),
    )
    with pytest.raises(lash.ReplayError) as stopped:
        await replay.execute(envelope, executors.unavailable())
    assert stopped.value.code == "effect_replay_missing"
    assert stopped.value.details["replay_key"] == "s:t:1:0:checkpoint:4"
    assert replay.asked == []
