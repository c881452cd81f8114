"""Cutting a stream of bytes into lines, none of them longer than a limit. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: How much of a line that is too long is kept, of its beginning and of its end.
_KEPT = 512

_RESPONSE = re.compile(rb'^\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d+)\s*,')
_RESPONSE_END = re.compile(rb',\s*"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line that was longer than the limit.

    Attributes:
        size: How long it was.
        request_id: The request it answered, as far as its beginning and end tell.
    """

    size: int
    request_id: int | None


class Lines:
    """Takes bytes as they come, and gives the lines that they complete.

    Args:
        longest: How many bytes a line may have. No more than that is ever held.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0
        self._head = b""
        self._tail = b""

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """The lines that this completes, without their ends."""
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self._take(part)
            yield self._line()
        self._take(rest)

    def _take(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._longest:
            self._parts.append(part)
            return
        if self._parts:
            held = b"".join(self._parts)
            self._head, self._tail, self._parts = held[:_KEPT], held[-_KEPT:], []
        self._head = (self._head + part[:_KEPT])[:_KEPT]
        self._tail = (self._tail + part[-_KEPT:])[-_KEPT:]

    def _line(self) -> bytes | TooLong:
        size, head, tail = self._size, self._head, self._tail
        line = b"".join(self._parts)
        self._parts, self._size, self._head, self._tail = [], 0, b"", b""
        if size <= self._longest:
            return line
        return TooLong(size, answered(head, tail))


def answered(head: bytes, tail: bytes) -> int | None:
    """The request that a message answers which is not read, as far as its beginning and end tell."""
    found = _RESPONSE.match(head[:_KEPT]) or _RESPONSE_END.search(tail[-_KEPT:])
    return int(found[1]) if found else None
