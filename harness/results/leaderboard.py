"""The leaderboard: one row per published run, derived from the cells and never edited; and its means over seeds.

Runs are ranked by average accuracy in the paradigm's own style, among runs of the same style and of equal stream,
scale, base, task versions and test data (equal ``group``) only. Fractions; an undefined metric is an empty field.
Standard library only, but for the intervals that ``rebuild`` computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core import UserError
from harness.results.cells import csv_rows, csv_text
from harness.results.metrics import ALL, average_accuracy, backward_transfer, compute_all
from harness.results.published import PublishedRun, published

if TYPE_CHECKING:
    from harness.results.standings import Seen
    from harness.results.stats import Estimate

NAME = "leaderboard.csv"
_NAMES = ("rank", "runs", "group", "id", "paradigm", "recipe", "stream", "scale", "seed", "tasks", "style")
_OTHER = ("other_style", "other_average_accuracy", "other_backward_transfer")
ENDS = ("low", "high")
_BOUNDS = tuple(f"{name}_{end}" for name in ALL for end in ENDS)
COLUMNS: tuple[str, ...] = (
    *_NAMES,
    *(column for name in ALL for column in (name, *(f"{name}_{end}" for end in ENDS))),
    *_OTHER,
)
DIGITS = 6  # of what is computed from draws: enough for any reader, and the same on every machine
_COUNTS = ("rank", "runs", "seed")
_FRACTIONS = (*ALL, *_OTHER[1:])

Value = str | int | float | None
Entry = Mapping[str, Value]


def rows(runs: Sequence[PublishedRun], found: Mapping[str, Mapping[str, Estimate | None]] | None = None) -> list[Entry]:
    """The leaderboard's rows, ranked ones first within their group and style; keys are ``COLUMNS``.

    Ties share the better rank; a run without a defined average accuracy has none. ``runs`` counts the group's runs of
    the style. ``found`` are the intervals of each run's metrics, by its id.
    """
    entries = [_entry(run, (found or {}).get(run.id, {})) for run in runs]
    for entry in entries:
        rivals = [rival for rival in entries if all(rival[key] == entry[key] for key in ("group", "style"))]
        entry["runs"] = len(rivals)
        own = entry["average_accuracy"]
        better = [rival for rival in rivals if own is not None and _number(rival["average_accuracy"]) > _number(own)]
        entry["rank"] = None if own is None else 1 + len(better)
    last = len(entries) + 1
    order = ("stream", "scale", "group", "style")
    return sorted(entries, key=lambda e: (*(str(e[key]) for key in order), _number(e["rank"], last), str(e["id"])))


def _entry(run: PublishedRun, found: Mapping[str, Estimate | None]) -> dict[str, Value]:
    other = next(iter(run.styles[1:]), None)
    beside = None if other is None else run.matrix(other)
    values: dict[str, Value] = {
        "rank": None, "runs": None, "group": run.group, "id": run.id, "paradigm": run.paradigm, "recipe": run.recipe,
        "stream": run.stream, "scale": run.scale, "seed": run.seed, "tasks": run.task_digest, "style": run.style,
        **_metrics(run, found),
        "other_style": other,
        "other_average_accuracy": None if beside is None else average_accuracy(beside),
        "other_backward_transfer": None if beside is None else backward_transfer(beside),
    }  # fmt: skip
    return values


def _metrics(run: PublishedRun, found: Mapping[str, Estimate | None]) -> dict[str, Value]:
    """Every metric of a run: of its cells to the last digit, of its items where it needs those, and both bounds."""
    values: dict[str, Value] = {}
    for name, value in compute_all(run.matrix()).items():
        known = found.get(name)
        values[name] = round(known.value, DIGITS) if value is None and known is not None else value
        values |= {f"{name}_{end}": None if known is None else round(getattr(known, end), DIGITS) for end in ENDS}
    return values


def _number(value: Value, absent: float = -1.0) -> float:
    """A value to compare by; what is absent compares as ``absent``."""
    return float(value) if isinstance(value, (int, float)) else absent


def rebuild(results: Path) -> tuple[str, ...]:
    """Write leaderboard.csv anew from the published runs; a line for each run that is damaged, and left out."""
    from harness.results.standings import seen_runs

    seen, damaged = seen_runs(results)
    _write(seen, results)
    return damaged


def rebuild_all(results: Path) -> tuple[str, ...]:
    """Write leaderboard.csv and its pages in Markdown, LaTeX and HTML; a line for each run that is damaged."""
    from harness.results.board_pages import write_pages
    from harness.results.standings import boards, seen_runs

    seen, damaged = seen_runs(results)
    _write(seen, results)
    write_pages(boards(seen), results)
    return damaged


def _write(seen: Sequence[Seen], results: Path) -> None:
    """Write leaderboard.csv."""
    from harness.results.standings import intervals
    from harness.store.disk import write

    table = [[entry[name] for name in COLUMNS] for entry in rows([one.run for one in seen], intervals(seen))]
    write(results / NAME, csv_text(COLUMNS, table).encode())


def load(results: Path) -> list[Entry]:
    """The rows of leaderboard.csv with their types: counts, fractions, text, None where empty.

    Raises:
        UserError: where nothing is published or the file is malformed.
    """
    path = results / NAME
    if not path.is_file():
        raise UserError(f"{results} has no {NAME}: publish a finished run first (harness publish RUN)")
    try:
        return [{name: _typed(name, text) for name, text in row.items()} for row in csv_rows(path, COLUMNS)]
    except ValueError as error:
        raise UserError(f"{path} is malformed ({error}): publish a run again, which rebuilds it") from error


def _typed(name: str, text: str) -> Value:
    if not text:
        return None
    if name in _COUNTS:
        return int(text)
    return float(text) if name in (*_FRACTIONS, *_BOUNDS) else text


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A paradigm's means over its runs of one group, in its own style.

    ``mean`` and ``error`` are by metric, fractions; error is the sample standard error, sd over n - 1 by sqrt(n). A
    mean is None where one run leaves the metric undefined; an error is None then, and for a single run.
    """

    paradigm: str
    recipe: str
    stream: str
    scale: str
    group: str
    style: str
    n: int
    seeds: tuple[int, ...]
    mean: Mapping[str, float | None]
    error: Mapping[str, float | None]


