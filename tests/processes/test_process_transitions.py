"""What comes of every write in every state, in one table; and who is told what about leases."""

from collections.abc import Mapping
from typing import get_args

import msgspec
import pytest
from process_play import ANA, Play, claim_by

from lash.core.leases import Fence
from lash.processes.model import AbandonRequest, ExternalRef, ProcessSegment
from lash.processes.outcomes import ExternalOwner, WorkflowKey
from lash.processes.running import runnable_at
from lash.processes.writes import (
    AbandonRun,
    AlreadyApplied,
    AppendEvent,
    ChangeObservers,
    ClaimRun,
    ClearWait,
    CompleteByAuthority,
    CompleteRun,
    ContinueRun,
    FenceLost,
    MarkWait,
    ParkRun,
    ProcessWrite,
    ReleaseRun,
    RequestAbandon,
    RetargetWakes,
    RunBusy,
    RunRefused,
    SetExternalRef,
    Superseded,
    WriteRefused,
    WriteResult,
    Written,
)
from lash.testing.conformance.processes.samples import (
    CODE,
    DONE,
    PERSON,
    START_MS,
    cancel,
    note,
    rest,
    signal,
    wait,
)
from lash.testing.conformance.samples import BEN, record

NOBODY = Fence(fencing_token=0, nonce="nobody")
REQUEST = AbandonRequest(requested_by="ana", requested_at_ms=START_MS)

STATES = (
    "new",
    "running",
    "waiting",
    "parked",
    "lacks code",
    "resting",
    "given up",
    "bound",
    "external",
    "external given up",
    "ended",
)


def brought(state: str) -> tuple[Play, Fence]:
    """A process in a state, and the fence of whoever runs it or ran it last."""
    if state in {"external", "external given up"}:
        play = Play("externally_owned")
        if state == "external given up":
            play.do(RequestAbandon(request=REQUEST))
        return play, NOBODY
    play = Play("owner_bound" if state == "bound" else "rerunnable")
    if state == "given up":
        play.do(RequestAbandon(request=REQUEST))
    if state in {"new", "given up"}:
        return play, NOBODY
    begun = play.do(ClaimRun(claim=claim_by()))
    assert isinstance(begun, Written)
    assert begun.lease is not None
    fence = begun.lease.fence
    writes: Mapping[str, ProcessWrite] = {
        "waiting": MarkWait(fence=fence, wait=wait()),
        "parked": ParkRun(fence=fence, parked=PERSON),
        "lacks code": ParkRun(fence=fence, parked=CODE),
        "resting": ReleaseRun(fence=fence, retry=rest(START_MS + 60_000)),
        "bound": ReleaseRun(fence=fence),
        "ended": CompleteRun(fence=fence, outcome=DONE),
    }
    if state in writes:
        assert isinstance(play.do(writes[state]), Written)
    return play, fence


def asked(operation: str, fence: Fence) -> ProcessWrite:
    """What is done. Whoever claims is another owner than the one who ran it."""
    writes: Mapping[str, ProcessWrite] = {
        "claim": ClaimRun(claim=claim_by(BEN)),
        "claim on purpose": ClaimRun(claim=claim_by(BEN), parked_too=True),
        "release": ReleaseRun(fence=fence),
        "rest": ReleaseRun(fence=fence, retry=rest(START_MS + 1)),
        "park": ParkRun(fence=fence, parked=PERSON),
        "lack code": ParkRun(parked=CODE),
        "wait": MarkWait(fence=fence, wait=wait()),
        "resume": ClearWait(fence=fence),
        "complete": CompleteRun(fence=fence, outcome=DONE, records=(record("r"),), scope_key="s"),
        "by key": CompleteByAuthority(outcome=DONE, authority=WorkflowKey(workflow_key="w")),
        "by owner": CompleteByAuthority(outcome=DONE, authority=ExternalOwner()),
        "abandon": AbandonRun(claim=claim_by(BEN), writer="sweep"),
        "continue": ContinueRun(fence=fence, segment=ProcessSegment(ordinal=1), scope_key="s"),
        "external ref": SetExternalRef(external_ref=ExternalRef(backend="b", id="1")),
        "give up": RequestAbandon(request=REQUEST),
        "cancel": cancel(),
        "signal": signal("hello", 1, "1"),
        "say": note(1),
        "say, fenced": note(1, fence=fence),
        "sell": AppendEvent(event_type="sold", payload=1, replay_key="end", fence=fence),
        "retarget": RetargetWakes(session_id="z"),
        "observe": ChangeObservers(by="ana", add=("z",)),
    }
    return writes[operation]


