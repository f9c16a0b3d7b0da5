"""Pictures as data sets hold them: files and bytes, opened when they are asked for, upright, in RGB, of bounded size.

Every fault of a picture is a BrokenItem of one line that names the item, and the file where there is one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import Any

from harness.core import BrokenItem, UserError

# The image processor of Qwen2.5-VL refuses pictures that are longer than this times their width.
THINNEST = 200
# A picture of 8,192 x 8,192 pixels takes 200 MB as RGB; the largest ones of the ten data sets are far smaller.
MOST_PIXELS = 8192 * 8192
# What data sets hold; a "jpg" that is PostScript must not reach the programs that Pillow would call.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFile:
    """A picture in a file of its own; calling it opens it. ``item`` is the example that shows it."""

    file: Path
    item: str = ""

    def __call__(self) -> Any:
        """The picture, upright and in RGB."""
        return opened(self.file, self.item, str(self.file))


def find_picture(name: object, folders: Sequence[Path]) -> PictureFile:
    """The picture of a name in the first of ``folders`` that has it.

    Raises UserError where the name is no plain file name (a path, ``..``, a URL), or no folder has it.
    """
    plain = isinstance(name, str) and name not in ("", ".", "..") and "\0" not in name
    if not isinstance(name, str) or not plain or PureWindowsPath(name).name != name:
        raise UserError(f"the picture name {name!r:.120} is no plain file name: download the file again")
    for folder in folders:
        if (folder / name).is_file():
            return PictureFile(file=folder / name)
    raise UserError(f"no picture {name} in {' or '.join(str(folder) for folder in folders)}: unpack the pictures")


def opened(source: Path | BytesIO, item: str, where: str = "") -> Any:
    """A picture as RGB, turned upright as its EXIF orientation says, on white where it is transparent.

    Only the formats that data sets have are opened, whatever the file's name says. Gray of 16 bits becomes its upper 8.
    A picture of more than ``MOST_PIXELS`` is refused from its header, before a pixel is decoded. Raises BrokenItem.
    """
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # A broken EXIF block is worth no line: the pixels are there.
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise BrokenItem(item, _size(picture, "too large"), where)
                picture.load()
                upright = _upright(_eight_bits(picture), picture)
        if upright.has_transparency_data:
            layer = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        rgb = upright.convert("RGB")
    except UnidentifiedImageError as error:
        raise BrokenItem(item, f"the picture is none of {', '.join(FORMATS)}: replace the file", where) from error
    # What Pillow raises about broken files, by kind of file.
    except (OSError, ValueError, SyntaxError, TypeError, struct.error, Image.DecompressionBombError) as error:
        raise BrokenItem(item, f"the picture cannot be read ({first_line(error)}): replace the file", where) from error
    if max(rgb.size) > THINNEST * min(rgb.size):
        raise BrokenItem(item, _size(rgb, "too thin"), where)
    return rgb


def _upright(pixels: Any, picture: Any) -> Any:
    """The pixels turned as the EXIF orientation of their picture says; as they are where nobody can read it."""
    from PIL import ExifTags, Image

    turns = Image.Transpose
    turned = {
        2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
        6: turns.ROTATE_270, 7: turns.TRANSVERSE, 8: turns.ROTATE_90,
    }  # fmt: skip
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error):
        return pixels
    return pixels.transpose(turned[orientation]) if orientation in tuple(turned) else pixels


def _size(picture: Any, fault: str) -> str:
    return f"a picture of {picture.width} x {picture.height} pixels is {fault}: replace the file"


def _eight_bits(picture: Any) -> Any:
    """A gray picture of more than 8 bits as one of 8, any other as it is.

    Of 16 bits the upper 8 stay. Values of 32 bits say nothing of their range, so it is the narrowest of 0 to 1
    (fractions alone), 0 to 255 and 0 to 65,535 that holds them all. Raises ValueError where none does.
    """
    import numpy
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    values = numpy.asarray(picture)
    if picture.mode.startswith("I;16"):
        gray = (values.astype(numpy.uint16) >> 8).astype(numpy.uint8)
    else:
        low, high = float(values.min()), float(values.max())
        if not 0 <= low <= high < 65536:
            raise ValueError(f"gray values from {low:g} to {high:g} are no picture's, save it with 8 or 16 bits")
        if picture.mode == "F" and high <= 1:
            values = values * 255
        elif high > 255:
            values = values / 256
        gray = values.astype(numpy.uint8)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        gray[numpy.asarray(picture) == clear] = 255
    return Image.fromarray(gray)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
