"""Replay under inspection: a recorded turn driven again by today's code, doing and writing nothing."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.effects.divergence import Change
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, VirtualClock, calls, fail, reply
from lash.testing.scripted import calls_made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


class Shop:
    """Tools, and how often they ran."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def look_up(self, description: str = "Look up an order.") -> Any:
        @lash.tool(description=description)
        async def look_up(order: str) -> dict[str, str]:
            self.runs.append(f"look_up {order}")
            return {"order": order, "state": "shipped"}

        return look_up

    def pay(self) -> Any:
        @lash.tool(retry=lash.ToolRetry(base_delay_ms=1))
        async def pay(amount: int, ctx: lash.ToolContext) -> str:
            """Pay."""
            self.runs.append(f"pay {amount}")
            if ctx.attempt == 1:
                raise lash.ToolError("busy", retry=True)
            return "paid"

        return pay

    def refuse(self) -> Any:
        @lash.tool
        async def refuse() -> str:
            """Refuse."""
            self.runs.append("refuse")
            raise lash.ToolError("no", code="refused")

        return refuse

    def approve(self, keys: list[lash.AwaitEventKey]) -> Any:
        @lash.tool
        async def approve(ctx: lash.ToolContext) -> Any:
            """Have it approved."""
            self.runs.append("approve")
            return await ctx.defer(keys.append)

        return approve

    def ask(self) -> Any:
        @lash.tool
        async def ask(ctx: lash.ToolContext) -> str:
            """Ask a model."""
            self.runs.append("ask")
            return (await ctx.direct("Good?")).text

        return ask


@pytest.fixture
def shop() -> Shop:
    return Shop()


Make = Callable[[ScriptedModel], lash.Agent]
QUICK = lash.RetryPolicy(base_delay_ms=0)


def support(model: ScriptedModel, *tools: Any, **options: Any) -> lash.Agent:
    options = {"instructions": "Be brief.", "retry": QUICK, **options}
    return lash.Agent("support", model=model, tools=tools, **options)


async def drive(path: Path, agent: lash.Agent, *turns: str) -> None:
    async with lash.Runtime(path, agents=[agent]) as runtime:
        for turn in turns or ("t",):
            await runtime.session("s").run(f"Go on with {turn}.", turn_id=turn)


