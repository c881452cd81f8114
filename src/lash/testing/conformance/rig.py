"""What the properties stand on: the class to subclass, and a store with short ways to use it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from lash.core.leases import Fence, Lease, LeaseOwner
from lash.core.scopes import ExecutionScope, journal_key
from lash.effects.journal import Recorded, WriteAuthority
from lash.effects.waits.transitions import WaitRow, WaitState
from lash.runtime.stores import Store
from lash.sessions.accepting import Accepted, ClaimedSession
from lash.sessions.committing import CommitReceipt
from lash.sessions.ingress import Ingress, Payload, QueuedItem
from lash.sessions.model import AgentRef, SessionHead, SessionState
from lash.sessions.queueing import CheckpointClaim, Enqueued, Taken
from lash.testing.clock import VirtualClock
from lash.testing.conformance import samples
from lash.turn.driver import CheckpointKind
from lash.turn.messages import Message

T = TypeVar("T")


def expect(kind: type[T], value: object) -> T:
    """The value, which must be of a kind."""
    assert isinstance(value, kind), f"expected {kind.__name__}, got {value!r}"
    return value


class Rig:
    """A store under test and the clock it tells the time by.

    Args:
        store: The store.
        clock: Its clock.
        reopen: How to close it and open it again, or None when it stays open.
    """

    def __init__(
        self, store: Store, clock: VirtualClock, reopen: Callable[[Store], Awaitable[Store]] | None
    ) -> None:
        self.store = store
        self.clock = clock
        self._reopen = reopen
        self._taken: dict[tuple[str, str], dict[str, Message]] = {}

    async def interlude(self) -> None:
        """Close the store and open it again, in the run that does."""
        if self._reopen is not None:
            self.store = await self._reopen(self.store)

    def expire(self) -> None:
        """Let every lease's ttl pass."""
        self.clock.advance(samples.TTL_MS / 1000)

    async def accept(
        self,
        turn_id: str,
        text: str = "hello",
        *,
        session: str = "s",
        owner: LeaseOwner = samples.ANA,
        source_key: str | None = None,
    ) -> Accepted:
        """Accept input that must be accepted."""
        wanted = samples.request(turn_id, text, session=session, owner=owner, source_key=source_key)
        return expect(Accepted, await self.store.accept_turn(wanted))

    async def claim(self, owner: LeaseOwner, session: str = "s") -> ClaimedSession:
        """Claim a session that must be free, expired or the owner's."""
        return expect(ClaimedSession, await self.store.claim_session(session, samples.claim(owner)))

    async def settle(self, turn_id: str, *, session: str = "s", revision: int = 0) -> CommitReceipt:
        """Accept a turn and commit it."""
        lease = (await self.accept(turn_id, session=session)).lease
        commit = samples.turn_commit(turn_id, lease.fence, session=session, revision=revision)
        return expect(CommitReceipt, await self.store.commit_turn(commit))

    async def commit(
        self,
        turn_id: str,
        fence: Fence,
        revision: int = 0,
        *,
        session: str = "s",
        messages: Sequence[Message] | None = None,
    ) -> CommitReceipt:
        """Commit a turn that must land; by default with all that its checkpoints took."""
        if messages is None:
            messages = (*samples.exchange(turn_id), *self.taken(turn_id, session))
        commit = samples.turn_commit(
            turn_id, fence, session=session, revision=revision, messages=messages
        )
        return expect(CommitReceipt, await self.store.commit_turn(commit))

    async def enqueue(
        self,
        item_id: str,
        text: str = "more",
        *,
        session: str = "s",
        payload: Payload | None = None,
        ingress: Ingress = samples.NEXT_TURN,
        agent: AgentRef | None = samples.SUPPORT,
        source_key: str | None = None,
        merge_key: str | None = None,
        later_ms: int = 0,
    ) -> QueuedItem:
        """Put an item into a queue that must take it; `later_ms` from now it may be taken."""
        wanted = samples.entry(
            item_id,
            text,
            session=session,
            payload=payload,
            ingress=ingress,
            agent=agent,
            source_key=source_key,
            merge_key=merge_key,
            available_at_ms=self.clock.now_ms() + later_ms if later_ms else 0,
        )
        return expect(Enqueued, await self.store.enqueue(wanted)).item

    async def take(
        self,
        turn_id: str,
        fence: Fence,
        *,
        key: str = "c1",
        checkpoint: CheckpointKind = "after_work",
        session: str = "s",
    ) -> list[str]:
        """What a checkpoint takes, which must be what looking before foretold."""
        claim = CheckpointClaim(
            session_id=session,
            turn_id=turn_id,
            checkpoint=checkpoint,
            effect_key=key,
            fence=fence,
        )
        arrived = await self.store.has_arrived(claim)
        taken = expect(Taken, await self.store.take(claim)).items
        assert arrived == bool(taken)
        shown = self._taken.setdefault((session, turn_id), {})
        shown.update((item.item_id, samples.shown(item)) for item in taken)
        return [item.item_id for item in taken]

    def taken(self, turn_id: str, session: str = "s") -> Sequence[Message]:
        """What the checkpoints of a turn took, as its messages."""
        return tuple(self._taken.get((session, turn_id), {}).values())

    async def item(self, item_id: str, session: str = "s") -> QueuedItem:
        """An item that must be there, whatever became of it."""
        return expect(QueuedItem, await self.store.find_item(session, samples.by_id(item_id)))

    async def waiting(self, session: str = "s") -> list[str]:
        """The items that wait, in order."""
        return [item.item_id for item in await self.store.list_queue(session)]

    async def open_turns(self, session: str = "s") -> list[str]:
        """The open turns, in order."""
        return [turn.turn_id for turn in await self.store.list_open_turns(session)]

    async def path(self, session: str = "s") -> list[str]:
        """The ids of a session's whole path, root first."""
        return [node.node_id for node in await self.store.load_path(session, whole=True)]

    async def head(self, session: str = "s") -> SessionHead:
        """The head of a session that must be there."""
        return expect(SessionHead, await self.store.load_head(session))

    async def holder(self, session: str = "s") -> Lease | None:
        """Who holds a session."""
        return (await self.store.lease_of(session)).held

    async def state(self) -> SessionState:
        """The state of the only session."""
        (summary,) = await self.store.list_sessions()
        return summary.state

    async def recorded(self, scope: ExecutionScope, *keys: str, outcome: str = "1") -> str:
        """Record effects in a scope that nobody holds a lease of; the scope's key."""
        scope_key = journal_key(scope)
        records = [samples.record(key, outcome) for key in keys or ("r1",)]
        expect(Recorded, await self.store.record(scope_key, records, None))
        return scope_key

    async def keys(self, scope_key: str) -> list[str]:
        """The replay keys a journal holds, in order."""
        return [record.replay_key for record in await self.store.load_journal(scope_key)]

    async def stands(self, row: WaitRow) -> WaitState:
        """How a promise stands; looking does not touch it."""
        return (await self.store.inspect_waits([row]))[row.key_id]

    async def everything(self, session: str = "s") -> dict[str, object]:
        """All that can be read about a session."""
        store = self.store
        turns = [record.turn_id for record in await store.list_turns(session)]
        open_turns = list(await store.list_open_turns(session))
        turn_ids = [*turns, *(turn.turn_id for turn in open_turns)]
        scopes = [samples.scope_of(turn_id, session) for turn_id in turn_ids]
        return {
            "head": await store.load_head(session),
            "path": list(await store.load_path(session)),
            "whole path": list(await store.load_path(session, whole=True)),
            "queue": list(await store.list_queue(session)),
            "usage": list(await store.list_usage(session)),
            "cancelled": dict(await store.cancelled_turns([session])),
            "turns": list(await store.list_turns(session)),
            "open": open_turns,
            "known": [await store.find_turn(session, turn_id) for turn_id in turn_ids],
            "lease": await store.lease_of(session),
            "journals": [list(await store.load_journal(scope)) for scope in scopes],
            "entries": [list(await store.list_journal(scope)) for scope in scopes],
            "waits": [list(await store.list_waits(scope)) for scope in scopes],
            "revoked": await store.is_revoked(session),
            "sessions": list(await store.list_sessions()),
            "work": list(await store.open_sessions()),
        }

    @asynccontextmanager
    async def untouched(self, session: str = "s") -> AsyncIterator[None]:
        """Whatever happens inside must leave no trace in a session, nor in the lists."""
        before = await self.everything(session)
        yield
        await self.interlude()
        assert await self.everything(session) == before


