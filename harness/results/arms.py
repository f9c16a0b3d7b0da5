"""An arm: the item scores of the runs (seeds) that are one side of a comparison, in one style, as arrays.

What intervals are made of. Means over the items of a cell are the cells; the items themselves say how sure those are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.results.marks import Place, Scores
from harness.results.published import PublishedRun

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Floats = NDArray[numpy.float64]


@dataclass(frozen=True, kw_only=True)
class Column:
    """The items of one task or suite, scored in every seed after every stage.

    ``scores`` is [seed, stage, item], stage 0 the base, fractions; ``malformed`` is the same of 0 and 1, or None where
    nobody noted it. A cell that was not observed is NaN in all its items, and nothing else is NaN. ``items`` and
    ``groups`` are [item]: the ids, and what an item shares with others (a picture). ``odds`` is [item] too: 1 / (k - 1)
    for an item of k options, which chance-adjusted forgetting needs; None where an item has none.
    """

    name: str
    items: tuple[str, ...]
    groups: tuple[str, ...]
    scores: Floats
    malformed: Floats | None = None
    odds: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The runs of one arm: their tasks and suites in one style, all with the same stages and the same items.

    ``seeds`` names the runs, [seed]; ``trained`` holds the tasks of every stage but the base, as in AccuracyMatrix.
    ``joint`` is what joint training reaches by task, where it is known: the reference of intransigence.
    """

    name: str
    style: str
    seeds: tuple[str, ...]
    stages: tuple[str, ...]
    trained: tuple[tuple[str, ...], ...]
    tasks: tuple[Column, ...]
    suites: tuple[Column, ...] = ()
    joint: tuple[float | None, ...] = ()


def arm_of(
    runs: Sequence[PublishedRun], marks: Sequence[Mapping[Place, Scores]], style: str = "", *, name: str = ""
) -> Arm:
    """The arm of runs that are seeds of one another, with their marks, in a style; in their own where none is named.

    Raises:
        UserError: where the runs differ in stages or items, where two share a trained stage (and are no replicates of
            one another), or where a cell holds other items than its task does elsewhere.
    """
    raise NotImplementedError


__all__ = ["Arm", "Column", "arm_of"]
