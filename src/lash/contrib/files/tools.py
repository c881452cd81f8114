"""The tools for files in one folder: `read_file`, `glob` and `grep`; with `write=True`, `edit` and `write`."""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec

from lash.attachments.model import InlineSource
from lash.contrib.files.editing import Edit, Edited, edited
from lash.contrib.files.matching import is_plain, matcher, narrowed
from lash.contrib.files.patterns import PathPattern, glob_patterns
from lash.contrib.files.reading import check_text, list_folder, read_picture, read_text
from lash.contrib.files.root import Root, Spot, changed, os_failures, refusal, same
from lash.contrib.files.searching import Entry, Search, search_lines
from lash.core.json import JsonObject
from lash.tools.function import FunctionTool
from lash.tools.model import Tool, ToolContext, ToolRetry

#: How many lines are shown unless it is asked for fewer.
MAX_LINES = 2000

#: How many paths, or lines, a search comes to at most.
MAX_FOUND = 1000

#: Files that are larger are not edited, in bytes.
MAX_EDITED = 4 * 1024 * 1024

#: Looking may be tried again at once; nothing comes of it.
_RETRY = ToolRetry(max_attempts=2, base_delay_ms=25, max_delay_ms=100)
_TIMEOUT = timedelta(seconds=60)


class Files:
    """Tools for the files in one folder, for an agent's `tools`.

        coder = lash.Agent("coder", model=…, tools=Files("/srv/project", write=True).tools())

    Paths are relative to the folder and cannot leave it: not by `..`, by links, by absolute paths, nor by
    links that are put in while a tool runs. Hard links are files like any other.

    Args:
        root: The folder.
        write: Whether files may be changed: adds `edit` and `write`.

    Raises:
        ConfigurationError: `tool_set_invalid`: there is no such folder.
    """

    def __init__(self, root: str | Path, *, write: bool = False) -> None:
        self._root = Root(root)
        self._write = write
        # Two changes of one file, also by two sessions, must not be made from the same original.
        self._changing = threading.Lock()

    def __repr__(self) -> str:
        return f"Files({self._root.path!r}, write={self._write})"

    def tools(self) -> list[Tool]:
        """The tools."""
        look = partial(FunctionTool, retry=_RETRY, timeout=_TIMEOUT)
        tools: list[Tool] = [look(self.read_file), look(self.glob), look(self.grep)]
        if self._write:
            # One behind the other, so that the edits of one message are made in their order.
            tools += [FunctionTool(self.edit, serial=True), FunctionTool(self.write, serial=True)]
        return tools

    # --- looking --------------------------------------------------------------------------------

    def read_file(
        self,
        path: str,
        ctx: ToolContext,
        offset: Annotated[int, msgspec.Meta(ge=1)] = 1,
        limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LINES)] = MAX_LINES,
    ) -> str | InlineSource:
        """Read a text file, as numbered lines; look at a picture; or list a folder. What is long is cut.

        Args:
            path: The file or folder, relative to the root.
            ctx: The call.
            offset: The first line to show.
            limit: How many lines to show.
        """
        with self._root.spot(path) as spot:
            if spot.is_folder:
                return list_folder(spot)
            with os.fdopen(self._root.open_file(spot), "rb") as file:
                picture = read_picture(file, spot.path)
                return picture or read_text(file, spot.path, offset, limit, _stopped(ctx))

    def glob(
        self,
        pattern: str,
        ctx: ToolContext,
        path: str = ".",
        limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_FOUND)] = 100,
    ) -> JsonObject:
        """Find files and folders by name. Leaves out what is hidden or ignored by git.

        Args:
            pattern: Like `src/**/*.py` or `*.{js,ts}`; without a slash it is looked for at any depth.
            ctx: The call.
            path: The folder to look in, relative to the root.
            limit: How many paths to show.
        """
        wanted = _patterns(pattern)
        search = Search(self._root, _stopped(ctx))
        above = self._depth(path)
        found = [
            f"{each.path}/" if each.is_folder else each.path
            for each in search.below(path)
            if _is_wanted(wanted, each.names[above:])
        ]
        return _told("paths", found, limit, cut=search.cut)

    def grep(
        self,
        pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)],
        ctx: ToolContext,
        *,
        path: str = ".",
        files: str | None = None,
        ignore_case: bool = False,
        limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_FOUND)] = 100,
    ) -> JsonObject:
        """Find lines by a regular expression. Leaves out what is hidden, binary or ignored by git.

        Args:
            pattern: A regular expression of Python's, looked for in each line.
            ctx: The call.
            path: The folder or file to look in, relative to the root.
            files: Only files whose path fits, as for `glob`.
            ignore_case: Take large and small letters for the same.
            limit: How many lines to show.
        """
        fitting = _patterns(files) if files else []
        search = Search(self._root, _stopped(ctx))
        above = self._depth(path)
        hint = (
            narrowed(self._root.path, pattern, ignore_case=ignore_case)
            if is_plain(pattern)
            else None
        )

        def wanted(entry: Entry) -> bool:
            if hint is not None and entry.path not in hint:
                return False
            return not fitting or _is_wanted(fitting, entry.names[above:])

        with matcher(pattern, ignore_case=ignore_case) as lines:
            hits = search_lines(search, path, lines, wanted, limit)
        told = [f"{hit.path}:{hit.line}: {hit.text}" for hit in hits[:limit]]
        more = {"truncated": True} if len(hits) > limit or search.cut else {}
        return {"lines": told, **more}

    def _depth(self, path: str) -> int:
        """How many names a folder is below the root."""
        with self._root.spot(path) as spot:
            return 0 if spot.path == "." else spot.path.count("/") + 1

    # --- changing -------------------------------------------------------------------------------

    def write(self, path: str, content: str, ctx: ToolContext) -> JsonObject:
        """Write a file, whole; make it, and its folders, if they are missing.

        Args:
            path: The file, relative to the root.
            content: All of its text.
            ctx: The call.
        """
        data = _encoded(content)
        with self._changing, self._root.spot(path, make_folders=True) as spot:
            if spot.is_folder:
                raise refusal("not_a_file", f"{spot.path!r} is a folder.")
            verb = "Made" if spot.info is None else "Replaced"
            self._root.replace(spot, data, ctx.idempotency_key)
        summary = f"{verb} {spot.path} ({len(data)} bytes)."
        return {"summary": summary, "path": spot.path, "bytes": len(data)}

    def edit(self, path: str, edits: list[Edit], ctx: ToolContext) -> JsonObject:
        """Change a text file: replace texts that are in it exactly once. All edits are made, or none.

        Args:
            path: The file, relative to the root.
            edits: What to replace; every oldText is looked for in the file as it is now.
            ctx: The call.
        """
        with self._changing, self._root.spot(path) as spot:
            done = edited(self._text(spot), edits, spot.path)
            self._root.replace(spot, _encoded(done.text), ctx.idempotency_key)
        return _edit_result(spot.path, len(edits), done)

    def _text(self, spot: Spot) -> str:
        """What is in a file that is to be edited."""
        file = self._root.open_file(spot)
        with os_failures(spot.path), os.fdopen(file, "rb") as opened:
            if not same(spot.info, os.fstat(file)):
                raise changed(spot.path)
            data = opened.read(MAX_EDITED + 1)
        if len(data) > MAX_EDITED:
            raise refusal(
                "file_too_large",
                f"{spot.path!r} has more than {MAX_EDITED} bytes; it is not edited.",
            )
        check_text(data, spot.path)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise refusal(
                "file_not_utf8", f"{spot.path!r} is no UTF-8 text, and was left alone."
            ) from error


