"""Low-rank adapters: what is trained, kept and handed on, towards which reference, and that the base stays as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from noise_jobs import SMALL, build_bases, item, job, picture, tensors

from baselines.filtering import solvable
from baselines.rft import RFT, RFT_LORA, RIF_RFT, grpo_trainer, train_grpo
from baselines.sft import SFT_LORA, train_sft
from harness.asking.engines.transformers import TransformersEngine, load_model, load_processor
from harness.asking.engines.whole import whole_model
from harness.core import Job, Lora, Paradigm, Progress, Run, Stream, Trained, UserError, replace
from harness.lora import ADAPTER, NUMBERS, PLACE, attached, is_adapter, save_adapter, without_renamed
from harness.results.publish import refuse_other_checkpoints
from harness.results.published import read_run
from harness.runner import run
from harness.scales import TWIN, model_folder
from harness.store.checkpoints import Store
from harness.store.housekeeping import collect_garbage
from harness.training import trainers
from harness.training.adapters import inner, summed_weights
from harness.training.launch import train
from harness.weights import weights_digest

MERGED = replace(SFT_LORA, name="merged", adapter=replace(SFT_LORA.adapter, keep="merged"))
PROCESSOR = {"chat_template.jinja", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained twin base."""
    return build_bases(tmp_path_factory)[0]


@pytest.fixture(scope="module")
def first(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """A first stage, kept either way; the adapter has its base noted beside it, as the store does."""
    folder = tmp_path_factory.mktemp("first")
    made = {paradigm.name: train(job(base, folder / paradigm.name, paradigm)) for paradigm in (SFT_LORA, MERGED)}
    note(made["sft-lora"].weights, base)
    return made


def note(folder: Path, base: Path) -> None:
    (folder / PLACE).write_text(json.dumps({"folder": str(base)}))


def second(first: Trained, base: Path, folder: Path, paradigm: Paradigm, **changes: Any) -> Job:
    """A stage that begins where the first one ended."""
    return replace(job(first.weights, folder, paradigm, **changes), base=base, carry=first.carry, seed=6)


def loaded(folder: Path) -> dict[str, Any]:
    return dict(load_model(folder, "float32").state_dict())


def vectors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / NUMBERS))


# What is trained and kept


@pytest.mark.slow
def test_a_checkpoint_is_the_adapter_and_its_bases_digest_and_nothing_else(
    base: Path, first: dict[str, Trained]
) -> None:
    kept = first["sft-lora"].weights
    assert {path.name for path in kept.iterdir()} == {ADAPTER, NUMBERS, PLACE, *PROCESSOR}
    settings = json.loads((kept / ADAPTER).read_text())
    assert settings["base_model_name_or_path"] == weights_digest(base)
    assert (settings["r"], settings["lora_alpha"], settings["target_modules"]) == (
        16,
        32,
        sorted(settings["target_modules"]),
    )
    moved = [name for name, value in vectors(kept).items() if "lora_B" in name and value.any()]
    assert any(".visual." in name for name in moved), "the vision tower learns too"
    assert any(".language_model." in name for name in moved)
    merged = first["merged"]
    assert merged.carry == merged.weights / "carry"
    assert {path.name for path in merged.carry.iterdir()} == {ADAPTER, NUMBERS}
    assert (merged.carry / NUMBERS).read_bytes() == (kept / NUMBERS).read_bytes()
    assert tensors(base).keys() == tensors(merged.weights).keys()
    before, after, low = loaded(base), loaded(merged.weights), vectors(kept)
    for name, value in after.items():
        a, b = (low.get(f"base_model.model.{name.removesuffix('weight')}lora_{part}.weight") for part in "AB")
        wanted = before[name] if a is None or b is None else before[name] + 32 / 16 * b @ a
        assert value.allclose(wanted, atol=1e-6), name


