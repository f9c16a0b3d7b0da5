"""Rows of parquet files, and their pictures memory-mapped from Arrow.

Reading a picture out of parquet means decompressing its whole row group, about 100 MB. So the first time that a picture
of a set is opened, ``datasets`` copies the picture columns into an Arrow file, in ``.arrow`` of the data folder (in its
own cache where nobody may write there); from then on a picture is milliseconds away, in any order and from any process,
and takes no memory that the system could not take back. Loading a split reads texts alone.
"""

from __future__ import annotations

import glob
import hashlib
import mmap
import os
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

from harness.core import BrokenItem, UserError
from tasks.official import Row, stamps
from tasks.pictures import first_line, opened

# Rows that are in memory at a time while pictures are copied or their digests are taken.
ROWS_AT_ONCE = 64
# How pyarrow reads in pieces; with its defaults it would hold all the pictures of a file in memory.
IN_PIECES = {"pre_buffer": False, "buffer_size": 2**20}
# Reads of mapped pictures after which their pages are let go; a read may map up to 2 MB.
READS_AT_ONCE = 64
# From so many bytes on, copying takes long enough that a progress bar is shown.
WORTH_A_BAR = 2**30
# Pictures are opened by threads too, and two that made one copy would disturb each other.
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureColumn:
    """A column of pictures over several parquet files; ``starts`` are the rows that each file begins with."""

    files: tuple[Path, ...]
    stamps: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    name: str

    def where(self, row: int) -> str:
        """The file and row of the row that is ``row`` over all files."""
        part = bisect_right(self.starts, row) - 1
        return f"{self.files[part]}, row {row - self.starts[part]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureCell:
    """Picture number ``place`` of a row; calling it opens it. ``item`` is the example that shows it."""

    column: PictureColumn
    row: int
    place: int = 0
    item: str = ""

    def __call__(self) -> Any:
        """The picture, upright and in RGB."""
        where = self.column.where(self.row)
        with _ONE_AT_A_TIME:
            mapped = _mapped(self.column)
        cell = mapped.cell(self.row)
        cell = cell[self.place] if isinstance(cell, list) else cell
        if cell is None or not cell.get("bytes"):
            raise BrokenItem(self.item, "the picture is not inside the file: download it again", where)
        return opened(BytesIO(cell["bytes"]), self.item, where)


@dataclass(frozen=True, kw_only=True)
class _Mapped:
    """A column out of memory-mapped Arrow files, and the maps, whose pages count as memory until they are let go."""

    cells: Any
    maps: tuple[mmap.mmap, ...]
    read: list[int]

    def cell(self, row: int) -> Any:
        """What the column holds in a row, copied out of the maps."""
        self.read[0] += 1
        if self.read[0] % READS_AT_ONCE == 0:
            self.let_go()
        return self.cells[row].as_py()

    def let_go(self) -> None:
        """Give the pages back to the system, which has them still if they are asked for again."""
        for one in self.maps:
            one.madvise(mmap.MADV_DONTNEED)


@lru_cache(maxsize=64)
def _mapped(column: PictureColumn) -> _Mapped:
    """The column, memory-mapped."""
    import pyarrow

    maps = []
    for name in _copied(column):
        with Path(name).open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    tables = [pyarrow.ipc.open_stream(pyarrow.py_buffer(one)).read_all() for one in maps]
    found = _Mapped(cells=pyarrow.concat_tables(tables).column(0), maps=tuple(maps), read=[0])
    found.let_go()
    return found


@lru_cache(maxsize=64)
def _copied(column: PictureColumn) -> tuple[str, ...]:
    """The Arrow files that hold the column; made where they are not there yet."""
    from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from datasets.exceptions import DatasetGenerationError
    from pyarrow.dataset import ParquetFragmentScanOptions

    if stamps(column.files) != column.stamps:
        raise UserError(f"the files beside {column.files[0]} were changed while they are in use: start again")
    folder = column.files[0].parent
    cache = str(folder / ".arrow") if os.access(folder, os.W_OK) else None
    names = [glob.escape(str(file)) for file in column.files]
    hidden = sum(size for size, _ in column.stamps) < WORTH_A_BAR and not are_progress_bars_disabled()
    if hidden:
        disable_progress_bars()
    try:
        made = Dataset.from_parquet(
            names,
            cache_dir=cache,
            columns=[column.name],
            batch_size=ROWS_AT_ONCE,
            fragment_scan_options=ParquetFragmentScanOptions(use_buffered_stream=True, **IN_PIECES),
        )
    except (OSError, ValueError, DatasetGenerationError) as error:
        cause = error.__cause__ or error
        raise UserError(f"the pictures of {folder} cannot be copied to Arrow ({first_line(cause)}): mend it") from error
    finally:
        if hidden:
            enable_progress_bars()
    return tuple(file["filename"] for file in made.cache_files)


