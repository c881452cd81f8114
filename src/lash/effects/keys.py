"""Replay keys of what host code asks for, and the ordinals that tell equal requests apart (2.3, 2.4).

Two equal requests under one parent are two effects. Which is which is decided when they are asked
for, before anything is awaited, so that work that runs side by side finds its records again in
whatever order it finished.
"""

from lash.core.text import key_part
from lash.effects.process_commands import ProcessCommand, process_effect_id


class Ordinals:
    """Counts the requests of each lane, from 1. One per parent."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def take(self, lane: str) -> int:
        """The next ordinal of a lane. Take it before anything is awaited."""
        ordinal = self._counts.get(lane, 0) + 1
        self._counts[lane] = ordinal
        return ordinal


def step_key(name: str, ordinal: int) -> str:
    """The key of the `ordinal`-th step of a name; its attempts and their waits stand below it."""
    return f"step:{key_part(name)}:{ordinal}"


def sleep_key(ordinal: int) -> str:
    """The key of a sleep."""
    return f"sleep:{ordinal}"


def wait_key(name: str, ordinal: int) -> str:
    """The key of waiting for a promise; waiting again gives the same answer under another key."""
    return f"await:{key_part(name)}:{ordinal}"


def peek_key(name: str, ordinal: int) -> str:
    """The key of looking at a promise."""
    return f"peek:{key_part(name)}:{ordinal}"


def value_key(operation: str, ordinal: int) -> str:
    """The key of reading the clock or the source of chance."""
    return f"value:{operation}:{ordinal}"


def direct_key(usage_source: str, *, request: str | None, ordinal: int) -> str:
    """The key of a direct completion: the caller's own name for the request, or its ordinal.

    Its content is not part of the key: a changed request is then told as one, and not taken for new.
    """
    if request is not None:
        return f"direct:request:{key_part(request)}"  # the source is part of what is compared
    return f"direct:{key_part(usage_source)}:ordinal:{ordinal}"


def trigger_key(operation: str, ordinal: int) -> str:
    """The key of something that is asked of triggers."""
    return f"trigger:{operation}:{ordinal}"


def process_key(parent: str | None, command: ProcessCommand, ordinal: int) -> str:
    """The key of a process command; `ordinal` counts equal commands under one parent."""
    return f"{parent or 'process'}:{process_effect_id(command)}:{ordinal}"


def cancelled_key(key: str) -> str:
    """Where it is recorded that the sleep under `key` was broken off."""
    return f"{key}:cancelled"
