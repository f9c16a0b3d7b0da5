"""Publishing: a finished run's cells, record, costs and compact per-item scores go to results/runs/<id>/."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.asking.styles import STYLES
from harness.core import Cell, Row, UserError
from harness.results.cells import write_cells
from harness.results.leaderboard import rebuild
from harness.results.published import CELLS, COSTS, ITEMS, RECORD, RUNS, PublishedRun, read_run
from harness.store import disk
from harness.store.tables import from_parquet

ROWS = "rows"
_TOLERANCE = 1e-9


def publish(run_folder: Path, results: Path) -> Path:
    """Copy a finished run into ``results/runs/<id>/`` and rebuild ``results/leaderboard.csv``; returns the new folder.

    The folder appears whole or not at all. A run that is published already is refreshed where its cells are the same.

    Raises:
        UserError: where the folder is no run's, the run is limited, unfinished or on another split than test, its rows
            do not add up to its cells, or other numbers are published under its id.
    """
    run = read_run(run_folder)
    refuse_unfit(run)
    target = results / RUNS / run.id
    if target.exists() and (target / CELLS).is_file() and (target / CELLS).read_text() != write_cells(run.cells):
        raise UserError(f"{target} holds other numbers of the run {run.id}: remove that folder to publish these")
    costs = run_folder / COSTS
    if not costs.is_file():
        raise UserError(f"{run_folder} has no {COSTS}: run again to finish it, then publish")
    with disk.refusing_disk_faults(results):
        draft = disk.aside(target.with_name(f"{run.id}.new"))  # another name than the one that discard uses
        shutil.rmtree(draft, ignore_errors=True)
        try:
            disk.write(draft / ITEMS, items(run.cells, run_folder / ROWS))
            disk.write(draft / CELLS, write_cells(run.cells).encode())
            disk.write(draft / COSTS, costs.read_bytes())
            disk.write(draft / RECORD, _json(without_places(run.record)))
            disk.discard(target)
            draft.replace(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        rebuild(results)
    return target


def refuse_unfit(run: PublishedRun) -> None:
    """Raise UserError where a run may not stand beside whole runs: limited, off the test split, or unfinished."""
    asked = run.record["run"]
    if "limit" not in asked or asked["limit"] is not None:
        raise UserError(f"run {run.id} is limited (--limit {asked.get('limit')}): only whole runs are published")
    if asked.get("split") != "test":
        raise UserError(f"run {run.id} is on the {asked.get('split')} split: only runs on the test split are published")
    if run.record.get("finished") is not True:
        raise UserError(f"run {run.id} is not finished: give the same command again to continue it, then publish")
    styles = list(dict.fromkeys([run.style, *(style.name for style in STYLES)]))
    if missing := run.missing(styles):
        raise UserError(
            f"run {run.id} lacks {len(missing)} cells ({missing[0]} first): give the same command again to continue it"
        )
    for style in run.styles:
        run.matrix(style)


def items(cells: Sequence[Cell], rows: Path) -> bytes:
    """The per-item scores of a run as parquet (zstd): stage, task, style, example, group, score, malformed.

    ``score`` is float32, text is dictionary-encoded. Raises UserError where a cell's rows are absent or do not add up
    to the cell, within 1e-9.
    """
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, list[Any]] = {
        name: [] for name in ("stage", "task", "style", "example", "group", "score", "malformed")
    }
    for cell in sorted(cells, key=lambda cell: (cell.task, cell.style, cell.stage)):
        for row in _rows_of(cell, rows):
            values = (cell.stage, cell.task, cell.style, row.example, row.group, row.score, row.malformed)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    text = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    kinds = (pyarrow.int16(), text, text, text, text, pyarrow.float32(), pyarrow.bool_())
    table = pyarrow.table(columns, schema=pyarrow.schema(list(zip(columns, kinds, strict=True))))
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target, compression="zstd", compression_level=19)
    return target.getvalue()


def _rows_of(cell: Cell, folder: Path) -> list[Row]:
    """The rows of a cell, checked against it."""
    path = folder / f"{cell.stage}-{cell.task}-{cell.style}.parquet"
    if not path.is_file():
        raise UserError(f"{path} is missing: give the run's command again to restore it, then publish")
    rows = from_parquet(Row, path)
    score = math.fsum(row.score for row in rows) / max(len(rows), 1)
    malformed = math.fsum(row.malformed for row in rows) / max(len(rows), 1)
    if len(rows) != cell.n or abs(score - cell.score) > _TOLERANCE or abs(malformed - cell.malformed) > _TOLERANCE:
        raise UserError(f"{path} does not add up to its cell ({len(rows)} rows, {score:.4f}): remove it and run again")
    return rows


def without_places(value: Any) -> Any:
    """A record without folders of the machine that ran it: an absolute path keeps its last part only.

    >>> without_places({"model": "/somewhere/twin_base", "rates": [1e-4, "a/b"]})
    {'model': 'twin_base', 'rates': [0.0001, 'a/b']}
    """
    if isinstance(value, dict):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_places(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


__all__ = ["items", "publish", "refuse_unfit", "without_places"]
