"""Occurrences: what one means is decided when it comes, once, and is kept with it."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

from lash.testing.conformance.rig import expect
from lash.testing.conformance.triggers.board import (
    APP,
    DESK,
    REFUND,
    SAY,
    START_MS,
    TriggerProperties,
    delete,
    disable,
    draft,
    enable,
    heard,
    names,
    occurred,
    of_session,
    revive,
    update,
)
from lash.triggers.listing import DeliveryFilter, DeliverySettled, OccurrenceFilter
from lash.triggers.model import DeliveryFailure
from lash.triggers.transitions import AlreadyIngested, Ingested, OccurrenceConflict

_OCCURRENCE = (
    "trigger-occurrence:v1:sha256:d42e3bb09bc6c7635b4ca0efa6e0def0499477e0a9210fcedfd018bcb99f09e0"
)
_DELIVERY = (
    "trigger-delivery:v1:sha256:c0233f4ed96061dc1372c1f4672d57d4c724ba9b0cf9980d34f8807789c5c3a8"
)


class IngestProperties(TriggerProperties):
    """`ingest`."""

    async def test_an_occurrence_and_what_it_means_are_one_write(self) -> None:
        async with self.board() as board:
            record = await board.register()
            board.later()
            result = await board.new(occurred(source=None))
            await board.interlude()
            (occurrence,) = await board.triggers.list_occurrences(OccurrenceFilter())
            assert occurrence == result.occurrence
            assert names(occurrence) == ("paid", "o1", {"id": 7, "list": [None, "é ☃"]}, None)
            assert occurrence.occurred_at_ms == START_MS + 1000
            (delivery,) = await board.deliveries()
            assert result.deliveries == (delivery,)
            assert (delivery.occurrence, delivery.subscription) == (occurrence, record)
            assert (delivery.state, delivery.settled_at_ms) == ("reserved", None)
            assert delivery.created_at_ms == START_MS + 1000

    async def test_ids_of_occurrences_and_deliveries_are_the_same_in_every_store(self) -> None:
        async with self.board() as board:
            await board.register()
            result = await board.new(occurred("p1"))
            (delivery,) = result.deliveries
            assert result.occurrence.occurrence_id == _OCCURRENCE
            assert (delivery.delivery_id, delivery.process_id) == (_DELIVERY, _DELIVERY)

    async def test_the_same_occurrence_again_matches_nothing_new(self) -> None:
        async with self.board() as board:
            await board.register("a")
            first = await board.new()
            await board.register("b")
            board.later()
            await board.interlude()
            async with board.untouched():
                again = await board.known()
            assert (again.occurrence, again.deliveries) == (first.occurrence, first.deliveries)

    async def test_an_occurrence_that_nobody_heard_is_not_heard_later_either(self) -> None:
        async with self.board() as board:
            assert heard(await board.new()) == []
            await board.register()
            await board.interlude()
            assert heard(await board.known()) == []

    async def test_a_key_stands_for_one_occurrence(self) -> None:
        async with self.board() as board:
            await board.register()
            first = (await board.new()).occurrence
            async with board.untouched():
                for other in (
                    occurred(event="sent"),
                    occurred(payload={"id": 8}),
                    occurred(source="there"),
                    occurred(payload={"id": 7.0, "list": [None, "é ☃"]}),
                ):
                    assert (await board.contradicted(other)).occurrence == first

    async def test_neither_time_nor_whom_it_is_for_make_another_occurrence(self) -> None:
        async with self.board() as board:
            await board.register("a", owner=of_session("s"))
            await board.register("b")
            assert heard(await board.new(occurred(session="s"))) == ["a"]
            board.later()
            await board.interlude()
            assert heard(await board.known(occurred())) == ["a"]

    async def test_only_subscriptions_to_this_event_at_this_source_hear_it(self) -> None:
        async with self.board() as board:
            await board.register("here", source={"timer": 1})
            await board.register("there", source={"timer": 2})
            await board.register("anywhere")
            await board.register("other", event="sent", source={"timer": 1})
            await board.interlude()
            assert heard(await board.new(occurred("1", source={"timer": 1}))) == ["here"]
            assert heard(await board.new(occurred("2"))) == ["anywhere"]
            assert heard(await board.new(occurred("3", source={"timer": 3}))) == []
            assert heard(await board.known(occurred("1", source={"timer": 1}))) == ["here"]

    async def test_only_a_sessions_own_subscriptions_hear_what_is_for_it(self) -> None:
        async with self.board() as board:
            for owner in (APP, DESK, of_session("s"), of_session("z")):
                await board.register(owner=owner)
            result = await board.new(occurred(session="s"))
            assert [each.subscription.owner for each in result.deliveries] == [of_session("s")]

    async def test_disabled_and_deleted_subscriptions_hear_nothing(self) -> None:
        async with self.board() as board:
            await board.register()
            assert heard(await board.new(occurred("1"))) == ["k"]
            await board.done(disable(1))
            await board.interlude()
            assert heard(await board.new(occurred("2"))) == []
            await board.done(enable(2))
            assert heard(await board.new(occurred("3"))) == ["k"]
            await board.done(delete(3))
            await board.interlude()
            assert heard(await board.new(occurred("4"))) == []
            await board.done(revive(4))
            assert heard(await board.new(occurred("5"))) == ["k"]

    async def test_what_is_reserved_is_what_stood_when_it_was(self) -> None:
        async with self.board() as board:
            first = await board.register()
            (reserved,) = (await board.new(occurred("1"))).deliveries
            await board.done(update(1, draft(target=SAY)))
            (later,) = (await board.new(occurred("2"))).deliveries
            await board.delete()
            await board.interlude()
            again = (await board.known(occurred("1"))).deliveries
            assert again == (reserved,)
            assert (reserved.subscription, reserved.subscription.draft.target) == (first, REFUND)
            assert (later.subscription.revision, later.process_id) == (2, None)
            assert len(await board.deliveries()) == 2

    async def test_deliveries_come_by_owner_and_key_the_first_time_and_again(self) -> None:
        async with self.board() as board:
            for owner, key in (
                (of_session("a"), "1"),
                (APP, "z"),
                (DESK, "y"),
                (APP, "b"),
                (APP, "é"),
            ):
                await board.register(key, owner=owner)
            assert heard(await board.new()) == ["b", "z", "é", "y", "1"]
            await board.interlude()
            assert heard(await board.known()) == ["b", "z", "é", "y", "1"]

    async def test_a_revived_subscription_reserves_under_other_ids(self) -> None:
        async with self.board() as board:
            await board.register()
            (before,) = (await board.new(occurred("1"))).deliveries
            await board.delete()
            await board.done(revive(2))
            (after,) = (await board.new(occurred("2"))).deliveries
            assert before.delivery_id != after.delivery_id
            assert before.subscription.incarnation != after.subscription.incarnation

    async def test_of_many_who_tell_of_an_occurrence_at_once_one_writes_it(self) -> None:
        async with self.board() as board:
            await board.register()
            results = await asyncio.gather(*(board.ingest() for _ in range(8)))
            (new,) = [each for each in results if isinstance(each, Ingested)]
            others = [each for each in results if each is not new]
            assert all(
                expect(AlreadyIngested, each).deliveries == new.deliveries for each in others
            )
            assert len(await board.deliveries()) == 1

    async def test_of_different_occurrences_under_one_key_the_first_stands(self) -> None:
        async with self.board() as board:
            results = await asyncio.gather(
                *(board.ingest(occurred(payload={"n": n})) for n in range(8))
            )
            (new,) = [each for each in results if isinstance(each, Ingested)]
            others = [each for each in results if each is not new]
            assert {expect(OccurrenceConflict, each).occurrence.key for each in others} == {"o1"}
            await board.interlude()
            (kept,) = await board.triggers.list_occurrences(OccurrenceFilter())
            assert kept == new.occurrence


class DeliveryStateProperties(TriggerProperties):
    """`settle`, and the lists of occurrences and deliveries."""

    async def test_what_became_of_a_delivery_is_kept(self) -> None:
        async with self.board() as board:
            await board.register()
            (delivery,) = (await board.new()).deliveries
            board.later()
            assert await board.started(delivery) == 1
            await board.interlude()
            (after,) = await board.deliveries()
            assert (after.state, after.settled_at_ms) == ("started", START_MS + 1000)
            assert await board.deliveries(DeliveryFilter(state="reserved")) == []
            assert (await board.known()).deliveries == (after,)

    async def test_a_failure_is_kept_until_the_delivery_starts(self) -> None:
        async with self.board() as board:
            await board.register()
            (delivery,) = (await board.new()).deliveries
            why = DeliveryFailure(code="trigger_payload_invalid", message="no é")
            failed = DeliverySettled(delivery_id=delivery.delivery_id, state="failed", failure=why)
            assert await board.triggers.settle([failed]) == 1
            await board.interlude()
            (found,) = await board.deliveries(DeliveryFilter(state="failed"))
            assert found.failure == why
            async with board.untouched():
                board.later()
                assert await board.triggers.settle([failed]) == 0
            assert await board.started(delivery) == 1
            await board.interlude()
            (found,) = await board.deliveries()
            assert (found.state, found.failure) == ("started", None)
            async with board.untouched():
                assert await board.triggers.settle([failed]) == 0
                assert await board.started(delivery) == 0

    async def test_settling_what_is_not_there_does_nothing(self) -> None:
        async with self.board() as board, board.untouched():
            gone = DeliverySettled(delivery_id="gone", state="started")
            assert await board.triggers.settle([gone]) == 0
            assert await board.triggers.settle([]) == 0

    async def test_deliveries_are_listed_by_id_page_by_page(self) -> None:
        async with self.board() as board:
            for key in "abc":
                await board.register(key)
            for key in ("1", "2"):
                await board.new(occurred(key))
            await board.interlude()
            everything = [each.delivery_id for each in await board.deliveries()]
            assert (everything, len(everything)) == (sorted(everything), 6)
            paged: list[str] = []
            while page := await board.triggers.list_deliveries(
                DeliveryFilter(), after=paged[-1] if paged else "", limit=4
            ):
                paged += [each.delivery_id for each in page]
            assert paged == everything

    async def test_each_field_of_a_filter_narrows_the_deliveries(self) -> None:
        async with self.board() as board:
            one, two = await board.register("a"), await board.register("b")
            first = await board.new(occurred("1"))
            board.later()
            await board.new(occurred("2"))
            (delivery, _) = first.deliveries
            await board.started(delivery)
            await board.interlude()
            for wanted, count in (
                (DeliveryFilter(), 4),
                (DeliveryFilter(occurrence_id=first.occurrence.occurrence_id), 2),
                (DeliveryFilter(subscription_id=one.subscription_id), 2),
                (DeliveryFilter(subscription_id=two.subscription_id, state="started"), 0),
                (DeliveryFilter(delivery_id=delivery.delivery_id), 1),
                (DeliveryFilter(state="started"), 1),
                (DeliveryFilter(state="reserved"), 3),
                (DeliveryFilter(state="failed"), 0),
                (DeliveryFilter(from_ms=START_MS), 4),
                (DeliveryFilter(from_ms=START_MS + 1), 2),
                (DeliveryFilter(from_ms=START_MS + 1000, state="reserved"), 2),
                (DeliveryFilter(from_ms=START_MS + 1001), 0),
            ):
                assert len(await board.deliveries(wanted)) == count, wanted

    async def test_occurrences_are_listed_by_time_from_one_and_before_another(self) -> None:
        async with self.board() as board:
            for key in ("1", "2", "3"):
                await board.new(occurred(key, source=key))
                board.later()
            await board.new(occurred("4", event="sent"))
            await board.interlude()
            second = START_MS + 1000
            third = START_MS + 2000
            source = (await board.known(occurred("3", source="3"))).occurrence.source_key
            for wanted, keys in (
                (OccurrenceFilter(), ["1", "2", "3", "4"]),
                (OccurrenceFilter(from_ms=second), ["2", "3", "4"]),
                (OccurrenceFilter(before_ms=third), ["1", "2"]),
                (OccurrenceFilter(from_ms=second, before_ms=third), ["2"]),
                (OccurrenceFilter(from_ms=third, before_ms=third), []),
                (OccurrenceFilter(event="sent"), ["4"]),
                (OccurrenceFilter(source_key=source), ["3"]),
                (OccurrenceFilter(key="2"), ["2"]),
            ):
                assert await board.occurrences(wanted) == keys, wanted
            last = await board.triggers.list_occurrences(OccurrenceFilter(), limit=2, newest=True)
            assert [each.key for each in last] == ["3", "4"]
            first = await board.triggers.list_occurrences(OccurrenceFilter(), limit=2)
            assert [each.key for each in first] == ["1", "2"]
