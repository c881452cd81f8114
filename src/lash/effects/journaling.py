"""The journaling controller: a recorded effect is never executed again (ARCHITECTURE D5)."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.errors import LashError, LeaseLostError, StoreError
from lash.core.json import encode
from lash.core.seams import SeamObserver, unobserved
from lash.core.text import described
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
    Recorded,
    WriteAuthority,
)
from lash.effects.shielding import shielded
from lash.effects.transitions import (
    DriftPolicy,
    Execute,
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
        command = envelope.command
        outcome = self._recall(key, await self._lookup(key), asked)
        if outcome is not None:
            self._replayed += 1
        elif isinstance(command, SleepCommand):
            due = self._clock.now_ms() + command.duration_ms
            outcome = await self._keep(key, asked, SleepOutcome(due_at_ms=due), 0.0)
        else:
            started = self._clock.monotonic()
            made = await self._run(executor)
            duration_ms = round((self._clock.monotonic() - started) * 1000, 3)
            outcome = await self._keep(key, asked, made, duration_ms)
        if isinstance(outcome, SleepOutcome) and isinstance(command, SleepCommand):
            await self._sleep_until(outcome.due_at_ms, command.duration_ms)
        return outcome

    def _recall(
        self, key: str, recorded: JournalRecord | None, asked: EnvelopeDigest
    ) -> EffectOutcome | None:
        """The recorded outcome, or None when there is none and the effect is to be executed."""
        match decide(recorded, asked, self._on_drift):
            case Execute():
                return None
            case Replay(outcome=outcome, drift=drift):
                if drift:
                    self._drift.append(Drift(replay_key=key, paths=drift))
                return _decode(key, outcome)
            case refused:
                raise replay_error(refused, key, asked.kind)

    async def _lookup(self, key: str) -> JournalRecord | None:
        for record in self._deferred:
            if record.replay_key == key:
                return record
        if self._fresh and key not in self._seen:
            return None
        return await self._journal.lookup(self._scope_key, key)

    async def _run(self, executor: LocalExecutor) -> EffectOutcome:
        try:
            return await executor()
        except LashError:
            raise  # wiring, lease and store trouble: nothing is recorded, a later drive may succeed
        except Exception as error:  # noqa: BLE001  contained: a bug must not wedge the turn
            _log.exception("an effect's executor raised an unexpected error")
            return _panicked(error)

    async def _keep(
        self, key: str, asked: EnvelopeDigest, outcome: EffectOutcome, duration_ms: float
    ) -> EffectOutcome:
        """Record an outcome, or set it aside when it needs no write of its own."""
        self._executed += 1
        outcome, encoded = _recordable(outcome)
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
        self._seams("record.before")
        # Once the executor has returned, only the disk may keep its outcome from being kept.
        first = self._recall(key, await shielded(self._write(record, authority)), asked)
        self._seams("record.after")
        return outcome if first is None else first

    async def _write(
        self, record: JournalRecord, authority: WriteAuthority | None
    ) -> JournalRecord | None:
        """Record, together with what waited; the record that was there before, if there was one."""
        waiting, self._deferred = self._deferred, []
        try:
            while True:
                records = (*waiting, record)
                match await self._journal.record(self._scope_key, records, authority):
                    case Recorded():
                        waiting = []
                        return None
                    case FenceRefused():
                        raise lease_lost(authority)
                    case AlreadyRecorded(winner=winner):
                        if winner.replay_key == record.replay_key:
                            return winner
                        # Another writer of a scope without a lease kept what only waited here.
                        waiting = [item for item in waiting if item.replay_key != winner.replay_key]
        finally:
            self._deferred = waiting + self._deferred

    async def _sleep_until(self, due_at_ms: int, duration_ms: int) -> None:
        """Wait for what is left; never longer than was asked for, should the clock have gone back."""
        remaining = min(due_at_ms - self._clock.now_ms(), duration_ms)
        if remaining > 0:
            await self._clock.sleep(remaining / 1000)


def lease_lost(authority: WriteAuthority | None) -> LeaseLostError:
    """The error of a writer that finds another one in its place."""
    session_id = authority.session_id if authority else ""
    return LeaseLostError(
        "session_execution_lease_lost",
        f"Another process took over session {session_id!r}; this one stopped and wrote nothing "
        "more. The turn goes on there.",
        session_id=session_id,
    )


def _panicked(error: Exception) -> EffectFailed:
    return EffectFailed(code="effect_panicked", message=described(error))


def _recordable(outcome: EffectOutcome) -> tuple[EffectOutcome, bytes]:
    """The outcome as it reads back, and its JSON; or the failure to record where that is not to be.

    The first drive goes on from what a later one will read, so the two cannot diverge.
    """
    try:
        encoded = encode(outcome)
        kept = _OUTCOME.decode(encoded)
    except (TypeError, ValueError, RecursionError) as error:
        failure = _panicked(error)
        return failure, encode(failure)
    too_large = fit_outcome(encoded)
    return (kept, encoded) if too_large is None else (too_large, encode(too_large))


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
