"""The journal contract: what a store keeps of effects, for how long, and how it is asked."""

from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeAlias

from lash.core.json import Data
from lash.core.leases import Fence


class JournalRecord(Data):
    """One recorded effect.

    Attributes:
        replay_key: Its name within the scope.
        kind: The kind of effect.
        identity: Digest of what was asked.
        surroundings: Digest of what a deploy changes; empty where nothing is.
        envelope: Compact JSON of both, for reports.
        outcome: JSON of the outcome.
        recorded_at_ms: When it was recorded, in the store's clock.
        duration_ms: How long it took.
        fencing_token: Under which lease it was recorded; 0 for scopes without one.
        surroundings_content: What `surroundings` digests, as JSON. Given with a record where the
            writer does not know that the store has it; never read back with one.
    """

    replay_key: str
    kind: str
    identity: str
    surroundings: str
    envelope: str
    outcome: str
    recorded_at_ms: int = 0
    duration_ms: float = 0.0
    fencing_token: int = 0
    surroundings_content: str | None = None

    def __repr__(self) -> str:
        return (
            f"JournalRecord({self.replay_key!r}, {self.kind}, outcome=<{len(self.outcome)} hidden>)"
        )

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """What consoles show, which read fields past `repr`: as little. An outcome may hold anything."""
        return [("replay_key", self.replay_key), ("kind", self.kind)]


class JournalEntry(Data):
    """One recorded effect in a list: a record without its contents.

    `bytes` is the size of its outcome; `due_at_ms` is set for sleeps.
    """

    replay_key: str
    kind: str
    recorded_at_ms: int
    duration_ms: float
    bytes: int
    fencing_token: int = 0
    due_at_ms: int | None = None


class RetireSession(Data, tag_field="type", tag="session"):
    """Everything recorded for a session, finished or not: it is being deleted."""

    session_id: str


class RetireProcess(Data, tag_field="type", tag="process"):
    """Everything recorded for a process: it is being forgotten."""

    process_id: str


class RetireOperation(Data, tag_field="type", tag="operation"):
    """Everything recorded for an operation of the host; asked for again, it runs again."""

    operation_id: str


class RetireFinished(Data, tag_field="type", tag="finished"):
    """Scopes whose work was finished before a time, in the store's clock. Never unfinished ones."""

    before_ms: int


RetireTarget: TypeAlias = RetireSession | RetireProcess | RetireOperation | RetireFinished


class Retirement(Data):
    """What was removed. `more` says that the same call would find more to remove."""

    scopes: int = 0
    records: int = 0
    waits: int = 0
    blobs: int = 0
    more: bool = False


class WriteAuthority(Data):
    """Proof that a writer drives a session: the fence is checked in the write's transaction."""

    session_id: str
    fence: Fence


class ProcessAuthority(Data):
    """Proof that a writer runs a process: the fence is checked in the write's transaction."""

    process_id: str
    fence: Fence


#: Proof that a writer may write for a scope.
Authority: TypeAlias = WriteAuthority | ProcessAuthority


class Recorded(Data, tag_field="status", tag="recorded"):
    """All records are durable now."""


class AlreadyRecorded(Data, tag_field="status", tag="already_recorded"):
    """Somebody recorded this key before; nothing was written. The winner's record counts."""

    winner: JournalRecord


class FenceRefused(Data, tag_field="status", tag="fence_refused"):
    """The writer no longer holds the lease; nothing was written."""


RecordResult: TypeAlias = Recorded | AlreadyRecorded | FenceRefused


class Journal(Protocol):
    """Where outcomes are kept, by scope and replay key."""

    async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
        """The record under a key, if there is one."""
        ...

    def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> Awaitable[RecordResult]:
        """Keep `records`, all or none, in one transaction with the fence check.

        Without an authority (scopes that hold no lease) the first writer wins. A store that is ready
        to hand out a future need not be a coroutine here: it saves a task per effect.
        """
        ...

    async def load_journal(self, scope_key: str) -> Sequence[JournalRecord]:
        """All records of a scope, in the order they were recorded."""
        ...

    async def list_journal(self, scope_key: str) -> Sequence[JournalEntry]:
        """The records of a scope in brief, in the order they were recorded."""
        ...

    async def load_surroundings(self, digest: str) -> str | None:
        """What a record's `surroundings` digests, if it was ever given."""
        ...

    async def finish_scope(
        self, scope_key: str, records: Sequence[JournalRecord]
    ) -> Recorded | AlreadyRecorded:
        """Say that the work of a scope without a lease is done, and keep what waited for that.

        Of records whose keys are taken, those that are there count, and `AlreadyRecorded` names one.
        """
        ...

    async def reopen_scope(self, scope_key: str) -> None:
        """Say that the work of a scope goes on, if it was finished before: it is not retired then."""
        ...

    async def retire(self, target: RetireTarget, *, limit: int = 500) -> Retirement:
        """Remove up to `limit` scopes with their records and waits, in one transaction."""
        ...
