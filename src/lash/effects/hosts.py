"""Effect hosts: which controller a scope gets, and where its promises are kept (effects spec 4.1).

A host is one per runtime. `StoreEffectHost` keeps a journal and promises in a store;
`InlineEffectHost` runs every effect and keeps nothing. An engine outside can be a host of its own.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

from lash.core.cancel import CancelToken
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.json import Data, encode
from lash.core.scopes import ExecutionScope, journal_key, scope_session_id
from lash.core.seams import SeamObserver, unobserved
from lash.core.tiers import DurabilityTier
from lash.effects.controller import EffectController
from lash.effects.inline import InlineController
from lash.effects.journal import Authority, Journal, JournalRecord, Retirement, RetireTarget
from lash.effects.journaling import JournalingController, KnownSurroundings
from lash.effects.shielding import shielded
from lash.effects.transitions import DriftPolicy
from lash.effects.waits import keys
from lash.effects.waits.board import Parking, WaitBoard
from lash.effects.waits.model import (
    RESOLUTION,
    AwaitEventKey,
    AwaitEventWaitIdentity,
    Resolution,
    ResolveAccepted,
    ResolvedTimeout,
    ResolveOutcome,
    UnknownOrRevoked,
    unknown_or_revoked,
)
from lash.effects.waits.store import AwaitEventStore
from lash.effects.waits.transitions import (
    WaitPending,
    WaitResolved,
    WaitRevoked,
    is_due,
    row_of,
)

JournalAddressing: TypeAlias = Literal["none", "key", "ordinal"]


class HostCapabilities(Data):
    """What a host promises.

    Attributes:
        tier: Whether what it records survives the process.
        owns_replay: It answers recorded effects, rather than running them again.
        engine_redrives: Something outside calls again after a crash; else the runtime resumes itself.
        external_completion_keys: Keys it mints may be handed out: they outlive the process.
        concurrent_effects: Effects of one scope may run side by side.
        journal_addressing: How it finds a record again: by replay key, or by the order of asking.
    """

    tier: DurabilityTier
    owns_replay: bool
    engine_redrives: bool = False
    external_completion_keys: bool = True
    concurrent_effects: bool = True
    journal_addressing: JournalAddressing = "key"


class AwaitEventResolver(Protocol):
    """What can be done with promises. Rules: effects spec 5.2."""

    async def await_event_key(
        self, scope: ExecutionScope, wait: AwaitEventWaitIdentity
    ) -> AwaitEventKey:
        """The key of a wait; the same every time, and nothing is registered by it.

        Raises:
            LashError: `await_event_unknown_or_revoked` when the session was deleted;
                `missing_execution_scope_id`, `invalid_await_event_wait_identity`;
                `await_event_unsupported` by a host without promises.
        """
        ...

    async def resolve_await_event(
        self, key: AwaitEventKey, resolution: Resolution
    ) -> ResolveOutcome:
        """Resolve a promise, also before anybody waits. The first resolution stands.

        Unknown, forged and revoked keys get one answer, `UnknownOrRevoked`, and no error.
        """
        ...

    async def peek_await_event(self, key: AwaitEventKey) -> Resolution | None:
        """How a promise stands. Raises `await_event_unknown_or_revoked`."""
        ...

    async def await_await_event(
        self,
        key: AwaitEventKey,
        *,
        cancel: CancelToken | None = None,
        deadline_at_ms: int | None = None,
        parking: Parking | None = None,
    ) -> Resolution:
        """Wait for a promise; a resolution that is there beats a cancel and a deadline.

        `parking` is told while there is no answer.

        Raises:
            LashError: `await_event_unknown_or_revoked`, `turn_control_wait_cancelled`,
                `turn_control_wait_timeout`.
        """
        ...

    async def cancel_await_events_for_session(self, session_id: str) -> int:
        """Cancel what a session waits for; how many waits that were.

        Raises:
            LashError: `invalid_await_event_session_id`; `await_event_cancel_unsupported`.
        """
        ...

    async def revoke_await_events_for_session(self, session_id: str) -> int:
        """Refuse a session's keys for ever; how many waits were forgotten.

        Raises:
            LashError: `invalid_await_event_session_id`; `await_event_unsupported`.
        """
        ...


class EffectHost(AwaitEventResolver, Protocol):
    """Everything a runtime needs of the place where its effects are kept."""

    @property
    def capabilities(self) -> HostCapabilities:
        """What this host promises."""
        ...

    def scoped(
        self,
        scope: ExecutionScope,
        *,
        authority: Authority | None = None,
        fresh: bool = False,
        recorded: Sequence[JournalRecord] | None = None,
        on_parked: Callable[[], None] | None = None,
    ) -> EffectController:
        """A controller for the effects of one scope.

        Args:
            scope: Whose effects.
            authority: The lease that writes present; None for scopes that hold none.
            fresh: The scope was accepted just now, so nothing can be recorded in it yet.
            recorded: All that is recorded in it, for callers that have read it.
            on_parked: Called when all that is under way begins to wait for the outside.

        Raises:
            LashError: `missing_execution_scope_id`.
        """
        ...

    async def retire_effect_journal(self, target: RetireTarget) -> Retirement:
        """Remove what was recorded, all that the target names.

        Raises:
            LashError: `effect_journal_retirement_unsupported` by a host that cannot.
        """
        ...

    async def aclose(self) -> None:
        """Stop what runs in the background. The store is not the host's to close."""
        ...


