"""One connection to a server, from the handshake to its end: naming tools, calling them, asking for life."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Protocol, TypeVar, cast

import mcp_types
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from lash.contrib.mcp.asking import Session
from lash.contrib.mcp.http import http_transport
from lash.contrib.mcp.servers import Server, StdioServer
from lash.contrib.mcp.stdio import stdio_transport
from lash.contrib.mcp.wire import Lost, Watched
from lash.core.clock import Clock
from lash.core.json import JsonObject
from lash.effects.racing import raced

T = TypeVar("T")

#: How many pages of tools are read; a server may not go on for ever.
_MOST_PAGES = 64

#: How often a server may ask back before it answers a call.
_MOST_ROUNDS = 10

#: Of the time to connect: how much of it the newest protocol may take to answer.
_PROBE_SHARE = 0.4

_CALLED: TypeAdapter[mcp_types.CallToolResult | mcp_types.InputRequiredResult] = TypeAdapter(
    mcp_types.CallToolResult | mcp_types.InputRequiredResult
)


class OnProgress(Protocol):
    """Told of the progress of a call."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """So much is done."""
        ...


class ConnectError(Exception):
    """A connection did not come about. Its text says why.

    Attributes:
        asked: Whether it went wrong while the server was asked for the newest protocol.
    """

    def __init__(self, reason: str, *, asked: bool = False) -> None:
        super().__init__(reason)
        self.asked = asked


class Connection:
    """A connection on which the handshake was made.

    Attributes:
        lost: Whether it is over.
        asked_at: When such a question last came or was answered, by the monotonic clock.
        asking: Whether the server is being asked for the newest protocol.
        questions: How many questions of the server the host has not answered yet.
    """

    def __init__(self, server: Server, clock: Clock, lost: Lost) -> None:
        self._server = server
        self._clock = clock
        self._session: Session | None = None
        self._changed = asyncio.Event()
        self.lost = lost
        self.questions = 0
        self.asked_at = clock.monotonic()
        self.asking = False

    @property
    def session(self) -> Session:
        """The session; only inside `connected`."""
        return cast("Session", self._session)

    # --- coming about -----------------------------------------------------------------------------

    async def open(self, session: Session, *, handshake: bool) -> None:
        """Agree on a protocol.

        Raises:
            ConnectError: That did not come about.
        """
        self._session = session
        try:
            if not handshake:
                await self._discover(session)
            if session.protocol_version is None:
                await self._shake_hands(session)
        except (MCPError, RuntimeError, ValidationError) as error:
            reason = self.lost.reason or f"the handshake failed: {brief(error)}"
            raise ConnectError(reason, asked=self.asking) from error

    async def _discover(self, session: Session) -> None:
        limit = self._server.seconds("startup_timeout") * _PROBE_SHARE
        self.asking = True
        try:
            await within(self._clock, limit, session.discover())
        except (MCPError, RuntimeError, ValidationError, TimeoutError) as error:
            if self.lost.reason is not None:
                raise ConnectError(self.lost.reason, asked=True) from error
        self.asking = False

    async def _shake_hands(self, session: Session) -> None:
        try:
            await session.initialize()
        except MCPError as error:
            if error.code != mcp_types.UNSUPPORTED_PROTOCOL_VERSION:
                raise
            await session.discover()  # it knows the newest one after all, and was slow to say so

    def hear(self, message: IncomingMessage) -> None:
        """Take note of what the server says unasked."""
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._changed.set()

    # --- tools --------------------------------------------------------------------------------------

    async def list_tools(self) -> list[JsonObject]:
        """The server's tools, in MCP's own form.

        Raises:
            MCPError, ValidationError: It did not say, or not in that form.
        """
        capabilities = self.session.server_capabilities
        if capabilities is None or capabilities.tools is None:
            return []
        tools: list[JsonObject] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            params = mcp_types.PaginatedRequestParams(cursor=cursor) if cursor else None
            page = await self.session.list_tools(params=params)
            tools += [
                cast("JsonObject", tool.model_dump(mode="json", by_alias=True, exclude_none=True))
                for tool in page.tools
            ]
            if not page.next_cursor or page.next_cursor == cursor:
                break
            cursor = page.next_cursor
        return tools

    async def tools_changed(self) -> None:
        """Return once the server has said that its tools are others now."""
        await self._changed.wait()
        self._changed.clear()

    async def listen(self) -> bool:
        """Have the server tell when its tools change, where it only does when it is asked to.

        Returns once it tells nothing any more, and whether it is to be asked again.
        """
        capabilities = self.session.server_capabilities
        tools = capabilities.tools if capabilities else None
        if not self._is_modern or tools is None or not tools.list_changed:
            return False
        try:
            async with listen(self.session, tools_list_changed=True) as subscription:
                async for _ in subscription:
                    self._changed.set()
        except MCPError as error:
            if error.code == mcp_types.METHOD_NOT_FOUND:
                return False
        except SubscriptionLost:
            pass
        self._changed.set()  # something may have been missed
        return True

    async def call(
        self, name: str, args: JsonObject, meta: Mapping[str, str], progress: OnProgress
    ) -> JsonObject:
        """Call a tool; its result in MCP's own form.

        Cancelling the task that waits here cancels the request at the server.

        Raises:
            MCPError: The server refused, or the connection was lost.
            ValidationError: What came is no result.
        """
        responses: mcp_types.InputResponses | None = None
        state: str | None = None
        for _ in range(_MOST_ROUNDS):
            request = mcp_types.CallToolRequest(
                params=mcp_types.CallToolRequestParams(
                    name=name,
                    arguments=dict(args),
                    input_responses=responses,
                    request_state=state,
                    _meta=cast("Any", dict(meta)),
                )
            )
            result = await self.session.send_request(request, _CALLED, progress_callback=progress)
            if isinstance(result, mcp_types.CallToolResult):
                return _result(result)
            responses = await self._respond(result)
            state = result.request_state
        message = f"It asked back {_MOST_ROUNDS} times instead of answering."
        raise MCPError(mcp_types.INTERNAL_ERROR, message)

    async def _respond(
        self, wanted: mcp_types.InputRequiredResult
    ) -> mcp_types.InputResponses | None:
        from mcp.client.session import ClientRequestContext

        if not wanted.input_requests:
            await self._clock.sleep(0.1)  # it only wants to be asked again
            return None
        answers: dict[str, Any] = {}
        for key, question in wanted.input_requests.items():
            context = ClientRequestContext(session=self.session, request_id=key)
            answer = await self.session.dispatch_input_request(context, question)
            if isinstance(answer, mcp_types.ErrorData):
                raise MCPError.from_error_data(answer)
            answers[key] = answer
        return answers

    # --- life ---------------------------------------------------------------------------------------

    async def probe(self) -> str | None:
        """Ask whether the server is alive; why it is taken for dead, else None."""
        limit = self._server.seconds("probe_timeout")
        try:
            if self._is_modern:  # which knows no ping
                await within(self._clock, limit, self.session.send_discover(self._version))
            else:
                await within(self._clock, limit, self.session.send_ping())
        except TimeoutError:
            return f"the server does not answer; asked whether it is alive, it said nothing for {limit} s"
        except MCPError as error:
            if error.code == mcp_types.METHOD_NOT_FOUND:
                return None  # an answer is a sign of life
            return f"the server does not answer to a ping: {brief(error)}"
        except ValidationError:
            return None
        return None

    async def roots_changed(self) -> None:
        """Tell the server that it may look at other places now."""
        if not self._is_modern:  # the newest protocol has no word for it
            await self.session.send_notification(mcp_types.RootsListChangedNotification())

    @property
    def _version(self) -> str:
        return self.session.protocol_version or ""

    @property
    def _is_modern(self) -> bool:
        return self._version in MODERN_PROTOCOL_VERSIONS


@asynccontextmanager
async def connected(
    server: Server, clock: Clock, lost: Lost, *, handshake: bool
) -> AsyncIterator[Connection]:
    """A connection, from the handshake on. It is entered and left in one task.

    Raises:
        ConnectError: It did not come about.
        ExceptionGroup: It was lost in a way that the package raises.
    """
    connection = Connection(server, clock, lost)

    def asked(change: int) -> None:
        connection.questions += change
        connection.asked_at = clock.monotonic()

    async def hear(message: IncomingMessage) -> None:
        connection.hear(message)

    transport = (
        stdio_transport(server, lost)
        if isinstance(server, StdioServer)
        else http_transport(server, lost)
    )
    limit = server.seconds("startup_timeout")
    async with (
        transport as (incoming, outgoing),
        Session(
            server,
            asked,
            read_stream=Watched(incoming, lost),
            write_stream=outgoing,
            message_handler=hear,
            client_info=mcp_types.Implementation(name="lash", version=_lash_version()),
        ) as session,
    ):
        opening = connection.open(session, handshake=handshake)
        await in_time(clock, limit, connection, opening, "answer the handshake")
        yield connection


async def in_time(
    clock: Clock,
    seconds: float,
    connection: Connection,
    work: Coroutine[Any, Any, None],
    what: str,
) -> None:
    """Do what is part of connecting, unless the connection is lost meanwhile.

    Raises:
        ConnectError: It was lost, or it took too long.
    """
    try:
        done, _ = await raced(within(clock, seconds, work), connection.lost.wait())
        if done.done() and not done.cancelled():
            return done.result()
    except TimeoutError as error:
        raise ConnectError(f"the server did not {what} within {seconds} s") from error
    reason = connection.lost.reason or "the connection was closed"
    raise ConnectError(reason, asked=connection.asking)


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`.

    Raises:
        TimeoutError: It took longer; it is cancelled.
    """
    done, _ = await raced(work, clock.sleep(seconds))
    if not done.done() or done.cancelled():
        raise TimeoutError
    return done.result()


def _result(result: mcp_types.CallToolResult) -> JsonObject:
    plain = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    if "structured_content" in result.model_fields_set:
        plain["structuredContent"] = result.structured_content  # which may be null
    return cast("JsonObject", plain)


def brief(error: Exception) -> str:
    """What is wrong with an answer, without repeating it; what the server said, if it refused."""
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"its answer does not fit the protocol ({where}: {first['msg']})"
    return str(error)[:500]


def _lash_version() -> str:
    try:
        return version("lash-runtime")
    except Exception:  # noqa: BLE001  run from a source tree that was never installed
        return "0"
