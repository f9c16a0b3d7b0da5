"""Replies that share a prompt, scored in one sequence: equal to TRL's own path, a sequence for each reply."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from noise_jobs import NOISE, SMALL, build_bases, item, job, picture, same
from tiny_models import qwen3_vl

from baselines.rft import RFT, RFT_NOCOT, grpo_trainer
from baselines.sft import SFT
from benchmarks.bare import Bare
from harness.asking.chat import messages
from harness.asking.engines.transformers import load_processor
from harness.core import Paradigm, UserError, replace
from harness.scales import TWIN, model_folder
from harness.training.grpo import read, split
from harness.training.launch import train
from harness.training.shared_prefix import Prompt, fill_rows, pack, prefilled_once, score, visible
from harness.training.trainers import load_policy

SIZES = ((48, 48), (96, 48), (48, 96), (96, 96))  # pictures of 9, 18, 18 and 36 tokens
SCALE = replace(SMALL, max_pixels=96 * 96)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained twin bases that differ in their seed."""
    return build_bases(tmp_path_factory)


# The layout, against its definition


def drawn(rng: random.Random, prompts: int, replies: int) -> tuple[list[Prompt], list[int], list[Any]]:
    """Prompts and replies of random tokens and lengths, replies of a prompt not side by side."""
    import torch

    def tokens(length: int) -> Any:
        return torch.tensor([rng.randrange(100) for _ in range(length)])

    made = []
    for _ in range(prompts):
        ids = tokens(rng.randint(1, 9))
        made.append(Prompt(ids=ids, positions=torch.arange(len(ids)).repeat(3, 1) + rng.randint(0, 4)))
    owners = [rng.randrange(prompts) for _ in range(replies)]
    return made, owners, [tokens(rng.randint(1, 7)) for _ in range(replies)]


@pytest.mark.parametrize("seed", range(20))
def test_each_token_is_predicted_from_its_prompt_and_its_own_reply_alone(seed: int) -> None:
    rng = random.Random(seed)
    prompts, owners, replies = drawn(rng, rng.randint(1, 6), rng.randint(1, 12))
    packed = pack(prompts, owners, replies)
    seen = visible(packed.prompt, packed.branch)
    found = Counter()
    for row, place in (packed.targets >= 0).nonzero().tolist():
        number, step = int(packed.reply[row, place]), int(packed.step[row, place])
        prompt, reply = prompts[owners[number]], replies[number]
        assert packed.targets[row, place] == reply[step]
        before = seen[row, place]
        assert packed.ids[row, before].tolist() == [*prompt.ids.tolist(), *reply[:step].tolist()]
        end = int(prompt.positions[0, -1])
        expected = [*prompt.positions[0].tolist(), *range(end + 1, end + 1 + step)]
        assert packed.positions[:, row, before].tolist() == [expected] * 3
        found[number, step] += 1
    assert found == Counter((n, step) for n, reply in enumerate(replies) for step in range(len(reply)))
    lengths = [len(prompts[owner].ids) - 1 + sum(len(replies[n]) for n, mine in enumerate(owners) if mine == owner)
               for owner in set(owners)]  # fmt: skip
    assert packed.ids.shape[1] == max(lengths)
    assert int((packed.prompt >= 0).sum()) == sum(lengths), "a prompt is there once"
    assert sorted(packed.order) == sorted(set(owners))


@pytest.mark.parametrize("seed", range(20))
def test_rows_hold_every_sequence_once_and_two_are_never_mergeable(seed: int) -> None:
    rng = random.Random(seed)
    lengths = {n: rng.randint(1, 30) for n in range(rng.randint(1, 25))}
    rows = fill_rows(lengths)
    filled = [sum(lengths[n] for n in row) for row in rows]
    assert sorted(n for row in rows for n in row) == sorted(lengths)
    assert max(filled) == max(lengths.values())
    assert all(one + other > max(lengths.values()) for n, one in enumerate(filled) for other in filled[n + 1 :])


# Log-probabilities, entropies and gradients, against TRL's own path


