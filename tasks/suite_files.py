"""The test files of MMLU-Pro, MMMU and POPE in the hub's layout: read a row at a time, and written from the twins.

A row's pictures are put into a folder, each once under its digest, and the row keeps their names: a set of gigabytes is
never in memory.
"""

from __future__ import annotations

import ast
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core import Example, Task, UserError
from harness.task import sampled
from tasks.official import existing, parquet_files

Row = dict[str, Any]
SUBJECTS = (
    "biology", "business", "chemistry", "computer science", "economics", "engineering", "health", "history", "law",
    "math", "other", "philosophy", "physics", "psychology",
)  # fmt: skip
SHOTS = 5
PICTURES = tuple(f"image_{n}" for n in range(1, 8))


def rows(task: Task, files: Sequence[Path], columns: Sequence[str], count: int) -> Iterator[tuple[str, Row]]:
    """(where it stands, row) of ``count`` rows, the seeded sample of ``Task.load``; only what is drawn is read."""
    import pyarrow
    import pyarrow.parquet

    try:
        tables = [pyarrow.parquet.ParquetFile(file) for file in files]
        total = sum(table.metadata.num_rows for table in tables)
        drawn, start = set(sampled(f"{task.name}/test", total, count)), 0
        for file, table in zip(files, tables, strict=True):
            if missing := [column for column in columns if column not in table.schema_arrow.names]:
                raise UserError(f"{file} has no column {missing[0]}: expected {', '.join(columns)} as in {task.name}")
            for group in range(table.num_row_groups):
                places = range(start, start + table.metadata.row_group(group).num_rows)
                start = places.stop
                if wanted := [place for place in places if place in drawn]:
                    read = table.read_row_group(group, columns=list(columns))
                    for place in wanted:
                        at = place - places.start
                        yield f"{file}, row {place}", read.slice(at, 1).to_pylist()[0]
    except (OSError, pyarrow.ArrowException) as fault:
        raise UserError(
            f"{files[0].parent} holds a file that is no parquet ({fault}): download {task.name} again"
        ) from fault


def parquet_of(task: Task, folder: Path, prefixes: Sequence[str], subfolders: Sequence[str]) -> tuple[Path, ...]:
    """The parquet files whose names begin with one of the prefixes; UserError where there is none."""
    found = tuple(
        file for prefix in prefixes for file in parquet_files(existing(folder, task.name), prefix, subfolders)
    )
    if not found:
        wanted = " or ".join(f"{prefix}-*.parquet" for prefix in prefixes)
        raise UserError(f"{folder} has no {wanted}: put the files of {task.name} there")
    return found


def mmlu_pro_rows(task: Task, folder: Path, split: str, count: int) -> list[Row]:
    """The rows of a split of MMLU-Pro, in the hub's columns. Raises UserError for a subject that lm-eval lacks."""
    columns = ("question_id", "question", "options", "answer", "answer_index", "cot_content", "category", "src")
    found = []
    for where, row in rows(task, parquet_of(task, folder, (split,), ("data",)), columns, count):
        if row["category"] not in SUBJECTS:
            raise UserError(f"{where}: {row['category']!r} is no subject of MMLU-Pro: download the file again")
        found.append(row)
    return found


def mmmu_rows(task: Task, folder: Path, pictures: Path, count: int) -> Iterator[tuple[str, Row]]:
    """(id, row for VLMEvalKit) of the validation items of MMMU; one file, or a folder for each subject."""
    subjects = sorted(path.parent.name for path in existing(folder, task.name).glob("*/validation-*.parquet"))
    files = [file for name in dict.fromkeys(subjects) for file in parquet_files(folder / name, "validation", ())]
    files = list(parquet_files(folder, "validation", ("data",))) or files
    if not files:
        raise UserError(
            f"{folder} has no validation-*.parquet, nor has a folder in it: put the files of {task.name} there"
        )
    columns = ("id", "question", "options", "answer", *PICTURES)
    for number, (where, row) in enumerate(rows(task, files, columns, count)):
        name = _text(row["id"], "id", where)
        shown = [_picture(row[column], pictures, where) for column in PICTURES if row[column] is not None]
        if not shown:
            raise UserError(f"{where}: {name} has no picture: download the file again")
        letters = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _options(row["options"], where), strict=False))
        yield (
            name,
            {
                "index": number,
                "image": shown,
                "question": _text(row["question"], "the question", where),
                **{"A": None, "B": None},
                **letters,
                "answer": _text(row["answer"], "the answer", where),
                "category": name.removeprefix("validation_").rpartition("_")[0],
                "split": "validation",
            },
        )


