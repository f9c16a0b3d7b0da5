"""Writes small files with exactly the official columns for all ten data sets, as the hub and the official sites do.

``write_all(folder)`` makes a folder for ``--data`` with each set in the hub's layout, where it has one. The functions
of single sets write other layouts too. Pictures are 40 x 30, each of a colour of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

SIZES = {"train": 24, "validation": 4, "test": 16}
SUBJECTS = (
    "biology", "business", "chemistry", "computer science", "economics", "engineering", "health", "history", "law",
    "math", "other", "philosophy", "physics", "psychology",
)  # fmt: skip
CATEGORIES = ("adversarial", "popular", "random")
TEN = ["red"] * 6 + ["dark red", "blue", "crimson", ""]


def colour(number: int) -> tuple[int, int, int]:
    """A colour that no other number below 60,000 has, and none nearly."""
    return number * 7 % 251, 60, number * 53 % 251


def drawn(number: int, kind: str = "PNG") -> bytes:
    """A picture of the colour of a number."""
    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", (40, 30), colour(number)).save(buffer, kind, **({"quality": 100} if kind == "JPEG" else {}))
    return buffer.getvalue()


def cell(content: bytes | None, path: str | None = None) -> dict[str, Any] | None:
    """A picture as a parquet file of the hub holds it."""
    return None if content is None else {"bytes": content, "path": path}


def write_parquet(file: Path, rows: Sequence[dict[str, Any]], images: Sequence[str] = ("image",)) -> Path:
    """Rows as a parquet file with the picture type of the hub and small row groups; ``images`` may hold lists."""
    import pyarrow
    import pyarrow.parquet

    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.Table.from_pylist(list(rows))
    for name in images:
        kind = pyarrow.list_(picture) if isinstance(rows[0][name], list) else picture
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pyarrow.array([row[name] for row in rows], type=kind))
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, file, row_group_size=3)
    return file


def part(folder: Path, prefix: str) -> Path:
    """The name that the hub gives the only file of a split."""
    return folder / f"{prefix}-00000-of-00001.parquet"


def scienceqa_row(number: int, **changes: Any) -> dict[str, Any]:
    """A row of lmms-lab/ScienceQA."""
    extra = ("task", "grade", "subject", "topic", "category", "skill", "lecture")
    row = {
        "image": cell(drawn(number), "image.png"), "question": f"Which of the {number} is heavier?",
        "choices": ["this", "that", "both"], "answer": number % 3, "hint": "Look closely." if number % 2 else "",
        **dict.fromkeys(extra, "x"), "solution": "The heavy side goes down.",
    }  # fmt: skip
    return {**row, **changes}


def write_scienceqa(folder: Path, place: str = "ScienceQA-IMG") -> None:
    """lmms-lab/ScienceQA; ``data`` is derek-thomas/ScienceQA, where every fourth row has no picture."""
    start = 0
    for split, size in SIZES.items():
        rows = [scienceqa_row(number) for number in range(start, start + size)]
        if place == "data":
            blank = [scienceqa_row(900 + n, image=None) for n in range(size // 3)]
            rows = [
                row for n, kept in enumerate(rows) for row in ([blank.pop()] if n % 3 == 2 and blank else []) + [kept]
            ]
        write_parquet(part(folder / place, split), rows)
        start += size


def textvqa_row(number: int, ocr: bool = True, **changes: Any) -> dict[str, Any]:
    """A row of lmms-lab/textvqa, or of facebook/textvqa without ``ocr``; two questions share a picture."""
    tokens = {"ocr_tokens": ["STOP", str(number // 2)]} if ocr else {}
    row = {
        "image_id": f"{number // 2:016x}", "question_id": 34602 + number, "question": f"what does sign {number} say?",
        "question_tokens": ["what"], "image": cell(drawn(number // 2, "JPEG"), "a.jpg"), "image_width": 40,
        "image_height": 30, "flickr_original_url": "https://x", "flickr_300k_url": "https://x", "answers": list(TEN),
        "image_classes": ["Sign"], "set_name": "train", **tokens,
    }  # fmt: skip
    return {**row, **changes}


def write_textvqa(folder: Path, ocr: bool = True) -> None:
    """lmms-lab/textvqa, or facebook/textvqa without ``ocr``."""
    write_parquet(part(folder / "data", "train"), [textvqa_row(n, ocr) for n in range(SIZES["train"])])
    rows = [textvqa_row(n, ocr, set_name="val") for n in range(1000, 1000 + SIZES["test"])]
    write_parquet(part(folder / "data", "validation"), rows)


def write_textvqa_json(folder: Path) -> None:
    """The official JSON files and pictures of TextVQA, with the Rosetta OCR tokens."""
    (folder / "train_images").mkdir(parents=True, exist_ok=True)
    for split, start, size in (("train", 0, SIZES["train"]), ("val", 1000, SIZES["test"])):
        rows = [textvqa_row(n) for n in range(start, start + size)]
        for row in rows:
            (folder / "train_images" / f"{row['image_id']}.jpg").write_bytes(row["image"]["bytes"])
        kept = [{key: row[key] for key in row if key not in ("image", "ocr_tokens")} for row in rows]
        seen = [{key: row[key] for key in ("image_id", "ocr_tokens")} for row in rows]
        for name, data in (("TextVQA_0.5.1", kept), ("TextVQA_Rosetta_OCR_v0.2", seen)):
            (folder / f"{name}_{split}.json").write_text(json.dumps({"data": data}), encoding="utf-8")


def vizwiz_item(number: int, split: str = "train", **changes: Any) -> dict[str, Any]:
    """An item of VizWiz's official JSON."""
    answers = [{"answer": answer, "answer_confidence": "yes"} for answer in TEN]
    row = {"image": f"VizWiz_{split}_{number:08}.jpg", "question": f"What is this, {number}?", "answers": answers}
    return {**row, "answer_type": "other", "answerable": 1, **changes}


