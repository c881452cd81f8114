"""Events through the face: who subscribes is started, once, and is told what came of it."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from trigger_harness import opened, rested

import lash
from lash.core.causality import TriggerOccurrenceCauseRef
from lash.core.json import JsonObject
from lash.processes.model import HostOriginator, SessionOriginator
from lash.processes.outcomes import ProcessSuccess
from lash.runtime.events import TriggerDeliveryFailed
from lash.testing import ScriptedModel, reply
from lash.triggers.model import OccurrenceRequest


@dataclass
class Paid:
    order_id: str
    cents: int = 0


@lash.process
async def refund(ctx: lash.ProcessContext, order_id: str, why: str = "asked") -> str:
    return f"{order_id} because {why}"


@lash.process
async def archive(ctx: lash.ProcessContext, event: dict[str, Any]) -> int:
    return len(event)


@lash.process
async def tick(ctx: lash.ProcessContext) -> str:
    return "ticked"


PAID = lash.TriggerEvent("order.paid", payload=Paid)
ANY = lash.TriggerEvent("anything")
INPUT = {"order_id": lash.from_event("order_id")}
FUNCTIONS: list[lash.ProcessFunction[..., Any]] = [refund, archive, tick]


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "lash.db")


def support(*answers: str) -> lash.Agent:
    return lash.Agent("support", model=ScriptedModel([reply(text) for text in answers]))


def runtime(place: str, **options: Any) -> Any:
    return opened(place, FUNCTIONS, triggers=[PAID, ANY], **options)


async def results(running: lash.Runtime) -> list[Any]:
    """What the processes came to that have ended."""
    found = await running.processes.list(status="any")
    return sorted(
        (each.outcome.value for each in found if isinstance(each.outcome, ProcessSuccess)), key=str
    )


async def codes(awaitable: Any) -> tuple[str, Any]:
    with pytest.raises(lash.LashError) as raised:
        await awaitable
    return raised.value.code, raised.value.details.get("reason")


# --- emitting -----------------------------------------------------------------------------------------


async def test_an_event_starts_a_process_for_every_subscription(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.subscribe(PAID, refund, key="refunds", input=INPUT)
        await running.triggers.subscribe("order.paid", archive, key="archive")
        await running.triggers.subscribe(PAID, tick, key="tick")
        await running.triggers.subscribe(ANY, tick, key="other")

        report = await running.triggers.emit(PAID, Paid("o-7", 5), key="p-1")

        assert [(each.key, each.owner, each.status) for each in report.deliveries] == [
            ("archive", "host", "started"),
            ("refunds", "host", "started"),
            ("tick", "host", "started"),
        ]
        assert (report.replayed, report.failed) == (False, ())
        await rested(running)
        assert await results(running) == [2, "o-7 because asked", "ticked"]
        process = await running.processes.get(report.deliveries[1].process_id)
        provenance = process.registration.provenance
        assert provenance.originator == HostOriginator()
        assert isinstance(provenance.caused_by, TriggerOccurrenceCauseRef)
        assert provenance.caused_by.occurrence_id == report.occurrence.occurrence_id
        assert provenance.caused_by.subscription_id == report.deliveries[1].subscription_id
        assert provenance.caused_by.revision == 1


async def test_the_same_event_again_starts_nothing_more(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.subscribe(PAID, refund, key="refunds", input=INPUT)
        first = await running.triggers.emit(PAID, Paid("o-7"), key="p-1")
        await running.triggers.subscribe(PAID, tick, key="later")

        again = await running.triggers.emit(PAID, {"order_id": "o-7", "cents": 0}, key="p-1")

        assert again.replayed
        assert again.occurrence == first.occurrence
        assert [(each.key, each.status) for each in again.deliveries] == [
            ("refunds", "already_started")
        ]
        await rested(running)
        assert await results(running) == ["o-7 because asked"]


async def test_a_key_stands_for_one_occurrence(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.emit(PAID, Paid("o-7"), key="p-1")
        told, _ = await codes(running.triggers.emit(PAID, Paid("o-8"), key="p-1"))
        assert told == "trigger_occurrence_conflict"
        told, _ = await codes(running.triggers.emit(ANY, Paid("o-7"), key="p-1"))
        assert told == "trigger_occurrence_conflict"
        assert len(await running.triggers.occurrences()) == 1


async def test_without_a_key_each_time_is_another_occurrence(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.subscribe(ANY, tick, key="t")
        for _ in range(3):
            await running.triggers.emit(ANY)
        await rested(running)
        assert await results(running) == ["ticked"] * 3


async def test_events_that_were_never_declared_are_refused(place: str) -> None:
    strange = lash.TriggerEvent("order.lost")
    twin = lash.TriggerEvent("order.paid")
    async with runtime(place) as running:
        same = lash.TriggerEvent("order.paid", payload=Paid)
        assert (await running.triggers.emit(same, Paid("o"))).occurrence.event == "order.paid"
        for event in (strange, twin, "order.lost"):
            assert (await codes(running.triggers.emit(event)))[0] == "trigger_event_unknown"
            subscribed = running.triggers.subscribe(event, tick, key="t")
            assert (await codes(subscribed))[0] == "trigger_event_unknown"


async def test_a_payload_that_does_not_fit_is_refused_before_anything_is_written(
    place: str,
) -> None:
    async with runtime(place) as running:
        for payload in ({"order_id": 7}, {}, None, {"order_id": "o", "cents": "many"}):
            told = running.triggers.emit(PAID, payload, key="p")
            assert (await codes(told))[0] == "trigger_payload_invalid"
        assert (await codes(running.triggers.emit(ANY, object())))[0] == "value_not_json"
        assert (await codes(running.triggers.emit(ANY, key=" ")))[0] == "trigger_occurrence_invalid"
        assert list(await running.triggers.occurrences()) == []


async def test_sources_are_apart(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.subscribe(ANY, tick, key="one", source={"timer": 1})
        await running.triggers.subscribe(ANY, tick, key="none")
        report = await running.triggers.emit(ANY, key="a", source={"timer": 1})
        assert [each.key for each in report.deliveries] == ["one"]
        report = await running.triggers.emit(ANY, key="b")
        assert [each.key for each in report.deliveries] == ["none"]
        found = await running.triggers.occurrences("anything", source={"timer": 1})
        assert [each.key for each in found] == ["a"]


async def test_one_delivery_that_fails_fails_no_other(place: str) -> None:
    told: list[object] = []
    async with runtime(place, on_event=told.append) as running:
        await running.triggers.subscribe(
            ANY, refund, key="bad", input={"order_id": lash.from_event("order", "id")}
        )
        await running.triggers.subscribe(ANY, refund, key="worse", input={"order_id": 7})
        await running.triggers.subscribe(ANY, tick, key="z-good")

        report = await running.triggers.emit(ANY, {"n": 1}, key="e")

        assert [(each.key, each.status, each.code) for each in report.deliveries] == [
            ("bad", "failed", "trigger_input_missing"),
            ("worse", "failed", "process_arguments_invalid"),
            ("z-good", "started", None),
        ]
        await rested(running)
        assert await results(running) == ["ticked"]
        failed = await running.triggers.deliveries(state="failed")
        assert {each.subscription.key for each in failed} == {"bad", "worse"}
        # It is told once, however often it is tried.
        again = await running.triggers.emit(ANY, {"n": 1}, key="e")
        assert [each.status for each in again.deliveries] == ["failed", "failed", "already_started"]
        (one, _) = report.failed
        assert (await running.triggers.retry(one.delivery_id)).status == "failed"
        assert [each.key for each in told if isinstance(each, TriggerDeliveryFailed)] == [
            "bad",
            "worse",
        ]
        assert (await codes(running.triggers.retry("nothing")))[0] == "trigger_delivery_unknown"


async def test_an_event_speaks_to_a_session_once(place: str) -> None:
    prompt = lash.SessionPrompt(
        "c-{event.order_id}", "Order {event.order_id}: {event.cents} cents."
    )
    async with runtime(place, agents=[support("Noted.", "Again?")]) as running:
        await running.triggers.subscribe(PAID, prompt, key="tell")
        report = await running.triggers.emit(PAID, Paid("o-7", 250), key="p-1")
        (told,) = report.deliveries
        assert (told.status, told.session_id, told.process_id) == ("started", "c-o-7", None)
        await rested(running)
        again = await running.triggers.emit(PAID, Paid("o-7", 250), key="p-1")
        assert again.deliveries[0].status == "already_started"
        await rested(running)
        history = await running.session("c-o-7").history()
        assert [(each.role, each.text) for each in history] == [
            ("user", "Order o-7: 250 cents."),
            ("assistant", "Noted."),
        ]


async def test_a_session_that_was_deleted_is_not_spoken_to(place: str) -> None:
    async with runtime(place, agents=[support("Hello.")]) as running:
        await running.triggers.subscribe(ANY, lash.SessionPrompt("s", "Hi."), key="tell")
        await running.session("s").run("Hello?")
        await running.delete_session("s")
        report = await running.triggers.emit(ANY, key="e")
        assert [each.code for each in report.failed] == ["session_deleted"]


# --- subscribing --------------------------------------------------------------------------------------


async def test_subscribing_again_changes_nothing_and_never_enables(place: str) -> None:
    async with runtime(place) as running:
        first = await running.triggers.subscribe(PAID, refund, key="r", input=INPUT)
        assert (first.disposition, first.revision) == ("created", 1)
        await running.triggers.disable("r")
        again = await running.triggers.subscribe(PAID, refund, key="r", input=INPUT)
        assert (again.disposition, again.subscription.enabled) == ("unchanged", False)
        report = await running.triggers.emit(PAID, Paid("o-7"), key="p")
        assert report.deliveries == ()
        await running.triggers.enable("r")
        report = await running.triggers.emit(PAID, Paid("o-8"), key="q")
        assert len(report.deliveries) == 1


async def test_another_definition_is_refused_or_put_in_place(place: str) -> None:
    async with runtime(place) as running:
        subscribe, other = running.triggers.subscribe, {"order_id": "fixed"}
        await subscribe(PAID, refund, key="r", input=INPUT)
        assert await codes(subscribe(PAID, refund, key="r", input=other)) == (
            "trigger_subscription_conflict",
            "definition_differs",
        )
        replaced = await subscribe(PAID, refund, key="r", input=other, on_change="update")
        assert (replaced.disposition, replaced.revision) == ("updated", 2)
        same = await subscribe(PAID, refund, key="r", input=other, on_change="update")
        assert (same.disposition, same.revision) == ("unchanged", 2)
        await running.triggers.emit(PAID, Paid("o-7"), key="p")
        await rested(running)
        assert await results(running) == ["fixed because asked"]


async def test_changes_are_fenced_by_revision(place: str) -> None:
    async with runtime(place) as running:
        await running.triggers.subscribe(ANY, tick, key="t")
        conflict = "trigger_subscription_conflict"
        stale = running.triggers.disable("t", expected_revision=7)
        assert await codes(stale) == (conflict, "revision_differs")
        changed = await running.triggers.update(
            ANY, archive, key="t", expected_revision=1, name="all of it"
        )
        assert (changed.disposition, changed.subscription.draft.name) == ("updated", "all of it")
        deleted = await running.triggers.delete("t", expected_revision=2)
        assert deleted.subscription.deleted
        assert await codes(running.triggers.subscribe(ANY, tick, key="t")) == (conflict, "deleted")
        assert await codes(running.triggers.enable("t")) == (conflict, "deleted")
        revived = await running.triggers.revive(ANY, tick, key="t")
        assert (revived.disposition, revived.revision) == ("revived", 4)
        assert await codes(running.triggers.delete("nobody")) == (conflict, "absent")
        pruned = await running.triggers.prune(["t", "nobody"])
        assert [each.subscription.key for each in pruned] == ["t"]
        assert list(await running.triggers.list()) == []
        assert [each.key for each in await running.triggers.list(deleted=True)] == ["t"]


async def test_an_operation_is_done_once_under_its_id(place: str) -> None:
    async with runtime(place) as running:
        first = await running.triggers.subscribe(ANY, tick, key="t", operation_id="deploy-1")
        await running.triggers.delete("t")
        again = await running.triggers.subscribe(ANY, tick, key="t", operation_id="deploy-1")
        assert again == first
        used = running.triggers.subscribe(ANY, archive, key="t", operation_id="deploy-1")
        assert await codes(used) == ("trigger_subscription_conflict", "operation_id_used")


async def test_disabling_and_deleting_take_back_nothing_that_is_reserved(place: str) -> None:
    """Reserved by a runtime without the code, started by one that has it."""
    async with opened(
        ":memory:" if place == ":memory:" else place, FUNCTIONS, triggers=[ANY]
    ) as one:
        await one.triggers.subscribe(ANY, tick, key="t")
        store = one.engine.store
        await store.triggers.ingest(OccurrenceRequest(event="anything", key="e"))
        await one.triggers.disable("t")
        await one.triggers.delete("t")
        await rested(one)
        assert await results(one) == ["ticked"]


async def test_a_sessions_subscriptions_are_its_own_and_go_with_it(place: str) -> None:
    async with runtime(place, agents=[support("Hello.", "I see.")]) as running:
        await running.session("s").run("Hello?")
        await running.triggers.subscribe(ANY, tick, key="t", session="s")
        await running.triggers.subscribe(ANY, tick, key="t", host="desk")
        await running.triggers.subscribe(ANY, tick, key="t")
        report = await running.triggers.emit(ANY, key="e")
        assert [each.owner for each in report.deliveries] == ["host", "host:desk", "session:s"]
        await rested(running)
        own = await running.processes.get(report.deliveries[2].process_id)
        assert own.registration.provenance.originator == SessionOriginator(session_id="s")
        assert [
            each.process_id for each in await running.processes.list(session="s", status="any")
        ] == [own.process_id]
        only = await running.triggers.emit(ANY, key="for s", session="s")
        assert [each.owner for each in only.deliveries] == ["session:s"]
        deleted = await running.delete_session("s")
        assert deleted.ended_triggers == 1
        assert [each.owner for each in (await running.triggers.emit(ANY, key="f")).deliveries] == [
            "host",
            "host:desk",
        ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input": {"order": "x"}}, "no parameter order"),
        ({"input": {"why": "x"}}, "needs order_id"),
        ({}, "takes order_id, why"),
        ({"input": INPUT, "key": "lash.internal/x"}, "lash's own"),
        ({"input": INPUT, "key": " "}, "key"),
        ({"input": INPUT, "session": "s", "host": "h"}, "one owner"),
        ({"input": {"order_id": lash.from_event(1.5)}}, "from_event takes"),  # type: ignore[arg-type]  # that is the point
        ({"input": INPUT, "on_change": "replace"}, "on_change"),
    ],
)
async def test_subscriptions_that_could_never_work_are_refused(
    options: dict[str, Any], said: str
) -> None:
    async with runtime(":memory:") as running:
        with pytest.raises(lash.LashError, match=said) as raised:
            await running.triggers.subscribe(PAID, refund, **{"key": "r", **options})
        assert raised.value.code == "trigger_subscription_invalid"
        assert list(await running.triggers.list()) == []


async def test_targets_must_be_registered() -> None:
    @lash.process
    async def stranger(ctx: lash.ProcessContext) -> None:
        del ctx

    async with runtime(
        ":memory:", agents=[support(), lash.Agent("b", model=ScriptedModel([]))]
    ) as on:
        subscribe = on.triggers.subscribe
        assert (await codes(subscribe(ANY, stranger, key="s")))[0] == "process_unregistered"
        nobody = lash.SessionPrompt("s", "Hi.", agent="nobody")
        assert (await codes(subscribe(ANY, nobody, key="s")))[0] == "agent_unknown"
        either = lash.SessionPrompt("s", "Hi.")
        assert (await codes(subscribe(ANY, either, key="s")))[0] == "trigger_subscription_invalid"
        assert (await codes(subscribe(ANY, "tick", key="s")))[0] == "trigger_subscription_invalid"


def test_events_are_declared_with_a_name_and_a_schema() -> None:
    schema: JsonObject = {"type": "object"}
    assert lash.TriggerEvent("e", payload=schema).payload_schema == schema
    for name, payload in ((" ", None), (7, None), ("e", {"type": "nonsense"})):
        with pytest.raises(lash.ConfigurationError) as raised:
            lash.TriggerEvent(name, payload)  # type: ignore[arg-type]  # 7 is the point
        assert raised.value.code == "trigger_event_invalid"
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", triggers=[ANY, lash.TriggerEvent("anything")])
    assert raised.value.code == "trigger_event_duplicate"
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", triggers=["anything"])  # type: ignore[list-item]  # that is the point
    assert raised.value.code == "trigger_event_invalid"


# --- keeping ------------------------------------------------------------------------------------------


async def test_what_was_started_can_be_forgotten_with_its_process(place: str) -> None:
    async with runtime(place, agents=[support("Noted.")]) as running:
        await running.triggers.subscribe(ANY, tick, key="t")
        await running.triggers.subscribe(ANY, lash.SessionPrompt("s", "Hi."), key="say")
        await running.triggers.emit(ANY, key="e")
        await rested(running)
        kept = await running.triggers.retain(timedelta(hours=1))
        assert kept.removed == 0
        said = await running.triggers.retain(timedelta(0))
        assert (said.deliveries, said.occurrences) == (1, 0)
        await running.processes.prune()
        assert list(await running.triggers.deliveries()) == []
        gone = await running.triggers.retain(timedelta(0))
        assert gone.occurrences == 1
        await rested(running)
        assert list(await running.processes.list(status="any")) == []


async def test_a_closed_runtime_refuses(place: str) -> None:
    async with runtime(place) as running:
        triggers = running.triggers
    assert (await codes(triggers.emit(ANY)))[0] == "runtime_closed"
    assert (await codes(triggers.delete("t", expected_revision=1)))[0] == "runtime_closed"
