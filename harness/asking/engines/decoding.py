"""The loop that writes replies: a batch's prompts are read once, and rows leave the batch as they finish."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

CROWDED = 0.75  # finished rows are dropped once so few of the batch go on: dropping copies the cache

Choose = Callable[[Any], Any]


def greedy(logits: Any) -> Any:
    """The likeliest token of each row: [rows, vocabulary] -> [rows]."""
    return logits.argmax(-1)


def nucleus(top_p: float) -> Choose:
    """Sampling at temperature 1 among the likeliest tokens that together have ``top_p`` (arXiv:1904.09751)."""

    def choose(logits: Any) -> Any:
        import torch
        from transformers import TopPLogitsWarper

        logits = logits.float()
        kept = logits if top_p >= 1 else TopPLogitsWarper(top_p)(None, logits)
        return torch.multinomial(kept.softmax(-1), 1)[:, 0]

    return choose


def decode(
    model: Any,
    inputs: Mapping[str, Any],
    *,
    choose: Choose,
    limit: int,
    ends: Collection[int],
    forbidden: Collection[int],
    rollouts: int = 1,
) -> list[list[int]]:
    """The new token ids of each reply, the one that ends it included; ``rollouts`` replies in a row for each prompt.

    ``inputs`` are padded on the left and hold ``attention_mask`` [rows, tokens] and ``position_ids`` [..., rows,
    tokens]. No setting of the model's folder is read here, unlike in transformers' ``generate``.
    """
    import torch

    mask, positions = inputs["attention_mask"], inputs["position_ids"][..., -1:]
    cache = reserved_cache(model.config, mask.shape[1] + limit)
    logits = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    if rollouts > 1:
        cache.batch_repeat_interleave(rollouts)
        mask, logits = mask.repeat_interleave(rollouts, 0), logits.repeat_interleave(rollouts, 0)
        positions = positions.repeat_interleave(rollouts, -2)
    replies: list[list[int]] = [[] for _ in range(len(mask))]
    rows = list(replies)  # which reply each row of the batch writes
    while True:
        logits[:, list(forbidden)] = -torch.inf
        tokens = choose(logits)
        for reply, token in zip(rows, tokens.tolist(), strict=True):
            if not reply or reply[-1] not in ends:
                reply.append(token)
        going = [place for place, reply in enumerate(rows) if reply[-1] not in ends]
        limit -= 1
        if not limit or not going:
            return replies
        if len(going) <= CROWDED * len(rows):
            kept = torch.tensor(going, device=mask.device)
            cache.batch_select_indices(kept)
            rows = [rows[place] for place in going]
            tokens, mask, positions = tokens[kept], mask[kept], positions[..., kept, :]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        positions = positions + 1
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


def reserved_cache(config: Any, length: int) -> Any:
    """An empty cache of transformers, with room for ``length`` tokens reserved in each layer of plain attention.

    The library's own layers are copied whole at every token: half the time of a reply of 30 tokens on a CPU.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    class Reserved(DynamicLayer):  # type: ignore[misc]
        """Keys and values, each [rows, heads, tokens, head dim], as growing views of reserved memory."""

        used = 0

        def update(self, key_states: Any, value_states: Any, *rest: Any, **options: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                self.room = [self._room(states) for states in (key_states, value_states)]
            before, self.used = self.used, self.used + key_states.shape[-2]
            for room, states in zip(self.room, (key_states, value_states), strict=True):
                room[:, :, before : self.used] = states
            self._show()
            return self.keys, self.values

        def _room(self, states: Any) -> Any:
            rows, heads, _, size = states.shape
            return states.new_empty(rows, heads, length, size)

        def _show(self) -> None:
            self.keys, self.values = (room[:, :, : self.used] for room in self.room)

        def batch_repeat_interleave(self, repeats: int) -> None:
            self.room = [room.repeat_interleave(repeats, 0) for room in self.room]
            self._show()

        def batch_select_indices(self, indices: Any) -> None:
            self.room = [room[indices] for room in self.room]
            self._show()

    cache = DynamicCache(config=config.get_text_config(decoder=True))
    cache.layers = [Reserved() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
