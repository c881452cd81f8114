"""What a docstring says about a function and about each parameter: Google, NumPy, Sphinx and plain style."""

import inspect
import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

#: Parameter descriptions by name, as one style of docstring gives them.
_Found = dict[str, str]

_GOOGLE_HEADER = re.compile(
    r"(?:args|arguments|params|parameters|(?:keyword|other) (?:args|arguments|parameters)):",
    re.IGNORECASE,
)
_GOOGLE_ENTRY = re.compile(r"`{0,2}\*{0,2}(\w+)`{0,2}\s*(?:\(.*?\))?\s*:(?:\s+(.*))?$")
_NUMPY_HEADER = re.compile(r"(?:other )?parameters", re.IGNORECASE)
_NUMPY_RULE = re.compile(r"-{3,}")
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_SPHINX_PARAMETER = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\\?\*{0,2}(\w+)\s*:\s*(.*)"
)
_SPHINX_TYPE = re.compile(r":type\s+[^:]+:")
_PLAIN_ENTRY = re.compile(r"(?:[-*]\s+)?`{0,2}(\w+)`{0,2}\s*(?:\(.*?\))?\s*:\s+(.+)")
_LIST_ITEM = re.compile(r"(?:[-*•]|\d+[.)])\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Docstring:
    """A docstring taken apart.

    Attributes:
        description: The text without its parameter sections.
        parameters: The description of each parameter that has one.
    """

    description: str
    parameters: Mapping[str, str]


def parse_docstring(doc: str | None, names: Collection[str]) -> Docstring:
    """Take `doc` apart; only the parameters in `names` are reported.

    The plain style (`x: what it is`, line by line) is recognised in the last paragraph only, and
    only if every line of it describes one of `names`: anything else with a colon is prose.
    """
    lines = inspect.cleandoc(doc or "").splitlines()
    found: _Found = {}
    for take in (_take_google, _take_numpy, _take_sphinx):
        lines, more = take(lines)
        found |= more
    if not found:
        lines, found = _take_plain(lines, names)
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return Docstring(
        description=description,
        parameters={name: text for name, text in found.items() if text and name in names},
    )


def _take_google(lines: list[str]) -> tuple[list[str], _Found]:
    """Cut out the sections under `Args:` and its like, which reach as far as their indentation."""
    rest: list[str] = []
    found: _Found = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        block = _indented(lines[at:], _indent(line))
        if not any(block) or not _GOOGLE_HEADER.fullmatch(line.strip()):
            rest.append(line)
            continue
        at += len(block)
        found |= _entries(block, _GOOGLE_ENTRY)
        rest.append("")
    return rest, found


def _take_numpy(lines: list[str]) -> tuple[list[str], _Found]:
    """Cut out the underlined `Parameters` sections, which reach to the next underlined header."""
    headers = [
        at
        for at, rule in enumerate(lines[1:])
        if _NUMPY_RULE.fullmatch(rule.strip()) and lines[at].strip()
    ]
    found: _Found = {}
    rest = lines[: headers[0]] if headers else list(lines)
    for at, end in itertools.pairwise([*headers, len(lines)]):
        if _NUMPY_HEADER.fullmatch(lines[at].strip()):
            found |= _entries(lines[at + 2 : end], _NUMPY_ENTRY)
        else:
            rest += lines[at:end]
    return rest, found


def _take_sphinx(lines: list[str]) -> tuple[list[str], _Found]:
    """Cut out the `:param x:` fields, and the `:type x:` fields with them."""
    rest: list[str] = []
    found: dict[str, list[str]] = {}
    into = rest
    for line in lines:
        text = line.strip()
        if match := _SPHINX_PARAMETER.match(text):
            into = found[match[1]] = [match[2]]
        elif _SPHINX_TYPE.match(text):
            into = []  # the annotation says it, and says it truly
        elif into is rest or not text or text.startswith(":"):
            into = rest
            rest.append(line)
        else:
            into.append(text)
    return rest, {name: _prose(text) for name, text in found.items()}


def _take_plain(lines: list[str], names: Collection[str]) -> tuple[list[str], _Found]:
    """Cut out a last paragraph that is nothing but `x: what it is` lines."""
    start = max((at + 1 for at, line in enumerate(lines) if not line), default=0)
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines[start:]:
        if _indent(line):
            current.append(line.strip())
            continue
        match = _PLAIN_ENTRY.fullmatch(line.rstrip())
        if match is None or match[1] not in names:
            return lines, {}
        current = found[match[1]] = [match[2]]
    return lines[:start], {name: _prose(text) for name, text in found.items()}


def _entries(block: list[str], pattern: re.Pattern[str]) -> _Found:
    """Read a section: what stands at its own indentation begins an entry, the rest continues it."""
    base = min((_indent(line) for line in block if line.strip()), default=0)
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in block:
        text = line.strip()
        match = pattern.match(text) if _indent(line) == base else None
        if match is None:
            current.append(text)
            continue
        current = [match[2] or ""] if pattern.groups > 1 else []
        for name in match[1].split(","):
            found[name.strip().lstrip("*")] = current
    return {name: _prose(text) for name, text in found.items()}


def _indented(lines: list[str], indent: int) -> list[str]:
    """Take the leading lines that are blank or deeper than `indent`."""
    for at, line in enumerate(lines):
        if line.strip() and _indent(line) <= indent:
            return lines[:at]
    return lines


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _prose(lines: Iterable[str]) -> str:
    """Undo the wrapping of source code; blank lines and list items still begin a line."""
    text = ""
    for line in lines:
        if not line:
            text += "\n\n"
        elif _LIST_ITEM.match(line):
            text += f"\n{line}"
        else:
            text += f" {line}" if text and not text.endswith("\n") else line
    return re.sub(r"\n{3,}", "\n\n", text).strip()
