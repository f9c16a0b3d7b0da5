"""What an arm's training took: to stand beside what it learned and lost. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Dose:
    """The sum of the learning rates over a run's updates, and its updates, tokens and seconds of training.

    ``sampled_tokens`` are those of rollouts and of a filter; ``seconds`` are without the filter's.
    """

    dose: float
    updates: float
    trained_tokens: float
    sampled_tokens: float
    seconds: float


def dose(stages: Iterable[Mapping[str, Any]]) -> Dose:
    """Sum over stages of sum over updates u of rate[u], and the counts beside it (defined here).

    Two arms at one rate differ in it by their updates, two of equal updates by rate and schedule. ``stages`` are the
    entries of costs.json.

    >>> dose([{"dose": 0.5, "optimiser_steps": 24, "trained_tokens": 10}, {"dose": 0.25, "optimiser_steps": 24}])
    Dose(dose=0.75, updates=48.0, trained_tokens=10.0, sampled_tokens=0.0, seconds=0.0)
    """
    entries = list(stages)

    def total(*names: str) -> float:
        return float(sum(entry.get(name, 0) for entry in entries for name in names))

    return Dose(
        dose=total("dose"),
        updates=total("optimiser_steps"),
        trained_tokens=total("trained_tokens"),
        sampled_tokens=total("sampled_tokens", "filter_sampled_tokens"),
        seconds=total("seconds"),
    )


def mean_dose(doses: Iterable[Dose]) -> Dose:
    """The mean over seeds, field by field."""
    found = list(doses)
    return Dose(**{field.name: sum(getattr(one, field.name) for one in found) / len(found) for field in fields(Dose)})


__all__ = ["Dose", "dose", "mean_dose"]
