"""A tool of an MCP server, as a tool of lash: checked before it is sent, timed while it is under way."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from lash.contrib.mcp.content import answer, failure, safe
from lash.contrib.mcp.listing import Listed
from lash.contrib.mcp.servers import Server
from lash.contrib.mcp.state import refusal
from lash.core.clock import Clock
from lash.core.json import JsonObject
from lash.effects.racing import set_when_cancelled
from lash.llm.request import ToolSpec
from lash.tools.model import ToolContext, ToolRetry
from lash.turn.tools import ToolCancellation, ToolCancelled, ToolOutput

if TYPE_CHECKING:
    from lash.contrib.mcp.connection import Connection
    from lash.contrib.mcp.owner import Owner

#: Under which name a call's idempotency key is sent along, beside its arguments.
IDEMPOTENCY_KEY = "lash/idempotencyKey"

#: Requests that were given up and are telling the server so. They are kept from being collected.
_leaving: "set[asyncio.Task[JsonObject]]" = set()

OwnerNow: TypeAlias = "Callable[[], Owner | None]"


class McpTool:
    """A tool of a server; `owner` gives who keeps it connected now, if anybody does."""

    def __init__(self, server: Server, listed: Listed, owner: OwnerNow, clock: Clock) -> None:
        self._server = server
        self._listed = listed
        self._owner = owner
        self._clock = clock
        self._spec = ToolSpec(
            name=listed.name, description=listed.description, input_schema=listed.schema
        )

    def __repr__(self) -> str:
        return f"<MCP tool {self._listed.name}>"

    @property
    def id(self) -> str:
        """The tool's identity, `mcp:<server>/<what the server calls it>`."""
        return self._listed.id

    @property
    def name(self) -> str:
        """The name the model calls."""
        return self._listed.name

    @property
    def spec(self) -> ToolSpec:
        """How it is offered to a model."""
        return self._spec

    @property
    def serial(self) -> bool:
        """Calls run side by side over one connection."""
        return False

    @property
    def retry(self) -> ToolRetry | None:
        """How often a failure that is safe to repeat is repeated."""
        return self._server.retry

    def check(self, args: JsonObject) -> None:
        """Validate arguments against the server's schema.

        Raises:
            LashError: `invalid_tool_args`, with the first misfit as `<pointer>: <message>`.
        """
        self._listed.arguments.read(args)

    async def run(self, args: JsonObject, context: ToolContext) -> ToolOutput:
        """Call the tool at its server. Failures are values; only cancellation is raised."""
        owner = self._owner()
        connection = owner.connection if owner is not None else None
        if owner is None or connection is None:
            state, reason = (owner.state, owner.reason) if owner is not None else ("stopped", None)
            return refusal(
                self._server.name, state, reason, self._server.seconds("reconnect_first")
            )
        call = _Call(self._server, self._listed, self._clock, owner, connection)
        return await call.output(self._listed.arguments.read(args), context)


class _Call:
    """One call under way."""

    def __init__(
        self,
        server: Server,
        listed: Listed,
        clock: Clock,
        owner: "Owner",
        connection: "Connection",
    ) -> None:
        self._server = server
        self._listed = listed
        self._clock = clock
        self._owner = owner
        self._connection = connection
        self._idle_s = server.seconds("call_timeout")
        self._begun = clock.monotonic()
        self._alive = self._begun

    async def output(self, args: JsonObject, context: ToolContext) -> ToolOutput:
        meta = {IDEMPOTENCY_KEY: context.idempotency_key}
        request = asyncio.create_task(
            self._connection.call(self._listed.original, args, meta, self._progress)
        )
        stopped = asyncio.Event()
        unsubscribe = set_when_cancelled(stopped, context.cancel)
        try:
            ended = await self._ended(request, stopped)
        finally:
            unsubscribe()
            if not request.done():
                # The server is told that nobody waits any more; that is not waited for.
                _leaving.add(request)
                request.add_done_callback(_left)
                request.cancel()
        return ended if ended is not None else self._outcome(request)

    async def _ended(
        self, request: "asyncio.Task[JsonObject]", stopped: asyncio.Event
    ) -> ToolOutput | None:
        """Wait for the answer; None when it is there, else what the call comes to without."""
        stop = asyncio.ensure_future(stopped.wait())
        try:
            while not request.done():
                idle_s, total_s = self._left()
                if idle_s <= 0 or total_s <= 0:
                    return self._timed_out(in_all=total_s <= 0)
                timer = asyncio.ensure_future(self._clock.sleep(min(idle_s, total_s)))
                try:
                    await asyncio.wait({request, stop, timer}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    timer.cancel()
                if stop.done() and not request.done():
                    message = "The call was given up, and the server was told."
                    return ToolOutput(
                        outcome=ToolCancelled(payload=ToolCancellation(message=message))
                    )
        finally:
            stop.cancel()
        return None

    def _left(self) -> tuple[float, float]:
        """How long the call may go on without a sign of life, and in all."""
        now = self._clock.monotonic()
        if self._server.progress_extends:
            # While the server waits for the host, it is the host that holds it up.
            heard = now if self._connection.questions else self._connection.asked_at
            self._alive = max(self._alive, heard)
        total_s = self._server.seconds("call_max_total_timeout")
        return self._alive + self._idle_s - now, self._begun + total_s - now

    async def _progress(self, progress: float, total: float | None, message: str | None) -> None:
        del progress, total, message
        if self._server.progress_extends:
            self._alive = self._clock.monotonic()

    def _timed_out(self, *, in_all: bool) -> ToolOutput:
        self._owner.timed_out(self._connection)
        server, tool = self._server.name, self._listed.original
        if in_all:
            limit = self._server.seconds("call_max_total_timeout")
            message = f"{tool} of MCP server {server!r} took more than {limit:g} s in all."
            return failure("timeout", "mcp_call_deadline_exceeded", message, retry=safe())
        message = (
            f"{tool} of MCP server {server!r} gave no sign of life for {self._idle_s:g} s. Whether it "
            "was carried out is not known."
        )
        return failure("timeout", "mcp_call_timeout", message, retry=safe())

    def _outcome(self, request: "asyncio.Task[JsonObject]") -> ToolOutput:
        """What an answered call comes to."""
        error = None if request.cancelled() else request.exception()
        if not request.cancelled() and error is None:
            self._owner.answered()
            return answer(
                self._server.name,
                self._listed.original,
                request.result(),
                self._listed.promised,
            )
        from lash.contrib.mcp.refusing import refused

        if self._owner.state == "stopped":
            return refusal(self._server.name, "stopped", None, 0)
        return refused(self._server, self._listed.original, error, self._connection.lost.reason)


def _left(task: "asyncio.Task[JsonObject]") -> None:
    _leaving.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved: nobody waits for it
