"""Replay under inspection: a scope's effects answered from its journal, with every executor forbidden."""

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeAlias, cast

import msgspec

from lash.core.errors import LashError, ReplayError
from lash.core.json import Data, JsonObject, JsonValue, encode
from lash.core.scopes import ExecutionScope, journal_key
from lash.effects.commands import DirectCommand, LlmCallCommand, is_composite
from lash.effects.controller import Drift, EffectCounts
from lash.effects.digest import Digester, EnvelopeDigest, surroundings_of
from lash.effects.divergence import Change, changes
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.journal import Journal, JournalRecord
from lash.effects.journaling import decode_outcome
from lash.effects.outcomes import EffectOutcome
from lash.effects.transitions import Mismatch, Replay, decide, likely_cause, replay_error

DivergenceKind: TypeAlias = Literal["missing", "mismatch", "drift", "unused", "result"]


class Divergence(Data):
    """One way in which today's code and a journal differ.

    Attributes:
        what: `missing`: asked for and not recorded; `mismatch`: recorded as something else; `drift`:
            recorded under other surroundings; `unused`: recorded and never asked for; `result`: the
            effects agree and what came of them does not.
        effect: The kind of effect; empty for a result.
        replay_key: Which one; empty for a result.
        cause: What usually lies behind it.
        changes: Where the two differ, as far as it is known.
    """

    what: DivergenceKind
    cause: str
    effect: str = ""
    replay_key: str = ""
    changes: tuple[Change, ...] = ()


class ReplayStoppedError(ReplayError):
    """The code asked for something the journal cannot answer; see `divergence`."""

    def __init__(self, error: ReplayError, divergence: Divergence) -> None:
        super().__init__(error.code, error.message, **error.details)
        self.divergence = divergence


class ReplayController:
    """Answers from a journal and nothing else. Nothing is executed, waited for or written.

    Of a scope whose work is still open, an effect that is not recorded is one that has not happened
    yet: it is held, so that what runs beside it is replayed as far as it came.

    Args:
        journal: What was recorded.
        scope: Whose effects.
        is_open: Whether the work may go on behind what is recorded.
        ends: What is raised behind what is recorded, if the work was stopped there.

    Attributes:
        asked: The replay keys that were found, in order.
        drifted: Where surroundings differ, once per content.
        held: The effects that are not recorded yet, by kind and key.
        stuck: Set when everything under way is held.
    """

    def __init__(
        self,
        journal: Journal,
        scope: ExecutionScope,
        *,
        is_open: bool,
        ends: LashError | None = None,
    ) -> None:
        self._journal = journal
        self._ends = ends
        self._is_open = is_open
        self._under_way = 0
        self.held: list[tuple[str, str]] = []
        self.stuck = asyncio.Event()
        self._scope = scope
        self._scope_key = journal_key(scope)
        self._digester = Digester()
        self._seen_surroundings: set[tuple[str, str]] = set()
        self.asked: list[str] = []
        self.drifted: list[Divergence] = []

    @property
    def scope(self) -> ExecutionScope:
        """Whose effects these are."""
        return self._scope

    async def execute(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        """The recorded outcome.

        Raises:
            ReplayStoppedError: `effect_replay_missing`, `effect_replay_mismatch`.
        """
        if is_composite(envelope.command):
            return await executor.run(envelope)
        self._under_way += 1
        try:
            return await self._answer(envelope)
        finally:
            self._under_way -= 1
            self._check()

    async def _answer(self, envelope: RuntimeEffectEnvelope) -> EffectOutcome:
        asked, key = self._digester.digest(envelope.command), envelope.replay_key
        record = await self._journal.lookup(self._scope_key, key)
        if record is None:
            if self._ends is not None:
                raise self._ends
            if self._is_open:
                await self._hold(asked.kind, key)
            raise _missing(key, asked.kind)
        match decide(record, asked):
            case Replay(outcome=outcome, drift=drift):
                self.asked.append(key)
                if drift:
                    await self._note(envelope, record, asked, drift)
                return decode_outcome(key, outcome)
            case Mismatch() as mismatch:
                raise ReplayStoppedError(
                    replay_error(mismatch, key, asked.kind), _mismatched(mismatch, record, asked)
                )
            case decision:
                raise AssertionError(decision)  # drift is accepted, and a record is there

    async def _hold(self, kind: str, key: str) -> None:
        """Wait for the end of the replay."""
        self.held.append((kind, key))
        self._check()
        await asyncio.get_running_loop().create_future()

    def _check(self) -> None:
        if self.held and self._under_way == len(self.held):
            self.stuck.set()

    async def _note(
        self,
        envelope: RuntimeEffectEnvelope,
        record: JournalRecord,
        asked: EnvelopeDigest,
        drift: Sequence[str],
    ) -> None:
        """Keep how surroundings differ, value by value if their content is known."""
        seen = (record.surroundings, asked.surroundings)
        if seen in self._seen_surroundings:
            return
        self._seen_surroundings.add(seen)
        content = await self._journal.load_surroundings(record.surroundings)
        command = envelope.command
        found: tuple[Change, ...] = tuple(Change(path=p, before=None, after=None) for p in drift)
        if content is not None and isinstance(command, LlmCallCommand | DirectCommand):
            before = cast("JsonValue", msgspec.json.decode(content))
            now = cast("JsonValue", msgspec.json.decode(encode(surroundings_of(command.request))))
            found = tuple(changes(before, now, "surroundings"))
        self.drifted.append(
            Divergence(
                what="drift",
                cause=likely_cause(drift),
                effect=asked.kind,
                replay_key=record.replay_key,
                changes=found,
            )
        )

    def deferred(self) -> Sequence[JournalRecord]:
        """Nothing is ever written."""
        return ()

    @property
    def counts(self) -> EffectCounts:
        """Every effect was replayed."""
        return EffectCounts(replayed=len(self.asked))

    @property
    def drift(self) -> Sequence[Drift]:
        """Told in `drifted`, in more detail."""
        return ()

    @property
    def parked(self) -> bool:
        """Nothing is waited for."""
        return False


def _missing(key: str, kind: str) -> ReplayStoppedError:
    error = ReplayError(
        "effect_replay_missing",
        f"The code asks for a {kind} under {key}, and the journal holds none. The code took another "
        "way than the one that was recorded, or the turn never came so far.",
        replay_key=key,
        kind=kind,
    )
    cause = "the code asks for something it did not ask for when the journal was written"
    return ReplayStoppedError(
        error, Divergence(what="missing", cause=cause, effect=kind, replay_key=key)
    )


def _mismatched(mismatch: Mismatch, record: JournalRecord, asked: EnvelopeDigest) -> Divergence:
    if record.kind != asked.kind:
        found: tuple[Change, ...] = (Change(path="kind", before=record.kind, after=asked.kind),)
    else:
        before: JsonObject = msgspec.json.decode(record.envelope)["identity"]
        now: JsonObject = msgspec.json.decode(encode(asked.envelope))["identity"]
        found = tuple(changes(before, now, "identity"))
    return Divergence(
        what="mismatch",
        cause=mismatch.cause,
        effect=asked.kind,
        replay_key=record.replay_key,
        changes=found,
    )
