"""The accuracy matrix of one run in one style: what every metric and every figure is computed from.

A[i, j] is the score on task j after stage i; row 0 is the base model. Shapes: S stages including the base, T tasks,
G general suites. Scores are fractions; None means not observed, never 0. Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core import Cell, UserError

BASE = "base"
JOINT = "joint"
Rows = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class AccuracyMatrix:
    """Scores of one run in one style, by stage and task, and beside them the suites and the malformed shares.

    ``stages`` names the rows, the base first. ``scores`` and ``malformed`` are [S, T], ``general`` is [S, G]; all are
    fractions, None where no cell was observed.
    """

    style: str
    stages: tuple[str, ...]
    tasks: tuple[str, ...]
    suites: tuple[str, ...]
    scores: Rows
    general: Rows
    malformed: Rows

    def __post_init__(self) -> None:
        for rows, width in ((self.scores, self.tasks), (self.general, self.suites), (self.malformed, self.tasks)):
            if len(rows) != len(self.stages) or any(len(row) != len(width) for row in rows):
                raise ValueError(f"a matrix of {len(self.stages)} stages and {len(width)} columns got another shape")

    @property
    def ordered(self) -> bool:
        """Whether stage j trained task j and nothing else, so that "just after its stage" has a meaning."""
        return len(self.tasks) > 0 and self.stages == (BASE, *self.tasks)

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
    stages: Sequence[str] | None = None,
) -> AccuracyMatrix:
    """The matrix of one run's cells in one style, for a stream's tasks and general suites in their order.

    ``stages`` names the rows that the run must have, base first. Left out, they are base and joint where a cell is
    called joint, else base and then every task, so that a run that stopped early has empty rows and never a false
    final one. Cells in other styles or of other tasks are left aside.

    Raises:
        UserError: where the cells are of several runs, where two cells claim one place (several decodings or scorers),
            or where a cell's stage is not the one of that name.
    """
    if runs := sorted({cell.run for cell in cells})[1:]:
        raise UserError(f"cells of {len(runs) + 1} runs cannot make one matrix: give the cells of one run")
    if stages is None:
        joint = any(cell.stage_name == JOINT for cell in cells)
        stages = (BASE, JOINT) if joint and JOINT not in tasks else (BASE, *tasks)
    found: dict[tuple[int, str], Cell] = {}
    for cell in cells:
        if not 0 <= cell.stage < len(stages) or stages[cell.stage] != cell.stage_name:
            raise UserError(
                f"run {cell.run} has stage {cell.stage} ({cell.stage_name}), which is not of {', '.join(stages)}: "
                "check that the stream is the run's own"
            )
        if cell.style == style and found.setdefault((cell.stage, cell.task), cell) is not cell:
            raise UserError(
                f"run {cell.run} has several {style} cells of {cell.task} after stage {cell.stage}: "
                "give those of one decoding and scorer"
            )

    def rows(columns: Sequence[str], field: str) -> Rows:
        return tuple(
            tuple(getattr(found[i, name], field) if (i, name) in found else None for name in columns)
            for i in range(len(stages))
        )

    return AccuracyMatrix(
        style=style,
        stages=tuple(stages),
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
    stages: Sequence[str] | None = None,
    style: str = "direct",
) -> AccuracyMatrix:
    """A matrix of plain numbers, base row first, with tasks t1, t2, ... and suites s1, s2, ...; nothing malformed.

    >>> from_rows([[0.2, 0.1], [0.9, 0.3], [0.6, 0.8]]).stages
    ('base', 't1', 't2')
    """
    tasks = tuple(f"t{j}" for j in range(1, len(scores[0]) + 1))
    general = general or [()] * len(scores)
    return AccuracyMatrix(
        style=style,
        stages=tuple(stages or (BASE, *tasks)),
        tasks=tasks,
        suites=tuple(f"s{g}" for g in range(1, len(general[0]) + 1)),
        scores=tuple(map(tuple, scores)),
        general=tuple(map(tuple, general)),
        malformed=tuple(tuple(None if value is None else 0.0 for value in row) for row in scores),
    )


__all__ = ["BASE", "JOINT", "AccuracyMatrix", "from_cells", "from_rows"]
