"""`fetch_url` and `search_web`: against servers that are slow, endless, lying, or somewhere they must not be."""

import asyncio
import gzip
import json
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from files_harness import outcome
from web_harness import Site, page, redirect, serving

import lash
from lash.contrib.web import SearchResult, Tavily, Web
from lash.contrib.web.addresses import may_connect, networks
from lash.contrib.web.fetching import Fetcher, FetchLimits
from lash.testing import ScriptedModel, calls, reply
from lash.tools.model import ToolError
from lash.turn.tools import ToolFailure

LOCAL = ("127.0.0.1/32",)


def web(**options: Any) -> Web:
    return Web(allow_networks=LOCAL, **options)


async def fetch(url: str, **options: Any) -> Any:
    async with asyncio.timeout(30):
        return await outcome(web(**options).tools()[0], {"url": url})


async def code_of(url: str, **options: Any) -> str:
    failure = await fetch(url, **options)
    assert isinstance(failure, ToolFailure), failure
    return failure.code


# --- pages ----------------------------------------------------------------------------------------------


async def test_a_model_is_told_what_a_page_says(tmp_path: Path) -> None:
    html = (
        b"<html><head><title>The page</title></head><body><h1>Hi</h1><p>Read <a href='/on'>on</a>."
    )
    async with serving() as site:
        site.pages["/a"] = page(html)
        script = [calls(("fetch_url", {"url": site.url("/a")})), reply("Done.")]
        agent = lash.Agent("reader", model=ScriptedModel(script), tools=web().tools())
        async with asyncio.timeout(30), lash.Runtime(tmp_path / "a.db", agents=[agent]) as runtime:
            turn = await runtime.session("s").run("Go.")
        assert turn.tool_calls[0].output.outcome.payload == {
            "url": site.url("/a"),
            "title": "The page",
            "content": f"# Hi\n\nRead [on]({site.url('/on')}).",
        }
    assert "cookie" not in site.asked[0].lower()
    assert f"Host: 127.0.0.1:{site.port}\r\n" in site.asked[0]


async def test_text_and_json_are_told_as_they_are() -> None:
    async with serving() as site:
        site.pages["/t"] = page(b"<b>no html</b>", "text/plain")
        site.pages["/j"] = page(b'{"a": 1}', "application/ld+json; charset=utf-8")
        site.pages["/n"] = page(b"<!doctype html><p>sniffed", "")
        assert (await fetch(site.url("/t")))["content"] == "<b>no html</b>"
        assert (await fetch(site.url("/j")))["content"] == '{"a": 1}'
        assert (await fetch(site.url("/n")))["content"] == "sniffed"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1"),
        ("é".encode("utf-16"), "text/plain"),
        (b"\xef\xbb\xbf" + "é".encode(), "text/plain; charset=latin-1"),
        ("é".encode(), "text/plain; charset=nonsense"),
        ("é".encode(), "text/plain; charset=rot13"),
        ("é".encode(), "text/plain; charset=idna"),
        (b'<meta charset="windows-1252">' + "é".encode("cp1252"), "text/html"),
    ],
)
async def test_letters_are_read_as_the_page_says(body: bytes, kind: str) -> None:
    async with serving() as site:
        site.pages["/"] = page(body, kind)
        assert (await fetch(site.url("/")))["content"] == "é"


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"%PDF", "application/pdf"), (b"\x89PNG", "image/png"), (b"a\0b", "text/plain")],
)
async def test_what_is_no_text_is_refused(body: bytes, kind: str) -> None:
    async with serving() as site:
        site.pages["/"] = page(body, kind)
        assert await code_of(site.url("/")) == "content_not_text"


async def test_what_a_server_refuses_is_told_with_its_status() -> None:
    async with serving() as site:
        failure = await fetch(site.url("/missing"))
    assert (failure.code, failure.raw["status"]) == ("fetch_status", 404)


# --- where pages may come from --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "//127.0.0.1/",
        "nothing",
        "http://",
        "http://user:secret@127.0.0.1/",
        "http://[::1",
        "http://127.0.0.1:99999/",
    ],
)
async def test_what_is_no_address_of_a_page_is_refused(url: str) -> None:
    failure = await fetch(url)
    assert failure.code == "url_invalid"
    assert "secret" not in failure.message


