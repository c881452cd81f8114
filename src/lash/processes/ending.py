"""How a process comes to its end: once, and whoever says so must have the right (spec 2.4)."""

import msgspec

from lash.core.json import JsonObject, JsonValue
from lash.core.leases import Busy, LeaseOwner, decide_claim, is_current
from lash.processes.appending import same_payload
from lash.processes.event_types import TERMINAL_TYPES
from lash.processes.events import EventSemantics, Terminal
from lash.processes.materializing import status_of
from lash.processes.outcomes import (
    AbandonEvidence,
    AbandonWriter,
    CompletionAuthority,
    ExternalOwner,
    ProcessAbandoned,
    ProcessAwaitOutput,
    ReconciledAbandon,
    WorkflowKey,
)
from lash.processes.planning import WriteFacts, WritePlan, one, refused, with_scope
from lash.processes.writes import (
    AbandonRun,
    AlreadyApplied,
    CompleteByAuthority,
    CompleteRun,
    FenceLost,
    RunBusy,
    Superseded,
)


def terminal_key(process_id: str, event_type: str) -> str:
    """The replay key of the event that ends a process."""
    return f"process:{process_id}:terminal:{event_type}"


def complete(facts: WriteFacts, write: CompleteRun) -> WritePlan:
    """Its runner says how it ended. A replay comes before the lease: a retry after success succeeds."""
    ended = _ended(facts, write.outcome, None)
    if ended is not None:
        return ended
    if not is_current(facts.record.lease, write.fence):
        return WritePlan(FenceLost())
    return with_scope(_terminal(facts, write.outcome, None), write.records, write.scope_key)


def complete_by_authority(facts: WriteFacts, write: CompleteByAuthority) -> WritePlan:
    """Somebody who does not run it says how it ended, by a right checked against the row."""
    ended = _ended(facts, write.outcome, write.authority)
    if ended is not None:
        return ended
    record = facts.record
    disposition = record.registration.disposition
    if not _may_complete(write.authority, disposition, write.outcome):
        kind = write.authority.__struct_config__.tag
        return refused(
            "process_completion_refused",
            f"{kind} may not end process {record.process_id!r} this way: it is {disposition}. "
            "Nothing was changed.",
            authority=str(kind),
            disposition=disposition,
        )
    return _terminal(facts, write.outcome, write.authority)


def _may_complete(
    authority: CompletionAuthority, disposition: str, outcome: ProcessAwaitOutput
) -> bool:
    match authority:
        case ExternalOwner():
            return disposition == "externally_owned"
        case WorkflowKey():
            return disposition in {"rerunnable", "owner_bound"}
        case ReconciledAbandon():
            return disposition == "externally_owned" and isinstance(outcome, ProcessAbandoned)


def _ended(
    facts: WriteFacts, outcome: ProcessAwaitOutput, authority: CompletionAuthority | None
) -> WritePlan | None:
    """What completing a process comes to that has ended: the same, or another end."""
    record = facts.record
    if not record.retired:
        return None
    name = TERMINAL_TYPES[status_of(outcome)]
    known = facts.find(terminal_key(record.process_id, name))
    if known is not None and same_payload(known.payload, _terminal_payload(outcome, authority)):
        return WritePlan(AlreadyApplied(record=record, event=known))
    return WritePlan(Superseded(record=record))


def abandon_run(facts: WriteFacts, write: AbandonRun) -> WritePlan:
    """It is given up for ever, by whoever may take its lease."""
    record = facts.record
    if record.retired:
        return WritePlan(Superseded(record=record))
    decided = decide_claim(record.lease, write.claim, facts.now_ms)
    if isinstance(decided, Busy):
        return WritePlan(RunBusy(holder=decided.holder))
    owner = record.state.started.owner if record.state.started else None
    return given_up(facts, write.writer, owner)


def given_up(facts: WriteFacts, writer: AbandonWriter, owner: LeaseOwner | None) -> WritePlan:
    """It ends as abandoned, with the evidence."""
    evidence = AbandonEvidence(writer=writer, epoch_ms=facts.now_ms, owner=owner)
    return _terminal(facts, ProcessAbandoned(evidence=evidence), None)


def _terminal(
    facts: WriteFacts, outcome: ProcessAwaitOutput, authority: CompletionAuthority | None
) -> WritePlan:
    status = status_of(outcome)
    name = TERMINAL_TYPES[status]
    return one(
        facts,
        name,
        _terminal_payload(outcome, authority),
        terminal_key(facts.record.process_id, name),
        EventSemantics(terminal=Terminal(status=status)),
    )


def _terminal_payload(
    outcome: ProcessAwaitOutput, authority: CompletionAuthority | None
) -> JsonObject:
    payload: dict[str, JsonValue] = {"await_output": msgspec.to_builtins(outcome)}
    if authority is not None:
        payload["completion_authority"] = msgspec.to_builtins(authority)
    return payload