def write_vizwiz(folder: Path) -> None:
    """The official JSON files of VizWiz with their pictures."""
    for split, size in (("train", SIZES["train"]), ("val", SIZES["test"])):
        (folder / split).mkdir(parents=True, exist_ok=True)
        items = [vizwiz_item(number, split) for number in range(size)]
        for number, item in enumerate(items):
            (folder / split / item["image"]).write_bytes(drawn(number, "JPEG"))
        (folder / f"{split}.json").write_text(json.dumps(items), encoding="utf-8")


def write_vizwiz_parquet(folder: Path) -> None:
    """lmms-lab/VizWiz-VQA, which has the val split (and a test split without answers)."""
    rows = [
        {"question_id": f"VizWiz_val_{n:08}.jpg", "image": cell(drawn(n)), "question": f"What is this, {n}?",
         "answers": list(TEN), "category": "other"}
        for n in range(SIZES["test"])
    ]  # fmt: skip
    write_parquet(part(folder / "data", "val"), rows)


def gqa_question(number: int, **changes: Any) -> dict[str, Any]:
    """A row of lmms-lab/GQA's instructions; three questions share a picture."""
    row = {
        "id": f"{20000000 + number}", "imageId": f"n{number // 3}", "question": f"What color is thing {number}?",
        "answer": "red", "fullAnswer": "It is red.", "isBalanced": True, "groups": {"global": "thing", "local": "x"},
        "entailed": "", "equivalent": "[]", "types": {"structural": "query", "semantic": "attr", "detailed": "x"},
        "annotations": {"answer": [], "question": [], "fullAnswer": []}, "semantic": [{"operation": "select"}],
        "semanticStr": "select",
    }  # fmt: skip
    return {**row, **changes}


def write_gqa(folder: Path) -> None:
    """lmms-lab/GQA's balanced configurations, pictures in another order than questions."""
    for start, (split, size) in enumerate((("train", "train"), ("val", "validation"), ("testdev", "test"))):
        questions = [gqa_question(1000 * start + n) for n in range(SIZES[size])]
        write_parquet(part(folder / f"{split}_balanced_instructions", split), questions, images=())
        shown = sorted({question["imageId"] for question in questions}, reverse=True)
        pictures = [{"id": name, "image": cell(drawn(int(name[1:]), "JPEG"))} for name in shown]
        write_parquet(part(folder / f"{split}_balanced_images", split), pictures)


def geometry3k_row(number: int, newer: bool = False, **changes: Any) -> dict[str, Any]:
    """A row of hiyouga/geometry3k, of an older or a newer version."""
    more = {"id": number, "choices": ["1", "2", "3", "4"], "ground_truth": "A"} if newer else {}
    row = {"images": [cell(drawn(number))], "problem": f"<image>Find $x_{number}$.", "answer": "2 \\sqrt { 3 }"}
    return {**row, **more, **changes}


def write_geometry3k(folder: Path, newer: bool = False) -> None:
    """hiyouga/geometry3k."""
    for start, (split, size) in enumerate(SIZES.items()):
        rows = [geometry3k_row(1000 * start + n, newer) for n in range(size)]
        write_parquet(part(folder / "data", split), rows, images=("images",))


def write_pathvqa(folder: Path) -> None:
    """flaviagiammarino/path-vqa; two questions share a picture."""
    for start, (split, size) in enumerate(SIZES.items()):
        rows = [
            {"image": cell(drawn(500 * start + n // 2, "JPEG")), "question": f"is finding {n} present?",
             "answer": "yes" if n % 2 else "early (reversible) injury"}
            for n in range(size)
        ]  # fmt: skip
        write_parquet(part(folder / "data", split), rows)


def super_clevr_row(number: int, answer: str = "3", **changes: Any) -> dict[str, Any]:
    """A row of MathV360K's slice in lmms-lab/LLaVA-OneVision-Data."""
    hint = "Hint: Please answer the question requiring an integer answer and provide the final value."
    asked = f"<image>\n{hint}\nQuestion: How many buses are near thing {number}?"
    row = {
        "id": f"superCLEVR_{number:06}", "image": cell(drawn(number)),
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}],
        "data_source": "Super-CLEVR(MathV360K)",
    }  # fmt: skip
    return {**row, **changes}