def contents(path: Path) -> Sequence[str]:
    """Everything in the file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount > 0


async def replay(path: Path, make: Callable[..., lash.Agent], turn: str = "t") -> lash.ReplayReport:
    """Replay a turn with a model that must not be asked, over a file that must not change."""
    silent, before = ScriptedModel([]), contents(path)
    async with lash.Runtime(path, agents=[make(silent)]) as runtime:
        store = runtime.engine.store
        assert isinstance(store, SqliteStore)
        written = store.transactions
        async with asyncio.timeout(20):
            report = await runtime.replay("s", turn)
        assert store.transactions == written
    assert silent.requests == []
    assert contents(path) == before
    return report


def assert_identical(report: lash.ReplayReport, effects: int) -> None:
    assert report.verdict == "identical"
    assert (report.divergence, report.drift, report.next_effects) == (None, (), ())
    assert report.committed
    assert report.effects == effects


# --- identical --------------------------------------------------------------------------------------


async def test_a_turn_comes_to_the_same_again(path: Path, shop: Shop) -> None:
    def make(model: ScriptedModel) -> lash.Agent:
        return support(model, shop.look_up(), shop.pay(), shop.refuse(), shop.ask())

    def answer(request: LlmRequest) -> Any:
        if not request.tools:
            return reply("Yes.")
        return [
            [
                fail(status=503, after_text="Let me s", retry_after=0),
                calls(("look_up", {"order": "7"}), ("look_up", {"order": "8"}), text="Looking."),
            ],
            calls(("pay", {"amount": 5}), ("refuse", {}), ("ask", {}), ("gone", {})),
            calls(("look_up", "not JSON"), ("look_up", {"no": 1})),
            reply("Over."),
        ][calls_made(request)]

    await drive(path, make(ScriptedModel(answer)))
    ran = list(shop.runs)
    assert sorted(ran) == ["ask", "look_up 7", "look_up 8", "pay 5", "pay 5", "refuse"]
    kinds = Counter(await journal_of(path, make))
    # Two lookups, a payment in two attempts, a refusal, a question, three calls that cannot be.
    assert (kinds["llm_call"], kinds["tool_attempt"], kinds["sleep"]) == (4, 9, 1)
    for _ in range(2):
        report = await replay(path, make)
        assert_identical(report, effects=kinds.total())
        assert (report.session_id, report.turn_id) == ("s", "t")
        assert report.agent == report.replayed_with
    assert shop.runs == ran


async def journal_of(path: Path, make: Make) -> Sequence[str]:
    async with lash.Runtime(path, agents=[make(ScriptedModel([]))]) as runtime:
        return [entry.kind for entry in await runtime.journal("s", "t")]


async def test_every_turn_of_a_session_is_replayed_with_the_history_it_found(
    path: Path, shop: Shop
) -> None:
    def make(model: ScriptedModel) -> lash.Agent:
        return support(model, shop.look_up())

    def answer(request: LlmRequest) -> Any:
        if calls_made(request):
            return reply(f"After {len(request.messages)} messages.")
        return calls(("look_up", {"order": "7"}))

    turns = ("one", "two", "three")
    await drive(path, make(ScriptedModel(answer)), *turns)
    for turn in turns:
        report = await replay(path, make, turn)
        assert report.verdict == "identical"


@pytest.mark.parametrize(
    "script",
    [
        [fail("no such key", status=401)],
        [fail(status=500), fail(status=500), fail(status=500), fail(status=500)],
        [reply("")],
        [reply("So f", reason="output_limit")],
    ],
)
async def test_a_turn_that_failed_fails_the_same_way(path: Path, script: list[Any]) -> None:
    await drive(path, support(ScriptedModel(script)))
    assert (await replay(path, support)).verdict == "identical"


async def test_a_turn_that_ran_into_its_limit_does_so_again(path: Path, shop: Shop) -> None:
    def make(model: ScriptedModel) -> lash.Agent:
        return support(model, shop.look_up(), max_turns=2)

    await drive(path, make(ScriptedModel([calls(("look_up", {"order": "7"}))] * 9)))
    assert (await replay(path, make)).verdict == "identical"


async def test_a_call_that_was_answered_from_outside_is_replayed_with_its_answer(
    path: Path, shop: Shop
) -> None:
    keys: list[lash.AwaitEventKey] = []

    def make(model: ScriptedModel) -> lash.Agent:
        return support(model, shop.approve(keys))

    model = ScriptedModel([calls(("approve", {}), ("approve", {})), reply("Approved.")])
    async with lash.Runtime(path, agents=[make(model)]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        async with asyncio.timeout(20):
            while len(keys) < 2:  # noqa: ASYNC110  the tool has no event of its own
                await asyncio.sleep(0)
        for key in keys:
            await runtime.completions.resolve(key, {"by": "ana"})
        await running
    assert (await replay(path, make)).verdict == "identical"
    assert shop.runs == ["approve", "approve"]


class Gate(ScriptedModel):
    """Stops before the model call of this number."""

    def __init__(self, script: list[Any], *, before: int) -> None:
        super().__init__(script)
        self.reached = asyncio.Event()
        self._before = before

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        if calls_made(request) == self._before:
            self.reached.set()
            await asyncio.Event().wait()
        return await super().complete(request, emit)


async def left_open(path: Path, agent: lash.Agent, gate: Gate) -> None:
    async with lash.Runtime(path, agents=[agent]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await running


async def test_a_turn_that_was_begun_again_is_replayed_as_what_it_became(
    path: Path, shop: Shop
) -> None:
    script = [calls(("look_up", {"order": "7"})), reply("Over.")]

    def make(model: ScriptedModel) -> lash.Agent:
        return support(model, shop.look_up(), instructions="Be kind.")

    gate = Gate(script, before=1)
    await left_open(path, support(gate, shop.look_up()), gate)
    changed = make(ScriptedModel(script))
    async with lash.Runtime(path, agents=[changed], on_drift="restart") as runtime:
        await runtime.idle(timeout=20)
        (turn,) = await runtime.session("s").turns()
    assert turn.turn_id == "t:restart:1"
    for name in ("t:restart:1", "t"):
        report = await replay(path, make, name)
        assert report.turn_id == "t:restart:1"
        assert report.verdict == "identical"
    assert shop.runs == ["look_up 7", "look_up 7"]


# --- an open turn -----------------------------------------------------------------------------------


async def while_open(
    path: Path,
    gate: Gate,
    agent: lash.Agent,
    look: Callable[[lash.Runtime], Coroutine[Any, Any, Any]],
) -> Any:
    async with lash.Runtime(path, agents=[agent]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        async with asyncio.timeout(20):
            await gate.reached.wait()
            seen = await look(runtime)
    with pytest.raises(lash.LashError):
        await running
    return seen


async def test_of_an_open_turn_it_tells_how_far_it_came_and_what_comes_next(
    path: Path, shop: Shop
) -> None:
    gate = Gate([calls(("look_up", {"order": "7"})), reply("Over.")], before=1)

    async def look(runtime: lash.Runtime) -> Sequence[lash.ReplayReport]:
        return [await runtime.replay("s", "t") for _ in range(2)]

    first, second = await while_open(path, gate, support(gate, shop.look_up()), look)
    assert first == second
    assert not first.committed
    assert (first.verdict, first.divergence) == ("identical", None)
    assert first.next_effects == ("checkpoint s:t:1:1:checkpoint:4",)
    assert shop.runs == ["look_up 7"]
    assert len(gate.requests) == 1


async def test_an_open_turn_that_would_take_another_way_is_told(path: Path, shop: Shop) -> None:
    gate = Gate([calls(("look_up", {"order": "7"})), reply("Over.")], before=1)

    async def look(runtime: lash.Runtime) -> lash.ReplayReport:
        await asyncio.to_thread(
            change, path, "UPDATE journal SET replay_key = 'old' WHERE kind = 'tool_attempt'"
        )
        return await runtime.replay("s", "t")

    report = await while_open(path, gate, support(gate, shop.look_up()), look)
    assert report.verdict == "diverged"
    assert report.divergence.what == "unused"
    assert report.divergence.replay_key == "old"


# --- drifted ----------------------------------------------------------------------------------------


def shown(says: str, name: str) -> str:
    """A tool without parameters, as a report shows it: cut where it gets too long to read."""
    schema = '{"additionalProperties":false,"properties":{},"required":[],"type":"object"}'
    text = f'{{"description":"{says}.","input_schema":{schema},"name":"{name}"}}'
    return text[:119] + "…"


SCRIPT = [calls(("look_up", {"order": "7"})), reply("Over.")]


@pytest.mark.parametrize(
    ("edit", "cause", "changes"),
    [
        (
            {"instructions": "Be kind."},
            "the agent's instructions changed",
            [Change(path="surroundings.instructions", before="Be brief.", after="Be kind.")],
        ),
        (
            {"named": "better", "temperature": 0.5},
            "the model or its options changed",
            [
                Change(
                    path="surroundings.model.generation.temperature",
                    before=None,
                    after="0.5",
                    hint="it was added",
                ),
                Change(path="surroundings.model.name", before="script", after="better"),
            ],
        ),
        (
            {"tools": ["look_up"]},
            "the agent's tools changed",
            [
                Change(
                    path="surroundings.tools[refuse]",
                    before=shown("Refuse", "refuse"),
                    after=None,
                    hint="it was removed",
                )
            ],
        ),
        (
            {"tools": ["look_up", "refuse", "echo"]},
            "the agent's tools changed",
            [
                Change(
                    path="surroundings.tools[echo]",
                    before=None,
                    after=shown("Echo", "echo"),
                    hint="it was added",
                )
            ],
        ),
        (
            {"tools": ["refuse", "look_up"]},
            "the agent's tools changed",
            [
                Change(
                    path="surroundings.tools",
                    before='["look_up","refuse"]',
                    after='["refuse","look_up"]',
                    hint="the same members in another order: a set or a directory listing gives them "
                    "in any order",
                )
            ],
        ),
        (
            {"tools": ["look_up as of 10:00", "refuse"]},
            "the agent's tools changed",
            [
                Change(
                    path="surroundings.tools[look_up].description",
                    before="Look up an order.",
                    after="Look up an order as of 10:00.",
                )
            ],
        ),
        (
            {"tools": ["look_up by number", "refuse"]},
            "the agent's tools changed",
            [
                Change(
                    path="surroundings.tools[look_up].input_schema.properties.order.type",
                    before="string",
                    after="integer",
                )
            ],
        ),
    ],
)
async def test_drift_is_told_value_by_value(
    path: Path, shop: Shop, edit: dict[str, Any], cause: str, changes: Sequence[Change]
) -> None:
    @lash.tool(name="look_up", description="Look up an order.")
    async def by_number(order: int) -> int:
        return order

    @lash.tool
    async def echo() -> str:
        """Echo."""
        return "echo"

    known = {
        "look_up": shop.look_up(),
        "look_up as of 10:00": shop.look_up("Look up an order as of 10:00."),
        "look_up by number": by_number,
        "refuse": shop.refuse(),
        "echo": echo,
    }

    def make(model: ScriptedModel, **options: Any) -> lash.Agent:
        tools = [known[name] for name in options.pop("tools", ["look_up", "refuse"])]
        name, temperature = options.pop("named", "script"), options.pop("temperature", None)
        chosen: Any = lash.Model(name, provider=model, temperature=temperature)
        return support(chosen, *tools, **options)

    await drive(path, make(ScriptedModel(SCRIPT)))
    report = await replay(path, lambda model: make(model, **edit))
    assert (report.verdict, report.divergence) == ("drifted", None)
    (drift,) = report.drift  # both model calls drifted the same way: it is told once
    assert (drift.what, drift.effect, drift.cause) == ("drift", "llm_call", cause)
    assert list(drift.changes) == changes
    assert (await replay(path, make)).verdict == "identical"
    assert shop.runs == ["look_up 7"]


async def test_what_makes_instructions_differ_on_every_start_is_hinted_at(path: Path) -> None:
    starts = itertools.count(1)

    def make(model: ScriptedModel) -> lash.Agent:
        return support(model, instructions=f"Be brief. It is 10:0{next(starts)}.")

    await drive(path, make(ScriptedModel([reply("Hi.")])))
    (drift,) = (await replay(path, make)).drift
    assert [change.hint for change in drift.changes] == ["a clock is read where the text is made"]


# --- another agent ----------------------------------------------------------------------------------


async def test_a_newer_version_may_be_tried_on_an_old_turn(path: Path) -> None:
    await drive(path, support(ScriptedModel([reply("Hi.")])))
    report = await replay(path, lambda model: support(model, version="2", instructions="Be kind."))
    assert (report.agent.version, report.replayed_with.version) == ("1", "2")
    assert report.verdict == "drifted"


@pytest.mark.parametrize(
    ("session", "turn", "code"),
    [("s", "t", "agent_missing"), ("s", "gone", "turn_unknown"), ("gone", "t", "session_unknown")],
)
async def test_what_is_not_there_cannot_be_replayed(
    path: Path, session: str, turn: str, code: str
) -> None:
    await drive(path, support(ScriptedModel([reply("Hi.")])))
    async with lash.Runtime(path, agents=[lash.Agent("other", model=ScriptedModel([]))]) as runtime:
        with pytest.raises(lash.LashError) as raised:
            await runtime.replay(session, turn)
    assert raised.value.code == code


async def test_without_a_journal_there_is_nothing_to_replay(path: Path) -> None:
    """It would look like a turn that does everything anew."""
    await drive(path, support(ScriptedModel([reply("Hi.")])))
    clock = VirtualClock(4_000_000_000_000)
    async with lash.Runtime(path, agents=[support(ScriptedModel([]))], clock=clock) as runtime:
        assert (await runtime.retire_journals(timedelta(days=1))).scopes == 1
        with pytest.raises(lash.LashError) as raised:
            await runtime.replay("s", "t")
    assert raised.value.code == "journal_retired"
    async with lash.Runtime(":memory:", agents=[support(ScriptedModel([reply("Hi.")]))]) as runtime:
        await runtime.session("s").run("Hello?", turn_id="t")
        with pytest.raises(lash.LashError) as raised:
            await runtime.replay("s", "t")
    assert raised.value.code == "replay_unsupported"


# --- diverged ---------------------------------------------------------------------------------------


async def diverged(path: Path, shop: Shop, statement: str, script: list[Any] = SCRIPT) -> Any:
    def make(model: ScriptedModel) -> lash.Agent:
        return support(model, shop.look_up())

    await drive(path, make(ScriptedModel(script)))
    assert (await replay(path, make)).verdict == "identical"
    change(path, statement)
    report = await replay(path, make)
    assert report.verdict == "diverged"
    assert shop.runs == ["look_up 7"]
    return report


async def test_a_reworded_input_is_another_request(path: Path, shop: Shop) -> None:
    report = await diverged(path, shop, "UPDATE inputs SET input = replace(input, 'Go', 'Move')")
    found = report.divergence
    assert (found.what, found.effect) == ("mismatch", "llm_call")
    assert found.replay_key == "s:t:1:0:llm_call:2"
    assert "a message of the turn differs" in found.cause
    assert [change.path for change in found.changes] == ["identity.chain", "identity.last[0]"]
    assert all(change.before and change.after for change in found.changes)


async def test_other_arguments_are_told_by_value(path: Path, shop: Shop) -> None:
    statement = """UPDATE journal SET outcome = replace(outcome, '{\\"order\\":\\"7\\"}', '{\\"order\\":\\"8\\"}')
        WHERE kind = 'llm_call' AND outcome LIKE '%order%'"""
    found = (await diverged(path, shop, statement)).divergence
    assert (found.what, found.effect) == ("mismatch", "tool_attempt")
    assert found.cause == "the tool is now called with other arguments"
    assert list(found.changes) == [Change(path="identity.args.order", before="7", after="8")]


async def test_a_record_that_is_not_there_is_missing(path: Path, shop: Shop) -> None:
    statement = "DELETE FROM journal WHERE kind = 'tool_attempt'"
    found = (await diverged(path, shop, statement)).divergence
    assert (found.what, found.effect, found.changes) == ("missing", "tool_attempt", ())
    assert found.replay_key.startswith("s:t:1:0:tool_batch:3:child:0:call_t_0_0:attempt:1")


async def test_a_record_that_nobody_asks_for_is_unused(path: Path, shop: Shop) -> None:
    statement = """INSERT INTO journal
        SELECT id + 100, scope, 'extra', 'sleep', identity, surroundings, envelope, outcome,
            recorded_at_ms, duration_ms, fencing_token, blob, bytes, due_at_ms
        FROM journal LIMIT 1"""
    found = (await diverged(path, shop, statement)).divergence
    assert (found.what, found.effect, found.replay_key) == ("unused", "sleep", "extra")


async def test_a_record_of_another_kind_is_a_mismatch(path: Path, shop: Shop) -> None:
    statement = "UPDATE journal SET kind = 'sleep' WHERE kind = 'tool_attempt'"
    found = (await diverged(path, shop, statement)).divergence
    assert found.what == "mismatch"
    assert list(found.changes) == [Change(path="kind", before="sleep", after="tool_attempt")]


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        (
            "UPDATE turns SET record = replace(record, 'Over.', 'Lost.')",
            [
                Change(path="result.outcome.result.text", before="Lost.", after="Over."),
                Change(path="result.text", before="Lost.", after="Over."),
            ],
        ),
        (
            "UPDATE turns SET record = replace(record, '\"input_tokens\":20', '\"input_tokens\":21')",
            [Change(path="result.usage.input_tokens", before="21", after="20")],
        ),
        (
            "UPDATE turns SET record = replace(record, 'shipped', 'sunk')",
            [
                Change(
                    path="result.tool_calls[0].output.outcome.payload.state",
                    before="sunk",
                    after="shipped",
                )
            ],
        ),
        (
            "UPDATE nodes SET message = replace(message, 'Go on', 'Move on')",
            [
                Change(
                    path="result.messages[0].parts[0].content",
                    before="Move on with t.",
                    after="Go on with t.",
                )
            ],
        ),
    ],
)
async def test_another_result_of_the_same_effects_is_told(
    path: Path, shop: Shop, statement: str, changes: Sequence[Change]
) -> None:
    found = (await diverged(path, shop, statement)).divergence
    assert (found.what, found.effect, found.replay_key) == ("result", "", "")
    assert list(found.changes) == changes


async def test_another_answer_leads_another_way(path: Path, shop: Shop) -> None:
    """The model's first answer now ends the turn, which is checked as no turn was that went on."""
    statement = """UPDATE journal SET outcome = (
            SELECT outcome FROM journal WHERE kind = 'llm_call' ORDER BY id DESC LIMIT 1)
        WHERE id = (SELECT id FROM journal WHERE kind = 'llm_call' ORDER BY id LIMIT 1)"""
    found = (await diverged(path, shop, statement)).divergence
    assert (found.what, found.effect) == ("missing", "checkpoint")
