"""What a reader of a session is told, whenever it comes, goes, sleeps or is overtaken."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
import pytest

from lash.core.errors import LashError
from lash.core.json import encode
from lash.llm.usage import Usage
from lash.runtime.events import (
    ModelAttemptReset,
    ModelRequestStarted,
    ReasoningDelta,
    TextDelta,
    ToolCallCompleted,
    ToolCallDeferred,
    ToolCallStarted,
    TurnEvent,
    TurnParked,
    TurnRestarted,
    UsageReported,
)
from lash.runtime.observed import (
    AgentFrameSwitched,
    Committed,
    Event,
    Gap,
    Item,
    LiveText,
    LiveToolCall,
    LiveTurn,
    ProcessChanged,
    QueueChanged,
    SessionView,
    Snapshot,
    TurnActivity,
    TurnInterrupted,
)
from lash.runtime.observing import Observation, Observations
from lash.sessions.model import (
    AgentRef,
    FrameOpen,
    SessionHead,
    SessionNode,
    ToolCallRecord,
    TurnRecord,
    TurnTiming,
)
from lash.testing.clock import VirtualClock
from lash.turn.messages import Message, text_message
from lash.turn.outcome import AssistantMessage, Finished
from lash.turn.tools import ToolOutput, ToolSuccess

ONE = Usage(input_tokens=1)
DONE = ToolCallRecord(
    call_id="c1", tool="look", args={"n": 7}, output=ToolOutput(outcome=ToolSuccess(payload=1))
)


def word(text: str, correlation: str = "m1") -> TextDelta:
    return TextDelta(text=text, correlation_id=correlation)


def record(turn: str, revision: int, session: str = "s") -> TurnRecord:
    return TurnRecord(
        session_id=session,
        turn_id=turn,
        revision=revision,
        outcome=Finished(result=AssistantMessage(text=f"{turn} is done")),
        usage=ONE,
        text=f"{turn} is done",
        tool_calls=(),
        llm_calls=(),
        issues=(),
        timing=TurnTiming(accepted_at_ms=1, committed_at_ms=2, drive_ms=1),
        turn_index=revision,
    )


def messages(turn: str) -> tuple[Message, ...]:
    return (
        text_message(f"{turn}.0", "user", f"{turn}?"),
        text_message(f"{turn}.1", "assistant", f"{turn} is done"),
    )


class Shelf:
    """A store of one session, whose readings can be held up, and that counts them."""

    def __init__(self) -> None:
        self.head: SessionHead | None = None
        self.path: list[SessionNode] = []
        self.records: list[TurnRecord] = []
        self.writes = 0
        self.tells = True
        self.reads = 0
        self.fails = False
        self.between: list[Callable[[], object]] = []  # done before the path is next read
        self.open = asyncio.Event()
        self.open.set()

    def commit(self, turn: str, frame: str | None = None, *, wordless: bool = False) -> TurnRecord:
        """Land a turn; returns its record."""
        revision = (self.head.revision if self.head else 0) + 1
        for message in () if wordless else messages(turn):
            self.path.append(
                SessionNode(
                    session_id="s", node_id=message.id, digest="d", turn_id=turn, message=message
                )
            )
        if frame:
            opened = FrameOpen(frame_id=frame, reason="continue_as", previous_frame_id="f0")
            self.path.append(
                SessionNode(session_id="s", node_id=frame, digest="d", turn_id=turn, frame=opened)
            )
        self.records.append(record(turn, revision))
        self._stand(revision, len(self.records))
        return self.records[-1]

    def rewrite(self) -> None:
        """Move the head without a turn: the first turn's messages go."""
        assert self.head is not None
        self.path = self.path[2:]
        self._stand(self.head.revision + 1, self.head.turn_index)

    def _stand(self, revision: int, turns: int) -> None:
        self.head = SessionHead(
            session_id="s",
            agent=AgentRef(name="support"),
            created_at_ms=0,
            revision=revision,
            leaf_id=self.path[-1].node_id,
            turn_index=turns,
            usage=Usage(input_tokens=turns),
        )
        self.writes += 1

    def delete(self) -> None:
        self.head, self.path, self.records = None, [], []
        self.writes += 1

    async def _read(self) -> None:
        self.reads += 1
        if self.fails:
            raise OSError("the disk is gone")
        await asyncio.sleep(0)

    async def load_head(self, session_id: str) -> SessionHead | None:
        await self._read()
        return self.head if session_id == "s" else None

    async def load_path(self, session_id: str, *, whole: bool = False) -> Sequence[SessionNode]:
        while self.between:
            self.between.pop()()
        path = list(self.path)
        await self._read()
        await self.open.wait()
        return path

    async def load_nodes(self, session_id: str, turn_ids: Sequence[str]) -> Sequence[SessionNode]:
        path = await self.load_path(session_id)
        return [node for node in path if node.turn_id in turn_ids]

    async def list_turns(self, session_id: str, *, after: int = 0) -> Sequence[TurnRecord]:
        await self._read()
        return [one for one in self.records if one.revision > after]

    async def change_token(self) -> int | None:
        return self.writes if self.tells else None