def rows_of(pictures: Sequence[int]) -> list[dict[str, Any]]:
    """Prompts of different lengths, with so many pictures of different sizes."""
    rows = []
    for n, count in enumerate(pictures):
        text = RFT.style.ask(NOISE, item("train", n, count)) + " Look well." * (n % 3)
        rows.append(
            {"prompt": messages(text, count), "images": [picture(n + k, SIZES[(n + k) % 4]) for k in range(count)]}
        )
    return rows


def plain_path(trainer: Any, model: Any, inputs: Any, pictures: Sequence[int], owners: Any, ids: Any, mask: Any) -> Any:
    """Log-probabilities and entropies by TRL's own method, each reply behind a prompt of its own."""
    import torch
    from trl import GRPOTrainer

    shown = {}
    if any(pictures):
        grids = inputs["image_grid_thw"].split(list(pictures))
        pixels = inputs["pixel_values"].split([int(grid.prod(1).sum()) for grid in grids])
        shown = {
            "pixel_values": torch.cat([pixels[owner] for owner in owners]),
            "image_grid_thw": torch.cat([grids[owner] for owner in owners]),
            "num_images": [pictures[owner] for owner in owners],
        }
        if not len(shown["pixel_values"]):
            shown = {}
    logps, entropies, _ = GRPOTrainer._get_per_token_logps_and_entropies(
        trainer,
        model,
        torch.cat([inputs["input_ids"][owners], ids], 1),
        torch.cat([inputs["attention_mask"][owners], mask], 1),
        ids.shape[1],
        compute_entropy=True,
        mm_token_type_ids=torch.cat([inputs["mm_token_type_ids"][owners], torch.zeros_like(ids)], 1),
        **shown,
    )
    return logps * mask, entropies * mask


def gradients(model: Any, value: Any) -> dict[str, Any]:
    model.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("pictures", [(0,), (0, 0, 0), (1, 1), (3,), (1, 0, 3, 2)], ids=str)
def test_the_packed_path_is_trls_own(
    bases: tuple[Path, Path], tmp_path: Path, pictures: tuple[int, ...], padded: bool
) -> None:
    packed_is_plain(bases[0], tmp_path, pictures, padded)


@pytest.mark.slow
@pytest.mark.parametrize(("pictures", "padded"), [((1, 1), False), ((1, 0, 3, 2), True)], ids=str)
def test_the_packed_path_of_qwen3_vl_is_trls_own(tmp_path: Path, pictures: tuple[int, ...], padded: bool) -> None:
    """Its positions are interleaved, and its first layers take features of the vision tower's depth."""
    packed_is_plain(qwen3_vl(tmp_path / "qwen3"), tmp_path, pictures, padded)


def packed_is_plain(base: Path, folder: Path, pictures: tuple[int, ...], padded: bool) -> None:
    import torch

    made = job(base, folder, RFT, scale=SCALE)
    trainer = grpo_trainer(made)
    model, processor = trainer.model, load_processor(made.model, SCALE)
    rows = rows_of(pictures)
    inputs = read(processor, rows)
    positions, _ = model.model.get_rope_index(**inputs)
    prompts = split(inputs, positions, pictures)
    draw = torch.Generator().manual_seed(7)
    owners = torch.randint(len(pictures), (9,), generator=draw).tolist()
    ids = torch.randint(10, model.config.text_config.vocab_size, (9, 7), generator=draw)
    lengths = torch.randint(1, 8, (9, 1), generator=draw) if padded else torch.full((9, 1), 7)
    mask = (torch.arange(7) < lengths).long()
    weights = torch.randn(9, 7, generator=draw)

    ours = score(model, model.base_model, prompts, owners, ids, mask)
    theirs = plain_path(trainer, model, inputs, pictures, owners, ids, mask)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0)
    assert (ours[0] != 0).equal(mask.bool())
    mine, trls = (gradients(model, (values[0] * weights).sum()) for values in (ours, theirs))
    assert mine.keys() == trls.keys()
    for name in mine:
        assert (mine[name] - trls[name]).norm() <= 2e-5 * (1 + trls[name].norm()), name
    assert any("visual." in name and grad.any() for name, grad in mine.items()) == any(pictures[n] for n in owners)


