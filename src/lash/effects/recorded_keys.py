"""Which keys a scope may hold, so that what was never asked for before need not be looked up.

Exact for scopes of usual size. Beyond that a Bloom filter takes over: it never denies a key that is
there, and its size does not grow with the scope.
"""

from collections.abc import Iterable, Iterator

#: Up to so many keys are kept as they are.
EXACT_KEYS = 4096
#: 128 KiB: of a hundred thousand keys, one in a hundred is looked up in vain.
_BITS = 1 << 20
_PROBES = 4


class RecordedKeys:
    """The keys of one scope."""

    __slots__ = ("_bits", "_exact")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._exact: set[str] | None = set(keys)
        self._bits = bytearray()

    def add(self, key: str) -> None:
        """The scope may hold a key from now on."""
        if self._exact is None:
            self._mark(key)
            return
        self._exact.add(key)
        if len(self._exact) > EXACT_KEYS:
            self._bits = bytearray(_BITS // 8)
            for known in self._exact:
                self._mark(known)
            self._exact = None

    def may_hold(self, key: str) -> bool:
        """Whether the scope may hold a key. False is certain."""
        if self._exact is not None:
            return key in self._exact
        return all(self._bits[place >> 3] & (1 << (place & 7)) for place in _places(key))

    def _mark(self, key: str) -> None:
        for place in _places(key):
            self._bits[place >> 3] |= 1 << (place & 7)


def _places(key: str) -> Iterator[int]:
    """Where a key is marked: by Python's own hash, which holds as long as the process does."""
    hashed = hash(key)
    step = ((hashed >> 20) & (_BITS - 1)) | 1
    for probe in range(_PROBES):
        yield (hashed + probe * step) & (_BITS - 1)
