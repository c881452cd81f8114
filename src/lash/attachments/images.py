"""Reads from the first bytes of a picture what kind it is and how large. Pure, and trusts nothing."""

import struct
from collections.abc import Callable, Mapping

from lash.attachments.model import ImageMetadata
from lash.core.json import Data

#: How much of a file this needs to see at most. A photograph's size stands behind its EXIF data, which
#: comes in pieces of up to 64 KiB.
HEAD_BYTES = 256 * 1024


class ImageHeader(Data):
    """A picture's kind; its size, unless the header is broken or was cut off."""

    media_type: str
    size: ImageMetadata | None = None


def read_image_header(head: bytes) -> ImageHeader | None:
    """What the first bytes of a file say, or None when they are of no picture we know."""
    for media_type, magic in _MAGIC.items():
        if magic(head):
            try:
                size = _SIZES[media_type](head)
            except (struct.error, IndexError):
                size = None  # cut off
            return ImageHeader(media_type=media_type, size=size)
    return None


#: How long the header of a bitmap is, which tells one from text that begins with "BM".
_BMP_HEADERS = frozenset(struct.pack("<I", length) for length in (12, 40, 52, 56, 64, 108, 124))
_MAGIC: Mapping[str, Callable[[bytes], bool]] = {
    "image/png": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/jpeg": lambda head: head.startswith(b"\xff\xd8\xff"),
    "image/gif": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "image/webp": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    "image/bmp": lambda head: head.startswith(b"BM") and head[14:18] in _BMP_HEADERS,
}


def _size(width: int, height: int) -> ImageMetadata | None:
    return ImageMetadata(width=width, height=height) if width > 0 and height > 0 else None


def _png(head: bytes) -> ImageMetadata | None:
    if head[12:16] != b"IHDR":
        return None
    return _size(*struct.unpack_from(">II", head, 16))


def _gif(head: bytes) -> ImageMetadata | None:
    return _size(*struct.unpack_from("<HH", head, 6))


def _bmp(head: bytes) -> ImageMetadata | None:
    if head[14:18] == b"\x0c\x00\x00\x00":
        return _size(*struct.unpack_from("<HH", head, 18))
    width, height = struct.unpack_from("<ii", head, 18)
    return _size(width, abs(height))  # a negative height says that rows come from the top


def _jpeg(head: bytes) -> ImageMetadata | None:
    """Goes from segment to segment to the one that begins a frame, which says the size."""
    at = 2
    while True:
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these have no body
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return _size(width, height)
        elif marker in {0xD9, 0xDA}:  # the end, or the picture itself: no frame came before
            return None
        else:
            (length,) = struct.unpack_from(">H", head, at + 2)
            if length < 2:
                return None
            at += 2 + length


def _webp(head: bytes) -> ImageMetadata | None:
    match head[12:16]:
        case b"VP8X":  # 24 bits each, less one
            width = int.from_bytes(head[24:27], "little") + 1
            height = int.from_bytes(head[27:30], "little") + 1
            return _size(width, height) if len(head) >= 30 else None
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", head, 21)
            if head[20] != 0x2F:
                return None
            return _size((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
        case b"VP8 ":
            if head[23:26] != b"\x9d\x01\x2a":
                return None
            width, height = struct.unpack_from("<HH", head, 26)
            return _size(width & 0x3FFF, height & 0x3FFF)
        case _:
            return None


_SIZES: Mapping[str, Callable[[bytes], ImageMetadata | None]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/bmp": _bmp,
}
