"""The recipe of the twin base: ``python -m tasks.twin_base.pretrain`` makes it from scratch, seeded, on two cores.

Data: the pretrain split of the ten twins, unlimited, both answer styles by turns, and dense lessons on the same items
(``captions``); the loss is on the reply alone.
Two worker processes average their gradients. The state is saved every ``SAVE_EVERY`` steps, so a killed recipe goes on
where it was; data and order depend on the step alone.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness.core import SPLITS, Example, Task, messages
from harness.styles import STYLES
from tasks.twin_base import captions

WEIGHTS = Path(__file__).parent / "weights"
SAVE_EVERY, LOG_EVERY = 250, 50
DENSE_FIRST, DENSE_LATER, DENSE_UNTIL = 0.7, 0.2, 1 / 4


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides the base: steps, batch per worker, workers, peak rates, warm-up, decay share, seed, precision.

    ``rate`` is Muon's, for the weight matrices, matched to AdamW's root mean square; ``other_rate`` is AdamW's, for
    embeddings, norms and biases. Muon learns to look letters up from half the items that AdamW needs.
    ``bfloat16``: matrix products in bfloat16 (weights, attention and optimiser stay in float32). Twice as fast on a
    processor with bfloat16 instructions, slower on one without.
    """

    steps: int = 5000
    batch: int = 40
    workers: int = 2
    rate: float = 4e-3
    other_rate: float = 2e-3
    warmup: int = 200
    decay_from: float = 0.5
    weight_decay: float = 0.05
    seed: int = 20250707
    bfloat16: bool = True


def worlds() -> tuple[Task, ...]:
    """The ten twins that the base is pre-trained on."""
    from tasks import geometry3k, gqa, mmlu_pro, mmmu, pathvqa, pope, scienceqa, super_clevr, textvqa, vizwiz

    return (
        scienceqa.SCIENCEQA,
        textvqa.TEXTVQA,
        vizwiz.VIZWIZ,
        gqa.GQA,
        geometry3k.GEOMETRY3K,
        pathvqa.PATHVQA,
        super_clevr.SUPER_CLEVR,
        mmmu.MMMU,
        mmlu_pro.MMLU_PRO,
        pope.POPE,
    )


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One pre-training item: what is asked, the reply to learn, and the pictures."""

    prompt: str
    reply: str
    example: Example
    pictured: bool


def lesson(tasks: tuple[Task, ...], number: int, total: int) -> Lesson:
    """The ``number``-th of ``total`` items: tasks by turns, styles by turns within a task, each item once.

    Dense lessons (descriptions and look-ups) are 70% of the first quarter and a fifth of the rest: a model that neither
    sees nor searches yet learns from them what questions then build on.
    """
    index, turn = divmod(number, len(tasks))
    task = tasks[turn]
    example = task.twin("pretrain", index)
    share = DENSE_FIRST if number < DENSE_UNTIL * total else DENSE_LATER
    if Random(number).random() < share:
        prompt, reply = captions.lesson(task.name, example)
        pictured = not prompt.startswith(captions.LETTERS)
        return Lesson(prompt=prompt, reply=reply, example=example, pictured=pictured)
    style = STYLES[index % len(STYLES)]
    reply = style.write(example.answers[0], example.rationale)
    return Lesson(prompt=style.ask(task, example), reply=reply, example=example, pictured=True)


def texts(tasks: tuple[Task, ...], items: int) -> list[str]:
    """What the tokenizer is trained on: prompts and replies of the first items, both styles, and dense lessons."""
    lines = ["system\nYou are a helpful assistant.\nuser\nassistant\n"] * items
    for task in tasks:
        for index in range(items):
            # Prompts of every split: a withheld question is unknown, but its letters need not be.
            example = task.twin(SPLITS[index % len(SPLITS)], index)
            lines += [style.ask(task, example) for style in STYLES]
            lines += [*example.answers, f" {example.rationale}"]
            lines += captions.lesson(task.name, example)
    return lines


class Batches:
    """Turns items into padded tensors; the labels of everything but the reply are -100."""

    def __init__(self, processor: Any, tasks: tuple[Task, ...], total: int) -> None:
        """Keep the processor and the worlds; ``total`` is the number of items of the whole training."""
        self.processor, self.tasks, self.total = processor, tasks, total
        self.end = processor.tokenizer.eos_token

    def make(self, numbers: range) -> list[dict[str, Any]]:
        """The items with these numbers as two batches, the shorter and the longer half: less padding, same mean."""
        items = []
        for number in numbers:
            item = lesson(self.tasks, number, self.total)
            openers = item.example.images if item.pictured else ()
            turn = messages(item.prompt, len(openers))
            prompt = self.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            items.append((prompt, item.reply + self.end, [opener() for opener in openers]))
        items.sort(key=lambda item: len(item[0]) + len(item[1]))
        half = len(items) // 2
        return [self._tensors(part) for part in (items[:half], items[half:]) if part]

    def _tensors(self, items: list[tuple[str, str, list[Any]]]) -> dict[str, Any]:
        import torch

        replies = [reply for _, reply, _ in items]
        inputs = self.processor(
            text=[prompt + reply for prompt, reply, _ in items],
            images=[picture for _, _, pictures in items for picture in pictures] or None,
            padding=True,
            padding_side="right",
            return_tensors="pt",
        )
        lengths = torch.tensor([len(ids) for ids in self.processor.tokenizer(replies)["input_ids"]])
        ends = inputs["attention_mask"].sum(1)
        place = torch.arange(inputs["input_ids"].shape[1])
        is_reply = (place >= (ends - lengths)[:, None]) & (place < ends[:, None])
        inputs["labels"] = inputs["input_ids"].masked_fill(~is_reply, -100)
        return dict(inputs)


def rate_at(recipe: Recipe, step: int) -> float:
    """The share of the peak rates: linear warm-up, a plateau at 1, then a cosine to a twentieth."""
    start = recipe.decay_from * recipe.steps
    done = max(0.0, (step - start) / max(1.0, recipe.steps - start))
    return min(1.0, (step + 1) / recipe.warmup) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def attend_in_float32(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> Any:
    """The stock attention in float32: on a CPU its bfloat16 backward pass costs more than all matrix products."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **options)


