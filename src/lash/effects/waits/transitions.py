"""What may happen to a promise, as pure decisions (effects spec 5.1).

| it is        | resolve(x)                | cancel sweep               | wait       |
|--------------|---------------------------|----------------------------|------------|
| missing      | store x, accepted         | nothing                    | open, park |
| pending      | store x, accepted         | store cancelled            | park       |
| ... past due | store timeout, answer it  | store timeout              | store it   |
| resolved(y)  | already resolved: y       | nothing                    | y          |
| revoked      | unknown or revoked        | nothing                    | error      |

1. The first resolution stands for ever; cancel and timeout are resolutions like any other.
2. A deadline that has passed has resolved the promise, whether or not anybody was there to see it.
3. What steers a turn (its cancel gate, its terminal) has no deadline and is in no sweep.
"""

from typing import TypeAlias

import msgspec

from lash.core.json import Data
from lash.core.scopes import scope_session_id
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventKey,
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedTimeout,
    ResolveOutcome,
    UnknownOrRevoked,
    is_turn_control,
)


class WaitMissing(Data):
    """Nobody has waited or resolved yet."""


class WaitPending(Data):
    """Somebody waits, or waited; `deadline_at_ms` is in the store's clock."""

    deadline_at_ms: int | None = None


class WaitResolved(Data):
    """It has its one resolution."""

    resolution: Resolution


class WaitRevoked(Data):
    """Its session was deleted, or the row under its name is another's."""


WaitState: TypeAlias = WaitMissing | WaitPending | WaitResolved | WaitRevoked


class ResolvePlan(Data):
    """The answer to a resolver, and what is to be stored, if anything is."""

    outcome: ResolveOutcome
    store: Resolution | None = None


def plan_resolve(state: WaitState, resolution: Resolution, now_ms: int) -> ResolvePlan:
    """What resolving a promise does."""
    match state:
        case WaitRevoked():
            return ResolvePlan(outcome=UnknownOrRevoked())
        case WaitResolved(resolution=terminal):
            return ResolvePlan(outcome=AlreadyResolved(terminal=terminal))
        case WaitPending(deadline_at_ms=deadline) if is_due(deadline, now_ms):
            timeout = ResolvedTimeout()
            if isinstance(resolution, ResolvedTimeout):
                return ResolvePlan(outcome=ResolveAccepted(), store=timeout)
            return ResolvePlan(outcome=AlreadyResolved(terminal=timeout), store=timeout)
        case _:
            return ResolvePlan(outcome=ResolveAccepted(), store=resolution)


def plan_sweep(state: WaitState, *, turn_control: bool, now_ms: int) -> Resolution | None:
    """What cancelling all waits of a session stores for this one."""
    if turn_control or not isinstance(state, WaitPending):
        return None
    return ResolvedTimeout() if is_due(state.deadline_at_ms, now_ms) else ResolvedCancelled()


def is_due(deadline_at_ms: int | None, now_ms: int) -> bool:
    """Whether a deadline has passed."""
    return deadline_at_ms is not None and deadline_at_ms <= now_ms


class WaitRow(Data):
    """A promise as a store keeps it. The first four fields are its identity and never change.

    Attributes:
        key_id: Its name.
        scope_key: The scope it belongs to, which owns it: the row goes when the scope is retired.
        session_id: The session whose deletion revokes it, if it belongs to one.
        wait: What is waited for, as JSON.
        turn_control: Whether it is kept out of sweeps.
        deadline_at_ms: When it resolves by itself.
        resolution: Its resolution as JSON, once it has one.
        created_at_ms: When it was first waited for or resolved.
        resolved_at_ms: When it was resolved.
    """

    key_id: str
    scope_key: str
    session_id: str | None
    wait: str
    turn_control: bool = False
    deadline_at_ms: int | None = None
    resolution: str | None = None
    created_at_ms: int = 0
    resolved_at_ms: int | None = None

    def __repr__(self) -> str:
        state = "open" if self.resolution is None else "resolved"
        return f"WaitRow({self.key_id!r}, {state}, resolution=<hidden>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """What consoles show, which read fields past `repr`: as little."""
        return [("key_id", self.key_id), ("resolved", self.resolution is not None)]

    def same_promise(self, other: "WaitRow") -> bool:
        """Whether both rows are about one promise."""
        ours = (self.key_id, self.scope_key, self.session_id, self.wait)
        return ours == (other.key_id, other.scope_key, other.session_id, other.wait)


def row_of(key: AwaitEventKey, scope_key: str, deadline_at_ms: int | None = None) -> WaitRow:
    """The row that a key names, as it is when it is made."""
    control = is_turn_control(key.wait)
    return WaitRow(
        key_id=key.key_id,
        scope_key=scope_key,
        session_id=scope_session_id(key.scope),
        wait=msgspec.json.encode(key.wait, order="sorted").decode(),
        turn_control=control,
        deadline_at_ms=None if control else deadline_at_ms,
    )
