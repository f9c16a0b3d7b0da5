"""What the official loaders share: finding files, reading their rows, opening their pictures.

Every fault of the data is a UserError of one line that names the file and, where there is one, the item. Pictures are
opened when they are asked for, never while a split is loaded.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import Any

from harness.core import UserError
from tasks.vqa import vqa_words

# Row groups of pictures kept open at a time; the hub writes about a hundred pictures to a group.
GROUPS_IN_MEMORY = 4
# The image processor of Qwen2.5-VL refuses pictures that are longer than this times their width.
THINNEST = 200
# What data sets hold; a "jpg" that is PostScript must not reach the programs that Pillow would call.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
Picture = Callable[[], Any]


def existing(folder: Path, task: str) -> Path:
    """The folder itself; UserError where it is not there."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: put the official data of {task} there, or leave out --data")
    return folder


def known_split(split: str, files: Mapping[str, str], task: str) -> str:
    """The published name of a split; UserError where the official data has no such split."""
    if split not in files:
        raise UserError(f"the official data of {task} has no {split} split: use {', '.join(files)}")
    return files[split]


def parquet_files(folder: Path, prefix: str, subfolders: Sequence[str] = ("data",)) -> tuple[Path, ...]:
    """The ``<prefix>*.parquet`` files of the folder, or else of the first subfolder that has some, in their order."""
    for place in (folder, *(folder / name for name in subfolders)):
        found = tuple(sorted(place.glob(f"{prefix}*.parquet")))
        if found:
            return found
    return ()


def parquet_rows(file: Path, columns: Sequence[str], task: str) -> Iterator[tuple[int, dict[str, Any], Picture | None]]:
    """(row number, the asked columns, a function that opens its picture or None) for each row of a file.

    Only the picture's path is read here, so a file with gigabytes of pictures loads in moments.
    """
    import pyarrow.parquet

    with _reading(file):
        schema = pyarrow.parquet.read_schema(file)
    for column in (*columns, "image"):
        if column not in schema.names:
            raise UserError(f"{file} has no column {column}: expected {', '.join((*columns, 'image'))} as in {task}")
    kind = schema.field("image").type
    parts = {kind.field(n).name for n in range(kind.num_fields)} if hasattr(kind, "num_fields") else set()
    if not {"bytes", "path"} <= parts:
        raise UserError(f"{file}: the column image holds no pictures as {{bytes, path}}: download {task} again")
    with _reading(file), pyarrow.parquet.ParquetFile(file) as parquet:
        table = parquet.read(columns=[*columns, "image.path"])
    if table.num_rows == 0:
        raise UserError(f"{file} has no rows: download it again")
    for row, values in enumerate(table.to_pylist()):
        shown = values.pop("image") is not None
        yield row, values, partial(open_row, file, row) if shown else None


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turns what pyarrow raises about a malformed file (ValueErrors and OSErrors) into one line for the user."""
    try:
        if file.stat().st_size == 0:
            raise UserError(f"{file} is empty: download it again")
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as parquet ({_line(error)}): download it again") from error


def open_row(file: Path, row: int) -> Any:
    """The picture in a row of a parquet file, upright and in RGB."""
    starts = _group_starts(file)
    group = max(n for n, start in enumerate(starts) if start <= row)
    cell = _group(file, group)[row - starts[group]]
    if cell is None or not cell.get("bytes"):
        raise UserError(f"{file}, row {row}: the picture is not inside the file: download it again")
    return opened(BytesIO(cell["bytes"]), f"{file}, row {row}")


@cache
def _group_starts(file: Path) -> tuple[int, ...]:
    """The first row of each row group that has rows."""
    import pyarrow.parquet

    with _reading(file):
        metadata = pyarrow.parquet.read_metadata(file)
    starts, row = [], 0
    for group in range(metadata.num_row_groups):
        starts.append(row)
        row += metadata.row_group(group).num_rows
    return tuple(starts)


@lru_cache(maxsize=GROUPS_IN_MEMORY)
def _group(file: Path, group: int) -> Any:
    """The picture column of a row group, as {bytes, path} or None."""
    import pyarrow.parquet

    with _reading(file), pyarrow.parquet.ParquetFile(file) as parquet:
        return parquet.read_row_group(group, columns=["image"]).column("image").to_pylist()


def json_items(file: Path, keys: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(position, object) for each item of a JSON list whose objects hold ``keys``."""
    try:
        text = file.read_text(encoding="utf-8")
        if not text.strip():
            raise UserError(f"{file} is empty: download it again")
        items = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is not readable JSON ({_line(error)}): download it again") from error
    if not isinstance(items, list):
        raise UserError(f"{file} holds no JSON list of items: expected [{{{', '.join(keys)}}}, ...]")
    if not items:
        raise UserError(f"{file} has no items: download it again")
    for position, item in enumerate(items):
        if not isinstance(item, dict):
            raise UserError(f"{file}, item {position} is no JSON object: expected {', '.join(keys)}")
        for key in keys:
            if key not in item:
                raise UserError(f"{file}, item {position} has no {key}: expected {', '.join(keys)}")
        yield position, item


