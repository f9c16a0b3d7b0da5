"""Writes a handful of real items in the layout of the published data, to try the official loaders on them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import official_files as files

# They may not be copied into the project: a folder that the user names, or one beside the checkout.
REALDATA = Path(os.environ.get("CPT_REALDATA") or Path(__file__).resolve().parents[2] / "shared" / "realdata")
SCIENCEQA_SPLITS = {"train": 13, "validation": 4, "test": 8}
VIZWIZ_SPLITS = {"train": 10, "val": 5}


def items(realdata: Path, task: str, name: str = "items") -> list[dict[str, Any]]:
    """The real items of a task, in the order of their file."""
    return [json.loads(line) for line in (realdata / task / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def write_scienceqa(file: Path, rows: list[dict[str, Any]]) -> None:
    """A file as of lmms-lab/ScienceQA; a row holds image (bytes or None), question, choices, answer and hint."""
    files.write_parquet(file, [files.scienceqa_row(0, **{**row, "image": files.cell(row["image"])}) for row in rows])


def write_vizwiz(folder: Path, split: str, rows: list[dict[str, Any]], pictures: Path) -> None:
    """The official JSON file of a split and its pictures, copied from the folder ``pictures``."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    for row in rows:
        shutil.copyfile(pictures / row["image"], folder / split / row["image"])
    (folder / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")


def write_official_layout(realdata: Path, out: Path) -> None:
    """Writes ``out/scienceqa`` (13 / 4 / 8 items) and ``out/vizwiz`` (train 10, of which one is validation; val 5)."""
    start = 0
    science = items(realdata, "scienceqa")
    for split, count in SCIENCEQA_SPLITS.items():
        rows = [
            {
                "image": (realdata / "scienceqa" / item["image"]).read_bytes(),
                "question": item["question"],
                "choices": item["options"],
                "answer": item["answer"],
                "hint": item["hint"],
            }
            for item in science[start : start + count]
        ]
        write_scienceqa(out / "scienceqa" / f"{split}-00000-of-00001.parquet", rows)
        start += count
    start = 0
    photos = [item["official"] for item in items(realdata, "vizwiz")]
    for split, count in VIZWIZ_SPLITS.items():
        write_vizwiz(out / "vizwiz", split, photos[start : start + count], realdata / "vizwiz" / "images")
        start += count


def write_other_sets(realdata: Path, out: Path) -> None:
    """Writes the test splits of the other eight sets; items whose picture nobody could copy show a drawn one.

    Super-CLEVR is one published split, so there are three drawn pictures more, for its splits share none.
    """

    def picture(task: str, item: dict[str, Any]) -> dict[str, Any] | None:
        return files.cell((realdata / task / item["image"]).read_bytes())

    rows = [
        {**files.geometry3k_row(item["id"], newer=True), "images": [picture("geometry3k", item)],
         "problem": f"<image>{item['question']}", "answer": item["answer"]}
        for item in items(realdata, "geometry3k")
    ]  # fmt: skip
    files.write_parquet(files.part(out / "geometry3k" / "data", "test"), rows, images=("images",))
    asked = items(realdata, "gqa")
    rows = [
        files.gqa_question(0, **{key: item[key] for key in ("id", "imageId", "question", "answer", "fullAnswer")})
        for item in asked
    ]
    files.write_parquet(files.part(out / "gqa" / "testdev_balanced_instructions", "testdev"), rows, images=())
    rows = [{"id": item["imageId"], "image": picture("gqa", item)} for item in asked]
    files.write_parquet(files.part(out / "gqa" / "testdev_balanced_images", "testdev"), rows)
    rows = [mmmu_row(realdata, item) for item in items(realdata, "mmmu")]
    files.write_parquet(files.part(out / "mmmu" / "data", "validation"), rows, [f"image_{n}" for n in range(1, 8)])
    rows = [item["official"] for item in items(realdata, "mmlu_pro")]
    files.write_parquet(files.part(out / "mmlu-pro" / "data", "test"), rows, images=())
    rows = [
        files.super_clevr_row(
            0, item["answer"], id=item["id"], image=picture("super_clevr", item),
            conversations=[
                {"from": "human", "value": f"<image>\nHint: Please answer.\nQuestion: {item['question']}"},
                {"from": "gpt", "value": item["answer"]},
            ],
        )
        for item in items(realdata, "super_clevr")
    ]  # fmt: skip
    rows += [files.super_clevr_row(n) for n in range(3)]
    files.write_parquet(files.part(out / "super-clevr" / "Super-CLEVR(MathV360K)", "train"), rows)
    rows = [
        {"image": files.cell(files.drawn(item["id"])), "question": item["question"], "answer": item["answer"]}
        for item in items(realdata, "pathvqa", "items_text_only")
    ]
    files.write_parquet(files.part(out / "pathvqa" / "data", "test"), rows)
    keys = ("image_id", "question", "answers")
    rows = [
        files.textvqa_row(item["id"] - 34602, **{key: item[key] for key in keys}, ocr_tokens=tokens(item))
        for item in items(realdata, "textvqa", "items_text_only")
    ]
    files.write_parquet(files.part(out / "textvqa" / "data", "validation"), rows)
    rows = [
        {**files.pope_row(number, item["category"]), "question_id": item["id"], "question": item["question"],
         "answer": item["answer"], "image_source": item["image_source"],
         "image": picture("pope", item) if item["image"] else files.cell(files.drawn(number))}
        for number, item in enumerate(items(realdata, "pope") + items(realdata, "pope", "items_text_only"))
    ]  # fmt: skip
    files.write_parquet(files.part(out / "pope" / "data", "test"), rows)


def tokens(item: dict[str, Any]) -> list[str]:
    """The OCR tokens of a real TextVQA item."""
    return [token.strip() for token in item["ocr_tokens_llava"].split(",") if token.strip()]


def mmmu_row(realdata: Path, item: dict[str, Any]) -> dict[str, Any]:
    """A real MMMU item as the hub's row: its options as the text of a Python list, its pictures in their columns."""
    shown = {}
    for name, one in item["images"].items():
        file = realdata / "mmmu" / one["image"]
        shown[name] = files.cell(file.read_bytes() if file.is_file() else files.drawn(int(name[-1])))
    columns = {f"image_{n}": shown.get(f"image_{n}") for n in range(1, 8)}
    options = repr(item["options"])
    return files.mmmu_row(
        0, id=item["id"], question=item["question"], options=options, answer=item["answer"], **columns
    )
