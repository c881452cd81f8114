"""What changes a text, as a unified diff: made from the changes, so that no texts are compared. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

#: How much of a diff is told, in characters.
MAX_DIFF = 16_000

#: Unchanged lines around a change.
_AROUND = 3


@dataclass(frozen=True, slots=True)
class Change:
    """A stretch of the original and what takes its place.

    Attributes:
        start: Where it begins, in characters.
        end: Where it ends.
        text: What takes its place.
        number: Which edit it is, from 1.
        folded: It was only found by taking what looks alike for the same.
    """

    start: int
    end: int
    text: str
    number: int = 1
    folded: bool = False


@dataclass(slots=True)
class _Stretch:
    """Whole lines that change, from `first` up to and without `last`."""

    first: int
    last: int
    changes: list[Change]


def diff(body: str, changes: Sequence[Change], path: str) -> str:
    """A unified diff of changes that are in order and do not overlap; cut if it is long."""
    lines = body.split("\n")
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    if not lines[-1]:
        lines.pop()
    told = [f"--- a/{path}", f"+++ b/{path}"]
    grown = 0
    for hunk in _hunks(_stretches(body, changes, starts, len(lines))):
        text, more = _hunk(body, lines, starts, hunk, grown)
        told += text
        grown += more
    whole = "\n".join(told)
    return whole if len(whole) <= MAX_DIFF else f"{whole[:MAX_DIFF]}\n[diff cut]"


def _stretches(
    body: str, changes: Sequence[Change], starts: Sequence[int], count: int
) -> list[_Stretch]:
    found: list[_Stretch] = []
    for change in changes:
        first = bisect_right(starts, change.start) - 1
        last = bisect_right(starts, change.end - 1)
        if body[change.end - 1] == "\n" and not change.text.endswith("\n"):
            last += 1  # what comes behind it is in the same line now
        last = min(last, count)
        if found and first <= found[-1].last:
            found[-1].last = max(last, found[-1].last)
            found[-1].changes.append(change)
        else:
            found.append(_Stretch(first, last, [change]))
    return found


def _hunks(stretches: Sequence[_Stretch]) -> list[list[_Stretch]]:
    hunks: list[list[_Stretch]] = []
    for stretch in stretches:
        if hunks and stretch.first - hunks[-1][-1].last <= 2 * _AROUND:
            hunks[-1].append(stretch)
        else:
            hunks.append([stretch])
    return hunks


def _hunk(
    body: str,
    lines: Sequence[str],
    starts: Sequence[int],
    stretches: Sequence[_Stretch],
    grown: int,
) -> tuple[list[str], int]:
    """The lines of a hunk, and by how many lines it makes the text longer."""
    begin = max(stretches[0].first - _AROUND, 0)
    end = min(stretches[-1].last + _AROUND, len(lines))
    told: list[str] = []
    at, added = begin, 0
    for stretch in stretches:
        told += [f" {line}" for line in lines[at : stretch.first]]
        told += [f"-{line}" for line in lines[stretch.first : stretch.last]]
        new = _new_lines(body, starts, stretch)
        told += [f"+{line}" for line in new]
        added += len(new) - (stretch.last - stretch.first)
        at = stretch.last
    told += [f" {line}" for line in lines[at:end]]
    old = f"{begin + 1},{end - begin}"
    head = f"@@ -{old} +{begin + 1 + grown},{end - begin + added} @@"
    return [head, *(line.removesuffix("\r") for line in told)], added


def _new_lines(body: str, starts: Sequence[int], stretch: _Stretch) -> list[str]:
    parts, at = [], starts[stretch.first]
    for change in stretch.changes:
        parts += [body[at : change.start], change.text]
        at = change.end
    text = "".join([*parts, body[at : max(starts[stretch.last], at)]])
    return text.removesuffix("\n").split("\n") if text else []
