"""Appending events: what is refused and in which order, and that a key stands for one event for ever."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import msgspec
import pytest

from lash.core.json import JsonValue
from lash.core.leases import Fence
from lash.processes.events import ProcessEvent
from lash.processes.writes import (
    AlreadyApplied,
    AppendEvent,
    FenceLost,
    WriteRefused,
    Written,
)
from lash.testing.conformance.processes.registry import ProcessProperties, payloads
from lash.testing.conformance.processes.samples import (
    START_MS,
    cancel,
    note,
    signal,
)
from lash.testing.conformance.rig import expect

_STALE = Fence(fencing_token=9, nonce="stale")

#: Only lash appends these.
_RESERVED = (
    "process.started",
    "process.waiting",
    "process.resumed",
    "process.external_ref_set",
    "process.abandon_requested",
    "process.parked",
    "process.unparked",
    "process.retry_scheduled",
    "process.continued",
    "process.observer_added",
    "process.observer_removed",
    "process.subscription_retargeted",
    "process.completed",
    "process.failed",
    "process.cancelled",
    "process.abandoned",
)


def event(
    name: str, payload: JsonValue = None, key: str | None = "k", fence: Fence | None = None
) -> AppendEvent:
    """An event, with a key unless told otherwise."""
    return AppendEvent(event_type=name, payload=payload, replay_key=key, fence=fence)


class AppendProperties(ProcessProperties):
    """`write_process(AppendEvent)`, and reading the log."""

    async def test_an_event_comes_back_as_it_was_given(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            registry.later(5)
            payload: JsonValue = {"n": 7, "more": [1.5, None, True, "é ☃ \u0000", {"": []}]}
            await registry.append(event("note", payload, "k1"))
            await registry.interlude()
            assert await registry.log() == [
                ProcessEvent(
                    process_id="p",
                    sequence=1,
                    event_type="note",
                    payload=payload,
                    occurred_at_ms=START_MS + 5,
                    replay_key="k1",
                )
            ]
            state = (await registry.load()).state
            assert (state.sequence, state.updated_at_ms) == (1, START_MS + 5)

    async def test_events_are_numbered_without_gaps_each_process_for_itself(self) -> None:
        async with self.registry() as registry:
            await registry.register("p")
            await registry.register("q")
            for number in range(3):
                await registry.append(note(number), "p")
                await registry.interlude()
            await registry.append(note(9), "q")
            expect(WriteRefused, await registry.result(event("note", {"n": "no"})))
            await registry.append(note(3), "p")
            assert [each.sequence for each in await registry.log("p")] == [1, 2, 3, 4]
            assert [each.sequence for each in await registry.log("q")] == [1]

    async def test_events_are_read_behind_a_place_in_order_up_to_a_limit(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            for number in range(1, 7):
                name = "note" if number % 2 else "signal.hello"
                await registry.append(event(name, {"n": number}, None))
            await registry.interlude()
            store = registry.store

            async def numbers(
                after: int, event_type: str | None = None, limit: int = 1000
            ) -> list[int]:
                found = await store.process_events(
                    "p", after=after, event_type=event_type, limit=limit
                )
                return [each.sequence for each in found]

            assert await numbers(0) == [1, 2, 3, 4, 5, 6]
            assert await numbers(4) == [5, 6]
            assert await numbers(6) == []
            assert await numbers(99) == []
            assert await numbers(1, limit=2) == [2, 3]
            assert await numbers(0, limit=0) == []
            assert await numbers(0, "signal.hello") == [2, 4, 6]
            assert await numbers(2, "signal.hello", limit=1) == [4]
            assert await numbers(0, "signal.approve") == []

    async def test_counts_and_the_last_events_are_those_of_the_log(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            for name in ("note", "signal.hello", "note", "note"):
                await registry.append(event(name, {"n": 1}, None))
            await registry.interlude()
            store = registry.store
            counts = [await store.count_events("p", "note", through) for through in range(6)]
            assert counts == [0, 1, 1, 2, 3, 3]
            assert await store.count_events("p", "signal.hello", 1) == 0
            assert await store.count_events("p", "signal.hello", 2) == 1
            last = {
                count: [each.sequence for each in await store.recent_events("p", count)]
                for count in (0, 1, 2, 9)
            }
            assert last == {0: [], 1: [4], 2: [3, 4], 9: [1, 2, 3, 4]}

    async def test_a_key_is_one_processs_own(self) -> None:
        async with self.registry() as registry:
            await registry.register("p")
            await registry.register("q")
            appended = await registry.append(note(1, "k1"), "p")
            other = await registry.append(note(2, "k1"), "q")
            await registry.interlude()
            assert appended in await registry.log("p")
            assert other in await registry.log("q")

    async def test_an_event_without_a_key_is_appended_each_time(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.append(note(1))
            await registry.append(note(1))
            await registry.interlude()
            assert payloads(await registry.log()) == [{"n": 1}, {"n": 1}]

    # --- replays --------------------------------------------------------------------------------

    async def test_the_same_event_under_its_key_is_appended_once(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            first = await registry.append(note(1, "k"))
            await registry.append(note(2))
            registry.later()
            async with registry.untouched():
                again = expect(AlreadyApplied, await registry.result(note(1, "k")))
            assert again.event == first
            assert again.record == await registry.load()

    async def test_another_event_under_a_key_is_a_conflict(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.append(note(1, "k"))
            others = (
                note(2, "k"),
                event("signal.hello", {"n": 1}),
                event("undeclared", {"n": 1}),
                event("note", {"n": "no number"}),
                event("note", {"n": 1, "more": None}),
            )
            for other in others:
                async with registry.untouched():
                    assert await registry.refusal(other) == "process_event_conflict"

    async def test_payloads_are_the_same_whatever_the_order_of_keys_and_the_sign_of_zero(
        self,
    ) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.append(event("note", {"n": 1, "a": {"x": -0.0, "y": [0.0]}, "b": None}))
            same: JsonValue = {"b": None, "a": {"y": [-0.0], "x": 0.0}, "n": 1}
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(event("note", same)))
            unlike: tuple[JsonValue, ...] = (
                {"n": 1, "a": {"x": 0.0, "y": [0.0]}},
                {"n": 1, "a": {"x": 0.0, "y": []}, "b": None},
                {"n": True, "a": {"x": 0.0, "y": [0.0]}, "b": None},
            )
            for other in unlike:
                assert await registry.refusal(event("note", other)) == "process_event_conflict"

    async def test_of_many_who_append_under_one_key_at_once_one_does(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            answers = await asyncio.gather(*(registry.result(note(1, "k")) for _ in range(8)))
            (first,) = [answer for answer in answers if isinstance(answer, Written)]
            others = [answer for answer in answers if answer is not first]
            assert all(expect(AlreadyApplied, other).event == first.event for other in others)
            await registry.interlude()
            assert await registry.types() == ["note"]

    # --- what is refused ------------------------------------------------------------------------

    async def test_only_declared_events_are_appended_and_the_refusal_names_them(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            async with registry.untouched():
                unknown = await registry.result(event("nota", {"n": 1}))
            refused = expect(WriteRefused, unknown)
            assert refused.code == "process_event_undeclared"
            assert refused.details["known"] == ["broke", "note", "ring", "sold", "stopped"]
            assert "broke, note, ring, sold, stopped" in refused.message

    async def test_a_payload_must_fit_its_schema(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            misfits: tuple[JsonValue, ...] = ({"n": "seven"}, {}, None, [], {"n": 1.5})
            for payload in misfits:
                async with registry.untouched():
                    refused = await registry.result(event("note", payload))
                assert expect(WriteRefused, refused).code == "process_event_invalid"
            await registry.append(event("note", {"n": 7}))

    @pytest.mark.parametrize("name", _RESERVED)
    async def test_only_lash_appends_what_is_its_own(self, name: str) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            async with registry.untouched():
                anybody = event(name, {"session_id": "s", "by": "ana"})
                assert await registry.refusal(anybody) == "process_event_reserved"
                runner = event(name, {"await_output": {"type": "success"}}, "k", lease.fence)
                assert await registry.refusal(runner) == "process_event_reserved"

    async def test_what_ends_a_process_or_asks_it_to_stop_needs_a_key(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            ending = event("sold", 1, None, lease.fence)
            stopping = event("process.cancel_requested", {}, None)
            for write in (ending, stopping):
                async with registry.untouched():
                    assert await registry.refusal(write) == "process_event_without_key"

    async def test_selectors_that_find_nothing_append_nothing(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running(wakes="s")
            ring = event("ring", {"tuxt": "hello"})
            broke = event("broke", {"who": "ana"}, "k", lease.fence)
            for write in (ring, broke):
                async with registry.untouched():
                    assert await registry.refusal(write) == "process_event_selector_failed"

    async def test_the_checks_come_in_their_order(self) -> None:
        """Each event is wrong in two ways at least; the earlier check answers."""
        async with self.registry() as registry:
            lease = await registry.running()
            undeclared = event("undeclared", None, None)
            bare_end = event("broke", 7, None)
            foreign_end = event("broke", 7)
            bad_end = event("broke", 7, "k", lease.fence)
            lost = msgspec.structs.replace(undeclared, fence=_STALE)
            async with registry.untouched():
                # A lost lease comes before what the event is, which comes before its key, that before
                # who may end the process, that before the payload, and that before what it means.
                assert await registry.result(lost) == FenceLost()
                assert await registry.refusal(undeclared) == "process_event_undeclared"
                assert await registry.refusal(bare_end) == "process_event_without_key"
                assert await registry.refusal(foreign_end) == "process_completion_refused"
                assert await registry.refusal(bad_end) == "process_event_invalid"

    async def test_a_replay_comes_before_every_other_check(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            said = await registry.append(note(1, "n", lease.fence))
            ended = await registry.append(event("sold", {"sum": 1}, "end", lease.fence))
            async with registry.untouched():
                for key, first in (("n", said), ("end", ended)):
                    again = event(first.event_type, first.payload, key, _STALE)
                    assert expect(AlreadyApplied, await registry.result(again)).event == first
                    unfenced = event(first.event_type, first.payload, key)
                    assert expect(AlreadyApplied, await registry.result(unfenced)).event == first
                other = event("undeclared", None, "n", _STALE)
                assert await registry.refusal(other) == "process_event_conflict"

    async def test_an_end_comes_before_everything_but_a_replay(self) -> None:
        async with self.registry() as registry:
            await registry.complete(await registry.running())
            late = (
                note(1),
                note(1, "k", _STALE),
                event("undeclared", None, None),
                event("process.started", None, None),
                event("sold", 1),
                signal("approve", {"by": "ana"}, "1"),
            )
            for write in late:
                async with registry.untouched():
                    assert await registry.refusal(write) == "process_already_terminal"

    async def test_a_request_to_stop_after_the_end_is_taken_and_changes_nothing(self) -> None:
        async with self.registry() as registry:
            ended = await registry.complete(await registry.running())
            registry.later()
            async with registry.untouched():
                answer = await registry.result(cancel("too late"))
                bare = await registry.result(event("process.cancel_requested", {}, None))
            assert answer == bare == AlreadyApplied(record=ended)
