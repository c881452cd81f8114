"""Sets of subscriptions that are declared as a whole, and those of one session."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from trigger_harness import opened, rested

import lash
from lash.testing import ScriptedModel, reply

PAID = lash.TriggerEvent("order.paid")
LOST = lash.TriggerEvent("order.lost")
Declared = lash.TriggerDeclaration


@lash.process
async def ship(ctx: lash.ProcessContext, event: Any) -> str:
    return "shipped"


@lash.process
async def audit(ctx: lash.ProcessContext) -> str:
    return "audited"


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "lash.db")


def runtime(place: str, **options: Any) -> Any:
    return opened(place, [ship, audit], triggers=[PAID, LOST], **options)


async def members(running: lash.Runtime, **which: Any) -> list[tuple[str, str]]:
    return [(each.key, each.membership) for each in await running.triggers.list(**which)]


async def code_of(call: Any) -> str:
    with pytest.raises(lash.LashError) as raised:
        await call
    return raised.value.code


# --- declaring ----------------------------------------------------------------------------------------


async def test_a_set_is_put_in_place_and_what_became_of_each_is_told(place: str) -> None:
    async with runtime(place) as running:
        triggers = running.triggers
        first = await triggers.reconcile(
            [Declared(PAID, ship, key=key) for key in ("b", "a", "c")], host="shop"
        )
        assert first == lash.ReconcileReport(created=("a", "b", "c"))

        again = await triggers.reconcile(
            [Declared(PAID, ship, key="a"), Declared(LOST, audit, key="b")], host="shop"
        )

        assert again == lash.ReconcileReport(unchanged=("a",), changed=("b",), orphaned=("c",))
        assert await members(running, host="shop") == [
            ("a", "declared"),
            ("b", "declared"),
            ("c", "orphaned"),
        ]
        # What is orphaned goes on until it is pruned.
        report = await triggers.emit(PAID, key="p-1")
        assert [each.key for each in report.deliveries] == ["a", "c"]
        await triggers.prune(again.orphaned, host="shop")
        report = await triggers.emit(PAID, key="p-2")
        assert [each.key for each in report.deliveries] == ["a"]


async def test_declaring_the_same_again_changes_nothing(place: str) -> None:
    async with runtime(place) as running:
        wanted = [Declared(PAID, ship, key="a"), Declared(LOST, audit, key="b")]
        await running.triggers.reconcile(wanted, host="shop")
        await running.triggers.disable("a", host="shop")
        before = list(await running.triggers.list(host="shop"))
        report = await running.triggers.reconcile(wanted, host="shop")
        assert report == lash.ReconcileReport(unchanged=("a", "b"))
        assert list(await running.triggers.list(host="shop")) == before
        assert [each.enabled for each in before] == [False, True]


async def test_what_was_deleted_is_told_and_not_begun_anew(place: str) -> None:
    async with runtime(place) as running:
        wanted = [Declared(PAID, ship, key="a")]
        await running.triggers.reconcile(wanted, host="shop")
        await running.triggers.delete("a", host="shop")
        report = await running.triggers.reconcile(wanted, host="shop")
        assert report == lash.ReconcileReport(deleted=("a",))
        assert await members(running, host="shop") == []
        await running.triggers.revive(PAID, ship, key="a", host="shop")
        report = await running.triggers.reconcile(wanted, host="shop")
        assert report == lash.ReconcileReport(unchanged=("a",))


async def test_a_set_concerns_nobody_elses_subscriptions(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.subscribe(PAID, ship, key="mine")
        await running.triggers.subscribe(PAID, ship, key="desk's", host="desk")
        await running.triggers.reconcile([Declared(PAID, ship, key="a")], host="shop")
        report = await running.triggers.reconcile([], host="shop")
        assert report == lash.ReconcileReport(orphaned=("a",))
        assert await members(running) == [
            ("mine", "unknown"),
            ("desk's", "unknown"),
            ("a", "orphaned"),
        ]


async def test_a_set_with_one_that_cannot_be_is_refused_as_a_whole(place: str) -> None:
    async with runtime(place) as running:
        reconcile, fine = running.triggers.reconcile, Declared(PAID, ship, key="a")
        for wrong, code in (
            (Declared("never", ship, key="b"), "trigger_event_unknown"),
            (Declared(PAID, ship, key=" "), "trigger_subscription_invalid"),
            (Declared(LOST, ship, key="a"), "trigger_subscription_invalid"),
        ):
            assert await code_of(reconcile([fine, wrong], host="shop")) == code
        assert await members(running) == []


async def test_of_two_sets_that_are_declared_at_once_one_stands(tmp_path: Path) -> None:
    path = str(tmp_path / "lash.db")
    async with runtime(path) as one, runtime(path) as other:
        for number in range(5):
            host = f"shop-{number}"
            await asyncio.gather(
                one.triggers.reconcile([Declared(PAID, ship, key="old")], host=host),
                other.triggers.reconcile([Declared(PAID, ship, key="new")], host=host),
            )
            found = dict(await members(one, host=host))
            assert sorted(found) == ["new", "old"]
            assert sorted(found.values()) == ["declared", "orphaned"]


async def test_what_is_no_list_is_refused_with_what_is_one(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.subscribe(PAID, ship, key="k")
        wrong: Any
        for wrong in (Declared(PAID, ship, key="a"), [PAID], "k"):
            assert (
                await code_of(running.triggers.reconcile(wrong)) == "trigger_subscription_invalid"
            )
        assert await code_of(running.triggers.prune("k")) == "trigger_subscription_invalid"
        assert await members(running) == [("k", "unknown")]


# --- changes without a revision -----------------------------------------------------------------------


async def test_a_change_without_a_revision_is_done_once_under_its_id(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.subscribe(PAID, ship, key="k")
        first = await running.triggers.disable("k", operation_id="off-1")
        await running.triggers.enable("k")
        assert await running.triggers.disable("k", operation_id="off-1") == first
        assert (await running.triggers.list())[0].enabled


# --- sessions -----------------------------------------------------------------------------------------


async def test_a_sessions_subscriptions_wake_it_and_end_with_it(place: str) -> None:
    agent = lash.Agent("support", model=ScriptedModel([reply("Hello.")]))
    async with runtime(place, agents=[agent]) as running:
        session = running.session("s")
        await session.run("Hello?")
        await running.triggers.subscribe(PAID, ship, key="k")
        receipt = await session.triggers.subscribe(PAID, audit, key="k")
        assert receipt.disposition == "created"
        target = receipt.subscription.draft.target
        assert getattr(target, "wake_session_id", None) == "s"

        report = await session.triggers.emit(PAID, key="p-1")
        assert [each.owner for each in report.deliveries] == ["session:s"]
        await rested(running)
        seen = await session.processes.list(status="all")
        assert [each.process_id for each in seen] == [report.deliveries[0].process_id]

        await session.triggers.disable("k")
        assert [each.enabled for each in await session.triggers.list()] == [False]
        await session.triggers.enable("k")
        await session.triggers.delete("k")
        assert list(await session.triggers.list()) == []
        revived = await session.triggers.revive(PAID, audit, key="k")
        assert (await session.triggers.get("k")) == revived.subscription
        assert (await running.delete_session("s")).ended_triggers == 1
        assert await members(running) == [("k", "unknown")]