def told(result: WriteResult) -> str:
    """What comes of it, in a word."""
    match result:
        case Written(event=event):
            return event.event_type.removeprefix("process.") if event else "written"
        case AlreadyApplied():
            return "="
        case FenceLost():
            return "lost"
        case RunBusy():
            return "busy"
        case Superseded():
            return "late"
        case RunRefused(why=why):
            return f"-{why}"
        case WriteRefused(code=code):
            return f"-{code.removeprefix('process_')}"
        case _:
            return type(result).__name__


#: By operation, what comes of it in each state, in their order. "?": nobody does that.
TABLE = """
claim            | started busy busy -parked started -resting abandoned -owner_bound -externally_owned abandoned -retired
claim on purpose | started busy busy started started -resting abandoned -owner_bound -externally_owned abandoned -retired
release          | lost written written lost lost lost lost lost lost lost lost
rest             | lost retry_scheduled retry_scheduled lost lost lost lost lost lost lost lost
park             | lost parked parked lost lost lost lost lost lost lost lost
lack code        | parked = = = = parked parked ? ? ? =
wait             | lost waiting = lost lost lost lost lost lost lost lost
resume           | = = resumed = = = = = = = =
complete         | lost completed completed lost lost lost lost lost lost lost =
by key           | completed completed completed completed completed completed completed completed -completion_refused -completion_refused late
by owner         | -completion_refused -completion_refused -completion_refused -completion_refused -completion_refused -completion_refused -completion_refused -completion_refused completed completed late
abandon          | abandoned busy busy abandoned abandoned abandoned abandoned abandoned ? abandoned late
continue         | lost continued continued lost lost lost lost lost lost lost lost
external ref     | external_ref_set external_ref_set external_ref_set external_ref_set external_ref_set external_ref_set external_ref_set external_ref_set external_ref_set external_ref_set -already_terminal
give up          | abandon_requested abandon_requested abandon_requested abandon_requested abandon_requested abandon_requested = abandon_requested abandon_requested = -already_terminal
cancel           | cancel_requested cancel_requested cancel_requested cancel_requested cancel_requested cancel_requested cancel_requested cancel_requested cancel_requested cancel_requested =
signal           | signal.hello signal.hello signal.hello signal.hello signal.hello signal.hello signal.hello signal.hello signal.hello signal.hello -already_terminal
say              | note note note note note note note note note note -already_terminal
say, fenced      | lost note note lost lost lost lost lost lost lost -already_terminal
sell             | lost sold sold lost lost lost lost lost lost lost -already_terminal
retarget         | subscription_retargeted subscription_retargeted subscription_retargeted subscription_retargeted subscription_retargeted subscription_retargeted subscription_retargeted subscription_retargeted subscription_retargeted subscription_retargeted subscription_retargeted
observe          | observer_added observer_added observer_added observer_added observer_added observer_added observer_added observer_added observer_added observer_added observer_added
"""
CELLS = [
    (state, row.split("|")[0].strip(), expected)
    for row in TABLE.strip().splitlines()
    for state, expected in zip(STATES, row.split("|")[1].split(), strict=True)
    if expected != "?"
]


@pytest.mark.parametrize(("state", "operation", "expected"), CELLS)
def test_what_comes_of_every_write_in_every_state(
    state: str, operation: str, expected: str
) -> None:
    play, fence = brought(state)

    assert told(play.plan(asked(operation, fence)).result) == expected


def test_every_kind_of_write_is_in_the_table() -> None:
    assert {type(asked(operation, NOBODY)) for _, operation, _ in CELLS} == set(
        get_args(ProcessWrite)
    )


# --- when a process is worth claiming -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "due"),
    [
        ("new", 0),
        ("running", 0),
        ("waiting", 0),
        ("parked", 0),
        ("lacks code", 0),
        ("resting", START_MS + 60_000),
        ("given up", 0),
        ("bound", None),
        ("external", None),
        ("external given up", 0),
        ("ended", None),
    ],
)
def test_from_when_on_a_process_is_worth_claiming(state: str, due: int | None) -> None:
    play, _ = brought(state)

    assert runnable_at(play.record) == due


