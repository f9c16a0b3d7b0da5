"""Replies of one prompt scored in one sequence: the prompt is read once, and its pictures are encoded once.

A prompt p_1 .. p_m with replies r^1 .. r^G (n_g tokens each) is laid out as

    tokens     p_1 .. p_(m-1) | p_m r^1_1 .. r^1_(n_1 - 1) | ... | p_m r^G_1 .. r^G_(n_G - 1)
    branch     0              | 1                          | ... | G
    positions  1 .. m-1       | m .. m + n_1 - 1           | ... | m .. m + n_G - 1
    targets    none           | r^1_1 .. r^1_(n_1)         | ... | r^G_1 .. r^G_(n_G)

Each branch begins with a copy of the prompt's last token, so every token of a branch predicts exactly one token of its
reply. A token sees what stands before it in its prompt's common part and in its own branch; positions are the model's
own (three axes in Qwen2.5-VL) and go on from the prompt's end in each branch. Prompts of different lengths fill rows
without being cut; padding is what is left at a row's end. Log-probabilities and gradients are those of scoring each
reply in a sequence of its own, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Tensor = Any


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt, tokenised: ``ids`` (m,), ``positions`` (3, m), and its pictures' patches (n, d) and grids (k, 3).

    The patches may lie in memory of the host; they follow the ids when they are needed.
    """

    ids: Tensor
    positions: Tensor
    pixels: Tensor | None = None
    grids: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Packed:
    """R rows of L tokens.

    ``ids`` (R, L), ``positions`` (3, R, L); ``prompt`` and ``branch`` (R, L) say what each token belongs to, -1 where
    it is padding. ``targets`` (R, L) holds the token that is predicted there, which is token ``step`` (R, L) of reply
    ``reply`` (R, L); all three are -1 where nothing is predicted. ``order`` lists the prompts as the rows hold them.
    """

    ids: Tensor
    positions: Tensor
    prompt: Tensor
    branch: Tensor
    targets: Tensor
    reply: Tensor
    step: Tensor
    order: tuple[int, ...]


def pack(prompts: Sequence[Prompt], owners: Sequence[int], replies: Sequence[Tensor]) -> Packed:
    """Lay out replies: ``replies[n]`` holds the tokens of one to ``prompts[owners[n]]``."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    numbers: dict[int, list[int]] = {}
    for number, owner in enumerate(owners):
        numbers.setdefault(owner, []).append(number)
    laid = {owner: _sequence(owner, prompts[owner], mine, replies) for owner, mine in numbers.items()}
    rows = fill_rows({owner: columns.shape[1] for owner, columns in laid.items()})
    filled = [torch.cat([laid[owner] for owner in row], 1).T for row in rows]
    ids, prompt, branch, targets, reply, step, *positions = pad_sequence(filled, True, -1).unbind(-1)
    return Packed(
        ids=ids.clamp(min=0),
        positions=torch.stack(positions).clamp(min=0),
        prompt=prompt,
        branch=branch,
        targets=targets,
        reply=reply,
        step=step,
        order=tuple(owner for row in rows for owner in row),
    )


def _sequence(owner: int, prompt: Prompt, numbers: Sequence[int], replies: Sequence[Tensor]) -> Tensor:
    """A prompt and its replies in columns of nine numbers, (9, tokens): the fields of Packed in their order."""
    import torch

    common = prompt.ids[:-1]
    zero = torch.zeros_like(common)
    parts = [torch.stack([common, zero + owner, zero, zero - 1, zero - 1, zero - 1, *prompt.positions[:, :-1]])]
    for branch, number in enumerate(numbers, start=1):
        reply = replies[number]
        step = torch.arange(len(reply), device=reply.device)
        ids = torch.cat([prompt.ids[-1:], reply])[:-1]
        zero = torch.zeros_like(reply)
        positions = prompt.positions[:, -1:] + step
        parts.append(torch.stack([ids, zero + owner, zero + branch, reply, zero + number, step, *positions]))
    return torch.cat(parts, 1)


def fill_rows(lengths: Mapping[int, int]) -> list[list[int]]:
    """Put sequences into rows no longer than the longest of them, long ones first, each where it first fits.

    >>> fill_rows({0: 3, 1: 7, 2: 4, 3: 2})
    [[1], [2, 0], [3]]
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for owner in sorted(lengths, key=lambda owner: (-lengths[owner], owner)):
        fits = next((n for n, free in enumerate(room) if free >= lengths[owner]), None)
        if fits is None:
            fits = len(rows)
            rows.append([])
            room.append(max(lengths.values()))
        rows[fits].append(owner)
        room[fits] -= lengths[owner]
    return rows


