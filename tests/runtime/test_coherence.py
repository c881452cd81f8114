"""Durable effects over parts that forget are refused before anything starts, with all of them named."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.core.clock import SystemClock
from lash.core.tiers import DurabilityTier
from lash.effects.hosts import InlineEffectHost, StoreEffectHost
from lash.runtime.coherence import check_coherence
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, reply

CLOCK = SystemClock(asyncio.sleep)


@pytest.mark.parametrize(
    ("facets", "wrong"),
    [
        ({"sessions": "ephemeral"}, ["sessions"]),
        ({"sessions": "durable", "journal": "ephemeral"}, ["journal"]),
        (
            {"sessions": "ephemeral", "await_events": "ephemeral", "journal": "ephemeral"},
            ["await_events", "journal", "sessions"],
        ),
        (
            {"triggers": "ephemeral", "journal": "durable", "blobs": "ephemeral"},
            ["blobs", "triggers"],
        ),
    ],
)
def test_every_part_that_forgets_is_named_at_once(
    facets: Mapping[str, DurabilityTier], wrong: list[str]
) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        check_coherence("durable", facets)
    assert raised.value.code == "durable_store_required"
    assert raised.value.terminal
    assert raised.value.details == {"facets": wrong}
    assert f": {', '.join(wrong)}. " in raised.value.message


@pytest.mark.parametrize(
    ("host", "facets"),
    [
        ("durable", {"sessions": "durable", "journal": "durable"}),
        ("durable", {}),
        ("ephemeral", {"sessions": "ephemeral", "journal": "ephemeral"}),
        ("ephemeral", {"sessions": "durable", "journal": "ephemeral"}),
    ],
)
def test_parts_that_promise_enough_are_taken(
    host: DurabilityTier, facets: Mapping[str, DurabilityTier]
) -> None:
    check_coherence(host, facets)


class Mixed(SqliteStore):
    """A store of somebody's own: some of it survives the process, and some does not."""

    touched: list[str]

    def __init__(self, path: Path) -> None:
        super().__init__(path, CLOCK)
        self.touched = []

    @property
    def facets(self) -> Mapping[str, DurabilityTier]:
        return {**super().facets, "await_events": "ephemeral", "attachments": "ephemeral"}

    def register_owner(self, owner_id: str, incarnation: str) -> Any:
        self.touched.append("register_owner")
        return super().register_owner(owner_id, incarnation)

    async def open_sessions(self) -> Any:
        self.touched.append("open_sessions")
        return await super().open_sessions()

    async def aclose(self) -> None:
        self.touched.append("aclose")
        await super().aclose()


def agent() -> lash.Agent:
    return lash.Agent("support", model=ScriptedModel([reply("Hi.")]))


async def test_a_mixed_store_is_refused_before_anything_starts(tmp_path: Path) -> None:
    store, before = Mixed(tmp_path / "agents.db"), asyncio.all_tasks()
    runtime = lash.Runtime(store, agents=[agent()])
    with pytest.raises(lash.ConfigurationError) as raised:
        await runtime.__aenter__()
    assert raised.value.code == "durable_store_required"
    assert raised.value.details == {"facets": ["attachments", "await_events"]}
    assert store.touched == ["aclose"]
    assert asyncio.all_tasks() == before
    with pytest.raises(lash.LashError, match="not open"):
        await runtime.sessions()


async def test_durable_effects_over_a_forgetful_store_are_refused(tmp_path: Path) -> None:
    durable = SqliteStore(tmp_path / "effects.db", CLOCK)
    host = StoreEffectHost(durable, CLOCK)
    with pytest.raises(lash.ConfigurationError) as raised:
        await lash.Runtime(":memory:", agents=[agent()], effects=host).__aenter__()
    forgetful = ["attachments", "await_events", "journal", "processes", "sessions", "triggers"]
    assert raised.value.details == {"facets": forgetful}
    await durable.aclose()


async def test_effects_that_forget_may_stand_over_a_durable_store(tmp_path: Path) -> None:
    """Nothing is promised that is not kept: turns are durable, their effects run again."""
    store = SqliteStore(tmp_path / "agents.db", CLOCK)
    host = InlineEffectHost(store, CLOCK)
    async with lash.Runtime(store, agents=[agent()], effects=host) as runtime:
        result = await runtime.session("s").run("Hello?", turn_id="t")
        assert result.is_success
        assert list(await runtime.journal("s", "t")) == []


async def test_a_runtime_takes_a_store_object_and_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    store = SqliteStore(path, CLOCK)
    async with lash.Runtime(store, agents=[agent()]) as runtime:
        assert runtime.durability == "durable"
        assert (await runtime.session("s").run("Hello?")).durability == "durable"
    with pytest.raises(lash.StoreError) as raised:
        await store.list_sessions()
    assert raised.value.code == "store_closed"
    async with lash.Runtime(path, agents=[agent()]) as runtime:
        assert [turn.text for turn in await runtime.session("s").turns()] == ["Hi."]


async def test_a_memory_store_given_twice_remembers() -> None:
    store = MemoryStore(CLOCK)
    async with lash.Runtime(store, agents=[agent()]) as runtime:
        assert runtime.durability == "ephemeral"
        await runtime.session("s").run("Hello?")
    async with lash.Runtime(store, agents=[agent()]) as runtime:
        assert [turn.text for turn in await runtime.session("s").turns()] == ["Hi."]
