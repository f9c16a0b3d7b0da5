"""TRL's GRPO trainer, held: what a group of replies has in common is done once a prompt and not once a reply.

What is held, and why:

- A prompt is tokenised and its pictures are processed once; TRL does both for every reply, and pictures twice. TRL gets
  rows without pictures, so its batches hold replies alone, and each reply carries the number of its prompt.
- Rollouts read each prompt once; policy, old policy and reference score the replies of a prompt in one sequence.
- Pixels wait in memory of the host, and come to the GPU for one forward pass at a time.
- On several ranks the reference is sharded layer by layer (``harness.training.sharded``).
- The loss is the mean over the tokens of one update, however many micro-batches that has. TRL's "bnpo" is a mean of
  their means, and its "dapo" divides by the tokens of a whole rollout batch: so "dapo" is told, as those, the update's.

The first two need positions that can go on from a prompt's end (``SHARES_PREFIX``). Of other architectures TRL's own
path is taken, a sequence a reply, where a scale's attention is "plain"; the third holds there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.asking.engines import prompts as asked
from harness.core import Job, UserError
from harness.scales import PLAIN, SHARES_PREFIX
from harness.training.adapters import inner
from harness.training.sharded import shard_reference
from harness.training.shared_prefix import Prompt, prefilled_once, score
from harness.training.trainers import held, refuse_long

Tensor = Any


def held_grpo(job: Job, kind: str) -> Any:
    """TRL's GRPOTrainer with the repairs of ``held`` and of this file, for one job on a model of such a ``kind``.

    Raises:
        UserError: where the scale's layout of replies is not known of the model.
    """
    layout = job.scale.attention
    if layout == PLAIN:
        return _plain(job)
    if layout != "dense":
        raise UserError(
            f"scale {job.scale.name} asks for {layout} attention, which transformers does not give Qwen-VL:"
            ' set attention to "dense"'
        )
    if kind not in SHARES_PREFIX:
        raise UserError(
            f"scale {job.scale.name} lays the replies to a prompt out in one sequence, which is not known of"
            f' {kind}: set attention to "{PLAIN}"'
        )
    return _shared(job)


def _normalised(job: Job) -> Any:
    """The held trainer whose loss is the mean over the tokens of one update."""
    from trl import GRPOTrainer
    from trl.trainer import grpo_trainer

    grpo_trainer.prepare_fsdp = shard_reference  # called on several ranks alone

    class Normalised(held(GRPOTrainer, job)):  # type: ignore[misc]
        def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
            super()._prepare_inputs(generation_batch)
            per, parts = self.args.steps_per_generation, self.args.gradient_accumulation_steps
            place = self._step % per
            first = place - place % parts
            if place == first:
                self._buffered_inputs[first : first + parts] = self.dealt(self._buffered_inputs[first : first + parts])
            update = self._buffered_inputs[first : first + parts]
            tokens = self.accelerator.reduce(sum(part["completion_mask"].sum() for part in update))
            return {**self._buffered_inputs[place], "num_items_in_batch": tokens * per / parts}

        def dealt(self, parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
            """The micro-batches of one update, as they are trained on."""
            return list(parts)

    return Normalised


def _plain(job: Job) -> Any:
    """TRL's own path, a sequence a reply: prompts that are too long are refused, and nothing else is another's."""

    class Plain(_normalised(job)):  # type: ignore[misc]
        def _tokenize_prompts(self, prompts: list[Any]) -> Any:
            found = super()._tokenize_prompts(prompts)
            refuse_long([len(ids) for ids in found[0]], job)
            return found

        def replies_to(self, rows: Sequence[dict[str, Any]]) -> list[list[int]]:
            """A reply to each row's prompt, decoded as the generation settings say."""
            from trl.data_utils import prepare_multimodal_messages

            prompts = [prepare_multimodal_messages(row["prompt"], images=row["images"]) for row in rows]
            found: list[list[int]] = self._generate_single_turn(*self._tokenize_prompts(prompts), 1)[0]
            return found

    return Plain


