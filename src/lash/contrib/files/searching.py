"""Looking through the folders of a root: what is there, what is left out, and in which lines a text is."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lash.contrib.files.matching import LineMatcher
from lash.contrib.files.patterns import Ignore
from lash.contrib.files.reading import Stopped
from lash.contrib.files.root import Root, Spot, os_failures
from lash.tools.model import ToolError

#: How many entries are looked at in one call.
MAX_LOOKED_AT = 200_000

#: How many folders deep.
MAX_DEPTH = 64

#: Files that are larger are not searched, in bytes.
MAX_SEARCHED = 10 * 1024 * 1024

#: Rules that are longer are taken for none, in bytes.
_MAX_IGNORE = 256 * 1024

#: Never looked into, beside what begins with a dot.
_NEVER = frozenset({"node_modules"})

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was found.

    Attributes:
        names: Its path, from the root.
        folder: The descriptor of the folder it is in, while it is looked at.
        is_folder: Whether it is a folder itself.
        is_file: Whether it is an ordinary file.
    """

    names: tuple[str, ...]
    folder: int
    is_folder: bool
    is_file: bool

    @property
    def path(self) -> str:
        """Its path, as it is shown."""
        return "/".join(self.names)


@dataclass(slots=True)
class Search:
    """One look through the folders below a place.

    Attributes:
        root: The root.
        stopped: Asked now and then.
        looked_at: How many entries were looked at.
        cut: Not everything was looked at.
    """

    root: Root
    stopped: Stopped
    looked_at: int = 0
    cut: bool = field(default=False)

    def below(self, path: str) -> Iterator[Entry]:
        """Everything below a folder, by name; links are told and not followed.

        What begins with a dot, `node_modules`, and what the `.gitignore` files of the root say are left
        out; the folder that is asked for is looked into in any case.

        Raises:
            ToolError: What the path comes to; `not_a_folder`, `stopped`.
        """
        with self.root.spot(path) as spot:
            if not spot.is_folder:
                code = "file_not_found" if spot.info is None else "not_a_folder"
                raise ToolError(
                    f"{spot.path!r} is no folder.", code=code, failure_class="invalid_request"
                )
            names = () if spot.path == "." else tuple(spot.path.split("/"))
            yield from self._walk(spot.folder, names, self._ignore_above(names))

    def _ignore_above(self, names: tuple[str, ...]) -> Ignore:
        """The rules of the folders above a place."""
        ignore = Ignore()
        for depth in range(len(names)):
            with self.root.spot("/".join(names[:depth]) or ".") as spot:
                ignore = ignore.inside(depth, _ignore_file(spot.folder))
        return ignore

    def _walk(self, folder: int, names: tuple[str, ...], ignore: Ignore) -> Iterator[Entry]:
        ignore = ignore.inside(len(names), _ignore_file(folder))
        for name, is_folder, is_file in _entries(folder):
            if self.stopped():
                raise ToolError("The call was stopped.", code="stopped")
            if self.looked_at >= MAX_LOOKED_AT:
                self.cut = True
                return
            self.looked_at += 1
            path = (*names, name)
            if name.startswith(".") or name in _NEVER or ignore.ignores(path, is_folder=is_folder):
                continue
            yield Entry(path, folder, is_folder, is_file)
            if is_folder:
                yield from self._down(folder, path, ignore)

    def _down(self, folder: int, path: tuple[str, ...], ignore: Ignore) -> Iterator[Entry]:
        if len(path) > MAX_DEPTH:
            self.cut = True
            return
        try:
            inner = os.open(path[-1], _FOLDER, dir_fd=folder)
        except OSError:
            return  # it may not be looked into, or is no folder any more
        try:
            yield from self._walk(inner, path, ignore)
        finally:
            os.close(inner)


def _entries(folder: int) -> list[tuple[str, bool, bool]]:
    try:
        with os.scandir(folder) as entries:
            found = [
                (each.name, each.is_dir(follow_symlinks=False), each.is_file(follow_symlinks=False))
                for each in entries
            ]
    except OSError:
        return []  # as above
    return sorted(each for each in found if _is_text(each[0]))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False  # a name that JSON cannot carry cannot be asked for either
    return True


def _ignore_file(folder: int) -> str:
    data = read_file(folder, ".gitignore", _MAX_IGNORE)
    return "" if data is None else data.decode("utf-8", "replace")


def read_file(folder: int, name: str, most: int) -> bytes | None:
    """An ordinary file of at most so many bytes; None for anything else."""
    try:
        file = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        return None
    try:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode) or info.st_size > most:
            return None
        with os.fdopen(os.dup(file), "rb") as opened:
            data = opened.read(most + 1)
    except OSError:
        return None
    finally:
        os.close(file)
    return data if len(data) <= most else None


# --- lines ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hit:
    """A line that was looked for."""

    path: str
    line: int
    text: str


def search_lines(
    search: Search, path: str, matcher: LineMatcher, wanted: Callable[[Entry], bool], limit: int
) -> list[Hit]:
    """The lines that match, in files below a path or in the file there, at most `limit` and one more."""
    hits: list[Hit] = []
    for name, data in _files(search, path, wanted):
        if b"\0" in data[:8192]:
            continue
        for number, text in matcher.lines(data, limit + 1 - len(hits)):
            hits.append(Hit(name, number, text))
        if len(hits) > limit:
            break
    return hits


def _files(
    search: Search, path: str, wanted: Callable[[Entry], bool]
) -> Iterator[tuple[str, bytes]]:
    with search.root.spot(path) as spot:
        if spot.info is None or not spot.is_folder:
            data = _single(search.root, spot)
            if data is not None:
                yield spot.path, data
            return
    for entry in search.below(path):
        if not entry.is_file or not wanted(entry):
            continue
        data = read_file(entry.folder, entry.names[-1], MAX_SEARCHED)
        if data is not None:
            yield entry.path, data


def _single(root: Root, spot: Spot) -> bytes | None:
    file = root.open_file(spot)
    with os_failures(spot.path), os.fdopen(file, "rb") as opened:
        data = opened.read(MAX_SEARCHED + 1)
    return data if len(data) <= MAX_SEARCHED else None
