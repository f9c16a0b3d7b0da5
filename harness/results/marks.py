"""The marks of a published run, by stage, task and style: what flips and intervals are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core import UserError

MARKS = "marks.parquet"
Place = tuple[int, str, str]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The items of one cell in their order: ids, groups (items that share a picture) and scores, fractions."""

    examples: tuple[str, ...]
    groups: tuple[str, ...]
    scores: tuple[float, ...]


def read_marks(folder: Path) -> Mapping[Place, Scores]:
    """The scores of every cell of a published run, by (stage, task, style). Raises UserError where they are damaged."""
    import pyarrow
    import pyarrow.parquet

    path = folder / MARKS
    try:
        table = pyarrow.parquet.read_table(path, columns=["stage", "task", "style", "example", "group", "score"])
    except (OSError, pyarrow.ArrowException) as fault:
        raise UserError(f"{path} is missing or damaged: publish the run again") from fault
    found: dict[Place, tuple[list[str], list[str], list[float]]] = {}
    columns: Sequence[list[object]] = [table[name].to_pylist() for name in table.column_names]
    for stage, task, style, example, group, score in zip(*columns, strict=True):
        cell = found.setdefault((int(str(stage)), str(task), str(style)), ([], [], []))
        cell[0].append(str(example))
        cell[1].append(str(group))
        cell[2].append(float(str(score)))
    return {
        place: Scores(examples=tuple(examples), groups=tuple(groups), scores=tuple(scores))
        for place, (examples, groups, scores) in found.items()
    }


__all__ = ["MARKS", "Place", "Scores", "read_marks"]