@pytest.mark.slow
def test_a_reply_does_not_feel_its_neighbours(bases: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    trainer = grpo_trainer(job(bases[0], tmp_path, RFT, scale=SCALE))
    inputs = read(load_processor(bases[0], SCALE), rows_of((1, 2)))
    prompts = split(inputs, trainer.model.model.get_rope_index(**inputs)[0], (1, 2))
    ids, mask = torch.arange(20, 44).view(4, 6), torch.ones(4, 6, dtype=torch.long)
    with torch.no_grad():
        before, _ = score(trainer.model, trainer.model.base_model, prompts, [0, 1, 0, 1], ids, mask)
        changed = ids.clone()
        changed[[0, 3]] += 50
        after, _ = score(trainer.model, trainer.model.base_model, prompts, [0, 1, 0, 1], changed, mask)
    torch.testing.assert_close(after[[1, 2]], before[[1, 2]], atol=1e-5, rtol=0)
    assert (after[[0, 3]] != before[[0, 3]]).all()


# Rollouts


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("pictures", [(0, 0), (1, 1, 1), (2, 0, 3)], ids=str)
def test_rollouts_from_a_prompt_that_is_read_once_are_the_same(
    bases: tuple[Path, Path], tmp_path: Path, pictures: tuple[int, ...], kind: str
) -> None:
    import torch

    base = bases[0] if kind == "qwen2_5_vl" else qwen3_vl(tmp_path)
    model = load_policy(base)
    inputs = read(load_processor(base, SCALE), rows_of(pictures))
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": 9, "num_return_sequences": 4, "suppress_tokens": [5, 6]}
    read_tokens: list[int] = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda module, rest, given: read_tokens.append(given["inputs_embeds"][..., 0].numel()), with_kwargs=True
    )

    def replies() -> Any:
        torch.manual_seed(3)
        return model.generate(**inputs, **options)

    plain = replies()
    with prefilled_once(model, 4):
        shared = replies()
    hook.remove()
    assert torch.equal(plain, shared)
    assert read_tokens[0] == 4 * read_tokens[len(read_tokens) // 2], "each prompt is read once, not four times"
    assert torch.equal(replies(), plain), "the model is as it was"


# Whole stages


def test_an_attention_that_the_model_lacks_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^scale small asks for flex attention, .*: set attention to "dense"$'):
        train(job(tmp_path, tmp_path, RFT, scale=replace(SMALL, attention="flex")))


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", [SFT, RFT_NOCOT], ids=["sft", "grpo"])
def test_the_same_job_gives_the_same_weights_every_time(
    bases: tuple[Path, Path], tmp_path: Path, paradigm: Paradigm
) -> None:
    made = job(bases[0], tmp_path, paradigm)
    one, other = (train(replace(made, folder=tmp_path / name)) for name in ("one", "other"))
    assert same(one.weights, other.weights)
    assert not same(one.weights, train(replace(made, folder=tmp_path / "seed", seed=6)).weights)


@pytest.mark.slow
def test_32_updates_have_the_losses_of_the_bare_trainer(tmp_path: Path) -> None:
    from benchmarks.speed import job_of
    from tasks.gqa import GQA

    scale = replace(TWIN, prompts_per_update=4)
    assert model_folder(scale).is_dir()
    made = job_of(RFT, scale, GQA, 32, tmp_path / "held")
    bare = Bare(made).learn(tmp_path / "bare")
    trainer = grpo_trainer(made)
    with warnings.catch_warnings():
        # TRL 1.16 asks the model for an attribute that transformers 5.23 renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        trainer.train()
    ours, theirs = ([entry for entry in one.state.log_history if "kl" in entry] for one in (trainer, bare))
    assert len(ours) == len(theirs) == 32
    for one, other in zip(ours, theirs, strict=True):
        for name in ("loss", "kl", "entropy"):
            assert one[name] == pytest.approx(other[name], abs=1e-4), name
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
        assert one.get("reward") == other.get("reward")
    assert any(abs(one["loss"]) > 0.01 for one in ours)
