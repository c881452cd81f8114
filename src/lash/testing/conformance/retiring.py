"""Retirement: what is finished may be let go of, what is not may not, and nothing else goes along."""

# ruff: noqa: D102  the name of a property says what it promises

from collections.abc import Sequence

import pytest

from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    QueueDrainScope,
    SessionDeleteScope,
    TurnScope,
    journal_key,
)
from lash.effects.journal import (
    AlreadyRecorded,
    Recorded,
    RetireFinished,
    Retirement,
    RetireOperation,
    RetireProcess,
    RetireSession,
    RetireTarget,
)
from lash.effects.transitions import SPILL_BYTES
from lash.effects.waits.model import ResolvedOk, UnknownOrRevoked
from lash.effects.waits.transitions import WaitMissing, WaitPending, WaitResolved
from lash.testing.conformance.rig import Properties, Rig, authority, expect
from lash.testing.conformance.samples import (
    BIG,
    CONTENT,
    YES,
    operation,
    record,
    turn_commit,
    wait_row,
)


async def finished(rig: Rig, *names: str) -> Sequence[str]:
    """Operations with a record each that are done; their scope keys."""
    keys = [await rig.recorded(operation(name)) for name in names]
    for key in keys:
        expect(Recorded, await rig.store.finish_scope(key, []))
    return keys


