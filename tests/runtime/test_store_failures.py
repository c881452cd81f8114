"""A store that fails at any one call: the caller is told, nothing is half done, the turn is finished."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hooked_store import HookedStore, hooked

import lash
from lash.sessions.model import messages_of
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, calls, reply
from lash.turn.messages import is_valid_transcript

__all__ = ["hooked"]

#: What a turn of three model calls and three tools asks of the store: whose session it is, to accept,
#: six records, what arrived at three checkpoints, to commit.
CALLS = 12


class Counted:
    """An agent that counts what really runs."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()

        @lash.tool
        async def step(name: str) -> str:
            """Do a step."""
            self.ran[name] += 1
            return f"did {name}"

        script = [
            calls(("step", {"name": "a"}), ("step", {"name": "b"})),
            calls(("step", {"name": "c"})),
            reply("Over."),
        ]
        self.model = ScriptedModel(script)
        self.agent = lash.Agent("worker", model=self.model, tools=[step])


async def finish_in_a_new_runtime(path: Path, counted: Counted, *, accepted: bool) -> None:
    """Open the file with a sound store: the turn is there once and whole, or was never accepted."""
    async with lash.Runtime(path, agents=[counted.agent]) as runtime:
        await runtime.idle(timeout=20)
        turns = await runtime.session("s").turns()
        nodes = await runtime.engine.store.load_path("s")
        states = [(item.state, item.open_turns) for item in await runtime.sessions()]
    assert is_valid_transcript(messages_of(nodes))
    if accepted:
        assert [(turn.turn_id, turn.text) for turn in turns] == [("t", "Over.")]
        assert [call.args["name"] for call in turns[0].tool_calls] == ["a", "b", "c"]
        assert states == [("idle", 0)]
    else:
        assert turns == []
        assert states == []


async def test_the_calls_a_turn_makes_are_the_ones_this_table_lets_fail(
    tmp_path: Path, hooked: list[HookedStore]
) -> None:
    async with lash.Runtime(tmp_path / "agents.db", agents=[Counted().agent]) as runtime:
        hooked[0].counts.clear()
        await runtime.session("s").run("Work.")
        counts = dict(hooked[0].counts)
    assert counts == {
        "load_head": 1,
        "accept_turn": 1,
        "record": 6,
        "has_arrived": 3,
        "commit_turn": 1,
    }
    assert sum(counts.values()) == CALLS