class Desk:
    """Observations over a shelf, with time that stands still."""

    def __init__(self, capacity: int = 2048, *, drives: bool = False, run: str = "run-1") -> None:
        self.clock = VirtualClock()
        self.shelf = Shelf()
        self.drives = drives
        self.all = self.reopened(run, capacity)

    def reopened(self, run: str, capacity: int = 2048) -> Observations:
        return Observations(
            self.shelf, self.clock, run, drives=lambda _: self.drives, capacity=capacity
        )

    def say(self, turn: str, *events: TurnEvent) -> None:
        for event in events:
            self.all.announce("s", turn, event)

    def land(self, turn: str) -> None:
        """Commit a turn that is driven here."""
        self.all.committed(self.shelf.commit(turn), messages(turn))


async def nothing_more(items: Observation) -> bool:
    """Whether the reader waits, everything else having come to rest."""
    waiting = asyncio.ensure_future(anext(items))
    for _ in range(30):
        await asyncio.sleep(0)
    if waiting.done():
        raise AssertionError(f"there was something: {waiting.result()}")
    waiting.cancel()
    await asyncio.wait([waiting])
    return True


async def following(items: Observation) -> Item:
    async with asyncio.timeout(20):
        return await anext(items)


async def within(items: Observation, clock: VirtualClock, milliseconds: int) -> Item:
    """The next item, which must come before so much time has passed."""
    waiting = asyncio.ensure_future(anext(items))
    for _ in range(milliseconds):
        for _ in range(30):
            await asyncio.sleep(0)
        if waiting.done():
            return waiting.result()
        clock.advance(0.001)
    waiting.cancel()
    raise AssertionError(f"nothing came within {milliseconds} ms")


def told(item: Item) -> object:
    """The event in short: the word said, or the committed turn."""
    assert isinstance(item, Event)
    event = item.event
    if isinstance(event, TurnActivity) and isinstance(event.event, TextDelta):
        return event.event.text
    if isinstance(event, Committed):
        return (event.turn_id, event.revision)
    return event


def lines(view: SessionView) -> list[str]:
    return [part.content for message in view.messages for part in message.parts]


# --- beginning --------------------------------------------------------------------------------------


async def test_a_reader_begins_with_a_snapshot_and_then_gets_what_happens() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        first = await following(items)
        assert first == Snapshot(
            view=SessionView(
                session_id="s", revision=1, messages=messages("t1"), turn_index=1, usage=ONE
            ),
            cursor="lashsc1:1:run-1.1:s",
        )
        desk.say("t2", ModelRequestStarted(protocol_iteration=0), word("Hel"), word("lo"))
        desk.land("t2")

        found = [await following(items) for _ in range(4)]
        assert found[1] == Event(
            event=TurnActivity(id="run-1.3", correlation_id="m1", turn_id="t2", event=word("Hel")),
            cursor="lashsc1:1:run-1.3:s",
        )
        assert found[3] == Event(
            event=Committed(
                turn_id="t2", revision=2, record=record("t2", 2), messages=messages("t2")
            ),
            cursor="lashsc1:2:run-1.5:s",
        )
        assert await nothing_more(items)


