"""The outbox in memory: wakes on their way from processes into the queues of sessions."""

from collections.abc import Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.seams import SeamObserver
from lash.processes.wakes import MERGE_KEY, WakeDelivery, WakePass, delivered, undelivered
from lash.sessions.ingress import EarliestBoundary, EnqueueRequest, ProcessWake
from lash.sessions.queueing import EnqueueRefused
from lash.stores.memory.process import HeldProcesses
from lash.stores.memory.queues import Queues
from lash.stores.memory.session import Held
from lash.turn.exchange import TurnCause


class Wakes:
    """Every wake. Every method is one transaction, as in `Processes`."""

    def __init__(
        self,
        processes: HeldProcesses,
        sessions: Held,
        queues: Queues,
        clock: Clock,
        seams: SeamObserver,
    ) -> None:
        self._processes = processes
        self._sessions = sessions
        self._queues = queues
        self._clock = clock
        self._seams = seams

    def deliver(self, limit: int) -> WakePass:
        """Put the first pending wake of each process and session into the session's queue."""
        now_ms = self._clock.now_ms()
        due = [wake for wake in self._heads() if wake.next_attempt_at_ms <= now_ms]
        due = sorted(due, key=_urgency)[: max(limit, 0)]
        if due:
            self._seams("wakes.inside")
        after = [self._after(wake, now_ms) for wake in due]
        woken = [wake.session_id for wake in after if wake.state == "delivered"]
        return WakePass(
            delivered=tuple(dict.fromkeys(woken)),
            discarded=sum(wake.state == "discarded" for wake in after),
            next_attempt_at_ms=min(
                (wake.next_attempt_at_ms for wake in self._heads()), default=None
            ),
        )

    def _heads(self) -> Sequence[WakeDelivery]:
        """The first pending wake of each process and session: later ones wait for it."""
        heads: dict[tuple[str, str], WakeDelivery] = {}
        for process_id, held in self._processes.processes.items():
            for wake in held.pending():
                heads.setdefault((process_id, wake.session_id), wake)
        return list(heads.values())

    def _after(self, wake: WakeDelivery, now_ms: int) -> WakeDelivery:
        """Try a wake, and keep what became of it."""
        arrived = False
        if wake.session_id in self._sessions.sessions:
            result = self._queues.put(_request(wake))
            arrived = not isinstance(result, EnqueueRefused)
        gone = wake.session_id in self._sessions.deleted
        after = delivered(wake) if arrived else undelivered(wake, now_ms, deleted=gone)
        self._processes.processes[wake.process_id].wakes[wake.sequence] = after
        return after

    def redrive(self, process_id: str, sequence: int) -> bool:
        """Try a discarded wake again."""
        held = self._processes.processes.get(process_id)
        wake = held.wakes.get(sequence) if held else None
        if held is None or wake is None or wake.state != "discarded":
            return False
        held.wakes[sequence] = msgspec.structs.replace(
            wake, state="pending", next_attempt_at_ms=0, discard_reason=None
        )
        return True


def _urgency(wake: WakeDelivery) -> tuple[int, int, str, int]:
    return (wake.next_attempt_at_ms, wake.created_at_ms, wake.process_id, wake.sequence)


def _request(wake: WakeDelivery) -> EnqueueRequest:
    cause = TurnCause(
        id=wake.item_id,
        event_type=f"{wake.event_type}#{wake.sequence}",
        text=wake.text,
        origin=wake.process_id,
    )
    return EnqueueRequest(
        session_id=wake.session_id,
        item_id=wake.item_id,
        payload=ProcessWake(cause=cause),
        ingress=EarliestBoundary(),
        source_key=wake.source_key,
        merge_key=MERGE_KEY,
    )
