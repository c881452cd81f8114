"""The journaling controller: a recorded effect is never executed again (ARCHITECTURE D5)."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.errors import LashError, LeaseLostError, StoreError
from lash.core.json import encode
from lash.core.seams import SeamObserver, unobserved
from lash.effects.commands import (
    EffectFailed,
    EffectOutcome,
    SleepCommand,
    SleepOutcome,
    ToolBatchCommand,
)
from lash.effects.controller import Drift, EffectCounts, LocalExecutor
from lash.effects.digest import Digester, EnvelopeDigest
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.journal import (
    AlreadyRecorded,
    FenceRefused,
    Journal,
    JournalRecord,
    WriteAuthority,
)
from lash.effects.shielding import shielded
from lash.effects.transitions import (
    DriftPolicy,
    DriftRefused,
    Mismatch,
    Replay,
    decide,
    fit_outcome,
    is_deferred,
    replay_error,
)

_log = logging.getLogger("lash.effects")
_OUTCOME: msgspec.json.Decoder[EffectOutcome] = msgspec.json.Decoder(EffectOutcome)


class JournalingController:
    """Executes the effects of one scope once and answers from the journal afterwards.

    Args:
        journal: Where outcomes are kept.
        scope_key: The scope's journal key.
        authority: The proof that writes present; None for scopes without a lease.
        clock: Measures durations and keeps sleeps.
        on_drift: What to do when surroundings changed under a recorded effect.
        fresh: The scope was accepted just now, so nothing can be recorded in it yet.
        seams: Told when a record is about to be written, and when it was.
    """

    def __init__(
        self,
        journal: Journal,
        scope_key: str,
        authority: Callable[[], WriteAuthority | None],
        clock: Clock,
        *,
        on_drift: DriftPolicy = "accept",
        fresh: bool = False,
        seams: SeamObserver = unobserved,
    ) -> None:
        self._journal = journal
        self._scope_key = scope_key
        self._authority = authority
        self._clock = clock
        self._on_drift = on_drift
        self._fresh = fresh
        self._seams = seams
        self._digester = Digester()
        self._running: dict[str, asyncio.Future[None]] = {}
        self._seen: set[str] = set()
        self._deferred: list[JournalRecord] = []
        self._drift: list[Drift] = []
        self._executed = 0
        self._replayed = 0

    @property
    def counts(self) -> EffectCounts:
        """How many atoms were executed and replayed so far."""
        return EffectCounts(executed=self._executed, replayed=self._replayed)

    @property
    def drift(self) -> Sequence[Drift]:
        """Replays whose surroundings changed."""
        return tuple(self._drift)

    def deferred(self) -> Sequence[JournalRecord]:
        """Records that wait for the scope's next transaction."""
        return tuple(self._deferred)

    async def execute(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        """The recorded outcome, or the executor's, recorded before it is returned."""
        if isinstance(envelope.command, ToolBatchCommand):
            # A composite is interpreted again; its atoms come through here one by one.
            return await executor()
        asked = self._digester.digest(envelope.command)
        key = envelope.replay_key
        while (running := self._running.get(key)) is not None:
            # A second arrival of a key waits for the first, then finds its record or takes over.
            await asyncio.shield(running)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running[key] = done
        try:
            return await self._settle(envelope, asked, executor)
        finally:
            del self._running[key]
            done.set_result(None)

    async def _settle(
        self, envelope: RuntimeEffectEnvelope, asked: EnvelopeDigest, executor: LocalExecutor
    ) -> EffectOutcome:
        key = envelope.replay_key
        recorded = await self._lookup(key)
        decision = decide(recorded, asked, self._on_drift)
        if isinstance(decision, Mismatch | DriftRefused):
            raise replay_error(decision, key, asked.kind)
        if isinstance(decision, Replay):
            return await self._replay(key, decision)
        command = envelope.command
        if isinstance(command, SleepCommand):
            due = self._clock.now_ms() + command.duration_ms
            outcome: EffectOutcome = SleepOutcome(due_at_ms=due)
            outcome = await self._keep(key, asked, outcome, 0.0)
            await self._sleep_until(outcome)
            return outcome
        started = self._clock.monotonic()
        outcome = await self._run(executor)
        duration_ms = round((self._clock.monotonic() - started) * 1000, 3)
        return await self._keep(key, asked, outcome, duration_ms)

    async def _lookup(self, key: str) -> JournalRecord | None:
        for record in self._deferred:
            if record.replay_key == key:
                return record
        if self._fresh and key not in self._seen:
            return None
        return await self._journal.lookup(self._scope_key, key)

    async def _replay(self, key: str, decision: Replay) -> EffectOutcome:
        self._replayed += 1
        if decision.drift:
            self._drift.append(Drift(replay_key=key, paths=decision.drift))
        outcome = _decode(key, decision.outcome)
        await self._sleep_until(outcome)
        return outcome

    async def _run(self, executor: LocalExecutor) -> EffectOutcome:
        try:
            return await executor()
        except LashError:
            raise  # wiring, lease and store trouble: nothing is recorded, a later drive may succeed
        except Exception as error:  # noqa: BLE001  contained: a bug must not wedge the turn
            _log.exception("an effect's executor raised an unexpected error")
            return EffectFailed(code="effect_panicked", message=f"{type(error).__name__}: {error}")

    async def _keep(
        self, key: str, asked: EnvelopeDigest, outcome: EffectOutcome, duration_ms: float
    ) -> EffectOutcome:
        """Record an outcome, or set it aside when it needs no write of its own."""
        self._executed += 1
        encoded = encode(outcome)
        too_large = fit_outcome(encoded)
        if too_large is not None:
            outcome, encoded = too_large, encode(too_large)
        authority = self._authority()
        record = JournalRecord(
            replay_key=key,
            kind=asked.kind,
            identity=asked.identity,
            surroundings=asked.surroundings,
            envelope=encode(asked.envelope).decode(),
            outcome=encoded.decode(),
            recorded_at_ms=self._clock.now_ms(),
            duration_ms=duration_ms,
            fencing_token=authority.fence.fencing_token if authority else 0,
        )
        self._seen.add(key)
        if is_deferred(outcome):
            self._deferred.append(record)
            return outcome
        return await self._write(record, outcome, authority)

    async def _write(
        self, record: JournalRecord, outcome: EffectOutcome, authority: WriteAuthority | None
    ) -> EffectOutcome:
        waiting, self._deferred = self._deferred, []
        records = (*waiting, record)
        self._seams("record.before")
        try:
            # Once the executor has returned, only the disk may keep its outcome from being kept.
            result = await shielded(self._journal.record(self._scope_key, records, authority))
        except StoreError:
            self._deferred = waiting + self._deferred
            raise
        match result:
            case FenceRefused():
                raise lease_lost(authority)
            case AlreadyRecorded(winner=winner):
                return _decode(winner.replay_key, winner.outcome)
            case _:
                self._seams("record.after")
                return outcome

    async def _sleep_until(self, outcome: EffectOutcome) -> None:
        if isinstance(outcome, SleepOutcome):
            remaining = (outcome.due_at_ms - self._clock.now_ms()) / 1000
            if remaining > 0:
                await self._clock.sleep(remaining)


def lease_lost(authority: WriteAuthority | None) -> LeaseLostError:
    """The error of a writer that finds another one in its place."""
    session_id = authority.session_id if authority else ""
    return LeaseLostError(
        "session_execution_lease_lost",
        f"Another process took over session {session_id!r}; this one stopped and wrote nothing "
        "more. The turn goes on there.",
        session_id=session_id,
    )


def _decode(key: str, text: str) -> EffectOutcome:
    try:
        return _OUTCOME.decode(text)
    except msgspec.MsgspecError as error:
        raise StoreError(
            "store_corrupt",
            f"The recorded outcome of {key} cannot be read back: {error}. The database was damaged "
            "or written by another version.",
            replay_key=key,
        ) from error
