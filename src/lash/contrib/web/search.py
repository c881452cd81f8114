"""Searching the web: what a provider of it is, and one that speaks to Tavily."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import httpx2
import msgspec

from lash.core.json import Data
from lash.tools.model import ToolError

#: How long an answer may be, in bytes.
_MAX_ANSWER = 4 * 1024 * 1024

#: How much of a provider's complaint is told, in characters.
_MAX_SAID = 300


class SearchResult(Data):
    """A page that was found.

    Attributes:
        title: What it is called.
        url: Where it is.
        content: What of it was looked for.
    """

    title: str
    url: str
    content: str


class SearchProvider(Protocol):
    """Searches the web."""

    async def search(self, query: str, limit: int) -> Sequence[SearchResult]:
        """The best pages for a query, at most so many.

        Raises:
            ToolError: The search failed; with `retry=True` if it may be repeated.
        """
        ...


class _Found(msgspec.Struct):
    url: str
    title: str | None = None
    content: str | None = None


class _Answer(msgspec.Struct):
    results: list[_Found]


class Tavily:
    """Searches with Tavily.

    Args:
        api_key: The key; never shown.
        base_url: Where the service is.
        timeout: How long a search may take, in seconds.
        search_depth: `basic`, or `advanced`, which costs twice as much.
    """

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = "https://api.tavily.com",
        timeout: float = 30.0,
        search_depth: str = "basic",
    ) -> None:
        self._key = api_key
        self._url = base_url.rstrip("/")
        self._timeout = timeout
        self._depth = search_depth

    def __repr__(self) -> str:
        return f"Tavily(base_url={self._url!r})"

    async def search(self, query: str, limit: int) -> Sequence[SearchResult]:
        """The best pages for a query.

        Raises:
            ToolError: `search_unauthorized`, `search_quota`, `search_refused`, `search_busy`,
                `search_failed`, `search_answer_invalid`.
        """
        asked = {"query": query, "max_results": limit, "search_depth": self._depth}
        status, body, wait_ms = await self._post("/search", asked)
        if status != 200:
            raise _refusal(status, _said(body), wait_ms)
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.MsgspecError as error:
            raise ToolError(
                "The search service answered something that is no list of results.",
                code="search_answer_invalid",
                failure_class="external",
            ) from error
        return [
            SearchResult(title=each.title or "", url=each.url, content=each.content or "")
            for each in answer.results[:limit]
        ]

    async def _post(self, path: str, asked: Mapping[str, object]) -> tuple[int, bytes, int | None]:
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            async with (
                httpx2.AsyncClient(timeout=self._timeout) as client,
                client.stream(
                    "POST", f"{self._url}{path}", json=asked, headers=headers
                ) as response,
            ):
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _MAX_ANSWER:
                        break
                return response.status_code, bytes(body), _wait_ms(response)
        except httpx2.HTTPError as error:
            # Its text may name the request, and with it the key.
            raise ToolError(
                f"The search service could not be asked: {type(error).__name__}.",
                code="search_failed",
                failure_class="unavailable",
                retry=True,
            ) from None


def _wait_ms(response: httpx2.Response) -> int | None:
    said = response.headers.get("retry-after", "")
    return int(said) * 1000 if said.isascii() and said.isdigit() and len(said) < 6 else None


def _said(body: bytes) -> str:
    """What a service complains of, if it says so in one of the usual ways."""
    try:
        told = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return ""
    while isinstance(told, dict):
        told = next((told[name] for name in ("detail", "error", "message") if name in told), "")
    return str(told)[:_MAX_SAID] if isinstance(told, str) else ""


def _refusal(status: int, said: str, wait_ms: int | None) -> ToolError:
    code, retry = "search_refused", False
    if status in {401, 403}:
        code = "search_unauthorized"
    elif status in {432, 433}:
        code = "search_quota"
    elif status == 429:
        code, retry = "search_busy", True
    elif status >= 500:
        code, retry = "search_failed", True
    why = f": {said}" if said else ""
    return ToolError(
        f"The search service refused the search (status {status}){why}",
        code=code,
        failure_class="external",
        retry=retry,
        retry_after_ms=wait_ms if retry else None,
    )
