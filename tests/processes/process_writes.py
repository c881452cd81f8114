"""Everything that can be done to a process, drawn from few values so that they meet. Never collected."""

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from lash.core.leases import Fence, LeaseClaim
from lash.processes.model import (
    AbandonRequest,
    EventWaitKind,
    ExternalRef,
    ProcessParked,
    ProcessRetry,
    ProcessSegment,
    ProcessWaitKind,
    SignalWaitKind,
    TimerWaitKind,
    WaitState,
)
from lash.processes.outcomes import (
    ExternalOwner,
    ProcessAwaitOutput,
    ProcessSuccess,
    ReconciledAbandon,
    WorkflowKey,
)
from lash.processes.writes import (
    AbandonRun,
    AppendEvent,
    ChangeObservers,
    ClaimRun,
    ClearWait,
    CompleteByAuthority,
    CompleteRun,
    ContinueRun,
    MarkWait,
    ParkRun,
    ProcessWrite,
    ReleaseRun,
    RequestAbandon,
    RetargetWakes,
    SetExternalRef,
)
from lash.testing.conformance.processes.samples import (
    ABANDONED,
    CANCELLED,
    CODE,
    DONE,
    FAILED,
    PERSON,
    START_MS,
)
from lash.testing.conformance.samples import ANA, BEN, claim, record

FORGED = Fence(fencing_token=1, nonce="forged")
#: Stand for fences that are known only once they were given; see `bound`.
LATEST = Fence(fencing_token=-1, nonce="latest")
EARLIER = Fence(fencing_token=-2, nonce="earlier")

outcomes: st.SearchStrategy[ProcessAwaitOutput] = st.sampled_from(
    [DONE, FAILED, CANCELLED, ABANDONED, ProcessSuccess(value={"sum": 1})]
)
replay_keys = st.sampled_from([None, "k1", "k2", "k3"])
payloads = st.sampled_from(
    [{"n": 1}, {"n": 2}, {"text": "hi"}, {"why": "no"}, {"by": "ana"}, {}, {"reason": "stop"}]
)
names = st.sampled_from(
    [
        "note",
        "ring",
        "sold",
        "broke",
        "stopped",
        "signal.hello",
        "signal.approve",
        "signal.other",
        "process.cancel_requested",
        "process.started",
        "undeclared",
    ]
)
kinds = st.sampled_from(
    [
        TimerWaitKind(),
        SignalWaitKind(name="hello", ordinal=1),
        SignalWaitKind(name="hello", ordinal=2),
        ProcessWaitKind(process_id="child"),
        EventWaitKind(name="approval"),
    ]
)
times = st.sampled_from([START_MS, START_MS + 5, START_MS + 40_000, START_MS + 10**9])
sessions = st.sampled_from([None, "s", "z"])
seen_by = st.lists(st.sampled_from(["s", "z", "y"]), max_size=2, unique=True).map(tuple)


def claims() -> st.SearchStrategy[LeaseClaim]:
    """Two owners, who now and then take each other for dead."""
    return st.builds(
        claim,
        st.sampled_from([ANA, BEN]),
        nonce=st.sampled_from(["n1", "n2", "n3"]),
        presumed_dead=st.sampled_from([None, None, None, 1, 2]),
    )


def waits() -> st.SearchStrategy[WaitState]:
    """What processes wait for."""
    due = st.none() | times
    return st.builds(WaitState, kind=kinds, since_ms=times, due_at_ms=due)


def bound(write: ProcessWrite, fences: Sequence[Fence], segment: int = 0) -> ProcessWrite:
    """A write with the fence that it was drawn for: the latest that was given, or an earlier one.

    A process goes on in the segment behind `segment`, or says again that it is in that.
    """
    asked = getattr(write, "fence", None)
    if asked == LATEST:
        write = msgspec.structs.replace(write, fence=fences[-1])
    if asked == EARLIER:
        write = msgspec.structs.replace(write, fence=fences[len(fences) // 2])
    if isinstance(write, ContinueRun):
        ordinal = segment + write.segment.ordinal
        told = ProcessSegment(ordinal=ordinal, payload={"page": ordinal} if ordinal else None)
        write = msgspec.structs.replace(write, segment=told)
    return write


def writes() -> st.SearchStrategy[ProcessWrite]:
    """Any write; its fence is to be bound."""
    fence = st.sampled_from([LATEST, LATEST, LATEST, LATEST, EARLIER, FORGED])
    records = st.lists(
        st.sampled_from([record("r1"), record("r1", '"other"'), record("r2")]), max_size=2
    ).map(tuple)
    parked: st.SearchStrategy[ProcessParked] = st.sampled_from([PERSON, CODE])
    retry = st.builds(
        ProcessRetry,
        code=st.just("process_recovery_failed"),
        message=st.just("no disk"),
        next_attempt_at_ms=times,
    )
    request = st.builds(
        AbandonRequest,
        requested_by=st.sampled_from(["ana", "ben"]),
        requested_at_ms=st.just(START_MS),
    )
    authority = st.sampled_from(
        [ExternalOwner(granted_to="bank"), WorkflowKey(workflow_key="w"), ReconciledAbandon()]
    )
    return st.one_of(
        st.builds(
            AppendEvent,
            event_type=names,
            payload=payloads,
            replay_key=replay_keys,
            fence=st.none() | fence,
        ),
        st.builds(ClaimRun, claim=claims(), parked_too=st.booleans()),
        st.builds(ReleaseRun, fence=fence, retry=st.none() | retry),
        st.builds(ParkRun, parked=parked, fence=st.none() | fence),
        st.builds(MarkWait, fence=fence, wait=waits()),
        st.builds(ClearWait, fence=fence),
        st.builds(
            CompleteRun,
            fence=fence,
            outcome=outcomes,
            records=records,
            scope_key=st.just("scope"),
        ),
        st.builds(CompleteByAuthority, outcome=outcomes, authority=authority),
        st.builds(AbandonRun, claim=claims(), writer=st.sampled_from(["owner_drain", "sweep"])),
        st.builds(
            ContinueRun,
            fence=fence,
            segment=st.builds(ProcessSegment, ordinal=st.sampled_from([0, 1, 1])),
            records=records,
            scope_key=st.just("scope"),
        ),
        st.builds(
            SetExternalRef,
            external_ref=st.builds(
                ExternalRef, backend=st.just("bank"), id=st.sampled_from(["1", "2"])
            ),
        ),
        st.builds(RequestAbandon, request=request),
        st.builds(RetargetWakes, session_id=sessions),
        st.builds(ChangeObservers, by=st.just("ana"), add=seen_by, remove=seen_by),
    )


#: What is done after how many milliseconds, and whether the process is read back afterwards.
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 1, 1, 29_999, 30_000]), writes(), st.booleans()),
    min_size=5,
    max_size=40,
)
