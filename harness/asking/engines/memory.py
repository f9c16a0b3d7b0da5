"""What a process on a CPU does with memory that a batch has freed."""

from __future__ import annotations

import ctypes

# glibc's mallopt(3): option numbers and bytes. Only a block above the first bound is returned to the kernel at once.
GLIBC = {"M_MMAP_THRESHOLD": (-3, 2**30), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 2**28)}


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed for the next batch; whether it does. Numbers stay as they are.

    Every batch frees and asks for the same few megabytes hundreds of times; returned to the kernel each time, they are
    zeroed and mapped anew each time, which is a sixth of an evaluation. The process stays as large as its largest
    batch. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in GLIBC.values())
