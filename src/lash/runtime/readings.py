"""What an operation reads from the clock and from chance, as it is recorded and as it is read back."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import TypeAlias

from lash.core.clock import IdSource

#: As it is recorded.
Reading: TypeAlias = int | float | str


def moment(reading: Reading) -> datetime:
    """The time that milliseconds since the epoch stand for."""
    return datetime.fromtimestamp(float(reading) / 1000, UTC)


def fraction(ids: IdSource) -> float:
    """A number in [0, 1) of 53 bits."""
    return (int.from_bytes(_chance(ids)[:8]) >> 11) / (1 << 53)


def fresh_uuid(ids: IdSource) -> str:
    """A UUID as text."""
    return str(uuid.UUID(bytes=_chance(ids)[:16], version=4))


def read_uuid(reading: Reading) -> uuid.UUID:
    """The UUID that text stands for."""
    return uuid.UUID(str(reading))


def _chance(ids: IdSource) -> bytes:
    """Bytes of chance from the injected source, so that a simulation gives the same ones."""
    return hashlib.sha256(ids.new("value").encode()).digest()