def parquet_rows(
    files: Sequence[Path],
    task: str,
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    images: Sequence[str] = ("image",),
    digests: bool = False,
    keep: tuple[str, Collection[str]] | None = None,
) -> Iterator[Row]:
    """A Row for each row of the files, with ``columns``, those of ``optional`` that are there, and its pictures.

    A column of pictures holds {bytes, path} or a list of them; a row has those that are not null. ``digests`` reads
    their bytes, once, and names each by its SHA-256. ``keep`` is a column and the values of it whose rows are wanted.
    """
    starts, found = [], 0
    known = stamps(files)
    for file in files:
        starts.append(found)
        found += _checked(file, task, columns, images)
    if found == 0:
        raise UserError(f"{files[0]} has no rows: download it again")
    shown = {name: PictureColumn(files=tuple(files), stamps=known, starts=tuple(starts), name=name) for name in images}
    for file, start in zip(files, starts, strict=True):
        yield from _rows_of(file, start, task, (*columns, *optional), shown, digests, keep)


def _rows_of(
    file: Path,
    start: int,
    task: str,
    columns: Sequence[str],
    shown: dict[str, PictureColumn],
    digests: bool,
    keep: tuple[str, Collection[str]] | None,
) -> Iterator[Row]:
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    with _reading(file), pyarrow.parquet.ParquetFile(file, **IN_PIECES) as parquet:
        paths = {name: _leaf(parquet, name, "path") for name in shown}
        table = parquet.read(
            columns=[*(name for name in columns if name in parquet.schema_arrow.names), *paths.values()]
        )
        named = {name: _digests(parquet, name) for name in shown} if digests else {}
    numbers: Sequence[int] = range(table.num_rows)
    if keep is not None:
        column, values = keep
        numbers = pyarrow.compute.indices_nonzero(
            pyarrow.compute.is_in(
                table.column(column), value_set=pyarrow.array(list(values), table.schema.field(column).type)
            )
        ).to_pylist()
        table = table.take(numbers)
    for number, values in zip(numbers, table.to_pylist(), strict=True):
        cells = {name: values.pop(name) for name in shown}
        yield Row(
            task=task,
            file=file,
            number=number,
            values=values,
            pictures={
                name: [PictureCell(column=shown[name], row=start + number, place=place) for place in _places(cell)]
                for name, cell in cells.items()
            },
            digests={name: found[number] for name, found in named.items()},
            index=start + number,
        )


def _places(cell: Any) -> list[int]:
    """The places of the pictures in a cell: none, one, or those of a list."""
    if isinstance(cell, list):
        return [place for place, one in enumerate(cell) if one is not None]
    return [] if cell is None else [0]


def _checked(file: Path, task: str, columns: Sequence[str], images: Sequence[str]) -> int:
    """How many rows a file has. Raises UserError where it lacks a column, or a column of pictures holds none."""
    import pyarrow.parquet

    with _reading(file), pyarrow.parquet.ParquetFile(file) as parquet:
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    wanted = (*columns, *images)
    for column in wanted:
        if column not in schema.names:
            raise UserError(f"{file} has no column {column}: expected {', '.join(wanted)} as in {task}")
    for column in images:
        kind = schema.field(column).type
        kind = kind.value_type if hasattr(kind, "value_type") else kind
        parts = {kind.field(n).name for n in range(kind.num_fields)} if hasattr(kind, "num_fields") else set()
        if not {"bytes", "path"} <= parts:
            raise UserError(f"{file}: the column {column} holds no pictures as {{bytes, path}}: download {task} again")
    return int(rows)


def _leaf(parquet: Any, column: str, name: str) -> str:
    """The parquet path of a leaf of a column of pictures, whether it holds one or a list."""
    paths = [parquet.schema.column(n).path for n in range(len(parquet.schema))]
    return next(path for path in paths if path.startswith(f"{column}.") and path.endswith(f".{name}"))


def _digests(parquet: Any, column: str) -> list[list[str]]:
    """The first half of the SHA-256 of each picture, in hex, by row; pictures are in memory a few at a time."""
    found: list[list[str]] = []
    for batch in parquet.iter_batches(batch_size=ROWS_AT_ONCE, columns=[_leaf(parquet, column, "bytes")]):
        for cell in batch.column(0).to_pylist():
            cells = cell if isinstance(cell, list) else [cell]
            found.append([hashlib.sha256(one["bytes"] or b"").hexdigest()[:32] for one in cells if one is not None])
    return found


def column_values(files: Sequence[Path], task: str, column: str) -> list[Any]:
    """The values of one column over all files."""
    import pyarrow.parquet

    found: list[Any] = []
    for file in files:
        _checked(file, task, (column,), ())
        with _reading(file):
            found += pyarrow.parquet.read_table(file, columns=[column]).column(column).to_pylist()
    return found


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turns what pyarrow raises about a malformed file (ValueErrors and OSErrors) into one line for the user."""
    try:
        if file.stat().st_size == 0:
            raise UserError(f"{file} is empty: download it again")
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as parquet ({first_line(error)}): download it again") from error
