"""Pictures are known by their first bytes, written here by hand; nothing in them is trusted."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.attachments.images import ImageHeader, read_image_header
from lash.attachments.model import ImageMetadata


def header(media_type: str, width: int, height: int) -> ImageHeader:
    return ImageHeader(media_type=media_type, size=ImageMetadata(width=width, height=height))


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x01\x02\x00\x00\x00\x03\x08\x06\x00\x00\x00"
GIF = b"GIF89a\x0a\x00\x14\x00\x80\x00\x00"
SOF = b"\xff\xc0\x00\x11\x08\x00\x20\x00\x10\x03"  # 32 high, 16 wide
JFIF = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
EXIF = b"\xff\xd8\xff\xe1\xff\xff" + bytes(65_533)
BMP = b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 7, -9, 1, 24)
OS2 = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 7, 9, 1, 24)
RIFF = b"RIFF\x00\x00\x00\x00WEBP"
LOSSY = RIFF + b"VP8 \x00\x00\x00\x00\x00\x00\x00\x9d\x01\x2a\x20\x00\x10\x40"
LOSSLESS = RIFF + b"VP8L\x00\x00\x00\x00\x2f" + struct.pack("<I", 31 | (15 << 14))
EXTENDED = RIFF + b"VP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x1f\x00\x00\x0f\x00\x00"

SAMPLES = [
    (PNG, header("image/png", 258, 3)),
    (GIF, header("image/gif", 10, 20)),
    (b"GIF87a\x0a\x00\x14\x00", header("image/gif", 10, 20)),
    (JFIF + SOF, header("image/jpeg", 16, 32)),
    (EXIF + EXIF[2:] + SOF, header("image/jpeg", 16, 32)),
    (b"\xff\xd8\xff\xff\xff\xdb\x00\x04\x00\x00\xff\xc2" + SOF[2:], header("image/jpeg", 16, 32)),
    (b"\xff\xd8\xff\xc4\x00\x04\x00\x00" + SOF, header("image/jpeg", 16, 32)),
    (BMP, header("image/bmp", 7, 9)),
    (OS2, header("image/bmp", 7, 9)),
    (LOSSY, header("image/webp", 32, 16)),
    (LOSSLESS, header("image/webp", 32, 16)),
    (EXTENDED, header("image/webp", 32, 16)),
]


@pytest.mark.parametrize(("head", "expected"), SAMPLES)
def test_a_picture_says_what_it_is_and_how_large(head: bytes, expected: ImageHeader) -> None:
    assert read_image_header(head) == expected
    assert read_image_header(head + b"\xff\xd8 and what follows" * 9) == expected


@pytest.mark.parametrize(("head", "expected"), SAMPLES)
def test_one_that_is_cut_off_has_a_kind_or_none_and_no_wrong_size(
    head: bytes, expected: ImageHeader
) -> None:
    for length in range(min(len(head), 300)):
        found = read_image_header(head[:length])
        assert found is None or found.media_type == expected.media_type
        assert found is None or found.size in {None, expected.size}


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BM, a text that begins like a bitmap",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"GIF90a",
        b"\x89PNG\n\x1a\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_what_is_no_picture_is_none(head: bytes) -> None:
    assert read_image_header(head) is None


@pytest.mark.parametrize(
    "head",
    [
        PNG.replace(b"IHDR", b"IDAT"),
        PNG[:16] + bytes(8) + PNG[24:],
        b"\xff\xd8\xff\xe0\x00\x00" + SOF,
        b"\xff\xd8\xff\xda\x00\x02" + SOF,
        b"\xff\xd8\xff\xe0\x00\x02no marker" + SOF,
        RIFF + b"VP8L\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        RIFF + b"VP9 and more of it",
    ],
)
def test_a_broken_header_has_a_kind_and_no_size(head: bytes) -> None:
    found = read_image_header(head)
    assert found is not None
    assert found.size is None


@given(st.sampled_from([head for head, _ in SAMPLES]), st.data())
def test_whatever_comes_nothing_is_raised_and_no_size_is_nothing(
    head: bytes, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, min(len(head), 40)))
    found = read_image_header(head[:kept] + data.draw(st.binary(max_size=80)))
    if found is not None and found.size is not None:
        assert found.size.width > 0
        assert found.size.height > 0
