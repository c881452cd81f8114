"""A folder that paths cannot leave: not by `..`, by links, by absolute paths, or by links put in meanwhile.

Every path is walked one name at a time from a descriptor of the root, and no step follows a link: a link
is read, and its target walked in the same way. So nothing is ever opened by more than one name, and what
somebody swaps between a look and a step makes the step fail.
"""

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lash.core.errors import ConfigurationError
from lash.tools.model import ToolError

#: How many links one path may lead through, as in most kernels.
MAX_LINKS = 40

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What is no file by the time it is opened must not make the opening wait, or take the terminal.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def refusal(code: str, message: str) -> ToolError:
    """A failure that is the model's to mend."""
    return ToolError(message, code=code, failure_class="invalid_request")


def outside(path: str) -> ToolError:
    """The failure of a path that leads out."""
    return ToolError(
        f"{path!r} leads out of the folder that may be used; give a path inside, relative to it.",
        code="path_outside_root",
        failure_class="permission_denied",
    )


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a path leads: a name in an open folder.

    Attributes:
        folder: The folder's descriptor; valid inside `Root.spot`.
        name: The name in it, which is no link; `.` for the folder itself.
        info: What is there; None if nothing is.
        path: Where it is, from the root, as it is shown.
    """

    folder: int
    name: str
    info: os.stat_result | None
    path: str

    @property
    def is_folder(self) -> bool:
        """Whether a folder is there."""
        return self.info is not None and stat.S_ISDIR(self.info.st_mode)


class Root:
    """The folder.

    Args:
        path: Where it is. It is the host's word, so links in it are followed, once.

    Raises:
        ConfigurationError: `tool_set_invalid`: there is no such folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = os.path.realpath(path)
        if not os.path.isdir(self.path):  # noqa: PTH112  a real path, and text from here on
            raise ConfigurationError("tool_set_invalid", f"The root {self.path!r} is no folder.")

    def __repr__(self) -> str:
        return f"Root({self.path!r})"

    # --- walking --------------------------------------------------------------------------------

    @contextmanager
    def spot(self, path: str, *, make_folders: bool = False) -> Iterator[Spot]:
        """Where a path leads, inside.

        Args:
            path: Relative to the root, or absolute and inside of it.
            make_folders: Make the folders on the way that are missing.

        Raises:
            ToolError: `path_outside_root`, `path_invalid`, `file_not_found`, `not_a_folder`.
        """
        walk = _Walk(self.path, path, make_folders=make_folders)
        try:
            with os_failures(path):
                spot = walk.to_the_end(self._names(path))
            yield spot
        finally:
            walk.close()

    def _names(self, path: str) -> list[str]:
        if not path.strip() or "\0" in path:
            raise refusal("path_invalid", f"{path!r} is no path.")
        if not path.startswith("/"):
            return path.split("/")
        names = inside(self.path, path)
        if names is None:
            raise outside(path)
        return names

    # --- files ----------------------------------------------------------------------------------

    def open_file(self, spot: Spot) -> int:
        """A descriptor to read the file at a spot.

        Raises:
            ToolError: `file_not_found`, `not_a_file`, `file_changed`.
        """
        if spot.info is None:
            raise refusal("file_not_found", f"There is no {spot.path!r}.")
        if not stat.S_ISREG(spot.info.st_mode):
            raise refusal("not_a_file", f"{spot.path!r} is no ordinary file.")
        with os_failures(spot.path):
            file = os.open(spot.name, _READ, dir_fd=spot.folder)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise changed(spot.path)
        return file

    def replace(self, spot: Spot, data: bytes, token: str) -> None:
        """Put a file in place of what is at a spot, whole or not at all; its mode stays.

        Args:
            spot: Where.
            data: What is in it.
            token: Names the file while it is written; the same when the same is done again.

        Raises:
            ToolError: `not_a_file`, `file_changed`, `permission_denied`.
        """
        if spot.info is not None and not stat.S_ISREG(spot.info.st_mode):
            raise refusal("not_a_file", f"{spot.path!r} is no ordinary file.")
        with os_failures(spot.path):
            # A rename needs no right to write the file it replaces; whoever took that right meant it.
            if spot.info is not None and not os.access(
                spot.name, os.W_OK, dir_fd=spot.folder, follow_symlinks=False
            ):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            part = f".{hashlib.sha256(token.encode()).hexdigest()[:20]}.part"
            mode = None if spot.info is None else stat.S_IMODE(spot.info.st_mode) & 0o777
            try:
                _write_new(part, data, spot.folder, mode)
                _check_same(spot)
                os.rename(part, spot.name, src_dir_fd=spot.folder, dst_dir_fd=spot.folder)
            except BaseException:
                _remove(part, spot.folder)
                raise
            os.fsync(spot.folder)


