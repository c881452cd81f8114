"""Sessions in tests: models and tools that stop where the test wants, and what was said and shown."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.core.cancel import CancelToken
from lash.llm.request import LlmMessage, LlmRequest, TextBlock, ToolCallBlock, ToolResultBlock
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit, TextDelta
from lash.sessions.model import messages_of
from lash.testing import ScriptedModel, calls, reply
from lash.testing.scripted import Script, Step, calls_made
from lash.turn.messages import is_valid_transcript


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else path


class Gate:
    """A place where something stops until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        self.reached.set()
        await self._open.wait()


class Staged(ScriptedModel):
    """Answers by script, but holds the requests that the test says, counted over all turns from 0.

    Attributes:
        asked: Every request, also those that were held and never answered.
    """

    def __init__(self, script: Script, *, name: str = "script", kind: str = "scripted") -> None:
        super().__init__(script, name=name)
        self.kind = kind
        self.asked: list[LlmRequest] = []
        self._gates: dict[int, tuple[Gate, Sequence[str]]] = {}

    def hold(self, number: int, *said: str) -> Gate:
        """Hold a request, once these pieces of text were streamed."""
        gate = Gate()
        self._gates[number] = (gate, said)
        return gate

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        number = len(self.asked)
        self.asked.append(request)
        if number in self._gates:
            gate, said = self._gates[number]
            for piece in said:
                emit(TextDelta(text=piece))
            await gate.passed()
        return await super().complete(request, emit)


class Holding:
    """A tool called `wait` that stops at a gate in every call, and what became of each call."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.gate = Gate()
        if is_open:
            self.gate.open()
        self.ran = 0
        self.ended: list[str] = []

        @lash.tool
        async def wait() -> str:
            """Wait."""
            self.ran += 1
            try:
                await self.gate.passed()
            except asyncio.CancelledError:
                self.ended.append("cancelled")
                raise
            self.ended.append("done")
            return "done"

        self.tool = wait

    @property
    def begun(self) -> asyncio.Event:
        return self.gate.reached


#: A turn that calls `wait` and then answers.
WAITS: Sequence[Step] = (calls(("wait", {})), reply("Over."))


def patient(
    holding: Holding, script: Script = WAITS, *, name: str = "agent"
) -> tuple[Staged, lash.Agent]:
    """A model that has `wait` called, and its agent."""
    model = Staged(script)
    return model, lash.Agent(name, model=model, tools=[holding.tool])


def speaking(script: Script, **named: Any) -> tuple[Staged, lash.Agent]:
    """A model that answers by a script, and its agent."""
    model = Staged(script)
    return model, lash.Agent("agent", model=model, **named)


def echo_agent() -> tuple[Staged, lash.Agent]:
    """A model that answers `<what was said>!`, and its agent."""
    return speaking(echoing())


def answering(step: Callable[[int, str], Step]) -> Callable[[LlmRequest], Step]:
    """A script by how many calls the turn made, and by what the user said last."""

    def script(request: LlmRequest) -> Step:
        return step(calls_made(request), last_said(request))

    return script


def echoing() -> Callable[[LlmRequest], Step]:
    """Answers `<what was said>!`."""
    return answering(lambda _, said: reply(f"{said}!"))


def on_go(tool: str, *, then: str = "{}!") -> Callable[[LlmRequest], Step]:
    """Calls a tool when the user said `Go.` last, and answers anything else with `then` of it."""
    return answering(
        lambda _, said: calls((tool, {})) if said == "Go." else reply(then.format(said))
    )


def last_said(request: LlmRequest) -> str:
    said = [text for role, text in seen(request) if role == "user"]
    return said[-1] if said else ""


def seen(request: LlmRequest) -> list[tuple[str, str]]:
    """What a request shows its model, message by message: calls as `->`, their answers as `<-`."""
    return [(message.role, _shown(message)) for message in request.messages]


def _shown(message: LlmMessage) -> str:
    pieces: list[str] = []
    for block in message.blocks:
        match block:
            case TextBlock(text=text):
                pieces.append(text)
            case ToolCallBlock(tool_name=name):
                pieces.append(f"->{name}")
            case ToolResultBlock(content=content):
                pieces.append(f"<-{content}")
            case _:
                pieces.append("…")
    return " ".join(pieces)


async def told(session: lash.Session, *, whole: bool = False) -> list[tuple[str, str]]:
    """The committed messages, in the same form as `seen`."""
    found: list[tuple[str, str]] = []
    for message in await session.history(whole=whole):
        pieces = [message.text] if message.text else []
        pieces += [f"->{call.tool}" for call in message.tool_calls]
        pieces += [f"<-{answer.text}" for answer in message.tool_results]
        found.append((message.role, " ".join(pieces)))
    return found


async def user_texts(session: lash.Session) -> list[str]:
    """The texts of the committed messages that the user's side said, in the form of `seen`."""
    return [text for role, text in await told(session) if role == "user"]


async def is_valid(runtime: lash.Runtime, session_id: str = "s") -> bool:
    """Whether every provider would take the session's history, the whole and what is shown of it."""
    store = runtime.engine.store
    whole = messages_of(await store.load_path(session_id, whole=True))
    shown = messages_of(await store.load_path(session_id))
    return is_valid_transcript(whole) and is_valid_transcript(shown)


def begin(session: lash.Session, prompt: str, **named: Any) -> "asyncio.Task[lash.TurnResult]":
    """Run a turn beside the test; it is accepted by the time anything of it is seen."""
    return asyncio.create_task(session.run(prompt, **named))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what nothing tells of."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)


