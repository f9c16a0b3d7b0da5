"""TRL's GRPO trainer, held: what a group of replies has in common is done once a prompt and not once a reply.

What is held, and why:

- A prompt is tokenised and its pictures are processed once; TRL does both for every reply, and pictures twice. TRL gets
  rows without pictures, so its batches hold replies alone, and each reply carries the number of its prompt.
- Rollouts read each prompt once; policy, old policy and reference score the replies of a prompt in one sequence.
- The loss is the mean over the tokens of one update, however many micro-batches that has. TRL's "bnpo" is a mean of
  their means, and its "dapo" divides by the tokens of a whole rollout batch: so "dapo" is told, as those, the update's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.core import Job
from harness.training.adapters import inner
from harness.training.shared_prefix import Prompt, prefilled_once, score
from harness.training.trainers import held, refuse_long

Tensor = Any


def held_grpo(job: Job) -> Any:
    """TRL's GRPOTrainer with the repairs of ``held`` and of this file, for one job."""
    import torch
    from trl import GRPOTrainer

    class HeldGRPO(held(GRPOTrainer, job)):  # type: ignore[misc]
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
            inputs = inputs.to(self.accelerator.device)
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

        def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
            super()._prepare_inputs(generation_batch)
            per, parts = self.args.steps_per_generation, self.args.gradient_accumulation_steps
            place = self._step % per
            first = place - place % parts
            if place == first:
                self._buffered_inputs[first : first + parts] = together(self._buffered_inputs[first : first + parts])
            update = self._buffered_inputs[first : first + parts]
            tokens = self.accelerator.reduce(sum(part["completion_mask"].sum() for part in update))
            return {**self._buffered_inputs[place], "num_items_in_batch": tokens * per / parts}

        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            self.owners = inputs["owner"].tolist()
            return super().compute_loss(model, inputs, *rest, **options)

        def shows_pictures(self, inputs: Any) -> bool:
            return any(self.prompts[owner].pixels is not None for owner in self.owners)

    return HeldGRPO


def read(processor: Any, rows: Sequence[dict[str, Any]]) -> Any:
    """The model's inputs for the prompts of some rows, padded on the left."""
    texts = [processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False) for row in rows]
    images = [image for row in rows for image in row["images"]] or None
    return processor(text=texts, images=images, padding=True, return_tensors="pt")


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
