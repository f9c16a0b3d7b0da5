"""Machines by name: cards with their memory, arithmetic and bandwidth, and how many of them there are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core import UserError
from harness.values import cut

GB = 10**9
# Of a real card's memory so much stays with CUDA, NCCL and fragments; a named card has the GB that its label says,
# which is that much less than what it holds (an H100 of 80 GB reports 85.0).
RESERVE = 0.06


@dataclass(frozen=True, kw_only=True)
class Card:
    """One device: memory in bytes that a run may use, bf16 FLOP/s without sparsity, memory's bytes a second.

    ``flops`` and ``bandwidth`` are peaks of which ``share`` is reached; ``step_seconds`` is what a step of decoding
    costs beside them, ``window_seconds`` what a window of a vision tower's layer does in one pass. A device whose peaks
    are not known has 0 there: memory is planned for it, time is not.
    """

    name: str
    memory: int
    flops: float
    bandwidth: float
    share: float
    step_seconds: float = 0.0
    window_seconds: float = 0.0
    bf16: bool = True
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """So many equal cards in one host; ``host`` is its memory in bytes, None where that is not known.

    ``here`` says that it is this machine, so that its disk can be looked at.
    """

    card: Card
    count: int
    host: int | None = None
    here: bool = False

    @property
    def name(self) -> str:
        """As a user writes it, such as 8xh100-80gb."""
        return self.card.name if self.on_cpu else f"{self.count}x{self.card.name}"

    @property
    def on_cpu(self) -> bool:
        """Whether it has no GPU."""
        return self.card.name == CPU


CPU = "cpu"
# The share of the peaks that large models reach here is not measured yet: 35% is what the project's estimate of the
# paper's run assumes for eight H100.
GPU_SHARE = 0.35
# transformers attends to a picture's windows one after another, and a GPU waits for each to be started. Measured on one
# H200 (benchmarks/gpu.py, a model of 81 M parameters): 16 pictures of 36 windows in 6 windowed layers made an update of
# sft longer by 1.9 s, in four passes.
GPU_WINDOW = 1.4e-4
_NVIDIA = "NVIDIA's data sheet, without sparsity"


def _gpu(name: str, gigabytes: int, teraflops: float, terabytes: float, source: str = _NVIDIA) -> Card:
    return Card(
        name=name,
        memory=gigabytes * GB,
        flops=teraflops * 1e12,
        bandwidth=terabytes * 1e12,
        share=GPU_SHARE,
        window_seconds=GPU_WINDOW,
        source=source,
    )


CARDS: Mapping[str, Card] = {
    card.name: card
    for card in (
        _gpu("h200-141gb", 141, 989.4, 4.8),
        _gpu("h100-80gb", 80, 989.4, 3.35),
        _gpu("a100-80gb", 80, 312, 2.039),
        _gpu("a100-40gb", 40, 312, 1.555),
        _gpu("l40s-48gb", 48, 362, 0.864),
        _gpu("l4-24gb", 24, 121, 0.3),
        _gpu("rtx4090-24gb", 24, 165.2, 1.008, "NVIDIA's Ada white paper, fp32 accumulation, without sparsity"),
        _gpu("rtx3090-24gb", 24, 71, 0.936, "NVIDIA's GA102 white paper, fp32 accumulation, without sparsity"),
    )
}
# What one thread reaches on the twin, libraries and pictures included, from the published runs: see compute.py.
CPU_FLOPS = 12e9
CPU_STEP = 0.012
_REPORTED = {
    "H200": "h200-141gb",
    "H100": "h100-80gb",
    "A100-SXM4-80GB": "a100-80gb",
    "A100 80GB": "a100-80gb",
    "A100": "a100-40gb",
    "L40S": "l40s-48gb",
    "L4": "l4-24gb",
    "RTX 4090": "rtx4090-24gb",
    "RTX 3090": "rtx3090-24gb",
}


def named(name: str) -> Hardware:
    """The hardware of a name: ``cpu``, or a number of cards such as ``8xh100-80gb``.

    Raises:
        UserError: naming the known cards.

    >>> named("8xh100-80gb").count, named("8xh100-80gb").card.memory
    (8, 80000000000)
    """
    if name == CPU:
        return Hardware(card=cpu(), count=1, host=host_memory())
    match = re.fullmatch(r"(?:([1-9]\d{0,2})x)?([a-z0-9-]+)", name)
    if match is None or match[2] not in CARDS:
        raise UserError(
            f"--hardware {cut(repr(name), 60)} is unknown: use cpu, or a number of cards such as 8xh100-80gb; the cards"
            f" are {', '.join(CARDS)}"
        )
    return Hardware(card=CARDS[match[2]], count=int(match[1] or 1))


def cpu() -> Card:
    """The processor of this machine and its memory."""
    return Card(
        name=CPU,
        memory=host_memory(),
        flops=CPU_FLOPS,
        bandwidth=0.0,
        share=1.0,
        step_seconds=CPU_STEP,
        bf16=False,
        source="the published runs of the twin",
    )


def this_machine() -> Hardware:
    """What is here: its GPUs, all taken to be as the first, or its processor."""
    if not _gpu_files():
        return Hardware(card=cpu(), count=1, host=host_memory(), here=True)
    import torch

    if not torch.cuda.is_available():
        return Hardware(card=cpu(), count=1, host=host_memory(), here=True)
    first = torch.cuda.get_device_properties(0)
    card = reported(torch.cuda.get_device_name(0), first.total_memory)
    return Hardware(card=card, count=torch.cuda.device_count(), host=host_memory(), here=True)


def reported(name: str, memory: int) -> Card:
    """The card that calls itself so and has so many bytes, less what is reserved; peaks 0 where it is not known.

    >>> reported("NVIDIA H100 80GB HBM3", 85_029_158_912).name
    'h100-80gb'
    >>> reported("Graphics 9000", 10**10).flops
    0.0
    """
    usable = int(memory * (1 - RESERVE))
    for told, known in _REPORTED.items():
        if re.search(rf"\b{re.escape(told)}\b", name):
            return replace(CARDS[known], memory=usable)
    return Card(name=cut(name, 40), memory=usable, flops=0.0, bandwidth=0.0, share=GPU_SHARE)


def host_memory() -> int:
    """The memory of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpu_files() -> bool:
    """Whether the system shows a GPU at all; torch, which knows, takes seconds to load."""
    dev = Path("/dev")
    return any(dev.glob("nvidia[0-9]*")) or any((dev / name).exists() for name in ("kfd", "dxg"))


__all__ = ["CARDS", "CPU", "GB", "Card", "Hardware", "cpu", "host_memory", "named", "reported", "this_machine"]