class StorePromises:
    """Promises in a store: the await operations of both hosts."""

    def __init__(self, store: AwaitEventStore, clock: Clock) -> None:
        self._promises = store
        self._clock = clock
        self._board = WaitBoard(store, clock)

    async def await_event_key(
        self, scope: ExecutionScope, wait: AwaitEventWaitIdentity
    ) -> AwaitEventKey:
        """The key of a wait."""
        key = keys.mint(self._promises.signing_secret, scope, wait)
        session_id = scope_session_id(scope)
        if session_id is not None and await self._promises.is_revoked(session_id):
            raise unknown_or_revoked()
        return key

    async def resolve_await_event(
        self, key: AwaitEventKey, resolution: Resolution
    ) -> ResolveOutcome:
        """Resolve a promise; the first resolution stands."""
        if not keys.is_genuine(self._promises.signing_secret, key):
            return UnknownOrRevoked()  # the store is not even asked
        row = row_of(key, journal_key(key.scope))
        outcome = await shielded(self._promises.resolve_wait(row, resolution))
        if isinstance(outcome, ResolveAccepted):
            # As it reads back: who waits here sees what everybody else will, and nothing changes it.
            self._board.settle(key.key_id, RESOLUTION.decode(encode(resolution)))
        return outcome

    async def peek_await_event(self, key: AwaitEventKey) -> Resolution | None:
        """How a promise stands."""
        row = row_of(self._genuine(key), journal_key(key.scope))
        match (await self._promises.inspect_waits([row]))[row.key_id]:
            case WaitRevoked():
                raise unknown_or_revoked()
            case WaitResolved(resolution=resolution):
                return resolution
            case WaitPending(deadline_at_ms=due) if is_due(due, self._clock.now_ms()):
                return ResolvedTimeout()  # it has resolved itself, whether or not it was written
            case _:
                return None

    async def await_await_event(
        self,
        key: AwaitEventKey,
        *,
        cancel: CancelToken | None = None,
        deadline_at_ms: int | None = None,
        parking: Parking | None = None,
    ) -> Resolution:
        """Wait for a promise."""
        row = row_of(self._genuine(key), journal_key(key.scope), deadline_at_ms)
        return await self._board.wait(row, cancel, deadline_at_ms, parking)

    async def cancel_await_events_for_session(self, session_id: str) -> int:
        """Cancel what a session waits for."""
        _check_session(session_id)
        ended = await shielded(self._promises.cancel_session_waits(session_id))
        self._board.nudge()
        return len(ended)

    async def revoke_await_events_for_session(self, session_id: str) -> int:
        """Refuse a session's keys for ever."""
        _check_session(session_id)
        forgotten = await shielded(self._promises.revoke_session_waits(session_id))
        self._board.nudge()
        return len(forgotten)

    async def aclose(self) -> None:
        """Stop reading for whoever waits."""
        await self._board.aclose()

    def _genuine(self, key: AwaitEventKey) -> AwaitEventKey:
        if not keys.is_genuine(self._promises.signing_secret, key):
            raise unknown_or_revoked()
        return key