def _stopped(ctx: ToolContext) -> Callable[[], bool]:
    return lambda: ctx.cancel.cancelled


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise refusal("text_invalid", "The text holds half of a character.") from error


def _patterns(pattern: str) -> Sequence[PathPattern]:
    try:
        return glob_patterns(pattern)
    except ValueError as error:
        raise refusal("pattern_invalid", f"{pattern!r} comes to too many patterns.") from error


def _is_wanted(patterns: Sequence[PathPattern], names: Sequence[str]) -> bool:
    return any(pattern.matches(names) for pattern in patterns)


def _told(name: str, found: Sequence[str], limit: int, *, cut: bool) -> JsonObject:
    told: dict[str, object] = {name: list(found[:limit])}
    if len(found) > limit or cut:
        shown = min(limit, len(found))
        told["truncated"] = {"shown": shown, "total": len(found), "omitted": len(found) - shown}
    return told  # type: ignore[return-value]  # plain JSON by its making


def _edit_result(path: str, count: int, done: Edited) -> JsonObject:
    summary = f"Made {count} edit{'s' * (count != 1)} in {path}."
    if done.folded:
        summary += (
            f" {done.folded} matched only after quotes, dashes and blanks were taken for alike."
        )
    return {"summary": summary, "path": path, "replacements": count, "details": done.details}
