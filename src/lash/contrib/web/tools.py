"""The tools for the web: `fetch_url`, and with a provider of searches `search_web`."""

import codecs
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from lash.contrib.output_budget import OutputBudget, cut_text
from lash.contrib.web.addresses import networks
from lash.contrib.web.html_text import Page, readable
from lash.core.durations import Duration, milliseconds
from lash.core.errors import ConfigurationError
from lash.core.json import JsonObject
from lash.core.text import well_formed
from lash.tools.function import FunctionTool
from lash.tools.model import Tool, ToolError, ToolRetry
from lash.tools.threads import in_thread

if TYPE_CHECKING:
    from lash.contrib.web.fetching import Fetched
    from lash.contrib.web.search import SearchProvider

#: How much of a page is told, in bytes.
MAX_TOLD = 50 * 1024

#: How much of one result of a search is told, in bytes.
_MAX_RESULT = 4 * 1024

_TEXT = re.compile(
    r"text/|application/(?:[\w.+-]*\+)?(?:json|xml|yaml|x-yaml|toml|javascript|ecmascript|x-ndjson|rtf)$"
)
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)

#: Names of what Python calls encodings and no page is in.
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"})

_RETRY = ToolRetry(max_attempts=3, base_delay_ms=500, max_delay_ms=10_000)


class Web:
    """Tools for the web, for an agent's `tools`; they need `lash-runtime[web]`.

        reader = lash.Agent("reader", model=…, tools=Web(search=Tavily(key)).tools())

    Args:
        search: Who searches; without one there is no `search_web`.
        allow_networks: Networks that may be connected to although they are not public, such as
            `10.0.0.0/8`.
        timeout: How long a page may take in all.
        max_bytes: How much of a page is read, packed or not.
        max_redirects: How often it may be somewhere else.

    Raises:
        ConfigurationError: `tool_set_invalid`: a network is none, or the extra is not installed.
    """

    def __init__(
        self,
        *,
        search: "SearchProvider | None" = None,
        allow_networks: Sequence[str] = (),
        timeout: Duration = 30,
        max_bytes: int = 2 * 1024 * 1024,
        max_redirects: int = 5,
    ) -> None:
        try:
            from lash.contrib.web.fetching import Fetcher, FetchLimits
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "tool_set_invalid", "Web needs httpx2. Run: pip install 'lash-runtime[web]'"
            ) from error
        try:
            allowed = networks(allow_networks)
        except ValueError as error:
            raise ConfigurationError(
                "tool_set_invalid", f"allow_networks holds something that is none: {error}."
            ) from error
        self._search = search
        self._fetcher = Fetcher(
            FetchLimits(
                seconds=milliseconds(timeout, "The timeout of Web") / 1000,
                max_bytes=max_bytes,
                max_redirects=max_redirects,
                allowed=allowed,
            )
        )

    def tools(self) -> list[Tool]:
        """The tools."""
        tools: list[Tool] = [FunctionTool(self.fetch_url)]
        if self._search is not None:
            tools.append(FunctionTool(self.search_web, retry=_RETRY))
        return tools

    async def fetch_url(
        self, url: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
    ) -> JsonObject:
        """Fetch a page of the web as text. Only text is fetched, and of long pages the beginning.

        Args:
            url: Its address, with http or https.
        """
        fetched = await self._fetcher.get(url)
        if fetched.status >= 400:
            raise ToolError(
                f"The server answered with status {fetched.status} for {fetched.url}.",
                code="fetch_status",
                failure_class="external",
                raw={"status": fetched.status, "url": fetched.url},
            )
        page = await in_thread(_page, {"fetched": fetched})
        shown = cut_text(page.text, OutputBudget(max_bytes=MAX_TOLD, max_lines=100_000))
        title = {"title": page.title} if page.title else {}
        cut = {"truncated": True} if fetched.cut or shown.omitted_bytes else {}
        return {"url": fetched.url, **title, "content": shown.text, **cut}

    async def search_web(
        self,
        query: Annotated[str, msgspec.Meta(min_length=1, max_length=400)],
        limit: Annotated[int, msgspec.Meta(ge=1, le=20)] = 5,
    ) -> JsonObject:
        """Search the web.

        Args:
            query: What to look for.
            limit: How many pages to show.
        """
        if self._search is None:
            raise ToolError("Nobody searches here.", code="search_failed")
        budget = OutputBudget(max_bytes=_MAX_RESULT)
        return {
            "results": [
                {
                    "title": well_formed(each.title)[:500],
                    "url": well_formed(each.url)[:4000],
                    "content": cut_text(well_formed(each.content), budget).text,
                }
                for each in (await self._search.search(query, limit))[:limit]
            ]
        }


def _page(fetched: "Fetched") -> Page:
    """What a page says.

    Raises:
        ToolError: `content_not_text`.
    """
    kind = fetched.content_type.partition(";")[0].strip().lower()
    head = fetched.body[:1024].lstrip().lower()
    is_html = kind in _HTML or (not kind and head.startswith((b"<!doctype html", b"<html")))
    # Text in two bytes to a letter is full of zeros.
    wide = fetched.body.startswith((b"\xff\xfe", b"\xfe\xff"))
    if (kind and not _TEXT.match(kind) and not is_html) or (b"\0" in head and not wide):
        raise ToolError(
            f"{fetched.url} is {kind or 'a binary file'}; only text can be fetched.",
            code="content_not_text",
            failure_class="invalid_request",
        )
    text = well_formed(fetched.body.decode(_charset(fetched, is_html=is_html), "replace"))
    text = text.removeprefix("\ufeff").replace("\0", "")
    return readable(text, fetched.url) if is_html else Page(title="", text=text)


def _charset(fetched: "Fetched", *, is_html: bool) -> str:
    if fetched.body.startswith(b"\xef\xbb\xbf"):
        return "utf-8"
    if fetched.body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    found = _CHARSET.search(fetched.content_type)
    if found is None and is_html:
        found = _CHARSET.search(fetched.body[:2048].decode("latin-1"))
    if found is None:
        return "utf-8"
    try:
        known = codecs.lookup(found[1])
        b"a".decode(known.name, "replace")  # some take bytes to bytes
    except (LookupError, UnicodeError):
        return "utf-8"
    return "utf-8" if known.name.replace("_", "-") in _NO_CHARSETS else known.name