async def test_a_session_can_be_observed_before_it_exists() -> None:
    desk = Desk()
    async with desk.all.observe("s") as items:
        assert await following(items) == Snapshot(
            view=SessionView(session_id="s"), cursor="lashsc1:0:run-1.0:s"
        )
        desk.say("t1", word("Hi"))
        desk.land("t1")

        assert told(await following(items)) == "Hi"
        assert told(await following(items)) == ("t1", 1)


async def test_a_snapshot_in_the_middle_of_a_turn_holds_what_was_shown_of_it() -> None:
    desk = Desk()
    desk.land("t1")
    desk.say(
        "t2",
        ModelRequestStarted(protocol_iteration=0),
        ReasoningDelta(text="Hm", correlation_id="r1"),
        word("Let me "),
        word("see."),
        ToolCallStarted(call_id="c1", tool="look", args={"n": 7}),
        ToolCallStarted(call_id="c2", tool="wait", args={}),
        ToolCallCompleted(call=DONE),
        ModelRequestStarted(protocol_iteration=1),
        word("It is", "m2"),
    )
    async with desk.all.observe("s") as items:
        first = await following(items)
        assert isinstance(first, Snapshot)
        assert first.view.live == (
            LiveTurn(
                turn_id="t2",
                texts=(
                    LiveText(correlation_id="r1", kind="reasoning", text="Hm", iteration=0),
                    LiveText(correlation_id="m1", kind="text", text="Let me see.", iteration=0),
                    LiveText(correlation_id="m2", kind="text", text="It is", iteration=1),
                ),
                tool_calls=(
                    LiveToolCall(call_id="c1", tool="look", args={"n": 7}, call=DONE),
                    LiveToolCall(call_id="c2", tool="wait", args={}),
                ),
                iteration=1,
            ),
        )
        desk.say("t2", word(" seven.", "m2"))

        assert told(await following(items)) == " seven."  # and nothing of what the view holds


async def test_live_text_goes_when_it_is_retracted_asked_for_anew_committed_or_given_up() -> None:
    desk = Desk()

    async def live() -> dict[str, list[str]]:
        async with desk.all.observe("s") as items:
            first = await following(items)
            assert isinstance(first, Snapshot)
            return {turn.turn_id: [text.text for text in turn.texts] for turn in first.view.live}

    desk.say("t1", ModelRequestStarted(protocol_iteration=0), word("a", "1"), word("b", "2"))
    desk.say("t1", ModelAttemptReset(correlation_ids=("1", "unknown")))
    assert await live() == {"t1": ["b"]}
    desk.say("t1", ModelRequestStarted(protocol_iteration=1), word("c", "3"))
    # The drive failed and was begun again: the second call is made once more, the first is recorded.
    desk.say("t1", ModelRequestStarted(protocol_iteration=1), word("C", "3"))
    assert await live() == {"t1": ["b", "C"]}
    desk.say("t1", TurnRestarted(session_id="s", turn_id="t1", restarted_as="t2", message="drift"))
    assert await live() == {}
    desk.say("t2", word("d"))
    desk.say("t3", word("e"))
    desk.all.interrupted("s", ["t2"])
    assert await live() == {"t3": ["e"]}
    desk.land("t3")
    assert await live() == {}


# --- the seam between the view and the events -------------------------------------------------------


async def test_what_happens_while_the_history_is_read_is_neither_lost_nor_told_twice() -> None:
    desk = Desk(drives=True)
    desk.land("t1")
    desk.say("t2", word("before "))
    desk.shelf.open.clear()
    async with desk.all.observe("s") as items:
        first = asyncio.ensure_future(anext(items))
        for _ in range(10):
            await asyncio.sleep(0)  # its history is being read, as it was after t1
        desk.say("t2", word("while"))
        desk.land("t2")
        desk.say("t3", word("next "))
        desk.shelf.open.set()
        found = await asyncio.wait_for(first, 20)
        assert isinstance(found, Snapshot)
        assert lines(found.view) == ["t1?", "t1 is done", "t2?", "t2 is done"]
        assert (found.view.revision, found.view.turn_index) == (2, 2)
        assert found.view.usage == Usage(input_tokens=2)
        assert [(turn.turn_id, turn.texts[0].text) for turn in found.view.live] == [("t3", "next ")]
        assert desk.shelf.reads == 2  # the head and the path, once
        desk.say("t3", word("one"))
        desk.land("t3")

        assert [told(await following(items)) for _ in range(2)] == ["one", ("t3", 3)]


