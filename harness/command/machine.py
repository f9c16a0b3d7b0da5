"""What a machine has for a scale that wants GPUs: cards, driver, NCCL, locked versions, offline mode, locks, memory.

``look`` asks the machine and gives a frozen ``Seen``; every finding is a function of that, so that a machine which is
not here can be judged as well.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from harness.command.flags import ROOT
from harness.core import Scale, UserError
from harness.store import disk, mounts
from harness.values import cut

SMI = ("nvidia-smi", "--query-gpu=name,memory.total,memory.used,driver_version", "--format=csv,noheader,nounits")
PATIENCE = 30  # seconds for a program that only looks
BF16 = (8, 0)  # the least compute capability that has bf16
BUSY = 0.05  # of a card's memory that may be taken before a run begins
# The oldest driver of each major version of CUDA (docs.nvidia.com/deploy/cuda-compatibility, table 1).
DRIVERS = {11: 450, 12: 525, 13: 580}
LOCKS = ("constraints.txt", "constraints-gpu.txt")
LOCKED = ("torch", "torchvision", "transformers", "trl", "accelerate", "peft", "vllm")
VLLM_PYTHON = "CPT_HARNESS_VLLM_PYTHON"
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
# A second process that may not get what the first one holds: 0 where it does all the same, 3 where it does not.
_TAKE = (
    "import fcntl, sys\n"
    "try:\n fcntl.flock(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "except BlockingIOError:\n sys.exit(3)\n"
)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A card as the driver tells of it: its name, its memory and what others have taken of that, in bytes."""

    name: str
    memory: int
    used: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A machine as it was looked at.

    ``gpus`` and ``driver`` are what nvidia-smi shows, ``visible`` the compute capabilities of the cards that torch
    finds; ``cuda`` is the version that torch was built with, None for a build without, ``nccl`` that of its NCCL.
    ``free`` is the host's available memory in bytes, None where the system does not tell.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    visible: tuple[tuple[int, int], ...] = ()
    torch: str = ""
    cuda: str | None = None
    nccl: str = ""
    free: int | None = None
    installed: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def look() -> Seen:
    """This machine. Raises UserError where torch does not load."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"torch does not load ({cut(str(error))}): run `pip install -c constraints.txt -e .`"
        ) from error
    gpus, driver = cards(_said(SMI))
    several = torch.cuda.is_available() and torch.distributed.is_available() and torch.distributed.is_nccl_available()
    return Seen(
        gpus=gpus,
        driver=driver,
        visible=tuple(torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())),
        torch=str(torch.__version__),
        cuda=torch.version.cuda,
        nccl=".".join(map(str, torch.cuda.nccl.version())) if several else "",
        free=available(_read(Path("/proc/meminfo"))),
        installed={name: version for name in LOCKED if (version := _installed(name) or _installed(f"{name}-cpu"))},
        environment={
            name: os.environ[name] for name in (*OFFLINE, "CUDA_VISIBLE_DEVICES", VLLM_PYTHON) if name in os.environ
        },
    )


def _said(words: tuple[str, ...]) -> str:
    """What a program says; nothing where it is not there, or fails."""
    try:
        done = subprocess.run(words, capture_output=True, check=True, text=True, timeout=PATIENCE)  # noqa: S603 - ours
        return done.stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def cards(said: str) -> tuple[tuple[Gpu, ...], str]:
    """The cards and the driver's version from what nvidia-smi says; none where that is something else.

    >>> cards("NVIDIA H100 80GB HBM3, 81559, 4, 580.65.06")
    ((Gpu(name='NVIDIA H100 80GB HBM3', memory=85520809984, used=4194304),), '580.65.06')
    """
    found, driver = [], ""
    for line in said.splitlines():
        match = re.fullmatch(r"(.+?), (\d+), (\d+), ([\d.]+)", line.strip())
        if match is not None:
            mega = 2**20
            found.append(Gpu(name=match[1], memory=int(match[2]) * mega, used=int(match[3]) * mega))
            driver = match[4]
    return tuple(found), driver


def available(meminfo: str) -> int | None:
    r"""The available bytes of /proc/meminfo's text; None where it has none.

    >>> available("MemTotal: 100 kB\nMemAvailable:   24 kB")
    24576
    """
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def pinned(text: str) -> dict[str, str]:
    r"""The versions of a lock file, by package.

    >>> pinned("# made by pip\ntorch==2.13.0\ntrl==1.16.0")
    {'torch': '2.13.0', 'trl': '1.16.0'}
    """
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


def wants_gpus(scale: Scale) -> bool:
    """Whether a scale is one for GPUs: bf16 is slow on a processor, and ranks need a card each."""
    return scale.precision == "bfloat16" or scale.ranks > 1


def gpus(seen: Seen, scale: Scale) -> str:
    """The cards, that torch sees them, and that they do for a scale.

    Raises:
        UserError: naming what does not.
    """
    wanted = max(1, scale.ranks)
    if not seen.visible:
        if seen.gpus:
            raise UserError(f"{_counted(seen.gpus)} {'are' if len(seen.gpus) > 1 else 'is'} here, but {_unseen(seen)}")
        if not wants_gpus(scale):
            return "CPU only, which is all that scale twin needs"
        raise UserError(f"no GPU is here, and scale {scale.name} wants {wanted}: use such a machine, or scale twin")
    least = min(seen.visible)
    if scale.precision == "bfloat16" and least < BF16:
        raise UserError(
            f"a card has compute capability {least[0]}.{least[1]}, and bf16 wants 8.0 or more: use another card"
        )
    if len(seen.visible) < wanted:
        raise UserError(f"scale {scale.name} trains on {wanted} GPUs, torch sees {len(seen.visible)}: {_show(seen)}")
    mine = shown(seen)
    if len(set(seen.visible)) > 1 or len({gpu.name for gpu in mine.values()}) > 1:
        raise UserError(f"the cards differ ({_counted(mine.values())}): show equal ones by CUDA_VISIBLE_DEVICES")
    busy = [number for number, gpu in mine.items() if gpu.used > BUSY * gpu.memory]
    if busy and wants_gpus(scale):
        used = mine[busy[0]].used
        raise UserError(f"another program holds {used / 1e9:.1f} GB of card {busy[0]}: end it, or show other cards")
    return f"{_counted(mine.values()) or f'{len(seen.visible)} GPUs'}, compute capability {least[0]}.{least[1]}"


def shown(seen: Seen) -> dict[int, Gpu]:
    """The cards that torch is shown, by their number for nvidia-smi; none where it cannot be told which they are."""
    named = seen.environment.get("CUDA_VISIBLE_DEVICES")
    every = dict(enumerate(seen.gpus))
    if named is not None:
        numbers = [int(number) for number in named.split(",") if number.strip().isdigit()]
        every = {number: every[number] for number in numbers if number in every}
    return every if len(every) == len(seen.visible) else {}


def _unseen(seen: Seen) -> str:
    """Why torch finds none of the cards that are here."""
    if seen.cuda is None:
        return f"torch {seen.torch} is built without CUDA: install by constraints-gpu.txt (docs/paper_setting.md)"
    if seen.environment.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides them: unset it"
    return f"torch {seen.torch} finds none: update the driver ({seen.driver or 'not told'})"


def _show(seen: Seen) -> str:
    shown = seen.environment.get("CUDA_VISIBLE_DEVICES")
    return "use another scale" if shown is None else f"show more by CUDA_VISIBLE_DEVICES={cut(shown, 40)}"


def _counted(found: Iterable[Gpu]) -> str:
    """Cards in words, equal ones counted."""
    names = [f"{gpu.name} ({gpu.memory / 1e9:.0f} GB)" for gpu in found]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def driver(seen: Seen) -> str:
    """Whether the driver is new enough for the CUDA that torch was built with.

    Raises:
        UserError: where it is not.
    """
    major = int(seen.cuda.partition(".")[0]) if seen.cuda else 0
    number = int(seen.driver.partition(".")[0]) if seen.driver else 0
    least = DRIVERS.get(major, 0)
    if number and number < least:
        raise UserError(f"driver {seen.driver} is too old for CUDA {seen.cuda}: install {least} or newer")
    return f"{seen.driver or 'not told'}, torch is built with CUDA {seen.cuda or 'none'}"


def nccl(seen: Seen, scale: Scale) -> str:
    """Whether ranks can talk to each other.

    Raises:
        UserError: where a scale wants several and they cannot.
    """
    if scale.ranks > 1 and not seen.nccl:
        raise UserError(
            f"torch {seen.torch} has no NCCL, and scale {scale.name} has {scale.ranks} ranks: install a build with CUDA"
        )
    return seen.nccl or "none"


def engine(seen: Seen, scale: Scale) -> str:
    """Whether what a scale samples by is installed.

    Raises:
        UserError: where it is vLLM and is not.
    """
    asked, sampled = scale.engine, scale.rollout_engine
    elsewhere = asked == "vllm" and VLLM_PYTHON in seen.environment  # its server may have a Python of its own
    if "vllm" not in seen.installed and (sampled == "vllm" or (asked == "vllm" and not elsewhere)):
        raise UserError(
            f"scale {scale.name} samples by vLLM, which is not installed: make the environment of constraints-gpu.txt"
            " (docs/paper_setting.md)"
        )
    return f"{asked} for evaluation, {sampled} for rollouts"


def versions(seen: Seen, locks: Mapping[str, Mapping[str, str]]) -> str:
    """How the installed packages differ from the lock file that is nearest to them; ranges are checked elsewhere."""
    if not locks:
        return "no lock file beside the project"
    name = "constraints-gpu.txt" if "vllm" in seen.installed and "constraints-gpu.txt" in locks else LOCKS[0]
    lock = locks.get(name) or next(iter(locks.values()))
    other = [
        f"{package} {found}, {name} has {lock[package]}"
        for package, found in seen.installed.items()
        if package in lock and found.partition("+")[0] != lock[package].partition("+")[0]
    ]
    return "; ".join(other) or f"as {name} has them"


def lock_files() -> dict[str, dict[str, str]]:
    """The lock files of this checkout, by name; none in an installation without one."""
    return {name: found for name in LOCKS if (found := pinned(_read(ROOT / name)))}


def offline(seen: Seen) -> str:
    """Whether the libraries may ask the network: a run never needs it."""
    open_ = [name for name in OFFLINE if seen.environment.get(name, "") not in ("1", "true", "TRUE", "yes", "ON")]
    return f"{', '.join(open_)} is not 1: libraries may ask the network" if open_ else "nothing is fetched by a run"


def locking(place: Path) -> str:
    """Whether a lock in this folder keeps a second process out, as two runs on one store must.

    Raises:
        UserError: where it does not, as on network file systems that are mounted without locks.
    """
    with disk.refusing_disk_faults(place), tempfile.TemporaryDirectory(dir=place, prefix=".lock-") as room:
        file = Path(room) / "lock"
        with disk.Lock(file):
            words = [sys.executable, "-I", "-c", _TAKE, str(file)]
            code = subprocess.run(words, check=False, capture_output=True, timeout=PATIENCE).returncode  # noqa: S603
    if code == 0:
        raise UserError(
            f"two processes get one lock on the file system of {cut(str(place))}: mount it with locks (flock), or give"
            " another --out, for two runs would write over each other"
        )
    if code == 3 and (alone := mounts.locks_alone(place)):
        return (
            f"a second process is kept out, but not one of another machine ({alone}): let one machine alone write here"
        )
    return "a second process is kept out" if code == 3 else "a second process could not try"


def host(seen: Seen, wanted: float) -> str:
    """Whether the host's available memory suffices.

    Raises:
        UserError: where it does not.
    """
    if seen.free is None:
        return f"about {wanted / 1e9:.0f} GB wanted; the system does not tell what is free"
    if wanted > seen.free:
        raise UserError(
            f"about {wanted / 1e9:.0f} GB of the host's memory are wanted, {seen.free / 1e9:.0f} GB are free: end other"
            " programs, or use a host with more"
        )
    return f"{seen.free / 1e9:.0f} GB free, about {wanted / 1e9:.0f} GB wanted"


__all__ = [
    "Gpu", "Seen", "available", "cards", "driver", "engine", "gpus", "host", "lock_files", "locking", "look", "nccl",
    "offline", "pinned", "versions", "wants_gpus",
]  # fmt: skip
