"""What a client shows is the same whenever it came, and whatever it missed on the way."""

import asyncio
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lash.app.live_view import LiveView
from lash.app.results import HistoryMessage, ToolCallView
from lash.llm.usage import Usage
from lash.runtime.events import (
    ModelAttemptReset,
    ModelRequestStarted,
    ReasoningDelta,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    TurnEvent,
)
from lash.runtime.observed import (
    Committed,
    Event,
    Gap,
    LiveText,
    LiveToolCall,
    LiveTurn,
    Observed,
    QueueChanged,
    SessionView,
    Snapshot,
    TurnActivity,
    TurnInterrupted,
)
from lash.runtime.observing import Observation, Observations
from lash.sessions.model import (
    AgentRef,
    SessionHead,
    SessionNode,
    ToolCallRecord,
    TurnRecord,
    TurnTiming,
)
from lash.testing.clock import VirtualClock
from lash.turn.messages import Message, Part, text_message
from lash.turn.outcome import AssistantMessage, Finished
from lash.turn.tools import ToolOutput, ToolSuccess

OK = ToolOutput(outcome=ToolSuccess(payload=1))


def record(turn: str, revision: int) -> TurnRecord:
    return TurnRecord(
        session_id="s",
        turn_id=turn,
        revision=revision,
        outcome=Finished(result=AssistantMessage(text="done")),
        usage=Usage(output_tokens=5),
        text="done",
        tool_calls=(),
        llm_calls=(),
        issues=(),
        timing=TurnTiming(accepted_at_ms=1, committed_at_ms=2, drive_ms=1),
    )


def event(what: Observed, position: int = 1) -> Event:
    return Event(event=what, cursor=f"cursor {position}")


def happened(turn: str, what: TurnEvent) -> Event:
    return event(TurnActivity(id="i", correlation_id="c", turn_id=turn, event=what))


def said(turn: str, text: str, correlation: str = "m") -> Event:
    return happened(turn, TextDelta(text=text, correlation_id=correlation))


def committed(turn: str, revision: int, *messages: Message) -> Event:
    return event(
        Committed(turn_id=turn, revision=revision, record=record(turn, revision), messages=messages)
    )


def view_of(*items: Snapshot | Event | Gap) -> LiveView:
    view = LiveView()
    for item in items:
        view.apply(item)
    return view


# --- by hand ----------------------------------------------------------------------------------------


def test_a_snapshot_is_shown_as_it_is() -> None:
    call = Part(id="2.p0", kind="tool_call", content='{"n":7}', tool_call_id="c1", tool_name="look")
    live = LiveTurn(
        turn_id="t2",
        texts=(LiveText(correlation_id="m", kind="text", text="Hel"),),
    )
    view = view_of(
        Snapshot(
            view=SessionView(
                session_id="s",
                revision=3,
                messages=(
                    text_message("1", "user", "Hi"),
                    Message(id="2", role="assistant", parts=(call,)),
                ),
                turn_index=2,
                usage=Usage(input_tokens=9),
                live=(live,),
            ),
            cursor="here",
        )
    )

    assert list(view.messages) == [
        HistoryMessage("1", "user", "Hi"),
        HistoryMessage("2", "assistant", "", (ToolCallView("c1", "look", '{"n":7}'),)),
    ]
    assert view.live == {"t2": live}
    assert (view.text, view.cursor) == ("Hel", "here")
    assert (view.revision, view.turn_index, view.usage) == (3, 2, Usage(input_tokens=9))


def test_live_text_grows_by_correlation_id_and_the_answer_is_its_prose() -> None:
    view = view_of(
        happened("t", ModelRequestStarted(protocol_iteration=0)),
        happened("t", ReasoningDelta(text="Hm", correlation_id="r")),
        said("t", "Let me ", "m1"),
        said("t", "see.", "m1"),
        happened("t", ToolCallStarted(call_id="c1", tool="look", args={"n": 7})),
        happened("t", ModelRequestStarted(protocol_iteration=1)),
        said("t", "Seven.", "m2"),
    )

    assert view.live == {
        "t": LiveTurn(
            turn_id="t",
            texts=(
                LiveText(correlation_id="r", kind="reasoning", text="Hm"),
                LiveText(correlation_id="m1", kind="text", text="Let me see."),
                LiveText(correlation_id="m2", kind="text", text="Seven.", iteration=1),
            ),
            tool_calls=(LiveToolCall(call_id="c1", tool="look", args={"n": 7}),),
            iteration=1,
        )
    }
    assert view.text == "Let me see.\n\nSeven."


