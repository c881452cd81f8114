"""Seams: the named points of a turn at which a crash is interesting.

The runtime and the stores announce each seam as they pass it. Nobody listens in production; tests
and the demo install an observer that kills the process there.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

Seam: TypeAlias = Literal[
    "accept.before",
    "accept.inside",
    "accept.after",
    "model.before",
    "model.after",
    "tool.before",
    "tool.after",
    "record.before",
    "record.inside",
    "record.after",
    "commit.before",
    "commit.inside",
    "commit.after",
    "enqueue.inside",
    "claim.inside",
    "checkpoint.before",
    "checkpoint.inside",
    "checkpoint.after",
    "cancel.inside",
    "fork.inside",
    "delete.inside",
]

SeamObserver: TypeAlias = Callable[[Seam], None]


def unobserved(seam: Seam) -> None:
    """The observer of production: nothing happens at a seam."""
    del seam