@pytest.mark.slow
def test_the_next_stage_goes_on_with_the_one_adapter_whichever_way_it_was_kept(
    base: Path, first: dict[str, Trained], tmp_path: Path
) -> None:
    kept = train(second(first["sft-lora"], base, tmp_path / "kept", SFT_LORA))
    merged = train(second(first["merged"], base, tmp_path / "merged", MERGED))
    assert merged.carry is not None
    assert (kept.weights / NUMBERS).read_bytes() == (merged.carry / NUMBERS).read_bytes()
    assert (kept.weights / NUMBERS).read_bytes() != (first["sft-lora"].weights / NUMBERS).read_bytes()
    note(kept.weights, base)
    prompts = [(item("test", n).question, (picture(n),)) for n in range(6)]
    replies = []
    for folder in (kept.weights, merged.weights, base):
        with TransformersEngine(folder, SMALL) as engine:
            replies.append(engine.generate(prompts, SMALL.decodings["cot"]))
    assert replies[0] == replies[1] != replies[2]
    chosen = [solvable(job(folder, tmp_path, RIF_RFT, count=4)) for folder in (kept.weights, merged.weights)]
    assert chosen[0] == chosen[1]
    start = trainers.policy(second(first["sft-lora"], base, tmp_path, SFT_LORA))
    for name, value in vectors(first["sft-lora"].weights).items():
        assert start.get_parameter(name.replace(".weight", ".default.weight")).equal(value)


class Killed(Exception):
    """Stands in for SIGKILL."""


