"""The base that ships: small, stock, and as its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from harness.asking.engines.transformers import TransformersEngine, load_model, load_processor
from harness.asking.styles import STYLES
from harness.scales import TWIN, model_folder
from harness.weights import weights_digest
from tasks.gqa import GQA
from tasks.pope import POPE
from twin_base import pretrain
from twin_base.captions import DESCRIBE, LETTERS, LOOK_UP, ONE_LETTER
from twin_base.measure import bounds, measure_task, table
from twin_base.model import processor_with
from twin_base.pretrain import Recipe, lesson, rate_at, worlds

FOLDER = model_folder(TWIN)
DENSE = (DESCRIBE, LETTERS, LOOK_UP, ONE_LETTER)
CARD = json.loads((FOLDER / "measured.json").read_text())


def test_the_base_is_small_and_stock() -> None:
    from trl.chat_template_utils import qwen2_5_vl_chat_template

    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) <= 8 * 2**20
    assert json.loads((FOLDER / "config.json").read_text())["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
    assert (FOLDER / "chat_template.jinja").read_text() == qwen2_5_vl_chat_template
    processor = json.loads((FOLDER / "processor_config.json").read_text())
    assert processor["image_processor"]["image_processor_type"].startswith("Qwen2VLImageProcessor")
    assert not [file for file in FOLDER.iterdir() if file.suffix in {".bin", ".pt", ".pkl", ".py"}]


def test_the_card_is_about_these_weights_and_its_bounds_follow_from_its_rows() -> None:
    assert CARD["digest"] == weights_digest(FOLDER)
    assert CARD["bounds"] == bounds(CARD["rows"])
    assert table(CARD["rows"]) in (FOLDER / "README.md").read_text()
    assert [row["task"] for row in CARD["rows"][:: len(STYLES)]] == [task.name for task in worlds()]


def test_the_base_that_ships_keeps_every_bound_of_its_card() -> None:
    assert [name for name, holds in CARD["bounds"].items() if not holds] == []


@pytest.mark.slow
@pytest.mark.parametrize("task", [GQA, POPE], ids=lambda task: task.name)
def test_a_few_items_measured_again_agree_with_the_card(task: object) -> None:
    engine = TransformersEngine(FOLDER, TWIN)
    for style in STYLES:
        found = measure_task(engine, task, style, TWIN, 100, 10)  # type: ignore[arg-type]
        (row,) = [row for row in CARD["rows"] if (row["task"], row["style"]) == (found["task"], found["style"])]
        error = (row["accuracy"] * (1 - row["accuracy"]) / 100) ** 0.5
        assert abs(found["accuracy"] - row["accuracy"]) <= 3.5 * error + 0.01


def test_pretraining_takes_tasks_by_turns_and_no_item_twice() -> None:
    tasks = worlds()
    total = 3000
    seen = [lesson(tasks, number, total) for number in range(1000, 2000)]
    assert [item.example.id.split("/")[0] for item in seen[:10]] == [task.name for task in tasks]
    ids = [item.example.id for item in seen]
    assert len(set(ids)) == len(ids)
    assert all("/pretrain/" in name for name in ids)
    dense = [item for item in seen if item.prompt.startswith(DENSE)]
    assert 0.12 < len(dense) / len(seen) < 0.25
    thoughtful = [item for item in seen if item.reply.startswith("<think>")]
    assert 0.4 < len(thoughtful) / (len(seen) - len(dense)) < 0.6


def test_in_the_end_every_question_is_asked_in_both_styles() -> None:
    tasks = worlds()
    for numbers, pairings in ((range(505, 1000, 10), 2), (range(1005, 4000, 10), 4)):
        asked = [lesson(tasks, number, 1000) for number in numbers]
        assert {item.example.id.split("/")[0] for item in asked} == {"pathvqa"}
        told = [item for item in asked if not item.prompt.startswith(DENSE)]
        seen = {(int(item.example.id.rpartition("/")[2]) % 2, item.reply.startswith("<think>")) for item in told}
        assert len(seen) == pairings


def test_dense_lessons_come_first_and_show_no_answer_convention() -> None:
    tasks = worlds()
    first = [lesson(tasks, number, 4000) for number in range(1000)]
    assert all(item.prompt.startswith((LETTERS, ONE_LETTER)) for item in first[:200])
    dense = [item for item in first if item.prompt.startswith(DENSE)]
    assert 0.45 < (len(dense) - 200) / (len(first) - 200) < 0.65
    assert not any("?" in item.prompt.splitlines()[0] for item in dense)
    for item in dense:
        if item.prompt.startswith(ONE_LETTER):
            option = item.prompt.splitlines()[0].removeprefix(f"{ONE_LETTER} ")
            assert f"{item.reply}. {option}" in item.prompt.splitlines()
        if item.prompt.startswith(LETTERS):
            for part in item.reply.removeprefix("so ").split(" , "):
                option, letter = part.rsplit(" is ", 1)
                assert f"{letter}. {option}" in item.prompt.splitlines()


def test_the_rate_warms_up_holds_and_falls_to_a_twentieth() -> None:
    recipe = Recipe(steps=1000, again_steps=200, again_rate=0.4)
    again = [rate_at(recipe, step) for step in range(1000, 1200)]
    assert max(again) == pytest.approx(0.4, rel=0.05)
    assert again[-1] == pytest.approx(1 / 20, rel=0.01)
    rates = [rate_at(recipe, step) for step in range(1000)]
    assert rates[0] == 1 / recipe.warmup
    decays = int(1000 * recipe.decay_from)
    assert rates[recipe.warmup] == rates[decays] == 1
    assert rates[-1] == pytest.approx(1 / 20, rel=0.01)
    assert rates[decays:] == sorted(rates[decays:], reverse=True)


def test_the_folder_is_found_without_importing_tasks() -> None:
    assert Path(__file__).resolve().parents[1] / "twin_base" / "weights" == FOLDER


class _Stopped(Exception):
    """What stops the recipe in the middle."""


@pytest.mark.slow
def test_a_stopped_recipe_continues_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)
    monkeypatch.setattr(pretrain, "average_gradients", lambda model, workers: None)
    recipe = Recipe(steps=3, again_steps=2, batch=10, workers=1)
    folders = []
    for name in ("whole", "stopped"):
        folder = tmp_path / name
        processor_with(AutoTokenizer.from_pretrained(FOLDER)).save_pretrained(folder / "model")
        folders.append(folder)
    pretrain.Worker(0, recipe, folders[0]).train()
    stopped = pretrain.Worker(0, recipe, folders[1])
    step = stopped.step

    def until_three(number: int) -> float:
        if number == 3:
            raise _Stopped
        return step(number)

    monkeypatch.setattr(stopped, "step", until_three)
    with pytest.raises(_Stopped):
        stopped.train()
    again = pretrain.Worker(0, recipe, folders[1])
    assert again.first == 2
    again.train()
    assert weights_digest(folders[0] / "model") == weights_digest(folders[1] / "model")


def test_muon_turns_matrices_towards_orthogonal_ones_and_steps_as_its_equation_says() -> None:
    import torch

    from twin_base.muon import muon, orthogonal

    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 24, 40)))
    assert 0.6 < values.min() < values.max() < 1.3
    weight = torch.nn.Parameter(torch.ones(40, 24))
    weight.grad = torch.randn(40, 24)
    wanted = 0.95 * 0.05 * weight.grad + 0.05 * weight.grad  # Nesterov: the mean once more, mixed with the gradient
    update = orthogonal(wanted.T[None])[0].T
    muon([weight], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(weight, 0.95 * torch.ones(40, 24) - 0.1 * 0.2 * 40**0.5 * update, atol=1e-5)


def test_shaped_weights_look_back_and_find_where_the_word_before_stood() -> None:
    import torch

    from twin_base.model import DISTANCES, model_for

    model = model_for(AutoTokenizer.from_pretrained(FOLDER), 0)
    model.set_attn_implementation("eager")
    words = torch.randperm(200)[:41] + 300
    ids = torch.stack([torch.cat([words[:40], words[n : n + 1], words[40:]]) for n in range(40)])
    seen = model.model(input_ids=ids, output_attentions=True).attentions
    for head, distance in enumerate(DISTANCES):
        places = torch.arange(10, 40)
        assert (seen[0][0, head, places].argmax(-1) == places - distance).float().mean() > 0.8
    found = seen[1][:, 0, 41, :40].argmax(-1)  # among the places before the one that is asked about
    assert (found == torch.arange(40)).float().mean() > 0.5


def test_a_reply_costs_its_own_tokens_alone() -> None:
    import torch

    from twin_base.pretrain import Batches, reply_loss

    model = load_model(FOLDER, TWIN.precision)
    for part in Batches(load_processor(FOLDER, TWIN), worlds(), 100).make(range(10)):
        with torch.inference_mode():
            whole = model(**part).loss * (part["labels"] >= 0).sum()
            assert torch.allclose(reply_loss(model, part), whole, rtol=1e-4)
