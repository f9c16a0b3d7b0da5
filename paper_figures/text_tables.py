"""The tables of the documents, in Markdown: one row a paradigm, numbers over its seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from harness.core import OWN_STYLE
from harness.results.dose import dose, mean_dose
from harness.results.flips import Flips, flips
from harness.results.leaderboard import mean_and_error
from harness.results.metrics import ALL
from harness.results.published import RUNS, PublishedRun, read_costs

if TYPE_CHECKING:
    from harness.results.claims import Decided
    from paper_figures.text import Numbers

STYLES = ("direct", "cot")


def percent(value: float | None) -> str:
    """A fraction in percent; empty where undefined."""
    return "" if value is None else f"{100 * value:.1f}"


def shown(metric: str, mean: float | None, error: float | None) -> str:
    """A mean with its standard error: a share in percent, a difference in points with its sign; empty if undefined.

    >>> shown("average_accuracy", 0.5, 0.01), shown("backward_transfer", -0.0101, None)
    ('50.0 ± 1.0', '-1.0')
    """
    if mean is None:
        return ""
    value = f"{100 * mean:+.1f}" if ALL[metric].points else f"{100 * mean:.1f}"
    return value if error is None else f"{value} ± {100 * error:.1f}"


def rows(header: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first columns are text, the others numbers."""
    rule = ["---"] * left + ["--:"] * (len(header) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def arms_of(numbers: Numbers, scale: str) -> list[tuple[str, list[PublishedRun]]]:
    """The arms of a scale, more seeds first, then by name."""
    found = [(name, runs) for name, runs in numbers.arms.items() if name.partition("/")[0] == scale]
    return sorted(found, key=lambda item: (-len(item[1]), item[0]))


def headline(numbers: Numbers, scale: str) -> str:
    """Every paradigm of a scale: both styles of average accuracy, what was learned and lost, the suites in both."""
    lines = []
    for name, runs in arms_of(numbers, scale):
        own = runs[0].style
        lines.append(
            [
                f"`{runs[0].paradigm}`",
                own,
                str(len(runs)),
                *(numbers.mean(name, "average_accuracy", style) for style in STYLES),
                numbers.mean(name, "net_learning", own),
                numbers.mean(name, "backward_transfer", own),
                *(numbers.mean(name, "general_delta", style) for style in STYLES),
            ]
        )
    header = ["paradigm", "trained style", "seeds", "average, direct", "average, cot", "net learning"]
    return rows([*header, "backward transfer", "suites, direct", "suites, cot"], lines, 2)


def flipped(numbers: Numbers, run: PublishedRun, column: str, style: str) -> Flips:
    """The items of a column that flip until the end: of a task since its own stage, of a suite since the base."""
    marks, last = numbers.marks(run.id), len(run.stages) - 1
    first = run.stages.index(column) if column in run.tasks else 0
    asked = style if (last, column, style) in marks else OWN_STYLE
    return flips(marks[first, column, asked].scores, marks[last, column, asked].scores)


def lost_and_won(numbers: Numbers, scale: str, *paradigms: str) -> str:
    """Items lost and won by column, percent of all items, mean over seeds: tasks in the own style, suites in both."""
    lines = []
    first = numbers.arm(f"{scale}/{paradigms[0]}")[0]
    columns = [(task, "") for task in first.tasks[:-1]]
    columns += [(suite, style) for suite in first.suites for style in STYLES]
    for column, style in columns:
        cells = []
        for paradigm in paradigms:
            runs = numbers.arm(f"{scale}/{paradigm}")
            found = [flipped(numbers, run, column, style or run.style) for run in runs]
            lost, won = fmean(one.lost / one.n for one in found), fmean(one.won / one.n for one in found)
            cells.append(f"{percent(lost)} / {percent(won)}")
        lines.append([f"{column}, {style}" if style else column, *cells])
    return rows(["lost / won", *(f"`{name}`" for name in paradigms)], lines)


def doses(numbers: Numbers, scale: str, *paradigms: str) -> str:
    """What each arm's training took: updates, dose, trained and sampled tokens, seconds; mean over seeds."""
    lines = []
    for paradigm in paradigms:
        runs = numbers.arm(f"{scale}/{paradigm}")
        took = mean_dose(dose(read_costs(numbers.results / RUNS / run.id).stages.values()) for run in runs)
        tokens = f"{took.trained_tokens:,.0f}", f"{took.sampled_tokens:,.0f}"
        cells = [f"{took.updates:,.0f}", f"{took.dose:.4f}", *tokens, f"{took.seconds / 60:.1f}"]
        lines.append([f"`{paradigm}`", *cells])
    header = ["paradigm", "updates", "dose", "trained tokens", "sampled tokens", "minutes of training"]
    return rows(header, lines)


def matrix(numbers: Numbers, arm: str, style: str) -> str:
    """The accuracy after every stage, percent, mean over an arm's seeds."""
    runs = numbers.arm(arm)
    tables = [run.matrix(style) for run in runs]
    lines = []
    for number, stage in enumerate(tables[0].stages):
        values = [(*table.scores[number], *table.general[number]) for table in tables]
        lines.append([stage, *(percent(mean_and_error(column)[0]) for column in zip(*values, strict=True))])
    return rows(["after stage", *runs[0].tasks, *runs[0].suites], lines)


def claims(numbers: Numbers, *scales: str) -> str:
    """Every published claim of the ledger: what the runs of each scale say of it, with numbers in points."""
    from harness.results.claims import decide, read_claims

    known, lines = read_claims(numbers.claims), []
    decided = [decide(known, numbers.seen(), scale) for scale in scales]
    for number, claim in enumerate(known):
        said = [of_scale[number] for of_scale in decided]
        needs = f" (needs {claim.needs})" if claim.needs else ""
        lines.append([f"{claim.title}{needs}", claim.source, *map(claimed, said)])
    return rows(["claim", "source", *(f"`{scale}`" for scale in scales)], lines, 2 + len(scales))


def claimed(one: Decided) -> str:
    """A claim's word on a scale in bold where it is decided, and the number of each part with its interval."""
    numbers = [
        f"{100 * found.estimate.value:+.1f} [{100 * found.estimate.low:+.1f}, {100 * found.estimate.high:+.1f}]"
        for found in one.found
        if found.estimate is not None
    ]
    word = one.word if one.word == "undecided" else f"**{one.word}**"
    return f"{word}: {'; '.join(numbers)}" if numbers else word


TABLES: dict[str, Callable[..., str]] = {
    "claims": claims,
    "headline": headline,
    "flips": lost_and_won,
    "doses": doses,
    "matrix": matrix,
}

__all__ = ["TABLES", "claimed", "flipped", "percent", "rows", "shown"]
