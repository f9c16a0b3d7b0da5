"""Pictures as data sets hold them: deep gray, strange EXIF blocks, and files that are no pictures at all."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest

from harness.core import BrokenItem, UserError
from tasks.pictures import opened

WHITE = (255, 255, 255)


def png16(colour: int, values: list[int], channels: int, extra: bytes = b"") -> BytesIO:
    """A PNG of one row with 16 bits a sample; ``colour`` is PNG's colour type."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", len(values) // channels, 1, 16, colour, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(f">{len(values)}H", *values))
    made = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    return BytesIO(made)


def transparent(value: int) -> bytes:
    """A tRNS chunk for gray."""
    body = struct.pack(">H", value)
    return struct.pack(">I", 2) + b"tRNS" + body + struct.pack(">I", zlib.crc32(b"tRNS" + body))


def levels(source: BytesIO) -> list[int]:
    """The red values of a picture's first row."""
    picture = opened(source, "x")
    assert picture.mode == "RGB"
    return [picture.getpixel((x, 0))[0] for x in range(picture.width)]


VALUES = [0, 255, 256, 0x1234, 0x80FF, 0xFF00, 0xFFFF]


def test_16_bits_become_the_upper_8() -> None:
    upper = [value >> 8 for value in VALUES]
    assert levels(png16(0, VALUES, 1)) == upper
    assert levels(png16(2, [value for value in VALUES for _ in range(3)], 3)) == upper
    assert levels(png16(4, [part for value in VALUES for part in (value, 0xFFFF)], 2)) == upper
    assert levels(png16(0, VALUES, 1, transparent(0x1234))) == [
        255 if value == 0x1234 else value >> 8 for value in VALUES
    ]


@pytest.mark.parametrize(
    ("kind", "values", "right"),
    [("<u2", VALUES, [value >> 8 for value in VALUES]), ("<i4", VALUES, [value >> 8 for value in VALUES]),
     ("<i4", [0, 90, 255], [0, 90, 255]), ("<f4", [0.0, 0.5, 1.0], [0, 127, 255]), ("<f4", [0.0, 90.0], [0, 90]),
     ("<f4", VALUES, [value >> 8 for value in VALUES])],
)  # fmt: skip
def test_deep_gray_in_tiff(kind: str, values: list[float], right: list[int]) -> None:
    import numpy
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(numpy.array([values], dtype=kind)).save(buffer, "TIFF")
    assert levels(buffer) == right


def test_big_endian_16_bits_and_values_of_no_picture() -> None:
    import numpy
    from PIL import Image

    big = Image.frombytes("I;16B", (2, 1), b"\x12\x34\xff\x00")
    buffer = BytesIO()
    big.save(buffer, "TIFF")
    assert levels(buffer) == [0x12, 0xFF]
    for bad in ([-1, 5], [0, 70000], [0, float("nan")]):
        buffer = BytesIO()
        kind = "float32" if bad[1] != bad[1] else "int32"
        Image.fromarray(numpy.array([bad], dtype=kind)).save(buffer, "TIFF")
        with pytest.raises(UserError, match=r"item 3: .*8 or 16 bits"):
            opened(buffer, "item 3")


def block(orientation: int | None, *more: bytes) -> bytes:
    """An EXIF block with an orientation and further raw directory entries, little-endian."""
    first = () if orientation is None else (struct.pack("<HHIHH", 274, 3, 1, orientation, 0),)
    entries = (*first, *more)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"


TEXTUAL = struct.pack("<HHI4s", 282, 2, 4, b"72d\0")  # XResolution as a text
FAR = struct.pack("<HHII", 282, 5, 1, 1 << 30)  # its value lies beyond the end
UNKNOWN = struct.pack("<HHII", 283, 99, 7, 7)  # a type that is none
TWICE_DENOMINATOR = struct.pack("<HHII", 296, 2, 1 << 28, 12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "MPO"])
@pytest.mark.parametrize("entries", [(), (TEXTUAL,), (FAR,), (UNKNOWN,), (TWICE_DENOMINATOR,), (TEXTUAL, FAR, UNKNOWN)])
def test_a_strange_exif_block_leaves_the_pixels_upright(kind: str, entries: tuple[bytes, ...]) -> None:
    from PIL import Image

    drawn = Image.new("RGB", (40, 30), "black")
    drawn.paste((255, 255, 255), (0, 0, 40, 15))  # the upper half is white
    buffer = BytesIO()
    drawn.save(buffer, "JPEG" if kind == "MPO" else kind, exif=block(6, *entries))
    if kind == "MPO":
        buffer = BytesIO()
        drawn.save(buffer, "MPO", exif=block(6, *entries), save_all=True, append_images=[drawn])
    picture = opened(buffer, "x")
    assert picture.size == (30, 40)
    assert picture.getpixel((25, 20))[0] > 200 > 50 > picture.getpixel((5, 20))[0], "turned to the right"


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_what_pillow_makes_of_it(orientation: int) -> None:
    from PIL import Image, ImageOps

    drawn = Image.effect_noise((6, 4), 80).convert("RGB")
    for kind in ("PNG", "TIFF"):
        buffer = BytesIO()
        exif = Image.Exif()
        exif[274] = orientation
        drawn.save(buffer, kind, exif=exif)
        with Image.open(buffer) as again:
            right = ImageOps.exif_transpose(again).tobytes()
        assert opened(buffer, "x").tobytes() == right


@pytest.mark.parametrize(
    "junk", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0junk and no directory", block(None, FAR), block(77)]
)
def test_an_exif_block_that_nobody_can_read_leaves_the_pixels(junk: bytes) -> None:
    from PIL import Image

    for kind in ("JPEG", "PNG", "WEBP"):
        buffer = BytesIO()
        Image.new("RGB", (40, 30), (200, 30, 30)).save(buffer, kind, exif=junk)
        assert opened(buffer, "x").size == (40, 30)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_the_formats_of_data_sets_are_opened_whatever_the_name(kind: str, tmp_path) -> None:
    from PIL import Image

    file = tmp_path / "picture.jpg"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(file, kind)
    assert abs(opened(file, "x").getpixel((5, 5))[0] - 200) < 8


@pytest.mark.parametrize("kind", ["EPS", "PPM", "TGA", "ICO", "PCX", "PDF", "SGI"])
def test_no_other_format_is_opened_though_it_is_called_jpg(kind: str, tmp_path, monkeypatch) -> None:
    import subprocess

    from PIL import Image

    file = tmp_path / "picture.jpg"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(file, kind)
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was called"))
    with pytest.raises(UserError, match="item 3"):
        opened(file, "item 3")


@pytest.mark.parametrize("side", [8193, 13000, 30000])
def test_a_picture_of_too_many_pixels_is_refused_without_being_decoded(side: int, monkeypatch) -> None:
    from PIL import Image, ImageFile

    row = zlib.compress(bytes(1 + (side + 7) // 8))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("a pixel was decoded"))
    for limit in (Image.MAX_IMAGE_PIXELS, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(BrokenItem, match=r"^item 3: .*") as error:
            opened(BytesIO(bomb), "item 3")
        assert "\n" not in str(error.value)


def test_a_large_photo_within_the_limit_is_opened() -> None:
    from PIL import Image

    buffer = BytesIO()
    Image.new("1", (8192, 8192)).save(buffer, "PNG")
    assert opened(buffer, "x").size == (8192, 8192)