async def test_private_addresses_are_refused_unless_the_host_allows_them() -> None:
    async with serving() as site:
        site.pages["/"] = page(b"secret")
        for host in (
            "127.0.0.1",
            "localhost",
            "0x7f.1",
            "2130706433",
            "0.0.0.0",  # noqa: S104  nothing is bound to it
            "[::ffff:127.0.0.1]",
        ):
            failure = await outcome(Web().tools()[0], {"url": site.url("/", host)})
            assert failure.code == "address_refused", host
        assert site.asked == []


async def test_a_redirect_to_a_private_address_is_refused() -> None:
    async with serving() as site:
        site.pages["/a"] = redirect(site.url("/secret", "127.0.0.2"))
        site.pages["/secret"] = page(b"secret")
        assert await code_of(site.url("/a")) == "address_refused"
        assert site.to == ["127.0.0.1"]


async def test_redirects_are_followed_a_few_times() -> None:
    async with serving() as site:
        site.pages["/a"] = redirect("b?x=1#y")
        site.pages["/b?x=1"] = redirect(site.url("/c"))
        site.pages["/c"] = page(b"here", "text/plain")
        site.pages["/loop"] = redirect("/loop")
        site.pages["/file"] = redirect("file:///etc/passwd")
        assert await fetch(site.url("/a")) == {"url": site.url("/c"), "content": "here"}
        assert await code_of(site.url("/loop"), max_redirects=3) == "too_many_redirects"
        assert len([head for head in site.asked if head.startswith("GET /loop ")]) == 4
        assert await code_of(site.url("/file")) == "url_invalid"