class RetireProperties(Properties):
    """`retire`."""

    # --- what is finished -----------------------------------------------------------------------

    async def test_finished_operations_go_and_those_under_way_stay(self) -> None:
        async with self.rig() as rig:
            (done,) = await finished(rig, "done")
            live = await rig.recorded(operation("live"))
            process = await rig.recorded(ProcessScope(process_id="p"))
            rig.clock.advance(1)
            gone = await rig.store.retire(RetireFinished(before_ms=rig.clock.now_ms()))
            assert (gone.scopes, gone.records, gone.more) == (1, 1, False)
            await rig.interlude()
            assert await rig.keys(done) == []
            assert await rig.keys(live) == await rig.keys(process) == ["r1"]

    async def test_what_was_finished_at_or_after_the_time_stays(self) -> None:
        async with self.rig() as rig:
            (early,) = await finished(rig, "early")
            rig.clock.advance(5)
            then = rig.clock.now_ms()
            (late,) = await finished(rig, "late")
            rig.clock.advance(5)
            await rig.interlude()
            gone = await rig.store.retire(RetireFinished(before_ms=then))
            assert gone.scopes == 1
            assert (await rig.keys(early), await rig.keys(late)) == ([], ["r1"])

    async def test_committed_turns_go_with_their_waits_and_open_ones_stay(self) -> None:
        async with self.rig() as rig:
            first = await rig.accept("t1")
            await rig.accept("t2")
            proof = authority(first.lease)
            scopes = [journal_key(TurnScope(session_id="s", turn_id=t)) for t in ("t1", "t2")]
            for scope in scopes:
                await rig.store.record(scope, [record("r1"), record("r2")], proof)
            ended = wait_row(rig.store)
            waiting = wait_row(rig.store, scope=TurnScope(session_id="s", turn_id="t2"))
            await rig.store.open_wait(ended)
            await rig.store.open_wait(waiting)
            await rig.store.commit_turn(turn_commit("t1", proof.fence))
            rig.clock.advance(1)
            await rig.interlude()
            gone = await rig.store.retire(RetireFinished(before_ms=rig.clock.now_ms()))
            assert (gone.scopes, gone.records, gone.waits) == (1, 2, 1)
            await rig.interlude()
            assert (await rig.keys(scopes[0]), await rig.keys(scopes[1])) == ([], ["r1", "r2"])
            assert await rig.stands(ended) == WaitMissing()
            assert await rig.stands(waiting) == WaitPending()
            # The conversation is not the journal's to forget.
            assert [turn.turn_id for turn in await rig.store.list_turns("s")] == ["t1"]
            assert len(list(await rig.store.load_path("s"))) == 2

    async def test_resolutions_nobody_came_for_go_with_their_scope(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await finished(rig, "o")
            await rig.accept("t2")
            late = wait_row(rig.store, scope=operation("o"))
            await rig.store.resolve_wait(late, YES)
            early = wait_row(rig.store, scope=TurnScope(session_id="s", turn_id="t2"))
            await rig.store.resolve_wait(early, YES)
            rig.clock.advance(1)
            await rig.interlude()
            gone = await rig.store.retire(RetireFinished(before_ms=rig.clock.now_ms()))
            assert gone.waits == 1
            await rig.interlude()
            assert await rig.stands(late) == WaitMissing()
            assert await rig.stands(early) == WaitResolved(resolution=YES)

    async def test_an_answer_that_somebody_waits_for_stays(self) -> None:
        async with self.rig() as rig:
            awaited = wait_row(rig.store, scope=operation("o"))
            await rig.store.open_wait(awaited)
            await rig.store.resolve_wait(awaited, YES)  # in the same millisecond
            rig.clock.advance(1)
            await rig.interlude()
            gone = await rig.store.retire(RetireFinished(before_ms=rig.clock.now_ms()))
            assert (gone.scopes, gone.waits) == (0, 0)
            assert await rig.stands(awaited) == WaitResolved(resolution=YES)

    async def test_what_is_taken_up_again_is_not_finished(self) -> None:
        async with self.rig() as rig:
            (key,) = await finished(rig, "o")
            rig.clock.advance(1)
            await rig.store.reopen_scope(key)
            await rig.store.reopen_scope("unknown")
            await rig.interlude()
            then = rig.clock.now_ms()
            assert (await rig.store.retire(RetireFinished(before_ms=then))).scopes == 0
            await rig.store.finish_scope(key, [])
            rig.clock.advance(1)
            assert (await rig.store.retire(RetireFinished(before_ms=then))).scopes == 0
            gone = await rig.store.retire(RetireFinished(before_ms=rig.clock.now_ms()))
            assert gone.scopes == 1

    async def test_an_answer_for_a_turn_that_is_over_comes_too_late(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            assert await rig.store.resolve_wait(wait_row(rig.store), YES) == UnknownOrRevoked()
            await rig.interlude()
            assert await rig.stands(wait_row(rig.store)) == WaitMissing()

    async def test_a_resolution_for_work_that_never_began_goes_when_nobody_can_come(self) -> None:
        async with self.rig() as rig:
            stray, joined = (wait_row(rig.store, scope=operation(name)) for name in ("o1", "o2"))
            other = wait_row(rig.store, "other", operation("o2"))
            process = wait_row(rig.store, scope=ProcessScope(process_id="p"))
            late = wait_row(rig.store, scope=operation("o3"))
            for row in (stray, joined, process):
                await rig.store.resolve_wait(row, YES)
            await rig.store.open_wait(other)  # somebody waits in that operation
            rig.clock.advance(1)
            then = rig.clock.now_ms()
            await rig.store.resolve_wait(late, YES)
            await rig.interlude()
            gone = await rig.store.retire(RetireFinished(before_ms=then))
            assert (gone.scopes, gone.records, gone.waits) == (1, 0, 1)
            await rig.interlude()
            assert await rig.stands(stray) == WaitMissing()
            for row in (joined, process, late):
                assert await rig.stands(row) == WaitResolved(resolution=YES)
            assert await rig.stands(other) == WaitPending()

    async def test_no_more_than_the_limit_goes_at_once(self) -> None:
        async with self.rig() as rig:
            keys = await finished(rig, *(f"o{number}" for number in range(5)))
            rig.clock.advance(1)
            target = RetireFinished(before_ms=rig.clock.now_ms())
            rounds: list[tuple[int, int, bool]] = []
            while len(rounds) < 5:
                gone = await rig.store.retire(target, limit=2)
                await rig.interlude()
                rounds.append((gone.scopes, gone.records, gone.more))
                if not gone.more:
                    break
            assert rounds == [(2, 2, True), (2, 2, True), (1, 1, False)]
            assert [await rig.keys(key) for key in keys] == [[]] * 5
            assert await rig.store.retire(target) == Retirement()

    # --- what is named --------------------------------------------------------------------------

    async def test_a_sessions_turns_drains_and_deletion_go_finished_or_not(self) -> None:
        async with self.rig() as rig:
            keys = [await rig.recorded(scope, "r1", "r2") for scope in _scopes_of("s")]
            others = [await rig.recorded(scope) for scope in _BYSTANDERS]
            await rig.interlude()
            gone = await rig.store.retire(RetireSession(session_id="s"))
            assert (gone.scopes, gone.records, gone.more) == (3, 6, False)
            await rig.interlude()
            assert [await rig.keys(key) for key in keys] == [[]] * 3
            assert [await rig.keys(key) for key in others] == [["r1"]] * len(others)

    async def test_the_limit_holds_for_a_session_too(self) -> None:
        async with self.rig() as rig:
            for scope in _scopes_of("s"):
                await rig.recorded(scope)
            first = await rig.store.retire(RetireSession(session_id="s"), limit=2)
            second = await rig.store.retire(RetireSession(session_id="s"), limit=2)
            assert (first.scopes, first.more) == (2, True)
            assert (second.scopes, second.more) == (1, False)

    @pytest.mark.parametrize(
        ("scope", "target"),
        [
            (ProcessScope(process_id="s"), RetireProcess(process_id="s")),
            (operation("s"), RetireOperation(operation_id="s")),
        ],
        ids=["process", "operation"],
    )
    async def test_a_process_or_operation_goes_by_its_exact_name(
        self, scope: ExecutionScope, target: RetireTarget
    ) -> None:
        async with self.rig() as rig:
            bystanders = (*_BYSTANDERS, *_scopes_of("s"), *_LOOKALIKES)
            others = [await rig.recorded(other) for other in bystanders if other != scope]
            key = await rig.recorded(scope, "r1", "r2")
            row = wait_row(rig.store, scope=scope)
            await rig.store.open_wait(row)
            await rig.interlude()
            gone = await rig.store.retire(target)
            assert (gone.scopes, gone.records, gone.waits, gone.more) == (1, 2, 1, False)
            await rig.interlude()
            assert await rig.keys(key) == []
            assert await rig.stands(row) == WaitMissing()
            assert [await rig.keys(other) for other in others] == [["r1"]] * len(others)

    async def test_a_name_nobody_has_retires_nothing(self) -> None:
        async with self.rig() as rig:
            key = await rig.recorded(operation("o"))
            for target in (
                RetireSession(session_id="%"),
                RetireProcess(process_id="o"),
                RetireOperation(operation_id="_"),
                RetireFinished(before_ms=rig.clock.now_ms() + 60_000),
            ):
                gone = await rig.store.retire(target)
                assert (gone.scopes, gone.records, gone.waits, gone.more) == (0, 0, 0, False)
            assert await rig.keys(key) == ["r1"]

    async def test_what_was_retired_may_be_recorded_again(self) -> None:
        async with self.rig() as rig:
            key = await rig.recorded(operation("o"), outcome='"old"')
            await rig.store.finish_scope(key, [])
            await rig.store.retire(RetireOperation(operation_id="o"))
            await rig.interlude()
            await rig.recorded(operation("o"), outcome='"new"')
            rig.clock.advance(1)
            # It is under way again, whatever was finished under its name before.
            await rig.store.retire(RetireFinished(before_ms=rig.clock.now_ms()))
            await rig.interlude()
            assert await rig.store.lookup(key, "r1") == record("r1", '"new"')

    # --- what lies beside the rows --------------------------------------------------------------

    async def test_a_big_outcome_comes_back_as_it_was_given(self) -> None:
        async with self.rig() as rig:
            key = journal_key(operation("o"))
            given = [record("r1", BIG), record("r2", '"small"'), record("r3", BIG)]
            expect(Recorded, await rig.store.record(key, given, None))
            await rig.interlude()
            assert await rig.store.lookup(key, "r3") == given[2]
            assert list(await rig.store.load_journal(key)) == given
            answer = await rig.store.record(key, [record("r1", '"other"')], None)
            assert expect(AlreadyRecorded, answer).winner == given[0]

    async def test_equal_big_outcomes_share_nothing_that_shows(self) -> None:
        async with self.rig() as rig:
            first, second = operation("first"), operation("second")
            gone = await rig.recorded(first, outcome=BIG)
            stays = await rig.recorded(second, outcome=BIG)
            await rig.store.retire(RetireOperation(operation_id="first"))
            await rig.interlude()
            assert await rig.store.lookup(gone, "r1") is None
            assert await rig.store.lookup(stays, "r1") == record("r1", BIG)
            await rig.recorded(first, outcome=BIG)
            await rig.store.retire(RetireOperation(operation_id="second"))
            await rig.interlude()
            assert await rig.store.lookup(gone, "r1") == record("r1", BIG)

    async def test_surroundings_are_readable_until_their_last_record_goes(self) -> None:
        async with self.rig() as rig:
            given = record("r1", surroundings="1:abc", content=CONTENT)
            await rig.store.record(journal_key(operation("a")), [given], None)
            known = record("r1", surroundings="1:abc")
            await rig.store.record(journal_key(operation("b")), [known], None)
            await rig.store.retire(RetireOperation(operation_id="a"))
            await rig.interlude()
            assert await rig.store.load_surroundings("1:abc") == CONTENT
            await rig.store.retire(RetireOperation(operation_id="b"))
            await rig.interlude()
            assert await rig.store.load_surroundings("1:abc") is None

    async def test_big_payloads_of_waits_come_back_as_they_were_given(self) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store, scope=operation("o"))
            payload = ResolvedOk(payload={"text": "é" * SPILL_BYTES})
            await rig.store.resolve_wait(row, payload)
            await rig.interlude()
            assert await rig.stands(row) == WaitResolved(resolution=payload)


def _scopes_of(session: str) -> Sequence[ExecutionScope]:
    return (
        TurnScope(session_id=session, turn_id="t1"),
        QueueDrainScope(session_id=session, drain_id="t1"),
        SessionDeleteScope(session_id=session),
    )


#: Scopes whose names have something of `s` and are not of the session `s`.
_BYSTANDERS: Sequence[ExecutionScope] = (
    TurnScope(session_id="s2", turn_id="s"),
    TurnScope(session_id="S", turn_id="t1"),
    TurnScope(session_id='s"', turn_id="t1"),
    TurnScope(session_id="_", turn_id="t1"),
    ProcessScope(process_id="s"),
    operation("s"),
)
_LOOKALIKES: Sequence[ExecutionScope] = (
    ProcessScope(process_id="s:1"),
    ProcessScope(process_id="S"),
    ProcessScope(process_id="%"),
    operation("s:1"),
    operation("S"),
    operation("%"),
)
