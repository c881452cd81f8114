"""Patterns of paths: those of `glob`, and those of `.gitignore`. Pure, and no slower than they are long.

A pattern is matched name by name, so that no expression can run away over a long path.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

#: How many patterns braces may come to.
MAX_BRACES = 100

#: Stands for any number of folders.
_ANY = None


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A pattern, name by name; None where any number of names may stand."""

    names: tuple[re.Pattern[str] | None, ...]

    def matches(self, path: Sequence[str]) -> bool:
        """Whether the names of a path are what the pattern says."""
        reached = {0}
        for name in path:
            reached = self._after(self._through(reached), name)
            if not reached:
                return False
        return len(self.names) in self._through(reached)

    def _through(self, reached: set[int]) -> set[int]:
        """All places reached without another name: any number of folders may be none."""
        places = set(reached)
        for place in sorted(reached):
            at = place
            while at < len(self.names) and self.names[at] is _ANY:
                at += 1
                places.add(at)
        return places

    def _after(self, reached: set[int], name: str) -> set[int]:
        after: set[int] = set()
        for place in reached:
            if place == len(self.names):
                continue
            expected = self.names[place]
            if expected is _ANY:
                after.add(place)
            elif expected.match(name):
                after.add(place + 1)
        return after


def glob_patterns(pattern: str) -> list[PathPattern]:
    """What `glob` looks for. A pattern without a slash is looked for in every folder.

    Raises:
        ValueError: The braces come to too many patterns.
    """
    return [_glob(each) for each in _braces(pattern)]


def _glob(pattern: str) -> PathPattern:
    names = [each for each in pattern.split("/") if each not in {"", "."}]
    if len(names) == 1 and not pattern.startswith(("/", "./")):
        names.insert(0, "**")
    return PathPattern(tuple(_ANY if name == "**" else _name(name) for name in names))


def _name(name: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(name))


def _braces(pattern: str) -> list[str]:
    """The patterns that `{a,b}` stands for."""
    found, ready = [pattern], []
    while found:
        each = found.pop()
        match = re.search(r"\{([^{}]*)\}", each)
        if match is None or "," not in match[1]:
            ready.append(each)
        else:
            before, after = each[: match.start()], each[match.end() :]
            found += [f"{before}{choice}{after}" for choice in match[1].split(",")]
        if len(found) + len(ready) > MAX_BRACES:
            raise ValueError(pattern)
    return ready


# --- .gitignore -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """A line of a `.gitignore`."""

    pattern: PathPattern
    folders_only: bool
    takes_back: bool


@dataclass(frozen=True, slots=True)
class Ignore:
    """The rules of the folders on the way to a place, outermost first.

    Attributes:
        depth: How many names down each folder is whose rules these are.
        rules: Its rules.
    """

    layers: tuple[tuple[int, tuple[IgnoreRule, ...]], ...] = ()

    def inside(self, depth: int, text: str) -> "Ignore":
        """With the rules of a folder that is `depth` names down."""
        rules = tuple(rule for line in text.splitlines() if (rule := ignore_rule(line)))
        return Ignore((*self.layers, (depth, rules))) if rules else self

    def ignores(self, path: Sequence[str], *, is_folder: bool) -> bool:
        """Whether a path is left out; its folders are not."""
        for depth, rules in reversed(self.layers):
            names = path[depth:]
            for rule in reversed(rules):
                if (is_folder or not rule.folders_only) and rule.pattern.matches(names):
                    return not rule.takes_back
        return False


def ignore_rule(line: str) -> IgnoreRule | None:
    """What a line of a `.gitignore` says; None for a comment, and for what says nothing."""
    line = line.removesuffix("\r")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    takes_back = line.startswith("!")
    line = line[1:] if takes_back else line
    folders_only = line.endswith("/")
    body = line.rstrip("/") if folders_only else line
    anchored = "/" in body
    names = [each for each in body.split("/") if each]
    if not names:
        return None
    if not anchored:
        names.insert(0, "**")
    parts = [_ANY if name == "**" else _git_name(name) for name in names]
    if names[-1] == "**" and anchored:
        parts.append(_git_name("*"))  # all that is in a folder, and not the folder
    return IgnoreRule(PathPattern(tuple(parts)), folders_only, takes_back)


def _git_name(name: str) -> re.Pattern[str]:
    """One name of a pattern: like `fnmatch`, and a backslash takes the next letter as it is."""
    told, at = "", 0
    while at < len(name):
        letter = name[at]
        if letter == "\\" and at + 1 < len(name):
            at += 1
            told += _literal(name[at])
        elif letter == "[":
            end = _class_end(name, at)
            told += _class(name[at + 1 : end]) if end else "[[]"
            at = end or at
        else:
            told += letter
        at += 1
    return _name(told)


def _literal(letter: str) -> str:
    return f"[{letter}]" if letter in "*?[" else letter


def _class_end(name: str, start: int) -> int | None:
    at = start + 1
    if name[at : at + 1] in {"!", "^"}:
        at += 1
    if name[at : at + 1] == "]":
        at += 1
    end = name.find("]", at)
    return None if end < 0 else end


def _class(body: str) -> str:
    return f"[!{body[1:]}]" if body.startswith("^") else f"[{body}]"
