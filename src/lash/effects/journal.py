"""The journal contract: what a store keeps of effects, and how a controller asks for it."""

from collections.abc import Sequence
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


class WriteAuthority(Data):
    """Proof that a writer drives a session: the fence is checked in the write's transaction."""

    session_id: str
    fence: Fence


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

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: WriteAuthority | None,
    ) -> RecordResult:
        """Keep `records`, all or none, in one transaction with the fence check.

        Without an authority (scopes that hold no lease) the first writer wins.
        """
        ...

    async def load_journal(self, scope_key: str) -> Sequence[JournalRecord]:
        """All records of a scope, in the order they were recorded."""
        ...
