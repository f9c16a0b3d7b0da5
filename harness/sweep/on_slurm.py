"""``--executor slurm``: a Slurm job for each leg by submitit, after those of the legs before it have ended well."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import Any

from harness.core import UserError
from harness.sweep.grid import Grid
from harness.sweep.leg import LOST, NOT_BEGUN, ROOM, Hear, Place, do, last_code
from harness.sweep.legs import Leg

LISTENS = 20.0  # seconds between two questions to Slurm
HOURS = 24  # of a job, where the grid's ``slurm`` does not say ``time``


class Failed(Exception):
    """The command of a leg failed: the job ends with a fault, so that Slurm starts none that comes after it."""


def do_on_slurm(legs: Sequence[Leg], place: Place, grid: Grid, hear: Hear, listens: float = LISTENS) -> None:
    """Submit all legs at once and hear how they end; the jobs stay in the queue when this process ends.

    Raises:
        UserError: where submitit is not installed, or this machine has no ``sbatch``.
    """
    try:
        import submitit
    except ImportError as fault:
        raise UserError('submitit is not installed: `pip install -c constraints.txt -e ".[sweep]"`') from fault
    if shutil.which("sbatch") is None:
        raise UserError("there is no sbatch here: give the command on a machine of the Slurm cluster")
    jobs: list[Any] = []
    for leg in legs:
        executor = submitit.SlurmExecutor(folder=place.out / ROOM / "slurm", max_num_timeout=0)
        executor.update_parameters(**settings(leg, grid, [str(jobs[before].job_id) for before in leg.after]))
        jobs.append(executor.submit(leg_or_fault, leg, place))
    codes: dict[int, int] = {}
    while len(codes) < len(legs):
        for number, leg in enumerate(legs):
            if number not in codes and jobs[number].done(force_check=True):
                begun = not any(codes.get(before) for before in leg.after)
                codes[number] = _code(jobs[number], leg, place) if begun else NOT_BEGUN
                hear(leg, codes[number])
        time.sleep(listens if len(codes) < len(legs) else 0)


def settings(leg: Leg, grid: Grid, after: Sequence[str]) -> dict[str, Any]:
    """What submitit writes into a file for sbatch: the leg's name and size, the grid's options, the jobs before it."""
    options: dict[str, Any] = dict(grid.slurm)
    minutes = options.pop("time", HOURS * 60)
    if after:
        options |= {"dependency": f"afterok:{':'.join(after)}", "kill-on-invalid-dep": "yes"}
    return {
        "job_name": leg.name.replace(" ", "-"),
        "time": minutes,
        "cpus_per_task": leg.cpus,
        "additional_parameters": options,
        **({"gpus_per_node": leg.gpus} if leg.gpus else {}),
    }


def leg_or_fault(leg: Leg, place: Place) -> int:
    """Do a leg in a job. Raises Failed where its command does."""
    if code := do(leg, place):
        raise Failed(f"{leg.name} ended with exit code {code}: see {place.log(leg.run)}")
    return code


def _code(job: Any, leg: Leg, place: Place) -> int:
    """The exit code of a job's leg: the log tells it, or that its command came to no end."""
    return 0 if job.exception() is None else last_code(place.log(leg.run)) or LOST


__all__ = ["do_on_slurm", "leg_or_fault", "settings"]
