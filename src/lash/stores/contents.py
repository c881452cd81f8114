"""What stores read out of the values they keep, the same in all of them."""

from typing import Annotated

import msgspec

from lash.core.errors import StoreError
from lash.core.json import encode
from lash.effects.journal import JournalRecord
from lash.effects.waits.model import RESOLUTION, Resolution
from lash.effects.waits.transitions import (
    WaitMissing,
    WaitPending,
    WaitResolved,
    WaitRevoked,
    WaitRow,
    WaitState,
)


class _Sleep(msgspec.Struct):
    """What a list tells of a sleep's outcome. Stores count in 64 bits."""

    due_at_ms: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None


_SLEEP = msgspec.json.Decoder(_Sleep)


def due_at_ms(record: JournalRecord) -> int | None:
    """When a recorded sleep is over; None for other effects, and for sleeps that failed."""
    if record.kind != "sleep":
        return None
    try:
        return _SLEEP.decode(record.outcome).due_at_ms
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def wait_state(found: WaitRow | None, asked: WaitRow, *, revoked: bool) -> WaitState:
    """How a promise stands, given the row under its name and whether its session is revoked.

    Raises:
        StoreError: `store_corrupt`.
    """
    if revoked or (found is not None and not found.same_promise(asked)):
        return WaitRevoked()
    if found is None:
        return WaitMissing()
    if found.resolution is None:
        return WaitPending(deadline_at_ms=found.deadline_at_ms)
    return WaitResolved(resolution=read_resolution(found.resolution, found.key_id))


def read_resolution(column: str | bytes, key_id: str) -> Resolution:
    """A resolution from its JSON.

    Raises:
        StoreError: `store_corrupt`. What is there is not shown: it belongs to whoever waits.
    """
    try:
        return RESOLUTION.decode(column)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Not chained either: the cause may quote what it could not read.
        raise unreadable_resolution(key_id) from None


def unreadable_resolution(key_id: str) -> StoreError:
    """The error of a promise whose resolution was damaged."""
    return StoreError(
        "store_corrupt",
        f"The resolution of {key_id} cannot be read back. The database was damaged or written by "
        "another version; restore it from a backup.",
        key_id=key_id,
    )


def resolution_text(resolution: Resolution) -> str:
    """A resolution as it is kept."""
    return encode(resolution).decode()