def authority(lease: Lease, session: str = "s") -> WriteAuthority:
    """The proof that a lease's holder presents."""
    return WriteAuthority(session_id=session, fence=lease.fence)


async def take_lease(store: Store, session_id: str, owner: LeaseOwner) -> WriteAuthority:
    """Take the lease of a session, which is made if it is new and which nobody else holds any more."""
    answer = await store.claim_session(session_id, samples.claim(owner))
    if answer is None:
        wanted = samples.request("t1", session=session_id, owner=owner)
        return authority(expect(Accepted, await store.accept_turn(wanted)).lease, session_id)
    return authority(expect(ClaimedSession, answer).lease, session_id)


@pytest.mark.asyncio
class Properties:
    """What every group of properties is made from: how to get a store, and when to reopen it."""

    _reopens = False

    async def make_store(self, clock: VirtualClock) -> Store:
        """An empty store that tells the time by `clock`. The suite closes it."""
        raise NotImplementedError

    async def reopen(self, store: Store, clock: VirtualClock) -> Store:
        """Close `store` and open one over the same data."""
        raise NotImplementedError

    @pytest.fixture(params=("fresh", "reopened"), autouse=True)
    def _life(self, request: pytest.FixtureRequest) -> None:
        self._reopens = request.param == "reopened"

    @asynccontextmanager
    async def rig(self) -> AsyncIterator[Rig]:
        """A new store to try a property on."""
        clock = VirtualClock()

        async def reopen(store: Store) -> Store:
            return await self.reopen(store, clock)

        rig = Rig(await self.make_store(clock), clock, reopen if self._reopens else None)
        try:
            yield rig
        finally:
            await rig.store.aclose()
