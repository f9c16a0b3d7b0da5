"""What a unit of work costs: a learner's step, a selected item, an item asked; measured where it was, else modelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.command import price
from harness.command.price import Price
from harness.core import Run, UserError
from harness.run_inputs import cells_of
from harness.store.checkpoints import Store
from harness.store.housekeeping import RunInfo, list_runs
from harness.store.record import read_costs
from harness.values import is_number

LEAST_STEPS = 16  # shorter stages mostly show what it takes to load a library
LEAST_EVALUATION = 5.0  # seconds, likewise


@dataclass(frozen=True, kw_only=True)
class Units:
    """Seconds by name: of a learner's step, of an example that is selected, of an item asked in a style.

    A name may have the task's behind it, where tasks differ.
    """

    seconds: Mapping[str, float]
    source: str

    def knows(self, name: str) -> bool:
        """Whether a unit of that name was measured, declared or modelled."""
        return any(known.partition(" ")[0] == name for known in self.seconds)

    def of(self, name: str, task: str = "") -> float:
        """What one unit of that name takes; the costliest known one where it is not known."""
        worst = max(self.seconds.values(), default=0.0)
        return self.seconds.get(f"{name} {task}", self.seconds.get(name, worst))

    def of_item(self, style: str, styles: Sequence[str], task: str = "") -> float:
        """What an item asked in a style takes; as in the costliest of the styles where it is not known."""
        known = [self.seconds[name] for name in styles if name in self.seconds]
        worst = max(known, default=self.of(style, task))
        return self.seconds.get(f"{style} {task}", self.seconds.get(style, worst))


def units_of(run: Run, store: Store, priced: Price | None = None) -> Units:
    """What steps and items cost: medians over the runs of this scale in the store, else declared or modelled.

    A scale's own seconds hold for this machine and for processors; on other hardware all is modelled.
    """
    scale = run.scale
    elsewhere = priced is not None and not priced.hardware.here
    if scale.seconds and (priced is None or not elsewhere or priced.hardware.on_cpu):
        known, source = dict(scale.seconds), f"what scale {scale.name} declares, measured on one core"
    else:
        known, source = ({}, "") if priced is None else (price.units(run, priced), price.assumed(priced))
    if elsewhere:
        return Units(seconds=known, source=source)
    found: dict[str, list[float]] = {}
    for info in list_runs(store)[0]:
        if info.record.scale.get("name") == scale.name:
            for kind, seconds in _measured(run, info, Units(seconds=known, source=source)):
                found.setdefault(kind, []).append(seconds)
    if not found:
        return Units(seconds=known, source=source)
    middle = {kind: median(values) for kind, values in found.items()}
    slower = middle.pop("evaluation", 1.0)
    asked = {name: known[name] * slower for name in known if name.partition(" ")[0] in scale.decodings}
    kept = {name: seconds for name, seconds in known.items() if name.partition(" ")[0] not in middle}
    return Units(seconds={**kept, **asked, **middle}, source=f"earlier runs of scale {scale.name} in {store.root}")


def _measured(run: Run, info: RunInfo, known: Units) -> Iterator[tuple[str, float]]:
    """Seconds a step by learner and a selected item by selector; how much slower than known evaluation was."""
    try:
        costs = read_costs(info.folder)
    except UserError:
        return
    select = info.record.paradigm.get("select") or {}
    usual: dict[str, float] = {}
    asked = info.record.scale.get("test_items") or 0
    for cell in cells_of(info.record.observations):
        each = known.of(cell.style, cell.name) if known.knows(cell.style) else 0.0
        usual[str(cell.stage)] = usual.get(str(cell.stage), 0.0) + asked * each
    for index, stage in costs.stages.items():
        steps, seconds, items, evaluation, selecting = (
            _number(stage, name)
            for name in ("optimiser_steps", "seconds", "items", "evaluation_seconds", "filter_seconds")
        )
        if steps >= LEAST_STEPS and seconds:
            yield str(info.record.paradigm["learner"]["name"]), seconds / steps
        if selecting and items:
            yield str(select.get("name")), selecting / items
        if info.finished and evaluation and usual.get(index, 0.0) >= LEAST_EVALUATION:
            yield "evaluation", evaluation / usual[index]


def _number(stage: Mapping[str, object], name: str) -> float:
    """A number of a stage's costs; 0 where there is none, or something that is no number."""
    value = stage.get(name)
    return float(value) if isinstance(value, (int, float)) and is_number(value) else 0.0


__all__ = ["Units", "units_of"]
