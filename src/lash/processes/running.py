"""Running a process: who may begin it, when, and how it rests, waits and goes on (spec 3 to 5)."""

import msgspec

from lash.core.json import JsonObject, JsonValue
from lash.core.leases import Acquired, Busy, Lease, LeaseClaim, LeaseState, decide_claim, is_current
from lash.processes import event_types as types
from lash.processes.ending import given_up
from lash.processes.events import ProcessEvent
from lash.processes.model import ProcessRecord, ProcessStarted
from lash.processes.outcomes import AbandonWriter
from lash.processes.planning import (
    WriteFacts,
    WritePlan,
    appended,
    event_of,
    freed,
    one,
    refused,
    with_scope,
)
from lash.processes.writes import (
    AlreadyApplied,
    ClaimRun,
    ClearWait,
    ContinueRun,
    FenceLost,
    MarkWait,
    NotRunnable,
    ParkRun,
    ReleaseRun,
    RunBusy,
    RunRefused,
    Written,
)


def runnable_at(record: ProcessRecord) -> int | None:
    """From when on a process is worth claiming; None when nobody is to run it as it stands.

    What waits for code is worth it to whoever has the code; what waits for a person is found by
    runtimes that open.
    """
    state = record.state
    if record.retired:
        return None
    given_up = state.abandon_request is not None
    if record.registration.disposition == "externally_owned":
        return 0 if given_up else None
    if record.registration.disposition == "owner_bound" and state.first_started is not None:
        # Whoever finds its holder dead says so.
        return 0 if given_up or record.lease.held is not None else None
    return state.retry.next_attempt_at_ms if state.retry is not None and not given_up else 0


def claim(facts: WriteFacts, write: ClaimRun) -> WritePlan:
    """Take the lease and count the attempt, or end what was given up."""
    record, state = facts.record, facts.record.state
    why = _not_runnable(record, facts.now_ms, parked_too=write.parked_too)
    if why in {"retired", "externally_owned"}:
        return WritePlan(RunRefused(record=record, why=why))
    decided = decide_claim(record.lease, write.claim, facts.now_ms)
    if isinstance(decided, Busy):
        return WritePlan(RunBusy(holder=decided.holder))
    writer = _gives_up(record, decided, write.claim, why)
    if writer is not None:
        return given_up(facts, writer, state.started.owner if state.started else None)
    if why is not None:
        return WritePlan(RunRefused(record=record, why=why))
    begun, event, lease = begin(record, write.claim, facts.now_ms, next_change=facts.next_change)
    return WritePlan(Written(record=begun, event=event, lease=lease), begun, (event,))


def _gives_up(
    record: ProcessRecord, claimed: Acquired, claim: LeaseClaim, why: NotRunnable | None
) -> AbandonWriter | None:
    """Whether a process that could be claimed is to end instead, and on whose word."""
    state, most = record.state, record.registration.max_attempts
    lost = claimed.displaced
    if state.abandon_request is not None:
        return "reconciled_request"
    if why == "owner_bound" and lost is not None and lost.fencing_token == claim.presumed_dead:
        return "sweep"  # who had begun it is proven dead, and nobody else may go on
    if why is None and most is not None and state.failures + (lost is not None) >= most:
        return "engine_gave_up"
    return None


def _not_runnable(record: ProcessRecord, now_ms: int, *, parked_too: bool) -> NotRunnable | None:
    state, disposition = record.state, record.registration.disposition
    if record.retired:
        return "retired"
    if disposition == "externally_owned" and state.abandon_request is None:
        return "externally_owned"
    if disposition == "owner_bound" and state.first_started is not None:
        return "owner_bound"
    if state.parked is not None and state.parked.waits_for == "person" and not parked_too:
        return "parked"
    if state.retry is not None and state.retry.next_attempt_at_ms > now_ms:
        return "resting"
    return None


