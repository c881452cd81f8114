"""Whatever is done to a process, its state is the fold of its log, and an end is an end."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from process_play import ANA, Play, claim_by
from process_writes import FORGED, STEPS, bound

from lash.core.leases import Fence, LeaseState
from lash.processes.events import after, fold
from lash.processes.listing import ProcessFilter, matches
from lash.processes.model import (
    AbandonRequest,
    ProcessRecord,
    ProcessSegment,
    ProcessStarted,
    ProcessState,
    RecoveryDisposition,
)
from lash.processes.outcomes import ProcessSuccess
from lash.processes.running import runnable_at
from lash.processes.writes import (
    ChangeObservers,
    ClaimRun,
    ClearWait,
    CompleteRun,
    ContinueRun,
    MarkWait,
    ParkRun,
    ProcessWrite,
    ReleaseRun,
    RequestAbandon,
    RetargetWakes,
    RunRefused,
    Written,
)
from lash.testing.conformance.processes.samples import (
    CANCELLED,
    PERSON,
    START_MS,
    cancel,
    note,
    rest,
    ring,
    wait,
)

Step: TypeAlias = tuple[int, ProcessWrite, bool]

DISPOSITIONS: list[RecoveryDisposition] = ["rerunnable", "owner_bound", "externally_owned"]
dispositions = st.sampled_from(DISPOSITIONS)


def refolded(play: Play) -> ProcessState:
    return fold(play.record.registration, play.record.created_at_ms, play.events)


def fence_of(play: Play) -> Fence:
    held = play.record.lease.held
    assert held is not None
    return held.fence


# --- histories by hand --------------------------------------------------------------------------------


def test_a_process_without_events_is_as_it_was_registered() -> None:
    play = Play()

    assert refolded(play) == play.record.state == ProcessState(updated_at_ms=START_MS)


def test_a_history_told_step_by_step() -> None:
    play, states = Play(), list[tuple[str, int, int]]()

    def do(write: ProcessWrite) -> None:
        play.now_ms += 1
        assert isinstance(play.do(write), Written)
        state = refolded(play)
        assert state == play.record.state
        states.append((state.status, state.sequence, state.failures))

    do(ClaimRun(claim=claim_by()))
    do(note(1))
    do(ReleaseRun(fence=fence_of(play), retry=rest(START_MS)))
    do(ClaimRun(claim=claim_by()))
    do(MarkWait(fence=fence_of(play), wait=wait()))
    do(cancel("enough"))
    do(ClearWait(fence=fence_of(play)))
    do(ContinueRun(fence=fence_of(play), segment=ProcessSegment(ordinal=1, payload=7)))
    do(ParkRun(fence=fence_of(play), parked=PERSON))
    do(ClaimRun(claim=claim_by(), parked_too=True))
    do(CompleteRun(fence=fence_of(play), outcome=CANCELLED))

    assert states == [
        ("running", 1, 0),
        ("running", 2, 0),
        ("running", 3, 1),
        ("running", 4, 1),
        ("waiting", 5, 0),
        ("waiting", 6, 0),
        ("running", 7, 0),
        ("running", 8, 0),
        ("waiting", 9, 0),
        ("running", 10, 0),
        ("cancelled", 11, 0),
    ]
    state = play.record.state
    assert state.updated_at_ms == START_MS + 11
    assert state.first_started == ProcessStarted(
        owner=ANA, started_at_ms=START_MS + 1, fencing_token=1, attempt=1
    )
    assert state.started == ProcessStarted(
        owner=ANA, started_at_ms=START_MS + 10, fencing_token=3, attempt=3
    )
    assert (state.segment.ordinal, state.outcome) == (1, CANCELLED)
    assert (play.record.payload, play.record.lease) == (7, LeaseState(fencing_token=3))


def test_an_event_that_a_later_version_knows_changes_only_the_place() -> None:
    play = Play()
    play.do(note(1))
    known = play.events[0]

    state = after(play.record.state, known)

    assert (state.sequence, state.status) == (1, "running")


def test_a_wake_of_an_audit_event_is_none() -> None:
    play = Play()
    play.do(RetargetWakes(session_id="s"))
    play.do(ring("hello"))
    play.do(ChangeObservers(by="ana", add=("s",)))

    assert [(wake.sequence, wake.text) for wake in play.wakes] == [(2, "hello")]


# --- any history --------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, disposition=dispositions)
def test_any_history_is_what_its_log_says(
    steps: Sequence[Step], disposition: RecoveryDisposition
) -> None:
    play, fences = Play(disposition), [FORGED]
    for passed_ms, drawn, rereads in steps:
        play.now_ms += passed_ms
        before = play.record
        write = bound(drawn, fences, before.state.segment.ordinal)
        plan = play.plan(write)
        result = play.do(write)
        # Nothing is persisted unless something was written, and that is what is told.
        assert (plan.record is None) == (not isinstance(result, Written))
        if not isinstance(result, Written):
            assert (plan.events, plan.wakes, plan.records, plan.scope_key) == ((), (), (), "")
            assert play.record is before
            continue
        assert result.record == play.record == plan.record
        assert result.event == (plan.events[-1] if plan.events else None)
        assert play.record.change == before.change + bool(plan.events)
        if result.lease is not None:
            fences.append(result.lease.fence)
        assert play.record.lease.fencing_token >= before.lease.fencing_token
        if rereads:
            play.reread()
        check(play, before)


def check(play: Play, before: ProcessRecord) -> None:
    """What holds of every process at every moment."""
    record = play.record
    assert [event.sequence for event in play.events] == list(range(1, len(play.events) + 1))
    assert refolded(play) == record.state
    keyed = [event.replay_key for event in play.events if event.replay_key is not None]
    assert len(keyed) == len(set(keyed))
    if record.retired:
        assert record.lease.held is None
        assert record.outcome is not None
        assert runnable_at(record) is None
    else:
        assert record.outcome is None
    if before.retired:
        assert (record.status, record.outcome) == (before.status, before.outcome)
        last = play.events[-1].event_type
        assert last in {
            "process.observer_added",
            "process.observer_removed",
            "process.subscription_retargeted",
        }


def played(steps: Sequence[Step], disposition: RecoveryDisposition) -> Play:
    """A process to which all of it was done, and whose leases have expired."""
    play, fences = Play(disposition), [FORGED]
    for passed_ms, write, _ in steps:
        play.now_ms += passed_ms
        result = play.do(bound(write, fences, play.record.state.segment.ordinal))
        if isinstance(result, Written) and result.lease is not None:
            fences.append(result.lease.fence)
    play.now_ms += 30_000
    return play


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, disposition=dispositions)
def test_a_stale_fence_never_writes(
    steps: Sequence[Step], disposition: RecoveryDisposition
) -> None:
    play = Play(disposition)
    for passed_ms, drawn, _ in steps:
        play.now_ms += passed_ms
        write = bound(drawn, [FORGED])
        result = play.do(write)
        if getattr(write, "fence", None) is not None:
            assert not isinstance(result, Written)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, disposition=dispositions)
def test_what_is_worth_claiming_is_what_can_be_claimed(
    steps: Sequence[Step], disposition: RecoveryDisposition
) -> None:
    """By somebody who knows whoever runs it now to be dead."""
    play = played(steps, disposition)
    dead = msgspec.structs.replace(claim_by(), presumed_dead=play.record.lease.fencing_token)
    try_it = ClaimRun(claim=dead, parked_too=True)
    due = runnable_at(play.record)
    if play.record.lease.held is not None and play.record.lease.held.owner == ANA:
        return  # nobody takes himself for dead
    assert isinstance(play.plan(try_it).result, Written) == (due is not None and due <= play.now_ms)
    if due is not None:
        play.now_ms = max(due, play.now_ms)
        assert isinstance(play.do(try_it), Written)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, disposition=dispositions)
def test_who_gives_a_process_up_sees_it_ended(
    steps: Sequence[Step], disposition: RecoveryDisposition
) -> None:
    play = played(steps, disposition)
    play.do(RequestAbandon(request=AbandonRequest(requested_by="ana", requested_at_ms=START_MS)))
    play.do(ClaimRun(claim=claim_by()))

    assert play.record.retired


# --- filters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "meant"),
    [("any", True), ("live", False), ("retired", True), ("completed", True), ("failed", False)],
)
def test_an_end_is_retired_and_not_live(status: str, *, meant: bool) -> None:
    play = Play()
    play.do(ClaimRun(claim=claim_by()))
    play.do(CompleteRun(fence=fence_of(play), outcome=ProcessSuccess()))
    wanted = ProcessFilter(status=status)  # type: ignore[arg-type]  # one of them

    assert matches(play.record, wanted, observed=False) is meant


def test_an_ended_process_is_refused_to_every_owner() -> None:
    play = Play()
    play.do(ClaimRun(claim=claim_by()))
    play.do(CompleteRun(fence=fence_of(play), outcome=ProcessSuccess()))

    refused = play.do(ClaimRun(claim=claim_by(), parked_too=True))

    assert isinstance(refused, RunRefused)
    assert refused.why == "retired"
