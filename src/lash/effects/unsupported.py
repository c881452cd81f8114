"""What a host answers that keeps no promises and no journal: loudly, never with a silent success.

A base for hosts of others, which override what they can do (effects spec 4.1).
"""

from lash.core.cancel import CancelToken
from lash.core.errors import LashError
from lash.core.scopes import ExecutionScope
from lash.effects.journal import Retirement, RetireTarget
from lash.effects.waits.board import Parking
from lash.effects.waits.model import (
    AwaitEventKey,
    AwaitEventWaitIdentity,
    Resolution,
    ResolveOutcome,
    UnknownOrRevoked,
)


class UnsupportedOperations:
    """The await operations and retirement of a host that has neither."""

    async def await_event_key(
        self, scope: ExecutionScope, wait: AwaitEventWaitIdentity
    ) -> AwaitEventKey:
        """No key can be minted: `await_event_unsupported`."""
        del scope, wait
        raise _no_promises()

    async def resolve_await_event(
        self, key: AwaitEventKey, resolution: Resolution
    ) -> ResolveOutcome:
        """Every key is unknown here; a resolver is answered, not refused."""
        del key, resolution
        return UnknownOrRevoked()

    async def peek_await_event(self, key: AwaitEventKey) -> Resolution | None:
        """Nothing to look at: `await_event_unsupported`."""
        del key
        raise _no_promises()

    async def await_await_event(
        self,
        key: AwaitEventKey,
        *,
        cancel: CancelToken | None = None,
        deadline_at_ms: int | None = None,
        parking: Parking | None = None,
    ) -> Resolution:
        """Nothing to wait for: `await_event_unsupported`."""
        del key, cancel, deadline_at_ms, parking
        raise _no_promises()

    async def cancel_await_events_for_session(self, session_id: str) -> int:
        """Nothing was cancelled, which must not look as if it was: `await_event_cancel_unsupported`."""
        raise LashError(
            "await_event_cancel_unsupported",
            f"This host cannot cancel what session {session_id!r} waits for; nothing was cancelled.",
            session_id=session_id,
        )

    async def revoke_await_events_for_session(self, session_id: str) -> int:
        """Nothing was revoked, which must not look as if it was: `await_event_unsupported`."""
        del session_id
        raise _no_promises()

    async def retire_effect_journal(self, target: RetireTarget) -> Retirement:
        """Nothing was removed: `effect_journal_retirement_unsupported`."""
        del target
        raise LashError(
            "effect_journal_retirement_unsupported",
            "This host keeps no journal of its own, so there is none to retire.",
        )

    async def aclose(self) -> None:
        """Nothing runs in the background."""


def _no_promises() -> LashError:
    return LashError(
        "await_event_unsupported",
        "This host keeps no promises, so nothing can be waited for or answered through it.",
    )