@pytest.mark.parametrize("state", ["bound", "resting", "parked"])
def test_what_was_given_up_is_worth_claiming_whatever_it_waits_for(state: str) -> None:
    play, _ = brought(state)
    play.do(RequestAbandon(request=REQUEST))

    assert runnable_at(play.record) == 0


@pytest.mark.parametrize(
    ("dead", "passed_ms", "expected"),
    [
        (None, 0, "busy"),
        (2, 0, "busy"),
        (1, 0, "abandoned"),
        (None, 10**9, "-owner_bound"),
        (2, 10**9, "-owner_bound"),
        (1, 10**9, "abandoned"),
    ],
)
def test_what_is_begun_once_ends_when_its_owner_is_proven_dead_and_not_by_time(
    dead: int | None, passed_ms: int, expected: str
) -> None:
    play = Play("owner_bound")
    play.do(ClaimRun(claim=claim_by()))
    assert runnable_at(play.record) == 0
    play.now_ms += passed_ms

    answer = play.do(ClaimRun(claim=msgspec.structs.replace(claim_by(BEN), presumed_dead=dead)))

    assert told(answer) == expected


# --- fences -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation", ["release", "rest", "park", "wait", "complete", "continue", "say, fenced", "sell"]
)
@pytest.mark.parametrize("wrong", ["token", "nonce", "both"])
def test_token_and_nonce_must_both_be_right(operation: str, wrong: str) -> None:
    play, fence = brought("running")
    forged = {
        "token": Fence(fencing_token=2, nonce=fence.nonce),
        "nonce": Fence(fencing_token=1, nonce="forged"),
        "both": Fence(fencing_token=0, nonce=""),
    }

    assert play.plan(asked(operation, forged[wrong])).result == FenceLost()


def test_an_expired_lease_is_its_holders_until_it_is_taken() -> None:
    play, fence = brought("running")
    play.now_ms += 10**9
    assert told(play.do(note(1, fence=fence))) == "note"

    assert told(play.do(ClaimRun(claim=claim_by(BEN)))) == "started"

    assert told(play.do(note(2, fence=fence))) == "lost"


@pytest.mark.parametrize(("passed_ms", "expected"), [(29_999, "busy"), (30_000, "started")])
def test_a_lease_expires_when_its_time_is_over_and_not_before(
    passed_ms: int, expected: str
) -> None:
    play, _ = brought("running")
    play.now_ms += passed_ms

    assert told(play.do(ClaimRun(claim=claim_by(BEN)))) == expected


@pytest.mark.parametrize(
    ("owner_id", "incarnation", "host", "same"),
    [
        ("ana", "ana-1", "host-a", True),
        ("ana", "ana-2", "host-a", False),
        ("eva", "ana-1", "host-a", False),
        ("ana", "ana-1", "host-b", False),
    ],
)
def test_only_the_very_same_owner_keeps_a_lease(
    owner_id: str, incarnation: str, host: str, *, same: bool
) -> None:
    play, fence = brought("running")
    owner = msgspec.structs.replace(ANA, owner_id=owner_id, incarnation=incarnation, host=host)

    answer = play.do(ClaimRun(claim=claim_by(owner)))

    assert isinstance(answer, Written) is same
    if isinstance(answer, Written):
        assert answer.lease is not None
        assert answer.lease.fence == fence


# --- what a store is told -------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["complete", "continue"])
def test_what_ends_a_scope_names_it_with_what_waited_for_that(operation: str) -> None:
    play, fence = brought("running")

    plan = play.plan(asked(operation, fence))

    assert plan.scope_key == "s"
    assert plan.records == ((record("r"),) if operation == "complete" else ())


@pytest.mark.parametrize("operation", ["complete", "continue"])
def test_what_is_refused_names_no_scope(operation: str) -> None:
    play, _ = brought("running")

    plan = play.plan(asked(operation, NOBODY))

    assert (plan.scope_key, plan.records, plan.record, plan.events) == ("", (), None, ())


def test_a_lease_given_back_without_a_reason_is_no_event_and_no_change() -> None:
    play, fence = brought("running")

    plan = play.plan(ReleaseRun(fence=fence))

    assert plan.record is not None
    assert (plan.events, plan.record.change) == ((), play.record.change)
