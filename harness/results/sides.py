"""Which runs a word of the command line means.

A run's id (of the store, or of the published results) or its folder; several with commas, as the seeds of one arm; a
paradigm, such as ``sft`` or ``twin-long/sft``, which means all of its published seeds; or a table of marks, a file that
ends in .csv or .parquet (``marks_table.of_table``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core import UserError
from harness.results.arms import Arm, arm_of
from harness.results.marks import marks_of
from harness.results.marks_table import of_table
from harness.results.published import RUNS, PublishedRun, published, read_run, sound_runs
from harness.store.record import RECORD
from harness.values import cut

TABLES = (".csv", ".parquet")


def side(word: str, style: str, store: Path, results: Path) -> Arm:
    """The arm that a word means, in a style; in its own where none is named.

    Raises:
        UserError: where nothing of that name is there, or what is named are no seeds of one another.
    """
    if word.endswith(TABLES):
        return of_table(Path(word), style)
    folders = folders_of(word, store, results)
    runs = sorted(((read_run(folder), folder) for folder in folders), key=lambda one: (one[0].seed, one[0].id))
    found = [run for run, _ in runs]
    if len({run.id for run in found}) < len(found):
        raise UserError(f"{cut(word)} names a run twice: name each of its seeds once")
    if len({(run.recipe, run.group) for run in found}) > 1:
        raise UserError(f"the runs of {cut(word)} are no seeds of one another ({_differ(found)}): name those that are")
    return arm_of(
        found, [marks_of(run, folder) for run, folder in runs], style, name=found[0].id if len(found) == 1 else word
    )


def runs_of(word: str, store: Path, results: Path) -> list[PublishedRun]:
    """The runs that a word means; none for a table of marks."""
    return [read_run(one) for one in folders_of(word, store, results)]


def folders_of(word: str, store: Path, results: Path) -> list[Path]:
    """The folders of the runs that a word means; none for a table of marks."""
    if word.endswith(TABLES):
        return []
    return [folder for part in word.split(",") for folder in _of_one(part.strip(), store, results)]


def _of_one(name: str, store: Path, results: Path) -> list[Path]:
    if not name:
        raise UserError("a run's name is empty: give a run's id, a folder, a paradigm, or several with commas")
    for folder in (Path(name), store / name, results / RUNS / name):
        if (folder / RECORD).is_file():
            return [folder.resolve()]
    scale, _, paradigm = name.rpartition("/")
    runs = [run for run in published(results) if run.paradigm == paradigm and scale in ("", run.scale)]
    if not runs:
        raise UserError(
            f"{cut(name)} is no run in {store} or {results / RUNS}, no run's folder, and no paradigm that is published:"
            " see `harness runs list` and `harness leaderboard`"
        )
    kinds = {(run.scale, run.stream, run.recipe, run.group) for run in runs}
    if len(kinds) > 1:
        scales = sorted({run.scale for run in runs})
        named = ", ".join(f"{one}/{paradigm}" for one in scales) if len(scales) > 1 else "the ids of one kind of them"
        raise UserError(f"{cut(name)} means runs that are no seeds of one another: name {named}")
    return [results / RUNS / run.id for run in runs]


def _differ(runs: Sequence[PublishedRun]) -> str:
    """In what runs differ, in words."""
    found = dict.fromkeys(name for run in runs[1:] for name in differing(runs[0], run))
    return f"they differ in {', '.join(found or ['their paradigm'])}"


def kin_of(runs: Sequence[PublishedRun], style: str, results: Path) -> Arm | None:
    """The published seeds of a single run's recipe and group, in a style; None where there are not two of them."""
    if len(runs) != 1:
        return None
    kin = [run for run in sound_runs(results)[0] if (run.recipe, run.group) == (runs[0].recipe, runs[0].group)]
    return arm_of(kin, [marks_of(run, results / RUNS / run.id) for run in kin], style) if len(kin) > 1 else None


def differing(one: PublishedRun, other: PublishedRun) -> list[str]:
    """What two runs do not share of what makes runs comparable, in words."""
    kinds: Mapping[str, tuple[object, object]] = {
        "stream": (one.stream, other.stream),
        "scale": (one.scale, other.scale),
        "base model": (one.record.base, other.record.base),
        "scorers": (one.record.scorers, other.record.scorers),
        "test data": (one.record.data, other.record.data),
        "engine": ({cell.engine for cell in one.cells}, {cell.engine for cell in other.cells}),
    }
    return [name for name, (mine, yours) in kinds.items() if mine != yours]


def notes(
    one: Sequence[PublishedRun], other: Sequence[PublishedRun], arms: tuple[Arm, Arm], *, intersect: bool = False
) -> list[str]:
    """What a reader of a comparison must know: styles, single seeds, shared stages, missing cells, other conditions.

    Raises:
        UserError: where a run stands on both sides, but the sides are not the same runs; or where equal names stand for
            other test data, which ``intersect`` lets pass.
    """
    said: list[str] = []
    mine, yours = arms
    if (both := sorted(set(mine.seeds) & set(yours.seeds))) and mine.seeds != yours.seeds:
        raise UserError(f"{', '.join(map(cut, both))} stands on both sides: name each run on one side")
    if mine.style != yours.style:
        said.append(f"styles differ: {mine.style} against {yours.style}; the difference mixes style and arm (--style)")
    for arm in dict.fromkeys((mine.name, yours.name)):
        count = len(next(side.seeds for side in arms if side.name == arm))
        if count == 1:
            said.append(f"{arm} is one seed: {_single(mine, yours)}")
    if one and other and not both:
        _refuse_other_data(one[0], other[0], intersect)
        if apart := differing(one[0], other[0]):
            said.append(f"the sides differ in more than their paradigm: {', '.join(apart)}")
        said += _shared(one, other)
    for run in {run.id: run for run in (*one, *other)}.values():
        if missing := run.missing():
            said.append(f"{run.id} lacks {len(missing)} cells ({missing[0]} first): what needs them is undefined")
    return said


def _refuse_other_data(one: PublishedRun, other: PublishedRun, intersect: bool) -> None:
    mine, yours = one.record.data, other.record.data
    if not intersect and (apart := [task for task in mine if task in yours and mine[task] != yours[task]]):
        raise UserError(
            f"the test data of {', '.join(apart)} differ between {one.id} and {other.id}: compare runs of one group,"
            " or take the items of equal ids by --intersect"
        )


def _single(mine: Arm, yours: Arm) -> str:
    if len(mine.seeds) == len(yours.seeds) == 1:
        return "the interval holds the noise of items alone, and is about these very runs"
    return "it is taken to vary over seeds as the other side does"


def _shared(one: Sequence[PublishedRun], other: Sequence[PublishedRun]) -> list[str]:
    """A line for the checkpoints that both sides have: equal there by construction, and no two observations."""
    theirs = {stage.key for run in other for stage in run.record.stages if stage.key}
    names = dict.fromkeys(stage.name for run in one for stage in run.record.stages if stage.key in theirs)
    return [f"the two sides share the checkpoints of {', '.join(names)}: no replicates there"] if names else []


__all__ = ["differing", "folders_of", "kin_of", "notes", "runs_of", "side"]