def fetcher(answers: Sequence[Sequence[str]], **options: Any) -> tuple[Fetcher, list[str]]:
    """One that is told addresses, one answer after another, and the hosts it asked for."""
    asked: list[str] = []

    async def resolving(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    return Fetcher(FetchLimits(allowed=networks(LOCAL)), resolving=resolving, **options), asked


async def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to() -> None:
    async with serving() as site:
        site.pages["/"] = page(b"here", "text/plain")
        # What it would be told the second time is not allowed.
        fetching, asked = fetcher([["127.0.0.1"], ["127.0.0.2"]])
        fetched = await fetching.get(site.url("/", "site.test"))
        assert (fetched.body, asked, site.to) == (b"here", ["site.test"], ["127.0.0.1"])
        assert f"Host: site.test:{site.port}\r\n" in site.asked[0]


async def test_of_several_addresses_only_those_that_may_be_are_tried() -> None:
    async with serving() as site:
        site.pages["/"] = page(b"here")
        fetching, _ = fetcher([["127.0.0.2", "10.0.0.1", "127.0.0.1"]])
        await fetching.get(site.url("/", "site.test"))
        assert site.to == ["127.0.0.1"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")
async def test_certificates_are_checked_against_the_name_that_was_asked_for(tmp_path: Path) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    made += ["-nodes", "-days", "2", "-subj", "/CN=site.test", "-keyout", "key", "-out", "cert"]
    made += ["-addext", "subjectAltName=DNS:site.test"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    mine = ssl.create_default_context(cafile=str(tmp_path / "cert"))
    async with serving(context=theirs) as site:
        site.pages["/"] = page(b"here")
        fetching, _ = fetcher([["127.0.0.1"]] * 2, context=mine)
        assert (await fetching.get(f"https://site.test:{site.port}/")).body == b"here"
        with pytest.raises(ToolError) as refused:
            await fetching.get(f"https://other.test:{site.port}/")
        assert refused.value.failure.code == "fetch_failed"
        strict, _ = fetcher([["127.0.0.1"]])  # which nobody vouches for this certificate to
        with pytest.raises(ToolError) as refused:
            await strict.get(f"https://site.test:{site.port}/")
        assert "CERTIFICATE_VERIFY_FAILED" in refused.value.failure.message


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        *(
            (private, False)
            for private in (
                "127.0.0.1",
                "10.1.2.3",
                "172.16.0.1",
                "192.168.1.1",
                "169.254.169.254",
                "0.0.0.0",  # noqa: S104
                "100.64.0.1",
                "198.18.0.1",
                "192.0.0.8",
                "224.0.0.1",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::1",
                "fe80::1",
                "fe80::1%eth0",
                "fc00::1",
                "ff02::1",
                "2001:db8::1",
                "::ffff:10.0.0.1",
                "::ffff:127.0.0.1",
                "64:ff9b::7f00:1",
                "64:ff9b:1::a00:1",
                "2002:7f00:1::",
                "2001:0:a00:1::",
                "::127.0.0.1",
                "not an address",
            )
        ),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert may_connect(address, ()) is expected


def test_a_network_that_is_none_is_refused_where_it_is_set_up() -> None:
    with pytest.raises(lash.ConfigurationError) as refused:
        Web(allow_networks=["10.0.0.0/99"])
    assert refused.value.code == "tool_set_invalid"


async def test_an_address_of_the_sixth_version_is_fetched_from() -> None:
    async with serving("::1") as site:
        site.pages["/"] = page(b"here", "text/plain")
        url = site.url("/", "[::1]")
        assert await code_of(url) == "address_refused"
        tool = Web(allow_networks=["::1/128"]).tools()[0]
        assert (await outcome(tool, {"url": url}))["content"] == "here"
        assert f"Host: [::1]:{site.port}\r\n" in site.asked[0]


# --- what pages may cost --------------------------------------------------------------------------------


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def silent(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving() as site:
        site.pages["/"] = silent
        assert await code_of(site.url("/"), timeout=0.2) == "fetch_timeout"


async def test_a_server_that_says_a_little_now_and_then_is_given_up() -> None:
    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving() as site:
        site.pages["/"] = dripping
        assert await code_of(site.url("/"), timeout=0.5) == "fetch_timeout"


async def test_of_an_endless_page_the_beginning_is_told() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"0123456789" * 1000)
            await writer.drain()

    async with serving() as site:
        site.pages["/"] = endless
        told = await fetch(site.url("/"), max_bytes=100)
        assert told == {"url": site.url("/"), "content": "0123456789" * 10, "truncated": True}
        told = await fetch(site.url("/"))
        assert told["truncated"] is True
        assert len(told["content"]) <= 50 * 1024


async def test_endless_headers_are_given_up() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X: " + b"y" * 1000 + b"\r\n")
            await writer.drain()

    async with serving() as site:
        site.pages["/"] = endless
        assert await code_of(site.url("/")) == "fetch_failed"


async def test_a_page_that_is_shorter_than_it_says_is_refused_and_of_a_longer_one_the_rest_is_not_read() -> (
    None
):
    async with serving() as site:
        site.pages["/short"] = page(b"abc", "text/plain", Content_Length="10")
        site.pages["/long"] = page(b"abcdef", "text/plain", Content_Length="3")
        site.pages["/lie"] = page(b"abc", "text/plain", Content_Length="many")
        assert await code_of(site.url("/short")) == "fetch_failed"
        assert (await fetch(site.url("/long")))["content"] == "abc"
        assert await code_of(site.url("/lie")) == "fetch_failed"


async def test_a_packed_page_is_unpacked() -> None:
    async with serving() as site:
        site.pages["/"] = page(gzip.compress(b"hello"), "text/plain", Content_Encoding="gzip")
        site.pages["/br"] = page(b"...", "text/plain", Content_Encoding="br")
        site.pages["/bad"] = page(b"...", "text/plain", Content_Encoding="gzip")
        assert (await fetch(site.url("/")))["content"] == "hello"
        assert await code_of(site.url("/br")) == "encoding_unsupported"
        assert await code_of(site.url("/bad")) == "fetch_failed"


async def test_a_bomb_is_unpacked_only_as_far_as_may_be_read() -> None:
    import tracemalloc

    bomb = gzip.compress(b"x" * 300_000_000, 9)
    async with serving() as site:
        site.pages["/"] = page(bomb, "text/plain", Content_Encoding="gzip")
        tool = web(max_bytes=100_000).tools()[0]
        tracemalloc.start()
        try:
            told = await outcome(tool, {"url": site.url("/")})
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert told["truncated"] is True
    assert set(told["content"].split("\n")[0]) == {"x"}
    assert most < 20_000_000


async def test_a_server_that_is_not_there_is_told() -> None:
    async with serving() as site:
        port = site.port
    assert await code_of(f"http://127.0.0.1:{port}/") == "fetch_failed"
    assert await code_of("http://no-such-host.invalid/") == "fetch_failed"


# --- searching ------------------------------------------------------------------------------------------


def found(*titles: str) -> bytes:
    results = [
        {"title": each, "url": f"https://{each}.test", "content": f"About {each}.", "score": 0.9}
        for each in titles
    ]
    body = {"query": "q", "results": results, "response_time": 1.1, "answer": None}
    return page(json.dumps(body).encode(), "application/json")


def searching(site: Site, **options: Any) -> Any:
    provider = Tavily("tvly-secret", base_url=site.url(""), **options)
    return Web(search=provider).tools()[1]


async def test_a_search_speaks_as_tavily_does() -> None:
    async with serving() as site:
        site.pages["/search"] = found("owls", "crows")
        told = await outcome(searching(site), {"query": "birds", "limit": 2})
    assert told == {
        "results": [
            {"title": "owls", "url": "https://owls.test", "content": "About owls."},
            {"title": "crows", "url": "https://crows.test", "content": "About crows."},
        ]
    }
    (head,), (body,) = site.asked, site.bodies
    assert head.startswith("POST /search HTTP/1.1\r\n")
    assert "authorization: bearer tvly-secret\r\n" in head.lower()
    assert json.loads(body) == {"query": "birds", "max_results": 2, "search_depth": "basic"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("401 Unauthorized", "search_unauthorized"),
        ("432 Plan Limit", "search_quota"),
        ("400 Bad Request", "search_refused"),
    ],
)
async def test_what_the_service_refuses_is_told_without_the_key(status: str, code: str) -> None:
    said = json.dumps({"detail": {"error": "it says why"}}).encode()
    async with serving() as site:
        site.pages["/search"] = page(said, "application/json", status=status)
        failure = await outcome(searching(site), {"query": "birds"})
    assert failure.code == code
    assert failure.message.endswith("it says why")
    assert "secret" not in str(failure)


async def test_a_busy_service_is_asked_again_by_the_runtime(tmp_path: Path) -> None:
    async with serving() as site:
        answers = [
            page(b"{}", "application/json", status="429 Too Many", Retry_After="0"),
            found("owls"),
        ]

        async def busy_first(writer: asyncio.StreamWriter) -> None:
            writer.write(answers[len(site.asked) - 1])

        site.pages["/search"] = busy_first
        model = ScriptedModel([calls(("search_web", {"query": "birds"})), reply("Done.")])
        agent = lash.Agent("reader", model=model, tools=[searching(site)])
        async with asyncio.timeout(30), lash.Runtime(tmp_path / "a.db", agents=[agent]) as runtime:
            turn = await runtime.session("s").run("Go.")
    assert len(site.asked) == 2
    payload: Any = turn.tool_calls[0].output.outcome.payload
    assert [each["title"] for each in payload["results"]] == ["owls"]


@pytest.mark.parametrize("body", [b"no json", b'{"results": 7}', b'{"results": [{"title": "t"}]}'])
async def test_an_answer_that_is_none_is_told(body: bytes) -> None:
    async with serving() as site:
        site.pages["/search"] = page(body, "application/json")
        failure = await outcome(searching(site), {"query": "birds"})
    assert failure.code == "search_answer_invalid"


async def test_a_service_that_cannot_be_reached_may_be_asked_again() -> None:
    async with serving() as site:
        pass
    failure = await outcome(searching(site), {"query": "birds"})
    assert (failure.code, type(failure.retry).__name__) == ("search_failed", "SafeToRetry")
    assert "secret" not in str(failure)
    assert "secret" not in repr(Tavily("secret"))


async def test_another_provider_searches_as_well_and_is_held_to_the_limit() -> None:
    class Mine:
        async def search(self, query: str, limit: int) -> Sequence[SearchResult]:
            return [SearchResult(title=query, url="u", content="x" * 100_000)] * 5

    tool = Web(search=Mine()).tools()[1]
    told = await outcome(tool, {"query": "q", "limit": 2})
    assert len(told["results"]) == 2
    assert len(told["results"][0]["content"]) <= 4096
