"""What surrounds a model call is kept once per content, beside the records that name it by digest."""

from collections.abc import Sequence

import pytest
from effect_samples import (
    SCOPE,
    TOOL,
    Executor,
    SlowJournal,
    World,
    envelope,
    found,
    llm_call,
)

from lash.core.errors import StoreError
from lash.effects.commands import DirectCommand
from lash.effects.journal import Authority, JournalRecord, RecordResult
from lash.effects.journaling import KnownSurroundings

BRIEF = (
    '{"instructions":"Be brief.","model":{"name":"model-1","provider":"scripted"},'
    '"tool_choice":"auto","tools":[]}'
)
LONG = BRIEF.replace("Be brief.", "Be long.")


class Watched(SlowJournal):
    """Notes what content every record is given, by its key; a failed write is noted as well."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store)
        self.given: list[tuple[str, str | None]] = []

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> RecordResult:
        self.given += [(record.replay_key, record.surroundings_content) for record in records]
        return await super().record(scope_key, records, authority)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def journal(world: World) -> Watched:
    return Watched(world)


async def test_a_content_is_given_once_by_all_controllers_of_a_store(
    world: World, journal: Watched
) -> None:
    known = KnownSurroundings()
    for number in range(3):
        drive = world.drive(journal=journal, surroundings=known)
        for call in range(2):
            await drive.execute(envelope(llm_call(), f"e{number}{call}"), Executor(found()))

    assert journal.given == [
        ("e00", BRIEF),
        ("e01", None),
        ("e10", None),
        ("e11", None),
        ("e20", None),
        ("e21", None),
    ]


async def test_every_content_is_given(world: World, journal: Watched) -> None:
    drive = world.drive(journal=journal)
    long, brief = llm_call(instructions="Be long."), llm_call()
    for key, command in (("e1", brief), ("e2", long), ("e3", brief), ("e4", long)):
        await drive.execute(envelope(command, key), Executor(found()))

    assert journal.given == [("e1", BRIEF), ("e2", LONG), ("e3", None), ("e4", None)]


async def test_a_direct_completion_has_surroundings_and_a_tool_has_none(
    world: World, journal: Watched
) -> None:
    drive = world.drive(journal=journal)
    direct = DirectCommand(request=llm_call().request, usage_source="host")
    await drive.execute(envelope(TOOL, "e1"), Executor(found()))
    await drive.execute(envelope(direct, "e2"), Executor(found()))
    await drive.execute(envelope(llm_call(), "e3"), Executor(found()))

    assert journal.given == [("e1", None), ("e2", BRIEF), ("e3", None)]


async def test_what_a_record_names_can_be_read(world: World) -> None:
    await world.drive().execute(envelope(llm_call()), Executor(found()))

    (kept,) = await world.store.load_journal(SCOPE)
    assert await world.store.load_surroundings(kept.surroundings) == BRIEF
    assert kept.surroundings_content is None  # kept beside the records, not in them


async def test_a_content_whose_write_failed_is_given_again(world: World, journal: Watched) -> None:
    drive = world.drive(journal=journal)
    journal.broken = StoreError("store_busy", "locked")
    with pytest.raises(StoreError):
        await drive.execute(envelope(llm_call(), "e1"), Executor(found()))
    journal.broken = None
    await drive.execute(envelope(llm_call(), "e1"), Executor(found()))

    assert journal.given == [("e1", BRIEF), ("e1", BRIEF)]


async def test_a_content_is_given_again_after_something_was_retired(
    world: World, journal: Watched
) -> None:
    """The store may have let go of it with the last record that named it."""
    known = KnownSurroundings()
    drive = world.drive(journal=journal, surroundings=known)
    await drive.execute(envelope(llm_call(), "e1"), Executor(found()))
    known.forget()
    await drive.execute(envelope(llm_call(), "e2"), Executor(found()))
    await drive.execute(envelope(llm_call(), "e3"), Executor(found()))

    assert journal.given == [("e1", BRIEF), ("e2", BRIEF), ("e3", None)]


async def test_a_replay_gives_nothing(world: World, journal: Watched) -> None:
    await world.drive().execute(envelope(llm_call()), Executor(found()))

    await world.drive(journal=journal).execute(envelope(llm_call()), Executor(found()))

    assert journal.given == []


async def test_a_content_that_lost_to_another_writer_is_still_to_be_given(
    world: World, journal: Watched
) -> None:
    known = KnownSurroundings()
    late = world.drive(journal=journal, surroundings=known, fresh=True)
    await world.drive().execute(
        envelope(llm_call(instructions="Be long."), "e1"), Executor(found())
    )

    await late.execute(envelope(llm_call(), "e1"), Executor(found()))
    await late.execute(envelope(llm_call(), "e2"), Executor(found()))

    (_, kept) = await world.store.load_journal(SCOPE)
    assert await world.store.load_surroundings(kept.surroundings) == BRIEF
