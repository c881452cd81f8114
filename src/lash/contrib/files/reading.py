"""Files as a model is shown them: numbered lines, so many of them, and where to go on."""

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from lash.attachments.model import InlineSource
from lash.contrib.files.root import Spot, os_failures, refusal
from lash.tools.model import ToolError

#: How much of one line is shown, in characters.
MAX_LINE = 2000

#: How much is shown at once, in bytes of UTF-8.
MAX_BYTES = 50 * 1024

#: Pictures that are larger are not shown, in bytes.
MAX_PICTURE = 20 * 1024 * 1024

#: How many entries of a folder are shown.
MAX_ENTRIES = 2000

#: Where a zero byte gives away that a file is no text.
_HEAD = 8192

#: A character takes four bytes at most, so what is read of a line always holds what is shown of it.
_LINE_BYTES = 4 * MAX_LINE + 4

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"BM": "a BMP image",
}

#: Asked between lines; true when nobody waits for the answer any more.
Stopped = Callable[[], bool]


def media_of(head: bytes, name: str) -> str | None:
    """What sort of image or document a file is, by its first bytes; None for everything else.

    The one place that decides what is no text. Images are attached by `read_file`, documents refused.
    """
    if head.startswith(b"%PDF-"):
        return "a PDF document"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP image"
    for magic, kind in _IMAGES.items():
        if head.startswith(magic):
            # Two letters are little: a text may begin with them.
            return kind if magic != b"BM" or name.lower().endswith(".bmp") else None
    return None


def read_text(file: BinaryIO, path: str, offset: int, limit: int, stopped: Stopped) -> str:
    """Lines of a file, numbered, with a note on where to go on if there are more.

    Raises:
        ToolError: `file_is_media`, `file_is_binary`, `offset_out_of_range`.
    """
    with os_failures(path):
        head = file.read(_HEAD)
        check_text(head, path)
        file.seek(0)
        return _numbered(file, path, offset, limit, stopped)


def read_picture(file: BinaryIO, path: str) -> InlineSource | None:
    """A file as a picture to attach, or None when it is none.

    Raises:
        ToolError: `file_too_large`.
    """
    with os_failures(path):
        head = file.read(_HEAD)
        kind = media_of(head, path)
        if kind is None or not kind.endswith("image"):
            file.seek(0)
            return None
        file.seek(0)
        data = file.read(MAX_PICTURE + 1)
    if len(data) > MAX_PICTURE:
        raise refusal(
            "file_too_large",
            f"{path!r} is {kind} of more than {MAX_PICTURE} bytes, which is too large to be shown.",
        )
    return InlineSource(data=data, label=path)


def check_text(head: bytes, path: str) -> None:
    """Refuse a file whose first bytes are no text's.

    Raises:
        ToolError: `file_is_media`, `file_is_binary`.
    """
    media = media_of(head, path)
    if media is not None:
        raise refusal("file_is_media", f"{path!r} is {media}; only text can be read.")
    if b"\0" in head[:_HEAD]:
        raise refusal("file_is_binary", f"{path!r} is a binary file; only text can be read.")


def _numbered(file: BinaryIO, path: str, offset: int, limit: int, stopped: Stopped) -> str:
    told: list[str] = []
    used = number = 0
    more = False
    for number, line in enumerate(lines_of(file, stopped), 1):
        if number < offset:
            continue
        shown = f"{number}: {text_of(line, first=number == 1)}"
        used += len(shown.encode()) + 1
        if len(told) >= limit or (used > MAX_BYTES and told):
            more = True
            break
        told.append(shown)
    if not told and (number or offset > 1):
        raise refusal(
            "offset_out_of_range", f"{path!r} has {number} lines; there is no line {offset}."
        )
    if more:
        after = offset + len(told)
        told.append(f"[There is more; go on with offset={after}.]")
    return "\n".join(told) if told else "[The file is empty.]"


def lines_of(file: BinaryIO, stopped: Stopped) -> Iterator[bytes]:
    """The lines of a file without their ends, as much of each as may be shown, and a little more.

    Raises:
        ToolError: `stopped`: nobody waits any more.
    """
    while line := file.readline(_LINE_BYTES):
        if stopped():
            raise ToolError("The call was stopped.", code="stopped")
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(65536)):
            if stopped():
                raise ToolError("The call was stopped.", code="stopped")
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def text_of(line: bytes, *, first: bool = False) -> str:
    """A line as text, cut to what is shown of it."""
    if first:
        line = line.removeprefix(b"\xef\xbb\xbf")
    # What UTF-8 does not know becomes a mark; the last character may have been cut in two.
    text = line.decode("utf-8", "replace")
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}... [line cut]"


def list_folder(spot: Spot) -> str:
    """The entries of a folder, sorted; folders end with a slash."""
    with os_failures(spot.path), os.scandir(spot.folder) as entries:
        names = [
            f"{each.name}/" if each.is_dir(follow_symlinks=False) else each.name for each in entries
        ]
    shown = [each.encode("utf-8", "backslashreplace").decode() for each in sorted(names)]
    if len(shown) > MAX_ENTRIES:
        left = len(shown) - MAX_ENTRIES
        shown = [*shown[:MAX_ENTRIES], f"[{left} more entries; use glob.]"]
    return "\n".join(shown) if shown else "[The folder is empty.]"
