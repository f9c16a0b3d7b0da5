"""Arithmetic and time: floating-point operations of reading, sampling and training, and their seconds on a machine.

A multiplication and its addition are 2 operations. A backward pass is twice a forward one, once where the weights are
frozen; in half precision activations are recomputed, one forward pass more (arXiv:2205.05198, appendix). Sampling reads
all weights and the cache once a token, for the whole batch. Pictures are encoded with every forward pass over them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.budget.hardware import Hardware
from harness.budget.shape import WINDOW, Shape

# Of the longest reply that decoding allows, the mean length of those that the published runs of rft sampled.
REPLY_SHARE = 0.38


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Mean tokens of a prompt without its pictures, mean patches of its pictures, and mean tokens of a reply."""

    text: float
    patches: float
    reply: float

    def prompt(self, shape: Shape) -> float:
        """Tokens of a prompt, its pictures among them."""
        return self.text + self.patches / shape.merge**2


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How often a stage's sequences go through the model for one update, in forward passes.

    ``plain`` are forward passes alone: the old policy's and the reference's.
    """

    plain: int = 0
    frozen: bool = False
    half: bool = True

    @property
    def total(self) -> int:
        """All of them: the plain ones, forward and backward, and what is recomputed."""
        return self.plain + (2 if self.frozen else 3) + self.half


def read(shape: Shape, tokens: float, patches: float, scored: float = 0.0) -> float:
    """Operations of one forward pass over a sequence of so many tokens and its patches; the head scores ``scored``."""
    language = 2 * shape.language * tokens + 2 * shape.layers * shape.attention_width * tokens**2
    return language + see(shape, patches) + 2 * shape.embedding * scored


def see(shape: Shape, patches: float) -> float:
    """Operations of encoding pictures of so many patches."""
    windows = shape.vision_layers - shape.vision_full
    span = shape.vision_full * patches + windows * min(WINDOW, patches)
    return patches * (2 * shape.vision + 4 * shape.vision_width * span) + 2 * shape.merger * patches / shape.merge**2


def write(shape: Shape, context: float) -> float:
    """Operations of one more token after so many, the head's among them."""
    return 2 * shape.language + 4 * shape.layers * shape.attention_width * context + 2 * shape.embedding


def trained(shape: Shape, lengths: Lengths, prompts: float, replies: float, passes: Passes, shared: bool) -> float:
    """Operations of learning from ``replies`` to each of so many prompts; with ``shared`` a prompt is read once."""
    prompt = lengths.prompt(shape)
    if shared:
        once = read(shape, prompt, lengths.patches, scored=replies * lengths.reply)
        # each reply sees the prompt and itself
        each = 2 * shape.language * lengths.reply
        each += 4 * shape.layers * shape.attention_width * lengths.reply * (prompt + lengths.reply / 2)
        return prompts * passes.total * (once + replies * each)
    return prompts * replies * passes.total * read(shape, prompt + lengths.reply, lengths.patches, lengths.reply)


def windows(shape: Shape, patches: float) -> float:
    """How many windows all windowed layers of the vision tower have for so many patches."""
    return math.ceil(patches / WINDOW) * (shape.vision_layers - shape.vision_full)


def seconds(hardware: Hardware, operations: float) -> float:
    """What so many operations take, spread over all cards."""
    card = hardware.card
    return operations / (card.flops * card.share * hardware.count)


def sampling(
    shape: Shape, hardware: Hardware, lengths: Lengths, prompts: float, replies: float, batch: int, half: bool = True
) -> float:
    """Seconds of reading so many prompts and sampling ``replies`` to each, ``batch`` of them at a time on each card."""
    card = hardware.card
    prompt, written = lengths.prompt(shape), prompts * replies * lengths.reply
    context = prompt + lengths.reply / 2
    reading = seconds(hardware, prompts * read(shape, prompt, lengths.patches, scored=1))
    arithmetic = write(shape, context) / (card.flops * card.share)
    moved = 0.0
    if card.bandwidth:
        bytes_each = 2 if half else 4
        held = bytes_each * (shape.language + shape.embedding) / batch + bytes_each * shape.kv_values * context
        moved = held / (card.bandwidth * card.share)
    return reading + written / hardware.count * (max(arithmetic, moved) + card.step_seconds / batch)


__all__ = ["REPLY_SHARE", "Lengths", "Passes", "read", "sampling", "seconds", "see", "trained", "windows", "write"]
