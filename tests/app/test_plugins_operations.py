"""What hosts ask of plugins by name: queries, commands and tasks, and what becomes of them."""

import asyncio
from pathlib import Path

import pytest
from plugin_harness import location, path
from session_harness import just_before

import lash
from lash.plugins import OperationSession, Plugin, PluginSession, command, query, task
from lash.testing import ScriptedModel, reply

__all__ = ["location", "path"]


class Notes(Plugin):
    id = "notes"

    @query
    def notes(self, session) -> list[str]:  # type: ignore[no-untyped-def]  # as users write it
        """What was noted so far."""
        return session.state or []

    @command
    async def add(self, session: OperationSession, note: str, ask: bool = False) -> int:
        """Note something.

        Args:
            session: Where.
            note: What.
            ask: Whether the agent is to say something about it.
        """
        session.remember([*(session.state or []), note])
        if ask:
            session.queue_turn(f"Read {note}.", source_key=f"read-{note}")
        if note == "bad":
            raise ValueError("no such note")
        return len(session.state)


def agent(*answers: str, plugins: tuple[Plugin, ...] = ()) -> lash.Agent:
    model = ScriptedModel([reply(each) for each in answers])
    return lash.Agent("desk", model=model, plugins=plugins)


async def code_of(work: object) -> str:
    with pytest.raises(lash.LashError) as caught:
        await work  # type: ignore[misc]  # any coroutine
    return str(caught.value.code)


async def test_a_command_remembers_and_a_query_reads_it_back(location: str | Path) -> None:
    async with lash.Runtime(location, agents=[agent("Hm.")], plugins=[Notes()]) as runtime:
        session = runtime.session("s")
        notes = session.plugin("notes")
        assert await notes.call("add", {"note": "a"}) == 1
        assert await notes.call("add", {"note": "b"}) == 2
        assert await notes.call("notes") == ["a", "b"]
        assert await runtime.session("other").plugin("notes").call("add", {"note": "c"}) == 1
        await session.run("Hello.")
        # A command is no turn of the conversation.
        assert [each.text for each in await session.history()] == ["Hello.", "Hm."]
        assert [each.command for each in await session.turns()] == [*["plugin_operation"] * 2, None]
    if isinstance(location, Path):
        async with lash.Runtime(location, agents=[agent()], plugins=[Notes()]) as runtime:
            assert await runtime.session("s").plugin("notes").call("notes") == ["a", "b"]


async def test_what_an_operation_is_shows_in_its_list(location: str | Path) -> None:
    async with lash.Runtime(location, agents=[agent()], plugins=[Notes()]) as runtime:
        add, notes = await runtime.session("s").plugin("notes").operations()
    assert (add.name, add.kind, add.session) == ("add", "command", "required")
    assert (notes.name, notes.kind, notes.description) == (
        "notes",
        "query",
        "What was noted so far.",
    )
    assert add.input_schema == {
        "type": "object",
        "properties": {
            "note": {"type": "string", "description": "What."},
            "ask": {
                "type": "boolean",
                "description": "Whether the agent is to say something about it.",
                "default": False,
            },
        },
        "required": ["note"],
        "additionalProperties": False,
    }


async def test_what_cannot_be_asked_is_refused_by_its_code_and_changes_nothing(
    location: str | Path,
) -> None:
    async with lash.Runtime(location, agents=[agent()], plugins=[Notes()]) as runtime:
        session = runtime.session("s")
        notes = session.plugin("notes")
        assert await code_of(notes.call("notes")) == "session_unknown"
        assert await code_of(session.plugin("else").call("add")) == "plugin_unknown"
        assert await code_of(notes.call("drop")) == "plugin_operation_unknown"
        assert await code_of(notes.start("notes")) == "plugin_operation_unknown"
        for args in ({}, {"note": 1}, {"note": "a", "more": 1}, ["a"]):
            assert await code_of(notes.call("add", args)) == "plugin_operation_args_invalid"
        assert await code_of(runtime.plugin("notes").call("notes")) == (
            "plugin_operation_without_session"
        )
        with pytest.raises(lash.LashError) as caught:
            await notes.call("add", {"note": "bad", "ask": True})
        assert caught.value.code == "plugin_failed"
        assert caught.value.message == "Plugin 'notes' failed: ValueError: no such note"
        assert (
            await notes.call("notes") == []
        )  # what failed has changed nothing, and queued nothing
        assert await session.history() == []
        assert len(await session.turns()) == 1


