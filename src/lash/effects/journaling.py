"""The journaling controller: a recorded effect is never executed again (ARCHITECTURE D5)."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.errors import LeaseLostError, StoreError
from lash.core.json import encode
from lash.core.scopes import ExecutionScope, journal_key, validate_scope
from lash.core.seams import SeamObserver, unobserved
from lash.effects.commands import (
    DirectCommand,
    LlmCallCommand,
    SleepCommand,
    is_composite,
)
from lash.effects.controller import Drift, EffectCounts
from lash.effects.digest import Digester, EnvelopeDigest, surroundings_of
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.journal import (
    AlreadyRecorded,
    Authority,
    FenceRefused,
    Journal,
    JournalRecord,
    ProcessAuthority,
    Recorded,
    RecordResult,
)
from lash.effects.keys import cancelled_key
from lash.effects.occupancy import Occupancy
from lash.effects.outcomes import EffectFailed, EffectOutcome, SleepOutcome
from lash.effects.performing import Waits, panicked, perform
from lash.effects.shielding import finished
from lash.effects.sleeping import sleep_cancelled, sleep_until
from lash.effects.transitions import (
    DriftPolicy,
    Execute,
    Replay,
    decide,
    differs_by_reader,
    fit_outcome,
    is_deferred,
    replay_error,
)

_OUTCOME: msgspec.json.Decoder[EffectOutcome] = msgspec.json.Decoder(EffectOutcome)


#: A scope that only reads clocks writes all the same once so many readings wait to be written.
_MOST_DEFERRED = 256

#: A scope that was accepted just now is not looked up in the journal, except for the keys it has
#: recorded since. Beyond so many it is looked up like any other, so that memory does not grow with it.
_FRESH_KEYS = 4096


class KnownSurroundings:
    """Which surroundings a store has the content of, as far as this process knows."""

    def __init__(self) -> None:
        self._digests: set[str] = set()

    def knows(self, digest: str) -> bool:
        """Whether their content was given before."""
        return digest in self._digests

    def add(self, digest: str) -> None:
        """Their content was written."""
        self._digests.add(digest)

    def forget(self) -> None:
        """The store may have let go of some."""
        self._digests.clear()


class JournalingController:
    """Executes the effects of one scope once and answers from the journal afterwards.

    Args:
        journal: Where outcomes are kept.
        scope: Whose effects these are.
        authority: The proof that writes present; None for scopes without a lease.
        clock: Measures durations and keeps sleeps.
        waits: Carries out waits.
        on_drift: What to do when surroundings changed under a recorded effect.
        fresh: The scope was accepted just now, so nothing can be recorded in it yet.
        recorded: All that is recorded in it, for callers that have read it. Each is let go of when it
            was asked for.
        surroundings: What the store is known to have; shared by the controllers of a store.
        on_parked: Called when all that is under way begins to wait for the outside.
        seams: Told when a record is about to be written, and when it was.
    """

    def __init__(
        self,
        journal: Journal,
        scope: ExecutionScope,
        authority: Callable[[], Authority | None],
        clock: Clock,
        waits: Waits,
        *,
        on_drift: DriftPolicy = "accept",
        fresh: bool = False,
        recorded: Sequence[JournalRecord] | None = None,
        surroundings: KnownSurroundings | None = None,
        on_parked: Callable[[], None] | None = None,
        seams: SeamObserver = unobserved,
    ) -> None:
        validate_scope(scope)
        self._journal = journal
        self._scope = scope
        self._scope_key = journal_key(scope)
        self._authority = authority
        self._clock = clock
        self._waits = waits
        self._on_drift = on_drift
        self._fresh = fresh or recorded is not None
        self._recorded = {record.replay_key: record for record in recorded or ()}
        self._seen: set[str] = set()
        self._seams = seams
        self._surroundings = surroundings or KnownSurroundings()
        self._occupancy = Occupancy(on_parked)
        self._digester = Digester()
        self._running: dict[str, list[asyncio.Future[None]]] = {}
        self._deferred: dict[str, JournalRecord] = {}
        self._carried: dict[str, JournalRecord] = {}
        self._carrying: asyncio.Future[None] | None = None
        self._drift: list[Drift] = []
        self._executed = 0
        self._replayed = 0

    @property
    def scope(self) -> ExecutionScope:
        """Whose effects these are."""
        return self._scope

    @property
    def counts(self) -> EffectCounts:
        """How many atoms were executed and replayed so far."""
        return EffectCounts(executed=self._executed, replayed=self._replayed)

    @property
    def drift(self) -> Sequence[Drift]:
        """Replays whose surroundings changed."""
        return tuple(self._drift)

    @property
    def parked(self) -> bool:
        """Whether all that is under way waits for the outside."""
        return self._occupancy.parked

    def deferred(self) -> Sequence[JournalRecord]:
        """Records that wait for the scope's next transaction."""
        return tuple(self._deferred.values())

    async def execute(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        """The recorded outcome, or the executor's, recorded before it is returned."""
        if is_composite(envelope.command):
            # A composite is interpreted again; its atoms come through here one by one.
            return await perform(envelope, executor, self._waits)
        asked = self._digester.digest(envelope.command)
        key = envelope.replay_key
        while key in self._running:
            # A second arrival of a key waits for the first, then finds its record or takes over.
            await self._left(key)
        self._running[key] = []
        self._occupancy.begin()
        try:
            return await self._settle(envelope, asked, executor)
        finally:
            for waiter in self._running.pop(key):
                if not waiter.done():
                    waiter.set_result(None)
            self._occupancy.end()

    async def _left(self, key: str) -> None:
        """Wait until nobody here is at an effect any more."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running[key].append(waiter)
        await waiter

    async def _settle(
        self, envelope: RuntimeEffectEnvelope, asked: EnvelopeDigest, executor: LocalExecutor
    ) -> EffectOutcome:
        key = envelope.replay_key
        outcome = self._recall(key, await self._lookup(key), asked)
        if outcome is not None:
            self._replayed += 1
        elif isinstance(envelope.command, SleepCommand):
            due = self._clock.now_ms() + envelope.command.duration_ms
            outcome = await self._keep(envelope, asked, SleepOutcome(due_at_ms=due), 0.0)
        else:
            started = self._clock.monotonic()
            made = await perform(envelope, executor, self._waits, self._occupancy)
            duration_ms = round((self._clock.monotonic() - started) * 1000, 3)
            outcome = await self._keep(envelope, asked, made, duration_ms)
        if isinstance(outcome, SleepOutcome):
            return await self._sleep(envelope, asked, outcome, executor)
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
                return decode_outcome(key, outcome)
            case refused:
                raise replay_error(refused, key, asked.kind)

    async def _lookup(self, key: str) -> JournalRecord | None:
        waiting = self._deferred.get(key) or self._carried.get(key)
        if waiting is not None:
            return waiting
        known = self._recorded.pop(key, None)
        if known is not None:
            self._note(key)  # asked for again, it is looked up
            return known
        if self._fresh and key not in self._seen:
            return None
        return await self._journal.lookup(self._scope_key, key)

    async def _sleep(
        self,
        envelope: RuntimeEffectEnvelope,
        asked: EnvelopeDigest,
        outcome: SleepOutcome,
        executor: LocalExecutor,
    ) -> EffectOutcome:
        """Wait for the recorded due time. A sleep that was broken off stays broken off."""
        command, cancel = envelope.command, executor.cancel
        if not isinstance(command, SleepCommand):
            return outcome
        key = cancelled_key(envelope.replay_key)
        if await self._lookup(key) is None:
            due, longest = outcome.due_at_ms, command.duration_ms
            self._occupancy.begin_waiting()
            try:
                slept = await sleep_until(self._clock, due, longest, cancel)
            finally:
                self._occupancy.end_waiting()
            if slept:
                return outcome
            broken = SleepOutcome(due_at_ms=due, cancelled=True)
            await self._record(self._record_of(key, asked, encode(broken), 0.0))
        return EffectFailed(**sleep_cancelled())

    # --- recording ------------------------------------------------------------------------------

    async def _keep(
        self,
        envelope: RuntimeEffectEnvelope,
        asked: EnvelopeDigest,
        made: EffectOutcome,
        duration_ms: float,
    ) -> EffectOutcome:
        """Record an outcome, or set it aside when it needs no write of its own."""
        self._executed += 1
        outcome, encoded = _recordable(envelope, made)
        record = self._record_of(envelope.replay_key, asked, encoded, duration_ms)
        # Without a lease another writer may win what was read here, and it must be known who did
        # before anybody goes on from it.
        contested = self._authority() is None and differs_by_reader(outcome)
        if is_deferred(outcome) and not contested and len(self._deferred) < _MOST_DEFERRED:
            self._note(record.replay_key)
            self._deferred[record.replay_key] = record
            return outcome
        record = self._with_content(record, envelope)
        winner = await self._record(record)
        return (
            outcome if winner is None else self._recall(record.replay_key, winner, asked) or outcome
        )

    def _record_of(
        self, key: str, asked: EnvelopeDigest, encoded: bytes, duration_ms: float
    ) -> JournalRecord:
        authority = self._authority()
        return JournalRecord(
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

    def _with_content(
        self, record: JournalRecord, envelope: RuntimeEffectEnvelope
    ) -> JournalRecord:
        """With the content of surroundings that the store is not known to have."""
        command = envelope.command
        if not record.surroundings or self._surroundings.knows(record.surroundings):
            return record
        if not isinstance(command, LlmCallCommand | DirectCommand):
            return record
        content = encode(surroundings_of(command.request)).decode()
        return msgspec.structs.replace(record, surroundings_content=content)

    async def _record(self, record: JournalRecord) -> JournalRecord | None:
        """Write a record; the one that was there before, if there was one."""
        self._note(record.replay_key)
        self._seams("record.before")
        winner = await self._write(record, self._authority())
        self._seams("record.after")
        if record.surroundings_content is not None and winner is None:
            self._surroundings.add(record.surroundings)
        return winner

    def _note(self, key: str) -> None:
        """Remember that a key may be recorded now."""
        if not self._fresh:
            return
        self._seen.add(key)
        if len(self._seen) > _FRESH_KEYS:
            self._fresh = False
            self._seen.clear()

    async def _write(
        self, record: JournalRecord, authority: Authority | None
    ) -> JournalRecord | None:
        """Record, together with what waited; the record that was there before, if there was one.

        Once the executor has returned, only the disk may keep its outcome from being kept: the write
        is seen through although the caller is cancelled, and the cancel let through afterwards.
        """
        cancelled: asyncio.CancelledError | None = None
        try:
            while self._carrying is not None:
                # What is being written for others may be what this record depends on.
                cancelled = await finished(self._carrying) or cancelled
            while True:
                carries = bool(self._deferred)
                write = self._submit(record, authority)
                cancelled = await finished(write) or cancelled
                winner = self._settled(write, authority, carries=carries)
                if winner is None or winner.replay_key == record.replay_key:
                    return winner
        finally:
            if cancelled is not None:
                raise cancelled

    def _submit(
        self, record: JournalRecord, authority: Authority | None
    ) -> "asyncio.Future[RecordResult]":
        """Offer a record to the store, with whatever waited for it."""
        offered = self._journal.record(self._scope_key, (*self.deferred(), record), authority)
        write: asyncio.Future[RecordResult] = asyncio.ensure_future(offered)
        if self._deferred:
            self._carried, self._deferred = self._deferred, {}
            self._carrying = asyncio.get_running_loop().create_future()
        return write

    def _settled(
        self,
        write: "asyncio.Future[RecordResult]",
        authority: Authority | None,
        *,
        carries: bool,
    ) -> JournalRecord | None:
        """What a write came to: nothing, or the record that was there before.

        What it carried and did not keep waits again, unless another writer of a scope without a lease
        kept it.
        """
        back: dict[str, JournalRecord] = {}
        if carries and self._carrying is not None:
            self._carrying.set_result(None)
            back, self._carried, self._carrying = self._carried, {}, None
        try:
            match write.result():
                case Recorded():
                    back = {}
                    return None
                case FenceRefused():
                    raise lease_lost(authority)
                case AlreadyRecorded(winner=winner):
                    back.pop(winner.replay_key, None)
                    return winner
        finally:
            self._deferred = {**back, **self._deferred}


def lease_lost(authority: Authority | None) -> LeaseLostError:
    """The error of a writer that finds another one in its place."""
    if isinstance(authority, ProcessAuthority):
        process_id = authority.process_id
        return LeaseLostError(
            "process_lease_lost",
            f"Another worker took over process {process_id!r}; this one stopped and wrote nothing "
            "more. The process goes on there.",
            process_id=process_id,
        )
    session_id = authority.session_id if authority else ""
    return LeaseLostError(
        "session_execution_lease_lost",
        f"Another process took over session {session_id!r}; this one stopped and wrote nothing "
        "more. The turn goes on there.",
        session_id=session_id,
    )


def _recordable(
    envelope: RuntimeEffectEnvelope, outcome: EffectOutcome
) -> tuple[EffectOutcome, bytes]:
    """The outcome as it reads back, and its JSON; or the failure to record where that is not to be.

    The first drive goes on from what a later one will read, so the two cannot diverge.
    """
    try:
        encoded = encode(outcome)
        kept = _OUTCOME.decode(encoded)
    except (TypeError, ValueError, RecursionError) as error:
        failure = panicked(envelope, error)
        return failure, encode(failure)
    too_large = fit_outcome(encoded)
    return (kept, encoded) if too_large is None else (too_large, encode(too_large))


def decode_outcome(key: str, text: str) -> EffectOutcome:
    """A recorded outcome.

    Raises:
        StoreError: `store_corrupt`.
    """
    try:
        return _OUTCOME.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise StoreError(
            "store_corrupt",
            f"The recorded outcome of {key} cannot be read back: {error}. The database was damaged "
            "or written by another version.",
            replay_key=key,
        ) from error
