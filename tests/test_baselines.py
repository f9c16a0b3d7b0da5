"""The six paradigms: what they show, what they teach and what they count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from noise_jobs import NOISE, SMALL, build_bases, item, job, picture, same, task, tensors

from baselines.filtering import solvable
from baselines.rft import RFT, RFT_NOCOT, RFT_NOKL, RIF_RFT, grpo_trainer, updates_per_rollout_batch
from baselines.sft import MTL, SFT, sft_trainer
from harness.asking.engines.transformers import load_processor
from harness.asking.styles import COT, DIRECT
from harness.core import Job, Paradigm, Progress, Stream, UserError, messages, one_by_one, replace
from harness.scales import TWIN
from harness.training import trainers, vision
from harness.training.launch import train
from harness.training.presentations import presentations, rounded

# TRL 1.16 asks for an attribute that transformers 5.23 renamed; run_trainer() silences it, a bare trainer does not.
renamed = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained twin bases that differ in their seed."""
    return build_bases(tmp_path_factory)


# What is shown, and in which order


def shown_ids(made: Job) -> list[str]:
    return [example.id for _, example in presentations(made)]


def test_one_task_is_shown_anew_shuffled_in_every_epoch(tmp_path: Path) -> None:
    made = job(tmp_path, tmp_path, SFT, count=20, epochs={"noise": 3})
    ids = shown_ids(made)
    epochs = [ids[n : n + 20] for n in (0, 20, 40)]
    assert all(sorted(epoch) == sorted(example.id for _, example in made.examples) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    made = job(tmp_path, tmp_path, SFT, count=20)
    assert shown_ids(made) == shown_ids(replace(made, paradigm=RFT, folder=tmp_path / "other", scale=TWIN))
    assert shown_ids(made) != shown_ids(replace(made, seed=6))


def test_a_joint_stage_mixes_its_tasks_with_each_ones_epochs(tmp_path: Path) -> None:
    other = task("other")
    both = [(NOISE, item("train", n)) for n in range(30)] + [(other, item("test", n)) for n in range(10)]
    made = job(tmp_path, tmp_path, MTL, examples=tuple(both), epochs={"noise": 1, "other": 3})
    shown = presentations(made)
    names = [owner.name for owner, _ in shown]
    assert names.count("noise") == 30
    assert names.count("other") == 30
    assert all(5 <= names[half : half + 30].count("noise") <= 25 for half in (0, 30))
    assert {example.id for owner, example in shown if owner is other} == {f"noise/test/{n}" for n in range(10)}


def test_batches_are_filled_and_nothing_is_dropped() -> None:
    assert rounded([1, 2, 3], 8) == [1, 2, 3, 1, 2, 3, 1, 2]  # type: ignore[list-item,comparison-overlap]
    assert [updates_per_rollout_batch(n, TWIN) for n in (1, 8, 16, 31, 32, 500)] == [1, 1, 2, 3, 4, 4]


def test_an_ablation_is_one_field() -> None:
    def differs(one: Paradigm, other: Paradigm) -> set[str]:
        return {name for name in vars(one) if getattr(one, name) != getattr(other, name)} - {"name"}

    assert differs(MTL, SFT) == {"stages"}
    assert differs(RIF_RFT, RFT) == {"select"}
    assert differs(RFT_NOKL, RFT) == {"kl"}
    assert differs(RFT_NOCOT, RFT) == {"style"}
    assert (RFT.kl, RFT.reference, RFT.style, SFT.style) == (0.01, "previous", COT, DIRECT)
    stream = Stream(name="two", tasks=("a", "b"), epochs={"a": 1, "b": 1}, general=())
    assert [stage.tasks for stage in MTL.stages(stream)] == [("a", "b")]
    assert SFT.stages is RFT.stages is one_by_one


# SFT


@pytest.mark.slow
@pytest.mark.parametrize("style", [DIRECT, COT])
def test_sft_teaches_its_targets_only(bases: tuple[Path, Path], tmp_path: Path, style: Any) -> None:
    made = job(bases[0], tmp_path, replace(SFT, style=style))
    trainer = sft_trainer(made)
    batch = next(iter(trainer.get_train_dataloader()))
    processor = load_processor(bases[0], SMALL)
    for (owner, example), ids, labels, attended in zip(
        presentations(made), batch["input_ids"], batch["labels"], batch["attention_mask"], strict=False
    ):
        target = style.write(example.answers[0], "it is so")
        assert processor.tokenizer.decode(labels[labels != -100]) == target + "<|im_end|>"
        turn = messages(style.ask(owner, example), 1)
        asked = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        prompt = processor(text=[asked], images=[picture(7 * int(example.id.rpartition("/")[2]))])["input_ids"][0]
        where = (labels != -100).nonzero()[0].item()
        assert ids[attended == 1].tolist()[:where] == list(prompt), "training and evaluation ask the same"


@pytest.mark.slow
def test_sft_learns_with_its_eyes_open_in_fp32_and_counts(bases: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    steps: list[Progress] = []
    made = job(bases[0], tmp_path, SFT, count=6, epochs={"noise": 4}, report=steps.append)
    learned = train(made)
    assert learned.optimiser_steps == 6 == len(steps) == steps[-1].steps
    assert steps[-1].loss is not None
    assert steps[0].loss is not None
    assert steps[-1].loss < 0.8 * steps[0].loss
    tokenizer = load_processor(bases[0], SMALL).tokenizer
    targets = [len(tokenizer(example.answers[0] + "<|im_end|>")["input_ids"]) for _, example in presentations(made)]
    assert learned.trained_tokens == sum(targets)
    assert learned.sampled_tokens == 0
    before, after = tensors(bases[0]), tensors(learned.weights)
    eyes = [name for name in after if "visual." in name]
    assert len(eyes) > 20
    assert all(not torch.equal(before[name], after[name]) for name in eyes)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert not (tmp_path / "states").exists()
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.slow
def test_pinned_settings(bases: tuple[Path, Path], tmp_path: Path) -> None:
    args = sft_trainer(job(bases[0], tmp_path, replace(SFT, rate=2.0))).args
    assert (args.learning_rate, args.lr_scheduler_type, args.warmup_steps) == (6e-3, "cosine", 0)
    assert (args.per_device_train_batch_size, args.max_length, args.use_cpu) == (4, None, True)
    trainer = grpo_trainer(job(bases[0], tmp_path, RFT))
    args = trainer.args
    assert not args.bf16
    assert not getattr(args, trainers.recomputing())
    assert args.report_to == []
    assert (args.learning_rate, args.lr_scheduler_type, args.weight_decay) == (3e-3, "constant", 0.01)
    assert (args.epsilon, args.epsilon_high, args.beta, args.num_iterations) == (0.2, 0.3, 0.01, 1)
    assert (args.temperature, args.top_p, args.max_completion_length, args.num_generations) == (1.0, 1.0, 6, 4)
    assert (args.per_device_train_batch_size, args.steps_per_generation, args.generation_batch_size) == (8, 2, 16)


@pytest.mark.slow
def test_a_vision_tower_without_gradient_is_an_error(bases: tuple[Path, Path]) -> None:
    import torch

    model = trainers.load_policy(bases[0])
    assert not vision.check_vision(model)
    for name, parameter in model.named_parameters():
        parameter.grad = torch.ones_like(parameter) if "visual." not in name else torch.zeros_like(parameter)
    with pytest.raises(RuntimeError, match="vision tower"):
        vision.check_vision(model)


# Pictures: none, several, and some with and some without


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [(0, 0), (2, 3), (0, 1), (1, 0)])
@pytest.mark.parametrize("paradigm", [SFT, RFT_NOCOT])
def test_any_number_of_pictures(
    bases: tuple[Path, Path], tmp_path: Path, paradigm: Paradigm, pictures: tuple[int, int]
) -> None:
    examples = tuple((NOISE, item("train", n, pictures[n % 2])) for n in range(4))
    learned = train(job(bases[0], tmp_path, paradigm, examples=examples))
    assert learned.optimiser_steps == (1 if paradigm is SFT else 2)
    assert not same(bases[0], learned.weights)


@pytest.mark.slow
def test_a_prompt_that_is_too_long_is_refused(bases: tuple[Path, Path], tmp_path: Path) -> None:
    for paradigm in (SFT, RFT):
        with pytest.raises(UserError, match="scale small allows 12"):
            train(job(bases[0], tmp_path, paradigm, scale=replace(SMALL, max_prompt_tokens=12)))


@pytest.mark.slow
def test_a_damaged_picture_is_named_wherever_it_is_met(bases: tuple[Path, Path], tmp_path: Path) -> None:
    def damaged() -> Any:
        raise OSError("truncated file")

    examples = tuple((NOISE, replace(item("train", n), images=(damaged,) if n == 3 else ())) for n in range(4))
    for name, work in (("sft", train), ("rft", train), ("filter", solvable)):
        with pytest.raises(UserError, match=r"a picture of noise/train/3 cannot be read \(truncated file\)"):
            work(job(bases[0], tmp_path / name, SFT if name == "sft" else RFT, examples=examples))


@pytest.mark.slow
def test_divergence_is_said_in_one_line(bases: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sft diverged at step .* of stage noise"):
        train(job(bases[0], tmp_path, replace(SFT, rate=1e30)))


# GRPO


@pytest.mark.slow
def test_rft_learns_with_its_eyes_open_and_counts(bases: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    steps: list[Progress] = []
    learned = train(job(bases[0], tmp_path, RFT_NOCOT, report=steps.append))
    assert learned.optimiser_steps == 4 == len(steps)
    assert all(step.reward is not None and 0 < step.reward < 1 for step in steps)
    assert 32 <= learned.sampled_tokens <= 32 * 5
    assert learned.trained_tokens == learned.sampled_tokens
    before, after = tensors(bases[0]), tensors(learned.weights)
    assert all(not torch.equal(before[name], after[name]) for name in after if "visual." in name)


@pytest.mark.slow
def test_fewer_items_than_a_rollout_batch_still_train(bases: tuple[Path, Path], tmp_path: Path) -> None:
    assert train(job(bases[0], tmp_path, RFT_NOCOT, count=1)).optimiser_steps == 1


@pytest.mark.slow
@renamed
def test_advantages_rise_with_the_reward_and_equal_rewards_teach_nothing(
    bases: tuple[Path, Path], tmp_path: Path
) -> None:
    trainer = grpo_trainer(job(bases[0], tmp_path / "a", replace(RFT_NOCOT, kl=0.0)))
    trainer.model.train()
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    rewards_P_G = [list(trainer._logs["rewards"]["graded"])[n : n + 4] for n in range(0, 16, 4)]
    advantages_P_G = batch["advantages"].view(4, 4).tolist()
    assert any(len(set(group)) > 2 for group in rewards_P_G)
    for rewards_G, advantages_G in zip(rewards_P_G, advantages_P_G, strict=True):
        for one, gain in zip(rewards_G, advantages_G, strict=True):
            for other, rival in zip(rewards_G, advantages_G, strict=True):
                assert (gain > rival) == (one > other)
                assert (gain == rival) == (one == other)
    trainer = grpo_trainer(job(bases[0], tmp_path / "b", replace(RFT_NOCOT, kl=0.0)))
    trainer.reward_funcs = [lambda completions, **_: [1 / 3] * len(completions)]
    trainer.model.train()
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, inputs).backward()
    assert not any(p.grad is not None and p.grad.any() for p in trainer.model.parameters())


@pytest.mark.slow
@renamed
def test_a_picture_token_is_never_sampled(bases: tuple[Path, Path], tmp_path: Path) -> None:
    trainer = grpo_trainer(job(bases[0], tmp_path, replace(RFT_NOCOT, kl=0.0)))
    config = trainer.model.config
    marks = [config.image_token_id, config.video_token_id, config.vision_start_token_id, config.vision_end_token_id]
    assert set(marks) <= set(trainer.generation_config.suppress_tokens)

    def wish(module: Any, inputs: Any, logits: Any) -> Any:
        logits[..., marks] += 1e4
        return logits

    hook = trainer.model.lm_head.register_forward_hook(wish)
    trainer.model.train()
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    hook.remove()
    assert not set(marks) & set(batch["completion_ids"].flatten().tolist())


@pytest.mark.slow
def test_the_kl_reference_is_the_lessons(bases: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    trainer = grpo_trainer(job(bases[0], tmp_path, RFT, reference=bases[1]))
    policy, reference = trainers.load_policy(bases[0]), trainers.load_policy(bases[1])
    for kept, wanted in ((trainer.model, policy), (trainer.ref_model, reference)):
        assert all(torch.equal(tensor, wanted.state_dict()[name]) for name, tensor in kept.state_dict().items())
    assert grpo_trainer(job(bases[0], tmp_path, RFT_NOKL)).ref_model is None
    with pytest.raises(ValueError, match="no reference"):
        grpo_trainer(job(bases[0], tmp_path, RFT, reference=None))
