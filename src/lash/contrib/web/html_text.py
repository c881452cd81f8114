"""The readable text of an HTML page. Pure, and in one pass: no page takes longer than it is long."""

import re
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urljoin

#: What is in these is no text to read.
_SKIPPED = frozenset(
    {"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "head", "select"}
)

#: What is in these is not read as HTML.
_RAW = frozenset({"script", "style", "noscript", "iframe", "textarea", "title", "xmp", "noembed"})

#: These begin a line.
_BLOCKS = frozenset(
    """address article aside blockquote body br center dd details dialog div dl dt fieldset figcaption
    figure footer form h1 h2 h3 h4 h5 h6 header hr html legend li main menu nav ol option p pre section
    summary table tbody td tfoot th thead title tr ul""".split()  # noqa: SIM905  words are read best like this
)

#: There is an empty line around these.
_APART = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table"})

_NAME = re.compile(r"[a-zA-Z][^\s/>]*")
_QUOTE_OR_END = re.compile(r"""["'>]""")
_SPACE = re.compile(r"[ \t\n\r\f\v\u00a0]+")
_HREF = re.compile(r"""(?:^|\s)href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
#: How much of a tag is looked at for where it links to, in characters.
_TAG = 8192


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says."""

    title: str
    text: str


@dataclass(slots=True)
class _Text:
    """The text so far."""

    base: str
    parts: list[str] = field(default_factory=list)
    title: list[str] = field(default_factory=list)
    skipping: str = ""
    skipped: int = 0
    link: tuple[str, int] | None = None
    pre: int = 0

    def add(self, text: str) -> None:
        if self.skipping:
            return
        text = unescape(text)
        if not self.pre:
            text = _SPACE.sub(" ", text)
            if text.startswith(" ") and (not self.parts or self.parts[-1].endswith((" ", "\n"))):
                text = text[1:]
        if text:
            self.parts.append(text)

    def line(self) -> None:
        if self.parts and not self.skipping:
            self.parts.append("\n")


def readable(html: str, base: str = "") -> Page:
    """The title of a page, and its text: headings, lists and links marked, scripts and styles left out.

    Args:
        html: The page.
        base: Where it is, so that links lead somewhere.
    """
    told, at, end = _Text(base), 0, len(html)
    while at < end:
        tag = html.find("<", at)
        if tag < 0:
            told.add(html[at:])
            break
        if tag > at:
            told.add(html[at:tag])
        at = _markup(html, tag, told)
    return Page(title=_one_line("".join(told.title)), text=_tidied("".join(told.parts)))


def _markup(html: str, tag: int, told: _Text) -> int:
    """Read what begins with `<`; where it ends."""
    if html.startswith("<!--", tag):
        return _behind(html, "-->", tag + 4)
    if html.startswith(("<!", "<?"), tag):
        return _behind(html, ">", tag + 2)
    closing = html.startswith("</", tag)
    name = _NAME.match(html, tag + 1 + closing)
    if name is None:
        told.add("<")
        return tag + 1
    end = _tag_end(html, name.end())
    word = name[0].lower()
    if closing:
        _close(word, told)
        return end
    _open(word, html[name.end() : min(end - 1, name.end() + _TAG)], told)
    return _raw(html, word, end, told) if word in _RAW else end


def _behind(html: str, mark: str, start: int) -> int:
    """Behind the next mark; the end of the page if there is none."""
    found = html.find(mark, start)
    return len(html) if found < 0 else found + len(mark)


def _tag_end(html: str, at: int) -> int:
    """Behind the `>` of a tag, which quotes may hide; the end of the page if there is none."""
    while (found := _QUOTE_OR_END.search(html, at)) is not None:
        if found[0] == ">":
            return found.end()
        closing = html.find(found[0], found.end())
        if closing < 0:
            break
        at = closing + 1
    return len(html)


def _raw(html: str, word: str, start: int, told: _Text) -> int:
    """Read what is in an element that holds no elements; where its closing tag begins."""
    closing = re.compile(rf"</{re.escape(word)}(?=[\s/>])", re.IGNORECASE).search(html, start)
    end = len(html) if closing is None else closing.start()
    if word == "title" and not told.title:
        told.title.append(unescape(html[start:end]))
    elif word == "textarea":
        told.add(html[start:end])
    return end


def _open(word: str, rest: str, told: _Text) -> None:
    if word in {"body", "main", "p"} and told.skipping == "head":
        told.skipping, told.skipped = "", 0  # a head that nobody closed
    if told.skipping or word in _SKIPPED:
        # Only the same element is looked for inside of one that is left out.
        told.skipping = told.skipping or word
        told.skipped += word == told.skipping
        return
    _break(word, told)
    if word == "pre":
        told.pre += 1
    elif word == "li":
        told.add("- ")
    elif len(word) == 2 and word[0] == "h" and word[1] in "123456":
        told.add(f"{'#' * int(word[1])} ")
    elif word == "a":
        _close_link(told)  # a link holds no other
        told.link = (_target(rest, told.base), len(told.parts))


def _close(word: str, told: _Text) -> None:
    if told.skipping:
        told.skipped -= word == told.skipping
        if not told.skipped:
            told.skipping = ""
        return
    if word == "pre":
        told.pre = max(told.pre - 1, 0)
    elif word == "a":
        _close_link(told)
    _break(word, told)


def _break(word: str, told: _Text) -> None:
    """Begin a line where an element begins or ends that stands on its own."""
    if word in _BLOCKS:
        told.line()
    if word in _APART:
        told.line()


def _close_link(told: _Text) -> None:
    if told.link is None:
        return
    (target, start), told.link = told.link, None
    said = "".join(told.parts[start:])
    if target and said.strip() and "\n" not in said.strip():
        del told.parts[start:]
        told.parts.append(f"[{said.strip()}]({target}){' ' if said.endswith(' ') else ''}")


def _target(rest: str, base: str) -> str:
    href = _HREF.search(rest)
    given = unescape(next((each for each in href.groups() if each is not None), "")) if href else ""
    try:
        target = urljoin(base, given.strip())
    except ValueError:
        return ""
    return (
        target if target.startswith(("http://", "https://")) and not given.startswith("#") else ""
    )


def _one_line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def _tidied(text: str) -> str:
    """Without blanks at the ends of lines, and with one empty line at most."""
    lines: list[str] = []
    for line in text.split("\n"):
        kept = line.rstrip()
        if kept or (lines and lines[-1]):
            lines.append(kept)
    return "\n".join(lines).strip("\n")