def begin(
    record: ProcessRecord, claim: LeaseClaim, now_ms: int, *, next_change: int | None = None
) -> tuple[ProcessRecord, ProcessEvent, Lease]:
    """The process with its lease taken and the attempt counted."""
    decided = decide_claim(record.lease, claim, now_ms)
    if isinstance(decided, Busy):
        message = "a lease that is held was to be taken without asking"
        raise TypeError(message)
    previous = record.state.started
    started = ProcessStarted(
        owner=claim.owner,
        started_at_ms=now_ms,
        fencing_token=decided.lease.fencing_token,
        attempt=previous.attempt + 1 if previous else 1,
    )
    fact: dict[str, JsonValue] = {"started": msgspec.to_builtins(started)}
    if decided.displaced is not None:
        fact["lost"] = True
    event = event_of(
        record,
        types.STARTED,
        fact,
        now_ms,
        replay_key=f"process:{record.process_id}:started:{started.attempt}",
    )
    held = LeaseState(fencing_token=decided.lease.fencing_token, held=decided.lease)
    begun = appended(record, event, change=next_change or record.change, lease=held)
    return begun, event, decided.lease


def release(facts: WriteFacts, write: ReleaseRun) -> WritePlan:
    """Give the lease back; with a rest, when the attempt got nowhere."""
    record = facts.record
    if not is_current(record.lease, write.fence):
        return WritePlan(FenceLost())
    back = freed(record.lease)
    if write.retry is None:
        given_back = msgspec.structs.replace(record, lease=back)
        return WritePlan(Written(record=given_back), given_back)
    fact: JsonObject = {"retry": msgspec.to_builtins(write.retry)}
    return one(facts, types.RETRY_SCHEDULED, fact, lease=back)


def park(facts: WriteFacts, write: ParkRun) -> WritePlan:
    """It does not go on by itself, and the lease is given back."""
    record = facts.record
    if write.fence is not None:
        if not is_current(record.lease, write.fence):
            return WritePlan(FenceLost())
    else:
        held = record.lease.held
        live = held is not None and held.expires_at_ms > facts.now_ms
        if record.retired or live or record.state.parked is not None:
            return WritePlan(AlreadyApplied(record=record))
    fact: JsonObject = {"parked": msgspec.to_builtins(write.parked)}
    return one(facts, types.PARKED, fact, lease=freed(record.lease))


def mark_wait(facts: WriteFacts, write: MarkWait) -> WritePlan:
    """It begins to wait, or waits again for what it waited for before."""
    record, last = facts.record, facts.record.state.last_wait
    if not is_current(record.lease, write.fence):
        return WritePlan(FenceLost())
    wait = write.wait
    if last is not None and last.kind == wait.kind:
        # It waits again after a restart, or is only said again: it has waited since then.
        wait = msgspec.structs.replace(wait, since_ms=last.since_ms)
    if record.state.wait == wait:
        return WritePlan(AlreadyApplied(record=record))
    fact: JsonObject = {"wait": msgspec.to_builtins(wait)}
    return one(facts, types.WAITING, fact)


def clear_wait(facts: WriteFacts, write: ClearWait) -> WritePlan:
    """It no longer waits."""
    record, wait = facts.record, facts.record.state.wait
    if wait is None:
        return WritePlan(AlreadyApplied(record=record))
    if not is_current(record.lease, write.fence):
        return WritePlan(FenceLost())
    fact: JsonObject = {"wait": msgspec.to_builtins(wait)}
    return one(facts, types.RESUMED, fact)


def continue_as_new(facts: WriteFacts, write: ContinueRun) -> WritePlan:
    """It goes on in another segment, under the same lease."""
    record, segment = facts.record, write.segment
    if record.state.segment == segment:
        return WritePlan(AlreadyApplied(record=record))
    if not is_current(record.lease, write.fence):
        return WritePlan(FenceLost())
    if segment.ordinal != record.state.segment.ordinal + 1:
        return refused(
            "process_event_conflict",
            f"Process {record.process_id!r} is at segment {record.state.segment.ordinal}; it cannot go "
            f"on at {segment.ordinal}.",
        )
    fact: JsonObject = {"segment": msgspec.to_builtins(segment)}
    key = f"process:{record.process_id}:continued:{segment.ordinal}"
    plan = one(facts, types.CONTINUED, fact, key)
    return with_scope(plan, write.records, write.scope_key)
