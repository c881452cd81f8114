"""Journals and promises in memory, by the scope that owns them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from lash.core.clock import Clock
from lash.core.scopes import (
    ProcessScope,
    RuntimeOperationScope,
    TurnScope,
    from_journal_key,
    journal_key,
    scope_session_id,
)
from lash.effects.journal import (
    JournalEntry,
    JournalRecord,
    RetireFinished,
    Retirement,
    RetireOperation,
    RetireProcess,
    RetireSession,
    RetireTarget,
)
from lash.effects.waits.model import Resolution, ResolvedCancelled, ResolveOutcome
from lash.effects.waits.transitions import (
    WaitMissing,
    WaitPending,
    WaitRow,
    WaitState,
    plan_resolve,
    plan_sweep,
)
from lash.sessions.checking import ScopeFact
from lash.stores.contents import due_at_ms, resolution_text, wait_state


@dataclass(slots=True)
class _Scope:
    """What is kept under one scope key."""

    records: dict[str, JournalRecord] = field(default_factory=dict)
    finished_at_ms: int | None = None


class Scopes:
    """Every scope's records and promises. Every method is one transaction: nothing awaits.

    Args:
        clock: The store's clock.
        changed: Called after every write.
    """

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._scopes: dict[str, _Scope] = {}
        self._surroundings: dict[str, str] = {}
        self._waits: dict[str, WaitRow] = {}
        self._revoked: set[str] = set()

    # --- the journal ----------------------------------------------------------------------------

    def records(self, scope_key: str) -> Mapping[str, JournalRecord]:
        """A scope's records, in order."""
        scope = self._scopes.get(scope_key)
        return scope.records if scope else {}

    def entries(self, scope_key: str) -> Sequence[JournalEntry]:
        """A scope's records in brief, in order."""
        return [
            JournalEntry(
                replay_key=record.replay_key,
                kind=record.kind,
                recorded_at_ms=record.recorded_at_ms,
                duration_ms=record.duration_ms,
                bytes=len(record.outcome.encode()),
                fencing_token=record.fencing_token,
                due_at_ms=due_at_ms(record),
            )
            for record in self.records(scope_key).values()
        ]

    def surroundings(self, digest: str) -> str | None:
        """The content of surroundings."""
        return self._surroundings.get(digest)

    def taken(self, scope_key: str, records: Sequence[JournalRecord]) -> JournalRecord | None:
        """The record under the first key that is taken, by the journal or by an earlier one of these."""
        there, new = self.records(scope_key), dict[str, JournalRecord]()
        for record in records:
            winner = there.get(record.replay_key) or new.get(record.replay_key)
            if winner is not None:
                return _as_kept(winner)
            new[record.replay_key] = record
        return None

    def append(self, scope_key: str, records: Sequence[JournalRecord]) -> None:
        """Keep records whose keys are not taken."""
        if not records:
            return
        journal = self._scope(scope_key).records
        for record in records:
            if record.replay_key in journal:
                continue
            content = record.surroundings_content
            if content is not None and record.surroundings:
                self._surroundings.setdefault(record.surroundings, content)
            journal[record.replay_key] = _as_kept(record)
        self._changed()

    def finish(self, scope_key: str, *, create: bool = False) -> None:
        """Mark a scope finished, if it is there."""
        scope = self._scope(scope_key) if create else self._scopes.get(scope_key)
        if scope is not None:
            scope.finished_at_ms = self._clock.now_ms()
            self._changed()

    def reopen(self, scope_key: str) -> None:
        """Take back that a scope is finished."""
        scope = self._scopes.get(scope_key)
        if scope is not None:
            scope.finished_at_ms = None
            self._changed()

    def _scope(self, scope_key: str) -> _Scope:
        return self._scopes.setdefault(scope_key, _Scope())

    # --- promises -------------------------------------------------------------------------------

    def open_wait(self, row: WaitRow) -> WaitState:
        """Make sure that a promise is there."""
        state = self.wait_state(row)
        if not isinstance(state, WaitMissing):
            return state
        self._add_wait(row)
        return WaitPending(deadline_at_ms=row.deadline_at_ms)

    def resolve_wait(self, row: WaitRow, resolution: Resolution) -> ResolveOutcome:
        """Resolve a promise; the first resolution wins."""
        state = self.wait_state(row)
        plan = plan_resolve(state, resolution, self._clock.now_ms())
        if plan.store is not None:
            early = isinstance(state, WaitMissing)
            if early:
                self._add_wait(msgspec.structs.replace(row, deadline_at_ms=None))
            self._resolve(row.key_id, plan.store, early=early)
        return plan.outcome

    def wait_state(self, row: WaitRow) -> WaitState:
        """How a promise stands."""
        revoked = row.session_id in self._revoked
        return wait_state(self._waits.get(row.key_id), row, revoked=revoked)

    def cancel_waits(self, session_id: str) -> Sequence[str]:
        """Cancel what is pending in a session."""
        return self._cancel(self._waits_of(session_id))

    def cancel_scope_waits(self, scope_key: str) -> Sequence[str]:
        """Cancel what is pending in a scope that is over."""
        return self._cancel(self.waits_of_scope(scope_key))

    def _cancel(self, rows: Sequence[WaitRow]) -> Sequence[str]:
        now_ms = self._clock.now_ms()
        cancelled: list[str] = []
        for row in rows:
            state = wait_state(row, row, revoked=False)
            proposed = plan_sweep(state, turn_control=row.turn_control, now_ms=now_ms)
            if proposed is not None:
                self._resolve(row.key_id, proposed)
            if isinstance(proposed, ResolvedCancelled):
                cancelled.append(row.key_id)
        return cancelled

    def revoke_waits(self, session_id: str) -> Sequence[str]:
        """Forget the promises of a session, and refuse its keys from now on."""
        forgotten = [row.key_id for row in self._waits_of(session_id)]
        for key_id in forgotten:
            del self._waits[key_id]
        self._revoked.add(session_id)
        self._changed()
        return forgotten

    def is_revoked(self, session_id: str) -> bool:
        """Whether a session's keys are refused."""
        return session_id in self._revoked

    def waits_of_scope(self, scope_key: str) -> Sequence[WaitRow]:
        """The promises of a scope, in the order in which they were made."""
        return [row for row in self._waits.values() if row.scope_key == scope_key]

    def _waits_of(self, session_id: str) -> Sequence[WaitRow]:
        return [row for row in self._waits.values() if row.session_id == session_id]

    def _add_wait(self, row: WaitRow) -> None:
        self._scope(row.scope_key)
        self._waits[row.key_id] = msgspec.structs.replace(
            row, resolution=None, created_at_ms=self._clock.now_ms(), resolved_at_ms=None
        )
        self._changed()

    def _resolve(self, key_id: str, resolution: Resolution, *, early: bool = False) -> None:
        row, now_ms = self._waits[key_id], self._clock.now_ms()
        # It comes after the wait, also within a millisecond: a promise that was made by its resolution
        # is told by that.
        after = now_ms if early else max(now_ms, row.created_at_ms + 1)
        self._waits[key_id] = msgspec.structs.replace(
            row, resolution=resolution_text(resolution), resolved_at_ms=after
        )
        self._changed()

    # --- checking -------------------------------------------------------------------------------

    def facts(self) -> Sequence[tuple[str | None, ScopeFact]]:
        """What there is of each scope, with the session it belongs to."""
        return [(_session_of(key), self._fact(key, scope)) for key, scope in self._scopes.items()]

    def _fact(self, scope_key: str, scope: _Scope) -> ScopeFact:
        told = from_journal_key(scope_key)
        waits = self.waits_of_scope(scope_key)
        return ScopeFact(
            scope_key=scope_key,
            turn_id=told.turn_id if isinstance(told, TurnScope) else None,
            finished=scope.finished_at_ms is not None,
            records=len(scope.records),
            pending_waits=sum(row.resolution is None and not row.turn_control for row in waits),
        )

    # --- retiring -------------------------------------------------------------------------------

    def retire(
        self, target: RetireTarget, limit: int, is_open: Callable[[TurnScope], bool]
    ) -> Retirement:
        """Remove up to `limit` scopes of a target. `is_open` tells of turns that are not committed."""
        found = self._scopes_of(target, is_open)
        chosen = set(found[: max(limit, 0)])
        gone = [self._scopes.pop(scope_key) for scope_key in chosen]
        waits = [row.key_id for row in self._waits.values() if row.scope_key in chosen]
        for key_id in waits:
            del self._waits[key_id]
        records = [record for scope in gone for record in scope.records.values()]
        self._forget_unused({record.surroundings for record in records})
        if gone:
            self._changed()
        return Retirement(
            scopes=len(gone),
            records=len(records),
            waits=len(waits),
            more=len(found) > len(chosen),
        )

    def _forget_unused(self, digests: set[str]) -> None:
        kept = [record for scope in self._scopes.values() for record in scope.records.values()]
        for digest in digests.difference(record.surroundings for record in kept):
            self._surroundings.pop(digest, None)

    def _scopes_of(
        self, target: RetireTarget, is_open: Callable[[TurnScope], bool]
    ) -> Sequence[str]:
        match target:
            case RetireSession(session_id=session_id):
                return [key for key in self._scopes if _session_of(key) == session_id]
            case RetireProcess(process_id=process_id):
                return [key for key in self._scopes if _process_of(key) == process_id]
            case RetireOperation(operation_id=operation_id):
                key = journal_key(RuntimeOperationScope(operation_id=operation_id))
                return [key] if key in self._scopes else []
            case RetireFinished(before_ms=before_ms):
                return [*self._finished(before_ms), *self._unclaimed(before_ms, is_open)]

    def _finished(self, before_ms: int) -> Sequence[str]:
        finished = [
            (scope.finished_at_ms, key)
            for key, scope in self._scopes.items()
            if scope.finished_at_ms is not None and scope.finished_at_ms < before_ms
        ]
        return [key for _, key in sorted(finished, key=lambda item: item[0])]

    def _unclaimed(self, before_ms: int, is_open: Callable[[TurnScope], bool]) -> Sequence[str]:
        """Unfinished scopes that hold nothing but early resolutions that nobody came for."""
        waiting: set[str] = set()
        resolved: list[tuple[int, str]] = []
        for row in self._waits.values():
            # A promise that was made by its resolution is one that nobody had waited for.
            awaited = row.resolved_at_ms != row.created_at_ms
            if awaited or row.resolved_at_ms is None or row.resolved_at_ms >= before_ms:
                waiting.add(row.scope_key)
            else:
                resolved.append((row.resolved_at_ms, row.scope_key))
        ordered = dict.fromkeys(key for _, key in sorted(resolved, key=lambda item: item[0]))
        return [
            key
            for key in ordered
            if key not in waiting and self._is_bare(key) and not _may_be_claimed(key, is_open)
        ]

    def _is_bare(self, scope_key: str) -> bool:
        scope = self._scopes[scope_key]
        return scope.finished_at_ms is None and not scope.records


def _as_kept(record: JournalRecord) -> JournalRecord:
    """A record without what is kept beside it."""
    if record.surroundings_content is None:
        return record
    return msgspec.structs.replace(record, surroundings_content=None)


def _session_of(scope_key: str) -> str | None:
    scope = from_journal_key(scope_key)
    return None if scope is None else scope_session_id(scope)


def _process_of(scope_key: str) -> str | None:
    """The process that a scope belongs to, as any of its segments."""
    scope = from_journal_key(scope_key)
    return scope.process_id.partition("#")[0] if isinstance(scope, ProcessScope) else None


def _may_be_claimed(scope_key: str, is_open: Callable[[TurnScope], bool]) -> bool:
    """Whether somebody may still come: a turn that is open, or a process, which is retired as such."""
    scope = from_journal_key(scope_key)
    if isinstance(scope, TurnScope):
        return is_open(scope)
    return isinstance(scope, ProcessScope)
