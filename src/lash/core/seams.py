"""Seams: the named points of a turn at which a crash is interesting.

The runtime and the stores announce each seam as they pass it. Nobody listens in production; tests
and the demo install an observer that kills the process there.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias, cast

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
    "process.register.before",
    "process.register.inside",
    "process.register.after",
    "process.append.before",
    "process.append.inside",
    "process.append.after",
    "process.claim.before",
    "process.claim.inside",
    "process.claim.after",
    "process.release.before",
    "process.release.inside",
    "process.release.after",
    "process.park.before",
    "process.park.inside",
    "process.park.after",
    "process.wait.before",
    "process.wait.inside",
    "process.wait.after",
    "process.resume.before",
    "process.resume.inside",
    "process.resume.after",
    "process.complete.before",
    "process.complete.inside",
    "process.complete.after",
    "process.complete_by_authority.before",
    "process.complete_by_authority.inside",
    "process.complete_by_authority.after",
    "process.abandon.before",
    "process.abandon.inside",
    "process.abandon.after",
    "process.continue.before",
    "process.continue.inside",
    "process.continue.after",
    "process.external_ref.before",
    "process.external_ref.inside",
    "process.external_ref.after",
    "process.request_abandon.before",
    "process.request_abandon.inside",
    "process.request_abandon.after",
    "process.retarget.before",
    "process.retarget.inside",
    "process.retarget.after",
    "process.observers.before",
    "process.observers.inside",
    "process.observers.after",
    "process.prune.inside",
    "trigger.execute.before",
    "trigger.execute.inside",
    "trigger.execute.after",
    "trigger.ingest.before",
    "trigger.ingest.inside",
    "trigger.ingest.after",
    "trigger.start.before",
    "trigger.start.after",
    "trigger.settle.before",
    "trigger.settle.inside",
    "trigger.settle.after",
    "trigger.retain.inside",
    "wakes.before",
    "wakes.inside",
    "wakes.after",
    "attachment.intent.before",
    "attachment.intent.inside",
    "attachment.intent.after",
    "attachment.bytes.staged",
    "attachment.bytes.after",
    "attachment.forget.inside",
    "attachment.condemn.inside",
    "attachment.condemn.after",
    "attachment.arm.inside",
    "attachment.arm.after",
    "attachment.delete.after",
    "attachment.release.inside",
]

SeamObserver: TypeAlias = Callable[[Seam], None]


def unobserved(seam: Seam) -> None:
    """The observer of production: nothing happens at a seam."""
    del seam


def process_seam(write: str, place: Literal["before", "inside", "after"]) -> Seam:
    """The seam of something done to a process, by the tag of what is done."""
    return cast("Seam", f"process.{write}.{place}")
