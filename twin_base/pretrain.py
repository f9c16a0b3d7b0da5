"""The recipe of the twin base: ``python -m twin_base.pretrain`` makes it from scratch, seeded, on two cores.

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
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from harness.asking.styles import COT_INSTRUCTION, DIRECT, STYLES
from harness.core import SPLITS, Example, Task, messages
from twin_base import captions

WEIGHTS = Path(__file__).parent / "weights"
SAVE_EVERY, LOG_EVERY = 250, 50
LETTERS_UNTIL, LETTERS_LATER = 0.05, 0.05
BY_TEXT, BY_TEXT_FROM, BY_TEXT_TASKS = 0.6, 5 / 8, ("mmmu", "mmlu-pro")
DENSE_FIRST, DENSE_LATER, DENSE_UNTIL = 0.6, 0.15, 0.3
PARTS = 2  # of a batch, the shorter and the longer half: less padding


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides the base: steps, batch per worker, workers, peak rates, warm-up, decay share, seed.

    After ``steps`` the rate restarts once (arXiv:1608.03983), at ``again_rate`` of its peak for ``again_steps``.

    ``rate`` is Muon's, for the weight matrices, matched to AdamW's root mean square; ``other_rate`` is AdamW's, for
    embeddings, norms, biases and the convolution of the patches.
    """

    steps: int = 3600
    again_steps: int = 800
    again_rate: float = 0.4
    batch: int = 40
    workers: int = 2
    rate: float = 3e-3
    other_rate: float = 3e-3
    warmup: int = 20
    decay_from: float = 0.3
    weight_decay: float = 0.05
    seed: int = 20250707


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
    """The ``number``-th of the items, ``total`` before the rate restarts: tasks by turns, each item once.

    The first 5% look letters of options up and nothing else, the skill that several tasks share, and 5% of the rest
    keep it. Dense lessons (descriptions and look-ups) are 60% until 30% are done, and 15% later: a model that does not
    see yet learns from them what questions then build on. An item without a picture has none to describe, so it is
    asked. Up to 5/8 a bare answer to the lettered suites is a letter, then mostly the option's text, which their
    scorers take as well: the letter of an option that was not written first is still a guess at this depth. Styles
    go by turns within a task, and are drawn after ``total``: where two questions share a picture, one has even numbers
    only, and each should be asked in both styles.
    """
    index, turn = divmod(number, len(tasks))
    task = tasks[turn]
    example = task.twin("pretrain", index)
    rng = Random(number)
    if number < LETTERS_UNTIL * total or rng.random() < LETTERS_LATER:
        prompt, reply = captions.letters(example)
        return Lesson(prompt=prompt, reply=reply, example=example, pictured=False)
    share = DENSE_FIRST if number < DENSE_UNTIL * total else DENSE_LATER
    if example.images and rng.random() < share:
        prompt, reply = captions.lesson(task.name, example)
        return Lesson(prompt=prompt, reply=reply, example=example, pictured=True)
    style = STYLES[index % len(STYLES)] if number < total else rng.choice(STYLES)
    answer = example.answers[0]
    if style is DIRECT and task.name in BY_TEXT_TASKS and number >= BY_TEXT_FROM * total and rng.random() < BY_TEXT:
        answer = example.choices[ord(answer) - ord("A")]
    reply = style.write(answer, example.rationale)
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
            lines += captions.letters(example)
            if example.images:
                lines += captions.lesson(task.name, example)
    return lines


def phrases(tasks: tuple[Task, ...]) -> list[str]:
    """The instructions that end the prompts of these tasks."""
    return [COT_INSTRUCTION, *(task.suffix for task in tasks)]


