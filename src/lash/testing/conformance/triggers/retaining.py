"""Retention: what nobody will ask for goes, what is to be done stays, and a key is not taken up by accident."""

# ruff: noqa: D102  the name of a property says what it promises

from lash.testing.conformance.processes.samples import refund
from lash.testing.conformance.triggers.board import (
    SAY,
    TriggerProperties,
    heard,
    occurred,
    of_session,
    registration,
)
from lash.triggers.listing import (
    DeliverySettled,
    OccurrenceFilter,
    SubscriptionFilter,
)
from lash.triggers.model import DeliveryFailure


class TriggerRetentionProperties(TriggerProperties):
    """`retain`, and what goes with processes and sessions."""

    async def test_an_occurrence_that_nobody_heard_goes_when_it_is_old_enough(self) -> None:
        async with self.board() as board:
            await board.new(occurred("old"))
            board.later()
            at = board.now_ms
            await board.new(occurred("young"))
            report = await board.retain(before_ms=at)
            await board.interlude()
            assert (report.occurrences, report.removed) == (1, 1)
            assert await board.occurrences() == ["young"]

    async def test_an_occurrence_stays_until_its_deliveries_have_gone(self) -> None:
        async with self.board() as board:
            await board.register()
            (delivery,) = (await board.new()).deliveries
            board.later()
            await board.retain()
            async with board.untouched():
                assert (await board.retain()).removed == 0
            await board.started(delivery)
            board.later()
            assert (await board.retain()).removed == 0
            assert len(await board.deliveries()) == 1

    async def test_time_alone_removes_nothing_that_is_reserved(self) -> None:
        async with self.board() as board:
            await board.register(target=SAY)
            await board.new()
            board.later(10**9)
            await board.retain(failed=True)
            await board.interlude()
            (delivery,) = await board.deliveries()
            assert delivery.state == "reserved"
            assert await board.occurrences() == ["o1"]

    async def test_a_delivery_goes_with_the_process_that_it_started(self) -> None:
        async with self.board() as board:
            await board.register()
            (delivery, *_) = (await board.new(occurred("1"))).deliveries
            (other, *_) = (await board.new(occurred("2"))).deliveries
            await board.started(delivery, other)
            await board.registry.ended(delivery.delivery_id)
            await board.registry.ask(refund(other.delivery_id))
            board.later()
            assert (await board.registry.prune()).processes == 1
            await board.interlude()
            assert [each.delivery_id for each in await board.deliveries()] == [other.delivery_id]
            assert (await board.known(occurred("1"))).deliveries == ()
            await board.retain()
            await board.interlude()
            assert await board.occurrences() == ["2"]

    async def test_what_was_said_in_a_session_goes_when_it_is_old_enough(self) -> None:
        async with self.board() as board:
            await board.register(target=SAY)
            (delivery,) = (await board.new()).deliveries
            board.later()
            await board.started(delivery)
            at = board.now_ms
            assert (await board.retain(before_ms=at)).deliveries == 0
            board.later()
            report = await board.retain()
            await board.interlude()
            assert (report.deliveries, report.occurrences) == (1, 1)
            assert (await board.deliveries(), await board.occurrences()) == ([], [])

    async def test_a_failed_delivery_goes_only_where_it_is_given_up(self) -> None:
        async with self.board() as board:
            await board.register()
            (delivery,) = (await board.new()).deliveries
            why = DeliveryFailure(code="trigger_payload_invalid", message="no")
            await board.triggers.settle(
                [DeliverySettled(delivery_id=delivery.delivery_id, state="failed", failure=why)]
            )
            board.later()
            assert (await board.retain()).deliveries == 0
            assert (await board.retain(failed=True)).deliveries == 1
            await board.interlude()
            assert (await board.deliveries(), await board.occurrences()) == ([], [])

    async def test_a_key_whose_occurrence_is_forgotten_is_new_again(self) -> None:
        async with self.board() as board:
            await board.new()
            board.later()
            await board.retain()
            await board.register()
            await board.interlude()
            assert heard(await board.new()) == ["k"]

    async def test_a_tombstone_of_the_hosts_stays_for_ever(self) -> None:
        async with self.board() as board:
            await board.register()
            await board.delete()
            board.later(10**9)
            assert (await board.retain(failed=True)).subscriptions == 0
            await board.interlude()
            assert (await board.refused(registration())).reason == "deleted"

    async def test_tombstones_of_a_deleted_session_go_after_their_last_delivery(self) -> None:
        async with self.board() as board:
            await board.registry.session("s")
            await board.register("a", owner=of_session("s"), target=SAY)
            await board.register("b", owner=of_session("s"))
            await board.register("c", owner=of_session("z"))
            await board.delete("c", owner=of_session("z"))
            (first, _) = (await board.new()).deliveries
            everyone = SubscriptionFilter(deleted=True)
            await board.delete_session("s")
            young = board.now_ms - 10**6
            # Its receipts go with it, however young they are; nobody can ask for them any more.
            assert (await board.retain(before_ms=young)).receipts == 2
            assert await board.listed(everyone) == ["a", "b", "c"]
            await board.started(first)
            board.later()
            report = await board.retain()
            await board.interlude()
            assert (report.deliveries, report.subscriptions) == (1, 1)
            assert await board.listed(everyone) == ["b", "c"]

    async def test_retention_takes_a_bounded_piece_and_says_that_there_is_more(self) -> None:
        async with self.board() as board:
            for key in "abcde":
                await board.new(occurred(key))
            board.later()
            counts: list[tuple[int, bool]] = []
            for _ in range(3):
                report = await board.retain(limit=2)
                counts.append((report.occurrences, report.more))
                await board.interlude()
            assert counts == [(2, True), (2, True), (1, False)]
            assert list(await board.triggers.list_occurrences(OccurrenceFilter())) == []
            assert (await board.retain(limit=0)).removed == 0