def test_a_failed_attempt_takes_back_its_own_text_only() -> None:
    view = view_of(
        said("t", "kept", "a"),
        said("t", "gone", "b"),
        happened("t", ReasoningDelta(text="gone too", correlation_id="c")),
        happened("t", ModelAttemptReset(correlation_ids=("b", "c", "never shown"))),
        said("t", "again", "b2"),
    )

    assert [text.text for text in view.live["t"].texts] == ["kept", "again"]


def test_a_tool_call_that_was_answered_carries_its_answer() -> None:
    done = ToolCallRecord(call_id="c1", tool="look", args={"n": 7}, output=OK)
    view = view_of(
        happened("t", ToolCallStarted(call_id="c1", tool="look", args={"n": 7})),
        happened("t", ToolCallStarted(call_id="c2", tool="look", args={})),
        happened("t", ToolCallCompleted(call=done)),
    )

    assert view.live["t"].tool_calls == (
        LiveToolCall(call_id="c1", tool="look", args={"n": 7}, call=done),
        LiveToolCall(call_id="c2", tool="look", args={}),
    )


def test_a_commit_puts_the_turns_messages_in_the_place_of_its_live_text() -> None:
    view = view_of(
        said("t1", "Hel"),
        said("t2", "other"),
        committed(
            "t1", 1, text_message("1", "user", "Hi"), text_message("2", "assistant", "Hello")
        ),
    )

    assert [message.text for message in view.messages] == ["Hi", "Hello"]
    assert set(view.live) == {"t2"}
    assert (view.revision, view.turn_index, view.usage) == (1, 1, Usage(output_tokens=5))
    assert view.cursor == "cursor 1"


def test_a_commit_that_the_view_holds_already_only_ends_the_live_text() -> None:
    seen = text_message("1", "user", "Hi")
    start = SessionView(session_id="s", revision=1, messages=(seen,), turn_index=1)
    view = view_of(Snapshot(view=start, cursor="x"), said("t1", "Hel"), committed("t1", 1, seen))

    assert len(view.messages) == 1
    assert (view.live, view.turn_index, view.usage) == ({}, 1, Usage())


def test_a_turn_that_is_given_up_is_no_longer_shown() -> None:
    view = view_of(said("t1", "Hel"), event(TurnInterrupted(turn_id="t1")))

    assert (view.live, view.text) == ({}, "")


def test_a_gap_replaces_everything() -> None:
    view = view_of(
        said("t1", "old"),
        committed("t0", 1, text_message("0", "user", "old")),
        Gap(
            reason="trimmed",
            view=SessionView(
                session_id="s", revision=4, messages=(text_message("9", "user", "new"),)
            ),
            cursor="after",
            requested="before",
        ),
    )

    assert [message.text for message in view.messages] == ["new"]
    assert (view.live, view.revision, view.cursor) == ({}, 4, "after")


def test_what_the_view_does_not_show_moves_its_cursor_only() -> None:
    view = view_of(event(QueueChanged(kind="enqueued", input_ids=("i",)), 7))

    assert (view.cursor, list(view.messages), view.live) == ("cursor 7", [], {})


# --- any order, any loss ----------------------------------------------------------------------------