def summary(results: Path) -> list[Summary]:
    """Mean and standard error over seeds of each paradigm in each group, best average accuracy first."""
    entries = rows(published(results))
    keys = ("group", "paradigm", "recipe")
    found = []
    for key in dict.fromkeys(tuple(entry[name] for name in keys) for entry in entries):
        runs = [entry for entry in entries if tuple(entry[name] for name in keys) == key]
        columns = {name: [run[name] for run in runs] for name in _FRACTIONS}
        first = {name: str(runs[0][name]) for name in ("paradigm", "recipe", "stream", "scale", "group", "style")}
        found.append(
            Summary(
                **first,
                n=len(runs),
                seeds=tuple(sorted(int(_number(run["seed"])) for run in runs)),
                mean={name: mean_and_error(values)[0] for name, values in columns.items()},
                error={name: mean_and_error(values)[1] for name, values in columns.items()},
            )
        )
    return sorted(found, key=lambda s: (s.stream, s.scale, s.group, -_number(s.mean["average_accuracy"]), s.paradigm))


def mean_and_error(values: Sequence[Value]) -> tuple[float | None, float | None]:
    """Mean, and sample standard error sqrt(sum (x - mean)^2 / (n - 1) / n); None where undefined.

    >>> mean_and_error([1.0, 2.0, 3.0]), mean_and_error([1.0]), mean_and_error([1.0, None])
    ((2.0, 0.5773502691896257), (1.0, None), (None, None))
    """
    known = [value for value in values if isinstance(value, (int, float))]
    if not known or len(known) < len(values):
        return None, None
    mean = sum(known) / len(known)
    if len(known) == 1:
        return mean, None
    return mean, sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1) / len(known))


__all__ = ["COLUMNS", "NAME", "Entry", "Summary", "load", "mean_and_error", "rebuild", "rebuild_all", "rows", "summary"]