def picture_file(name: object, folders: Sequence[Path], where: str) -> Path:
    """The file of a picture in the first of ``folders`` that has it; a name that leads elsewhere is refused."""
    plain = isinstance(name, str) and name not in ("", ".", "..") and "\0" not in name
    if not isinstance(name, str) or not plain or PureWindowsPath(name).name != name:
        raise UserError(f"{where}: the picture name {name!r} is no plain file name: download the file again")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{where}: no picture {name} in {' or '.join(str(folder) for folder in folders)}: unpack the pictures"
    )


def open_file(file: Path, where: str) -> Any:
    """The picture in a file, upright and in RGB."""
    return opened(file, f"{where} ({file})")


def opened(source: Path | BytesIO, where: str) -> Any:
    """A picture as RGB, turned upright as its EXIF orientation says, on white where it is transparent.

    Only the formats that data sets have are opened, whatever the file's name says. Gray of 16 bits becomes its upper 8.
    """
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            # A broken EXIF block is worth no line: the pixels are there.
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            with Image.open(source, formats=FORMATS) as picture:
                picture.load()
                upright = _upright(_eight_bits(picture, where), picture)
        if upright.has_transparency_data:
            layer = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        rgb = upright.convert("RGB")
    # What Pillow raises about broken files, by kind of file.
    except (OSError, ValueError, SyntaxError, TypeError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: the picture cannot be read ({_line(error)}): replace the file") from error
    if max(rgb.size) > THINNEST * min(rgb.size):
        raise UserError(f"{where}: a picture of {rgb.width} x {rgb.height} pixels is too thin: replace the file")
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


def _eight_bits(picture: Any, where: str) -> Any:
    """A gray picture of more than 8 bits as one of 8, any other as it is.

    Of 16 bits the upper 8 stay. Values of 32 bits say nothing of their range, so it is the narrowest of 0 to 1
    (fractions alone), 0 to 255 and 0 to 65,535 that holds them all.
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
            raise UserError(
                f"{where}: gray values from {low:g} to {high:g} are no picture's: save it with 8 or 16 bits"
            )
        if picture.mode == "F" and high <= 1:
            values = values * 255
        elif high > 255:
            values = values / 256
        gray = values.astype(numpy.uint8)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        gray[numpy.asarray(picture) == clear] = 255
    return Image.fromarray(gray)


def text(value: object, what: str, where: str) -> str:
    """A text that is not blank, stripped."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {what} is {value!r}, not a text: download the file again")
    return value.strip()


def gold_first(answers: object, where: str) -> tuple[str, ...]:
    """The annotators' answers with the gold first; blanks stay, for they count among the ten, and match nothing.

    Answers are counted as they are compared: of those that most annotators agree on, the most common spelling is gold
    (of equally common ones the earliest). Line breaks and double spaces become single spaces.

    >>> gold_first(["pepsi", "pepsi", "Coca Cola", "coca-cola", "the coca cola", ""], "item 0")
    ('Coca Cola', 'pepsi', 'pepsi', 'coca-cola', 'the coca cola', '')
    """
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise UserError(f"{where}: answers is no list of texts: download the file again")
    given = [" ".join(answer.split()) for answer in answers]
    if not any(given):
        raise UserError(f"{where}: there are no answers: use a split that is published with answers")
    agreed = Counter(vqa_words(answer) for answer in given if answer).most_common(1)[0][0]
    gold = Counter(answer for answer in given if answer and vqa_words(answer) == agreed).most_common(1)[0][0]
    given.remove(gold)
    return (gold, *given)


def _line(error: BaseException) -> str:
    """The first line of an error's message, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
