"""Processes and operations emit and subscribe, once, however often their code is run."""

from pathlib import Path
from typing import Any

from trigger_harness import comes_to, opened, rested

import lash
from lash.core.causality import TriggerOccurrenceCauseRef
from lash.processes.model import ProcessRecord
from lash.testing import ScriptedModel, reply

PAID = lash.TriggerEvent("order.paid", payload=dict[str, Any])


@lash.process
async def ship(ctx: lash.ProcessContext, order_id: str) -> str:
    return f"shipped {order_id}"


@lash.process
async def audit(ctx: lash.ProcessContext, event: Any) -> str:
    return "audited"


TAKES = {"order_id": lash.from_event("id")}


@lash.process
async def sells(ctx: lash.ProcessContext) -> Any:
    emission = await ctx.triggers.emit(PAID, {"id": "o-7"})
    await ctx.signal("go")
    return [emission.event, emission.replayed, [each.status for each in emission.deliveries]]


def runtime(place: str | Path, *functions: Any, **options: Any) -> Any:
    return opened(place, [*functions, ship, audit], **{"triggers": [PAID], **options})


async def ended(running: lash.Runtime, name: str) -> list[ProcessRecord]:
    found = await running.processes.list(status="completed")
    return [each for each in found if each.registration.identity.definition == name]


async def waiting(running: lash.Runtime, process_id: str = "p") -> None:
    """Until a process waits for the outside."""
    handle = running.processes.handle(process_id)

    async def status() -> str:
        return (await handle.status()).status

    await comes_to(status, "waiting")


async def test_what_a_process_emits_starts_what_subscribed_and_is_its_cause(tmp_path: Path) -> None:
    async with runtime(tmp_path / "db", sells) as running:
        await running.triggers.subscribe(PAID, ship, key="ship", input=TAKES)
        handle = await running.processes.start(sells, id="p")
        await handle.signal("go", None)
        assert await handle.result(timeout=20) == ["order.paid", False, ["started"]]
        await rested(running)
        (started,) = await ended(running, "ship")
        (occurrence,) = await running.triggers.occurrences()
        cause = started.registration.provenance.caused_by
        assert isinstance(cause, TriggerOccurrenceCauseRef)
        assert cause.occurrence_id == occurrence.occurrence_id
        assert occurrence.payload == {"id": "o-7"}


async def test_a_process_that_is_run_again_emits_nothing_again(tmp_path: Path) -> None:
    path = tmp_path / "db"
    async with runtime(path, sells) as running:
        await running.triggers.subscribe(PAID, ship, key="ship", input=TAKES)
        await running.processes.start(sells, id="p")
        await waiting(running)
    async with runtime(path, sells) as running:
        # Who subscribes later did not hear it.
        await running.triggers.subscribe(PAID, audit, key="audit")
        handle = running.processes.handle("p")
        await handle.signal("go", None)
        assert await handle.result(timeout=20) == ["order.paid", False, ["started"]]
        await rested(running)
        assert len(await running.triggers.occurrences()) == 1
        assert (len(await ended(running, "ship")), await ended(running, "audit")) == (1, [])


async def test_each_place_of_the_code_is_an_occurrence_of_its_own(tmp_path: Path) -> None:
    @lash.process
    async def many(ctx: lash.ProcessContext) -> list[str]:
        told = [await ctx.triggers.emit(PAID, {"id": "same"}) for _ in range(2)]
        told += await ctx.gather(*(ctx.triggers.emit(PAID, {"id": "same"}) for _ in range(3)))
        return [each.occurrence_id for each in told]

    async with runtime(tmp_path / "db", many) as running:
        one = await (await running.processes.start(many)).result(timeout=20)
        two = await (await running.processes.start(many)).result(timeout=20)
        assert len({*one, *two}) == 10
        occurred = await running.triggers.occurrences()
        assert {each.occurrence_id for each in occurred} == {*one, *two}


async def test_a_key_of_ones_own_is_the_same_occurrence_from_wherever(tmp_path: Path) -> None:
    @lash.process
    async def pays(ctx: lash.ProcessContext, order: str) -> Any:
        try:
            return (await ctx.triggers.emit(PAID, {"id": order}, key="payment-1")).replayed
        except lash.ConflictError as error:
            return error.code

    async with runtime(tmp_path / "db", pays) as running:
        await running.triggers.emit(PAID, {"id": "o-7"}, key="payment-1")
        assert await (await running.processes.start(pays, "o-7")).result(timeout=20) is True
        other = await running.processes.start(pays, "o-8")
        assert await other.result(timeout=20) == "trigger_occurrence_conflict"
        assert len(await running.triggers.occurrences()) == 1


async def test_what_does_not_fit_is_refused_and_stays_refused(tmp_path: Path) -> None:
    strict = lash.TriggerEvent("strict", payload=int)

    @lash.process
    async def tries(ctx: lash.ProcessContext) -> str:
        said = "nothing"
        try:
            await ctx.triggers.emit("strict", "seven")
        except lash.LashError as error:
            said = error.code
        await ctx.signal("go")
        return said

    path, lenient = tmp_path / "db", lash.TriggerEvent("strict")
    async with runtime(path, tries, triggers=[strict]) as running:
        await running.processes.start(tries, id="p")
        await waiting(running)
    async with runtime(path, tries, triggers=[lenient]) as running:
        handle = running.processes.handle("p")
        await handle.signal("go", None)
        assert await handle.result(timeout=20) == "trigger_payload_invalid"
        assert list(await running.triggers.occurrences()) == []


