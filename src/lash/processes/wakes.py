"""Wakes on their way from a process to a session: the outbox (process spec, section 8).

A delivery is written in the transaction of the event that wakes. Handing it over is one transaction as
well, because sessions and processes live in one database; so it needs no claims, and the session's
queue takes each event once.
"""

from typing import Literal, TypeAlias

import msgspec

from lash.core.backoff import Backoff
from lash.core.json import Data
from lash.processes.events import ProcessEvent

WakeState: TypeAlias = Literal["pending", "delivered", "discarded"]

#: Why a wake was not delivered: nobody began its session in time, the session was deleted, or the
#: process's wakes go elsewhere now.
DiscardReason: TypeAlias = Literal["expired", "target_gone", "retargeted"]

#: How long a wake waits for a session that has not begun.
EXPIRES_MS = 7 * 24 * 3600 * 1000

#: How long between looks at a session that has not begun.
_RETRY = Backoff(max_attempts=2**31, base_delay_ms=50, max_delay_ms=300_000)

#: Neighbouring wakes are told to the model together.
MERGE_KEY = "lash.process_wake"


class WakeDelivery(Data):
    """One wake.

    Attributes:
        process_id: The process that wakes.
        sequence: The event that does; with the process, the wake's identity.
        session_id: The session to wake.
        event_type: What sort of event it was.
        text: What the session is told.
        created_at_ms: When the event was appended.
        state: What became of it.
        attempts: How often it was tried.
        next_attempt_at_ms: When it is tried next.
        discard_reason: Why it was not delivered.
    """

    process_id: str
    sequence: int
    session_id: str
    event_type: str
    text: str
    created_at_ms: int
    state: WakeState = "pending"
    attempts: int = 0
    next_attempt_at_ms: int = 0
    discard_reason: DiscardReason | None = None

    @property
    def source_key(self) -> str:
        """What makes the session's queue take it once."""
        return f"process:{self.process_id}:event:{self.sequence}:wake"

    @property
    def item_id(self) -> str:
        """What it is called in the session's queue."""
        return f"wake:{self.process_id}:{self.sequence}"


class WakePass(Data):
    """What one pass over the outbox did.

    Attributes:
        delivered: The sessions that have something new in their queues.
        discarded: How many wakes will never be delivered.
        next_attempt_at_ms: When it is worth to look again; None when nothing is pending.
    """

    delivered: tuple[str, ...] = ()
    discarded: int = 0
    next_attempt_at_ms: int | None = None


def wake_of(event: ProcessEvent, session_id: str | None) -> WakeDelivery | None:
    """The wake that an event causes, if it causes one and there is anybody to wake."""
    text = event.semantics.wake
    if text is None or session_id is None:
        return None
    return WakeDelivery(
        process_id=event.process_id,
        sequence=event.sequence,
        session_id=session_id,
        event_type=event.event_type,
        text=text,
        created_at_ms=event.occurred_at_ms,
    )


def delivered(wake: WakeDelivery) -> WakeDelivery:
    """The wake, once the session's queue has it."""
    return msgspec.structs.replace(wake, state="delivered", attempts=wake.attempts + 1)


def discarded(wake: WakeDelivery, why: DiscardReason) -> WakeDelivery:
    """The wake, once it is known that nobody will be told."""
    return msgspec.structs.replace(wake, state="discarded", discard_reason=why)


def undelivered(wake: WakeDelivery, now_ms: int, *, deleted: bool) -> WakeDelivery:
    """The wake after a try that found no session: another try later, or none any more."""
    attempts = wake.attempts + 1
    if deleted or now_ms >= wake.created_at_ms + EXPIRES_MS:
        why: DiscardReason = "target_gone" if deleted else "expired"
        return discarded(msgspec.structs.replace(wake, attempts=attempts), why)
    wait = _RETRY.delay_ms(attempts) or 0
    return msgspec.structs.replace(wake, attempts=attempts, next_attempt_at_ms=now_ms + wait)
