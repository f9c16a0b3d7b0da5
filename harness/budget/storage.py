"""Disk of a run: checkpoints and resume states from the number of parameters, never from the parent's file."""

from __future__ import annotations

from harness.budget.memory import FP32

STATE = 3 * FP32  # bytes a trained parameter in a resume state: master weights and AdamW's two moments
STATES = 2  # the next one is written before the last one is removed
ROWS = 40_000  # bytes of one cell's replies and marks at the twin's size, as parquet


def checkpoint(parameters: int) -> int:
    """Bytes of a checkpoint in fp32: of all parameters, or of an adapter's."""
    return FP32 * parameters


def states(trained: int) -> int:
    """Bytes of the resume states at the moment when there are two, for so many trained parameters."""
    return STATES * STATE * trained


def of(kept: int, trained: int, checkpoints: int, cells: int) -> int:
    """Bytes at most: a checkpoint of ``kept`` parameters a stage and one being written, the states, and cells' rows."""
    return (checkpoints + 1) * checkpoint(kept) + states(trained) + cells * ROWS


__all__ = ["checkpoint", "of", "states"]
