"""The command `harness watch`: how a run in another terminal goes on, read from its folder and nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.command.flags import RUNS, OutFlag, RunName
from harness.command.printing import ABSENT, console, duration, grid, percent, told
from harness.core import OWN_STYLE, slug
from harness.store.journal import CELL, NOTE, REPLIES, STAGE, Entry, entries_of, steps_of

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from harness.store.record import RunRecord

EVERY = 2.0  # seconds between two looks
LINE_EVERY = 30.0  # and between two tables where there is no terminal
RECENT = 20  # steps that the speed is measured over
RUNNING, FINISHED, STOPPED = "running", "finished", "interrupted"


@dataclass(frozen=True, kw_only=True)
class StageSeen:
    """What is known of a stage: its steps, the last loss or reward, tokens per second, seconds, replies and cells."""

    name: str
    step: int = 0
    of: int = 0
    measured: str = ""
    speed: float | None = None
    training: float | None = None
    evaluation: float | None = None
    replies: int = 0
    cells: int = 0
    wanted: int = 0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run at one moment: its state, its stages from the base on, the scores so far, the last note, seconds to go."""

    record: RunRecord
    state: str
    stages: tuple[StageSeen, ...]
    scores: dict[tuple[int, str, str], float]
    note: str
    left: float | None


def watch_command(run: RunName, out: OutFlag = RUNS) -> None:
    """Watch a run that goes on in another terminal, until it ends; it is only read, and never waits for its watcher."""
    from harness.store.checkpoints import Store
    from harness.store.housekeeping import run_folder

    folder = run_folder(Store(out), slug(run))
    with suppress(KeyboardInterrupt):  # the watcher leaves, the run goes on
        watch(folder)


def watch(folder: Path, every: float = EVERY) -> None:
    """Show a run until it ends: in place in a terminal, elsewhere a table now and then."""
    from rich.live import Live

    screen, begun = console(), time.monotonic()
    if not sys.stdout.isatty():
        while (seen := look(folder)).state == RUNNING:
            if time.monotonic() >= begun:
                screen.print(drawn(seen))
                begun = time.monotonic() + LINE_EVERY
            time.sleep(every)
        screen.print(drawn(seen))
        return
    with Live(console=screen, auto_refresh=False) as live:
        while True:
            seen = look(folder)
            live.update(drawn(seen), refresh=True)
            if seen.state != RUNNING:
                return
            time.sleep(every)


def look(folder: Path) -> Seen:
    """A run as its files tell of it now; files of a run are whole at every moment."""
    from harness.store.record import COSTS, read_costs, read_record

    working = works(folder / "lock")
    record, entries = read_record(folder), entries_of(folder)
    costs = read_costs(folder).stages if (folder / COSTS).is_file() else {}
    scores = scores_of(folder, entries)
    names = ["base", *(stage.name for stage in record.stages)]
    stages = tuple(stage_of(index, name, record, costs, entries, scores) for index, name in enumerate(names))
    state = FINISHED if record.finished else RUNNING if working else STOPPED
    notes = [entry.name for entry in entries if entry.kind == NOTE]
    return Seen(
        record=record,
        state=state,
        stages=stages,
        scores=scores,
        note=notes[-1] if notes else "",
        left=left(stages, entries) if state == RUNNING else None,
    )


def works(lock: Path) -> bool:
    """Whether a process holds the run's lock. Linux' list of locks says so without touching it; else one look does."""
    from harness.store.disk import Lock

    try:
        held, number = Path("/proc/locks").read_text(), lock.stat().st_ino
    except OSError:
        held, number = "", 0
    listed = any("FLOCK" in line and f":{number} " in line for line in held.splitlines())
    return listed or Lock(lock).held_elsewhere()


def scores_of(folder: Path, entries: Sequence[Entry]) -> dict[tuple[int, str, str], float]:
    """The scores by (stage, task, style): those of cells.csv, and those that came since it was written."""
    from harness.results.cells import read_cells
    from harness.results.published import CELLS

    told_of = {(one.stage, one.name, one.style): one.score for one in entries if one.kind == CELL}
    found = {place: score for place, score in told_of.items() if score is not None}
    if (folder / CELLS).is_file():
        found |= {(cell.stage, cell.task, cell.style): cell.score for cell in read_cells(folder / CELLS)}
    return found


