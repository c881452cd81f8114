"""What a server asks of the host, put to the host's own functions, and their answers put into MCP's form."""

import logging
from collections.abc import Callable
from typing import Any, cast

import mcp_types
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.shared.exceptions import MCPError

from lash.contrib.mcp.hooks import Elicitation, Eliciting, Sampling, SamplingRequest
from lash.contrib.mcp.schemas import checker
from lash.contrib.mcp.servers import Server
from lash.core.json import JsonObject
from lash.tools.validation import UnusableSchemaError

_log = logging.getLogger("lash.contrib.mcp")

#: How many questions of one server may be open at once: each may be a person's or cost money.
MOST_QUESTIONS = 16


class Session(ClientSession):
    """A session of a client that asks the host's functions, and says that it has none where it has none."""

    def __init__(self, server: Server, asked: Callable[[int], None], **given: Any) -> None:
        super().__init__(
            # What is given here is advertised; `dispatch_input_request` answers.
            sampling_callback=_unused if server.sampling else None,
            elicitation_callback=_unused if server.elicitation else None,
            list_roots_callback=_unused if server.roots else None,
            **given,
        )
        self._server = server
        self._asked = asked
        self._open = 0

    async def dispatch_input_request(
        self, ctx: ClientRequestContext, request: mcp_types.InputRequest
    ) -> mcp_types.InputResponse | mcp_types.ErrorData:
        """Answer a question of the server."""
        del ctx
        if self._open >= MOST_QUESTIONS:
            return _error(mcp_types.INTERNAL_ERROR, "Too many questions are open already.")
        self._open += 1
        self._asked(1)
        try:
            return await self._answer(request)
        except Exception:  # noqa: BLE001  it is code of the host's
            # What the host's function raised may hold what is none of the server's business.
            _log.exception(
                "MCP server %r asked %s, which failed", self._server.name, request.method
            )
            return _error(mcp_types.INTERNAL_ERROR, "The host could not answer.")
        finally:
            self._open -= 1
            self._asked(-1)

    async def _answer(
        self, request: mcp_types.InputRequest
    ) -> mcp_types.InputResponse | mcp_types.ErrorData:
        match request:
            case mcp_types.CreateMessageRequest(params=wanted) if self._server.sampling:
                return await self._sample(wanted, self._server.sampling)
            case mcp_types.ElicitRequest(params=question) if self._server.elicitation:
                return await self._elicit(question, self._server.elicitation)
            case mcp_types.ListRootsRequest() if self._server.roots:
                roots = await self._server.roots()
                listed = [mcp_types.Root.model_validate(_root(r.uri, r.name)) for r in roots]
                return mcp_types.ListRootsResult(roots=listed)
            case _:
                return _error(mcp_types.METHOD_NOT_FOUND, "Method not found")

    async def _sample(
        self, wanted: mcp_types.CreateMessageRequestParams, ask: Sampling
    ) -> mcp_types.CreateMessageResult:
        params = _plain(wanted)
        answer = await ask(
            SamplingRequest(
                server=self._server.name,
                messages=cast("list[JsonObject]", params.get("messages") or []),
                system_prompt=wanted.system_prompt,
                max_tokens=wanted.max_tokens,
                params=params,
            )
        )
        return mcp_types.CreateMessageResult(
            role="assistant",
            content=mcp_types.TextContent(type="text", text=answer.text),
            model=answer.model,
            stop_reason=answer.stop_reason,
        )

    async def _elicit(
        self, question: mcp_types.ElicitRequestParams, ask: Eliciting
    ) -> mcp_types.ElicitResult | mcp_types.ErrorData:
        if isinstance(question, mcp_types.ElicitRequestURLParams):
            asked = Elicitation(
                server=self._server.name, message=question.message, mode="url", url=question.url
            )
            answer = await ask(asked)
            return mcp_types.ElicitResult(action=answer.action)
        schema: JsonObject = question.requested_schema
        try:
            check = checker(schema)
        except UnusableSchemaError as error:
            return _error(mcp_types.INVALID_PARAMS, f"The schema cannot be used: {error}")
        answer = await ask(
            Elicitation(server=self._server.name, message=question.message, schema=schema)
        )
        if answer.action != "accept":
            return mcp_types.ElicitResult(action=answer.action)
        content = dict(answer.content or {})
        misfit = check.misfit(content)
        if misfit is not None:
            _log.warning(
                "MCP server %r was not given an answer that does not fit what it asked for: %s",
                self._server.name,
                misfit,
            )
            return _error(mcp_types.INTERNAL_ERROR, "The host's answer does not fit the schema.")
        return mcp_types.ElicitResult(action="accept", content=cast("Any", content))


async def _unused(context: Any, params: Any = None) -> Any:
    del context, params
    raise MCPError(mcp_types.METHOD_NOT_FOUND, "Method not found")


def _root(uri: str, name: str | None) -> dict[str, object]:
    return {"uri": uri} if name is None else {"uri": uri, "name": name}


def _error(code: int, message: str) -> mcp_types.ErrorData:
    return mcp_types.ErrorData(code=code, message=message)


def _plain(params: mcp_types.CreateMessageRequestParams) -> JsonObject:
    return cast("JsonObject", params.model_dump(mode="json", by_alias=True, exclude_none=True))