def average_gradients(model: Any, workers: int) -> None:
    """One all-reduce of all gradients."""
    import torch
    import torch.distributed as dist

    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= workers
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def optimisers_for(model: Any, recipe: Recipe) -> tuple[Any, Any]:
    """Muon (Keller Jordan, 2024) for the weight matrices, AdamW for everything else."""
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    decay = recipe.weight_decay
    muon = torch.optim.Muon(matrices, lr=recipe.rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    return muon, torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.98), weight_decay=decay)


class Worker:
    """One of the processes: the whole model, its share of every batch, and for worker 0 the state and the log."""

    def __init__(self, rank: int, recipe: Recipe, folder: Path) -> None:
        """Build the model, or take it up where the last saved state left it."""
        import torch
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        from tasks.twin_base.model import model_for

        self.rank, self.recipe, self.folder = rank, recipe, folder
        processor = _processor(folder)
        self.batches = Batches(processor, worlds(), recipe.steps * recipe.workers * recipe.batch)
        ALL_ATTENTION_FUNCTIONS.register("float32_sdpa", attend_in_float32)
        ALL_MASK_ATTENTION_FUNCTIONS.register("float32_sdpa", sdpa_mask)
        self.model = model_for(processor.tokenizer, recipe.seed).train()
        self.model.set_attn_implementation("float32_sdpa" if recipe.bfloat16 else "sdpa")
        self.optimisers = optimisers_for(self.model, recipe)
        self.peaks = [optimiser.param_groups[0]["lr"] for optimiser in self.optimisers]
        self.first, self.seconds = 0, 0.0
        if self.state_file.exists():
            state = torch.load(self.state_file, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.first, self.seconds = state["step"], state["seconds"]
        self.started = time.monotonic() - self.seconds

    @property
    def state_file(self) -> Path:
        """Where worker 0 keeps the resumable state; written aside and renamed."""
        return self.folder / "state.pt"

    def step(self, number: int) -> float:
        """One update; the mean loss, in nats per reply token, of this worker's share."""
        import torch

        recipe, total = self.recipe, 0.0
        for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * rate_at(recipe, number)
        start = (number * recipe.workers + self.rank) * recipe.batch
        parts = self.batches.make(range(start, start + recipe.batch))
        targets = sum(int((part["labels"] >= 0).sum()) for part in parts)
        for part in parts:
            share = (part["labels"] >= 0).sum() / targets
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bfloat16):
                loss = self.model(**part).loss * share
            loss.backward()
            total += loss.item()
        average_gradients(self.model, recipe.workers)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=False)
        return total

    def save(self, done: int, log: list[dict[str, float]]) -> None:
        """Write state, weights and log of ``done`` steps."""
        import torch

        state = {
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": done,
            "seconds": time.monotonic() - self.started,
        }
        aside = self.state_file.with_suffix(".new")
        torch.save(state, aside)
        aside.replace(self.state_file)
        self.model.save_pretrained(self.folder / "model")
        (self.folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))

    def train(self) -> None:
        """All steps from the first that is not yet done."""
        log_file = self.folder / "log.jsonl"
        log = [json.loads(line) for line in log_file.read_text().splitlines()] if self.first else []
        log, losses = [line for line in log if line["step"] <= self.first], []
        for number in range(self.first, self.recipe.steps):
            losses.append(self.step(number))
            done = number + 1
            if self.rank == 0 and done % LOG_EVERY == 0:
                seconds = time.monotonic() - self.started
                log.append({"step": done, "loss": sum(losses) / len(losses), "seconds": seconds})
                left = seconds / done * (self.recipe.steps - done)
                loss = log[-1]["loss"]
                print(f"step {done} of {self.recipe.steps}: loss {loss:.4f}, {left / 60:.0f} min left", flush=True)
                losses = []
            if self.rank == 0 and (done % SAVE_EVERY == 0 or done == self.recipe.steps):
                self.save(done, log)