def write_super_clevr(folder: Path) -> None:
    """The slice in two files, as the hub has it in six."""
    total = 2 * (SIZES["train"] + SIZES["test"])
    rows = [super_clevr_row(n, ("3", "Yes", "True", "rubber")[n % 4]) for n in range(total)]
    for place, half in enumerate((rows[: total // 2], rows[total // 2 :])):
        write_parquet(folder / "Super-CLEVR(MathV360K)" / f"train-0000{place}-of-00002.parquet", half)


def mmmu_row(number: int, split: str = "validation", subject: str = "Music", **changes: Any) -> dict[str, Any]:
    """A row of MMMU: two pictures of seven, every fourth question open."""
    open_ended = number % 4 == 3
    row = {
        "id": f"{split}_{subject}_{number}", "question": f"Which is like <image 1>, number {number}?",
        "options": "[]" if open_ended else "['<image 2>', \"it's none\", 'both']", "explanation": "",
        **{f"image_{n}": cell(drawn(10 * number + n)) if n < 3 else None for n in range(1, 8)},
        "img_type": "['Sheet Music']", "answer": "1.5" if open_ended else "B", "topic_difficulty": "Easy",
        "question_type": "open" if open_ended else "multiple-choice", "subfield": "Music",
    }  # fmt: skip
    return {**row, **changes}


def write_mmmu(folder: Path, subjects: Sequence[str] = ()) -> None:
    """lmms-lab/MMMU, or MMMU/MMMU with a folder for each of ``subjects``."""
    images = [f"image_{n}" for n in range(1, 8)]
    for split, size in (("dev", SIZES["validation"]), ("validation", SIZES["test"])):
        for subject in subjects or ("Music",):
            rows = [mmmu_row(n, split, subject) for n in range(size)]
            write_parquet(part(folder / (subject if subjects else "data"), split), rows, images)


def mmlu_pro_row(number: int, **changes: Any) -> dict[str, Any]:
    """A row of TIGER-Lab/MMLU-Pro; categories take turns."""
    row = {
        "question_id": number, "question": f"Which of these is number {number}?",
        "options": [f"option {n}" for n in range(3 + number % 8)], "answer": "C", "answer_index": 2,
        "cot_content": "A: Let's think step by step. The answer is (C).", "category": SUBJECTS[number % 14], "src": "x",
    }  # fmt: skip
    return {**row, **changes}


def write_mmlu_pro(folder: Path) -> None:
    """TIGER-Lab/MMLU-Pro, with every subject in both splits, five of each in validation, as lm-eval wants them."""
    write_parquet(part(folder / "data", "validation"), [mmlu_pro_row(n) for n in range(70)], images=())
    write_parquet(part(folder / "data", "test"), [mmlu_pro_row(n) for n in range(100, 128)], images=())


def pope_row(number: int, category: str, **changes: Any) -> dict[str, Any]:
    """A row of lmms-lab/POPE; six questions share a picture."""
    source = f"COCO_val2014_{number // 6:012}"
    row = {
        "id": str(number), "question_id": str(number + 1), "question": f"Is there a thing {number} in the image?",
        "answer": "yes" if number % 2 else "no", "image_source": source, "image": cell(drawn(number // 6, "JPEG")),
        "category": category,
    }  # fmt: skip
    return {**row, **changes}


def write_pope(folder: Path, config: str = "data") -> None:
    """lmms-lab/POPE, config default ("data") or "Full"."""
    rows = {category: [pope_row(n, category) for n in range(12)] for category in CATEGORIES}
    if config == "Full":
        for category in CATEGORIES:
            write_parquet(part(folder / "Full", category), rows[category])
    else:
        write_parquet(part(folder / "data", "test"), [row for category in CATEGORIES for row in rows[category]])


def write_pope_json(folder: Path) -> None:
    """POPE's official lists and COCO's pictures."""
    (folder / "val2014").mkdir(parents=True, exist_ok=True)
    for category in CATEGORIES:
        lines = []
        for row in (pope_row(n, category) for n in range(12)):
            name = f"{row['image_source']}.jpg"
            (folder / "val2014" / name).write_bytes(row["image"]["bytes"])
            line = {
                "question_id": int(row["question_id"]),
                "image": name,
                "text": row["question"],
                "label": row["answer"],
            }
            lines.append(json.dumps(line))
        (folder / f"coco_pope_{category}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")


WRITERS = {
    "scienceqa": write_scienceqa,
    "textvqa": write_textvqa,
    "vizwiz": write_vizwiz,
    "gqa": write_gqa,
    "geometry3k": write_geometry3k,
    "pathvqa": write_pathvqa,
    "super-clevr": write_super_clevr,
    "mmmu": write_mmmu,
    "mmlu-pro": write_mmlu_pro,
    "pope": write_pope,
}


def write_all(folder: Path) -> None:
    """A folder for ``--data`` with all ten sets: 24 training items or fewer a task, 16 test items or more."""
    for name, write in WRITERS.items():
        write(folder / name)
