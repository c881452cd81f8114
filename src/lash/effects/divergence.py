"""Where two versions of a request differ, value by value, and what that looks like. Pure.

A report that names a path tells a developer where to look; one that shows both values, and says that
they are the same list in another order, tells what to change.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from lash.core.json import Data, JsonValue, encode

#: A value longer than this is cut in a report, around the place where it differs.
_SHOWN = 120

#: Where a date, a time of day, a month or a day of the week begins and ends, and nothing else does:
#: a count that changed beside a date is not a clock.
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun|(?:mon|tues|wednes|thurs|fri|satur|sun)day)"
_NTH = r"\d{1,2}(?:st|nd|rd|th)?"
_TIME = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?"
_CLOCK = re.compile(
    rf"""(?<!\w)(?:
        \d{{4}}-\d\d-\d\d(?:[t ]{_TIME}(?:z|[+-]\d\d:?\d\d)?)?
        | \d{{1,2}}([/.])\d{{1,2}}\1\d{{4}}
        | {_TIME}(?:\s?[ap]\.?m\.?)?
        | 1[5-9]\d{{8}}(?:\d{{3}})?(?:\.\d+)?
        | {_NTH}\s{_MONTH}(?:,?\s\d{{4}})?
        | {_MONTH}\s{_NTH}(?:,?\s\d{{4}})?
        | {_MONTH}\s\d{{4}}
        | {_MONTH}
        | {_DAY}
    )(?!\w)""",
    re.IGNORECASE | re.VERBOSE,
)
#: Random ids, and not what only looks like a part of one: a content hash is longer.
_UUID = re.compile(
    r"""(?<![0-9a-z])(?:
        [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}
        | [0-9a-f]{12}[1-8][0-9a-f]{3}[89ab][0-9a-f]{15}
    )(?![0-9a-z])""",
    re.IGNORECASE | re.VERBOSE,
)
_ULID = re.compile(r"(?<![0-9a-z])[0-7][0-9a-hjkmnp-tv-z]{25}(?![0-9a-z])", re.IGNORECASE)
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]+", re.IGNORECASE)
_WORDS = re.compile(r"[^\s,;{}()\[\]]+")

_HINTS = (
    (_CLOCK, "a clock is read where the text is made"),
    (_UUID, "a random id is made where the text is made"),
    (_ULID, "a random id is made where the text is made"),
    (_ADDRESS, "an object's address is in the text: give its class a __repr__ or __str__"),
)


class Change(Data):
    """One place at which two values differ.

    Attributes:
        path: Where.
        before: What was recorded, as a short text; None where nothing was.
        after: What is asked for now; None where nothing is.
        hint: What such a difference usually comes from; empty when nothing stands out.
    """

    path: str
    before: str | None
    after: str | None
    hint: str = ""


def changes(before: JsonValue, after: JsonValue, path: str) -> Iterator[Change]:
    """Every place at which two JSON values differ, in the order of the values."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _change(
                before.get(name, _ABSENT), after.get(name, _ABSENT), f"{path}.{name}"
            )
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        yield from _list_changes(before, after, path)
    elif not _same(before, after):
        yield _leaf(before, after, path)


def _change(before: object, after: object, path: str) -> Iterator[Change]:
    if before is _ABSENT:
        yield Change(path=path, before=None, after=_text(after), hint="it was added")
    elif after is _ABSENT:
        yield Change(path=path, before=_text(before), after=None, hint="it was removed")
    else:
        yield from changes(before, after, path)  # type: ignore[arg-type]  # both are JSON here


def _list_changes(
    before: Sequence[JsonValue], after: Sequence[JsonValue], path: str
) -> Iterator[Change]:
    old, new = _by_name(before), _by_name(after)
    if old is not None and new is not None:
        if list(old) != list(new) and old.keys() == new.keys():
            yield _reordered(list(old), list(new), path)
        for name in dict.fromkeys((*old, *new)):
            yield from _change(old.get(name, _ABSENT), new.get(name, _ABSENT), f"{path}[{name}]")
        return
    if sorted(map(encode, before)) == sorted(map(encode, after)):
        if not _same(list(before), list(after)):
            yield _reordered(before, after, path)
        return
    for index, (old_item, new_item) in enumerate(zip_longest(before, after, fillvalue=_ABSENT)):
        yield from _change(old_item, new_item, f"{path}[{index}]")


def _reordered(before: Sequence[object], after: Sequence[object], path: str) -> Change:
    hint = "the same members in another order: a set or a directory listing gives them in any order"
    return Change(path=path, before=_text(before), after=_text(after), hint=hint)


def _leaf(before: JsonValue, after: JsonValue, path: str) -> Change:
    old, new = _around(before, after)
    return Change(path=path, before=old, after=new, hint=_hint(before, after))


def _hint(before: JsonValue, after: JsonValue) -> str:
    old, new = _plain(before), _plain(after)
    for pattern, what in _HINTS:
        # All that differs stands where one of these stands in both.
        if pattern.search(old) and pattern.sub("\0", old) == pattern.sub("\0", new):
            return what
    said, says = _WORDS.findall(old), _WORDS.findall(new)
    if said != says and sorted(said) == sorted(says):
        return "the same words in another order: a set gives its members in any order"
    return ""


def _by_name(items: Sequence[JsonValue]) -> dict[str, JsonValue] | None:
    """A list of named things, such as tools, by name; None for any other list."""
    named: dict[str, JsonValue] = {}
    for item in items:
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(name, str) or name in named:
            return None
        named[name] = item
    return named


def _same(before: object, after: object) -> bool:
    return encode(before) == encode(after)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else encode(value).decode()


def _text(value: object) -> str:
    text = _plain(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _around(before: JsonValue, after: JsonValue) -> tuple[str, str]:
    """Both values, cut to where they begin to differ if they are long."""
    old, new = _plain(before), _plain(after)
    if len(old) <= _SHOWN and len(new) <= _SHOWN:
        return old, new
    shared = 0
    for left, right in zip(old, new, strict=False):
        if left != right:
            break
        shared += 1
    start = max(0, shared - _SHOWN // 3)
    return _cut(old, start), _cut(new, start)


def _cut(text: str, start: int) -> str:
    end = start + _SHOWN
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


class _Absent:
    """Where nothing stands."""


_ABSENT = _Absent()