def visible(prompt: Tensor, branch: Tensor) -> Tensor:
    """Whether token i of a row sees token j of it: (R, L), (R, L) -> (R, L, L) of booleans.

    It does where j is not later, of the same prompt, and in the prompt's common part or in the same branch. Padding
    sees padding, so that no row of the softmax is empty.
    """
    import torch

    length = prompt.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=prompt.device).tril()
    same = prompt[:, :, None] == prompt[:, None, :]
    reachable = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    return earlier & same & reachable


def dense_mask(packed: Packed, dtype: Any) -> Tensor:
    """The additive attention mask (R, 1, L, L): 0 where a token is seen, the least number of ``dtype`` where not."""
    import torch

    seen = visible(packed.prompt, packed.branch)[:, None]
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


def score(
    model: Any, backbone: Any, prompts: Sequence[Prompt], owners: Sequence[int], ids: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Log-probability and entropy, in nats, of each token of N replies: (N, C), 0 where ``mask`` is 0.

    ``ids`` and ``mask`` (N, C) hold the replies, padded on the right; reply n answers ``prompts[owners[n]]``. ``model``
    carries TRL's fused LM head, which runs on reply tokens alone, at its own temperature; ``backbone`` is the part of
    it below the head. The entropy is None where the head does not give it.
    """
    replies = [reply[kept] for reply, kept in zip(ids, mask.bool(), strict=True)]
    packed = pack(prompts, owners, replies)
    scored = packed.targets >= 0

    def only_scored(module: Any, rest: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[scored][None]
        return output

    hook = backbone.register_forward_hook(only_scored)
    try:
        output = model(
            input_ids=packed.ids,
            position_ids=packed.positions,
            attention_mask=dense_mask(packed, model.dtype),
            **_pictures([prompts[owner] for owner in packed.order]),
            shift_labels=packed.targets[scored][None],
            fused_lm_head=True,
        )
    finally:
        hook.remove()
    place = packed.reply[scored], packed.step[scored]

    def placed(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.new_zeros(ids.shape).index_put(place, values[0])

    return placed(output.log_probs), placed(output.entropy)


@contextmanager
def prefilled_once(model: Any, rollouts: int) -> Iterator[None]:
    """Within it, ``model.generate(..., num_return_sequences=rollouts)`` reads each prompt once and not once a reply.

    transformers repeats the inputs before it fills the cache; here the cache and the logits of the prompts' last tokens
    are repeated after it. The replies are the same, up to rounding.
    """
    expand, prefill = model._expand_inputs_for_generation, model._prefill
    once: dict[str, Any] = {}

    def expand_text(expand_size: int = 1, mm_encoder_outputs: Any = None, **inputs: Any) -> Any:
        once.update(inputs, mm_encoder_outputs=mm_encoder_outputs)
        return expand(expand_size, **inputs)

    def prefill_once(input_ids: Tensor, config: Any, inputs: dict[str, Any], **rest: Any) -> Any:
        output = prefill(once.pop("input_ids"), config, {**inputs, **once}, **rest)
        output.past_key_values.batch_repeat_interleave(rollouts)
        output.logits = output.logits.repeat_interleave(rollouts, 0)
        return output

    model._expand_inputs_for_generation, model._prefill = expand_text, prefill_once
    try:
        yield
    finally:
        del model._expand_inputs_for_generation, model._prefill


def _pictures(prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """The model's picture inputs for prompts in their order; none where they have none."""
    import torch

    seen = [prompt for prompt in prompts if prompt.pixels is not None]
    if not seen:
        return {}
    return {
        "pixel_values": torch.cat([prompt.pixels for prompt in seen]).to(seen[0].ids.device),
        "image_grid_thw": torch.cat([prompt.grids for prompt in seen]),
    }
