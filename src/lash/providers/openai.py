"""Models behind the OpenAI Chat Completions API: OpenAI itself and every server that speaks it.

The official `openai` client does the HTTP, with its own retries switched off: one call is one
attempt, and the retry ladder above decides about the next. Every failure is raised as one
`ProviderFailure`, and none of them says the key.
"""

import asyncio
import importlib.util
import os
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self, TypeAlias
from urllib.parse import urlsplit

import msgspec

from lash.core.attachments import ProviderScope
from lash.core.errors import ConfigurationError
from lash.core.json import JsonValue
from lash.llm.classify import classify
from lash.llm.dialects import SchemaDialects
from lash.llm.request import LlmRequest
from lash.llm.response import LlmFailure, LlmResponse, ProviderFailure
from lash.llm.stream import Emit
from lash.providers._openai_wire import AnswerCollector, request_body

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream

ApiKey: TypeAlias = str | Callable[[], Awaitable[str]]

_OPENAI_URL = "https://api.openai.com/v1"
_END = object()

#: How schemas are told to OpenAI. It takes any where it does not hold the model to them: what the dialect
#: cannot say is told as it is, so that one tool of an MCP server does not cost the others.
_LOOSE = SchemaDialects(
    tools=("openai_tool_parameters", "json_prompt_schema"), outputs=("json_prompt_schema",)
)
_STRICT = SchemaDialects(
    tools=("openai_strict_tool_parameters", "openai_tool_parameters", "json_prompt_schema"),
    outputs=("openai_structured_output", "json_prompt_schema"),
)

#: Failures that, after the finish reason, cost nothing but trailing usage.
_TRAILER_LOST = frozenset({"transport", "timeout"})


