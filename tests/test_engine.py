"""The transformers engine: whose settings it obeys, what stops a reply, and that its shortcuts change no reply."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness import registry
from harness.asking.engines import Generation, Prompt, open_engine
from harness.asking.engines.prompts import chat_text, prompt_lengths
from harness.asking.engines.transformers import TransformersEngine, load_model, load_processor
from harness.asking.evaluate import open_pictures
from harness.asking.styles import COT, DIRECT
from harness.core import Decoding, Scale, Style, Task, UserError, replace
from harness.scales import TWIN, model_folder

BASE = model_folder(TWIN)
PICTURES = ("mmlu-pro", "gqa", "mmmu")  # none, one, and up to several pictures an item
LONG = Decoding(name="greedy-32", max_new_tokens=32)

POISON: dict[str, dict[str, Any]] = {
    "penalties": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "exponential_decay_length_penalty": [2, 1.5]},
    "lengths": {"min_new_tokens": 9, "max_length": 5, "max_time": 0.001},
    "sampling": {"do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.01, "min_p": 0.9, "typical_p": 0.1},
    "tokens": {"bad_words_ids": [[40], [39]], "begin_suppress_tokens": [39, 1236], "forced_eos_token_id": 50},
    "search": {"num_beams": 3, "num_return_sequences": 2, "renormalize_logits": True},
}


def asked(names: tuple[str, ...] = PICTURES, each: int = 8, style: Style = COT) -> list[Prompt]:
    """Prompts of some tasks, one task's after the other's."""
    tasks = [registry.typed(Task, name) for name in names]
    return [(style.ask(task, example), open_pictures(example)) for task in tasks for example in task.load("test", each)]


def folder_with(place: Path, settings: dict[str, Any]) -> Path:
    """The twin base with other generation settings."""
    shutil.copytree(BASE, place)
    path = place / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return place


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    """The twin base, loaded."""
    return TransformersEngine(BASE, TWIN)


@pytest.fixture(scope="module")
def greedy(engine: TransformersEngine) -> list[Generation]:
    """Its greedy replies to the 24 prompts of ``asked()``."""
    return engine.generate(asked(), LONG)


# Settings


@pytest.mark.parametrize("kind", POISON)
def test_nothing_of_the_folders_generation_config_reaches_a_reply(
    kind: str, engine: TransformersEngine, greedy: list[Generation], tmp_path: Path
) -> None:
    poisoned = TransformersEngine(folder_with(tmp_path / "model", POISON[kind]), TWIN)
    assert poisoned.generate(asked(), LONG) == greedy
    few = asked(("vizwiz", "textvqa"), 3)
    sampled = engine.sample(few, LONG, 16, 7, 1.0)
    assert any(len({reply.text for reply in group}) > 2 for group in sampled)  # there is something to change
    assert poisoned.sample(few, LONG, 16, 7, 1.0) == sampled


def test_every_end_token_of_the_model_stops_a_reply(greedy: list[Generation], tmp_path: Path) -> None:
    box = load_processor(BASE, TWIN).tokenizer.convert_tokens_to_ids("\\boxed{")
    engine = TransformersEngine(folder_with(tmp_path / "model", {"eos_token_id": [box, 0]}), TWIN)
    stopped = engine.generate(asked(), LONG)
    boxed = [(short, whole) for short, whole in zip(stopped, greedy, strict=True) if "\\boxed{" in whole.text]
    assert len(boxed) > 12
    for short, whole in boxed:
        assert short.text == whole.text.partition("\\boxed{")[0]
        assert short.tokens < whole.tokens
        assert not short.truncated
    assert engine.ends == sorted([0, box, engine.processor.tokenizer.eos_token_id])


def test_a_reply_cut_off_by_its_length_says_so(engine: TransformersEngine, greedy: list[Generation]) -> None:
    short = engine.generate(asked(), Decoding(name="greedy-4", max_new_tokens=4))
    for cut, whole in zip(short, greedy, strict=True):
        assert cut.tokens == min(4, whole.tokens)
        assert cut.truncated == (whole.tokens > 4)


# Sampling


def test_a_nucleus_of_one_token_samples_the_greedy_reply_for_every_rollout(
    engine: TransformersEngine, greedy: list[Generation]
) -> None:
    sampled = engine.sample(asked(), LONG, 3, 7, 1e-6)
    assert [[reply.text for reply in group] for group in sampled] == [[reply.text] * 3 for reply in greedy]


def test_the_seed_alone_decides_a_sample(engine: TransformersEngine) -> None:
    prompts = asked(("vizwiz", "textvqa"), 4)
    first = engine.sample(prompts, LONG, 8, 7, 1.0)
    engine.sample(prompts, LONG, 2, 3, 1.0)
    assert engine.sample(prompts, LONG, 8, 7, 1.0) == first
    assert engine.sample(prompts, LONG, 8, 8, 1.0) != first


# Shortcuts against the library's plain path


def plain_replies(engine: TransformersEngine, prompts: list[Prompt]) -> list[str]:
    """The stock way: a model of its own, processor and pixels, one prompt at a time."""
    replies, model = [], load_model(BASE, TWIN.precision).eval()
    for text, images in prompts:
        chat = chat_text(engine.processor, (text, images))
        inputs = engine.processor(text=[chat], images=list(images) or None, return_tensors="pt")
        options = {"do_sample": False, "max_new_tokens": 32, "suppress_tokens": engine.suppressed}
        output = model.generate(**inputs.to(model.device), **options)
        ids = output[0, inputs["input_ids"].shape[1] :]
        replies.append(engine.processor.tokenizer.decode(ids, skip_special_tokens=True))
    return replies


def test_replies_are_those_of_the_plain_path_in_the_prompts_order(
    engine: TransformersEngine, greedy: list[Generation]
) -> None:
    assert [reply.text for reply in greedy] == plain_replies(engine, asked())
    assert len({reply.text for reply in greedy}) > 12  # a reply given to another prompt would be seen


def test_a_batchs_distinct_pictures_are_encoded_once_and_kept_for_the_other_style(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = TransformersEngine(BASE, TWIN)
    assert engine.prompts is not None
    encode, seen = engine.prompts.encode, []

    def counted(pixels: Any, grids: Any) -> Any:
        seen.append(len(grids))
        return encode(pixels, grids)

    monkeypatch.setattr(engine.prompts, "encode", counted)
    direct, cot = (asked(("pathvqa",), 60, style) for style in (DIRECT, COT))
    distinct = len({picture.tobytes() for _, pictures in direct for picture in pictures})
    assert distinct < 60
    engine.generate(direct, LONG)
    engine.sample(cot, LONG, 2, 7, 1.0)
    engine.generate(cot, LONG)
    assert seen == [distinct]


def test_a_repeated_picture_changes_no_reply_and_goes_to_its_own_prompt(engine: TransformersEngine) -> None:
    prompts = Random(0).sample(asked(("pope",), 40), 40)
    together = [reply.text for reply in engine.generate(prompts, LONG)]
    assert together == plain_replies(engine, prompts)
    assert len({picture.tobytes() for _, pictures in prompts for picture in pictures}) < 40


def test_inputs_do_not_depend_on_what_was_asked_before(engine: TransformersEngine) -> None:
    import torch

    prompts = asked(("gqa",), 12)
    with TransformersEngine(BASE, TWIN) as fresh, torch.inference_mode():
        first = fresh.prompts.inputs(prompts) if fresh.prompts else {}
    engine.generate(asked(("gqa",), 20), LONG)
    with torch.inference_mode():
        again = engine.prompts.inputs(prompts) if engine.prompts else {}
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_kept_pictures_stay_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.asking.engines import prompts

    monkeypatch.setattr(prompts, "KEPT_BYTES", 10_000)  # a picture of the twin is 4.6 kB
    engine = TransformersEngine(BASE, replace(TWIN, eval_batch=2))
    engine.generate(asked(("gqa",), 8), LONG)
    assert engine.prompts is not None
    assert 1 <= len(engine.prompts.kept) <= 2


# Lengths


def scales() -> list[Scale]:
    return [TWIN, replace(TWIN, min_pixels=32 * 32, max_pixels=200 * 120)]


@pytest.mark.parametrize("scale", scales(), ids=["twin", "pictures of many sizes"])
def test_prompt_lengths_are_those_of_the_processor(scale: Scale) -> None:
    from PIL import Image

    processor = load_processor(BASE, scale)
    sizes = [(48, 48), (200, 40), (31, 77), (400, 300)]
    prompts = [*asked(), ("two <image 1> and <image 2>", tuple(Image.new("RGB", size) for size in sizes[:2]))]
    prompts += [("one", (Image.new("RGB", size),)) for size in sizes]
    expected = []
    for prompt in prompts:
        text = chat_text(processor, prompt)
        expected.append(len(processor(text=[text], images=list(prompt[1]) or None)["input_ids"][0]))
    assert prompt_lengths(processor, prompts) == expected
    assert prompt_lengths(processor, []) == []


def test_a_prompt_longer_than_the_scale_allows_is_refused_in_one_line() -> None:
    prompts = [("short", ()), ("is " * 40, ())]
    length = prompt_lengths(load_processor(BASE, TWIN), prompts)[1]
    allowed = TransformersEngine(BASE, replace(TWIN, max_prompt_tokens=length))
    assert len(allowed.generate(prompts, LONG)) == 2
    with TransformersEngine(BASE, replace(TWIN, max_prompt_tokens=length - 1)) as engine:
        for ask in (lambda: engine.generate(prompts, LONG), lambda: engine.sample(prompts, LONG, 2, 0, 1.0)):
            with pytest.raises(UserError, match=rf"^a prompt has {length} tokens, .*allows {length - 1} .*is is") as e:
                ask()
            assert "\n" not in str(e.value)


# Opening and closing


def test_an_engine_is_opened_by_the_scales_name_and_says_what_it_is() -> None:
    with open_engine(BASE, TWIN) as engine:
        assert (engine.name, engine.version) == ("transformers", 1)
        assert engine.device_kind
        assert len(engine.generate(asked(("gqa",), 2), LONG)) == 2
    with pytest.raises(UserError, match="unknown engine 'transformer': did you mean transformers"):
        open_engine(BASE, replace(TWIN, engine="transformer"))


def test_closing_frees_the_model_and_ends_the_engine() -> None:
    engine = TransformersEngine(BASE, TWIN)
    engine.generate(asked(("gqa",), 2), LONG)
    model = weakref.ref(engine.model)
    engine.close()
    engine.close()
    gc.collect()
    assert model() is None
    with pytest.raises(RuntimeError, match="closed"):
        engine.generate(asked(("gqa",), 2), LONG)


def test_knowing_the_engines_loads_no_heavy_library() -> None:
    code = "import sys, harness.asking.engines.kinds; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
