"""Processes without a store: a planner, a clock and what it was told to persist. Never collected."""

import msgspec

from lash.core.leases import LeaseClaim, LeaseOwner
from lash.processes.events import ProcessEvent
from lash.processes.model import ProcessRecord, ProcessRegistration, RecoveryDisposition
from lash.processes.planning import WriteFacts, WritePlan
from lash.processes.registration import RegisterRequest
from lash.processes.transitions import plan_register, plan_write
from lash.processes.wakes import WakeDelivery
from lash.processes.writes import ProcessWrite, WriteResult
from lash.testing.conformance.processes.samples import START_MS, refund
from lash.testing.conformance.samples import ANA, claim

__all__ = ["ANA", "Play", "claim_by"]


def claim_by(owner: LeaseOwner = ANA) -> LeaseClaim:
    """A claim of thirty seconds."""
    return claim(owner)


class Play:
    """One process, and all that a store would keep of it."""

    def __init__(
        self,
        disposition: RecoveryDisposition = "rerunnable",
        *,
        registration: ProcessRegistration | None = None,
    ) -> None:
        self.now_ms = START_MS
        asked = registration or refund(disposition=disposition)
        plan = plan_register(
            None, RegisterRequest(registration=asked), now_ms=self.now_ms, next_change=1
        )
        assert plan.record is not None
        self.record: ProcessRecord = plan.record
        self.events: list[ProcessEvent] = list(plan.events)
        self.wakes: list[WakeDelivery] = []

    def plan(self, write: ProcessWrite) -> WritePlan:
        """What would come of a write, and nothing is kept."""
        by_key = {event.replay_key: event for event in self.events if event.replay_key}
        facts = WriteFacts(
            now_ms=self.now_ms,
            record=self.record,
            next_change=self.record.change + 1,
            find=by_key.get,
        )
        return plan_write(facts, write)

    def do(self, write: ProcessWrite) -> WriteResult:
        """Do what is planned, as a store would."""
        plan = self.plan(write)
        if plan.record is not None:
            self.record = plan.record
            self.events += plan.events
            self.wakes += plan.wakes
        return plan.result

    def reread(self) -> None:
        """Forget everything but what JSON can carry."""
        self.record = msgspec.json.decode(msgspec.json.encode(self.record), type=ProcessRecord)
        self.events = [
            msgspec.json.decode(msgspec.json.encode(event), type=ProcessEvent)
            for event in self.events
        ]