class OpenAICompatible:
    """A Chat Completions server.

    Args:
        api_key: The key, or an async function that is asked for one before every call.
        base_url: Where the API lives, `/v1` included; OpenAI's own if not given.
        kind: The provider's name, as in `openai:gpt-5.2`.
        connect_timeout: Seconds until a connection must stand.
        chunk_timeout: Seconds without a byte, before the first one or between two.
        total_timeout: Seconds a whole call may take, however lively its stream; None for no limit.
            The default is longer than any answer and shorter than for ever: a server can keep a
            stream alive with comments alone.
        regenerates_safely: Whether an answer that broke off may be asked for again. True unless the
            server acts on its own while it answers.
        strict_schemas: Have the server hold models to the schemas of tools and answers, as far as its
            strict profile can say them; the others are told as they are without. Models then send
            `null` for whatever may be left out, which counts as left out.
        dialects: How schemas are told, for a server that takes other ones than OpenAI's; replaces what
            `strict_schemas` says.
        credential_scope: Under which credentials the key sees uploaded files: a `ProviderFileSource`
            of another scope is refused rather than sent.

    Raises:
        ConfigurationError: `provider_not_installed` or `provider_not_configured`.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey,
        base_url: str | None = None,
        kind: str = "openai",
        connect_timeout: float = 10.0,
        chunk_timeout: float = 120.0,
        total_timeout: float | None = 1_800.0,
        regenerates_safely: bool = True,
        strict_schemas: bool = False,
        dialects: SchemaDialects | None = None,
        credential_scope: str = "",
    ) -> None:
        # Looking for the SDK is quick; importing it is not, so that waits for the first call.
        if importlib.util.find_spec("openai") is None:
            raise ConfigurationError(
                "provider_not_installed",
                "The openai package is not installed. Run: pip install 'lash-runtime[openai]'",
            )
        if isinstance(api_key, str) and not _is_header_safe(api_key):
            raise ConfigurationError(
                "provider_not_configured",
                "The API key is empty or holds spaces, line ends or non-ASCII characters. "
                "Check how it is read: a line end from a file is the usual cause.",
            )
        url = urlsplit(base_url or _OPENAI_URL)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ConfigurationError(
                "provider_not_configured",
                "base_url must be an http or https URL, such as http://127.0.0.1:8000/v1.",
            )
        self._api_key = api_key
        self._base_url = base_url or _OPENAI_URL
        self._kind = kind
        self._connect_timeout = connect_timeout
        self._chunk_timeout = chunk_timeout
        self._total_timeout = total_timeout
        self._regenerates_safely = regenerates_safely
        self._dialects = dialects or (_STRICT if strict_schemas else _LOOSE)
        self._scope = ProviderScope(provider=kind, credential_scope=credential_scope)
        self._client: AsyncOpenAI | None = None

    @classmethod
    def from_env(cls) -> Self:
        """A provider for `OPENAI_API_KEY`, at `OPENAI_BASE_URL` if that is set.

        Raises:
            ConfigurationError: `provider_not_configured` when there is no key.
        """
        key = os.environ.get("OPENAI_API_KEY")
        if not key:
            raise ConfigurationError(
                "provider_not_configured",
                "Set OPENAI_API_KEY (and OPENAI_BASE_URL for a server other than OpenAI's; any key "
                "will do if that server checks none), or pass OpenAICompatible(api_key=...).",
            )
        return cls(api_key=key, base_url=os.environ.get("OPENAI_BASE_URL") or None)

    def __repr__(self) -> str:
        # Neither the key nor credentials someone put into the URL.
        url = urlsplit(self._base_url)
        shown = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
        return f"OpenAICompatible(kind={self._kind!r}, base_url={shown!r})"

    @property
    def kind(self) -> str:
        """The provider's name."""
        return self._kind

    @property
    def regenerates_safely(self) -> bool:
        """Whether an answer that broke off after output began may be asked for again."""
        return self._regenerates_safely

    @property
    def schema_dialects(self) -> SchemaDialects:
        """How the schemas of tools and answers are told to the server."""
        return self._dialects

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        """Make one streamed attempt.

        Raises:
            ProviderFailure: The attempt failed; its data says how.
        """
        body = request_body(request, self._scope)
        key = await self._key()
        call = _Call(self._open(key), key, emit)
        deadline = asyncio.timeout(self._total_timeout)
        try:
            async with deadline:
                await call.run(body)
        except ProviderFailure as failed:
            # Once the server said why it ended, the answer is whole; what broke off was its trailer.
            if call.answer.finish_reason is None or failed.failure.kind not in _TRAILER_LOST:
                raise
        except TimeoutError:
            if not deadline.expired():
                raise
            if call.answer.finish_reason is None:
                raise call.timed_out(self._total_timeout) from None
        for event in call.answer.completed_parts():
            emit(event)
        return call.answer.response()

    async def aclose(self) -> None:
        """Release connections. A later call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _key(self) -> str:
        if isinstance(self._api_key, str):
            return self._api_key
        try:
            key = await self._api_key()
        except Exception as error:  # noqa: BLE001  the host's function may raise anything
            # Its text may quote what it was refused with, so only the type is told.
            why = f"the api_key function raised {type(error).__name__}"
            raise _no_key(why) from None
        if not _is_header_safe(key):
            raise _no_key("the api_key function returned something that is no key")
        return key

    def _open(self, key: str) -> "AsyncOpenAI":
        if self._client is None:
            from openai import AsyncOpenAI, Timeout

            self._client = AsyncOpenAI(
                api_key=key,
                base_url=self._base_url,
                max_retries=0,
                timeout=Timeout(self._chunk_timeout, connect=self._connect_timeout),
            )
        return self._client


class _Call:
    """One attempt: the request, its stream, and the answer as far as it came."""

    def __init__(self, client: "AsyncOpenAI", key: str, emit: Emit) -> None:
        self.answer = AnswerCollector()
        self._client = client
        self._key = key
        self._emit = emit

    async def run(self, body: dict[str, JsonValue]) -> None:
        """Send the request and take in the stream to its end."""
        stream = await self._send(body)
        headers = stream.response.headers
        self.answer = AnswerCollector(request_id=headers.get("x-request-id"))
        try:
            while (data := await self._next(stream)) is not _END:
                self._take(data)
        finally:
            # Leaving early, by failure or cancellation, must not leave the server generating.
            await stream.close()
        if self.answer.finish_reason is None:
            # The client takes any end of the stream for a good one.
            sent = headers.get("content-type", "no content type")
            failure = classify(
                message=f"The stream ended before its finish reason ({sent}).",
                kind="stream",
                code="stream_ended_before_finish_reason",
            )
            raise self._failed(failure)

    def timed_out(self, seconds: float | None) -> ProviderFailure:
        """The failure of a call that outlived its total timeout."""
        from lash.providers._openai_failures import timed_out

        return self._failed(timed_out(f"The call took longer than its {seconds} s in all."))

    async def _send(self, body: dict[str, JsonValue]) -> "AsyncStream[object]":
        from openai import AsyncStream

        try:
            # Plain JSON both ways: the body is ours to the byte, and chunks come without models
            # that would accept any shape. The key rides along because it may change between calls.
            return await self._client.post(
                "/chat/completions",
                cast_to=object,
                body=body,
                options={
                    "headers": {
                        "Authorization": f"Bearer {self._key}",
                        "Accept": "text/event-stream",
                    }
                },
                stream=True,
                stream_cls=AsyncStream[object],
            )
        except Exception as error:  # noqa: BLE001  only the client runs here; all it raises is one type
            raise self._raised(error, streaming=False) from None

    async def _next(self, stream: "AsyncStream[object]") -> object:
        try:
            return await anext(stream, _END)
        except Exception as error:  # noqa: BLE001  only the client runs here; all it raises is one type
            raise self._raised(error, streaming=True) from None

    def _take(self, data: object) -> None:
        try:
            events = self.answer.feed(data)
        except msgspec.ValidationError as error:
            from lash.providers._openai_failures import malformed

            raise self._failed(malformed(str(error))) from None
        for event in events:
            self._emit(event)

    def _raised(self, error: Exception, *, streaming: bool) -> ProviderFailure:
        from lash.providers._openai_failures import failure_of

        return self._failed(failure_of(error, streaming=streaming))

    def _failed(self, failure: LlmFailure) -> ProviderFailure:
        """The failure with what was reported before it, and without the key some servers echo."""
        # Some servers repeat what they were sent; bytes of attachments are kept nowhere.
        message, code = _ENCODED.sub(";base64,…", failure.message), failure.code
        if len(self._key) >= _SHORTEST_SECRET:
            message = message.replace(self._key, "[api key]")
            code = code.replace(self._key, "[api key]") if code else code
        return ProviderFailure(
            msgspec.structs.replace(
                failure,
                message=message,
                code=code,
                usage=self.answer.usage,
                evidence=failure.evidence or self.answer.evidence(),
            )
        )


#: Bytes in a URL, as requests hold them.
_ENCODED = re.compile(r";base64,[A-Za-z0-9+/=]+")

#: A shorter key is a stand-in for servers that want none; hiding it would only garble the text.
_SHORTEST_SECRET = 8


def _is_header_safe(key: object) -> bool:
    """Whether a key can stand in a header: visible ASCII and not empty."""
    return isinstance(key, str) and bool(key) and all("!" <= char <= "~" for char in key)


def _no_key(why: str) -> ProviderFailure:
    message = f"There is no API key for the call: {why}."
    return ProviderFailure(classify(message=message, kind="auth", code="credential_refresh_failed"))