@pytest.mark.parametrize("answered", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("nth", range(1, CALLS + 1))
async def test_one_failure_at_any_call_is_told_and_the_next_opening_finishes_the_turn(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hooked: list[HookedStore],
    nth: int,
    *,
    answered: bool,
) -> None:
    path = tmp_path / "agents.db"
    counted = Counted()
    error = lash.StoreError("store_full", "no space is left")
    async with lash.Runtime(path, agents=[counted.agent]) as runtime, asyncio.timeout(20):
        store = hooked[0]
        store.counts.clear()
        store.fail_at, store.answered, store.error = nth, answered, error
        with pytest.raises(lash.StoreError) as raised:
            await runtime.session("s").run("Work.", turn_id="t")
        assert raised.value.code == "store_full"

    monkeypatch.undo()  # a sound store from here on
    accepted = nth > 2 or (nth == 2 and answered)
    await finish_in_a_new_runtime(path, counted, accepted=accepted)
    if answered and accepted:
        # Whatever was recorded was not run again; a sibling that was running may have been.
        assert counted.ran["c"] == 1
        assert len(counted.model.requests) == 3


@pytest.mark.parametrize("nth", range(3, CALLS + 1))
async def test_the_same_runtime_finishes_the_turn_once_the_store_is_sound_again(
    tmp_path: Path, hooked: list[HookedStore], nth: int
) -> None:
    counted = Counted()
    path = tmp_path / "agents.db"
    async with lash.Runtime(path, agents=[counted.agent]) as runtime, asyncio.timeout(20):
        store = hooked[0]
        store.counts.clear()
        store.fail_at, store.error = nth, lash.StoreError("store_busy", "locked")
        session = runtime.session("s")
        with pytest.raises(lash.StoreError):
            await session.run("Work.", turn_id="t")
        assert (await session.run("Work.", turn_id="t")).text == "Over."
        assert len(await session.turns()) == 1


async def test_a_store_that_fails_while_it_is_opened_is_closed_again(
    tmp_path: Path, hooked: list[HookedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: SqliteStore) -> None:
        raise lash.StoreError("store_corrupt", "cannot read")

    monkeypatch.setattr(SqliteStore, "open_sessions", fail)
    runtime = lash.Runtime(tmp_path / "agents.db")
    with pytest.raises(lash.StoreError, match="cannot read"):
        await runtime.__aenter__()
    with pytest.raises(lash.StoreError, match="closed"):
        await hooked[0].inner.list_sessions()
    monkeypatch.undo()
    async with runtime:
        assert await runtime.sessions() == []


async def test_a_store_that_fails_while_it_is_swept_does_not_stop_the_sweeping(
    tmp_path: Path, hooked: list[HookedStore], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "agents.db"
    lease = lash.LeaseTimings(ttl_ms=30, renew_ms=10)
    broken, sound = asyncio.Event(), asyncio.Event()

    async def fail(*_: object) -> None:
        broken.set()
        raise lash.StoreError("store_failed", "cannot read")

    async def note() -> None:
        sound.set()

    async with lash.Runtime(path, agents=[Counted().agent], lease=lease), asyncio.timeout(20):
        hooked[0].instead["open_sessions"] = fail
        await broken.wait()
        del hooked[0].instead["open_sessions"]
        hooked[0].after["open_sessions"] = note
        await sound.wait()
    assert "the sweep could not read the store" in caplog.text


async def test_joining_a_turn_of_a_store_that_cannot_be_written_says_so(
    tmp_path: Path, hooked: list[HookedStore]
) -> None:
    counted = Counted()
    path = tmp_path / "agents.db"
    full = lash.StoreError("store_full", "no space is left")

    async def refuse(*_: object) -> None:
        raise full

    async with lash.Runtime(path, agents=[counted.agent]) as runtime, asyncio.timeout(20):
        store, session = hooked[0], runtime.session("s")
        store.instead["commit_turn"] = store.instead["claim_session"] = refuse
        for _ in range(2):  # driven, then joined: the lease cannot even be taken
            with pytest.raises(lash.StoreError, match="no space is left"):
                await session.run("Work.", turn_id="t")
        store.instead.clear()
        assert (await session.run("Work.", turn_id="t")).text == "Over."
    assert len(counted.model.requests) == 3


async def test_a_full_disk_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    ran: list[int] = []

    @lash.tool
    async def fetch() -> str:
        """Fetch more than there is room for."""
        ran.append(1)
        return "x" * 400_000

    model = ScriptedModel([calls(("fetch", {})), reply("Over.")])
    agent = lash.Agent("fetcher", model=model, tools=[fetch])

    def limit_pages(runtime: lash.Runtime, spare: int) -> None:
        store = runtime.engine.store
        assert isinstance(store, SqliteStore)
        # Of each connection that writes: the limit is not kept in the file.
        for committer in (store._writer._by_thread, store._writer._here):
            if committer is not None:
                connection = committer._connection
                (pages,) = connection.execute("PRAGMA page_count").fetchone()
                connection.execute(f"PRAGMA max_page_count = {pages + spare}")

    async with lash.Runtime(path, agents=[agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        await runtime.engine.store.finish_scope("first", ())
        limit_pages(runtime, 20)
        with pytest.raises(lash.StoreError) as raised:
            await session.run("Fetch.", turn_id="t")
        assert raised.value.code == "store_full"
        assert "nothing accepted is lost" in raised.value.message
        await_open = await runtime.engine.store.list_open_turns("s")
        assert [turn.turn_id for turn in await_open] == ["t"]
        limit_pages(runtime, 100_000)
        assert (await session.run("Fetch.", turn_id="t")).text == "Over."
    assert len(ran) == 2  # its first outcome had no room
    assert len(model.requests) == 2
