"""`lash run`: one turn in a durable session."""

import asyncio
import os
import shlex
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from lash.app.agent import Agent
from lash.app.model import ModelLike
from lash.app.prompts import Prompt
from lash.app.results import TurnResult
from lash.app.runtime import MEMORY, Runtime
from lash.app.session import Session
from lash.cli.exit_codes import ExitCode
from lash.cli.importing import import_tools
from lash.cli.json_output import write_json, write_json_line
from lash.cli.live import LivePrinter
from lash.cli.output import note
from lash.cli.own_stdout import own_stdout
from lash.cli.wording import counted
from lash.core.clock import SystemIds
from lash.core.errors import ConfigurationError
from lash.llm.request import LlmRequest, TextBlock
from lash.llm.retry import RetryPolicy
from lash.testing.scripted import Reply, ScriptedModel, reply

#: Stored with every session that `lash run` begins; turns left behind are resumed under this name.
AGENT = "lash-run"
SCRIPTED = "scripted"
#: Asked when there is a key and nobody said more.
DEFAULT_MODEL = "openai:gpt-5.2"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the command line asked for; `model` and `attempts` are None where it said nothing."""

    prompt: str
    db: str
    session_id: str
    model: str | None
    tools: tuple[str, ...]
    instructions: str
    attempts: int | None
    as_json: bool
    attach: tuple[Path, ...] = ()


def run(request: RunRequest) -> int:
    """Run a turn; 0 when it finished, 1 when it was stopped, 130 when interrupted.

    Raises:
        LashError: The turn could not be accepted or driven.
    """
    _check(request)
    agent = Agent(
        AGENT,
        model=choose_model(request.model),
        instructions=request.instructions,
        tools=import_tools(request.tools),
        retry=RetryPolicy(max_attempts=request.attempts) if request.attempts else None,
    )
    command = _Command(request, agent)
    try:
        with own_stdout() if request.as_json else nullcontext():
            result = asyncio.run(command.drive())
    except KeyboardInterrupt:
        command.tell_interrupted()
        return ExitCode.INTERRUPTED
    if request.as_json:
        write_json(_document(result))
    return ExitCode.DONE if result.is_success else ExitCode.FAILED


def choose_model(name: str | None) -> ModelLike:
    """The model that was asked for, by option, by `LASH_MODEL`, or because there is a key.

    Raises:
        ConfigurationError: `provider_not_configured` when nothing says which.
    """
    chosen = name or os.environ.get("LASH_MODEL")
    if chosen == SCRIPTED:
        return ScriptedModel(_echo, name="echo")
    if chosen:
        return chosen
    if os.environ.get("OPENAI_API_KEY"):
        return DEFAULT_MODEL
    raise ConfigurationError(
        "provider_not_configured",
        f"There is no model to ask. Set OPENAI_API_KEY to use {DEFAULT_MODEL}, or name another "
        "model with --model or LASH_MODEL. To try lash without a model: --model scripted",
    )


def _check(request: RunRequest) -> None:
    for what, value in (("prompt", request.prompt), ("session id", request.session_id)):
        if not value.strip():
            raise ConfigurationError("usage_invalid", f"The {what} is blank; nothing was sent.")


def _echo(request: LlmRequest) -> Reply:
    """The built-in stand-in's answer."""
    blocks = request.messages[-1].blocks
    said = " ".join(block.text for block in blocks if isinstance(block, TextBlock))
    return reply(f"This is lash's scripted stand-in; no model was asked. You said: {said}")


class _Command:
    """One run of the command, and how far it came."""

    def __init__(self, request: RunRequest, agent: Agent) -> None:
        self._request = request
        self._agent = agent
        # Named beforehand, so that an interruption can say which turn it left.
        self._turn_id = SystemIds().new("turn")
        self._accepted = False

    async def drive(self) -> TurnResult:
        """Accept the prompt and follow its turn to the end."""
        request = self._request
        printer = None if request.as_json else LivePrinter(sys.stdout)
        async with Runtime(request.db, agents=[self._agent]) as runtime:
            session = runtime.session(request.session_id, agent=AGENT)
            if printer is not None:
                await _tell_unfinished(session)
            prompt: Prompt = [request.prompt, *request.attach] if request.attach else request.prompt
            async with session.stream(prompt, turn_id=self._turn_id) as live:
                self._accepted = True
                async for event in live:
                    if printer is not None:
                        printer.show(event)
                result = await live.result()
        if printer is not None:
            printer.finish(result)
        return result

    def tell_interrupted(self) -> None:
        """Say what became of the turn."""
        request = self._request
        if request.as_json:
            left = {"session_id": request.session_id, "turn_id": self._turn_id}
            write_json_line(sys.stderr, {"interrupted": left})
            return
        if request.db == MEMORY:
            note("\nInterrupted. A :memory: database keeps nothing.", "yellow")
            return
        db, session = shlex.quote(request.db), shlex.quote(request.session_id)
        told = "" if self._accepted else ", if it was accepted at all"
        note(
            f"\nInterrupted. Turn {self._turn_id} stays accepted{told}: the next `lash run … --db "
            f"{db} --session {session}` finishes it first, and so does any runtime that opens the "
            f"file with an agent named {AGENT!r}. See: lash show {session} --db {db}",
            "yellow",
        )


async def _tell_unfinished(session: Session) -> None:
    info = await session.info()
    if info is not None and info.open_turns:
        turns = counted(info.open_turns, "turn")
        note(f"[resume] {turns} accepted before: finished first, see `lash show`")


def _document(result: TurnResult) -> dict[str, object]:
    return {
        "session_id": result.session_id,
        "turn_id": result.turn_id,
        "text": result.text,
        "outcome": result.outcome,
        "usage": result.usage,
        "tool_calls": result.tool_calls,
        "issues": result.issues,
        "timing": result.timing,
        "durability": result.durability,
    }