async def test_a_commit_on_top_of_an_unseen_one_while_the_history_is_read_has_it_read_again() -> (
    None
):
    desk = Desk(drives=True)
    desk.land("t1")
    desk.shelf.open.clear()
    async with desk.all.observe("s") as items:
        first = asyncio.ensure_future(anext(items))
        for _ in range(10):
            await asyncio.sleep(0)
        desk.shelf.commit("t2")  # elsewhere
        desk.land("t3")
        desk.shelf.open.set()
        found = await asyncio.wait_for(first, 20)
        assert isinstance(found, Snapshot)
        assert lines(found.view)[::2] == ["t1?", "t2?", "t3?"]
        assert (found.view.revision, found.view.turn_index) == (3, 3)
        assert await nothing_more(items)


async def test_a_commit_between_the_reading_of_head_and_path_does_not_mix_them() -> None:
    desk = Desk(drives=True)
    desk.shelf.commit("t1")
    desk.shelf.between = [lambda: desk.shelf.commit("t2")]
    async with desk.all.observe("s") as items:
        first = await following(items)
        assert isinstance(first, Snapshot)
        assert (first.view.revision, lines(first.view)[::2]) == (2, ["t1?", "t2?"])


async def test_a_turn_without_messages_ends_its_live_text_too() -> None:
    desk = Desk(drives=True)
    desk.land("t1")
    desk.say("t2", word("Hello"))
    stored = desk.shelf.commit("t2", wordless=True)  # the driver has not heard of it yet
    async with desk.all.observe("s") as items:
        first = await following(items)
        assert isinstance(first, Snapshot)
        assert (first.view.revision, first.view.live[0].turn_id) == (2, "t2")
        desk.all.committed(stored, ())

        assert told(await following(items)) == ("t2", 2)


async def test_a_store_without_what_was_committed_is_an_error_and_not_an_endless_reading() -> None:
    desk = Desk(drives=True)
    async with desk.all.observe("s") as items:
        await following(items)
        desk.land("t1")
        assert told(await following(items)) == ("t1", 1)
        desk.all.committed(record("t3", 3), ())  # which no store has
        with pytest.raises(LashError) as caught:
            await following(items)
        assert caught.value.code == "store_failed"


async def test_a_turn_that_is_stored_but_not_told_yet_is_committed_for_the_reader() -> None:
    desk = Desk(drives=True)
    desk.land("t1")
    desk.say("t2", word("Hello"))
    stored = desk.shelf.commit("t2")  # the driver has not heard of it yet
    async with desk.all.observe("s") as items:
        first = await following(items)
        assert isinstance(first, Snapshot)
        assert (first.view.revision, first.view.live) == (2, ())
        assert lines(first.view)[-1] == "t2 is done"
        desk.say("t2", UsageReported(protocol_iteration=0, usage=ONE))
        desk.all.committed(stored, messages("t2"))
        desk.say("t3", word("next"))

        assert told(await following(items)) == "next"


async def test_the_reader_keeps_its_place_when_a_call_for_the_next_item_is_cancelled() -> None:
    desk = Desk()
    desk.shelf.open.clear()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        for _ in range(3):
            waiting = asyncio.ensure_future(anext(items))
            for _ in range(10):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        desk.shelf.open.set()
        assert isinstance(await following(items), Snapshot)
        assert await nothing_more(items)
        desk.say("t2", word("a"), word("b"))

        assert [told(await following(items)) for _ in range(2)] == ["a", "b"]


# --- coming back ------------------------------------------------------------------------------------


