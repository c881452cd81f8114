"""What clients of `lash mcp` may ask for, done with the public face of a runtime. Speaks no MCP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

from lash.app.results import TurnResult
from lash.app.runtime import Runtime
from lash.cli.importing import Work
from lash.cli.json_output import plain
from lash.cli.mcp.telling import told
from lash.cli.ps.documents import outcome_json
from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue
from lash.processes.model import ProcessRecord
from lash.turn.outcome import Stopped

#: Told how far something is: a number that grows, and words.
Report: TypeAlias = Callable[[float, str], Awaitable[None]]

#: How often a client hears that something still goes on, so that it does not give up.
_SIGN_OF_LIFE_S = 10.0

#: How long `process_result` waits when nothing is said.
_WAIT_S = 30.0

_MESSAGES = 50


class Desk:
    """Carries out what clients ask for."""

    def __init__(self, runtime: Runtime, work: Work) -> None:
        self._runtime = runtime
        self._work = work
        self.agents = [agent.name for agent in work.agents]
        self.processes = {process.name: process for process in work.processes}

    # --- turns ------------------------------------------------------------------------------------

    async def run_agent(self, args: JsonObject, report: Report) -> JsonObject:
        """Run a turn to its end. A client that leaves does not stop it."""
        agent = cast("str | None", args.get("agent"))
        session = self._runtime.session(str(args["session"]), agent=agent)
        turn_id = cast("str | None", args.get("request_id"))
        async with session.stream(str(args["prompt"]), turn_id=turn_id) as live:
            live.detach()
            async with _signs_of_life(report) as progress:
                async for event in live:
                    words = told(event)
                    if words is not None:
                        await progress(words)
            return _turn(await live.result())

    async def cancel_turn(self, args: JsonObject, report: Report) -> JsonObject:
        """Ask a turn to stop."""
        del report
        session = self._runtime.session(str(args["session"]))
        receipt = await session.cancel(
            cast("str | None", args.get("request_id")),
            origin="mcp",
            reason=cast("str | None", args.get("reason")),
        )
        return cast("JsonObject", plain(receipt))

    # --- sessions -----------------------------------------------------------------------------------

    async def list_sessions(self, args: JsonObject, report: Report) -> JsonObject:
        """The sessions, in brief."""
        del args, report
        return {
            "sessions": [
                {
                    "session": each.session_id,
                    "agent": each.agent.name,
                    "state": each.state,
                    "turns": each.turns,
                    "open_turns": each.open_turns,
                    "queued": each.queued,
                    "updated_at_ms": each.updated_at_ms,
                }
                for each in await self._runtime.sessions()
            ]
        }

    async def session_history(self, args: JsonObject, report: Report) -> JsonObject:
        """What was said in a session."""
        del report
        session = self._runtime.session(str(args["session"]))
        if await session.info() is None:
            raise LashError(
                "session_unknown", f"There is no session {session.id!r}.", session_id=session.id
            )
        messages = await session.history()
        last = int(cast("int", args.get("last", _MESSAGES)))
        return {
            "session": session.id,
            "messages_in_all": len(messages),
            "messages": [plain(message) for message in messages[-last:]],
        }

    # --- processes ------------------------------------------------------------------------------------

    async def start_process(self, args: JsonObject, report: Report) -> JsonObject:
        """Start a process."""
        del report
        given = cast("Mapping[str, JsonValue]", args.get("args") or {})
        handle = await self._runtime.processes.start_named(
            str(args["name"]), given, id=cast("str | None", args.get("id"))
        )
        return _process(await handle.status())

    async def process_status(self, args: JsonObject, report: Report) -> JsonObject:
        """How it stands with a process."""
        del report
        return _process(await self._runtime.processes.get(str(args["id"])))

    async def process_result(self, args: JsonObject, report: Report) -> JsonObject:
        """What a process came to; waits for it."""
        handle = self._runtime.processes.handle(str(args["id"]))
        timeout = float(cast("float", args.get("timeout", _WAIT_S)))
        async with _signs_of_life(report):
            value = await handle.result(timeout=timeout)
        return {"id": handle.id, "status": "completed", "result": cast("JsonValue", value)}

    async def signal_process(self, args: JsonObject, report: Report) -> JsonObject:
        """Send a process a signal."""
        del report
        event = await self._runtime.processes.signal(
            str(args["id"]),
            str(args["name"]),
            args.get("payload"),
            id=cast("str | None", args.get("signal_id")),
        )
        return {"id": str(args["id"]), "sequence": event.sequence}

    async def cancel_process(self, args: JsonObject, report: Report) -> JsonObject:
        """Ask a process to stop."""
        del report
        reason = cast("str | None", args.get("reason"))
        return _process(await self._runtime.processes.cancel(str(args["id"]), reason))


@asynccontextmanager
async def _signs_of_life(report: Report) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Reports what is told, and that it goes on while nothing is."""
    said, words = 0, "It has begun."

    async def say(what: str) -> None:
        nonlocal said, words
        said, words = said + 1, what
        await report(said, words)

    async def live() -> None:
        while True:
            await asyncio.sleep(_SIGN_OF_LIFE_S)
            await say(words)

    life = asyncio.create_task(live())
    try:
        yield say
    finally:
        life.cancel()


def _turn(result: TurnResult) -> JsonObject:
    if isinstance(result.outcome, Stopped):
        try:
            result.raise_for_outcome()
        except LashError as error:
            error.details = {
                **error.details,
                "session": result.session_id,
                "request_id": result.turn_id,
            }
            raise
    answer: dict[str, JsonValue] = {
        "session": result.session_id,
        "request_id": result.turn_id,
        "text": result.text,
        "value": result.value,
        "tools": [call.tool for call in result.tool_calls],
        "usage": plain(result.total_usage),
    }
    return answer


def _process(record: ProcessRecord) -> JsonObject:
    state = record.state
    return {
        "id": record.process_id,
        "name": record.registration.identity.definition,
        "status": record.status,
        "waits_for": None if state.wait is None else plain(state.wait.kind),
        "parked": plain(state.parked),
        "cancel_requested": state.cancel is not None,
        "failures": state.failures,
        "outcome": None if record.outcome is None else plain(outcome_json(record.outcome)),
    }