def stage_of(
    index: int,
    name: str,
    record: RunRecord,
    costs: dict[str, dict[str, Any]],
    entries: Sequence[Entry],
    scores: dict[tuple[int, str, str], float],
) -> StageSeen:
    """A stage, from the record of what it took and from the journal."""
    cost = costs.get(str(index), {})
    mine = [entry for entry in entries if entry.stage == index]
    steps = steps_of(mine, index)
    last = steps[-1] if steps else None
    done = cost.get("optimiser_steps")
    return StageSeen(
        name=name,
        step=done if done is not None else last.step if last else 0,
        of=last.of if last else done or 0,
        measured=measured(last) if last else "",
        speed=speed(steps, cost),
        training=cost.get("seconds"),
        evaluation=cost.get("evaluation_seconds"),
        replies=len({(entry.name, entry.style) for entry in mine if entry.kind == REPLIES}),
        cells=sum(place[0] == index for place in scores),
        wanted=sum(one.stage == index and one.kind != "probe" for one in record.observations),
    )


def measured(step: Entry) -> str:
    """Reward or loss of a step."""
    named = [("reward", step.reward), ("loss", step.loss)]
    return " ".join(f"{name} {value:.3f}" for name, value in named if value is not None)


def speed(steps: Sequence[Entry], cost: dict[str, Any]) -> float | None:
    """Tokens trained on per second: over the last steps, or over the whole stage where it is done; None if unknown."""
    if cost.get("seconds"):
        return float(cost["trained_tokens"]) / float(cost["seconds"])
    recent = [step for step in steps[-RECENT:] if step.tokens is not None]
    if len(recent) < 2 or recent[-1].at <= recent[0].at:
        return None
    return (recent[-1].tokens - recent[0].tokens) / (recent[-1].at - recent[0].at)  # type: ignore[operator]


def left(stages: Sequence[StageSeen], entries: Sequence[Entry]) -> float | None:
    """Seconds to go: stages to come take what those that are done took on average; None before one can say."""
    evaluations = [one.evaluation for one in stages if one.evaluation and one.cells >= one.wanted]
    trainings = [one.training for one in stages[1:] if one.training is not None]
    at = max((entry.stage for entry in entries if entry.kind == STAGE), default=0)
    now, steps = stages[at], steps_of(entries, at)
    per_step = (steps[-1].at - steps[0].at) / (len(steps) - 1) if len(steps) > 1 else None
    training = sum(trainings) / len(trainings) if trainings else None
    if now.training is None and at and per_step is not None:
        training = training or per_step * now.of
        rest = per_step * (now.of - now.step)
    else:
        rest = 0.0 if now.training is not None or not at else training or 0.0
    if training is None or not evaluations:
        return None
    evaluation = sum(evaluations) / len(evaluations)
    share = 1 - min(max(now.replies, now.cells) / max(now.wanted, 1), 1.0)
    return rest + share * evaluation + (len(stages) - 1 - at) * (training + evaluation)


def drawn(seen: Seen) -> Group:
    """A run as it is shown: its state, a row for each stage, and its matrix in its own style as far as it is."""
    from rich.console import Group
    from rich.text import Text

    said = f"{seen.record.id}: {seen.state}"
    if seen.left is not None:
        said += f", about {duration(seen.left)} left"
    if seen.state == STOPPED:
        said += "; its command continues it"
    lines: list[Any] = [Text.from_markup(f"[bold]{told(said)}[/bold]"), progress_table(seen), score_table(seen)]
    if seen.note and seen.state == RUNNING:
        lines.append(Text.from_markup(told(seen.note)))
    return Group(*lines)


def progress_table(seen: Seen) -> Table:
    """A row for each stage: steps, loss or reward, tokens per second, seconds, cells."""
    table = grid(["stage", "steps", "last", "tokens/s", "training", "evaluation", "cells"])
    for one in seen.stages:
        table.add_row(
            told(one.name),
            f"{one.step}/{one.of}" if one.of else ABSENT,
            one.measured or ABSENT,
            ABSENT if one.speed is None else f"{one.speed:,.0f}",
            ABSENT if one.training is None else duration(one.training),
            ABSENT if one.evaluation is None else duration(one.evaluation),
            f"{one.cells}/{one.wanted}" if one.cells or not one.replies else f"asked {one.replies}/{one.wanted}",
        )
    return table


def score_table(seen: Seen) -> Table:
    """Accuracy in percent in the paradigm's own style, as far as there are cells."""
    columns = [*seen.record.tasks, *seen.record.suites]
    table = grid([f"after ({seen.record.style} style)", *columns])
    for index, one in enumerate(seen.stages):
        scores = [
            seen.scores.get((index, name, seen.record.style), seen.scores.get((index, name, OWN_STYLE)))
            for name in columns
        ]
        if any(score is not None for score in scores):
            table.add_row(told(one.name), *map(percent, scores))
    return table


__all__ = ["FINISHED", "RUNNING", "STOPPED", "Seen", "StageSeen", "look", "watch", "watch_command", "works"]