async def test_a_query_changes_nothing(location: str | Path) -> None:
    class Sly(Plugin):
        id = "sly"

        @query
        async def look(self, session: PluginSession | None = None) -> object:
            if session is None:
                return "nobody"
            session.remember(1)
            return None

        @query
        def about(self) -> str:
            return "sly"

    async with lash.Runtime(location, agents=[agent("Hm.")], plugins=[Sly()]) as runtime:
        await runtime.session("s").run("Hello.")
        sly = runtime.session("s").plugin("sly")
        assert await code_of(sly.call("look")) == "plugin_state_read_only"
        assert await runtime.plugin("sly").call("look") == "nobody"
        assert await runtime.plugin("sly").call("about") == await sly.call("about") == "sly"


async def test_a_turn_that_a_command_queues_follows_it_once(location: str | Path) -> None:
    async with lash.Runtime(location, agents=[agent("One.")], plugins=[Notes()]) as runtime:
        session = runtime.session("s")
        notes = session.plugin("notes")
        for _ in range(2):  # the second time under a key that was used
            await notes.call("add", {"note": "a", "ask": True})
        await runtime.idle()
        assert [each.text for each in await session.history()] == ["Read a.", "One."]


async def test_a_source_key_makes_two_calls_one(location: str | Path) -> None:
    async with lash.Runtime(location, agents=[agent()], plugins=[Notes()]) as runtime:
        notes = runtime.session("s").plugin("notes")
        for _ in range(2):
            assert await notes.call("add", {"note": "a"}, source_key="click") == 1
        other = notes.call("add", {"note": "b"}, source_key="click")
        assert await code_of(other) == "turn_input_conflict"
        assert await notes.call("notes") == ["a"]


async def test_a_task_that_is_stopped_changes_nothing(location: str | Path) -> None:
    begun = asyncio.Event()

    class Index(Plugin):
        id = "index"

        @task
        async def build(self, session: OperationSession) -> None:
            session.remember("half")
            begun.set()
            await asyncio.Event().wait()

        @query
        def state(self, session: PluginSession) -> object:
            return session.state

    async with lash.Runtime(location, agents=[agent("Hm.")], plugins=[Index()]) as runtime:
        session = runtime.session("s")
        index = session.plugin("index")
        first, second = await index.start("build"), await index.start("build")
        await begun.wait()
        assert await second.cancel()  # before it began
        assert await first.cancel()
        assert await code_of(first.result()) == "cancelled"
        assert await code_of(second.result()) == "turn_input_cancelled"
        assert await index.call("state") is None
        assert not await first.cancel()
        assert (await session.run("Hello.")).text == "Hm."


async def test_a_command_that_is_stopped_before_it_lands_changes_nothing(
    location: str | Path,
) -> None:
    async with lash.Runtime(location, agents=[agent("Hm.")], plugins=[Notes()]) as runtime:
        session = runtime.session("s")
        notes = session.plugin("notes")
        happened = just_before(runtime, "commit_turn", session.cancel)
        call = notes.call("add", {"note": "a", "ask": True})
        assert await code_of(call) == "cancelled"
        await runtime.idle()
        assert happened
        assert await notes.call("notes") == []
        assert await session.history() == []


async def test_a_command_may_not_wait_for_its_own_session(location: str | Path) -> None:
    held: list[lash.Session] = []

    class Deep(Plugin):
        id = "deep"

        @command
        async def dive(self, session: OperationSession) -> None:
            await held[0].run("Hello.")

    async with (
        asyncio.timeout(20),
        lash.Runtime(location, agents=[agent()], plugins=[Deep()]) as runtime,
    ):
        held.append(runtime.session("s"))
        call = held[0].plugin("deep").call("dive")
        assert await code_of(call) == "session_waits_for_itself"


async def test_an_operation_of_a_derived_plugin_is_one_without_saying_so_again(
    location: str | Path,
) -> None:
    class Loud(Notes):
        @command
        async def add(self, session: OperationSession, note: str, ask: bool = False) -> int:
            return await super().add(session, note.upper(), ask)

        def notes(self, session: PluginSession) -> list[str]:
            return [*session.state, "!"]

    async with lash.Runtime(location, agents=[agent()], plugins=[Loud()]) as runtime:
        notes = runtime.session("s").plugin("notes")
        await notes.call("add", {"note": "a"})
        assert await notes.call("notes") == ["A", "!"]


def test_a_declaration_that_cannot_be_called_is_refused() -> None:
    class Nameless(Plugin):
        id = "p"

        @command
        def add(self, note: str) -> None: ...

    class Untyped(Plugin):
        id = "p"

        @query
        def find(self, session, what):  # type: ignore[no-untyped-def]  # as users write it
            ...

    for plugin, why in ((Nameless(), "first parameter is `session`"), (Untyped(), "no annotation")):
        with pytest.raises(lash.ConfigurationError, match=why) as caught:
            agent(plugins=(plugin,))
        assert caught.value.code == "plugin_invalid"