async def accepted(session: lash.Session, count: int) -> None:
    """Until so many turns of the session are open."""

    async def there() -> bool:
        info = await session.info()
        return info is not None and info.open_turns >= count

    await until(there)


async def until_queued(session: lash.Session, count: int) -> None:
    """Until so many inputs and commands of the session wait for a turn."""

    async def there() -> bool:
        info = await session.info()
        return info is not None and info.queued == count

    await until(there)


async def until_parked(session: lash.Session) -> None:
    """Until the session waits for a person."""

    async def there() -> bool:
        info = await session.info()
        return info is not None and info.state == "parked"

    await until(there)


def stop_word(turn: lash.TurnResult) -> str:
    """`finished`, or why the turn was stopped."""
    outcome = turn.outcome
    if isinstance(outcome, lash.Stopped):
        return str(outcome.reason.__struct_config__.tag)
    return str(outcome.__struct_config__.tag)


async def code_of(work: Awaitable[object]) -> str:
    """The code of the error that some work must end with."""
    with pytest.raises(lash.LashError) as raised:
        await work
    return raised.value.code


def just_before(
    runtime: lash.Runtime, method: str, do: Callable[[], Awaitable[object]]
) -> list[str]:
    """Do something when the runtime first calls a method of its store, and wait for it before the call.

    The list tells once it has happened.
    """
    store: Any = runtime.engine.store
    real = getattr(store, method)
    happened: list[str] = []

    async def call(*arguments: Any, **named: Any) -> Any:
        if not happened:
            happened.append(method)
            await do()
        return await real(*arguments, **named)

    setattr(store, method, call)
    return happened


@asynccontextmanager
async def opened(
    location: str | Path, *agents: lash.Agent, **options: Any
) -> AsyncIterator[lash.Runtime]:
    """An open runtime, and an end to tests that hang."""
    async with asyncio.timeout(10), lash.Runtime(location, agents=agents, **options) as runtime:
        yield runtime


@asynccontextmanager
async def echo_session(location: str | Path) -> AsyncIterator[tuple[lash.Runtime, lash.Session]]:
    """An open runtime, and its session `s` with an agent that echoes."""
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        yield runtime, runtime.session("s")


@asynccontextmanager
async def patient_session(
    location: str | Path,
) -> AsyncIterator[tuple[lash.Runtime, lash.Session, Holding]]:
    """An open runtime, and its session `s` with an agent that calls `wait` once in a turn."""
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        yield runtime, runtime.session("s"), holding


@asynccontextmanager
async def under_way(
    location: str | Path,
    agent: lash.Agent,
    reached: asyncio.Event,
    prompt: str = "Go.",
    **named: Any,
) -> "AsyncIterator[tuple[lash.Runtime, lash.Session, asyncio.Task[lash.TurnResult]]]":
    """An open runtime, its session `s`, and a turn of it that has come to an event."""
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, prompt, **named)
        await reached.wait()
        yield runtime, session, running


@dataclass(frozen=True)
class Held:
    """A turn of session `s` that stands at a gate."""

    runtime: lash.Runtime
    model: Staged
    gate: Gate
    running: "asyncio.Task[lash.TurnResult]"

    async def let_go(self) -> lash.TurnResult:
        """Open the gate, and wait for the turn."""
        self.gate.open()
        return await self.running


@asynccontextmanager
async def held_in_a_tool(
    location: str | Path, script: Script = WAITS, *, prompt: str = "Go.", **named: Any
) -> AsyncIterator[tuple[lash.Session, Held]]:
    """Session `s` with a turn that stands in its tool `wait`."""
    holding = Holding()
    model, agent = patient(holding, script)
    async with under_way(location, agent, holding.begun, prompt, **named) as (
        runtime,
        session,
        running,
    ):
        yield session, Held(runtime, model, holding.gate, running)


@asynccontextmanager
async def held_at_the_model(
    location: str | Path,
    model_and_agent: tuple[Staged, lash.Agent] | None = None,
    *,
    number: int = 0,
    said: Sequence[str] = (),
    prompt: str = "Go.",
    **named: Any,
) -> AsyncIterator[tuple[lash.Session, Held]]:
    """Session `s` with a turn that stands in its model call, by default of an agent that echoes."""
    model, agent = model_and_agent or echo_agent()
    gate = model.hold(number, *said)
    async with under_way(location, agent, gate.reached, prompt, **named) as (
        runtime,
        session,
        running,
    ):
        yield session, Held(runtime, model, gate, running)


async def left_under_way(
    path: Path, agent: lash.Agent, reached: asyncio.Event, **named: Any
) -> None:
    """Leave the turn `t` of session `s` behind: its runtime closes when it has come to an event."""
    async with under_way(path, agent, reached, turn_id="t", **named) as (_, _, running):
        pass
    assert await code_of(running) == "runtime_closed"


async def left_in_a_tool(path: Path, **named: Any) -> Staged:
    """Leave the turn `t` of session `s` behind in its tool `wait`. Returns the model that was asked."""
    holding = Holding()
    model, agent = patient(holding)
    await left_under_way(path, agent, holding.begun, **named)
    return model


async def tripped(cancel: CancelToken) -> None:
    """Until a token is tripped."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wake(_: object) -> None:
        loop.call_soon_threadsafe(event.set)

    cancel.on_cancel(wake)
    await event.wait()
