"""The contract a store of promises keeps. Every method is one transaction."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from lash.effects.waits.model import Resolution, ResolveOutcome
from lash.effects.waits.transitions import WaitRow, WaitState


class AwaitEventStore(Protocol):
    """Promises by key id. Callers have checked the key; a store checks identity and revocation.

    A row under the same key id whose identity differs is answered as `WaitRevoked`.
    """

    @property
    def signing_secret(self) -> bytes:
        """32 random bytes made with the database: whoever opens it mints the same keys."""
        ...

    async def open_wait(self, row: WaitRow) -> WaitState:
        """Make sure that the promise is there, and say how it stands.

        A row that is there keeps its deadline: waiting again does not start the clock again. One
        that was resolved before anybody waited has none, and needs none.
        """
        ...

    async def resolve_wait(self, row: WaitRow, resolution: Resolution) -> ResolveOutcome:
        """Resolve a promise, also one nobody has waited for yet (`plan_resolve`)."""
        ...

    async def inspect_waits(self, rows: Sequence[WaitRow]) -> Mapping[str, WaitState]:
        """How promises stand, by key id; all of them are read in one state of the store."""
        ...

    async def cancel_session_waits(self, session_id: str) -> Sequence[str]:
        """Cancel the pending promises of a session (`plan_sweep`); the key ids that were."""
        ...

    async def revoke_session_waits(self, session_id: str) -> Sequence[str]:
        """Forget the promises of a session and refuse its keys for ever; the key ids forgotten."""
        ...

    async def is_revoked(self, session_id: str) -> bool:
        """Whether a session's keys are refused."""
        ...

    async def list_waits(self, scope_key: str) -> Sequence[WaitRow]:
        """The promises of a scope, in the order in which they were made."""
        ...

    async def change_token(self) -> int | None:
        """A number that changes when anybody wrote to the store, cheap to read; None without one.

        It is a hint: waiters read the rows, and read them now and then without it.
        """
        ...
