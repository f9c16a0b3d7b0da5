"""The numbers of what was scored with all that they were made from, as one JSON file that a CI keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.core import plain
from harness.results.metrics import ALL
from harness.results.peaks import null_of_peaks
from harness.results.stats import LEVEL, Estimate, estimates
from harness.scoring.arm import arm_of_scored
from harness.scoring.gate import Decided, Interval, verdict
from harness.scoring.reasons import why_not
from harness.scoring.scored import Scored
from harness.store.environment import commit, versions

SCHEMA = 1
UNSTABLE = "undefined on these items, or on too many draws of them"


ITEMS, BOTH, SEEDS = "items", "items and seeds", "seeds"


def intervals(scored: Scored) -> dict[str, Interval]:
    """Every metric of what was scored, by name, mean over the seeds, each with its interval where there is one."""
    found: Mapping[str, Estimate | None] = estimates(arm_of_scored(scored))
    missing = reasons(scored)
    return {name: Interval() if name in missing else _interval(scored, one) for name, one in found.items()}


def _interval(scored: Scored, found: Estimate | None) -> Interval:
    """What an estimate says; one table of accuracies has no noise that could be seen, so no interval."""
    if found is None:
        return Interval()
    if not scored.marks and len(scored.seeds) == 1:
        return Interval(value=found.value)
    noise = SEEDS if not scored.marks else BOTH if found.noise_of == "own" else ITEMS
    return Interval(value=found.value, low=found.low, high=found.high, noise=noise)


def nulls(scored: Scored) -> dict[str, Interval]:
    """What noise alone would give of each metric with a peak, had nothing been forgotten; none without items."""
    found = null_of_peaks(arm_of_scored(scored)) if scored.marks else {}
    return {
        name: Interval(value=one.mean, low=one.low, high=one.high, noise=ITEMS)
        for name, one in found.items()
        if one is not None
    }


def reasons(scored: Scored) -> dict[str, str]:
    """Why a metric cannot be given, by its name."""
    known = {"items": bool(scored.marks), "options": bool(set(scored.options) & set(scored.mean.tasks))}
    whys = {name: why_not(name, scored.mean, **known) for name in ALL}
    return {name: why for name, why in whys.items() if why}


def evidence(
    scored: Scored, asked: Mapping[str, Any], found: Mapping[str, Interval], decided: Sequence[Decided]
) -> dict[str, Any]:
    """What the numbers were made from and what they are, as JSON types; fractions throughout.

    ``asked`` is what the user asked for. Without rules there is no verdict.
    """
    mean = scored.mean
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "made_by": {"commit": commit(), "packages": versions()},
        "source": scored.source,
        "asked": dict(asked),
        "inputs": dict(scored.inputs),
        "style": scored.style,
        "seeds": list(scored.seeds),
        "matrix": {name: plain(getattr(mean, name)) for name in ("stages", "tasks", "suites", "scores", "general")},
        "cells": [plain(cell) for cell in scored.cells],
        "level": LEVEL,
        "metrics": {
            name: {"equation": ALL[name].equation, "source": ALL[name].source, "kind": ALL[name].kind, **plain(one)}
            for name, one in found.items()
        },
        "had_nothing_been_forgotten": {name: plain(one) for name, one in nulls(scored).items()},
        "cannot_give": {name: reasons(scored).get(name, UNSTABLE) for name, one in found.items() if one.value is None},
        "notes": list(scored.notes),
    }
    if decided:
        rules = [{"rule": one.rule.text, "verdict": one.verdict, "why": one.why} for one in decided]
        content["gate"] = {"verdict": verdict(decided), "rules": rules}
    return content


__all__ = ["SCHEMA", "evidence", "intervals", "reasons"]
