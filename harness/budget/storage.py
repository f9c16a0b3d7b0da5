"""Disk of a run: checkpoints and resume states from the number of parameters, never from the parent's file."""

from __future__ import annotations

from harness.budget.memory import FP32

STATE = 3 * FP32  # bytes a trained parameter in a resume state: master weights and AdamW's two moments
STATES = 2  # the next one is written before the last one is removed
ROWS = 40_000  # bytes of one cell's replies and marks at the twin's size, as parquet


def checkpoint(parameters: int, adapter: int = 0) -> int:
    """Bytes of a checkpoint in fp32: all parameters, or the adapter alone."""
    return FP32 * (adapter or parameters)


def states(parameters: int, adapter: int = 0) -> int:
    """Bytes of the resume states at the moment when there are two."""
    return STATES * STATE * (adapter or parameters)


def of(parameters: int, checkpoints: int, cells: int, adapter: int = 0) -> int:
    """Bytes at most: a checkpoint for each stage and one that is being written, the states, and the cells' rows."""
    return (checkpoints + 1) * checkpoint(parameters, adapter) + states(parameters, adapter) + cells * ROWS


__all__ = ["checkpoint", "of", "states"]
