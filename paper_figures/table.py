"""The results as one Markdown table: a row per paradigm, mean and standard error over its seeds, in percent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.core import UserError, slug
from harness.results.leaderboard import Summary, summary
from harness.store.disk import write

METRICS = (
    "average_accuracy",
    "learning_accuracy",
    "gain",
    "backward_transfer",
    "fm_lai_T",
    "forward_transfer",
    "general_delta",
    "malformed_share",
    "other_average_accuracy",
    "other_backward_transfer",
)


def draw(
    results: Path, out: Path, runs: Sequence[str] = (), scale: str | None = None, width: str = "column"
) -> list[Path]:
    """Write ``table.md`` for the largest group of published runs; a mean wants all seeds, so ``runs`` is not used.

    With ``scale`` the runs of that scale are taken, and the file is ``table-<scale>.md``.

    Raises:
        UserError: where nothing is published.
    """
    found = [row for row in summary(results) if scale in (None, row.scale)]
    if not found:
        raise UserError(f"{results} holds no published run: harness publish RUN first")
    groups = [row.group for row in found]
    largest = max(dict.fromkeys(groups), key=lambda group: sum(row.n for row in found if row.group == group))
    path = out / ("table.md" if scale is None else f"table-{slug(scale)}.md")
    write(path, markdown([row for row in found if row.group == largest]).encode())
    return [path]


def markdown(rows: Sequence[Summary]) -> str:
    """The table, best average accuracy first; the standard error stands behind ± where there are several seeds.

    Raises:
        UserError: where a paradigm or a style of a published record has no name that fits a table.
    """
    lines = [
        "| paradigm | style | seeds | " + " | ".join(METRICS) + " |",
        "|---|---|---|" + "---|" * len(METRICS),
    ]
    for row in rows:
        values = " | ".join(_value(row.mean[name], row.error[name]) for name in METRICS)
        lines.append(f"| {slug(row.paradigm)} | {slug(row.style)} | {row.n} | {values} |")
    return "\n".join([*lines, ""])


def _value(mean: float | None, error: float | None) -> str:
    """A mean in percent with its standard error; empty where undefined.

    >>> _value(0.5, 0.0123), _value(-0.02, None), _value(None, None)
    ('50.0 ± 1.2', '-2.0', '')
    """
    if mean is None:
        return ""
    return f"{100 * mean:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


if __name__ == "__main__":
    from paper_figures.page import command

    sys.exit(command(draw))