class World:
    """A session that is driven here or elsewhere, and what a person who misses nothing would see."""

    def __init__(self, capacity: int) -> None:
        self.clock = VirtualClock()
        self.all = Observations(self, self.clock, "run-0", capacity=capacity)
        self.capacity = capacity
        self.runs = 0
        # Stored.
        self.path: list[SessionNode] = []
        self.records: list[TurnRecord] = []
        # Seen by somebody who misses nothing.
        self.lines: list[str] = []
        self.live: dict[str, dict[str, str]] = {}
        self.tools: dict[str, dict[str, bool]] = {}
        self.started = 0

    # What a store does.

    async def load_head(self, session_id: str) -> SessionHead | None:
        await asyncio.sleep(0)
        if not self.records:
            return None
        return SessionHead(
            session_id="s",
            agent=AgentRef(name="a"),
            created_at_ms=0,
            revision=len(self.records),
            leaf_id=self.path[-1].node_id,
            turn_index=len(self.records),
            usage=Usage(output_tokens=5 * len(self.records)),
        )

    async def load_path(self, session_id: str, *, whole: bool = False) -> Sequence[SessionNode]:
        path = list(self.path)
        await asyncio.sleep(0)
        return path

    async def load_nodes(self, session_id: str, turn_ids: Sequence[str]) -> Sequence[SessionNode]:
        path = await self.load_path(session_id)
        return [node for node in path if node.turn_id in turn_ids]

    async def list_turns(self, session_id: str, *, after: int = 0) -> Sequence[TurnRecord]:
        await asyncio.sleep(0)
        return self.records[after:]

    async def change_token(self) -> int | None:
        return len(self.records)

    # What happens.

    def turn(self) -> str:
        """The turn that runs here; a new one if there is none."""
        if not self.live:
            self.started += 1
            name = f"t{self.started}"
            self.live[name], self.tools[name] = {}, {}
            self.announce(name, ModelRequestStarted(protocol_iteration=0))
        return next(iter(self.live))

    def announce(self, turn: str, what: TurnEvent) -> None:
        self.all.announce("s", turn, what)

    def say(self, key: str, text: str) -> None:
        turn = self.turn()
        self.live[turn][key] = self.live[turn].get(key, "") + text
        self.announce(turn, TextDelta(text=text, correlation_id=key))

    def reset(self, *keys: str) -> None:
        turn = self.turn()
        for key in keys:
            self.live[turn].pop(key, None)
        self.announce(turn, ModelAttemptReset(correlation_ids=keys))

    def tool(self, key: str) -> None:
        """A tool begins, or ends if it has begun."""
        turn = self.turn()
        if self.tools[turn].get(key) is False:
            self.tools[turn][key] = True
            call = ToolCallRecord(call_id=key, tool="look", args={}, output=OK)
            self.announce(turn, ToolCallCompleted(call=call))
        else:
            self.tools[turn][key] = False
            self.announce(turn, ToolCallStarted(call_id=key, tool="look", args={}))

    def begin_again(self) -> None:
        """The turn's drive failed and is begun again: its model is asked once more."""
        turn = self.turn()
        self.live[turn] = {}
        self.announce(turn, ModelRequestStarted(protocol_iteration=0))

    def give_up(self) -> None:
        turn = self.turn()
        del self.live[turn], self.tools[turn]
        self.all.interrupted("s", [turn])

    def store(self, turn: str) -> tuple[TurnRecord, tuple[Message, ...]]:
        added = (
            text_message(f"{turn}.0", "user", f"{turn}?"),
            text_message(f"{turn}.1", "assistant", f"{turn}!"),
        )
        self.path += [
            SessionNode(
                session_id="s", node_id=message.id, digest="d", turn_id=turn, message=message
            )
            for message in added
        ]
        self.records.append(record(turn, len(self.records) + 1))
        self.lines += [f"{turn}?", f"{turn}!"]
        return self.records[-1], added

    async def commit(self, others: "list[Client]", pause: int) -> None:
        """The turn is stored; whoever drives hears of it a little later."""
        turn = self.turn()
        stored, added = self.store(turn)
        del self.live[turn], self.tools[turn]
        for client in others[:pause]:
            await client.read(2)
        self.all.committed(stored, added)

    def commit_elsewhere(self) -> None:
        """Another process commits a turn; it has the session, so nothing runs here."""
        if not self.live:
            self.started += 1
            self.store(f"t{self.started}")

    async def reopen(self) -> None:
        """The runtime is closed and opened again: live text is lost, accepted turns begin anew."""
        await self.all.aclose()
        self.runs += 1
        self.live, self.tools = {}, {}
        self.all = Observations(self, self.clock, f"run-{self.runs}", capacity=self.capacity)


