"""Whatever is asked of them in whatever order, SQLite and memory give the same answers.

Operations are drawn at random from few names, so that they meet: the same turn twice, stale fences,
keys that are taken. After each one, both stores must have said the same and hold the same.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lash.core.leases import Fence, LeaseOwner
from lash.effects.journal import WriteAuthority
from lash.sessions.model import AgentRef, Parked
from lash.sessions.planner import Accepted, ClaimedSession
from lash.sessions.store import Store
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance import samples

T = TypeVar("T")

CARL = LeaseOwner(owner_id="carl", incarnation="carl-1", host="host-c")
sessions = st.sampled_from(["s1", "s2"])
turns = st.sampled_from(["t1", "t2", "t3"])
owners = st.sampled_from([samples.ANA, samples.BEN, CARL])
texts = st.sampled_from(["hello", "goodbye"])
agents = st.sampled_from([samples.SUPPORT, samples.SUPPORT, AgentRef(name="sales")])
keys = st.sampled_from(["r1", "r2", "r3", "r4"])
reasons = st.sampled_from([None, Parked(code="agent_missing", message="none here")])


class TwoStores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = VirtualClock()
        self.path = Path(self.directory.name) / "agents.db"
        self.memory: Store = MemoryStore(self.clock)
        self.sqlite: Store = SqliteStore(self.path, self.clock)
        #: Every fence that was ever given; most are stale soon.
        self.fences = [Fence(fencing_token=1, nonce="forged")]
        self.touched: set[str] = set()

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
        self.touched.add(session)
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

    @rule(seconds=st.sampled_from([0.001, 4.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.sqlite = SqliteStore(self.path, self.clock, create=False)

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
        for turn in ("t1", "t2", "t3"):
            scope = samples.scope_of(turn, session)
            found.append(await store.find_turn(session, turn))
            found.append(list(await store.load_journal(scope)))
            found.append(await store.lookup(scope, "r1"))
        return found


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
