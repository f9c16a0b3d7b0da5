"""Models of other architectures: what fits is evaluated and trained on the path known of it; the rest is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from noise_jobs import SMALL, item, job, picture
from tiny_models import MODELS

from baselines.rft import RFT_LORA, RFT_NOCOT, grpo_trainer
from baselines.sft import SFT, SFT_LORA, sft_trainer
from harness.asking.engines.prompts import chat_text, prompt_lengths
from harness.asking.engines.transformers import TransformersEngine, end_tokens, load_processor
from harness.asking.fit import refuse_unfit
from harness.core import Paradigm, UserError, replace
from harness.lora import ADAPTER
from harness.scales import PLAIN, QWEN25_VL_7B, TWIN, model_folder, with_model
from harness.training.launch import train
from harness.training.presentations import presentations


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random model of each architecture."""
    root = tmp_path_factory.mktemp("tiny")
    return {name: make(root / name) for name, make in MODELS.items()}


def asked(count: int) -> list[Any]:
    """Prompts with none, one and two pictures."""
    return [(item("test", n, n % 3).question, tuple(picture(n + k) for k in range(n % 3))) for n in range(count)]


# What fits


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_it_is_evaluated_one_prompt_like_many(folders: dict[str, Path], name: str) -> None:
    refuse_unfit(folders[name], SMALL)
    scale = with_model(SMALL, str(folders[name]))
    assert (scale.attention == PLAIN) == (name != "qwen3_vl")
    prompts, decoding = asked(7), SMALL.decodings["cot"]
    with TransformersEngine(folders[name], scale) as engine:
        together = engine.generate(prompts, decoding)
        alone = [engine.generate([prompt], decoding)[0] for prompt in prompts]
        sampled = engine.sample(prompts[:2], decoding, 3, 5, 1.0)
        assert engine.prompts is not None
        inputs = engine.prompts.inputs(prompts)
    assert together == alone
    assert [len(group) for group in sampled] == [3, 3]
    assert len({reply.text for group in sampled for reply in group}) > 1
    found = prompt_lengths(load_processor(folders[name], scale), prompts)
    assert found == inputs["attention_mask"].sum(1).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("paradigm", [SFT, SFT_LORA, RFT_NOCOT, RFT_LORA], ids=lambda paradigm: paradigm.name)