def look(name: str, folder: int) -> os.stat_result | None:
    """What is under a name, itself and not what it links to; None if nothing is."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def same(before: os.stat_result | None, now: os.stat_result | None) -> bool:
    """Whether a file is the one it was, unchanged."""
    if before is None or now is None:
        return before is now
    return _identity(before) == _identity(now)


def _identity(info: os.stat_result) -> tuple[int, int, int, int, int]:
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _check_same(spot: Spot) -> None:
    """Refuse to replace what is not there as it was any more."""
    if not same(spot.info, look(spot.name, spot.folder)):
        raise changed(spot.path)


def changed(path: str) -> ToolError:
    """The failure of a file that somebody else changed meanwhile."""
    return ToolError(
        f"{path!r} was changed by somebody else meanwhile, and was left alone; read it again.",
        code="file_changed",
    )


def inside(root: str, path: str) -> list[str] | None:
    """An absolute path as names from the root; None if it does not begin there."""
    if path.rstrip("/") == root:
        return ["."]
    before = root if root.endswith("/") else f"{root}/"
    return path[len(before) :].split("/") if path.startswith(before) else None


class _Walk:
    """One walk from the root, with the folders that it is in."""

    def __init__(self, root: str, path: str, *, make_folders: bool) -> None:
        self._root = root
        self._asked = path
        self._make = make_folders
        self._folders: list[int] = []
        self._names: list[str] = []
        self._links = 0

    def close(self) -> None:
        while self._folders:
            os.close(self._folders.pop())

    def to_the_end(self, names: list[str]) -> Spot:
        self._folders.append(os.open(self._root, _FOLDER))
        ahead = deque(names)
        while ahead:
            name = ahead.popleft()
            if name in {"", "."}:
                continue
            if name == "..":
                self._up()
                continue
            info = look(name, self._folders[-1])
            last = all(each in {"", "."} for each in ahead)
            if info is not None and stat.S_ISLNK(info.st_mode):
                self._follow(name, ahead)
            elif last and (info is None or not stat.S_ISDIR(info.st_mode)):
                return Spot(self._folders[-1], name, info, self._shown(name))
            else:
                self._down(name, info)
        here = self._folders[-1]
        return Spot(here, ".", os.fstat(here), self._shown("") or ".")

    def _up(self) -> None:
        if len(self._folders) == 1:
            raise outside(self._asked)
        os.close(self._folders.pop())
        self._names.pop()

    def _down(self, name: str, info: os.stat_result | None) -> None:
        if info is None:
            if not self._make:
                raise refusal("file_not_found", f"There is no {self._shown(name)!r}.")
            try:
                os.mkdir(name, dir_fd=self._folders[-1])
            except FileExistsError:
                pass  # somebody was faster
        elif not stat.S_ISDIR(info.st_mode):
            raise refusal("not_a_folder", f"{self._shown(name)!r} is no folder.")
        self._folders.append(os.open(name, _FOLDER, dir_fd=self._folders[-1]))
        self._names.append(name)

    def _follow(self, name: str, ahead: deque[str]) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            raise refusal("path_invalid", f"{self._asked!r} leads through too many links.")
        target = os.readlink(name, dir_fd=self._folders[-1])
        names: list[str] | None = target.split("/")
        if target.startswith("/"):
            names = inside(self._root, target)
            if names is None:
                raise outside(self._asked)
            while len(self._folders) > 1:
                self._up()
        ahead.extendleft(reversed(names or []))

    def _shown(self, name: str) -> str:
        return "/".join([*self._names, name] if name else self._names)


def _write_new(name: str, data: bytes, folder: int, mode: int | None) -> None:
    """Write a file that nobody else has opened, to the disk."""
    _remove(name, folder)  # left by a call that died
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o666 if mode is None else 0o600, dir_fd=folder)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        if mode is not None:
            os.fchmod(file, mode)
        os.fsync(file)
    finally:
        os.close(file)


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


@contextmanager
def os_failures(path: str) -> Iterator[None]:
    """Tell the model what the operating system refused."""
    try:
        yield
    except OSError as error:
        raise _told(error, path) from error
    except UnicodeEncodeError as error:
        raise refusal("path_invalid", f"{path!r} is no path.") from error


def _told(error: OSError, path: str) -> ToolError:
    match error.errno:
        case errno.ENOENT:
            return refusal("file_not_found", f"There is no {path!r}.")
        case errno.ELOOP:  # no link is opened, and it was none when it was looked at
            return changed(path)
        case errno.ENOTDIR:
            return refusal("not_a_folder", f"Something on the way to {path!r} is no folder.")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return ToolError(
                f"{path!r} may not be used like this: {error.strerror}.",
                code="permission_denied",
                failure_class="permission_denied",
            )
        case errno.ENAMETOOLONG:
            return refusal("path_invalid", f"The path is too long: {path[:200]!r}.")
        case _:
            retry = error.errno in {errno.EINTR, errno.EAGAIN, errno.EIO, errno.ESTALE}
            said = error.strerror or "it failed"
            return ToolError(f"{path!r}: {said}.", code="file_failed", retry=retry)
