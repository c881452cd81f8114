"""What a line that begins with a slash does in a chat."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

from lash.app.agent import Agent
from lash.app.model import Model
from lash.app.results import TurnResult
from lash.app.runtime import Runtime
from lash.app.session import Session
from lash.cli.chat.screen import Screen
from lash.cli.wording import one_line, outcome_text, usage_text
from lash.core.errors import LashError
from lash.sessions.ingress import InputCancelled

HELP = """\
/history                what was said so far
/usage                  tokens by source and model
/model [PROVIDER:NAME]  the session's model, or another one from the next turn on; - for the agent's
/compact [WHAT]         go on with a summary; WHAT is what it must keep
/queue [drop N]         what waits to be taken, or take the Nth back
/fork [NAME]            go on in a new session that begins with this history
/help                   this
/quit                   leave; what runs stays accepted

A line that begins with two slashes is sent with one."""

_RESULT_LIMIT = 400

_Handler: TypeAlias = Callable[["Commands", str], Awaitable[None]]


class CommandHost(Protocol):
    """What commands need of the chat."""

    runtime: Runtime
    session: Session
    screen: Screen

    async def switch(self, session: Session) -> None:
        """Talk to another session."""
        ...


class Commands:
    """The commands of one chat."""

    def __init__(self, host: CommandHost, agents: Mapping[str, Agent]) -> None:
        self._host = host
        self._agents = agents

    async def run(self, line: str) -> None:
        """Do what a line asks for. `/quit` is for whoever reads the lines."""
        name, _, rest = line[1:].partition(" ")
        handler = _HANDLERS.get(name)
        if handler is None:
            self._host.screen.line(
                f"[error] there is no command /{one_line(name)}; /help lists them. To send a line that "
                "begins with a slash, write two.",
                "error",
            )
            return
        await handler(self, rest.strip())

    async def _help(self, _: str) -> None:
        self._host.screen.line(HELP)

    async def _history(self, _: str) -> None:
        screen, messages = self._host.screen, await self._host.session.history(whole=True)
        for message in messages:
            if message.text:
                user = message.role == "user"
                screen.line(f"{message.role}: {message.text}", "user" if user else "answer")
            for call in message.tool_calls:
                screen.line(f"tool: {call.tool} {one_line(call.arguments)}", "tool")
            for result in message.tool_results:
                screen.line(f"→ {one_line(result.text, _RESULT_LIMIT)}")
        if not messages:
            screen.line("Nothing was said yet.")

    async def _usage(self, _: str) -> None:
        used = await self._host.session.usage()
        for entry in used.by_source_model:
            self._host.screen.line(f"{entry.source} · {entry.model} · {usage_text(entry.usage)}")
        self._host.screen.line(f"total · {usage_text(used.usage)}")

    async def _model(self, name: str) -> None:
        screen = self._host.screen
        if name:
            result = await self._host.session.configure(model="" if name == "-" else name)
            if not result.is_success:
                screen.line(f"[model] not changed: {outcome_text(result.outcome)}", "error")
                return
        screen.line(f"[model] {await self._current_model()}")

    async def _current_model(self) -> str:
        head = await self._host.runtime.engine.store.load_head(self._host.session.id)
        if head is not None and head.config.model:
            return f"{head.config.model} (the session's)"
        name = head.agent.name if head is not None else next(iter(self._agents), "")
        agent = self._agents.get(name)
        return "unknown here" if agent is None else f"{model_name(agent)} (the agent's)"

    async def _compact(self, instructions: str) -> None:
        result: TurnResult = await self._host.session.compact(instructions)
        told = "done" if result.is_success else f"not done: {outcome_text(result.outcome)}"
        self._host.screen.line(f"[compact] {told}", "note" if result.is_success else "error")

    async def _queue(self, rest: str) -> None:
        screen, session = self._host.screen, self._host.session
        pending = await session.pending()
        verb, _, number = rest.partition(" ")
        if verb == "drop":
            index = int(number) - 1 if number.isascii() and number.isdigit() else -1
            if not 0 <= index < len(pending):
                screen.line(
                    f"[error] there are {len(pending)} to drop; say which: /queue drop 1", "error"
                )
                return
            (outcome,) = await session.cancel_pending(pending[index].input_id)
            gone = isinstance(outcome, InputCancelled)
            how = "taken back" if gone else str(outcome.__struct_config__.tag).replace("_", " ")
            screen.line(f"[queue] {how}: {one_line(pending[index].text)}")
            return
        for place, item in enumerate(pending, 1):
            where = "this turn" if item.state == "pending_active" else "the next turn"
            screen.line(f"{place}. for {where}: {one_line(item.text)}")
        if not pending:
            screen.line("Nothing waits.")

    async def _fork(self, name: str) -> None:
        new_id = name or await self._free_name()
        source = self._host.session.id
        forked = await self._host.session.fork(new_id)
        self._host.screen.line(f"[fork] {new_id} goes on from {source}")
        await self._host.switch(forked)

    async def _free_name(self) -> str:
        taken = {summary.session_id for summary in await self._host.runtime.sessions()}
        number = 2
        while f"{self._host.session.id}-{number}" in taken:
            number += 1
        return f"{self._host.session.id}-{number}"


def model_name(agent: Agent) -> str:
    """An agent's model, by name."""
    model = agent.model
    if isinstance(model, str):
        return model
    if isinstance(model, Model):
        return model.name
    return f"{model.kind}:{getattr(model, 'name', model.kind)}"


def sent_text(line: str) -> str:
    """What a line says: two slashes at its beginning stand for one."""
    return line[1:] if line.startswith("//") else line


def is_command(line: str) -> bool:
    """Whether a line is for the chat and not for the agent."""
    return line.startswith("/") and not line.startswith("//")


def is_quit(line: str) -> bool:
    """Whether a line ends the chat."""
    return line.split(maxsplit=1)[:1] in (["/quit"], ["/exit"])


def error_text(error: LashError) -> str:
    """An error as a chat shows it."""
    return f"[error] {error}"


_HANDLERS: Mapping[str, _Handler] = {
    "help": Commands._help,  # noqa: SLF001  its own
    "history": Commands._history,  # noqa: SLF001
    "usage": Commands._usage,  # noqa: SLF001
    "model": Commands._model,  # noqa: SLF001
    "compact": Commands._compact,  # noqa: SLF001
    "queue": Commands._queue,  # noqa: SLF001
    "fork": Commands._fork,  # noqa: SLF001
}