class StoreEffectHost(StorePromises):
    """Journal and promises in one store.

    Args:
        store: Keeps both.
        clock: Measures and sleeps.
        tier: Whether the store survives the process.
        on_drift: What to do when surroundings changed under a recorded effect.
        seams: Told where a crash would be interesting.
    """

    def __init__(
        self,
        store: "JournalAndPromises",
        clock: Clock,
        *,
        tier: DurabilityTier = "durable",
        on_drift: DriftPolicy = "accept",
        seams: SeamObserver = unobserved,
    ) -> None:
        super().__init__(store, clock)
        self._store = store
        self._tier = tier
        self._on_drift = on_drift
        self._seams = seams
        self._surroundings = KnownSurroundings()

    @property
    def capabilities(self) -> HostCapabilities:
        """What this host promises."""
        return HostCapabilities(
            tier=self._tier,
            owns_replay=True,
            external_completion_keys=self._tier == "durable",
        )

    def scoped(
        self,
        scope: ExecutionScope,
        *,
        authority: Authority | None = None,
        fresh: bool = False,
        recorded: Sequence[JournalRecord] | None = None,
        on_parked: Callable[[], None] | None = None,
    ) -> EffectController:
        """A controller with the scope's journal behind it."""
        return JournalingController(
            self._store,
            scope,
            lambda: authority,
            self._clock,
            self,
            on_drift=self._on_drift,
            fresh=fresh,
            recorded=recorded,
            surroundings=self._surroundings,
            on_parked=on_parked,
            seams=self._seams,
        )

    async def retire_effect_journal(self, target: RetireTarget) -> Retirement:
        """Remove what was recorded, a number of scopes at a time, so that no writer waits long."""
        total = Retirement()
        while True:
            removed = await self._store.retire(target)
            total = Retirement(
                scopes=total.scopes + removed.scopes,
                records=total.records + removed.records,
                waits=total.waits + removed.waits,
                blobs=total.blobs + removed.blobs,
            )
            self._surroundings.forget()
            if not removed.more:
                return total


class JournalAndPromises(Journal, AwaitEventStore, Protocol):
    """A store that keeps both."""


class InlineEffectHost(StorePromises):
    """Runs every effect and keeps nothing; promises live as long as the process.

    Args:
        promises: Where promises are kept meanwhile.
        clock: Measures and sleeps.
        external_completion_keys: Let keys be handed out although they die with the process.
    """

    def __init__(
        self, promises: AwaitEventStore, clock: Clock, *, external_completion_keys: bool = False
    ) -> None:
        super().__init__(promises, clock)
        self._external = external_completion_keys

    @property
    def capabilities(self) -> HostCapabilities:
        """What this host promises: nothing beyond the process."""
        return HostCapabilities(
            tier="ephemeral",
            owns_replay=False,
            external_completion_keys=self._external,
            journal_addressing="none",
        )

    def scoped(
        self,
        scope: ExecutionScope,
        *,
        authority: Authority | None = None,
        fresh: bool = False,
        recorded: Sequence[JournalRecord] | None = None,
        on_parked: Callable[[], None] | None = None,
    ) -> EffectController:
        """A controller that runs whatever it is asked for."""
        del authority, fresh, recorded  # nothing is written, and nothing was
        return InlineController(scope, self._clock, self, on_parked=on_parked)

    async def retire_effect_journal(self, target: RetireTarget) -> Retirement:
        """There is no journal to remove anything from."""
        del target
        raise LashError(
            "effect_journal_retirement_unsupported",
            "This runtime records no effects, so there is no journal to retire.",
        )


def _check_session(session_id: str) -> None:
    if not session_id.strip():
        raise LashError(
            "invalid_await_event_session_id", "A session id must not be blank; name the session."
        )
