"""An arm from a table of marks, one item a row: what was trained and marked elsewhere, or exported from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import UserError
from harness.results.arms import Arm, column_of
from harness.results.marks import Place, Scores
from harness.results.matrix import BASE
from harness.values import cut

if TYPE_CHECKING:
    import pandas

NEEDED = ("stage", "stage_name", "task", "example", "score")
OPTIONAL = ("run", "style", "group", "malformed")
TRUE = ("true", "1", "1.0")


def of_table(path: Path, style: str = "") -> Arm:
    """The arm of a CSV or parquet file with the columns stage, stage_name, task, example and score.

    Stage 0 is the base; a stage's name is that of the task that it trained, and what no stage is named for is a suite.
    Scores are fractions. Further columns may be run (several are seeds), style, group (items that share a picture) and
    malformed. With several styles one must be named.

    Raises:
        UserError: naming the file, where it is missing, damaged, or holds what is no table of marks.
    """
    table = _read(path)
    named = sorted({str(one) for one in table["style"]})
    if len(named) > 1 and style not in named:
        raise UserError(f"{cut(str(path))} holds the styles {cut(', '.join(named))}: name one with --style")
    asked = style if style in named else named[0]
    table = table[table["style"] == asked]
    stages = _stages(table, path)
    runs = sorted({str(one) for one in table["run"]})
    marks = [_marks(table[table["run"] == run]) for run in runs]
    tasks = list(stages[1:])
    columns = {name: column_of(name, asked, marks, len(stages)) for name in dict.fromkeys(map(str, table["task"]))}
    if lost := [task for task in tasks if task not in columns]:
        raise UserError(f"{cut(str(path))} has the stage {cut(lost[0])}, but no item of that task: add its rows")
    return Arm(
        name=path.name,
        style=asked or "own",
        seeds=tuple(f"{path.name}:{run}" if run else str(path) for run in runs),
        stages=tuple(stages),
        trained=tuple((task,) for task in tasks),
        tasks=tuple(columns[task] for task in tasks),
        suites=tuple(column for name, column in columns.items() if name not in tasks),
    )


def _read(path: Path) -> pandas.DataFrame:
    """The rows of the file, with all columns and the types that they should have."""
    import pandas
    import pyarrow

    said = cut(str(path))
    try:
        if path.suffix == ".csv":
            table = pandas.read_csv(path, dtype=str, keep_default_na=False)
        else:
            table = pandas.read_parquet(path)
    except FileNotFoundError as fault:
        raise UserError(f"{said} is not there: give a table of marks, a run's id or its folder") from fault
    except (ValueError, OSError, pyarrow.ArrowException) as fault:
        raise UserError(f"{said} cannot be read as a table: give CSV or parquet") from fault
    if missing := [name for name in NEEDED if name not in table.columns]:
        raise UserError(f"{said} has no column {', '.join(missing)}: a table of marks has {', '.join(NEEDED)}")
    scores, stage = (pandas.to_numeric(table[name], errors="coerce") for name in ("score", "stage"))
    if table.empty or not scores.between(0, 1).all() or not ((stage >= 0) & (stage % 1 == 0)).all():
        raise UserError(
            f"{said} has no rows, a score that is no fraction, or a stage that is no count: mend those rows"
        )
    texts = {name: table[name].astype(str) for name in ("task", "example", "stage_name")}
    nothing = pandas.Series("", index=table.index)
    texts |= {name: table[name].astype(str) if name in table.columns else nothing for name in ("run", "style")}
    texts["group"] = table["group"].astype(str) if "group" in table.columns else texts["example"]
    unread = table["malformed"].astype(str).str.lower().isin(TRUE) if "malformed" in table.columns else None
    table = pandas.DataFrame({**texts, "stage": stage.astype(int), "score": scores, "malformed": unread})
    if (table[["task", "example", "stage_name"]] == "").any(axis=None):
        raise UserError(f"{said} has an empty task, example or stage_name: mend those rows")
    if table.duplicated(["run", "style", "stage", "task", "example"]).any():
        raise UserError(f"{said} has an item of a cell twice: mend those rows")
    return table


def _stages(table: pandas.DataFrame, path: Path) -> list[str]:
    """The names of the stages in their order, the base first."""
    names: dict[int, str] = {0: BASE}
    for stage, name in zip(table["stage"], table["stage_name"], strict=True):
        if names.setdefault(int(stage), str(name)) != str(name) and stage:
            raise UserError(f"{cut(str(path))} names the stage {stage} twice: {names[int(stage)]} and {cut(str(name))}")
    if sorted(names) != list(range(len(names))):
        raise UserError(f"{cut(str(path))} has the stages {sorted(names)}: number them from 0, the base, without a gap")
    return [names[number] for number in range(len(names))]


def _marks(table: pandas.DataFrame) -> Mapping[Place, Scores]:
    """The cells of one run."""
    found: dict[Place, Scores] = {}
    for (stage, task, style), rows in table.groupby(["stage", "task", "style"], sort=False):
        unread: Sequence[Any] = () if rows["malformed"].isna().any() else rows["malformed"].tolist()
        found[int(str(stage)), str(task), str(style)] = Scores(
            examples=tuple(map(str, rows["example"])),
            groups=tuple(map(str, rows["group"])),
            scores=tuple(map(float, rows["score"])),
            malformed=tuple(map(bool, unread)),
        )
    return found


__all__ = ["NEEDED", "OPTIONAL", "of_table"]
