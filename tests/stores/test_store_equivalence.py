"""Whatever is asked of them in whatever order, SQLite and memory give the same answers.

Operations are drawn at random from few names, so that they meet: the same turn twice, stale fences,
keys that are taken, promises that were resolved before anybody waited. After each one, both stores must have said the same and hold the same.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lash.core.cancel import Cancellation
from lash.core.leases import Fence, LeaseOwner
from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    QueueDrainScope,
    RuntimeOperationScope,
    TurnScope,
    journal_key,
)
from lash.effects.journal import (
    JournalRecord,
    RetireFinished,
    Retirement,
    RetireOperation,
    RetireProcess,
    RetireSession,
    RetireTarget,
    WriteAuthority,
)
from lash.effects.transitions import SPILL_BYTES
from lash.effects.waits.model import (
    AwaitEventWaitIdentity,
    Resolution,
    ResolvedCancelled,
    ResolvedOk,
    ResolvedTimeout,
    TurnTerminalWait,
)
from lash.runtime.stores import Store
from lash.sessions.accepting import Accepted, ClaimedSession
from lash.sessions.checking import Finding
from lash.sessions.forking import ForkRequest
from lash.sessions.ingress import (
    ActiveTurn,
    CancelInputOutcome,
    CancelTarget,
    CommandWork,
    EarliestBoundary,
    EnqueueRequest,
    Ingress,
    NextTurn,
    Payload,
    ProcessWake,
    UserInput,
)
from lash.sessions.maintenance import VacuumReport, VacuumRequest
from lash.sessions.model import AcceptedTurn, AgentRef, CompactContext, FrameOpen, Parked
from lash.sessions.queueing import CheckpointClaim, Taken
from lash.sessions.stopping import CancelRequest
from lash.sessions.usage import UsageEntry
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance import samples
from lash.turn.driver import CheckpointKind
from lash.turn.exchange import TurnCause
from lash.turn.outcome import AgentFrameSwitch

pytestmark = pytest.mark.slow

T = TypeVar("T")

CARL = LeaseOwner(owner_id="carl", incarnation="carl-1", host="host-c")
sessions = st.sampled_from(["s1", "s2"])
turns = st.sampled_from(["t1", "t2", "t1:restart:1"])
owners = st.sampled_from([samples.ANA, samples.BEN, CARL])
texts = st.sampled_from(["hello", "goodbye"])
agents = st.sampled_from([samples.SUPPORT, samples.SUPPORT, AgentRef(name="sales")])
keys = st.sampled_from(["r1", "r2", "r3", "r4"])
PERSON = Parked(code="effect_drift_refused", message="decide")
AGENT = Parked(code="agent_missing", message="none here", waits_for="agent")
reasons = st.sampled_from([None, PERSON, AGENT])
SCOPES: list[ExecutionScope] = [
    TurnScope(session_id="s1", turn_id="t1"),
    TurnScope(session_id="s1", turn_id="t2"),
    TurnScope(session_id="s2", turn_id="t1"),
    QueueDrainScope(session_id="s1", drain_id="t1"),
    ProcessScope(process_id="p"),
    RuntimeOperationScope(operation_id="o1"),
    RuntimeOperationScope(operation_id="o2"),
]
WAITS: list[AwaitEventWaitIdentity | str] = ["approval", TurnTerminalWait()]
scopes = st.sampled_from(SCOPES)
waits = st.sampled_from(WAITS)
retirable: st.SearchStrategy[RetireTarget] = st.one_of(
    st.just(RetireSession(session_id="s1")),
    st.just(RetireProcess(process_id="p")),
    st.just(RetireOperation(operation_id="o1")),
)
resolutions = st.sampled_from(
    [ResolvedOk(payload={"by": ["ana", 1]}), ResolvedTimeout(), ResolvedCancelled()]
)
outcomes = st.sampled_from(['"small"', '"' + "é" * SPILL_BYTES + '"'])
around = st.sampled_from(["", "1:a", "1:b"])
NAMES = ["a", "b", "c"]
BOUNDARIES: list[CheckpointKind] = ["after_work", "before_completion"]
MARKS = [CancelTarget(kind="input_id", value=f"i{number}") for number in range(5)]
MARKS += [CancelTarget(kind="source_key", value=key) for key in ("k1", "k2")]
WAKE = TurnCause(id="w", event_type="signal", text="ring")
PAYLOADS: list[Payload] = [
    UserInput(input=samples.said("hello")),
    UserInput(input=samples.said("hello")),
    UserInput(input=samples.said("goodbye")),
    ProcessWake(cause=WAKE),
    CommandWork(command=CompactContext()),
]
ENTRANCES: list[Ingress] = [
    NextTurn(),
    EarliestBoundary(),
    ActiveTurn(),
    ActiveTurn(turn_id="t1"),
    ActiveTurn(min_boundary="before_completion"),
]
names = st.sampled_from(NAMES)
items = st.sampled_from([f"i{number}" for number in range(5)])
sources = st.sampled_from(["k1", "k2"])
payloads = st.sampled_from(PAYLOADS)
entrances = st.sampled_from(ENTRANCES)
marks = st.sampled_from(MARKS)


def recorded(key: str, outcome: str, digest: str, *, given: bool) -> JournalRecord:
    """A record of a sleep or of another effect, with its surroundings or only their digest."""
    if digest == "" and outcome == '"small"':
        return samples.record(key, '{"due_at_ms":7,"type":"sleep"}', kind="sleep")
    content = f'{{"what":"{digest}"}}' if given else None
    return samples.record(key, outcome, surroundings=digest, content=content)


class Pair(RuleBasedStateMachine):
    """A memory store and a SQLite store that are asked the same, and must answer the same."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = VirtualClock()
        self.path = Path(self.directory.name) / "agents.db"
        self.memory: Store = MemoryStore(self.clock)
        self.sqlite: Store = SqliteStore(self.path, self.clock)

    def teardown(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.runner.close()
        self.directory.cleanup()

    def both(self, operation: Callable[[Store], Awaitable[T]]) -> T:
        async def ask() -> tuple[T, T]:
            return await operation(self.memory), await operation(self.sqlite)

        expected, answer = self.runner.run(ask())
        assert answer == expected
        return expected

    @rule(seconds=st.sampled_from([0.001, 4.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.sqlite = SqliteStore(self.path, self.clock, create=False)


class TwoStores(Pair):
    """Sessions, their turns and their leases."""

    def __init__(self) -> None:
        super().__init__()
        #: Every fence that was ever given; most are stale soon.
        self.fences = [Fence(fencing_token=1, nonce="forged")]

    def fence(self, back: int) -> Fence:
        return self.fences[-1 - back % len(self.fences)]

    @rule(
        session=sessions,
        turn=turns,
        text=texts,
        owner=owners,
        agent=agents,
        source=st.none() | texts,
        dead=st.none() | st.integers(1, 4),
    )
    def accept(
        self,
        session: str,
        turn: str,
        text: str,
        owner: LeaseOwner,
        agent: AgentRef,
        source: str | None,
        dead: int | None,
    ) -> None:
        request = samples.request(
            turn,
            text,
            session=session,
            owner=owner,
            agent=agent,
            source_key=source,
            presumed_dead=dead,
        )
        answer = self.both(lambda store: store.accept_turn(request))
        if isinstance(answer, Accepted):
            self.fences.append(answer.lease.fence)

    @rule(session=sessions, owner=owners, dead=st.none() | st.integers(1, 4))
    def claim(self, session: str, owner: LeaseOwner, dead: int | None) -> None:
        wanted = samples.claim(owner, presumed_dead=dead)
        answer = self.both(lambda store: store.claim_session(session, wanted))
        if isinstance(answer, ClaimedSession):
            self.fences.append(answer.lease.fence)

    @rule(session=sessions, back=st.integers(0, 3))
    def release(self, session: str, back: int) -> None:
        fence = self.fence(back)
        self.both(lambda store: store.release_lease(session, fence))

    @rule(back=st.integers(0, 3), ttl_ms=st.sampled_from([3_000, 30_000]))
    def renew(self, back: int, ttl_ms: int) -> None:
        held = [
            WriteAuthority(session_id=session, fence=self.fence(back)) for session in ("s1", "s2")
        ]

        async def ask(store: Store) -> list[str]:
            return list(await store.renew_leases(held, ttl_ms))

        self.both(ask)

    @rule(
        session=sessions,
        turn=turns,
        back=st.integers(0, 2),
        revision=st.integers(0, 2),
        text=texts,
        journal=st.lists(keys, max_size=2),
    )
    def commit(
        self, session: str, turn: str, back: int, revision: int, text: str, journal: list[str]
    ) -> None:
        commit = samples.turn_commit(
            turn,
            self.fence(back),
            session=session,
            revision=revision,
            text=text,
            journal=[samples.record(key) for key in journal],
        )
        self.both(lambda store: store.commit_turn(commit))

    @rule(session=sessions, turn=turns, back=st.integers(0, 2), reason=reasons)
    def park(self, session: str, turn: str, back: int, reason: Parked | None) -> None:
        fence = self.fence(back)
        self.both(lambda store: store.park_turn(session, turn, reason, fence))

    @rule(
        session=sessions,
        turn=turns,
        back=st.none() | st.integers(0, 2),
        recorded=st.lists(keys, max_size=3),
        text=texts,
    )
    def record(
        self, session: str, turn: str, back: int | None, recorded: list[str], text: str
    ) -> None:
        proof = None if back is None else WriteAuthority(session_id=session, fence=self.fence(back))
        records = [samples.record(key, f'"{text}"') for key in recorded]
        scope = samples.scope_of(turn, session)
        self.both(lambda store: store.record(scope, records, proof))

    @rule(session=sessions, turn=turns, back=st.integers(0, 1))
    def restart(self, session: str, turn: str, back: int) -> None:
        fence = self.fence(back)
        self.both(lambda store: store.restart_turn(session, turn, fence))

    @rule(session=sessions, turn=turns, reason=st.sampled_from([PERSON, AGENT]))
    def note_waiting(self, session: str, turn: str, reason: Parked) -> None:
        self.both(lambda store: store.note_waiting(session, turn, reason))

    @invariant()
    def both_hold_the_same(self) -> None:
        self.compare("s1")
        self.compare("s2")

    def compare(self, session: str) -> None:
        self.both(lambda store: self.contents(store, session))

    async def contents(self, store: Store, session: str) -> list[object]:
        found: list[object] = [
            await store.load_head(session),
            await store.lease_of(session),
            list(await store.load_path(session)),
            list(await store.list_turns(session)),
            list(await store.list_open_turns(session)),
            list(await store.list_sessions()),
            list(await store.open_sessions()),
        ]
        for turn in ("t1", "t2", "t1:restart:1", "t1:restart:2"):
            scope = samples.scope_of(turn, session)
            found.append(await store.find_turn(session, turn))
            found.append(list(await store.load_journal(scope)))
            found.append(await store.lookup(scope, "r1"))
        return found


class TwoJournals(Pair):
    """Journals and promises, and what becomes of them."""

    @rule(
        scope=scopes,
        keys=st.lists(keys, max_size=3),
        outcome=outcomes,
        digest=around,
        given=st.booleans(),
    )
    def record(
        self, scope: ExecutionScope, keys: list[str], outcome: str, digest: str, given: bool
    ) -> None:
        records = [recorded(key, outcome, digest, given=given) for key in keys]
        self.both(lambda store: store.record(journal_key(scope), records, None))

    @rule(scope=scopes, keys=st.lists(keys, max_size=3), digest=around)
    def finish(self, scope: ExecutionScope, keys: list[str], digest: str) -> None:
        records = [recorded(key, '"finished"', digest, given=True) for key in keys]
        self.both(lambda store: store.finish_scope(journal_key(scope), records))

    @rule(session=sessions, turn=st.sampled_from(["t1", "t2"]), revision=st.integers(0, 1))
    def settle(self, session: str, turn: str, revision: int) -> None:
        """Accept a turn, and commit it where that is possible."""
        accepted = self.both(
            lambda store: store.accept_turn(samples.request(turn, session=session))
        )
        if isinstance(accepted, Accepted):
            commit = samples.turn_commit(
                turn, accepted.lease.fence, session=session, revision=revision
            )
            self.both(lambda store: store.commit_turn(commit))

    @rule(scope=scopes, wait=waits, seconds=st.sampled_from([None, 1, 10]))
    def open_wait(
        self, scope: ExecutionScope, wait: AwaitEventWaitIdentity | str, seconds: int | None
    ) -> None:
        deadline = None if seconds is None else self.clock.now_ms() + seconds * 1000
        row = samples.wait_row(self.memory, wait, scope, deadline_at_ms=deadline)
        self.both(lambda store: store.open_wait(row))

    @rule(scope=scopes, wait=waits, resolution=resolutions, foreign=st.integers(0, 5))
    def resolve_wait(
        self,
        scope: ExecutionScope,
        wait: AwaitEventWaitIdentity | str,
        resolution: Resolution,
        foreign: int,
    ) -> None:
        row = samples.wait_row(self.memory, wait, scope, deadline_at_ms=1)
        if foreign == 0:
            row = msgspec.structs.replace(row, wait='{"type":"custom","key":"another"}')
        self.both(lambda store: store.resolve_wait(row, resolution))

    @rule(session=sessions)
    def cancel_waits(self, session: str) -> None:
        self.both(lambda store: store.cancel_session_waits(session))

    @rule(session=sessions, seldom=st.integers(0, 3))
    def revoke_waits(self, session: str, seldom: int) -> None:
        if seldom == 0:
            self.both(lambda store: store.revoke_session_waits(session))

    @rule(owner=retirable, limit=st.integers(0, 3))
    def retire(self, owner: RetireTarget, limit: int) -> None:
        self.both(lambda store: self.retired(store, owner, limit))

    @rule(ago_ms=st.sampled_from([0, 1, 5_000]), limit=st.integers(0, 4))
    def retire_finished(self, ago_ms: int, limit: int) -> None:
        target = RetireFinished(before_ms=self.clock.now_ms() - ago_ms)
        self.both(lambda store: self.retired(store, target, limit))

    async def retired(self, store: Store, target: RetireTarget, limit: int) -> Retirement:
        """What was removed, except for blobs: memory has none."""
        gone = await store.retire(target, limit=limit)
        return msgspec.structs.replace(gone, blobs=0)

    @invariant()
    def both_hold_the_same(self) -> None:
        self.both(self.contents)

    async def contents(self, store: Store) -> list[object]:
        found: list[object] = []
        rows = []
        for scope in SCOPES:
            key = journal_key(scope)
            found.append(list(await store.load_journal(key)))
            found.append(list(await store.list_journal(key)))
            found.append(list(await store.list_waits(key)))
            rows += [samples.wait_row(self.memory, wait, scope) for wait in WAITS]
        found.append(dict(await store.inspect_waits(rows)))
        found += [await store.load_surroundings(digest) for digest in ("1:a", "1:b")]
        found += [await store.is_revoked(session) for session in ("s1", "s2")]
        return found


class TwoQueues(Pair):
    """Queues, requests to stop, frames, forks, deleted sessions, and what is given back.

    Whatever happened, both stores must also find nothing wrong with themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fences = {name: [Fence(fencing_token=1, nonce="forged")] for name in NAMES}
        self.commits = 0

    def fence(self, session: str, back: int) -> Fence:
        """The fence of the session's holder, or an older one."""
        held = self.runner.run(self.memory.lease_of(session)).held
        if back == 0 and held is not None:
            return held.fence
        return self.fences[session][-1 - back % len(self.fences[session])]

    def taken_over(self, session: str) -> Fence:
        """The fence of a session that somebody drives from now on, if it can be driven."""
        state = self.runner.run(self.memory.lease_of(session))
        wanted = samples.claim(samples.ANA, presumed_dead=state.fencing_token)
        self.both(lambda store: store.claim_session(session, wanted))
        if self.first(session) is None:
            self.commits += 1
            request = samples.request(f"n{self.commits}", session=session)
            self.both(lambda store: store.accept_turn(request))
        return self.fence(session, 0)

    def first(self, session: str) -> AcceptedTurn | None:
        """The session's first open turn."""
        found = self.runner.run(self.memory.list_open_turns(session))
        return found[0] if found else None

    @rule(session=names, turn=turns, owner=owners, source=st.none() | sources)
    def accept(self, session: str, turn: str, owner: LeaseOwner, source: str | None) -> None:
        request = samples.request(turn, session=session, owner=owner, source_key=source)
        answer = self.both(lambda store: store.accept_turn(request))
        if isinstance(answer, Accepted):
            self.fences[session].append(answer.lease.fence)

    @initialize()
    def begin(self) -> None:
        self.accept("a", "t1", samples.ANA, None)
        self.commit("a", 0, 1, frame=False, stopped=False, source="turn")

    @rule(session=names, owner=owners)
    def claim(self, session: str, owner: LeaseOwner) -> None:
        answer = self.both(lambda store: store.claim_session(session, samples.claim(owner)))
        if isinstance(answer, ClaimedSession):
            self.fences[session].append(answer.lease.fence)

    @rule(session=names, back=st.integers(0, 1), seen=st.none() | st.integers(0, 3))
    def release(self, session: str, back: int, seen: int | None) -> None:
        fence = self.fence(session, back)
        self.both(lambda store: store.release_lease(session, fence, seen))

    @rule(
        session=names,
        item=items,
        what=payloads,
        ingress=entrances,
        source=st.none() | sources,
        merge=st.sampled_from([None, "m"]),
        later=st.sampled_from([0, 0, 5_000]),
        agent=st.sampled_from([None, samples.SUPPORT]),
    )
    def enqueue(
        self,
        session: str,
        item: str,
        what: Payload,
        ingress: Ingress,
        source: str | None,
        merge: str | None,
        later: int,
        agent: AgentRef | None,
    ) -> None:
        request = EnqueueRequest(
            session_id=session,
            item_id=item,
            payload=what,
            ingress=ingress,
            source_key=source,
            merge_key=merge,
            available_at_ms=self.clock.now_ms() + later if later else 0,
            agent=agent,
        )
        self.both(lambda store: store.enqueue(request))

    @rule(
        session=names,
        turn=st.none() | st.none() | turns,
        back=st.integers(0, 3).map(lambda number: number == 3),
        boundary=st.sampled_from(BOUNDARIES),
        key=st.sampled_from(["c1", "c2"]),
    )
    def take(
        self, session: str, turn: str | None, back: bool, boundary: CheckpointKind, key: str
    ) -> None:
        fence = self.fence(session, 1) if back else self.taken_over(session)
        first = self.first(session)
        if turn is None:
            turn = first.turn_id if first else "t1"
        wanted = CheckpointClaim(
            session_id=session, turn_id=turn, checkpoint=boundary, effect_key=key, fence=fence
        )
        would = self.both(lambda store: store.has_arrived(wanted))
        taken = self.both(lambda store: store.take(wanted))
        if isinstance(taken, Taken):
            assert would == bool(taken.items)

    @rule(session=names, wanted=st.lists(marks, max_size=3))
    def cancel_items(self, session: str, wanted: list[CancelTarget]) -> None:
        async def ask(store: Store) -> list[CancelInputOutcome]:
            return list(await store.cancel_items(session, wanted))

        self.both(ask)

    @rule(session=names, anchor=marks)
    def cancel_items_from(self, session: str, anchor: CancelTarget) -> None:
        async def ask(store: Store) -> list[CancelInputOutcome] | None:
            outcomes = await store.cancel_items_from(session, anchor)
            return None if outcomes is None else list(outcomes)

        self.both(ask)

    @rule(session=names, turn=turns | st.just("t1:agent-frame:1"))
    def stop(self, session: str, turn: str) -> None:
        request = CancelRequest(
            session_id=session, turn_id=turn, cancellation=Cancellation(request_id=turn)
        )
        self.both(lambda store: store.request_cancel(request))

    @rule(
        session=names,
        back=st.integers(0, 3),
        stale=st.integers(0, 5),
        frame=st.sampled_from([False, False, True]),
        stopped=st.sampled_from([True, True, False]),
        source=st.sampled_from(["turn", "direct"]),
    )
    def commit(
        self, session: str, back: int, stale: int, *, frame: bool, stopped: bool, source: str
    ) -> None:
        fence = self.fence(session, 1) if back == 3 else self.taken_over(session)
        first = self.first(session)
        head = self.runner.run(self.memory.load_head(session))
        self.commits += 1
        commit = samples.turn_commit(
            first.turn_id if first else "t1",
            fence,
            session=session,
            revision=(head.revision if head else 0) + (stale == 0),
        )
        used = UsageEntry(source=source, model="m", usage=commit.usage)
        commit = msgspec.structs.replace(commit, ledger=(used,))
        if stopped and first is not None and first.cancellation is not None:
            commit = msgspec.structs.replace(commit, cancellation=first.cancellation)
        if frame and head is not None:
            opened = f"frame-{self.commits}"
            commit = msgspec.structs.replace(
                commit,
                outcome=AgentFrameSwitch(frame_id=opened, task="go on"),
                frame=FrameOpen(
                    frame_id=opened, reason="continue_as", previous_frame_id=head.frame
                ),
                frame_messages=samples.exchange(opened),
            )
        self.both(lambda store: store.commit_turn(commit))

    @rule(session=names, back=st.integers(0, 1))
    def restart(self, session: str, back: int) -> None:
        first, fence = self.first(session), self.fence(session, back)
        turn = first.turn_id if first else "t1"
        self.both(lambda store: store.restart_turn(session, turn, fence))

    @rule(session=names, key=keys, back=st.integers(0, 1))
    def record(self, session: str, key: str, back: int) -> None:
        first = self.first(session)
        if first is None:
            return
        proof = WriteAuthority(session_id=session, fence=self.fence(session, back))
        scope = samples.scope_of(first.turn_id, session)
        self.both(lambda store: store.record(scope, [samples.record(key)], proof))

    @rule(
        source=names,
        new=names,
        place=st.none() | st.integers(0, 6),
        foreign=st.integers(0, 5),
    )
    def fork(self, source: str, new: str, place: int | None, foreign: int) -> None:
        path = self.runner.run(self.memory.load_path(source, whole=True))
        node = path[place % len(path)].node_id if path and place is not None else None
        request = ForkRequest(
            source_id=source, new_id=new, node_id="elsewhere" if foreign == 0 else node
        )
        self.both(lambda store: store.fork_session(request))

    @rule(session=names, owner=owners, seldom=st.integers(0, 3))
    def delete(self, session: str, owner: LeaseOwner, seldom: int) -> None:
        if seldom == 0:
            self.both(lambda store: store.delete_session(session, samples.claim(owner)))

    @rule(ago_ms=st.sampled_from([-1, 0, 5_000]), limit=st.sampled_from([0, 1, 2, 500]))
    def vacuum(self, ago_ms: int, limit: int) -> None:
        request = VacuumRequest(before_ms=self.clock.now_ms() - ago_ms, limit=limit)
        self.both(lambda store: self.vacuumed(store, request))

    async def vacuumed(self, store: Store, request: VacuumRequest) -> VacuumReport:
        """What was given back. Only SQLite looks through contents, one limit at a time."""
        report = await store.vacuum(request)
        return msgspec.structs.replace(report, more=False)

    @invariant()
    def both_hold_the_same(self) -> None:
        for session in NAMES:
            self.compare(session)

    def compare(self, session: str) -> None:
        self.both(lambda store: self.contents(store, session))

    @invariant()
    def neither_finds_anything_wrong(self) -> None:
        async def ask(store: Store) -> list[Finding]:
            return list(await store.check())

        assert self.both(ask) == []

    async def contents(self, store: Store, session: str) -> list[object]:
        return [
            await store.load_head(session),
            await store.lease_of(session),
            list(await store.load_path(session)),
            list(await store.load_path(session, whole=True)),
            list(await store.list_turns(session)),
            list(await store.list_open_turns(session)),
            list(await store.list_usage(session)),
            list(await store.list_queue(session)),
            [await store.find_item(session, mark) for mark in MARKS],
            dict(await store.cancelled_turns(NAMES)),
            list(await store.list_sessions()),
            list(await store.open_sessions()),
            list(await store.load_journal(samples.scope_of("t1", session))),
        ]


_SETTINGS = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = _SETTINGS
TestTwoJournals = TwoJournals.TestCase
TestTwoJournals.settings = _SETTINGS
TestTwoQueues = TwoQueues.TestCase
TestTwoQueues.settings = settings(_SETTINGS, max_examples=25)
