"""What became of the runs of a sweep, read off their records each time: there is no second truth to keep up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core import UserError
from harness.store import disk
from harness.store.record import RECORD, read_record
from harness.sweep.leg import Place, last_code


@dataclass(frozen=True, kw_only=True)
class Line:
    """A run of the ledger: its state, its trained stages of how many, and the exit code that its log ends with."""

    run: str
    state: str
    stages: int
    of: int
    code: int | None


def ledger(runs: Sequence[tuple[str, int]], place: Place) -> tuple[Line, ...]:
    """A line for each run, given as (id, number of stages): finished, working, begun, not begun or damaged."""
    return tuple(_line(run, of, place) for run, of in runs)


def _line(run: str, of: int, place: Place) -> Line:
    folder, code = place.out / run, last_code(place.log(run))
    if not (folder / RECORD).exists():
        return Line(run=run, state="not begun", stages=0, of=of, code=code)
    try:
        record = read_record(folder)
    except UserError:
        return Line(run=run, state="damaged", stages=0, of=of, code=code)
    trained = sum(stage.weights is not None for stage in record.stages)
    working = disk.Lock(folder / "lock").held_elsewhere()
    state = "finished" if record.finished else "working" if working else "begun"
    return Line(run=run, state=state, stages=trained, of=of, code=code)


__all__ = ["Line", "ledger"]