def pope_rows(task: Task, folder: Path, pictures: Path, count: int) -> Iterator[tuple[str, Row]]:
    """(id, row for VLMEvalKit) of POPE: the config ``default``, or the three files of ``Full``."""
    prefixes = ("test",) if parquet_files(existing(folder, task.name), "test") else ("adversarial", "popular", "random")
    columns = ("question_id", "question", "answer", "category", "image")
    for number, (where, row) in enumerate(
        rows(task, parquet_of(task, folder, prefixes, ("data", "Full")), columns, count)
    ):
        category, answer = _text(row["category"], "the category", where), _text(row["answer"], "the answer", where)
        if answer.lower() not in ("yes", "no"):
            raise UserError(f"{where}: the answer is {answer!r}, neither yes nor no: download the file again")
        yield (
            f"{row['question_id']}/{category}",
            {
                "index": number,
                "image": [_picture(row["image"], pictures, where)],
                "question": _text(row["question"], "the question", where),
                "answer": answer.capitalize(),
                "category": category,
            },
        )


def _options(text: object, where: str) -> list[str]:
    """The options, a Python list written as a text; it is read as a literal, never run."""
    try:
        found = ast.literal_eval(str(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as fault:
        raise UserError(f"{where}: the options are no list: download the file again") from fault
    if not isinstance(found, list) or not all(isinstance(option, str) for option in found) or len(found) > 26:
        raise UserError(f"{where}: the options are no list of up to 26 texts: download the file again")
    return found


def _text(value: object, what: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {what} is {value!r}, not a text: download the file again")
    return value


def _picture(cell: Any, folder: Path, where: str) -> str:
    """Put a picture's file into the folder under its digest; the digest."""
    content = cell.get("bytes") if isinstance(cell, dict) else None
    if not content:
        raise UserError(f"{where}: the picture is not inside the file: download it again")
    name = hashlib.sha256(content).hexdigest()[:32]
    if not (folder / name).exists():
        (folder / name).write_bytes(content)
    return name


# The twins in the same files


def write_twin(task: Task, folder: Path, count: int) -> Path:
    """The first ``count`` test items of a twin in the files that the hub has, and the worked examples of MMLU-Pro."""
    made = {"mmlu-pro": _twin_mmlu_pro, "mmmu": _twin_mmmu, "pope": _twin_pope}[task.name]
    for file, found in made(task, count).items():
        _write(folder / f"{file}-00000-of-00001.parquet", found)
    return folder


def _twin_mmlu_pro(task: Task, count: int) -> dict[str, list[Row]]:
    def row(number: int, example: Example, worked: bool) -> Row:
        letter = example.answers[0]
        solution = f"A: Let's think step by step. {example.rationale}. The answer is ({letter})." if worked else ""
        return {
            "question_id": number,
            "question": example.question,
            "options": list(example.choices),
            "answer": letter,
            "answer_index": ord(letter) - ord("A"),
            "cot_content": solution,
            "category": SUBJECTS[number % len(SUBJECTS)],
            "src": "twin",
        }

    tests, shown = task.load("test", count), task.load("validation", SHOTS * len(SUBJECTS))
    return {
        "data/test": [row(number, example, False) for number, example in enumerate(tests)],
        "data/validation": [row(number, example, True) for number, example in enumerate(shown)],
    }


def _twin_mmmu(task: Task, count: int) -> dict[str, list[Row]]:
    found = []
    for number, example in enumerate(task.load("test", count)):
        pictures = [_png(image()) for image in example.images]
        found.append(
            {
                "id": f"validation_Twin_{number}",
                "question": example.question,
                "options": str(list(example.choices)),
                "explanation": "",
                **dict(zip(PICTURES, [*pictures, *[None] * len(PICTURES)], strict=False)),
                "img_type": "[]",
                "answer": example.answers[0],
                "topic_difficulty": "Easy",
                "question_type": "multiple-choice",
                "subfield": "twin",
            }
        )
    return {"Twin/validation": found}


def _twin_pope(task: Task, count: int) -> dict[str, list[Row]]:
    return {
        "data/test": [
            {
                "id": str(number),
                "question_id": str(number),
                "question": example.question,
                "answer": example.answers[0],
                "image_source": example.group,
                "image": _png(example.images[0]()),
                "category": example.id.rpartition("/")[2],
            }
            for number, example in enumerate(task.load("test", count))
        ]
    }


def _png(picture: Any) -> Row:
    """A picture as the hub keeps it."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": "image.png"}


def _write(file: Path, found: list[Row]) -> None:
    import pyarrow
    import pyarrow.parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.Table.from_pylist(found)
    for place, column in enumerate(table.schema):
        if column.name.startswith("image") and column.name != "image_source":
            table = table.set_column(place, column.name, table[column.name].cast(kind))
    pyarrow.parquet.write_table(table, file, row_group_size=100)
