"""The live display of a run: stage, step, reward or loss, and time left; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from harness.command.printing import duration, percent, told
from harness.core import Cell, Observation, Progress
from harness.values import cut

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from harness.command.plan import Plan

LINE_EVERY = 20.0
AT_ONCE = 0.05


class Clock:
    """Time left, from what the plan says each step and cell weighs and from how fast they have gone so far.

    Weights are the plan's seconds on its own account; only their ratios matter, the speed is measured.
    """

    def __init__(self, planned: Plan) -> None:
        """Start at the beginning of a run."""
        self.planned = planned
        self.total = planned.seconds
        self.done = 0.0
        self.skipped = 0.0
        self.started = time.monotonic()
        self._stage = 0
        self._steps = 0.0
        self._heard = self.started

    def stage(self, index: int) -> None:
        """A stage begins: whatever the one before had left to train counts as done."""
        self._close()
        self._stage, self._steps = index, 0.0

    def step(self, progress: Progress) -> None:
        """A share of the present stage's training is done."""
        share = self._weight() * min(1.0, progress.step / max(progress.steps, 1))
        if self._steps == 0.0 and progress.step > 1:  # continued: these steps took no time now
            self.skipped += share
        self.done += max(share - self._steps, 0.0)
        self._steps = max(share, self._steps)
        self._heard = time.monotonic()

    def cell(self) -> None:
        """A cell is done, so the training before it is."""
        self._close()
        weight = self.planned.evaluation_seconds / max(self.planned.cells, 1)
        self.done += weight
        if time.monotonic() - self._heard < AT_ONCE:  # served from the store
            self.skipped += weight
        self._heard = time.monotonic()

    def _weight(self) -> float:
        stages = self.planned.stages
        return stages[self._stage - 1].seconds if 1 <= self._stage <= len(stages) else 0.0

    def _close(self) -> None:
        rest = self._weight() - self._steps
        self.done += max(rest, 0.0)
        self.skipped += max(rest, 0.0)  # what was never reported took no time: the stage was in the store
        self._steps = self._weight()

    def left(self) -> float | None:
        """Seconds to go; None before enough is done to say."""
        worked = self.done - self.skipped
        if worked < 0.01 * self.total or worked <= 0:
            return None
        return max(self.total - self.done, 0.0) * (time.monotonic() - self.started) / worked


class Display:
    """Hears how a run goes on and shows it."""

    def __init__(self, planned: Plan, stream: TextIO | None = None) -> None:
        """Show a planned run on ``stream``: standard error if not given, so that standard output holds the result."""
        self.stream = stream or sys.stderr
        self.clock = Clock(planned)
        self._bars: Bars | None = bars() if stream is None and self.stream.isatty() else None
        self._name = "base"
        self._said = 0.0
        self._scores: list[float] = []
        if self._bars:
            self._whole = self._bars.add_task("run", total=1.0, detail="")
            self._part = self._bars.add_task("base", total=None, detail="")

    def __enter__(self) -> Display:
        """Start the display."""
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        """Leave the terminal as it was, whatever happened."""
        if self._bars:
            self._bars.stop()

    def stage(self, index: int, total: int, name: str) -> None:
        """Stage ``index`` of ``total`` begins; 0 is the base row."""
        self.clock.stage(index)
        self._name = f"stage {index}/{total} {cut(name)}"
        self._scores = []
        if self._bars:
            self._bars.reset(self._part, description=self._name, total=None, detail="")
        else:
            self._say(self._name, always=True)

    def progress(self, progress: Progress) -> None:
        """One optimiser step of the present stage."""
        self.clock.step(progress)
        detail = measured(progress)
        if self._bars:
            self._bars.update(self._part, completed=progress.step, total=progress.steps, detail=detail)
            self._whole_bar()
        else:
            step = f"step {progress.step}/{progress.steps}"
            self._say(f"{self._name}: {step} {detail}", always=progress.step == progress.steps)

    def replies(self, observation: Observation, seconds: float) -> None:
        """The replies of an observation were generated; it says so, for a large evaluation takes long."""
        detail = f"replies of {observation.name} {observation.style} in {duration(seconds)}"
        if self._bars:
            self._bars.update(self._part, detail=detail)
        else:
            self._say(f"{self._name}: {detail}", always=False)

    def cell(self, cell: Cell, done: int, total: int) -> None:
        """A cell is finished; ``done`` of ``total`` cells of the run are."""
        self.clock.cell()
        detail = f"{cell.task} {cell.style} {percent(cell.score)}%"
        if self._bars:
            self._bars.update(self._part, completed=done, total=total, detail=detail, description=f"{self._name} cells")
            self._whole_bar()
        else:
            self._say(f"{self._name}: cell {done}/{total} {detail}", always=done == total)

    def note(self, text: str) -> None:
        """Something worth a line, such as a stage that was served from the store."""
        if self._bars:
            self._bars.console.print(told(text, 1000), soft_wrap=True)
        else:
            self._say(cut(text, 1000), always=True)

    def _whole_bar(self) -> None:
        if self._bars:
            share = self.clock.done / max(self.clock.total, 1e-9)
            self._bars.update(self._whole, completed=min(share, 1.0), detail=remaining(self.clock.left()))

    def _say(self, text: str, always: bool) -> None:
        """A plain line; at most one in twenty seconds of those that only show that things go on."""
        now = time.monotonic()
        if always or now - self._said >= LINE_EVERY:
            self._said = now
            left = remaining(self.clock.left())
            print(f"{text.rstrip()}{f'  ({left})' if left else ''}", file=self.stream, flush=True)


def measured(progress: Progress) -> str:
    """What a step reports: reward, loss or both.

    >>> measured(Progress(step=1, steps=2, reward=0.5)), measured(Progress(step=1, steps=2))
    ('reward 0.500', '')
    """
    parts = [("reward", progress.reward), ("loss", progress.loss)]
    return " ".join(f"{name} {value:.3f}" for name, value in parts if value is not None)


def remaining(seconds: float | None) -> str:
    """Time left in words; empty where it is not known."""
    return "" if seconds is None else f"{duration(seconds)} left"


def bars() -> Bars:
    """Two bars on standard error: the whole run, and what is being done now."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    class Count(MofNCompleteColumn):
        """Counts steps and cells; the bar of the whole run, a share, has none."""

        def render(self, task: Task) -> Text:
            return Text("") if task.total == 1.0 else super().render(task)

    from rich.progress import Task
    from rich.text import Text

    return Bars(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        Count(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
    )