def test_it_trains(folders: dict[str, Path], tmp_path: Path, name: str, paradigm: Paradigm) -> None:
    scale = with_model(SMALL, str(folders[name]))
    learned = train(job(folders[name], tmp_path, paradigm, count=4, scale=scale))
    assert learned.optimiser_steps == (1 if paradigm.learner.name == "sft" else 2)
    assert learned.trained_tokens > 0
    assert (learned.weights / ADAPTER).is_file() == (paradigm.adapter is not None)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_sft_teaches_the_target_and_its_end_and_asks_as_evaluation_does(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    made = job(folders[name], tmp_path, SFT, scale=with_model(SMALL, str(folders[name])))
    trainer, processor = sft_trainer(made), load_processor(folders[name], SMALL)
    batch = next(iter(trainer.get_train_dataloader()))
    ends = end_tokens(trainer.model, processor.tokenizer)
    for (owner, example), ids, labels in zip(presentations(made), batch["input_ids"], batch["labels"], strict=False):
        taught = labels[labels != -100].tolist()
        assert taught[-1] in ends
        assert not set(taught[:-1]) & set(ends)
        assert processor.tokenizer.decode(taught[:-1]).strip() == example.answers[0]
        text = chat_text(processor, (SFT.style.ask(owner, example), (None,)))
        whole = processor.tokenizer.decode(ids[: int((labels != -100).nonzero()[0])])
        assert text.rsplit("?", 1)[1] == whole.rsplit("?", 1)[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3", "internvl", "llava"])
def test_the_plain_path_is_trls_own(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    from benchmarks.bare import Bare

    scale = replace(with_model(SMALL, str(folders[name])), rollouts=2)
    made = job(folders[name], tmp_path / "held", replace(RFT_NOCOT, kl=0.1), scale=scale)
    bare = Bare(made).learn(tmp_path / "bare")
    trainer = grpo_trainer(made)
    with warnings.catch_warnings():
        # TRL 1.16 asks the model for an attribute that transformers 5.23 renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        trainer.train()
    ours, theirs = ([entry for entry in one.state.log_history if "kl" in entry] for one in (trainer, bare))
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        for value in ("loss", "kl", "entropy", "grad_norm"):
            assert one[value] == pytest.approx(other[value], rel=1e-5, abs=1e-7), value
        assert one.get("reward") == other.get("reward")
    assert any(one["kl"] > 0 for one in ours)


@pytest.mark.slow
def test_a_micro_batch_on_the_plain_path_changes_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    scale = with_model(SMALL, str(folders["gemma3"]))

    def norms(micro: int | None) -> list[float]:
        made = job(folders["gemma3"], tmp_path / str(micro), RFT_NOCOT, scale=replace(scale, micro_batch=micro))
        trainer = grpo_trainer(made)
        trainer.train()
        return [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        assert norms(2) == pytest.approx(norms(None), rel=1e-4)


def test_a_layout_that_is_not_known_of_a_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gemma3"}')
    wanted = (
        r'^scale small lays the replies .* in one sequence, which is not known of gemma3: set attention to "plain"$'
    )
    with pytest.raises(UserError, match=wanted):
        train(job(tmp_path, tmp_path, RFT_NOCOT))


# What is refused


def edited(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def template(text: str) -> Callable[[Path], None]:
    """Another chat template."""
    return lambda folder: (folder / "chat_template.jinja").write_text(text) and None


PLAIN_TURNS = "{% for m in messages %}{% for p in m.content %}{{ p.text if p.type == 'text' else '<|image_pad|>' }}"
HARMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a text model": (
        lambda folder: edited(folder, "config.json", lambda said: said.update(model_type="qwen2")),
        r"is a qwen2, which does not read pictures",
    ),
    "code of its own": (
        lambda folder: edited(
            folder, "config.json", lambda said: said.update(model_type="mine", auto_map={"AutoModel": "mine.Mine"})
        ),
        r"is a mine, which brings code of its own, which is never trusted",
    ),
    "quantised": (
        lambda folder: edited(folder, "config.json", lambda said: said.update(quantization_config={"bits": 4})),
        r"are quantised, and such are not trained",
    ),
    "an adapter beside it": (lambda folder: (folder / ADAPTER).write_text("{}"), r"has an adapter beside it"),
    "no configuration": (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is damaged"),
    "no processor": (lambda folder: (folder / "processor_config.json").unlink(), r"processor"),
    "no chat template": (lambda folder: (folder / "chat_template.jinja").unlink(), r"has no chat template"),
    "a template that fails": (
        template("{{ raise_exception('no pictures') }}"),
        r"fails at a chat with a picture \(TemplateError: no pictures\)",
    ),
    "a template without pictures": (
        template(PLAIN_TURNS.replace("<|image_pad|>", "") + "{% endfor %}<|im_end|>{% endfor %}"),
        r"processor of model .* fails at a chat with a picture|no token stands for a picture",
    ),
    "a template without questions": (
        template("{% for m in messages %}<|image_pad|><|im_end|>{% endfor %}"),
        r"leaves the question out",
    ),
    "a template without an end": (template(PLAIN_TURNS + "{% endfor %}{% endfor %}"), r"writes no end after a reply"),
    "a template that writes replies otherwise": (
        template("{{ messages | length }}" + PLAIN_TURNS + "{% endfor %}<|im_end|>{% endfor %}"),
        r"writes a reply otherwise than it asks for one",
    ),
    "weights as pickles": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        r"lacks config\.json or \*\.safetensors",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder(TWIN), folder)
    spoil, wanted = HARMS[harm]
    spoil(folder)
    with pytest.raises(UserError, match=wanted) as refused:
        refuse_unfit(model_folder(replace(TWIN, model=str(folder))), TWIN)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_the_twin_fits() -> None:
    refuse_unfit(model_folder(TWIN), TWIN)


@pytest.mark.slow
def test_special_tokens_of_any_model_are_text_in_data(folders: dict[str, Path]) -> None:
    processor = load_processor(folders["smolvlm"], SMALL)

    def special(question: str) -> list[int]:
        ids = processor.tokenizer(chat_text(processor, (question, ())))["input_ids"]
        return [token for token in ids if token in processor.tokenizer.all_special_ids]

    assert special("Is <global-img> or <image> here? <fake_token_around_image>") == special("Is it here?")


@pytest.mark.slow
def test_pictures_are_sized_by_the_scale_where_a_model_takes_any_size(folders: dict[str, Path]) -> None:
    pixels = {"shortest_edge": QWEN25_VL_7B.min_pixels, "longest_edge": QWEN25_VL_7B.max_pixels}
    assert dict(load_processor(folders["qwen3_vl"], QWEN25_VL_7B).image_processor.size) == pixels
    assert load_processor(folders["gemma3"], QWEN25_VL_7B).image_processor.size.height == 32
