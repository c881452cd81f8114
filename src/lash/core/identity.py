"""Framed identities: hashes of values that parties outside hold on to (effects spec 1.6).

Canonical JSON serves what only lash compares. A key that was handed out must mean the same for ever,
so its bytes are written field by field, each with its length, and depend on no encoder.
"""

import hashlib
import struct
from typing import Self

_FAMILY = b"lash-stable-identity"
_SALT = 1


class Frame:
    """Bytes written field by field. Two different sequences of fields never give the same bytes."""

    __slots__ = ("_parts",)

    def __init__(self, domain: str, version: int) -> None:
        self._parts = [_FAMILY, bytes((_SALT, version))]
        self.text(domain)

    def text(self, value: str) -> Self:
        """A string, as UTF-8 with its length."""
        return self.data(value.encode())

    def data(self, value: bytes) -> Self:
        """Bytes with their length."""
        self._parts.append(struct.pack(">Q", len(value)) + value)
        return self

    def number(self, value: int) -> Self:
        """An unsigned number of 64 bits. Raises `OverflowError` for any other."""
        self._parts.append(value.to_bytes(8))
        return self

    def tag(self, value: int) -> Self:
        """Which case of a union follows. Tags are never used again for another case."""
        self._parts.append(bytes((value,)))
        return self

    def preimage(self) -> bytes:
        """Everything written so far."""
        return b"".join(self._parts)


def identity(prefix: str, version: int, frame: Frame) -> str:
    """A frame's hash as `prefix:v1:sha256:<hex>`."""
    return f"{prefix}:v{version}:sha256:{hashlib.sha256(frame.preimage()).hexdigest()}"
