"""TensorBoard and wandb through the trainers' own reporters: a stage is a run of theirs, a run of ours their group.

Nothing of it is in a key: what is reported moves no number.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.core import Job, digest
from harness.job import Reporting


def settings_of(job: Job) -> dict[str, Any]:
    """What the trainer is told: the reporter, and the name of the stage's run."""
    if job.reporting is None:
        return {"report_to": "none"}
    return {"report_to": job.reporting.to, "run_name": f"{job.reporting.group}/{job.stage.name}"}


@contextmanager
def reporting(job: Job) -> Iterator[None]:
    """What the reporters read from the environment, while a stage's trainer is made and trains.

    wandb writes into the run's folder and sends nothing, unless the user's WANDB_MODE is ``online``. A stage that is
    continued goes on in the run that it began.
    """
    if job.reporting is None:
        yield
        return
    told = environment_of(job.reporting, job)
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        if job.reporting.to == "wandb" and "wandb" in sys.modules:
            sys.modules["wandb"].finish()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def environment_of(told: Reporting, job: Job) -> dict[str, str]:
    """The variables of a stage's reporter."""
    if told.to == "tensorboard":
        return {"TENSORBOARD_LOGGING_DIR": str(told.folder / "tensorboard" / job.stage.name)}
    return {
        "WANDB_MODE": "online" if os.environ.get("WANDB_MODE") == "online" else "offline",
        "WANDB_DIR": str(told.folder),
        "WANDB_PROJECT": os.environ.get("WANDB_PROJECT", "cpt-harness"),
        "WANDB_RUN_GROUP": told.group,
        "WANDB_RUN_ID": digest([told.group, job.stage.name, job.key])[:16],
        "WANDB_RESUME": "allow",
        "WANDB_SILENT": "true",
    }


__all__ = ["reporting", "settings_of"]