class Client:
    """A client that comes and goes, and keeps what it shows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.view = LiveView()
        self.items: Observation | None = None

    async def connect(self) -> None:
        if self.items is None:
            self.items = self.world.all.observe("s", self.view.cursor)
            await self.items.__aenter__()

    async def leave(self) -> None:
        if self.items is not None:
            await self.items.aclose()
            self.items = None

    async def forget(self) -> None:
        await self.leave()
        self.view = LiveView()

    async def read(self, count: int) -> int:
        """Read up to so many items, as long as there are any."""
        found = 0
        while self.items is not None and found < count:
            waiting = asyncio.ensure_future(anext(self.items))
            for _ in range(25):
                await asyncio.sleep(0)
            if not waiting.done():
                waiting.cancel()
                await asyncio.wait([waiting])
                break
            self.view.apply(waiting.result())
            found += 1
        return found


KEYS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), KEYS, st.sampled_from(["x", "yy", "\r\n", "é"])),
        st.tuples(st.just("burst"), KEYS, st.integers(1, 12)),
        st.tuples(st.just("reset"), KEYS, KEYS),
        st.tuples(st.just("tool"), KEYS, st.just(0)),
        st.tuples(st.just("commit"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("elsewhere"), st.just(0), st.just(0)),
        st.tuples(st.just("begin again"), st.just(0), st.just(0)),
        st.tuples(st.just("give up"), st.just(0), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
        st.tuples(st.just("pass"), st.sampled_from([0.04, 1.1, 130.0]), st.just(0)),
        st.tuples(st.just("connect"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("forget"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 6)),
    ),
    max_size=40,
)


async def take(world: World, clients: list[Client], step: "tuple[str, object, object]") -> None:
    match step:
        case ("say", str(key), str(text)):
            world.say(key, text)
        case ("burst", str(key), int(count)):
            for number in range(count):
                world.say(key, str(number))
        case ("reset", str(one), str(two)):
            world.reset(one, two)
        case ("tool", str(key), _):
            world.tool(key)
        case ("begin again", _, _):
            world.begin_again()
        case ("give up", _, _):
            world.give_up()
        case ("commit", int(pause), _):
            await world.commit(clients, pause)
        case ("elsewhere", _, _):
            world.commit_elsewhere()
        case _:
            await come_or_go(world, clients, step)


async def come_or_go(
    world: World, clients: list[Client], step: "tuple[str, object, object]"
) -> None:
    match step:
        case ("reopen", _, _):
            for client in clients:
                await client.leave()
            await world.reopen()
        case ("pass", float(seconds), _):
            world.clock.advance(seconds)
            for _ in range(20):
                await asyncio.sleep(0)
        case ("connect", int(index), _):
            await clients[index].connect()
        case ("leave", int(index), _):
            await clients[index].leave()
        case ("forget", int(index), _):
            await clients[index].forget()
        case ("read", int(index), int(count)):
            await clients[index].read(count)
        case _:
            raise AssertionError(step)


async def live_through(capacity: int, steps: "list[tuple[str, object, object]]") -> None:
    world = World(capacity)
    clients = [Client(world) for _ in range(3)]
    for step in steps:
        await take(world, clients, step)
    await come_to_rest(world, clients)
    for client in clients:
        view = client.view
        assert [message.text for message in view.messages] == world.lines
        assert (view.revision, view.turn_index) == (len(world.records), len(world.records))
        assert view.usage == Usage(output_tokens=5 * len(world.records))
        shown = {
            name: {text.correlation_id: text.text for text in turn.texts}
            for name, turn in view.live.items()
        }
        assert shown == world.live
        tools = {
            name: {call.call_id: call.call is not None for call in turn.tool_calls}
            for name, turn in view.live.items()
        }
        assert tools == world.tools
        await client.leave()
    assert world.all._following is None


async def come_to_rest(world: World, clients: list[Client]) -> None:
    """Everybody is connected and has read everything, foreign commits included."""
    for client in clients:
        await client.connect()
    for _ in range(8):
        for client in clients:
            await client.read(10_000)
        world.clock.advance(1.1)
        for _ in range(20):
            await asyncio.sleep(0)
    assert sum([await client.read(1) for client in clients]) == 0


@settings(deadline=None, max_examples=150)
@given(capacity=st.sampled_from([3, 8, 2048]), steps=STEPS)
@example(capacity=2048, steps=[])
@example(  # two commits of others between a client's going and its coming back
    capacity=2048,
    steps=[
        ("connect", 0, 0),
        ("read", 0, 1),
        ("leave", 0, 0),
        ("elsewhere", 0, 0),
        ("say", "a", "x"),
        ("commit", 0, 0),
        ("connect", 0, 0),
        ("say", "b", "x"),
    ],
)
def test_every_client_ends_up_showing_what_one_that_missed_nothing_shows(
    capacity: int, steps: "list[tuple[str, object, object]]"
) -> None:
    asyncio.run(live_through(capacity, steps))
