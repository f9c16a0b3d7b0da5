"""The accuracy matrix of one run in one style: what every metric and every figure is computed from.

A[i, j] is the score on task j after stage i; row 0 is the base model. Shapes: S stages including the base, T tasks,
G general suites. Scores are fractions; None means not observed, never 0. Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core import OWN_STYLE, Cell, UserError
from harness.results.flips import Flips

BASE = "base"
Rows = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class AccuracyMatrix:
    """Scores of one run in one style, by stage and task, and beside them the suites and the malformed shares.

    ``stages`` names the rows, the base first; ``trained`` holds the tasks that each of the others trained, [S - 1].
    ``scores`` and ``malformed`` are [S, T], ``general`` is [S, G]; all are fractions, None where no cell was observed.
    What cells do not hold stands beside them where it is known, else it is empty: ``flips`` [T] are the items that
    flipped between a task's own stage and the end, ``joint`` [T] is what joint training on all tasks reaches.
    """

    style: str
    stages: tuple[str, ...]
    trained: tuple[tuple[str, ...], ...]
    tasks: tuple[str, ...]
    suites: tuple[str, ...]
    scores: Rows
    general: Rows
    malformed: Rows
    flips: tuple[Flips | None, ...] = ()
    joint: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        for rows, width in ((self.scores, self.tasks), (self.general, self.suites), (self.malformed, self.tasks)):
            if len(rows) != len(self.stages) or any(len(row) != len(width) for row in rows):
                raise ValueError(f"a matrix of {len(self.stages)} stages and {len(width)} columns got another shape")
        if len(self.trained) != len(self.stages) - 1:
            raise ValueError(f"{len(self.stages) - 1} stages train {len(self.trained)} sets of tasks")
        if {len(self.flips), len(self.joint)} - {0, len(self.tasks)}:
            raise ValueError(f"a matrix of {len(self.tasks)} tasks got flips or joint scores of another number")

    @property
    def ordered(self) -> bool:
        """Whether stage j trained task j and nothing else, so that "just after its stage" has a meaning.

        A stage that replays earlier tasks is none of these, whatever its name.
        """
        return len(self.tasks) > 0 and self.trained == tuple((task,) for task in self.tasks)

    @property
    def final(self) -> tuple[float | None, ...]:
        """A[T, :], the scores on the tasks after the last stage; shape [T]."""
        return self.scores[-1]

    @property
    def whole(self) -> bool:
        """Whether every cell of tasks and suites was observed."""
        return all(value is not None for rows in (self.scores, self.general) for row in rows for value in row)


def from_cells(
    cells: Sequence[Cell],
    *,
    style: str,
    tasks: Sequence[str],
    general: Sequence[str] = (),
    stages: Sequence[tuple[str, Sequence[str]]] | None = None,
) -> AccuracyMatrix:
    """The matrix of one run's cells in one style, for a stream's tasks and general suites in their order.

    ``stages`` are the stages that the run must have, each with the tasks that it trains. Left out, there is one for
    every task, so that a run that stopped early has empty rows and never a false final one. Cells in other styles or of
    other tasks are left aside; those of a suite that asks in its own style stand beside every style.

    Raises:
        UserError: where the cells are of several runs, where two cells claim one place (several decodings or scorers),
            or where a cell's stage is not the one of that name.
    """
    if runs := sorted({cell.run for cell in cells})[1:]:
        raise UserError(f"cells of {len(runs) + 1} runs cannot make one matrix: give the cells of one run")
    given = [(task, (task,)) for task in tasks] if stages is None else list(stages)
    names = (BASE, *(name for name, _ in given))
    found: dict[tuple[int, str], Cell] = {}
    for cell in cells:
        if not 0 <= cell.stage < len(names) or names[cell.stage] != cell.stage_name:
            raise UserError(
                f"run {cell.run} has stage {cell.stage} ({cell.stage_name}), which is not of {', '.join(names)}: "
                "check that the stream is the run's own"
            )
        if cell.style in (style, OWN_STYLE) and found.setdefault((cell.stage, cell.task), cell) is not cell:
            raise UserError(
                f"run {cell.run} has several {style} cells of {cell.task} after stage {cell.stage}: "
                "give those of one decoding and scorer"
            )

    def rows(columns: Sequence[str], field: str) -> Rows:
        return tuple(
            tuple(getattr(found[i, name], field) if (i, name) in found else None for name in columns)
            for i in range(len(names))
        )

    return AccuracyMatrix(
        style=style,
        stages=names,
        trained=tuple(tuple(shown) for _, shown in given),
        tasks=tuple(tasks),
        suites=tuple(general),
        scores=rows(tasks, "score"),
        general=rows(general, "score"),
        malformed=rows(tasks, "malformed"),
    )


def from_rows(
    scores: Sequence[Sequence[float | None]],
    *,
    general: Sequence[Sequence[float | None]] = (),
    joint: bool = False,
    style: str = "direct",
) -> AccuracyMatrix:
    """A matrix of plain numbers, base row first, with tasks t1, t2, ... and suites s1, s2, ...; nothing malformed.

    There is a stage for each task, or with ``joint`` one stage on all of them.

    >>> from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]]).stages
    ('base', 't1', 't2')
    """
    tasks = tuple(f"t{j}" for j in range(1, len(scores[0]) + 1))
    general = general or [()] * len(scores)
    return AccuracyMatrix(
        style=style,
        stages=(BASE, "joint") if joint else (BASE, *tasks),
        trained=(tasks,) if joint else tuple((task,) for task in tasks),
        tasks=tasks,
        suites=tuple(f"s{g}" for g in range(1, len(general[0]) + 1)),
        scores=tuple(map(tuple, scores)),
        general=tuple(map(tuple, general)),
        malformed=tuple(tuple(None if value is None else 0.0 for value in row) for row in scores),
    )


__all__ = ["BASE", "AccuracyMatrix", "from_cells", "from_rows"]
