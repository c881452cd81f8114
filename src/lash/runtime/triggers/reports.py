"""What came of an event that was emitted: one line for each subscription that heard it."""

from typing import Literal

from lash.core.json import Data
from lash.triggers.model import Occurrence

#: `failed` says that it is not started now: see the code. What is retryable, or waits for code, is tried
#: again by whoever can; the rest when somebody asks for it.
DeliveryStatus = Literal["started", "already_started", "failed"]


class DeliveryReport(Data):
    """What came of one delivery.

    Attributes:
        delivery_id: The delivery; also the process's id.
        subscription_id: Whose it is.
        key: The subscription's key.
        owner: Its owner, as one word.
        status: What came of it.
        process_id: The process it starts, if it starts one.
        session_id: The session it speaks to, if it speaks to one.
        code: Why it failed, as an error's code.
        message: Why, in words.
    """

    delivery_id: str
    subscription_id: str
    key: str
    owner: str
    status: DeliveryStatus
    process_id: str | None = None
    session_id: str | None = None
    code: str | None = None
    message: str | None = None


class EmitReport(Data):
    """What came of an event.

    Attributes:
        occurrence: The event as it is written.
        replayed: It was written before; nothing new was matched.
        deliveries: Who heard it, by owner and key.
    """

    occurrence: Occurrence
    replayed: bool = False
    deliveries: tuple[DeliveryReport, ...] = ()

    @property
    def failed(self) -> tuple[DeliveryReport, ...]:
        """What was not started."""
        return tuple(each for each in self.deliveries if each.status == "failed")