def _shared(job: Job) -> Any:
    """The path on which the replies to a prompt share it."""
    import torch

    class Shared(_normalised(job)):  # type: ignore[misc]
        prompts: Sequence[Prompt]  # of the present rollout batch
        owners: Sequence[int]  # the prompts of the replies that are scored next
        pictures_and_types: dict[str, Any]  # of all prompts, as TRL hands them to generate

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            self._read(inputs[:: self.num_generations])
            self.owners = [number // self.num_generations for number in range(len(inputs))]
            output = super()._generate_and_score_completions([{**row, "images": []} for row in inputs])
            return {**output, "owner": torch.tensor(self.owners, device=self.accelerator.device)}

        def _read(self, rows: Sequence[dict[str, Any]]) -> None:
            inputs = read(self.processing_class, rows)
            refuse_long(inputs["attention_mask"].sum(1).tolist(), job)
            pixels = {"pixel_values": inputs.pop("pixel_values")} if "pixel_values" in inputs else {}
            inputs = {**inputs.to(self.accelerator.device), **pixels}
            positions, _ = inner(self.accelerator.unwrap_model(self.model)).base_model.get_rope_index(**inputs)
            self.prompts = split(inputs, positions, [len(row["images"]) for row in rows])
            kept = inputs["attention_mask"].bool()
            types = [row[mine].tolist() for row, mine in zip(inputs["mm_token_type_ids"], kept, strict=True)]
            pictures = {name: inputs[name] for name in ("pixel_values", "image_grid_thw") if name in inputs}
            self.pictures_and_types = {**pictures, "mm_token_type_ids": types}

        def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
            return [self.prompts[owner].ids.tolist() for owner in self.owners], None, {}

        def _generate_single_turn(
            self, prompt_ids: list[list[int]], images: Any, fields: Any, rollouts: int, **rest: Any
        ) -> Any:
            self.generation_config.num_return_sequences = rollouts
            with prefilled_once(inner(self.accelerator.unwrap_model(self.model)), rollouts):
                once = prompt_ids[::rollouts]
                return super()._generate_single_turn(once, images, self.pictures_and_types, rollouts, **rest)

        def replies_to(self, rows: Sequence[dict[str, Any]]) -> list[list[int]]:
            """A reply to each prompt of the present rollout batch, decoded as the generation settings say."""
            ids = [prompt.ids.tolist() for prompt in self.prompts]
            found: list[list[int]] = self._generate_single_turn(ids, None, {}, 1)[0]
            return found

        def _get_per_token_logps_and_entropies(
            self,
            model: Any,
            input_ids: Tensor,
            attention_mask: Tensor,
            logits_to_keep: int,
            batch_size: int | None = None,
            compute_entropy: bool = False,
            **rest: Any,
        ) -> tuple[Tensor, Tensor | None, None]:
            backbone = inner(self.accelerator.unwrap_model(model)).base_model
            size = batch_size or len(input_ids)
            parts = []
            for start in range(0, len(input_ids), size):
                ids, mask = (whole[start : start + size, -logits_to_keep:] for whole in (input_ids, attention_mask))
                with self.accelerator.autocast():
                    parts.append(score(model, backbone, self.prompts, self.owners[start : start + size], ids, mask))
            logps, entropies = zip(*parts, strict=True)
            return torch.cat(logps), torch.cat(entropies) if compute_entropy else None, None

        def dealt(self, parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
            return together(parts)

        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            self.owners = inputs["owner"].tolist()
            return super().compute_loss(model, inputs, *rest, **options)

        def shows_pictures(self, inputs: Any) -> bool:
            return any(self.prompts[owner].pixels is not None for owner in self.owners)

    return Shared


def read(processor: Any, rows: Sequence[dict[str, Any]]) -> Any:
    """The model's inputs for the prompts of some rows, padded on the left."""
    texts = [processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False) for row in rows]
    return asked.read(processor, texts, [row["images"] for row in rows], padding=True, return_tensors="pt")


def split(inputs: Any, positions: Tensor, pictures: Sequence[int]) -> list[Prompt]:
    """One Prompt a row of the model's inputs; ``pictures`` counts each row's."""
    none = inputs["input_ids"].new_empty(0, 3)
    grids = inputs.get("image_grid_thw", none).split(list(pictures))
    pixels = inputs.get("pixel_values", none).split([int(grid.prod(1).sum()) for grid in grids])
    return [
        Prompt(
            ids=ids[mine],
            positions=places[:, mine],
            pixels=pixels[number] if pictures[number] else None,
            grids=grids[number] if pictures[number] else None,
        )
        for number, (ids, places, mine) in enumerate(
            zip(inputs["input_ids"], positions.unbind(1), inputs["attention_mask"].bool(), strict=True)
        )
    ]


def together(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The micro-batches of one update, dealt anew so that replies of one prompt stand together."""
    import torch

    if len(parts) == 1:
        return list(parts)
    order = torch.cat([part["owner"] for part in parts]).argsort(stable=True)
    dealt = [dict(part) for part in parts]
    for name, value in parts[0].items():
        if value.ndim:
            pieces = torch.cat([part[name] for part in parts])[order].chunk(len(parts))
            for part, piece in zip(dealt, pieces, strict=True):
                part[name] = piece
    return dealt