async def test_a_reader_that_comes_back_gets_exactly_what_it_missed() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        await following(items)
        desk.say("t2", word("a"), word("b"))
        await following(items)
        cursor = (await following(items)).cursor
    desk.say("t2", word("c"))
    desk.land("t2")
    async with desk.all.observe("s", cursor) as items:
        assert [told(await following(items)) for _ in range(2)] == ["c", ("t2", 2)]
        assert await nothing_more(items)
    async with desk.all.observe("s", cursor) as items:  # any cursor, any number of times
        assert told(await following(items)) == "c"


async def test_a_reader_that_missed_nothing_gets_nothing_anew() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
    desk.clock.advance(10_000)
    desk.all.queue_changed("other", "enqueued", ["i1"])  # what was kept is let go of
    async with desk.all.observe("s", cursor) as items:
        assert await nothing_more(items)


async def test_five_thousand_missed_events_are_a_gap_with_a_view_that_holds_them() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
    desk.say("t2", *[word("x")] * 2000)
    desk.land("t2")
    desk.say("t3", *[word("y")] * 3000)
    async with desk.all.observe("s", cursor) as items:
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert (gap.reason, gap.requested) == ("trimmed", cursor)
        assert lines(gap.view) == ["t1?", "t1 is done", "t2?", "t2 is done"]
        assert gap.view.live[0].texts[0].text == "y" * 3000
        desk.say("t3", word("z"))
        assert told(await following(items)) == "z"
        after = gap.cursor
    async with desk.all.observe("s", after) as items:
        assert told(await following(items)) == "z"


async def test_a_cursor_of_an_earlier_run_is_a_gap() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
    desk.shelf.commit("t0")
    again = desk.reopened("run-2")
    for _ in range(3):
        again.announce("s", "t2", word("x"))
    async with again.observe("s", cursor) as items:
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert (gap.reason, gap.cursor) == ("unavailable", "lashsc1:2:run-2.3:s")
        assert gap.view.live[0].texts[0].text == "xxx"


async def test_a_commit_the_store_does_not_know_is_a_gap() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s", "lashsc1:9:run-1.1:s") as items:
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert (gap.reason, gap.view.revision) == ("unavailable", 1)
        assert await nothing_more(items)


async def test_cursors_are_checked_before_anything_is_read() -> None:
    desk = Desk()
    with pytest.raises(LashError) as malformed:
        desk.all.observe("s", "nonsense")
    with pytest.raises(LashError) as wrong:
        desk.all.observe("s", "lashsc1:1:run-1.1:other")

    assert malformed.value.code == "session_cursor_malformed"
    assert wrong.value.code == "session_cursor_wrong_session"
    assert desk.shelf.reads == 0


async def test_a_connected_reader_that_is_too_slow_goes_on_after_a_gap() -> None:
    desk = Desk(capacity=4)
    async with desk.all.observe("s") as items:
        await following(items)
        desk.say("t1", *[word(str(number)) for number in range(4)])
        assert told(await following(items)) == "0"
        desk.say("t1", word("4"), word("5"))
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert (gap.reason, gap.requested) == ("lagged", "lashsc1:0:run-1.1:s")
        assert gap.view.live[0].texts[0].text == "012345"
        desk.say("t1", word("6"))

        assert told(await following(items)) == "6"


# --- commits of other processes ---------------------------------------------------------------------


async def test_what_another_process_commits_is_told_soon_after_the_store_was_written_to() -> None:
    desk = Desk()
    desk.shelf.commit("t1")
    async with desk.all.observe("s") as items:
        await following(items)
        for _ in range(5_000):  # the reader rests for five seconds
            desk.clock.advance(0.001)
            for _ in range(5):
                await asyncio.sleep(0)
        desk.shelf.commit("t2")
        desk.shelf.commit("t3", frame="f1")

        second = await within(items, desk.clock, 32)
        assert second == Event(
            event=Committed(
                turn_id="t2", revision=2, record=record("t2", 2), messages=messages("t2")
            ),
            cursor="lashsc1:2:run-1.1:s",
        )
        assert told(await following(items)) == ("t3", 3)
        assert told(await following(items)) == AgentFrameSwitched(frame_id="f1")


