"""Direct completions: one question to a model outside any turn, checked, booked, and paid once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydantic
import pytest

import lash
import lash.app.model as naming
from lash.core.json import JsonObject
from lash.core.scopes import RuntimeOperationScope, journal_key
from lash.llm.request import (
    HistoryRef,
    JsonObjectOutput,
    JsonSchemaOutput,
    LlmMessage,
    LlmRequest,
    ModelSpec,
    TextBlock,
)
from lash.llm.response import LlmResponse, TextPart
from lash.llm.stream import Emit, UsageReported
from lash.llm.usage import Usage
from lash.providers.openai import OpenAICompatible
from lash.stores.sqlite import SqliteStore
from lash.testing import Reply, ScriptedModel, VirtualClock, calls, fail, reply
from lash.testing.openai_server import Answer, Behaviour, HttpError, OpenAIServer
from lash.turn.tools import ToolFailed, ToolSuccess


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else tmp_path / "agents.db"


def says(*texts: str) -> ScriptedModel:
    """Answers the n-th request with the n-th text; the last one from there on."""

    def answer(_: LlmRequest) -> Reply:
        return reply(texts[min(len(model.requests), len(texts)) - 1])

    model = ScriptedModel(answer)
    return model


async def ask(location: str | Path, model: Any, prompt: Any = "Hi?", **options: Any) -> Any:
    async with lash.Runtime(location) as runtime:
        return await runtime.direct(prompt, model=model, **options)


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    lines: list[Line]
    due: date


class Customer(pydantic.BaseModel):
    name: str


ORDER = '{"lines":[{"sku":"pen"}],"due":"2024-02-29"}'
LINE_SCHEMA: JsonObject = {
    "title": "Line",
    "type": "object",
    "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "default": 1}},
    "required": ["sku"],
}
ORDER_SCHEMA: JsonObject = {
    "title": "Order",
    "type": "object",
    "properties": {
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
        "due": {"type": "string", "format": "date"},
    },
    "required": ["lines", "due"],
    "$defs": {"Line": LINE_SCHEMA},
}
SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"why": {"type": "string"}, "answer": {"type": "integer"}},
    "required": ["why", "answer"],
}


# --- what is asked, and what comes back -------------------------------------------------------------


async def test_a_question_is_one_message_without_tools_or_history(location: str | Path) -> None:
    model = says("Four.")
    result = await ask(location, model, "2 + 2?", instructions="Be brief.", id="sum-1")
    assert (result.text, result.value) == ("Four.", "Four.")
    (sent,) = model.requests
    assert sent == LlmRequest(
        model=ModelSpec(provider="scripted", name="script"),
        instructions="Be brief.",
        messages=(LlmMessage(role="user", blocks=(TextBlock(text="2 + 2?"),)),),
        tools=(),
        history=HistoryRef(count=0, digest=""),
        scope=sent.scope,
        tool_choice="none",
    )
    assert sent.scope.session_id == "direct:sum-1"
    assert sent.scope.turn_id is None


async def test_usage_and_the_ledger_are_told_with_every_attempt(location: str | Path) -> None:
    model = ScriptedModel(
        [
            fail(status=503, retry_after=0),
            reply("Yes.", usage=Usage(input_tokens=3, output_tokens=2)),
        ]
    )
    result = await ask(location, model, usage_source="summary")
    assert result.usage == Usage(input_tokens=3, output_tokens=2)
    assert [attempt.outcome for attempt in result.llm_call.attempts] == ["failed", "completed"]
    assert result.llm_call.source == "summary"
    assert result.llm_call.model == "scripted:script"
    assert result.llm_call.call_id == model.requests[0].scope.request_id


async def test_what_a_failed_attempt_used_is_counted(location: str | Path) -> None:
    class Costly(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            if not self.requests:
                emit(UsageReported(usage=Usage(input_tokens=100)))
            return await super().complete(request, emit)

    model = Costly([fail(status=503, retry_after=0), reply("Yes.", usage=Usage(input_tokens=3))])
    assert (await ask(location, model)).usage == Usage(input_tokens=103)


async def test_only_visible_text_is_the_answer(location: str | Path) -> None:
    model = ScriptedModel([reply("Four.", reasoning="Two and two.")])
    assert (await ask(location, model)).text == "Four."


@pytest.mark.parametrize(
    ("output", "answer", "value", "spec"),
    [
        (None, "Hi.", "Hi.", None),
        (str, "Hi.", "Hi.", None),
        (dict, '{"a": [1, null]}', {"a": [1, None]}, JsonObjectOutput()),
        (
            Order,
            ORDER,
            Order([Line("pen")], date(2024, 2, 29)),
            JsonSchemaOutput(name="Order", json_schema=ORDER_SCHEMA),
        ),
        (
            Customer,
            '{"name": "Ana"}',
            Customer(name="Ana"),
            JsonSchemaOutput(
                name="Customer",
                json_schema={
                    "title": "Customer",
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                },
            ),
        ),
        (
            list[int],
            "[1, 2]",
            [1, 2],
            JsonSchemaOutput(
                name="list", json_schema={"type": "array", "items": {"type": "integer"}}
            ),
        ),
        (
            SCHEMA,
            '{"why": "so", "answer": 4}',
            {"why": "so", "answer": 4},
            JsonSchemaOutput(name="answer", json_schema=SCHEMA),
        ),
        (dict, '```json\n{"a": 1}\n```', {"a": 1}, JsonObjectOutput()),
        (dict, '  ```\r\n{"a": "```"}```\n', {"a": "```"}, JsonObjectOutput()),
        (dict, '```JSON {"a": 1}```', {"a": 1}, JsonObjectOutput()),
        (str, "```\nkept\n```", "```\nkept\n```", None),
    ],
)
async def test_an_answer_is_read_as_what_was_asked_for(
    output: Any, answer: str, value: object, spec: object
) -> None:
    model = says(answer)
    result = await ask(":memory:", model, output=output)
    assert result.value == value
    assert type(result.value) is type(value)
    assert result.text == answer
    assert model.requests[0].output == spec


async def test_a_schema_is_sent_in_the_order_in_which_it_was_written() -> None:
    """Models write the members in that order: a reason comes before the answer or after it."""
    model = says('{"why": "so", "answer": 4}')
    await ask(":memory:", model, output=SCHEMA)
    spec = model.requests[0].output
    assert isinstance(spec, JsonSchemaOutput)
    properties = spec.json_schema["properties"]
    assert isinstance(properties, dict)
    assert list(spec.json_schema) == ["type", "properties", "required"]
    assert list(properties) == ["why", "answer"]


@pytest.mark.parametrize(
    ("output", "answer", "says_why"),
    [
        (dict, "Sure! Here you are.", "it is not JSON"),
        (dict, "", "it is not JSON"),
        (dict, '{"a": 1', "it is not JSON"),
        (dict, "```json\n" + "\n" * 100_000, "it is not JSON"),
        (dict, "[" * 100_000, "it is not JSON"),
        (dict, "[1]", "a JSON object was asked for, not list"),
        (dict, "NaN", "it is not JSON"),
        (Order, '{"lines": [{}], "due": "2024-02-29"}', "`$.lines[0]`: "),
        (Order, '{"lines": [], "due": "soon"}', "`$.due`: "),
        (Customer, '{"name": 7}', "`$.name`: input should be a valid string, got 7"),
        (SCHEMA, '{"why": "so", "answer": "four"}', "`$.answer`: 'four' is not of type 'integer'"),
        (SCHEMA, '{"why": "so"}', "`$`: 'answer' is a required property"),
        ({"type": ["array", "null"], "items": {"$ref": "#"}}, "[" * 900 + "]" * 900, "too deeply"),
    ],
)
async def test_an_answer_that_does_not_fit_says_where(
    output: Any, answer: str, says_why: str
) -> None:
    with pytest.raises(lash.DirectError) as raised:
        await ask(":memory:", says(answer), output=output)
    assert raised.value.code == "invalid_structured_output"
    assert says_why in raised.value.message


async def test_an_answer_that_does_not_fit_is_not_repeated_at_length() -> None:
    with pytest.raises(lash.DirectError) as raised:
        await ask(":memory:", says('"' + "x" * 9_000 + '"'), output={"type": "integer"})
    assert len(raised.value.message) < 600


async def test_a_provider_that_fails_is_told_with_what_it_said(location: str | Path) -> None:
    model = ScriptedModel([fail("no such key", status=401)])
    with pytest.raises(lash.DirectError, match="no such key") as raised:
        await ask(location, model)
    assert raised.value.code == "direct_failed"
    assert raised.value.details == {"kind": "auth", "provider_code": "401", "attempts": 1}


async def test_a_failure_is_told_in_a_task_that_outlived_a_cancellation(
    location: str | Path,
) -> None:
    async def outlive() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await ask(location, ScriptedModel([fail("no such key", status=401)]))

    task = asyncio.create_task(outlive())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(lash.DirectError, match="no such key"):
        await task


# --- what cannot be asked ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": None},
        {"prompt": "bro\ud800ken"},
        {"instructions": None},
        {"instructions": "bro\ud800ken"},
        {"usage_source": " "},
        {"usage_source": "bro\ud800ken"},
        {"output": {"type": "nonsense"}},
        {"output": {"type": "string", "pattern": "("}},
        {"output": {"$schema": "http://nobody.test/schema"}},
        {"output": {"$schema": 7}},
        {"output": {"properties": {"a": {"$ref": "#/$defs/gone"}}}},
        {"output": {"items": {"$ref": "http://127.0.0.1:9/item.json"}}},
        {"output": {"type": object()}},
        {"output": {1: 2}},
    ],
)
async def test_what_cannot_be_sent_is_refused_before_anybody_is_asked(
    options: dict[str, Any],
) -> None:
    model = says("Hi.")
    with pytest.raises(lash.ConfigurationError) as raised:
        await ask(":memory:", model, **options)
    assert raised.value.code == "direct_request_invalid"
    assert model.requests == []


@pytest.mark.parametrize("key", ["", " ", None, "bro\ud800ken"])
async def test_a_key_must_name_something(key: Any) -> None:
    async with lash.Runtime(":memory:") as runtime, runtime.operation("o") as op:
        if key is None:
            assert (await op.direct("Hi?", model=says("Hi."), key=key)).text == "Hi."
            return
        with pytest.raises(lash.ConfigurationError) as raised:
            await op.direct("Hi?", model=says("Hi."), key=key)
    assert raised.value.code == "direct_request_invalid"


async def test_a_type_without_json_is_refused_before_anybody_is_asked() -> None:
    model = says("Hi.")
    with pytest.raises(lash.ConfigurationError) as raised:
        await ask(":memory:", model, output=asyncio.Lock)
    assert raised.value.code == "type_without_json"
    assert model.requests == []


# --- paid once --------------------------------------------------------------------------------------


async def test_a_question_with_an_id_is_paid_once(path: Path) -> None:
    first, second = says(ORDER), says("never asked")
    answers = [
        await ask(path, model, output=Order, id="order-7") for model in (first, second, second)
    ]
    assert answers[0].value == Order([Line("pen")], date(2024, 2, 29))
    assert answers[1] == answers[0]
    assert answers[2] == answers[0]
    assert len(first.requests) == 1
    assert second.requests == []


async def test_a_model_that_did_not_answer_may_be_asked_again(path: Path) -> None:
    model = ScriptedModel([fail("no", status=400)])
    for _ in range(2):
        with pytest.raises(lash.DirectError, match="no"):
            await ask(path, model, id="q")
    assert len(model.requests) == 2
    assert (await ask(path, says("Hi."), id="q")).text == "Hi."


async def test_an_answer_that_does_not_fit_was_paid_and_stands(path: Path) -> None:
    first, second = says("?"), says("{}")
    told = []
    for model in (first, second):
        with pytest.raises(lash.DirectError) as raised:
            await ask(path, model, output=dict, id="q")
        told.append((raised.value.code, raised.value.message))
    assert told[0] == told[1]
    assert second.requests == []


async def test_a_failure_in_an_operation_is_recorded_with_the_rest_of_it(path: Path) -> None:
    async def through(model: ScriptedModel) -> tuple[str, str]:
        async with lash.Runtime(path) as runtime, runtime.operation("o") as op:
            with pytest.raises(lash.DirectError) as raised:
                await op.direct("Hi?", model=model)
            return raised.value.code, raised.value.message

    told = ("direct_failed", "The model did not answer: no")
    assert await through(ScriptedModel([fail("no", status=400)])) == told
    assert await through(says("never asked")) == told


async def test_questions_leave_nothing_behind_that_is_not_finished(path: Path) -> None:
    clock = VirtualClock()
    async with lash.Runtime(path, clock=clock) as runtime:
        await runtime.direct("Hi?", model=says("Hi."))
        with pytest.raises(lash.DirectError):
            await runtime.direct("Hi?", model=ScriptedModel([fail("no", status=400)]))
        with pytest.raises(lash.DirectError):
            await runtime.direct("Hi?", model=says("?"), output={"type": "integer"})
        clock.advance(1)
        assert (await runtime.retire_journals(timedelta(0))).records == 2  # an answer and a misfit


@pytest.mark.parametrize("name", ["", " ", "bro\ud800ken", 7])
async def test_an_id_must_name_something(name: Any) -> None:
    with pytest.raises(lash.LashError) as raised:
        await ask(":memory:", says("Hi."), id=name)
    assert raised.value.code == "operation_id_invalid"


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({"prompt": "Bye?"}, ("identity.messages[0]",)),
        ({"output": dict}, ("identity.output",)),
        ({"usage_source": "other"}, ("identity.usage_source",)),
    ],
)
async def test_another_question_under_an_id_is_refused(
    path: Path, change: dict[str, Any], paths: tuple[str, ...]
) -> None:
    first, second = says("Hi."), says("{}")
    await ask(path, first, id="q")
    with pytest.raises(lash.ReplayError) as raised:
        await ask(path, second, id="q", **change)
    assert raised.value.code == "effect_replay_mismatch"
    assert raised.value.details["paths"] == paths
    assert second.requests == []


async def test_other_instructions_and_another_model_do_not_ask_again(path: Path) -> None:
    """They are what a deploy changes; what was answered is a fact."""
    await ask(path, says("Hi."), id="q")
    other = ScriptedModel([reply("never")], name="better")
    assert (await ask(path, other, id="q", instructions="Be kind.")).text == "Hi."
    assert other.requests == []


async def test_equal_questions_without_an_id_are_two_questions(location: str | Path) -> None:
    model = says("one", "two")
    async with lash.Runtime(location) as runtime:
        texts = [(await runtime.direct("Hi?", model=model)).text for _ in range(2)]
        assert texts == ["one", "two"]
        async with runtime.operation("o") as op:
            await asyncio.gather(*(op.direct("Hi?", model=model) for _ in range(2)))
    requested = [request.scope.request_id for request in model.requests]
    assert len(set(requested)) == 4


async def test_questions_of_an_operation_find_their_answers_again(path: Path) -> None:
    async def through(model: ScriptedModel) -> Sequence[str]:
        async with lash.Runtime(path) as runtime, runtime.operation("o") as op:
            asked = [
                op.direct("Hi?", model=model),
                op.direct("Hi?", model=model, usage_source="other"),
                op.direct("Hi?", model=model, key="mine"),
                op.direct("Hi?", model=model),
            ]
            texts = [(await one).text for one in asked]
            return [*texts, (await op.direct("Hi?", model=model, key="mine")).text]

    first, second = says("1", "2", "3", "4"), says("never")
    assert await through(first) == ["1", "2", "3", "4", "3"]
    assert await through(second) == ["1", "2", "3", "4", "3"]
    assert (len(first.requests), len(second.requests)) == (4, 0)


async def test_the_request_is_called_the_same_however_often_it_is_sent(path: Path) -> None:
    """A provider can tell by it that it has answered before."""

    class Stuck(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            await super().complete(request, emit)
            if len(self.requests) == 1:
                asked.set()
                await asyncio.Event().wait()
            return LlmResponse(parts=(TextPart(text="Hi."),))

    asked, model = asyncio.Event(), Stuck([reply("Hi.")])
    lost = asyncio.create_task(ask(path, model, id="q"))
    await asked.wait()
    lost.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lost
    assert (await ask(path, model, id="q")).text == "Hi."
    assert (await ask(path, model, id="other")).text == "Hi."
    first, again, other = (request.scope.request_id for request in model.requests)
    assert first == again
    assert first != other


async def test_a_question_is_two_transactions_and_a_replayed_one_asks_for_no_record(
    path: Path,
) -> None:
    async with lash.Runtime(path) as runtime:
        store = runtime.engine.store
        assert isinstance(store, SqliteStore)
        before = store.transactions
        await runtime.direct("Hi?", model=says("Hi."), id="q")
        assert store.transactions - before == 2  # the answer, and that this is all
        key = journal_key(RuntimeOperationScope(operation_id="direct:q"))
        (entry,) = await store.list_journal(key)
        assert (entry.kind, entry.replay_key) == ("direct", "direct:request:request")


# --- whom to ask ------------------------------------------------------------------------------------


def agent(name: str, model: Any, version: str = "1") -> lash.Agent:
    return lash.Agent(name, model=model, version=version)


async def test_the_only_agents_model_is_asked_by_default(location: str | Path) -> None:
    old, new = says("old"), says("new")
    agents = [agent("support", old), agent("support", new, version="2")]
    async with lash.Runtime(location, agents=agents) as runtime:
        assert (await runtime.direct("Hi?")).text == "new"
        async with runtime.operation("o") as op:
            assert (await op.direct("Hi?")).text == "new"
    assert old.requests == []


@pytest.mark.parametrize(("names", "code"), [((), "agent_unknown"), ("ab", "agent_ambiguous")])
async def test_without_one_agent_the_model_must_be_named(
    location: str | Path, names: Sequence[str], code: str
) -> None:
    agents = [agent(name, says("Hi.")) for name in names]
    async with lash.Runtime(location, agents=agents) as runtime:
        with pytest.raises(lash.ConfigurationError, match="model=") as raised:
            await runtime.direct("Hi?")
        assert raised.value.code == code
        assert (await runtime.direct("Hi?", model=says("Hi."))).text == "Hi."


@pytest.mark.parametrize(
    ("model", "code"),
    [("gpt", "model_invalid"), (7, "model_invalid"), ("nobody:gpt", "provider_unknown")],
)
async def test_a_model_that_cannot_be_named_is_refused(model: object, code: str) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        await ask(":memory:", model)
    assert raised.value.code == code


class Closable(ScriptedModel):
    def __init__(self, made: list["Closable"]) -> None:
        super().__init__(lambda _: reply("Hi."))
        self.closed = 0
        made.append(self)

    async def aclose(self) -> None:
        self.closed += 1


async def test_providers_of_named_models_are_made_once_and_closed_with_the_runtime(
    location: str | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Closable] = []
    kinds: list[str] = []

    def from_environment(kind: str) -> Closable:
        kinds.append(kind)
        return Closable(made)

    monkeypatch.setattr(naming, "provider_from_environment", from_environment)
    given, spare = Closable([]), lash.Model("x:two", max_output_tokens=9)
    async with lash.Runtime(location, agents=[agent("support", "x:zero")]) as runtime:
        for model in ("x:one", "x:one", spare, lash.Model("x:two", max_output_tokens=9), given):
            assert (await runtime.direct("Hi?", model=model)).text == "Hi."
        assert kinds == ["x", "x", "x"]
        assert [provider.closed for provider in (*made, given)] == [0] * 4
    assert [provider.closed for provider in (*made, given)] == [1] * 4
    assert made[2].requests[0].model.generation.output_token_cap == 9


# --- from a tool's body -----------------------------------------------------------------------------


def judge(body: Callable[..., Any], model: ScriptedModel) -> lash.Agent:
    return lash.Agent("judge", model=model, tools=[lash.tool(body)])


async def test_a_tool_may_ask_the_agents_model_and_the_turn_is_billed(
    location: str | Path,
) -> None:
    async def judge_it(ctx: lash.ToolContext) -> dict[str, Any]:
        """Judge."""
        answer = await ctx.direct("Good?", output=Line, instructions="Judge.")
        return {"sku": answer.value.sku, "tokens": answer.usage.input_tokens}

    def answer(request: LlmRequest) -> Any:
        if request.tools:
            return reply("Over.") if len(request.messages) > 1 else calls(("judge_it", {}))
        return reply('{"sku": "pen"}', usage=Usage(input_tokens=100, output_tokens=7))

    model = ScriptedModel(answer)
    async with lash.Runtime(location, agents=[judge(judge_it, model)]) as runtime:
        result = await runtime.session("s").run("Judge.", turn_id="t")
        (turn,) = await runtime.session("s").turns()
    outcome = result.tool_calls[0].output.outcome
    assert outcome == ToolSuccess(payload={"sku": "pen", "tokens": 100})
    assert result.usage == Usage(input_tokens=120, output_tokens=17)
    assert [call.source for call in result.llm_calls] == ["turn", "turn", "tool"]
    assert turn == result
    assert [request.instructions for request in model.requests] == ["", "Judge.", ""]
    assert (model.requests[1].scope.session_id, model.requests[1].scope.turn_id) == ("s", "t")


async def test_questions_asked_side_by_side_are_told_apart(location: str | Path) -> None:
    async def both(ctx: lash.ToolContext) -> list[str]:
        """Ask twice."""
        answers = await asyncio.gather(ctx.direct("One?"), ctx.direct("Two?"))
        return [answer.text for answer in answers]

    def answer(request: LlmRequest) -> Any:
        if request.tools:
            return reply("Over.") if len(request.messages) > 1 else calls(("both", {}))
        block = request.messages[0].blocks[0]
        assert isinstance(block, TextBlock)
        return reply(f"To {block.text}")

    model = ScriptedModel(answer)
    async with lash.Runtime(location, agents=[judge(both, model)]) as runtime:
        result = await runtime.session("s").run("Ask.")
    assert result.tool_calls[0].output.outcome == ToolSuccess(payload=["To One?", "To Two?"])
    assert len({request.scope.request_id for request in model.requests}) == 4
    assert len({call.call_id for call in result.llm_calls}) == 4


async def test_a_question_of_a_tool_that_came_to_nothing_is_billed_all_the_same(
    location: str | Path,
) -> None:
    async def judge_it(ctx: lash.ToolContext) -> str:
        """Judge."""
        return (await ctx.direct("Good?", output={"type": "integer"})).text

    def answer(request: LlmRequest) -> Any:
        if request.tools:
            return reply("Over.") if len(request.messages) > 1 else calls(("judge_it", {}))
        return reply("Yes.", usage=Usage(input_tokens=100))

    model = ScriptedModel(answer)
    async with lash.Runtime(location, agents=[judge(judge_it, model)]) as runtime:
        result = await runtime.session("s").run("Judge.")
    outcome = result.tool_calls[0].output.outcome
    assert isinstance(outcome, ToolFailed)
    assert outcome.payload.code == "invalid_structured_output"
    assert result.usage == Usage(input_tokens=120, output_tokens=10)


# --- through a provider's own client ----------------------------------------------------------------


async def test_what_is_asked_for_is_told_to_a_real_server(location: str | Path) -> None:
    script = [Answer("Hi."), Answer('{"a": 1}'), Answer(ORDER), Answer('{"why": "x", "answer": 4}')]
    async with OpenAIServer(script) as server, lash.Runtime(location) as runtime:
        provider = OpenAICompatible(api_key="test-key", base_url=server.base_url)
        model = lash.Model("gpt-5.2", provider=provider)
        outputs: list[Any] = [None, dict, Order, SCHEMA]
        values = [
            (await runtime.direct("Hi?", model=model, output=output)).value for output in outputs
        ]
        formats = [request.body.get("response_format") for request in server.requests]
    assert values == [
        "Hi.",
        {"a": 1},
        Order([Line("pen")], date(2024, 2, 29)),
        {"why": "x", "answer": 4},
    ]
    assert formats == [
        None,
        {"type": "json_object"},
        {
            "type": "json_schema",
            "json_schema": {"name": "Order", "schema": ORDER_SCHEMA, "strict": False},
        },
        {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": False},
        },
    ]


async def test_a_real_servers_refusal_is_told_and_its_trouble_is_waited_out(
    location: str | Path,
) -> None:
    script: list[Behaviour] = [
        HttpError(429, retry_after=0),
        Answer("Hi."),
        HttpError(400, "No such model."),
    ]
    async with OpenAIServer(script) as server, lash.Runtime(location) as runtime:
        provider = OpenAICompatible(api_key="test-key", base_url=server.base_url)
        model = lash.Model("gpt-5.2", provider=provider)
        result = await runtime.direct("Hi?", model=model)
        assert (result.text, len(result.llm_call.attempts)) == ("Hi.", 2)
        with pytest.raises(lash.DirectError, match="HTTP 400: No such model") as raised:
            await runtime.direct("Hi?", model=model)
    assert raised.value.details == {"kind": "validation", "provider_code": "400", "attempts": 1}
