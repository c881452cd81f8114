"""How a process ends: once, by whoever has the right, and all of it in one write."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio
from collections.abc import Mapping
from typing import TypeAlias

import msgspec
import pytest

from lash.core.scopes import ProcessScope
from lash.effects.journal import RetireFinished
from lash.effects.waits.model import ResolvedCancelled
from lash.effects.waits.transitions import WaitPending, WaitResolved
from lash.processes.events import EventSemantics, ProcessEvent, Terminal
from lash.processes.model import (
    RecoveryDisposition,
)
from lash.processes.outcomes import (
    CompletionAuthority,
    ExternalOwner,
    ProcessAwaitOutput,
    ProcessFailure,
    ProcessSuccess,
    ReconciledAbandon,
    WorkflowKey,
)
from lash.processes.writes import (
    AbandonRun,
    AlreadyApplied,
    CompleteByAuthority,
    CompleteRun,
    FenceLost,
    Superseded,
    Written,
)
from lash.testing.conformance.processes.registry import BANK, ProcessProperties, proof
from lash.testing.conformance.processes.samples import (
    ABANDONED,
    CANCELLED,
    DONE,
    FAILED,
    START_MS,
    scope,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN, claim, record, wait_row

_OUTCOMES: Mapping[str, tuple[ProcessAwaitOutput, str, str]] = {
    "success": (DONE, "completed", "process.completed"),
    "failure": (FAILED, "failed", "process.failed"),
    "cancelled": (CANCELLED, "cancelled", "process.cancelled"),
    "abandoned": (ABANDONED, "abandoned", "process.abandoned"),
}
_AUTHORITIES: Mapping[str, CompletionAuthority] = {
    "external owner": BANK,
    "workflow key": WorkflowKey(workflow_key="w-7"),
    "reconciled abandon": ReconciledAbandon(),
}
_EVERY = frozenset(_OUTCOMES)
_May: TypeAlias = Mapping[tuple[str, RecoveryDisposition], frozenset[str]]
#: What may be said by which right of which process; nothing else may.
_ALLOWED: _May = {
    ("external owner", "externally_owned"): _EVERY,
    ("workflow key", "rerunnable"): _EVERY,
    ("workflow key", "owner_bound"): _EVERY,
    ("reconciled abandon", "externally_owned"): frozenset({"abandoned"}),
}
_DISPOSITIONS: tuple[RecoveryDisposition, ...] = ("rerunnable", "owner_bound", "externally_owned")


class CompleteProperties(ProcessProperties):
    """`write_process(CompleteRun)`, `CompleteByAuthority`."""

    @pytest.mark.parametrize("kind", _OUTCOMES)
    async def test_a_process_ends_as_its_runner_says(self, kind: str) -> None:
        async with self.registry() as registry:
            outcome, status, event_type = _OUTCOMES[kind]
            lease = await registry.running()
            registry.later(5)
            await registry.complete(lease, outcome)
            await registry.interlude()
            record_ = await registry.load()
            assert (record_.status, record_.outcome, record_.retired) == (status, outcome, True)
            assert record_.state.updated_at_ms == START_MS + 5
            assert (record_.lease.held, record_.lease.fencing_token) == (None, 1)
            assert (await registry.log())[-1] == ProcessEvent(
                process_id="p",
                sequence=2,
                event_type=event_type,
                payload={"await_output": msgspec.to_builtins(outcome)},
                occurred_at_ms=START_MS + 5,
                semantics=EventSemantics(terminal=Terminal(status=record_.status)),  # type: ignore[arg-type]  # it has ended
                replay_key=f"process:p:terminal:{event_type}",
            )

    async def test_end_journal_and_lease_are_one_write(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.store.record(scope(), [record("r1", '"first"')], proof(lease))
            row = wait_row(registry.store, scope=ProcessScope(process_id="p"))
            await registry.store.open_wait(row)
            late = [record("r2"), record("r1", '"second"'), record("r3")]
            await registry.complete(lease, records=late)
            await registry.interlude()
            kept = [record("r1", '"first"'), record("r2"), record("r3")]
            assert list(await registry.store.load_journal(scope())) == kept
            (waiting,) = await registry.store.list_waits(scope())
            assert await registry.rig.stands(waiting) == WaitResolved(
                resolution=ResolvedCancelled()
            )
            registry.later()
            gone = await registry.store.retire(RetireFinished(before_ms=registry.now_ms))
            assert (gone.scopes, gone.records, gone.waits) == (1, 3, 1)

    async def test_who_lost_the_lease_ends_nothing_and_writes_nothing(self) -> None:
        async with self.registry() as registry:
            stale = await registry.running()
            row = wait_row(registry.store, scope=ProcessScope(process_id="p"))
            await registry.store.open_wait(row)
            registry.expire()
            lease = await registry.begin(owner=BEN)
            ending = CompleteRun(
                fence=stale.fence, outcome=DONE, records=(record("r1"),), scope_key=scope()
            )
            async with registry.untouched():
                assert await registry.result(ending) == FenceLost()
            assert await registry.journal() == []
            assert await registry.rig.stands(row) == WaitPending()
            assert (await registry.load()).lease.held == lease
            await registry.complete(lease, FAILED)
            assert (await registry.load()).outcome == FAILED

    async def test_ending_it_again_the_same_way_is_answered_without_a_lease(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            ended = await registry.complete(lease, records=[record("r1")])
            registry.later()
            again = CompleteRun(
                fence=lease.fence, outcome=DONE, records=(record("r2"),), scope_key=scope()
            )
            async with registry.untouched():
                answer = expect(AlreadyApplied, await registry.result(again))
            assert answer.record == ended
            assert answer.event == (await registry.log())[-1]
            assert await registry.journal() == ["r1"]

    async def test_another_end_comes_too_late(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            ended = await registry.complete(lease, DONE)
            other = ProcessSuccess(value={"refunded": []})
            writes = (
                CompleteRun(fence=lease.fence, outcome=other, scope_key=scope()),
                CompleteRun(fence=lease.fence, outcome=CANCELLED, scope_key=scope()),
                CompleteByAuthority(outcome=FAILED, authority=WorkflowKey(workflow_key="w")),
                AbandonRun(claim=claim(ANA), writer="owner_drain"),
            )
            for write in writes:
                async with registry.untouched():
                    assert await registry.result(write) == Superseded(record=ended)

    async def test_of_many_ends_at_once_the_first_stands(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", "externally_owned")
            answers = await asyncio.gather(
                *(
                    registry.result(
                        CompleteByAuthority(outcome=ProcessSuccess(value=n), authority=BANK)
                    )
                    for n in range(8)
                )
            )
            (place,) = [n for n, answer in enumerate(answers) if isinstance(answer, Written)]
            late = [answer for n, answer in enumerate(answers) if n != place]
            await registry.interlude()
            assert await registry.types() == ["process.completed"]
            ended = await registry.load()
            assert ended.outcome == ProcessSuccess(value=place)
            assert all(expect(Superseded, answer).record == ended for answer in late)

    # --- without a lease ------------------------------------------------------------------------

    @pytest.mark.parametrize("disposition", _DISPOSITIONS)
    @pytest.mark.parametrize("right", _AUTHORITIES)
    async def test_who_may_end_which_process_and_how(
        self, right: str, disposition: RecoveryDisposition
    ) -> None:
        async with self.registry() as registry:
            for kind, (outcome, status, event_type) in _OUTCOMES.items():
                await registry.register(kind, disposition)
                write = CompleteByAuthority(outcome=outcome, authority=_AUTHORITIES[right])
                if kind in _ALLOWED.get((right, disposition), frozenset()):
                    await registry.write(write, kind)
                    await registry.interlude()
                    record_ = await registry.load(kind)
                    assert (record_.status, record_.outcome) == (status, outcome)
                    assert await registry.types(kind) == [event_type]
                else:
                    async with registry.untouched(kind):
                        code = await registry.refusal(write, kind)
                    assert code == "process_completion_refused"

    async def test_the_right_is_kept_as_evidence(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", "externally_owned")
            await registry.write(CompleteByAuthority(outcome=CANCELLED, authority=BANK))
            await registry.interlude()
            (event,) = await registry.log()
            assert event.payload == {
                "await_output": {
                    "type": "cancelled",
                    "message": "The customer kept it.",
                    "raw": ["thanks"],
                },
                "completion_authority": {"authority": "external_owner", "granted_to": "bank"},
            }

    async def test_the_same_end_by_the_same_right_is_answered_and_by_another_is_too_late(
        self,
    ) -> None:
        async with self.registry() as registry:
            await registry.register("p", "externally_owned")
            write = CompleteByAuthority(outcome=DONE, authority=BANK)
            ended = (await registry.write(write)).record
            other = CompleteByAuthority(outcome=DONE, authority=ExternalOwner(granted_to="shop"))
            async with registry.untouched():
                again = expect(AlreadyApplied, await registry.result(write))
                assert (again.record, again.event) == (ended, (await registry.log())[-1])
                assert await registry.result(other) == Superseded(record=ended)

    async def test_an_end_from_outside_takes_the_lease_from_its_runner(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            by_key = CompleteByAuthority(outcome=DONE, authority=WorkflowKey(workflow_key="w"))
            ended = (await registry.write(by_key)).record
            assert ended.lease.held is None
            async with registry.untouched():
                assert await registry.renew(lease) == ["p"]
                late = CompleteRun(fence=lease.fence, outcome=FAILED, scope_key=scope())
                assert await registry.result(late) == Superseded(record=ended)

    async def test_an_outcome_may_be_large(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            large = ProcessFailure(
                failure_class="internal", code="x", message="é☃" * 200_000, raw=["y" * 500_000]
            )
            await registry.complete(lease, large)
            await registry.interlude()
            assert (await registry.load()).outcome == large
