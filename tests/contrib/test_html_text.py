"""The readable text of pages, of bad ones too, and of hostile ones without taking long."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.contrib.web.html_text import Page, readable


def text(html: str) -> str:
    return readable(html, "https://site.test/dir/page").text


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>one<p>two", "one\n\ntwo"),
        ("a <b>bold</b> word", "a bold word"),
        ("a\n\n   b", "a b"),
        ("<h2>Head</h2>text", "## Head\n\ntext"),
        ("<ul><li>one<li>two</ul>after", "- one\n- two\n\nafter"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "1\n\n2"),
        ("<pre>  a\n    b</pre>", "  a\n    b"),
        ("&lt;b&gt; &amp; &#233; &nope;", "<b> & é &nope;"),
        ("1 < 2 <3> and <", "1 < 2 <3> and <"),
        ("<script>if (a < b) { '</p>' }</script>x", "x"),
        ("<style>a{}</style><noscript><p>on</p></noscript>x", "x"),
        ("<svg><svg><title>t</title></svg>in</svg>out", "out"),
        ("<!-- <p>no</p> -->yes<!doctype html><?php no ?>", "yes"),
        ("a<!-- never closed <p>b", "a"),
        ("<textarea><b>raw</b></textarea>", "<b>raw</b>"),
        ('<a href="/a?x=1&amp;y">go</a>', "[go](https://site.test/a?x=1&y)"),
        ("<a href=other>go</a> on", "[go](https://site.test/dir/other) on"),
        ("<a href='#top'>go</a>", "go"),
        ("<a href='javascript:alert(1)'>go</a>", "go"),
        (
            "<a href='a'>x<a href='b'>y</a>",
            "[x](https://site.test/dir/a)[y](https://site.test/dir/b)",
        ),
        ("<a title='1 > 2' href=a>go</a>", "[go](https://site.test/dir/a)"),
        ("<a href='never closed>go", ""),
        ("<a href='http://[bad'>go</a>", "go"),
        ("<head><title>T</title><meta x></head><body>b", "b"),
        ("<head><title>T</title><p>b", "b"),
        ("</p></div></script>x</svg>y", "xy"),
    ],
)
def test_what_is_read_of_a_page(html: str, expected: str) -> None:
    assert text(html) == expected


def test_the_title_is_told_apart() -> None:
    html = "<title> The\n page &amp; more </title><title>other</title>text"
    assert readable(html) == Page(title="The page & more", text="text")


@given(st.text("<>/a='\" !-&;ptilsc\n", max_size=200))
def test_no_page_is_too_bad_to_be_read(html: str) -> None:
    assert isinstance(text(html), str)


@pytest.mark.parametrize(
    "part",
    [
        "<",
        "<!--",
        "</",
        "<a ",
        "<a href='x'>",
        "</a>",
        "<svg>",
        "<object></iframe>",
        '<a "" ',
        "<a '",
        "&",
        "&#",
        "<script>",
        "<title>",
        "<pre>",
        " ",
        "<li>",
        "<a href='x'>t</a",
        "href=",
    ],
)
def test_a_hostile_page_takes_no_longer_than_it_is_long(part: str) -> None:
    begun = time.monotonic()
    readable(part * (1_000_000 // len(part)))
    readable("<a " + part * (1_000_000 // len(part)) + ">")
    assert time.monotonic() - begun < 10