async def test_without_a_token_the_store_is_read_within_a_second() -> None:
    desk = Desk()
    desk.shelf.tells = False
    desk.shelf.commit("t1")
    async with desk.all.observe("s") as items:
        await following(items)
        with pytest.raises(AssertionError, match="nothing came"):
            await within(items, desk.clock, 5_000)
        assert desk.shelf.reads < 20  # ever more seldom
        desk.shelf.commit("t2")

        assert told(await within(items, desk.clock, 1_002)) == ("t2", 2)


async def test_a_session_that_is_driven_here_is_not_looked_for_in_the_store() -> None:
    desk = Desk(drives=True)
    desk.land("t1")
    async with desk.all.observe("s") as items:
        await following(items)
        before = desk.shelf.reads
        with pytest.raises(AssertionError, match="nothing came"):
            await within(items, desk.clock, 5_000)

        assert desk.shelf.reads == before


async def test_two_readers_are_told_of_a_foreign_commit_once_each() -> None:
    desk = Desk()
    desk.shelf.commit("t1")
    async with desk.all.observe("s") as one, desk.all.observe("s") as two:
        await following(one)
        await following(two)
        stored = desk.shelf.commit("t2")
        assert told(await within(one, desk.clock, 32)) == ("t2", 2)
        assert told(await following(two)) == ("t2", 2)
        before = desk.all.replay.tail("s")
        desk.all.committed(stored, messages("t2"))  # told here as well, later

        assert desk.all.replay.tail("s") == before
        assert await nothing_more(one)
        assert await nothing_more(two)


@pytest.mark.parametrize("drives", [False, True])
async def test_a_reader_that_comes_back_is_told_what_others_committed_meanwhile(
    drives: bool,
) -> None:
    desk = Desk(drives=drives)
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
    desk.shelf.commit("t2")
    desk.shelf.commit("t3")
    async with desk.all.observe("s", cursor) as items:
        assert [told(await following(items)) for _ in range(2)] == [("t2", 2), ("t3", 3)]
        assert await nothing_more(items)


async def test_what_is_kept_is_not_looked_for_in_the_store_when_a_reader_comes_back() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
    desk.land("t2")
    async with desk.all.observe("s", cursor) as items:
        assert told(await following(items)) == ("t2", 2)
        assert await nothing_more(items)

    assert desk.all.replay.tail("s") == 2


async def test_a_reader_behind_what_another_reader_already_knows_gets_a_gap() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
    desk.shelf.commit("t2")  # nobody watches
    async with desk.all.observe("s") as fresh:
        await following(fresh)
        async with desk.all.observe("s", cursor) as items:
            gap = await following(items)
            assert isinstance(gap, Gap)
            assert (gap.reason, gap.view.revision) == ("unavailable", 2)
            assert await nothing_more(items)
        assert await nothing_more(fresh)


async def test_a_turn_on_top_of_commits_nobody_here_saw_is_a_gap_and_not_a_hole() -> None:
    desk = Desk(drives=True)
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
        desk.shelf.commit("t2")  # another process had the session for a while
        desk.say("t3", word("a"))
        assert told(await following(items)) == "a"
        desk.land("t3")
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert gap.view.revision == 3
        assert lines(gap.view)[-3:] == ["t2 is done", "t3?", "t3 is done"]
    async with desk.all.observe("s", cursor) as items:
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert gap.view.revision == 3


async def test_missed_commits_between_replayed_ones_are_a_gap() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
    desk.shelf.commit("t2")
    desk.land("t3")  # nobody observes, so nobody notices
    async with desk.all.observe("s", cursor) as items:
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert (gap.reason, gap.view.revision) == ("unavailable", 3)


async def test_a_history_that_was_changed_otherwise_is_shown_anew() -> None:
    desk = Desk()
    desk.land("t1")
    desk.land("t2")
    async with desk.all.observe("s") as items:
        await following(items)
        desk.shelf.rewrite()  # elsewhere
        gap = await within(items, desk.clock, 32)
        assert isinstance(gap, Gap)
        assert (gap.view.revision, lines(gap.view)) == (3, ["t2?", "t2 is done"])
        desk.land("t3")
        assert told(await following(items)) == ("t3", 4)
        desk.shelf.rewrite()  # here
        desk.all.replaced("s")
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert (gap.view.revision, lines(gap.view)) == (5, ["t3?", "t3 is done"])
        with pytest.raises(AssertionError, match="nothing came"):
            await within(items, desk.clock, 1_100)


