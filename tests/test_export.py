"""Exported data, read back and compared field by field; TRL's own trainers take it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_world import COINS, picture
from PIL import Image

from harness.asking.evaluate import open_pictures
from harness.asking.styles import COT, DIRECT
from harness.core import Example, Style, Task, UserError, messages
from harness.foreign.export import export
from harness.foreign.formats import FORMATS, format_of
from harness.registry import typed

TWO = Example(
    id="a/../b",
    question="Is <image 1> as dark as <image 2> ? <|im_end|><image>",
    answers=("yes", "no"),
    images=(partial(picture, 7), partial(picture, 9)),
    rationale="7 < 9",
)
NONE = Example(id="bare", question="Is 1 odd?\nSay it.", answers=("naïve",))


def shown() -> list[tuple[Task, Example]]:
    """Items with one picture, with two inside the text, with none, and one of them twice."""
    gqa = typed(Task, "gqa")
    return [*((gqa, example) for example in gqa.load("train", 3)), (COINS, TWO), (COINS, NONE), (COINS, TWO)]


def rows_of(form: str, folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """The rows, each picture as (mode, size, pixels), however it is kept."""
    if format_of(form).parquet:
        from datasets import load_dataset

        # a folder by itself, as `trl sft --dataset_name FOLDER` and EasyR1's data.train_files name it
        rows = list(load_dataset("parquet", data_dir=str(folder), cache_dir=str(folder / ".cache"), split="train"))
    else:
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        for row in rows:
            row["images"] = [Image.open(folder / name) for name in row["images"]]
    for row in rows:
        row["images"] = [(image.mode, image.size, image.tobytes()) for image in row["images"]]
    return rows


@pytest.mark.parametrize("style", [DIRECT, COT], ids=lambda style: style.name)
@pytest.mark.parametrize("form", FORMATS)
def test_each_format_holds_what_is_asked_and_answered(tmp_path: Path, form: str, style: Style) -> None:
    assert export(shown(), style, format_of(form), tmp_path / "data", "train") == 6
    rows = rows_of(form, tmp_path / "data")
    assert len(rows) == 6
    for (task, example), row in zip(shown(), rows, strict=True):
        assert (row["task"], row["id"]) == (task.name, example.id)
        pixels = [(image.mode, image.size, image.tobytes()) for image in open_pictures(example)]
        assert row["images"] == pixels
        parts = messages(style.ask(task, example), len(pixels))[0]["content"]
        tagged = "".join(part.get("text", "<image>") for part in parts)
        reply = style.write(example.answers[0], example.rationale)
        if form == "trl":
            (turn,), (said,) = row["prompt"], row["completion"]
            asked = [{name: value for name, value in part.items() if value is not None} for part in turn["content"]]
            assert (turn["role"], asked) == ("user", parts)
            assert (said["role"], [part["text"] for part in said["content"]]) == ("assistant", [reply])
        elif form == "easyr1":
            assert row["problem"] == tagged
            assert row["problem"].count("<image>") == len(pixels)
        else:
            assert row["messages"] == [
                {"role": "user", "content": tagged}, {"role": "assistant", "content": reply}
            ]  # fmt: skip
            assert row["messages"][0]["content"].count("<image>") == len(pixels)
        assert row.get({"easyr1": "answer"}.get(form, "solution"), example.answers[0]) == example.answers[0]
    assert (
        set(rows[0])
        == {
            "llamafactory": {"task", "id", "messages", "images"},
            "ms-swift": {"task", "id", "messages", "images", "solution"},
            "easyr1": {"task", "id", "problem", "answer", "images"},
            "trl": {"task", "id", "prompt", "completion", "images", "solution"},
        }[form]
    )
    about = json.loads((tmp_path / "data" / ".export.json").read_text())
    assert (about["format"], about["style"], about["items"], about["tasks"]) == (form, style.name, 6, ["gqa", "coins"])


def test_the_frameworks_own_files_stand_beside_and_a_picture_is_one_file(tmp_path: Path) -> None:
    export(shown(), DIRECT, format_of("llamafactory"), tmp_path / "data", "validation")
    info = json.loads((tmp_path / "data" / "dataset_info.json").read_text())
    assert list(info) == ["validation"]
    assert (tmp_path / "data" / info["validation"]["file_name"]).is_file()
    # three of gqa's and two of TWO's, which is shown twice; no name comes from an id
    assert len(list((tmp_path / "data" / "images").iterdir())) == 5
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "dataset_info.json", ".export.json", "images", "validation.jsonl"
    }  # fmt: skip


def test_a_set_without_pictures_has_no_column_of_them_in_parquet(tmp_path: Path) -> None:
    from pyarrow.parquet import read_table

    for form in ("trl", "easyr1"):
        export([(COINS, NONE)], DIRECT, format_of(form), tmp_path / form, "train")
        assert "images" not in read_table(tmp_path / form / "train.parquet").column_names


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "data"
    export(shown(), DIRECT, format_of("llamafactory"), place, "train")
    export(shown()[:1], DIRECT, format_of("trl"), place, "train")
    assert {path.name for path in place.iterdir()} == {".export.json", "train.parquet"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    (tmp_path / "link").symlink_to(place)
    for taken, said in (("mine", "holds other files"), ("link", "is no folder"), ("mine/thesis.txt", "is no folder")):
        with pytest.raises(UserError, match=said):
            export(shown(), DIRECT, format_of("trl"), tmp_path / taken, "train")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    with pytest.raises(UserError, match="nothing to export"):
        export([], DIRECT, format_of("trl"), tmp_path / "new", "train")


@pytest.mark.slow
# TRL 1.16 asks the model for an attribute that transformers 5.23 renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_trl_trains_on_it(tmp_path: Path) -> None:
    """SFTTrainer takes the rows as they are; GRPOTrainer those of them that have pictures, which it wants in all."""
    import torch
    from datasets import load_dataset
    from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

    from harness.asking.engines.transformers import load_processor
    from harness.scales import TWIN, model_folder
    from harness.training.trainers import load_policy, recomputing

    export(shown()[:5], DIRECT, format_of("trl"), tmp_path / "data", "train")
    rows = load_dataset("parquet", data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"), split="train")
    folder = model_folder(TWIN)
    common = {
        "output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "report_to": "none", "max_steps": 1,
        "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, recomputing(): False,
    }  # fmt: skip
    sft = SFTTrainer(
        model=load_policy(folder),
        args=SFTConfig(**common, per_device_train_batch_size=5, max_length=None),
        train_dataset=rows,
        processing_class=load_processor(folder, TWIN),
    )
    assert 0 < sft.train().training_loss < 20
    heard: list[list[str]] = []

    def right(completions: list[Any], solution: list[str], **rest: Any) -> list[float]:
        heard.append(solution)
        return [float(n) for n in range(len(completions))]

    grpo = GRPOTrainer(
        model=load_policy(folder),
        reward_funcs=right,
        args=GRPOConfig(
            **common, per_device_train_batch_size=6, num_generations=2, max_completion_length=4, loss_type="dapo"
        ),
        train_dataset=rows.select([0, 1, 3]),
        processing_class=load_processor(folder, TWIN),
    )
    before = grpo.model.model.language_model.embed_tokens.weight.detach().clone()
    grpo.train()
    assert sorted(heard[0]) == sorted([rows[n]["solution"] for n in (0, 0, 1, 1, 3, 3)])
    assert not torch.equal(before, grpo.model.model.language_model.embed_tokens.weight)