def killed_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return report


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", [SFT_LORA, RFT_LORA], ids=lambda paradigm: paradigm.name)
def test_a_killed_stage_goes_on_bit_for_bit(
    base: Path, first: dict[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paradigm: Paradigm
) -> None:
    start = first["sft-lora"]
    made = second(start, base, tmp_path / "whole", paradigm, reference=start.weights if paradigm.kl else None)
    made = replace(made, epochs={"noise": 2})
    whole = train(made)
    monkeypatch.setattr(trainers, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(trainers, "SAVE_SHARE", float("inf"))
    with pytest.raises(Killed):
        train(replace(made, folder=tmp_path / "cut", report=killed_at(3)))
    assert not [path.name for path in (tmp_path / "cut").rglob("*") if path.name in ("ref", "README.md")]
    assert not list((tmp_path / "cut").rglob("training_args.bin"))
    steps: list[Progress] = []
    resumed = train(replace(made, folder=tmp_path / "cut", report=steps.append))
    assert steps[0].step == 3
    assert (whole.weights / NUMBERS).read_bytes() == (resumed.weights / NUMBERS).read_bytes()
    assert replace(whole, weights=resumed.weights) == resumed


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", [SFT_LORA, RFT_LORA], ids=lambda paradigm: paradigm.name)
def test_activations_that_are_computed_again_give_the_same_adapter(
    base: Path, tmp_path: Path, paradigm: Paradigm
) -> None:
    """As on a GPU: nothing below the first adapter asks for a gradient, which must not lose those above it."""
    found = []
    for again in (False, True):
        made = job(base, tmp_path / str(again), paradigm)
        train_one = train_sft if paradigm is SFT_LORA else train_grpo
        found.append(vectors(train_one(made, **{trainers.recomputing(): again}).weights))
    for name, value in found[0].items():
        assert found[1][name].allclose(value, atol=1e-5), name
    assert any(value.any() for name, value in found[1].items() if "lora_B" in name and ".visual." in name)


# The reference of the KL term


def kl_of_the_first_update(made: Job) -> float:
    trainer = grpo_trainer(made)
    with without_renamed():
        trainer.train()
    logs = [entry for entry in trainer.state.log_history if "kl" in entry]
    return float(logs[0]["kl"])


@pytest.mark.slow
def test_the_kl_at_the_first_step_tells_the_reference(base: Path, first: dict[str, Trained], tmp_path: Path) -> None:
    start = first["sft-lora"]

    def asked(paradigm: Paradigm, reference: str, anchor: Path) -> Job:
        made = second(start, base, tmp_path / reference, replace(paradigm, reference=reference), reference=anchor)
        return replace(made, carry=None)

    assert kl_of_the_first_update(asked(RFT_LORA, "previous", start.weights)) == 0
    towards_base = kl_of_the_first_update(asked(RFT_LORA, "base", base))
    full = replace(asked(RFT, "base", base), model=first["merged"].weights, base=None)
    assert towards_base == pytest.approx(kl_of_the_first_update(full), rel=1e-3)
    assert towards_base > 1e-4


# The frozen base


@pytest.mark.slow
def test_the_base_does_not_drift_however_often_weights_are_handed_over(base: Path, first: dict[str, Trained]) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    def fresh(dtype: Any) -> Any:
        model = AutoModelForImageTextToText.from_pretrained(base, dtype=dtype, local_files_only=True)
        return attached(model, first["sft-lora"].weights, trainable=True)

    def frozen(model: Any) -> dict[str, Any]:
        return {name: value.clone() for name, value in inner(model).state_dict().items() if "lora_" not in name}

    def share_moved(model: Any, hand_over: Callable[[Any], object]) -> float:
        before = frozen(model)
        for _ in range(50):
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.data += 1e-4 * torch.randn_like(parameter)
            hand_over(model)
        moved = {name: (value != before[name]).sum() for name, value in frozen(model).items()}
        return float(sum(moved.values()) / sum(value.numel() for value in before.values()))

    def in_place(model: Any) -> None:  # as TRL 1.16 does
        model.merge_adapter()
        model.unmerge_adapter()

    torch.manual_seed(0)
    assert share_moved(fresh(torch.bfloat16), in_place) > 0.01
    assert share_moved(fresh(torch.bfloat16), lambda model: dict(summed_weights(model))) == 0
    handed, merged = dict(summed_weights(fresh(torch.float32))), loaded(first["merged"].weights)
    assert handed.keys() == merged.keys()
    for name, value in merged.items():
        assert handed[name].allclose(value, atol=1e-6), name


@pytest.mark.slow
def test_a_base_frozen_in_bf16_stays_as_it_is_and_is_merged_in_fp32(base: Path, tmp_path: Path) -> None:
    import torch

    half = tmp_path / "half"  # a base that was published in bf16
    shutil.copytree(base, half)
    model = load_model(base, "bfloat16")
    model.save_pretrained(half)
    adapter = replace(MERGED.adapter, frozen="bfloat16")
    for paradigm in (replace(MERGED, adapter=adapter), replace(RFT_LORA, adapter=replace(adapter, keep="adapter"))):
        made = train(job(half, tmp_path / paradigm.name, paradigm))
        folder = made.carry or made.weights
        assert {value.dtype for value in vectors(folder).values()} == {torch.float32}
        assert any(value.any() for name, value in vectors(folder).items() if "lora_B" in name)
    assert {value.dtype for value in loaded(half).values()} == {torch.float32}
    merged, low = loaded(tmp_path / "merged" / "weights"), vectors(tmp_path / "merged" / "weights" / "carry")
    for name, value in loaded(half).items():
        a, b = (low.get(f"base_model.model.{name.removesuffix('weight')}lora_{part}.weight") for part in "AB")
        assert merged[name].allclose(value if a is None or b is None else value + 32 / 16 * b @ a, atol=1e-6), name


# The base that an adapter stands on


@pytest.mark.slow
def test_an_adapter_is_refused_on_another_base_and_without_one(
    base: Path, first: dict[str, Trained], tmp_path: Path
) -> None:
    kept, place = tmp_path / "kept", tmp_path / "base"
    shutil.copytree(first["sft-lora"].weights, kept)
    note(kept, place)
    with pytest.raises(
        UserError, match=r"is an adapter on base .*, which is not in .*: put it back, or give the run's"
    ):
        load_model(kept, "float32")
    shutil.copytree(model_folder(TWIN), place)
    with pytest.raises(UserError, match=r"is an adapter on base .*, but .* holds .*: put it back, or give the run's"):
        load_model(kept, "float32")
    with pytest.raises(UserError, match=r"is an adapter on base"):
        train(replace(second(first["sft-lora"], place, tmp_path / "on", SFT_LORA), carry=None))
    (kept / PLACE).unlink()
    with pytest.raises(UserError, match=r"has no base\.json that says where its base lies"):
        load_model(kept, "float32")
    (kept / ADAPTER).write_text("{")
    note(kept, base)
    with pytest.raises(UserError, match=r"adapter_config\.json is damaged: remove the folder"):
        load_model(kept, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["adapter", "merged"])
def test_a_run_of_adapters_is_kept_checked_moved_and_freed(tmp_path: Path, keep: str) -> None:
    stream = Stream(name="pair", tasks=("gqa", "geometry3k"), epochs={"gqa": 1, "geometry3k": 1}, general=())
    paradigm = replace(SFT_LORA, adapter=Lora(rank=2, alpha=4, keep=keep))
    places = tmp_path / "here" / "base", tmp_path / "there" / "base"
    shutil.copytree(model_folder(TWIN), places[0])
    scale = replace(TWIN, model=str(places[0]), observers=0)
    asked, out = Run(paradigm=paradigm, stream=stream, scale=scale, limit=4), tmp_path / "runs"
    done = run(asked, out)
    assert len({cell.weights for cell in done.cells}) == 3
    assert len(refuse_other_checkpoints(Store(out), read_run(done.folder))) == 2
    made = [path for path in (out / "checkpoints").iterdir() if path.is_dir()]
    assert [(path / ADAPTER).is_file() for path in made] == [keep == "adapter"] * 2
    # The base moves, and what was generated is lost: the same command finds both again.
    places[1].parent.mkdir()
    places[0].rename(places[1])
    shutil.rmtree(out / "replies")
    again = run(replace(asked, scale=replace(scale, model=str(places[1]))), out)
    assert (again.id, again.cells) == (done.id, done.cells)
    (made[0] / "adapter_model.safetensors" if keep == "adapter" else made[0] / "carry" / NUMBERS).write_bytes(b"")
    with pytest.raises(UserError, match="was edited or cut short"):
        run(replace(asked, scale=replace(scale, model=str(places[1])), seed=0), out)
    removed, strangers = collect_garbage(Store(out), 0)
    assert (len(removed), strangers) == (2, ())


@pytest.mark.slow
def test_only_what_a_base_needs_is_written(tmp_path: Path) -> None:
    """The adapter's file is a function of the adapter alone, in whatever order the process holds its targets."""
    import torch
    from peft import LoraConfig, get_peft_model

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    torch.manual_seed(0)
    model = get_peft_model(Two(), LoraConfig(r=2, lora_alpha=4, target_modules=["two", "one"]))
    save_adapter(model, tmp_path / "a", "f" * 64)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {ADAPTER, NUMBERS}
    settings = json.loads((tmp_path / "a" / ADAPTER).read_text())
    assert list(settings) == sorted(settings)
    assert settings["target_modules"] == ["one", "two"]


@pytest.mark.slow
def test_a_program_that_loads_whole_models_gets_one(first: dict[str, Trained], base: Path, tmp_path: Path) -> None:
    folder = first["sft-lora"].weights
    place = whole_model(folder, SMALL, tmp_path / "whole")
    assert not is_adapter(place)
    mine, theirs = loaded(folder), loaded(place)
    assert set(mine) == set(theirs)
    assert all(value.equal(theirs[name]) for name, value in mine.items())
    assert any(not value.equal(theirs[name]) for name, value in loaded(base).items()), "it is not the base"
    words = [load_processor(one, SMALL).tokenizer("What is number 7?")["input_ids"] for one in (folder, place)]
    assert words[0] == words[1]
    assert whole_model(base, SMALL, tmp_path / "none") == base
    assert not (tmp_path / "none").exists()