async def test_a_store_that_cannot_be_read_just_now_does_not_end_following() -> None:
    desk = Desk()
    desk.shelf.commit("t1")
    async with desk.all.observe("s") as items:
        desk.shelf.fails = True
        with pytest.raises(OSError, match="the disk is gone"):
            await following(items)
        desk.shelf.fails = False
        assert isinstance(await following(items), Snapshot)
        desk.shelf.fails = True
        desk.shelf.commit("t2")
        with pytest.raises(AssertionError, match="nothing came"):
            await within(items, desk.clock, 3_000)
        desk.shelf.fails = False

        assert told(await within(items, desk.clock, 1_100)) == ("t2", 2)


# --- other events -----------------------------------------------------------------------------------


async def test_other_changes_are_told_as_they_are() -> None:
    desk = Desk()
    async with desk.all.observe("s") as items:
        await following(items)
        desk.all.queue_changed("s", "enqueued", ["i1", "i2"])
        desk.all.process_changed("s", "started", ["p1"])
        desk.all.interrupted("s", ["t1"])
        desk.all.committed(desk.shelf.commit("t1"), messages("t1"), "frame-2")

        assert [told(await following(items)) for _ in range(5)] == [
            QueueChanged(kind="enqueued", input_ids=("i1", "i2")),
            ProcessChanged(kind="started", process_ids=("p1",)),
            TurnInterrupted(turn_id="t1"),
            ("t1", 1),
            AgentFrameSwitched(frame_id="frame-2"),
        ]


async def test_activities_that_belong_together_share_a_correlation_id() -> None:
    desk = Desk()
    async with desk.all.observe("s") as items:
        await following(items)
        desk.say(
            "t1",
            ModelRequestStarted(protocol_iteration=0),
            ReasoningDelta(text="Hm", correlation_id="r1"),
            word("a"),
            ToolCallStarted(call_id="c1", tool="look", args={}),
            ToolCallDeferred(call_id="c1", tool="look"),
            ToolCallCompleted(call=DONE),
            TurnParked(session_id="s", turn_id="t1", code="x", message="y"),
        )
        found = [await following(items) for _ in range(7)]

    events = [item.event for item in found if isinstance(item, Event)]
    activities = [event for event in events if isinstance(event, TurnActivity)]
    assert [activity.correlation_id for activity in activities] == [
        "t1",
        "r1",
        "m1",
        "tool:c1",
        "tool:c1",
        "tool:c1",
        "t1",
    ]
    assert len({activity.id for activity in activities}) == 7


async def test_items_survive_the_wire() -> None:
    desk = Desk()
    desk.land("t0")
    found: list[Item] = []
    async with desk.all.observe("s") as items:
        desk.say("t1", word("a"), ToolCallCompleted(call=DONE))
        found.append(await following(items))
        desk.say("t1", word("b"), ToolCallStarted(call_id="c2", tool="look", args={"a": [1]}))
        desk.all.queue_changed("s", "taken", ["i"])
        desk.land("t1")
        found += [await following(items) for _ in range(4)]
        desk.all.replaced("s")
        found.append(await following(items))

    assert isinstance(found[-1], Gap)
    assert [msgspec.json.decode(encode(item), type=Item) for item in found] == found


# --- ending -----------------------------------------------------------------------------------------


async def test_deleting_a_session_ends_its_readers() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        cursor = (await following(items)).cursor
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        desk.shelf.delete()
        desk.all.deleted("s")
        with pytest.raises(LashError) as caught:
            await asyncio.wait_for(waiting, 20)
        assert caught.value.code == "session_deleted"
        with pytest.raises(LashError) as caught:
            await following(items)
        assert caught.value.code == "session_deleted"
    assert desk.all._sessions == {}
    async with desk.all.observe("s", cursor) as items:
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert gap.view == SessionView(session_id="s")