async def test_a_process_whose_event_is_not_declared_here_waits_for_whoever_has_it(
    tmp_path: Path,
) -> None:
    path, heard = tmp_path / "db", list[Any]()
    async with runtime(path, sells, triggers=[], on_event=heard.append) as running:
        await running.processes.start(sells, id="p")
        await rested(running)
        assert [(each.code, each.waits_for) for each in heard] == [
            ("trigger_event_unknown", "code")
        ]
    async with runtime(path, sells) as running:
        handle = running.processes.handle("p")
        await handle.signal("go", None)
        assert await handle.result(timeout=20) == ["order.paid", False, []]


async def test_a_process_that_says_something_else_when_it_is_run_again_is_found_out(
    tmp_path: Path,
) -> None:
    def version(order: str) -> Any:
        @lash.process(name="says")
        async def says(ctx: lash.ProcessContext) -> None:
            await ctx.triggers.emit(PAID, {"id": order})
            await ctx.signal("go")

        return says

    path, heard = tmp_path / "db", list[Any]()
    first, other = version("o-7"), version("o-8")
    async with runtime(path, first) as running:
        await running.processes.start(first, id="p")
        await waiting(running)
    async with runtime(path, other, on_event=heard.append) as running:
        await running.processes.handle("p").signal("go", None)
        await rested(running)
        assert [each.code for each in heard] == ["effect_replay_mismatch"]
        assert len(await running.triggers.occurrences()) == 1


async def test_a_process_subscribes_and_ends_what_it_subscribed(tmp_path: Path) -> None:
    @lash.process
    async def campaign(ctx: lash.ProcessContext) -> list[Any]:
        triggers = ctx.triggers
        begun = await triggers.subscribe(PAID, ship, key="c", input=TAKES)
        again = await triggers.subscribe(PAID, ship, key="c", input=TAKES)
        refused: list[Any] = []
        try:
            await triggers.subscribe(PAID, audit, key="c")
        except lash.ConflictError as error:
            refused = [error.code, error.details["reason"]]
        changed = await triggers.subscribe(PAID, audit, key="c", on_change="update")
        await ctx.signal("go")
        off = await triggers.disable("c")
        on = await triggers.enable("c", expected_revision=3)
        live = [each.key for each in await triggers.list(event="order.paid")]
        gone = await triggers.delete("c")
        back = await triggers.revive(PAID, ship, key="c", input=TAKES)
        await triggers.delete("c")
        said = [begun, again, changed, off, on, gone, back]
        return [[f"{each.disposition} {each.revision}" for each in said], refused, live]

    path = tmp_path / "db"
    async with runtime(path, campaign) as running:
        await running.processes.start(campaign, id="p")
        await waiting(running)
        (record,) = await running.triggers.list()
        assert (record.revision, record.draft.target.name) == (2, "audit")
    async with runtime(path, campaign) as running:
        await running.triggers.subscribe(PAID, ship, key="other", input=TAKES)
        handle = running.processes.handle("p")
        await handle.signal("go", None)
        assert await handle.result(timeout=20) == [
            [
                "created 1",
                "unchanged 1",
                "updated 2",
                "disabled 3",
                "enabled 4",
                "deleted 5",
                "revived 6",
            ],
            ["trigger_subscription_conflict", "definition_differs"],
            ["c", "other"],
        ]
        assert [each.key for each in await running.triggers.list()] == ["other"]


async def test_a_process_speaks_to_a_session(tmp_path: Path) -> None:
    agent = lash.Agent("support", model=ScriptedModel([reply("Noted.")]))
    async with runtime(tmp_path / "db", sells, agents=[agent]) as running:
        prompt = lash.SessionPrompt("c-{event.id}", "Order {event.id} was paid.")
        await running.triggers.subscribe(PAID, prompt, key="tell")
        await running.processes.start(sells, id="p")
        await rested(running)
        said = [each.text for each in await running.session("c-o-7").history()]
        assert said == ["Order o-7 was paid.", "Noted."]


async def test_an_operation_emits_once_however_often_it_is_entered(tmp_path: Path) -> None:
    async with runtime(tmp_path / "db") as running:
        await running.triggers.subscribe(PAID, ship, key="ship", input=TAKES)
        told = []
        for _ in range(2):
            async with running.operation("import-1") as op:
                told.append(await op.triggers.emit(PAID, {"id": "o-7"}))
        assert told[0] == told[1]
        assert [each.status for each in told[0].deliveries] == ["started"]
        assert len(await running.triggers.occurrences()) == 1


async def test_a_step_emits_nothing_in_the_name_of_its_process(tmp_path: Path) -> None:
    @lash.process
    async def misuses(ctx: lash.ProcessContext) -> str:
        async def step() -> None:
            await ctx.triggers.emit(PAID, {"id": "o-7"})

        try:
            await ctx.step(step)
        except lash.StepError as error:
            return error.message
        return ""

    async with runtime(tmp_path / "db", misuses) as running:
        said = await (await running.processes.start(misuses)).result(timeout=20)
        assert "ask for it outside the step" in said
        assert list(await running.triggers.occurrences()) == []
