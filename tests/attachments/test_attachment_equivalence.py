"""Memory and SQLite answer the same, whatever is asked of their manifests in whatever order."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from lash.attachments.model import AttachmentOwner
from lash.runtime.stores import Store
from lash.sessions.deleting import Deleted
from lash.sessions.forking import ForkRequest
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.attachments.shelf import (
    OTTO,
    WANDA,
    Shelf,
    id_of,
    intent,
    process,
    turn,
)
from lash.testing.conformance.processes.registry import Registry
from lash.testing.conformance.rig import Rig
from lash.testing.conformance.samples import ANA, claim, request, turn_commit

OWNERS: tuple[AttachmentOwner, ...] = (None, turn("t1"), turn("t2"), process("p"), process("q"))

texts = st.sampled_from(["x", "y", "z"])
sessions = st.sampled_from(["s", "f"])
sweepers = st.sampled_from([WANDA, OTTO])
steps = st.one_of(
    st.tuples(st.just("write"), texts, st.sampled_from(OWNERS), sessions),
    st.tuples(st.just("commit"), st.lists(texts, max_size=2), sessions),
    st.tuples(st.just("forget"), texts, sessions),
    st.tuples(st.just("condemn"), texts, sweepers),
    st.tuples(st.just("arm"), texts, sweepers),
    st.tuples(st.just("release"), texts, sweepers),
    st.tuples(st.just("accept"), st.sampled_from(["t1", "t2"])),
    st.tuples(st.just("land"), st.sampled_from(["t1", "t2"]), st.lists(texts, max_size=2)),
    st.tuples(st.just("fork")),
    st.tuples(st.just("delete"), sessions),
    st.tuples(st.just("prune")),
    st.tuples(st.just("age"), st.integers(0, 3)),
)


class Play:
    """One store, and what was asked of it."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.shelf = Shelf(Rig(store, clock, None))
        self.rig = self.shelf.rig
        self.revision = 0

    async def do(self, step: tuple[object, ...]) -> object:
        """Do something; what came of it."""
        name, *arguments = step
        method: Callable[..., Awaitable[object]] = getattr(self, str(name))
        return await method(*arguments)

    async def write(self, text: str, owner: AttachmentOwner, session: str) -> object:
        return await self.shelf.begin(intent(text, owner, session=session, label=text))

    async def commit(self, names: list[str], session: str) -> object:
        found = await self.shelf.manifest.commit_refs(session, [id_of(each) for each in names])
        return list(found)

    async def forget(self, text: str, session: str) -> object:
        return await self.shelf.manifest.forget(session, id_of(text))

    async def condemn(self, text: str, sweeper: object) -> object:
        return await self.shelf.manifest.condemn(id_of(text), sweeper)  # type: ignore[arg-type]  # a sweeper

    async def arm(self, text: str, sweeper: object) -> object:
        return await self.shelf.manifest.arm(id_of(text), sweeper)  # type: ignore[arg-type]  # a sweeper

    async def release(self, text: str, sweeper: object) -> object:
        return await self.shelf.manifest.release(id_of(text), sweeper)  # type: ignore[arg-type]  # a sweeper

    async def accept(self, turn_id: str) -> object:
        return type(await self.rig.store.accept_turn(request(turn_id))).__name__

    async def land(self, turn_id: str, names: list[str]) -> object:
        held = (await self.rig.store.lease_of("s")).held
        if held is None:
            return None
        commit = turn_commit(turn_id, held.fence, revision=self.revision)
        adopted = tuple(id_of(each) for each in names)
        result = await self.rig.store.commit_turn(
            msgspec.structs.replace(commit, attachments=adopted)
        )
        head = await self.rig.store.load_head("s")
        self.revision = head.revision if head else 0
        return getattr(result, "code", "committed")

    async def fork(self) -> object:
        wanted = ForkRequest(source_id="s", new_id="f")
        return type(await self.rig.store.fork_session(wanted)).__name__

    async def delete(self, session: str) -> object:
        return isinstance(await self.rig.store.delete_session(session, claim(ANA)), Deleted)

    async def prune(self) -> object:
        self.rig.clock.advance(0.001)
        return (await Registry(self.rig).prune()).processes

    async def age(self, seconds: int) -> object:
        before_ms = self.rig.clock.now_ms() - seconds * 1000
        self.rig.clock.advance(1)
        return await self.shelf.manifest.forget_aged_uncommitted(before_ms)

    async def everything(self) -> object:
        """All that can be asked."""
        manifest = self.shelf.manifest
        return {
            "refs": {name: list(await manifest.list_refs(name)) for name in ("s", "f")},
            "found": [
                await manifest.find_ref(name, id_of(text)) for name in ("s", "f") for text in "xyz"
            ],
            "uncommitted": list(await manifest.list_uncommitted(self.rig.clock.now_ms())),
            "roots": await manifest.roots(),
            "has": [await manifest.has_root(id_of(text)) for text in "xyz"],
            "fences": list(await manifest.condemnations()),
        }


async def play(store: Store, clock: VirtualClock, script: list[tuple[object, ...]]) -> list[object]:
    """Everything that a store answers to a script."""
    told: list[object] = []
    try:
        acting = Play(store, clock)
        await Registry(acting.rig).ended("p")
        await Registry(acting.rig).register("q")
        told.extend([(step, await acting.do(step), await acting.everything()) for step in script])
    finally:
        await store.aclose()
    return told


@settings(max_examples=80, deadline=None)
@given(st.lists(steps, max_size=14))
def test_memory_and_sqlite_agree(script: list[tuple[object, ...]]) -> None:
    async def both() -> tuple[list[object], list[object]]:
        clock = VirtualClock()
        memory = await play(MemoryStore(clock), clock, script)
        clock = VirtualClock()
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "a.db"
            return memory, await play(SqliteStore(path, clock), clock, script)

    memory, sqlite = asyncio.run(both())
    assert memory == sqlite
