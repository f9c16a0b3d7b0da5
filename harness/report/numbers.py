"""The numbers of a report with their intervals: metrics, cells and differences, as ``harness compare`` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from harness.core import UserError
from harness.report.items import Opened
from harness.results.arms import Arm, arm_of, paired
from harness.results.marks import marks_of
from harness.results.metrics import ALL
from harness.results.stats import Estimate, Resampled, resample

Interval = list[float] | None  # value, low, high: fractions


class Numbers:
    """A run's numbers in each of its styles, with 95% intervals over its items: a report shows single seeds."""

    def __init__(self, one: Opened) -> None:
        """Read the run's marks."""
        self.opened = one
        marks = marks_of(one.run, one.folder)
        self.arms: dict[str, Arm] = {style: arm_of([one.run], [marks], style) for style in one.run.styles}

    @cached_property
    def _resampled(self) -> Mapping[str, Resampled]:
        return {style: resample(arm) for style, arm in self.arms.items()}

    def metrics(self) -> dict[str, dict[str, Interval]]:
        """Every metric by style and name."""
        return {style: metrics_of(found) for style, found in self._resampled.items()}

    def cells(self) -> dict[str, dict[str, list[Interval]]]:
        """The score of every task and suite after each stage, by style and name."""
        return {
            style: {
                column.name: [rounded(found.cell(stage, column.name)) for stage in range(len(self.arms[style].stages))]
                for column in self.arms[style].columns
            }
            for style, found in self._resampled.items()
        }

    def minus(self, other: Numbers) -> dict[str, dict[str, Interval]]:
        """This run's metrics minus the other's, by style and name; nothing where their items are not the same."""
        found = {}
        for style in set(self.arms) & set(other.arms):
            try:
                found[style] = metrics_of(resample(*paired(self.arms[style], other.arms[style])))
            except UserError:  # other items: the page says that there is no interval
                continue
        return found


def metrics_of(resampled: Resampled) -> dict[str, Interval]:
    """Every metric by name."""
    return {name: rounded(resampled.estimate(name)) for name in ALL}


def rounded(found: Estimate | None) -> Interval:
    """An estimate as the page has it, or None."""
    return None if found is None else [round(float(value), 6) for value in (found.value, found.low, found.high)]


def as_json(numbers: list[Numbers]) -> list[dict[str, Any]]:
    """What the page gets of each run: metrics, cells, and the metrics of every other run minus its own."""
    return [
        {
            "metrics": one.metrics(),
            "cells": one.cells(),
            "minus": {str(n): other.minus(one) for n, other in enumerate(numbers) if other is not one},
        }
        for one in numbers
    ]


__all__ = ["Numbers", "as_json"]
