"""Replay: what was recorded is answered as it was, and never run again."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

import pytest

from lash.core.errors import LashError, ReplayError, StoreError
from lash.effects import executors
from lash.effects.commands import EffectCommand, ExecCodeCommand, ToolBatchCommand
from lash.effects.controller import EffectController, EffectCounts
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import (
    DurableStepOutcome,
    EffectFailed,
    EffectOutcome,
    ExecCodeOutcome,
    StepFailure,
    ToolAttemptOutcome,
    ToolBatchOutcome,
)
from lash.effects.transitions import MAX_OUTCOME_BYTES, SPILL_BYTES
from lash.testing.conformance.hosts.asking import (
    EVERY_OUTCOME,
    OPERATION,
    PROCESS_COMMANDS,
    TRIGGER_COMMANDS,
    Counted,
    attempt,
    done,
    envelope,
    found,
    sleep,
    step,
)
from lash.testing.conformance.hosts.hosting import HostProperties, HostRig, S
from lash.turn.tools import PendingToolCall, failed

_CALLS = (PendingToolCall(call_id="c1", tool_name="look", args={}),)
_COMPOSITES: Mapping[str, tuple[EffectCommand, EffectOutcome]] = {
    "tool batch": (ToolBatchCommand(batch_id="b1", calls=_CALLS), ToolBatchOutcome(results=())),
    "code": (ExecCodeCommand(language="lash", code="look()"), ExecCodeOutcome(response={"n": 1})),
}


class ReplayProperties(HostProperties[S]):
    """`EffectController.execute`, driven again."""

    # --- verbatim ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("what", EVERY_OUTCOME)
    async def test_every_kind_of_outcome_is_replayed_verbatim(self, what: str) -> None:
        async with self.rig("journals") as rig:
            await self._replays_verbatim(rig, *EVERY_OUTCOME[what])

    @pytest.mark.parametrize("what", PROCESS_COMMANDS)
    async def test_every_process_command_is_replayed_verbatim(self, what: str) -> None:
        async with self.rig("journals") as rig:
            await self._replays_verbatim(rig, *PROCESS_COMMANDS[what])

    @pytest.mark.parametrize("what", TRIGGER_COMMANDS)
    async def test_every_trigger_command_is_replayed_verbatim(self, what: str) -> None:
        async with self.rig("journals") as rig:
            await self._replays_verbatim(rig, *TRIGGER_COMMANDS[what])

    async def _replays_verbatim(
        self, rig: HostRig[S], command: EffectCommand, outcome: EffectOutcome
    ) -> None:
        drive, first = rig.drive(), Counted(outcome)
        assert await drive.execute(envelope(command), first.executor()) == outcome
        # Some records need no write of their own, and land with the next.
        await drive.execute(envelope(step("after"), "e2"), Counted(done()).executor())
        await rig.interlude()
        again, second = rig.drive(), Counted(EffectFailed(code="x", message="ran again"))
        assert await again.execute(envelope(command), second.executor()) == outcome
        assert (first.runs, second.runs) == (1, 0)
        assert again.counts == EffectCounts(replayed=1)

    async def test_a_big_outcome_is_replayed_verbatim(self) -> None:
        async with self.rig("journals") as rig:
            outcome = done({"text": "é" * SPILL_BYTES})
            await self._replays_verbatim(rig, step(), outcome)

    async def test_an_outcome_beyond_the_limit_is_recorded_as_the_failure_it_is(self) -> None:
        async with self.rig("journals") as rig:
            charge = Counted(done({"text": "x" * MAX_OUTCOME_BYTES}))
            told = await rig.drive().execute(envelope(step()), charge.executor())
            assert isinstance(told, EffectFailed)
            assert told.code == "effect_outcome_too_large"
            assert "$.value.text" in told.message
            await rig.interlude()
            assert await rig.drive().execute(envelope(step()), charge.executor()) == told
            assert charge.runs == 1

    async def test_a_scope_that_is_new_knows_what_it_recorded_itself(self) -> None:
        async with self.rig("journals") as rig:
            charge = Counted(done())
            drive = rig.host.scoped(OPERATION, fresh=True)
            for _ in range(2):
                assert await drive.execute(envelope(step()), charge.executor()) == done()
            assert drive.counts == EffectCounts(executed=1, replayed=1)
            await rig.interlude()
            again = await rig.drive().execute(envelope(step()), executors.unavailable())
            assert (again, charge.runs) == (done(), 1)

    # --- side by side -------------------------------------------------------------------------------

    async def test_effects_that_ended_in_one_order_are_replayed_in_another(self) -> None:
        async with self.rig("journals") as rig:
            ended: list[str] = []
            await self._reversed(rig, rig.drive(), ended, ["a", "b"])
            expected = ["b", "a"] if rig.host.capabilities.concurrent_effects else ["a", "b"]
            assert ended == expected
            await rig.interlude()
            again = rig.drive()
            for name in ("b", "a"):  # as they ended, then as they were asked for
                assert await self._recorded(again, name) == found(name)
            third = rig.drive()
            for name in ("a", "b"):
                assert await self._recorded(third, name) == found(name)

    async def test_many_attempts_side_by_side_are_each_recorded_and_replayed(self) -> None:
        async with self.rig("journals") as rig:
            names = [f"c{number}" for number in range(8)]
            ended: list[str] = []
            await self._reversed(rig, rig.drive(), ended, names)
            assert sorted(ended) == names
            await rig.interlude()
            again = rig.drive()
            asked = [self._recorded(again, name) for name in reversed(names)]
            assert await self._together(rig, asked) == [found(name) for name in reversed(names)]
            assert again.counts == EffectCounts(replayed=8)

    async def _reversed(
        self, rig: HostRig[S], drive: EffectController, ended: list[str], names: list[str]
    ) -> None:
        """Run attempts that end in the reverse of the order in which they were asked for."""
        side_by_side = rig.host.capabilities.concurrent_effects
        gates = {name: asyncio.Event() for name in names}
        gates[names[-1]].set()

        async def run(envelope: RuntimeEffectEnvelope) -> EffectOutcome:
            name = envelope.replay_key
            if side_by_side:
                await gates[name].wait()
            ended.append(name)
            before = names.index(name) - 1
            if before >= 0:
                gates[names[before]].set()
            return found(name)

        asked = [
            drive.execute(envelope(attempt(name), name), executors.testing(run)) for name in names
        ]
        assert await self._together(rig, asked) == [found(name) for name in names]

    async def _together(
        self, rig: HostRig[S], asked: Sequence[Awaitable[EffectOutcome]]
    ) -> list[EffectOutcome]:
        """Ask side by side where the host allows it, else one after another."""
        if rig.host.capabilities.concurrent_effects:
            return await rig.passing(asyncio.gather(*asked))
        return [await one for one in asked]

    async def _recorded(self, drive: EffectController, name: str) -> EffectOutcome:
        return await drive.execute(envelope(attempt(name), name), executors.unavailable())

    async def test_the_second_arrival_of_a_key_gets_the_outcome_of_the_first(self) -> None:
        async with self.rig("journals") as rig:
            if not rig.host.capabilities.concurrent_effects:
                pytest.skip("not for this host: effects of one scope run one after another")
            drive, charge, gate = rig.drive(), Counted(done("once")), asyncio.Event()

            async def slow(_: RuntimeEffectEnvelope) -> EffectOutcome:
                await gate.wait()
                return done("once")

            first = rig.spawn(drive.execute(envelope(step()), executors.testing(slow)))
            await asyncio.sleep(0)
            second = rig.spawn(drive.execute(envelope(step()), charge.executor()))
            await asyncio.sleep(0)
            gate.set()
            assert list(await rig.passing(asyncio.gather(first, second))) == [done("once")] * 2
            assert charge.runs == 0

    # --- steps --------------------------------------------------------------------------------------

    async def test_a_step_is_recorded_whether_it_succeeds_or_fails(self) -> None:
        async with self.rig("journals") as rig:
            declined = StepFailure(type="Declined", message="no funds", code="declined")
            outcomes = {"fine": done({"n": 1}), "broken": DurableStepOutcome(failure=declined)}
            drive = rig.drive()
            for name, outcome in outcomes.items():
                charge = Counted(outcome)
                assert await drive.execute(envelope(step(name), name), charge.executor()) == outcome
            await rig.interlude()
            again = rig.drive()
            for name, outcome in outcomes.items():
                asked = envelope(step(name), name)
                assert await again.execute(asked, executors.unavailable()) == outcome

    async def test_a_step_with_another_input_is_another_step(self) -> None:
        async with self.rig("journals") as rig:
            asked = envelope(step(given={"order": "7", "deep": [1]}))
            await rig.drive().execute(asked, Counted(done()).executor())
            await rig.interlude()
            same = envelope(step(given={"deep": [1], "order": "7"}))
            assert await rig.drive().execute(same, executors.unavailable()) == done()
            other = envelope(step(given={"order": "8", "deep": [1]}))
            charge = Counted(done("again"))
            with pytest.raises(ReplayError) as refused:
                await rig.drive().execute(other, charge.executor())
            assert refused.value.code == "effect_replay_mismatch"
            assert refused.value.details["paths"] == ("identity.input.order",)
            assert charge.runs == 0

    async def test_an_effect_that_was_asked_for_otherwise_is_named_by_one_path(self) -> None:
        async with self.rig("journals") as rig:
            await rig.passing(rig.drive().execute(envelope(sleep(1_000)), executors.sleeping()))
            await rig.interlude()
            with pytest.raises(ReplayError) as refused:
                await rig.passing(rig.drive().execute(envelope(sleep(2_000)), executors.sleeping()))
            assert refused.value.code == "effect_replay_mismatch"
            assert refused.value.terminal
            assert refused.value.details["paths"] == ("identity.duration_ms",)
            assert "identity.duration_ms" in refused.value.message
            # What is recorded stands as it was.
            await rig.passing(rig.drive().execute(envelope(sleep(1_000)), executors.unavailable()))

    async def test_another_kind_of_effect_under_a_key_is_refused(self) -> None:
        async with self.rig("journals") as rig:
            await rig.drive().execute(envelope(step()), Counted(done()).executor())
            await rig.interlude()
            look = Counted(found("x"))
            with pytest.raises(ReplayError) as refused:
                await rig.drive().execute(envelope(attempt()), look.executor())
            assert refused.value.code == "effect_replay_mismatch"
            assert refused.value.details["paths"] == ("kind",)
            assert look.runs == 0

    # --- what an executor may come to -----------------------------------------------------------------

    async def test_a_bug_in_an_executor_is_recorded_and_not_run_into_again(self) -> None:
        async with self.rig("journals") as rig:
            for command, key in ((step(), "e1"), (attempt(), "e2")):
                bug = Counted(ZeroDivisionError("by zero"))
                told = await rig.drive().execute(envelope(command, key), bug.executor())
                await rig.interlude()
                again = await rig.drive().execute(envelope(command, key), bug.executor())
                assert (again, bug.runs) == (told, 1)
                if isinstance(command, type(attempt())):
                    panicked = failed(
                        "execution", "tool_panicked", "ZeroDivisionError: by zero", source="tool"
                    )
                    assert told == ToolAttemptOutcome(output=panicked)
                else:
                    assert isinstance(told, EffectFailed)
                    assert told.code == "effect_panicked"

    async def test_trouble_around_an_effect_is_raised_and_not_recorded(self) -> None:
        async with self.rig("journals") as rig:
            down = Counted(StoreError("store_busy", "The database is locked."))
            drive = rig.drive()
            with pytest.raises(LashError) as trouble:
                await drive.execute(envelope(step()), down.executor())
            assert (trouble.value.code, trouble.value.retryable) == ("store_busy", True)
            await rig.interlude()
            charge = Counted(done())
            assert await rig.drive().execute(envelope(step()), charge.executor()) == done()
            assert charge.runs == 1

    async def test_an_effect_that_is_dropped_before_it_ended_is_not_recorded(self) -> None:
        async with self.rig("journals") as rig:
            began = asyncio.Event()

            async def hang(_: RuntimeEffectEnvelope) -> EffectOutcome:
                began.set()
                await asyncio.get_running_loop().create_future()
                return done("never")

            asked = rig.spawn(rig.drive().execute(envelope(step()), executors.testing(hang)))
            await rig.passing(began.wait())
            await rig.drop(asked)
            assert asked.cancelled()
            await rig.interlude()
            charge = Counted(done())
            assert await rig.drive().execute(envelope(step()), charge.executor()) == done()
            assert charge.runs == 1

    @pytest.mark.parametrize("kind", _COMPOSITES)
    async def test_a_composite_is_interpreted_again_over_atoms_that_are_not(
        self, kind: str
    ) -> None:
        async with self.rig("journals") as rig:
            command, outcome = _COMPOSITES[kind]
            interpreted, look = 0, Counted(found("7"))

            async def drive() -> EffectOutcome:
                controller = rig.drive()

                async def interpret(_: RuntimeEffectEnvelope) -> EffectOutcome:
                    nonlocal interpreted
                    interpreted += 1
                    inner = envelope(attempt(), "e1:c1")
                    assert await controller.execute(inner, look.executor()) == found("7")
                    return outcome

                return await controller.execute(envelope(command), executors.testing(interpret))

            assert await drive() == outcome
            await rig.interlude()
            assert await drive() == outcome
            assert (interpreted, look.runs) == (2, 1)
