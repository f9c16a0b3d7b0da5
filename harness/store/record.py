"""The record of a run: run.json says what was run, on what and from what; costs.json alone holds times and counts."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.core import Run, Stage, Task, UserError, plain
from harness.store import disk
from harness.store.checkpoints import RECORD
from harness.store.lineage import SCHEMA, Checkpoint, dump, read_json

COSTS = "costs.json"
PACKAGES = (
    "cpt-harness", "torch", "torchvision", "transformers", "trl", "accelerate", "datasets", "tokenizers", "safetensors",
    "numpy", "pillow", "pyarrow", "pandas", "math-verify", "latex2sympy2-extended",
)  # fmt: skip


class Record:
    """The two files of a run, opened by the process that holds the run's lock."""

    def __init__(self, folder: Path, content: dict[str, Any], costs: dict[str, Any]) -> None:
        """Take the contents of both files; ``open_record`` reads or begins them."""
        self.folder = folder
        self.content = content
        self.costs = costs

    def stage(self, index: int, **entry: Any) -> None:
        """Note what is known of a stage: its key, seed, parent and reference first, its weights when it is learned."""
        self.content["stages"][index - 1].update(plain(entry))
        self._write()

    def begins(self, index: int, name: str, shared: bool) -> None:
        """Note whether the stage's checkpoint was there (``shared``) when this run first came to need it."""
        entry = self._cost_of(index, name)
        if "shared" not in entry:
            entry["shared"] = shared
            disk.write(self.folder / COSTS, dump(self.costs))

    def learned(self, index: int, name: str, checkpoint: Checkpoint) -> None:
        """Note what a stage cost, and the digest of its weights."""
        self._cost_of(index, name).update(plain(checkpoint.costs))
        disk.write(self.folder / COSTS, dump(self.costs))
        self.stage(index, weights=checkpoint.weights)

    def evaluated(self, index: int, name: str, seconds: float) -> None:
        """Add the seconds that a cell took to its stage."""
        entry = self._cost_of(index, name)
        entry["evaluation_seconds"] = round(entry.get("evaluation_seconds", 0.0) + seconds, 3)
        disk.write(self.folder / COSTS, dump(self.costs), derived=True)

    def _cost_of(self, index: int, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = self.costs["stages"].setdefault(str(index), {"name": name})
        return entry

    def finish(self) -> None:
        """Mark the run as complete."""
        self.content["finished"] = True
        self._write()

    def _write(self) -> None:
        disk.write(self.folder / RECORD, dump(self.content))


def open_record(
    folder: Path,
    run_id: str,
    run: Run,
    stages: Sequence[Stage],
    tasks: Mapping[str, Task],
    fingerprints: Mapping[str, str],
    base: str,
) -> Record:
    """Begin a run's record, or continue it.

    Raises UserError where the run was begun from another base model or on other test data.
    """
    path = folder / RECORD
    other = "move the run away with `harness runs rm`, or give another --out"
    content: dict[str, Any]
    costs: dict[str, Any] = {"schema": SCHEMA, "id": run_id, "stages": {}}
    if path.is_file():
        content = read_json(path, f"remove the folder {folder}")
        if content.get("base_digest") != base:
            begun = str(content.get("base_digest"))[:12]
            raise UserError(
                f"run {run_id} began from base {begun}, but the model is now {base[:12]}: put it back, or {other}"
            )
        changed = [name for name, value in fingerprints.items() if content["data"].get(name) != value]
        if changed:
            raise UserError(f"run {run_id} began on other data of {changed[0]}: put the data back, or {other}")
        if (folder / COSTS).is_file():
            costs = read_json(folder / COSTS, f"remove the file {folder / COSTS}")
    else:
        content = {
            "schema": SCHEMA,
            "id": run_id,
            "finished": False,
            "run": plain(run),
            "task_versions": {name: task.version for name, task in tasks.items()},
            "data": dict(fingerprints),
            "base_digest": base,
            "stages": [
                {"index": index, "name": stage.name, "tasks": list(stage.tasks)}
                for index, stage in enumerate(stages, start=1)
            ],
            "environments": [],
        }
    here = environment()
    if here not in content["environments"]:
        content["environments"].append(here)
    record = Record(folder, content, costs)
    record._write()
    return record


def environment() -> dict[str, Any]:
    """What the numbers may depend on beside the inputs: commit, packages, hardware and threads."""
    import torch

    return {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_type(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def versions() -> dict[str, str]:
    """The installed versions of the packages that numbers may depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_type() -> str:
    """The processor's own name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def commit() -> str | None:
    """The commit of the project's checkout, with "+" where files differ from it; None outside a checkout."""
    room = Path(__file__).resolve().parents[1]
    try:
        head = _git(room, "rev-parse", "HEAD").strip()
        # an environment below the checkout of something else is not that thing's commit
        if not _git(room, "ls-files", "core.py").strip():
            return None
        changed = _git(
            room, "status", "--porcelain", "--untracked-files=no", ":/harness", ":/tasks", ":/baselines", ":/twin_base"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed.strip() else "")


def _git(folder: Path, *words: str) -> str:
    """The output of a git command in a folder."""
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=20).stdout


__all__ = ["COSTS", "PACKAGES", "Record", "commit", "cpu_type", "environment", "open_record", "versions"]
