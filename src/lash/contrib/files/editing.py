"""Edits of a text: each found once in the original, none over another, the rest left as it was. Pure.

A text is looked for as it is given; if it is nowhere, once more with what looks alike taken for the same:
quotes, dashes, spaces, compatible forms, and blanks at the ends of lines. Line breaks are those of the
file in any case.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import msgspec

from lash.contrib.files.diffing import Change, diff
from lash.contrib.files.root import refusal
from lash.core.json import Data, JsonObject

#: How many edits one call may make.
MAX_EDITS = 100

_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys(
            "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
        ),
    }
)


class Edit(Data):
    """A text that is in the file exactly once, and what is to be in its place."""

    old_text: str = msgspec.field(name="oldText")
    new_text: str = msgspec.field(name="newText")


@dataclass(frozen=True, slots=True)
class Edited:
    """What edits come to.

    Attributes:
        text: The new text.
        diff: What changed, as a unified diff, cut if it is long.
        first_line: The first line that changed, from 1.
        folded: How many edits were only found by what looks alike.
    """

    text: str
    diff: str
    first_line: int
    folded: int

    @property
    def details(self) -> JsonObject:
        """What is told of them beside the summary."""
        return {"diff": self.diff, "firstChangedLine": self.first_line}


def edited(original: str, edits: Sequence[Edit], path: str) -> Edited:
    """A text with edits made, all of them or none.

    Raises:
        ToolError: `edit_invalid`, `edit_not_found`, `edit_not_unique`, `edits_overlap`.
    """
    if not edits or len(edits) > MAX_EDITS:
        raise refusal("edit_invalid", f"Give 1 to {MAX_EDITS} edits, not {len(edits)}.")
    mark, body = ("\ufeff", original[1:]) if original.startswith("\ufeff") else ("", original)
    finder = _Finder(body, path)
    changes = sorted(
        (finder.change(number, edit) for number, edit in enumerate(edits, 1)),
        key=lambda change: change.start,
    )
    for before, after in pairwise(changes):
        if after.start < before.end:
            raise refusal(
                "edits_overlap",
                f"Edits {before.number} and {after.number} change the same text; make one of them.",
            )
    parts, at = [mark], 0
    for change in changes:
        parts += [body[at : change.start], change.text]
        at = change.end
    text = "".join([*parts, body[at:]])
    if text == original:
        raise refusal("edit_invalid", "The edits change nothing.")
    told = diff(body, changes, path)
    first_line = body.count("\n", 0, changes[0].start) + 1
    return Edited(text, told, first_line, sum(change.folded for change in changes))


@dataclass(frozen=True, slots=True)
class _Form:
    """A text in another form, and where in the original each of its characters comes from."""

    text: str
    origins: Sequence[int]
    ends: Sequence[int]


class _Finder:
    """Finds what edits are to replace, in one text."""

    def __init__(self, body: str, path: str) -> None:
        self._path = path
        self._plain = _without_returns(body)
        self._folded: _Form | None = None
        newline = body.find("\n")
        self._break = "\r\n" if newline > 0 and body[newline - 1] == "\r" else "\n"

    def change(self, number: int, edit: Edit) -> Change:
        if not edit.old_text:
            raise refusal("edit_invalid", f"oldText of edit {number} is empty.")
        old = edit.old_text.replace("\r\n", "\n")
        new = edit.new_text.replace("\r\n", "\n")
        new = new.replace("\n", self._break)
        span, folded = self._span(self._plain, old, number), False
        if span is None:
            if self._folded is None:
                self._folded = _fold(self._plain)
            span, folded = self._span(self._folded, _fold(_form_of(old)).text, number), True
        if span is None:
            raise refusal(
                "edit_not_found",
                f"oldText of edit {number} is not in {self._path!r}. Read the file again: it must be "
                "there exactly, with its blanks.",
            )
        return Change(*span, new, number, folded)

    def _span(self, form: _Form, old: str, number: int) -> tuple[int, int] | None:
        """Where the only occurrence lies, in the original; None if there is none."""
        if not old:
            return None
        found: list[tuple[int, int]] = []
        times, at = 0, form.text.find(old)
        while at >= 0:
            span = _whole(form, at, at + len(old))
            if span is not None and span not in found:
                times += 1
                found = found[:1] or [span]
            at = form.text.find(old, at + 1)
        if times > 1:
            raise refusal(
                "edit_not_unique",
                f"oldText of edit {number} is {times} times in {self._path!r}; add lines around it "
                "until it is there once.",
            )
        return found[0] if found else None


def _whole(form: _Form, start: int, end: int) -> tuple[int, int] | None:
    """A stretch of a form as one of the original; None if it begins or ends inside of a character."""
    if start and form.origins[start] == form.origins[start - 1]:
        return None
    if end < len(form.origins) and form.origins[end] == form.origins[end - 1]:
        return None
    return form.origins[start], form.ends[end - 1]


def _form_of(text: str) -> _Form:
    return _Form(text, range(len(text)), range(1, len(text) + 1))


def _without_returns(body: str) -> _Form:
    """A text whose lines end with a line feed alone."""
    if "\r\n" not in body:
        return _form_of(body)
    lines = body.split("\r\n")
    starts = list(accumulate((len(line) + 2 for line in lines), initial=0))
    origins: list[int] = []
    for line, start in zip(lines, starts, strict=False):
        origins += range(start, start + len(line) + 1)  # the break lies where its return does
    origins.pop()
    text = "\n".join(lines)
    ends = [
        at + 2 if each == "\n" and body[at] == "\r" else at + 1
        for each, at in zip(text, origins, strict=True)
    ]
    return _Form(text, origins, ends)


def _fold(form: _Form) -> _Form:
    """A form in which what looks alike is the same."""
    letters: list[str] = []
    origins: list[int] = []
    ends: list[int] = []
    for letter, origin, end in zip(form.text, form.origins, form.ends, strict=True):
        if letter == "\n":
            while letters and letters[-1] in " \t":
                letters.pop()
                origins.pop()
                ends.pop()
        same = (
            letter if letter.isascii() else unicodedata.normalize("NFKC", letter.translate(_ALIKE))
        )
        for each in same:
            letters.append(each)
            origins.append(origin)
            ends.append(end)
    return _Form("".join(letters), origins, ends)
