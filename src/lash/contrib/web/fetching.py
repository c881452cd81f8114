"""One page from the web, within limits: where it may come from, how large it is, and how long it takes.

Names are resolved once, and the connection is made to the address that was checked: what a name points to
afterwards does not matter. So is every place that a page redirects to.
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import httpx2

from lash.contrib.web.addresses import Network, may_connect
from lash.tools.model import ToolError

#: How many addresses of one name are tried.
_ADDRESSES = 4

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_HEADERS = {
    "User-Agent": "lash",
    "Accept": "text/html,application/xhtml+xml,text/plain,application/json;q=0.9,*/*;q=0.5",
    "Accept-Encoding": "gzip",
}

#: Gives the addresses of a host and a port.
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a page may cost.

    Attributes:
        seconds: In all, redirects and all bytes included.
        max_bytes: Of the page, as it is sent and as it is unpacked; the rest is not read.
        max_redirects: How often it may be somewhere else.
        allowed: Networks that may be connected to although they are not public.
    """

    seconds: float = 30.0
    max_bytes: int = 2 * 1024 * 1024
    max_redirects: int = 5
    allowed: Sequence[Network] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page.

    Attributes:
        url: Where it was in the end.
        status: What the server said of it.
        content_type: What it is, as the server says.
        body: As much of it as may be read.
        cut: There was more of it.
    """

    url: str
    status: int
    content_type: str
    body: bytes
    cut: bool


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system tells them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Fetcher:
    """Fetches pages.

    Args:
        limits: What a page may cost.
        resolving: Gives addresses; the system's by default.
        context: What certificates are checked against; the system's by default.
    """

    def __init__(
        self,
        limits: FetchLimits,
        *,
        resolving: Resolve = resolve,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits
        self._resolve = resolving
        self._context = context

    async def get(self, url: str) -> Fetched:
        """A page.

        Raises:
            ToolError: `url_invalid`, `address_refused`, `fetch_timeout`, `fetch_failed`,
                `too_many_redirects`, `encoding_unsupported`.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._following(_parsed(url))
        except TimeoutError as error:
            raise ToolError(
                f"The page took longer than {self._limits.seconds:g} s.",
                code="fetch_timeout",
                failure_class="timeout",
            ) from error

    async def _following(self, url: httpx2.URL) -> Fetched:
        for _ in range(self._limits.max_redirects + 1):
            answer = await self._one(url)
            if isinstance(answer, Fetched):
                return answer
            url = answer
        raise ToolError(
            f"The page redirects more than {self._limits.max_redirects} times.",
            code="too_many_redirects",
            failure_class="external",
        )

    async def _one(self, url: httpx2.URL) -> "Fetched | httpx2.URL":
        """The page at a place, or where it redirects to; from the first address that answers."""
        failure: httpx2.HTTPError | None = None
        for address in await self._addresses(url):
            try:
                return await self._from(url, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
            except (httpx2.HTTPError, httpx2.InvalidURL, zlib.error) as error:
                raise _failed(url, error) from error
        raise _failed(url, failure) from failure

    async def _addresses(self, url: httpx2.URL) -> Sequence[str]:
        """The addresses of a host that may be connected to."""
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await self._resolve(url.raw_host.decode("ascii").strip("[]"), port)
        except (OSError, UnicodeError) as error:
            raise ToolError(
                f"There is no host {url.host!r}.", code="fetch_failed", failure_class="external"
            ) from error
        may = [each for each in found if may_connect(each, self._limits.allowed)]
        if not may:
            raise ToolError(
                f"{url.host!r} is not in the public internet, and may not be connected to.",
                code="address_refused",
                failure_class="permission_denied",
            )
        return may[:_ADDRESSES]

    async def _from(self, url: httpx2.URL, address: str) -> "Fetched | httpx2.URL":
        if self._context is None:
            self._context = httpx2.create_ssl_context(trust_env=False)
        # A connection of its own, which ends with it: one to the same address may be another host's.
        transport = httpx2.AsyncHTTPTransport(
            verify=self._context,
            trust_env=False,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
        )
        client = httpx2.AsyncClient(
            transport=transport, trust_env=False, timeout=self._limits.seconds
        )
        headers = {**_HEADERS, "Host": url.netloc.decode("ascii")}
        extensions = {"sni_hostname": url.raw_host.decode("ascii")}
        target = url.copy_with(host=address.partition("%")[0], fragment=None)
        async with (
            client,
            client.stream("GET", target, headers=headers, extensions=extensions) as response,
        ):
            location = response.headers.get("location")
            if response.status_code in _REDIRECTS and location:
                return _parsed(location, url)
            body, cut = await self._body(response)
            return Fetched(
                url=str(url),
                status=response.status_code,
                content_type=response.headers.get("content-type", ""),
                body=body,
                cut=cut,
            )

    async def _body(self, response: httpx2.Response) -> tuple[bytes, bool]:
        """As much of a page as may be read, unpacked, and whether there is more."""
        most = self._limits.max_bytes
        body = bytearray()
        async for part in _unpacked(response, most):
            body += part
            if len(body) > most:
                return bytes(body[:most]), True
        return bytes(body), False


async def _unpacked(response: httpx2.Response, most: int) -> AsyncIterator[bytes]:
    """The bytes of a page; of what is packed never more at once than may be read in all."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        async for part in response.aiter_raw():
            yield part
        return
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise ToolError(
            f"The page is packed as {encoding!r}, which cannot be unpacked.",
            code="encoding_unsupported",
            failure_class="external",
        )
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    packed = 0
    async for part in response.aiter_raw():
        packed += len(part)
        yield unpacking.decompress(part, most + 1)
        if unpacking.unconsumed_tail or packed > most:
            yield bytes(most + 1)  # there is more than may be read
            return


def _parsed(given: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """An address that pages may be fetched from.

    Raises:
        ToolError: `url_invalid`.
    """
    try:
        url = httpx2.URL(given) if base is None else base.join(given)
        _ = url.host, url.port, url.netloc.decode("ascii")
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        raise _invalid(f"{given[:200]!r} is no address of a page") from error
    if url.scheme not in {"http", "https"}:
        raise _invalid(f"Only http and https are fetched, not {url.scheme or 'nothing'!r}")
    if not url.host:
        raise _invalid(f"{given[:200]!r} names no host")
    if url.port is not None and not 0 < url.port < 65_536:
        raise _invalid(f"There is no port {url.port}")
    if url.userinfo:
        raise _invalid("An address that holds a user name or a password is not fetched")
    return url


def _invalid(why: str) -> ToolError:
    return ToolError(f"{why}.", code="url_invalid", failure_class="invalid_request")


def _failed(url: httpx2.URL, error: Exception | None) -> ToolError:
    kind = type(error).__name__ if error is not None else "no address"
    said = f"{kind}: {error}" if error is not None and str(error) else kind
    return ToolError(
        f"The page could not be fetched from {url.host!r}: {said}.",
        code="fetch_failed",
        failure_class="external",
    )