def work(rank: int, recipe: Recipe, folder: Path) -> None:
    """One process of the recipe."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "rendezvous"), recipe.workers)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=recipe.workers)
    Worker(rank, recipe, folder).train()
    dist.barrier()
    dist.destroy_process_group()


def _processor(folder: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder / "model", local_files_only=True)


def main() -> None:
    """Make the base in a work folder and, when it is whole, copy it to where the harness finds it."""
    import shutil

    import torch.multiprocessing

    from tasks.twin_base.model import processor_with, tokenizer_from

    defaults = Recipe()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--work", type=Path, default=Path("runs/twin-base"), help="folder for the resumable state")
    parser.add_argument("--install", action="store_true", help="replace the base that ships with the project")
    arguments = parser.parse_args()
    recipe = Recipe(steps=arguments.steps)
    folder: Path = arguments.work
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rendezvous").unlink(missing_ok=True)
    if not (folder / "model" / "tokenizer.json").exists():
        processor_with(tokenizer_from(texts(worlds(), 2000))).save_pretrained(folder / "model")
    torch.multiprocessing.spawn(work, (recipe, folder), nprocs=recipe.workers)
    if arguments.install:
        shutil.copytree(folder / "model", WEIGHTS, dirs_exist_ok=True)
        shutil.copy(folder / "log.jsonl", WEIGHTS / "training.jsonl")
        (WEIGHTS / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
        for file in WEIGHTS.iterdir():
            file.chmod(0o644)
        print(f"installed in {WEIGHTS}; now measure it: python -m tasks.twin_base.measure")


if __name__ == "__main__":
    main()
