"""The six paradigms: what they show, what they teach, what they resume from and what they count."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from baselines import resume, trainers
from baselines.filtering import solvable
from baselines.presentations import presentations, rounded
from baselines.rft import RFT, RFT_NOCOT, RFT_NOKL, RIF_RFT, grpo_trainer, updates_per_rollout_batch
from baselines.sft import MTL, SFT, sft_trainer
from harness.core import (
    Decoding,
    Example,
    Lesson,
    Paradigm,
    Progress,
    Stage,
    Stream,
    Task,
    UserError,
    messages,
    one_by_one,
    replace,
)
from harness.engines.transformers import load_processor
from harness.scales import TWIN
from harness.styles import COT, DIRECT

WORDS = ("red", "green", "blue", "dog", "cat", "seven")
SMALL = replace(
    TWIN,
    name="small",
    sft_batch=4,
    rollouts=4,
    prompts_per_update=2,
    updates_per_rollout_batch=2,
    decodings={
        "direct": Decoding(name="greedy-5", max_new_tokens=5),
        "cot": Decoding(name="greedy-6", max_new_tokens=6),
    },
    rates={"sft": 3e-3, "grpo": 3e-3},
)


@cache
def picture(seed: int, size: tuple[int, int] = (48, 48)) -> Any:
    """A picture of noise."""
    from PIL import Image

    noise = b"".join(
        hashlib.sha256(bytes([seed % 256, n % 256, n // 256])).digest() for n in range(size[0] * size[1] // 8)
    )
    return Image.frombytes("RGB", size, noise[: 3 * size[0] * size[1]])


def item(split: str, index: int, pictures: int = 1) -> Example:
    """A question about noise."""
    marks = " ".join(f"<image {n + 1}>" for n in range(pictures)) if pictures > 1 else ""
    return Example(
        id=f"noise/{split}/{index}",
        question=f"{marks} What is number {index}?",
        answers=(WORDS[index % len(WORDS)],),
        images=tuple(partial(picture, 7 * index + n) for n in range(pictures)),
        rationale="it is so",
    )


def score_by_hash(answer: str, example: Example) -> float:
    """An arbitrary mark in thirds, so that the groups of an untrained policy differ."""
    return hashlib.sha256(answer.encode()).digest()[0] % 4 / 3


def task(name: str = "noise", score: Callable[[str, Example], float] = score_by_hash) -> Task:
    """A task of noise."""
    return Task(name=name, version=1, cite="", licence="", suffix="Answer briefly.", score=score, twin=item)


NOISE = task()
# TRL 1.16 asks for an attribute that transformers 5.23 renamed; teach() silences it, a bare trainer does not.
renamed = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained twin bases that differ in their seed."""
    from tasks.twin_base.model import build

    texts = [style.ask(NOISE, item("train", n)) for n in range(30) for style in (DIRECT, COT)]
    folders = (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two"))
    for seed, folder in enumerate(folders):
        build(folder, seed, [*texts, *WORDS, "system user assistant You are a helpful assistant."])
    return folders


def lesson(base: Path, folder: Path, paradigm: Paradigm, count: int = 8, **changes: Any) -> Lesson:
    """A lesson on the first ``count`` items."""
    made = Lesson(
        paradigm=paradigm,
        scale=SMALL,
        stage=Stage(name="noise", tasks=("noise",)),
        examples=tuple((NOISE, item("train", n)) for n in range(count)),
        epochs={"noise": 1},
        model=base,
        reference=base if paradigm.kl else None,
        seed=5,
        folder=folder,
    )
    return replace(made, **changes)


def tensors(folder: Path) -> dict[str, Any]:
    """The weights of a folder."""
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold bit-identical weights."""
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


class Killed(Exception):
    """Stands in for SIGKILL."""


def killed_at(step: int) -> Callable[[Progress], None]:
    """A report that dies when a step is done."""

    def report(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return report


@pytest.fixture
def saves_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A save wherever one is allowed."""
    monkeypatch.setattr(trainers, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(trainers, "SAVE_SHARE", float("inf"))


# What is shown, and in which order


def shown_ids(made: Lesson) -> list[str]:
    return [example.id for _, example in presentations(made)]


def test_one_task_is_shown_anew_shuffled_in_every_epoch(tmp_path: Path) -> None:
    made = lesson(tmp_path, tmp_path, SFT, count=20, epochs={"noise": 3})
    ids = shown_ids(made)
    epochs = [ids[n : n + 20] for n in (0, 20, 40)]
    assert all(sorted(epoch) == sorted(example.id for _, example in made.examples) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    made = lesson(tmp_path, tmp_path, SFT, count=20)
    assert shown_ids(made) == shown_ids(replace(made, paradigm=RFT, folder=tmp_path / "other", scale=TWIN))
    assert shown_ids(made) != shown_ids(replace(made, seed=6))


def test_a_joint_stage_mixes_its_tasks_with_each_ones_epochs(tmp_path: Path) -> None:
    other = task("other")
    both = [(NOISE, item("train", n)) for n in range(30)] + [(other, item("test", n)) for n in range(10)]
    made = lesson(tmp_path, tmp_path, MTL, examples=tuple(both), epochs={"noise": 1, "other": 3})
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


@pytest.mark.parametrize("style", [DIRECT, COT])
def test_sft_teaches_its_targets_only(bases: tuple[Path, Path], tmp_path: Path, style: Any) -> None:
    made = lesson(bases[0], tmp_path, replace(SFT, style=style))
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


def test_sft_learns_with_its_eyes_open_in_fp32_and_counts(bases: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    steps: list[Progress] = []
    made = lesson(bases[0], tmp_path, SFT, count=6, epochs={"noise": 4}, report=steps.append)
    learned = SFT.learn(made)
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


def test_pinned_settings(bases: tuple[Path, Path], tmp_path: Path) -> None:
    args = sft_trainer(lesson(bases[0], tmp_path, replace(SFT, rate=2.0))).args
    assert (args.learning_rate, args.lr_scheduler_type, args.warmup_steps) == (6e-3, "cosine", 0)
    assert (args.per_device_train_batch_size, args.max_length, args.use_cpu) == (4, None, True)
    trainer = grpo_trainer(lesson(bases[0], tmp_path, RFT))
    args = trainer.args
    assert not args.bf16
    assert not args.activation_checkpointing
    assert args.report_to == []
    assert (args.learning_rate, args.lr_scheduler_type, args.weight_decay) == (3e-3, "constant", 0.01)
    assert (args.epsilon, args.epsilon_high, args.beta, args.num_iterations) == (0.2, 0.3, 0.01, 1)
    assert (args.temperature, args.top_p, args.max_completion_length, args.num_generations) == (1.0, 1.0, 6, 4)
    assert (args.per_device_train_batch_size, args.steps_per_generation, args.generation_batch_size) == (8, 2, 16)


def test_a_vision_tower_without_gradient_is_an_error(bases: tuple[Path, Path]) -> None:
    import torch

    model = trainers.load_policy(bases[0])
    assert not trainers.check_vision(model)
    for name, parameter in model.named_parameters():
        parameter.grad = torch.ones_like(parameter) if "visual." not in name else torch.zeros_like(parameter)
    with pytest.raises(RuntimeError, match="vision tower"):
        trainers.check_vision(model)


# Pictures: none, several, and some with and some without


@pytest.mark.parametrize("pictures", [(0, 0), (2, 3), (0, 1), (1, 0)])
@pytest.mark.parametrize("paradigm", [SFT, RFT_NOCOT])
def test_any_number_of_pictures(
    bases: tuple[Path, Path], tmp_path: Path, paradigm: Paradigm, pictures: tuple[int, int]
) -> None:
    examples = tuple((NOISE, item("train", n, pictures[n % 2])) for n in range(4))
    learned = paradigm.learn(lesson(bases[0], tmp_path, paradigm, examples=examples))
    assert learned.optimiser_steps == (1 if paradigm is SFT else 2)
    assert not same(bases[0], learned.weights)


def test_a_prompt_that_is_too_long_is_refused(bases: tuple[Path, Path], tmp_path: Path) -> None:
    for paradigm in (SFT, RFT):
        with pytest.raises(UserError, match="scale small allows 12"):
            paradigm.learn(lesson(bases[0], tmp_path, paradigm, scale=replace(SMALL, max_prompt_tokens=12)))


def test_divergence_is_said_in_one_line(bases: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sft diverged at step .* of stage noise"):
        SFT.learn(lesson(bases[0], tmp_path, replace(SFT, rate=1e30)))


# GRPO


def test_rft_learns_with_its_eyes_open_and_counts(bases: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    steps: list[Progress] = []
    learned = RFT_NOCOT.learn(lesson(bases[0], tmp_path, RFT_NOCOT, report=steps.append))
    assert learned.optimiser_steps == 4 == len(steps)
    assert all(step.reward is not None and 0 < step.reward < 1 for step in steps)
    assert 32 <= learned.sampled_tokens <= 32 * 5
    assert learned.trained_tokens == learned.sampled_tokens
    before, after = tensors(bases[0]), tensors(learned.weights)
    assert all(not torch.equal(before[name], after[name]) for name in after if "visual." in name)


def test_fewer_items_than_a_rollout_batch_still_train(bases: tuple[Path, Path], tmp_path: Path) -> None:
    assert RFT_NOCOT.learn(lesson(bases[0], tmp_path, RFT_NOCOT, count=1)).optimiser_steps == 1


@renamed
def test_advantages_rise_with_the_reward_and_equal_rewards_teach_nothing(
    bases: tuple[Path, Path], tmp_path: Path
) -> None:
    trainer = grpo_trainer(lesson(bases[0], tmp_path / "a", replace(RFT_NOCOT, kl=0.0)))
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
    dull = task(score=lambda answer, example: 1 / 3)
    made = lesson(bases[0], tmp_path / "b", replace(RFT_NOCOT, kl=0.0))
    trainer = grpo_trainer(replace(made, examples=tuple((dull, example) for _, example in made.examples)))
    trainer.model.train()
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, inputs).backward()
    assert not any(p.grad is not None and p.grad.any() for p in trainer.model.parameters())


@renamed
def test_a_picture_token_is_never_sampled(bases: tuple[Path, Path], tmp_path: Path) -> None:
    trainer = grpo_trainer(lesson(bases[0], tmp_path, replace(RFT_NOCOT, kl=0.0)))
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


def test_the_kl_reference_is_the_lessons(bases: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    trainer = grpo_trainer(lesson(bases[0], tmp_path, RFT, reference=bases[1]))
    policy, reference = trainers.load_policy(bases[0]), trainers.load_policy(bases[1])
    for kept, wanted in ((trainer.model, policy), (trainer.ref_model, reference)):
        assert all(torch.equal(tensor, wanted.state_dict()[name]) for name, tensor in kept.state_dict().items())
    assert grpo_trainer(lesson(bases[0], tmp_path, RFT_NOKL)).ref_model is None
    with pytest.raises(ValueError, match="no reference"):
        grpo_trainer(lesson(bases[0], tmp_path, RFT, reference=None))


# Resuming


@pytest.mark.usefixtures("saves_always")
def test_sft_resumes_bit_identical(bases: tuple[Path, Path], tmp_path: Path) -> None:
    made = lesson(bases[0], tmp_path / "whole", SFT, count=28)
    whole = SFT.learn(made)
    with pytest.raises(Killed):
        SFT.learn(replace(made, folder=tmp_path / "cut", report=killed_at(5)))
    steps: list[Progress] = []
    resumed = SFT.learn(replace(made, folder=tmp_path / "cut", report=steps.append))
    assert [progress.step for progress in steps] == [5, 6, 7]
    assert same(whole.weights, resumed.weights)
    assert replace(whole, weights=resumed.weights) == resumed


def test_rft_resumes_bit_identical_towards_its_own_reference(
    bases: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paradigm = replace(RFT_NOCOT, kl=0.5)
    made = lesson(bases[0], tmp_path / "whole", paradigm, count=12, reference=bases[1])
    whole = paradigm.learn(made)
    monkeypatch.setattr(trainers, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(trainers, "SAVE_SHARE", float("inf"))
    with pytest.raises(Killed):
        paradigm.learn(replace(made, folder=tmp_path / "cut", report=killed_at(4)))
    steps: list[Progress] = []
    resumed = paradigm.learn(replace(made, folder=tmp_path / "cut", report=steps.append))
    assert [progress.step for progress in steps] == [3, 4, 5, 6], "states lie between rollout batches"
    assert same(whole.weights, resumed.weights)
    assert replace(whole, weights=resumed.weights) == resumed
    assert not same(whole.weights, paradigm.learn(replace(made, folder=tmp_path / "x", reference=bases[0])).weights)


@pytest.mark.usefixtures("saves_always")
@pytest.mark.parametrize("harm", ["unsealed", "edited", "shortened", "foreign"])
def test_a_state_that_is_not_whole_is_never_resumed_from(bases: tuple[Path, Path], tmp_path: Path, harm: str) -> None:
    made = lesson(bases[0], tmp_path, SFT, count=12)
    with pytest.raises(Killed):
        SFT.learn(replace(made, report=killed_at(3)))
    state = tmp_path / "states" / "checkpoint-2"
    optimizer = state / "optimizer.pt"
    if harm == "unsealed":
        (state.parent / "checkpoint-2.json").unlink()
    elif harm == "edited":
        (state / "trainer_state.json").write_text((state / "trainer_state.json").read_text().replace("2", "1", 1))
    elif harm == "shortened":
        optimizer.write_bytes(optimizer.read_bytes()[:100])
    else:
        made = replace(made, seed=made.seed + 1)
    steps: list[Progress] = []
    SFT.learn(replace(made, report=steps.append))
    assert [progress.step for progress in steps] == [1, 2, 3]


def test_a_finished_lesson_is_not_learned_again_unless_its_weights_changed(
    bases: tuple[Path, Path], tmp_path: Path
) -> None:
    steps: list[Progress] = []
    made = lesson(bases[0], tmp_path, SFT, count=4, report=steps.append)
    first = SFT.learn(made)
    assert SFT.learn(made) == first
    assert len(steps) == 1
    (first.weights / "model.safetensors").write_bytes(b"")
    assert SFT.learn(made) == first
    assert len(steps) == 2


def test_seals(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    (folder / "a").write_text("x")
    assert resume.opened(folder, "me") is None
    resume.seal(folder, "me", {"n": 3})
    assert resume.opened(folder, "me") == {"n": 3}
    assert resume.opened(folder, "you") is None
    (tmp_path / "checkpoint-9").mkdir()
    assert resume.last_whole(tmp_path, "me") == folder
    (folder / "b").write_text("more")
    assert resume.last_whole(tmp_path, "me") is None
    assert not list(tmp_path.iterdir())


# The filter


def test_the_filter_keeps_what_was_solved_at_least_once(
    bases: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.engines import Generation
    from harness.engines import transformers as engine

    def exact(answer: str, example: Example) -> float:
        return float(answer in example.answers)

    said: dict[str, list[str]] = {}

    class Fake:
        def __init__(self, folder: Path, scale: Any) -> None:
            assert (folder, scale) == (bases[0], SMALL)

        def sample(self, prompts: Any, decoding: Decoding, rollouts: int, seed: int, top_p: float) -> Any:
            assert decoding is SMALL.decodings["cot"]
            assert rollouts == 4
            return [[Generation(text=t, tokens=3, truncated=False) for t in said[text]] for text, _ in prompts]

    monkeypatch.setattr(engine, "TransformersEngine", Fake)
    owner = task(score=exact)
    examples = [replace(item("train", n), answers=("{a}", "second")) for n in range(4)]
    right, wrong, loose = r"\boxed{{a}}", r"\boxed{b}", "{a}"
    replies = ([right] * 4, [wrong, right, wrong, wrong], [loose, wrong, wrong, wrong], [r"\boxed{second}"] * 4)
    said.update(zip([COT.ask(owner, example) for example in examples], map(list, replies), strict=True))
    pairs = tuple((owner, example) for example in examples)
    verdicts = solvable(lesson(bases[0], tmp_path, RIF_RFT, examples=pairs))
    assert [(v.kept, v.correct) for v in verdicts] == [(True, 4), (True, 1), (False, 0), (False, 0)]
    assert all((v.rollouts, v.sampled_tokens) == (4, 12) for v in verdicts)
    assert [v.id for v in verdicts] == [example.id for example in examples]


def test_the_filter_samples_the_policy_and_repeats_itself(bases: tuple[Path, Path], tmp_path: Path) -> None:
    made = lesson(bases[0], tmp_path, replace(RIF_RFT, style=DIRECT), count=6)
    verdicts = solvable(made)
    assert verdicts == solvable(made) != solvable(replace(made, seed=made.seed + 1))
    assert any(0 < verdict.correct < 4 for verdict in verdicts)


@pytest.mark.parametrize("paradigm", [SFT, RFT])
def test_a_stage_without_examples_hands_its_weights_on(
    bases: tuple[Path, Path], tmp_path: Path, paradigm: Paradigm
) -> None:
    learned = paradigm.learn(lesson(bases[0], tmp_path, paradigm, count=0))
    assert (learned.optimiser_steps, learned.sampled_tokens, learned.trained_tokens) == (0, 0, 0)
    assert same(bases[0], learned.weights)
