"""Wakes: what an event puts into the outbox, and for whom."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.core.json import JsonValue
from lash.processes.event_types import (
    SelectConst,
    Selector,
    SelectPayload,
    SelectPointer,
    SelectPresent,
    SelectTemplate,
)
from lash.processes.events import EventSemantics
from lash.processes.wakes import WakeDelivery, WakePass
from lash.processes.writes import AlreadyApplied, AppendEvent, RetargetWakes
from lash.testing.conformance.processes.registry import ProcessProperties
from lash.testing.conformance.processes.samples import (
    START_MS,
    note,
    refund,
    ring,
    waking,
)
from lash.testing.conformance.rig import expect

_PRESENT = SelectPresent(pointer="/loud")
_LOUD = SelectPointer(pointer="/loud")
_TEXT = SelectPointer(pointer="/text")
_TEMPLATE = SelectTemplate(
    template="{who}: {what} ({who}) {none}",
    fields={"who": SelectPointer(pointer="/by/0"), "what": SelectPayload()},
)


class WakeProperties(ProcessProperties):
    """The outbox: what an event puts into it."""

    async def test_a_wake_is_written_with_its_event(self) -> None:
        async with self.registry() as registry:
            await registry.running(wakes="s")
            registry.later(3)
            written = await registry.write(ring("é ☃"))
            assert written.wakes
            await registry.interlude()
            wake = WakeDelivery(
                process_id="p",
                sequence=2,
                session_id="s",
                event_type="ring",
                text="é ☃",
                created_at_ms=START_MS + 3,
            )
            assert list(await registry.store.list_wakes("p")) == [wake]
            assert list(await registry.store.list_wakes("p", "pending")) == [wake]
            assert list(await registry.store.list_wakes("p", "delivered")) == []
            assert (wake.item_id, wake.source_key) == ("wake:p:2", "process:p:event:2:wake")

    async def test_without_anybody_to_wake_the_event_is_written_alone(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            written = await registry.write(ring("hello"))
            assert not written.wakes
            await registry.interlude()
            (event,) = await registry.log()
            assert event.semantics == EventSemantics(wake="hello")
            assert await registry.wakes() == []

    async def test_events_that_wake_nobody_put_nothing_into_the_outbox(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running(wakes="s")
            await registry.append(note(1))
            await registry.complete(lease)
            await registry.interlude()
            assert await registry.wakes() == []
            assert await registry.store.deliver_wakes() == WakePass()

    async def test_an_event_that_is_appended_once_wakes_once(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            await registry.append(ring("hello", "k"))
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(ring("hello", "k")))
                assert await registry.refusal(ring("other", "k")) == "process_event_conflict"
            assert await registry.wakes() == [(1, "s", "pending", None)]

    @pytest.mark.parametrize(
        ("selector", "when", "payload", "text"),
        [
            (_TEXT, None, {"text": "plain"}, "plain"),
            (_TEXT, None, {"text": {"b": 1, "a": [None]}}, '{"a":[null],"b":1}'),
            (_TEXT, None, {"text": 1.5}, "1.5"),
            (SelectPayload(), None, "whole", "whole"),
            (SelectConst(value="always"), None, None, "always"),
            (_PRESENT, None, {"loud": None}, "true"),
            (_TEMPLATE, None, {"by": ["ana"]}, 'ana: {"by":["ana"]} (ana) {none}'),
            (_TEXT, _PRESENT, {"text": "x", "loud": False}, "x"),
            (_TEXT, _PRESENT, {"text": "x"}, None),
            (_TEXT, _LOUD, {"text": "x", "loud": True}, "x"),
            (_TEXT, _LOUD, {"text": "x", "loud": 0}, "x"),
            (_TEXT, _LOUD, {"text": "x", "loud": False}, None),
            (_TEXT, _LOUD, {"text": "x", "loud": None}, None),
            (_TEXT, _LOUD, {"text": "x", "loud": ""}, None),
            (_TEXT, _LOUD, {"text": "x", "loud": []}, None),
            (_TEXT, _LOUD, {"text": "x", "loud": {}}, None),
        ],
    )
    async def test_what_a_session_is_told_is_selected_as_the_type_declares(
        self, selector: Selector, when: Selector | None, payload: JsonValue, text: str | None
    ) -> None:
        async with self.registry() as registry:
            asked = refund(event_types=(waking(selector, when),), wake_session_id="s")
            await registry.ask(asked)
            await registry.append(AppendEvent(event_type="waking", payload=payload))
            await registry.interlude()
            told = [wake.text for wake in await registry.store.list_wakes("p")]
            assert told == ([] if text is None else [text])
            (event,) = await registry.log()
            assert event.semantics.wake == text

    # --- where they go ----------------------------------------------------------------------------

    async def test_wakes_go_elsewhere_and_those_that_wait_are_discarded(self) -> None:
        async with self.registry() as registry:
            await registry.session("s")
            await registry.register(wakes="s")
            await registry.append(ring("first"))
            await registry.deliver()
            await registry.append(ring("second"))
            await registry.write(RetargetWakes(session_id="other"))
            await registry.append(ring("third"))
            await registry.interlude()
            assert await registry.wakes() == [
                (1, "s", "delivered", None),
                (2, "s", "discarded", "retargeted"),
                (4, "other", "pending", None),
            ]
            (event,) = await registry.store.process_events("p", after=2, limit=1)
            assert event.event_type == "process.subscription_retargeted"
            assert event.payload == {"session_id": "other"}
            assert (await registry.load()).state.wake_session_id == "other"
            await registry.session("other")
            await registry.deliver()
            assert await registry.woken("s") == ["wake:p:1"]
            assert await registry.woken("other") == ["wake:p:4"]

    async def test_wakes_may_go_nowhere_and_somewhere_again(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            await registry.write(RetargetWakes(session_id=None))
            await registry.append(ring("nobody"))
            await registry.write(RetargetWakes(session_id="s"))
            await registry.append(ring("somebody"))
            await registry.interlude()
            assert await registry.wakes() == [(4, "s", "pending", None)]

    async def test_where_they_go_already_they_may_be_sent_again(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            await registry.append(ring("hello"))
            async with registry.untouched():
                answer = await registry.result(RetargetWakes(session_id="s"))
                expect(AlreadyApplied, answer)
