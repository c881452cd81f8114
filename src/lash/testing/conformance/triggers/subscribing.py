"""Subscriptions: one key is one subscription, every change is fenced, and what came of it is kept."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

from lash.testing.conformance.rig import expect
from lash.testing.conformance.triggers.board import (
    APP,
    DESK,
    HOST,
    REFUND,
    SAY,
    START_MS,
    TriggerProperties,
    delete,
    disable,
    draft,
    enable,
    of_session,
    prune,
    pruned,
    registration,
    revive,
    update,
)
from lash.triggers.commands import Conflict, Mutated, Revive, Update
from lash.triggers.listing import SubscriptionFilter
from lash.triggers.model import SessionActor, Subscription, TriggerOwner

#: The ids that a key has for ever, whichever store it is in.
_ID = "trigger-subscription:v1:sha256:8347c6b25b2bb242c50cd527261267887f5203807eab057f0830d2c5b5e88495"
_INCARNATION = (
    "trigger-incarnation:v1:sha256:ebee953f2479419efe626570f8f022a5bb47a684f1411beb9761104df507172b"
)


class SubscribeProperties(TriggerProperties):
    """`execute` with commands that begin subscriptions and change them."""

    async def test_trigger_store_says_how_long_it_keeps_what_it_is_given(self) -> None:
        async with self.board() as board:
            assert board.triggers.tier == board.store.tier
            assert board.store.facets["triggers"] == board.store.tier

    async def test_a_subscription_comes_back_as_it_was_given(self) -> None:
        async with self.board() as board:
            receipt = await board.done(registration(draft(source={"é": [1.5, None]}, name="n ☃")))
            await board.interlude()
            record = await board.found()
            assert record == receipt.subscription
            assert record.draft == draft(source={"é": [1.5, None]}, name="n ☃")
            assert (record.owner, record.registrant) == (APP, HOST)
            assert (record.revision, record.enabled, record.deleted) == (1, True, False)
            assert (record.created_at_ms, record.updated_at_ms) == (START_MS, START_MS)

    async def test_ids_of_subscriptions_are_the_same_in_every_store(self) -> None:
        async with self.board() as board:
            record = await board.register()
            assert (record.subscription_id, record.incarnation) == (_ID, _INCARNATION)

    async def test_the_same_definition_again_changes_nothing(self) -> None:
        async with self.board() as board:
            first = await board.register()
            board.later()
            async with board.untouched():
                again = await board.done(registration())
            assert (again.disposition, again.subscription) == ("unchanged", first)

    async def test_another_definition_is_a_conflict_and_an_update_is_fenced(self) -> None:
        async with self.board() as board:
            await board.register()
            board.later()
            async with board.untouched():
                refusal = await board.refused(registration(draft(target=SAY)))
                stale = await board.refused(update(2, draft(target=SAY)))
            assert (refusal.reason, refusal.existing_revision) == ("definition_differs", 1)
            assert refusal.existing_definition_hash != refusal.requested_definition_hash
            assert (stale.reason, stale.existing_revision) == ("revision_differs", 1)
            changed = await board.done(update(1, draft("ignored", target=SAY)))
            await board.interlude()
            record = await board.found()
            assert (changed.disposition, record) == ("updated", changed.subscription)
            assert (record.key, record.draft.target, record.revision) == ("k", SAY, 2)
            assert (record.created_at_ms, record.updated_at_ms) == (START_MS, START_MS + 1000)

    async def test_an_update_counts_even_where_it_changes_nothing(self) -> None:
        async with self.board() as board:
            first = await board.register()
            same = (await board.done(update(1, draft()))).subscription
            assert (same.revision, same.definition_hash) == (2, first.definition_hash)
            assert same.incarnation == first.incarnation

    async def test_an_update_keeps_a_subscription_as_enabled_as_it_was(self) -> None:
        async with self.board() as board:
            await board.register()
            await board.disable()
            changed = await board.done(update(2, draft(target=SAY)))
            await board.interlude()
            assert (changed.revision, (await board.found()).enabled) == (3, False)

    async def test_who_updates_a_subscription_is_its_registrant_from_then_on(self) -> None:
        async with self.board() as board:
            await board.register()
            ana = SessionActor(session_id="ana")
            command = Update(owner=APP, actor=ana, key="k", draft=draft(), expected_revision=1)
            await board.done(command)
            await board.interlude()
            assert (await board.found()).registrant == ana
            assert await board.listed(SubscriptionFilter(session_id="ana")) == ["k"]

    async def test_only_a_change_of_the_switch_is_a_revision(self) -> None:
        async with self.board() as board:
            await board.register()
            for wanted, revision, enabled in (
                (enable(1), 1, True),
                (disable(1), 2, False),
                (disable(2), 2, False),
                (enable(2), 3, True),
            ):
                receipt = await board.done(wanted)
                await board.interlude()
                assert receipt.disposition == ("enabled" if enabled else "disabled")
                assert (receipt.revision, (await board.found()).enabled) == (revision, enabled)
            assert (await board.refused(disable(2))).reason == "revision_differs"

    async def test_registering_again_never_enables_what_was_disabled(self) -> None:
        async with self.board() as board:
            await board.register()
            await board.disable()
            again = await board.done(registration())
            await board.interlude()
            assert (again.disposition, again.subscription.enabled) == ("unchanged", False)
            assert not (await board.found()).enabled

    async def test_a_deleted_subscription_leaves_a_tombstone_that_fences_its_key(self) -> None:
        async with self.board() as board:
            first = await board.register()
            board.later()
            ended = (await board.done(delete(1))).subscription
            await board.interlude()
            assert (ended.revision, ended.deleted, ended.enabled) == (2, True, False)
            assert ended.deleted_at_ms == START_MS + 1000
            assert await board.found() == ended
            assert await board.listed() == []
            assert await board.listed(SubscriptionFilter(deleted=True)) == ["k"]
            async with board.untouched():
                for command, reason in (
                    (registration(), "deleted"),
                    (update(2, draft()), "deleted"),
                    (enable(2), "deleted"),
                    (delete(2), "deleted"),
                    (revive(1), "revision_differs"),
                ):
                    assert (await board.refused(command)).reason == reason
            assert ended.incarnation == first.incarnation

    async def test_a_revived_subscription_is_another_incarnation(self) -> None:
        async with self.board() as board:
            first = await board.register()
            await board.delete()
            board.later()
            revived = (await board.done(revive(2, draft(target=SAY)))).subscription
            await board.interlude()
            assert await board.found() == revived
            assert (revived.revision, revived.enabled, revived.deleted) == (3, True, False)
            assert revived.incarnation != first.incarnation
            assert revived.subscription_id == first.subscription_id
            assert (revived.created_at_ms, revived.draft.target) == (START_MS, SAY)
            assert (await board.refused(revive(3))).reason == "not_deleted"

    async def test_what_is_absent_can_only_be_registered(self) -> None:
        async with self.board() as board:
            await board.register("other")
            async with board.untouched():
                for command in (update(1, draft()), enable(1), disable(1), delete(1), revive(1)):
                    refusal = await board.refused(command)
                    assert (refusal.reason, refusal.existing_revision) == ("absent", None)
            assert await board.triggers.find_subscription(APP, "k") is None

    async def test_of_many_who_change_a_revision_at_once_one_does(self) -> None:
        async with self.board() as board:
            await board.register()
            named = [f"n{n}" for n in range(8)]
            outcomes = await asyncio.gather(
                *(board.do(update(1, draft(name=name))) for name in named)
            )
            (place,) = [n for n, each in enumerate(outcomes) if isinstance(each, Mutated)]
            losers = [each for n, each in enumerate(outcomes) if n != place]
            assert {expect(Conflict, each).reason for each in losers} == {"revision_differs"}
            await board.interlude()
            record = await board.found()
            assert (record.draft.name, record.revision) == (named[place], 2)

    async def test_owners_are_apart(self) -> None:
        async with self.board() as board:
            owners: list[TriggerOwner] = [APP, DESK, of_session("desk"), of_session("s")]
            records = [await board.register(owner=owner) for owner in owners]
            assert len({record.subscription_id for record in records}) == 4
            await board.delete(owner=DESK)
            await board.interlude()
            live = [(await board.found(owner=owner)).deleted for owner in owners]
            assert live == [False, True, False, False]
            assert await board.listed(SubscriptionFilter(owner=DESK, deleted=True)) == ["k"]
            assert await board.listed(SubscriptionFilter(owner=of_session("s"))) == ["k"]

    async def test_keys_are_apart(self) -> None:
        async with self.board() as board:
            for key in ("k", "K", "k ", "k%", "k_", "ké"):
                await board.register(key)
            await board.delete("k_")
            await board.interlude()
            assert await board.listed() == ["K", "k", "k ", "k%", "ké"]


class ReceiptProperties(TriggerProperties):
    """What came of an operation is kept, success and refusal, and answers whoever asks again."""

    async def test_a_receipt_outlives_later_revisions(self) -> None:
        async with self.board() as board:
            first = await board.done(registration(), "a")
            await board.done(update(1, draft(target=SAY)), "b")
            await board.delete()
            await board.interlude()
            async with board.untouched():
                assert await board.done(registration(), "a") == first
                assert (await board.done(update(1, draft(target=SAY)), "b")).revision == 2

    async def test_a_refusal_is_kept_although_it_would_be_granted_now(self) -> None:
        async with self.board() as board:
            refusal = await board.refused(enable(1), "a")
            await board.register()
            await board.interlude()
            async with board.untouched():
                assert await board.refused(enable(1), "a") == refusal
            assert (await board.done(enable(1), "b")).disposition == "enabled"

    async def test_an_operation_id_stands_for_one_command_of_one_owner(self) -> None:
        async with self.board() as board:
            await board.done(registration(), "a")
            await board.interlude()
            async with board.untouched():
                refusal = await board.refused(registration(draft("other")), "a")
            assert (refusal.key, refusal.reason) == ("other", "operation_id_used")
            other = await board.done(registration(owner=DESK), "a")
            assert other.disposition == "created"

    async def test_of_many_who_do_one_operation_at_once_all_get_its_receipt(self) -> None:
        async with self.board() as board:
            outcomes = await asyncio.gather(*(board.do(registration(), "a") for _ in range(8)))
            assert {expect(Mutated, each).receipt.disposition for each in outcomes} == {"created"}
            assert (await board.found()).revision == 1

    async def test_named_subscriptions_of_an_owner_are_pruned_with_one_receipt(self) -> None:
        async with self.board() as board:
            for key in ("b", "a", "c"):
                await board.register(key)
            await board.register("a", owner=DESK)
            await board.delete("c")
            outcome = await board.do(prune("b", "nobody", "c", "a", "b"), "p")
            await board.interlude()
            assert pruned(outcome) == ["a", "b"]
            assert await board.listed() == ["a"]
            assert (await board.found("a")).revision == 2
            assert not (await board.found("a", owner=DESK)).deleted
            command = Revive(owner=APP, actor=HOST, key="a", draft=draft("a"), expected_revision=2)
            await board.done(command)
            async with board.untouched():
                assert await board.do(prune("b", "nobody", "c", "a", "b"), "p") == outcome

    async def test_receipts_go_when_they_are_old_enough(self) -> None:
        async with self.board() as board:
            await board.done(registration(), "old")
            board.later()
            await board.refused(registration(draft(target=SAY)), "young")
            report = await board.retain(before_ms=board.now_ms)
            await board.interlude()
            assert (report.receipts, report.removed) == (1, 1)
            assert (await board.done(registration(), "old")).disposition == "unchanged"
            await board.done(update(1, draft(target=SAY)))
            refusal = await board.refused(registration(draft(target=SAY)), "young")
            assert refusal.reason == "definition_differs"

    async def test_looking_leaves_no_receipts(self) -> None:
        async with self.board() as board:
            await board.listed()
            await board.occurrences()
            await board.triggers.find_subscription(APP, "k")
            board.later()
            assert (await board.retain()).removed == 0


class SubscriptionListProperties(TriggerProperties):
    """`list_subscriptions`."""

    async def test_subscriptions_are_listed_by_owner_and_key(self) -> None:
        async with self.board() as board:
            for owner, key in ((of_session("a"), "1"), (DESK, "2"), (APP, "3"), (APP, "0")):
                await board.register(key, owner=owner)
            await board.interlude()
            assert await board.listed() == ["0", "3", "2", "1"]

    async def test_each_field_of_a_filter_narrows_the_list(self) -> None:
        async with self.board() as board:
            await board.register("a", name="one", source=1)
            await board.register("b", event="sent", target=SAY)
            await board.register("c", owner=of_session("s"))
            await board.register("d")
            await board.disable("d")
            await board.interlude()
            source = (await board.found("a")).source_key
            for wanted, keys in (
                (SubscriptionFilter(), ["a", "b", "d", "c"]),
                (SubscriptionFilter(owner=APP), ["a", "b", "d"]),
                (SubscriptionFilter(session_id="s"), ["c"]),
                (SubscriptionFilter(key="b"), ["b"]),
                (SubscriptionFilter(name="one"), ["a"]),
                (SubscriptionFilter(event="sent"), ["b"]),
                (SubscriptionFilter(source_key=source), ["a"]),
                (SubscriptionFilter(target="refund"), ["a", "d", "c"]),
                (SubscriptionFilter(target="support"), ["b"]),
                (SubscriptionFilter(enabled=True), ["a", "b", "c"]),
                (SubscriptionFilter(enabled=False), ["d"]),
                (SubscriptionFilter(event="paid", enabled=True, owner=APP), ["a"]),
                (SubscriptionFilter(event="nothing"), []),
            ):
                assert await board.listed(wanted) == keys, wanted

    async def test_a_session_that_is_deleted_takes_its_subscriptions_with_it(self) -> None:
        async with self.board() as board:
            await board.registry.session("s")
            await board.register("a", owner=of_session("s"))
            await board.register("b", owner=of_session("other"))
            await board.register("c")
            ana = SessionActor(session_id="s")
            wrote = Update(owner=APP, actor=ana, key="c", draft=draft("c"), expected_revision=1)
            await board.done(wrote)
            await board.register("d", target=REFUND)
            assert (await board.delete_session("s")).ended_triggers == 2
            await board.interlude()
            assert await board.listed() == ["d", "b"]
            gone = await board.found("a", owner=of_session("s"))
            assert (gone.deleted, gone.enabled, gone.revision) == (True, False, 2)
            assert isinstance(await board.found("c"), Subscription)
            assert (await board.found("c")).revision == 3
