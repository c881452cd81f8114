"""A host's scopes: each is carried out for exactly whom it was asked, and a host says what it is."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.core.errors import LashError
from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    QueueDrainScope,
    RuntimeOperationScope,
    SessionDeleteScope,
    TurnScope,
)
from lash.effects.controller import EffectCounts
from lash.effects.waits.model import (
    AwaitEventWaitIdentity,
    CustomWait,
    ProcessSignalWait,
    ToolCompletionWait,
)
from lash.testing.conformance.hosts.asking import Counted, done, envelope, step
from lash.testing.conformance.hosts.hosting import HostProperties, S

SCOPES: dict[str, ExecutionScope] = {
    "turn": TurnScope(session_id="s", turn_id="t1"),
    "drain": QueueDrainScope(session_id="s", drain_id="d1"),
    "deletion": SessionDeleteScope(session_id="s"),
    "process": ProcessScope(process_id="p"),
    "operation": RuntimeOperationScope(operation_id="o"),
}
_BLANK: dict[str, ExecutionScope] = {
    "session of a turn": TurnScope(session_id="", turn_id="t1"),
    "turn": TurnScope(session_id="s", turn_id=" "),
    "session of a drain": QueueDrainScope(session_id="\t", drain_id="d1"),
    "drain": QueueDrainScope(session_id="s", drain_id=""),
    "session that is deleted": SessionDeleteScope(session_id=""),
    "process": ProcessScope(process_id="\n"),
    "operation": RuntimeOperationScope(operation_id=""),
}
_INVALID: dict[str, AwaitEventWaitIdentity] = {
    "call": ToolCompletionWait(tool_call_id=" "),
    "process": ProcessSignalWait(process_id="", signal_name="go", ordinal=1),
    "signal": ProcessSignalWait(process_id="p", signal_name="", ordinal=1),
    "ordinal": ProcessSignalWait(process_id="p", signal_name="go", ordinal=0),
    "custom": CustomWait(key=""),
}


class ScopeProperties(HostProperties[S]):
    """`scoped`, `capabilities`, and what may not be named."""

    @pytest.mark.parametrize("kind", SCOPES)
    async def test_a_controller_works_for_the_scope_it_was_asked_for(self, kind: str) -> None:
        async with self.rig() as rig:
            drive = rig.drive(SCOPES[kind])
            assert drive.scope == SCOPES[kind]
            assert drive.counts == EffectCounts()
            assert (list(drive.deferred()), list(drive.drift), drive.parked) == ([], [], False)

    @pytest.mark.parametrize("what", _BLANK)
    async def test_a_scope_with_a_blank_name_is_refused(self, what: str) -> None:
        async with self.rig() as rig:
            with pytest.raises(LashError) as driven:
                rig.drive(_BLANK[what])
            with pytest.raises(LashError) as minted:
                await rig.key(scope=_BLANK[what])
            codes = {driven.value.code, minted.value.code}
            assert codes == {"missing_execution_scope_id"}

    @pytest.mark.parametrize("what", _INVALID)
    async def test_a_wait_with_a_blank_name_is_refused(self, what: str) -> None:
        async with self.rig() as rig:
            with pytest.raises(LashError) as refused:
                await rig.key(_INVALID[what])
            assert refused.value.code == "invalid_await_event_wait_identity"

    async def test_a_host_says_of_itself_what_the_suite_was_told(self) -> None:
        async with self.rig() as rig:
            said = rig.host.capabilities
            assert said.owns_replay == self.journals
            assert (said.tier == "durable") == self.durable
            assert (said.journal_addressing == "none") == (not self.journals)

    async def test_every_host_that_is_opened_is_another(self) -> None:
        async with self.rig("cold_instances") as rig:
            assert await rig.open() is not rig.host

    async def test_effects_are_counted_and_returned(self) -> None:
        async with self.rig() as rig:
            drive = rig.drive()
            charge = Counted(done({"n": 1}))
            assert await drive.execute(envelope(step()), charge.executor()) == done({"n": 1})
            assert drive.counts == EffectCounts(executed=1)
            assert charge.runs == 1

    async def test_a_host_without_a_journal_runs_whatever_it_is_asked_for(self) -> None:
        if self.journals:
            pytest.skip("not for this host: it records effects (journals = True)")
        async with self.rig() as rig:
            drive, charge = rig.drive(), Counted(done())
            for _ in range(2):
                assert await drive.execute(envelope(step()), charge.executor()) == done()
            assert (charge.runs, drive.counts) == (2, EffectCounts(executed=2))
