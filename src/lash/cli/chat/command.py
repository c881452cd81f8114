"""`lash chat`: opens the session and hands it to the terminal, or to the lines of a pipe."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from lash.app.agent import Agent
from lash.app.model import resolve_model
from lash.app.runtime import MEMORY, Runtime
from lash.app.session import Session
from lash.cli.chat.lines import LineChat
from lash.cli.exit_codes import ExitCode
from lash.cli.importing import import_agents
from lash.cli.output import note
from lash.cli.run import AGENT, choose_model
from lash.core.errors import ConfigurationError

_INSTALL = "pip install 'lash-runtime[chat]'"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What the command line asked for; None where it said nothing."""

    session_id: str
    db: str
    app: str | None
    agent: str | None
    model: str | None


def chat(request: ChatRequest) -> int:
    """Talk until the user leaves; 1 when a turn of a pipe was stopped, 130 when interrupted.

    Raises:
        ConfigurationError: `chat_not_installed`, `agent_import_failed`, `agent_unknown`,
            `agent_ambiguous`, `usage_invalid`, and what resolving a model raises.
        StoreError: The database cannot be used.
    """
    if not request.session_id.strip():
        raise ConfigurationError("usage_invalid", "The session id is blank; nothing was sent.")
    interactive = _in_terminal()
    if interactive and find_spec("prompt_toolkit") is None:
        raise ConfigurationError(
            "chat_not_installed",
            f"A chat in a terminal needs prompt_toolkit: {_INSTALL}. Without it, give the lines by a "
            "pipe: echo Hello | lash chat",
        )
    agents = _agents(request)
    try:
        return asyncio.run(_talk(request, agents, interactive=interactive))
    except KeyboardInterrupt:
        note("\nInterrupted. What was accepted stays accepted.", "yellow")
        return ExitCode.INTERRUPTED


def _in_terminal() -> bool:
    """Whether somebody sits there, before a terminal that can move its cursor."""
    streams = (sys.stdin, sys.stdout)
    attached = all(stream is not None and stream.isatty() for stream in streams)
    return attached and os.environ.get("TERM") != "dumb"


def _agents(request: ChatRequest) -> Sequence[Agent]:
    if request.app is not None:
        return import_agents(request.app)
    return [Agent(AGENT, model=choose_model(request.model))]


async def _talk(request: ChatRequest, agents: Sequence[Agent], *, interactive: bool) -> int:
    by_name = {agent.name: agent for agent in agents}
    async with Runtime(request.db, agents=agents) as runtime:
        session = runtime.session(request.session_id, agent=request.agent)
        await runtime.agent_for(
            session.id, request.agent
        )  # who is missing is said before any input
        if request.db == MEMORY:
            note("[note] a :memory: database is gone when the command ends")
        await _configure(request, runtime, session)
        if interactive:
            return await _in_a_terminal(runtime, session, by_name)
        lines = LineChat(runtime, session, by_name)
        await lines.run()
        return ExitCode.FAILED if lines.failed else ExitCode.DONE


async def _in_a_terminal(runtime: Runtime, session: Session, agents: Mapping[str, Agent]) -> int:
    from lash.cli.chat.terminal import TerminalChat

    return await TerminalChat(runtime, session, agents).run()


async def _configure(request: ChatRequest, runtime: Runtime, session: Session) -> None:
    """Give the session the model that was asked for, if it has another one."""
    if request.model is None or request.app is None:
        return
    head = await runtime.engine.store.load_head(session.id)
    if head is not None and head.config.model == request.model:
        return
    resolve_model(request.model)  # before anything is queued
    await session.configure(model=request.model)