class Batches:
    """Turns items into padded tensors; the labels of everything but the reply are -100."""

    def __init__(self, processor: Any, tasks: tuple[Task, ...], total: int) -> None:
        """Keep the processor and the worlds; ``total`` is the number of items of the whole training."""
        self.processor, self.tasks, self.total = processor, tasks, total
        self.end = processor.tokenizer.eos_token

    def make(self, numbers: range) -> list[dict[str, Any]]:
        """The items with these numbers in ``PARTS`` batches, from short to long: less padding, same mean."""
        items = []
        for number in numbers:
            item = lesson(self.tasks, number, self.total)
            openers = item.example.images if item.pictured else ()
            turn = messages(item.prompt, len(openers))
            prompt = self.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            items.append((prompt, item.reply + self.end, [opener() for opener in openers]))
        items.sort(key=lambda item: len(item[0]) + len(item[1]))
        cuts = [part * len(items) // PARTS for part in range(PARTS + 1)]
        return [self._tensors(items[start:end]) for start, end in pairwise(cuts) if start < end]

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
    """The share of the peak rates: linear warm-up, a plateau at 1, a cosine to a twentieth, and the same once more."""
    peak, step, steps, start = 1.0, step, recipe.steps, recipe.decay_from * recipe.steps
    if step >= recipe.steps:
        peak, step, steps, start = recipe.again_rate, step - recipe.steps, recipe.again_steps, 0.0
    done = max(0.0, (step - start) / max(1.0, steps - start))
    return min(1.0, (step + 1) / recipe.warmup) * (0.05 + (peak - 0.05) * 0.5 * (1 + math.cos(math.pi * done)))


def reply_loss(model: Any, batch: dict[str, Any]) -> Any:
    """The summed negative log-likelihood of a batch's reply tokens, in nats; only their logits are computed."""
    from torch.nn.functional import cross_entropy

    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    labels = batch["labels"][:, 1:]
    states = model.model(**inputs).last_hidden_state[:, :-1]
    return cross_entropy(model.lm_head(states[labels >= 0]), labels[labels >= 0], reduction="sum")


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
    """Muon for the weight matrices, AdamW for everything else."""
    import torch

    from twin_base.muon import muon

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    adamw = torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return muon(matrices, lr=recipe.rate, weight_decay=recipe.weight_decay), adamw


class Worker:
    """One of the processes: the whole model, its share of every batch, and for worker 0 the state and the log."""

    def __init__(self, rank: int, recipe: Recipe, folder: Path) -> None:
        """Build the model, or take it up where the last saved state left it."""
        import torch

        from twin_base.model import model_for

        self.rank, self.recipe, self.folder = rank, recipe, folder
        processor = _processor(folder)
        self.batches = Batches(processor, worlds(), recipe.steps * recipe.workers * recipe.batch)
        self.model = model_for(processor.tokenizer, recipe.seed).train()
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
            loss = reply_loss(self.model, part) / targets
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
        last = self.recipe.steps + self.recipe.again_steps
        for number in range(self.first, last):
            losses.append(self.step(number))
            done = number + 1
            if self.rank == 0 and done % LOG_EVERY == 0:
                seconds = time.monotonic() - self.started
                log.append({"step": done, "loss": sum(losses) / len(losses), "seconds": seconds})
                left = seconds / done * (last - done)
                loss = log[-1]["loss"]
                print(f"step {done} of {last}: loss {loss:.4f}, {left / 60:.0f} min left", flush=True)
                losses = []
            if self.rank == 0 and (done % SAVE_EVERY == 0 or done == last):
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

    from twin_base.model import processor_with, tokenizer_from

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
        processor_with(tokenizer_from(texts(worlds(), 2000), phrases(worlds()))).save_pretrained(folder / "model")
    torch.multiprocessing.spawn(work, (recipe, folder), nprocs=recipe.workers)
    if arguments.install:
        shutil.copytree(folder / "model", WEIGHTS, dirs_exist_ok=True)
        shutil.copy(folder / "log.jsonl", WEIGHTS / "training.jsonl")
        (WEIGHTS / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
        for file in WEIGHTS.iterdir():
            file.chmod(0o644)
        print(f"installed in {WEIGHTS}; now measure it: python -m twin_base.measure")


if __name__ == "__main__":
    main()