async def test_a_session_that_another_process_deleted_ends_its_readers() -> None:
    desk = Desk()
    desk.land("t1")
    async with desk.all.observe("s") as items:
        await following(items)
        desk.shelf.delete()
        with pytest.raises(LashError) as caught:
            await within(items, desk.clock, 32)
        assert caught.value.code == "session_deleted"


async def test_a_session_that_is_gone_when_its_history_is_read_again_was_deleted() -> None:
    desk = Desk(drives=True)
    desk.land("t1")
    async with desk.all.observe("s") as items:
        await following(items)
        desk.shelf.delete()
        desk.all.replaced("s")
        with pytest.raises(LashError) as caught:
            await following(items)
        assert caught.value.code == "session_deleted"


async def test_a_reader_that_leaves_leaves_nothing_behind() -> None:
    desk = Desk()
    before = asyncio.all_tasks()
    async with desk.all.observe("s") as items, desk.all.observe("s") as other:
        await following(items)
        await following(other)
        await items.aclose()
        assert desk.all._sessions["s"].observers == 1
        with pytest.raises(StopAsyncIteration):
            await anext(items)

    assert asyncio.all_tasks() == before
    assert desk.all._sessions == {}
    assert desk.all.replay.buffers == 0
    assert desk.clock.sleeping == 0


async def test_whoever_waits_for_an_item_is_told_when_the_reader_is_closed() -> None:
    desk = Desk()
    async with desk.all.observe("s") as items:
        await following(items)
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        await items.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 20)


async def test_closing_the_runtime_ends_every_reader() -> None:
    desk = Desk()
    async with desk.all.observe("s") as items:
        await following(items)
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        await desk.all.aclose()
        with pytest.raises(LashError) as caught:
            await asyncio.wait_for(waiting, 20)
        assert caught.value.code == "runtime_closed"
    with pytest.raises(LashError) as caught:
        desk.all.observe("s")
    assert caught.value.code == "runtime_closed"


async def test_a_reader_is_used_inside_its_block_and_once() -> None:
    desk = Desk()
    items = desk.all.observe("s")
    with pytest.raises(LashError) as caught:
        await anext(items)
    assert caught.value.code == "stream_not_entered"
    async with items:
        with pytest.raises(LashError) as caught:
            await items.__aenter__()
        assert caught.value.code == "stream_not_entered"


# --- what it costs the turn -------------------------------------------------------------------------


async def test_sessions_that_nobody_observes_are_forgotten_with_their_turn() -> None:
    desk = Desk()
    for number in range(10_000):
        desk.all.announce(f"s{number}", "t", word("x"))
        desk.all.committed(record("t", 1, f"s{number}"), ())
    desk.all.announce("parked", "t", TurnParked(session_id="s", turn_id="t", code="x", message=""))

    assert desk.all._sessions == {}
    desk.clock.advance(121)
    desk.all.replay.sweep()
    assert (desk.all.replay.held, desk.all.replay.buffers) == (0, 0)


async def test_readers_that_never_read_neither_delay_the_turn_nor_cost_it_memory() -> None:
    desk = Desk()
    readers = [desk.all.observe("s") for _ in range(500)]
    for reader in readers:
        await reader.__aenter__()
    began = time.perf_counter()
    desk.say("t1", *[word("x")] * 20_000)
    took = time.perf_counter() - began

    assert desk.all.replay.held == 2048
    assert took < 2.0  # a step per reader would be ten million steps
    for reader in readers:
        await reader.aclose()


async def test_what_goes_wrong_in_observing_stays_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()
    async with desk.all.observe("s") as items:
        await following(items)
        desk.say("t1", word("a"))
        with monkeypatch.context() as patch:
            patch.setattr("lash.runtime.observing.LiveTurns._write", lambda *_: 1 / 0)
            desk.say("t1", word("lost"))
        gap = await following(items)
        assert isinstance(gap, Gap)
        assert gap.reason == "unavailable"
    assert "was lost to its observers" in caplog.text
