"""The lock file over all ten official sets, in each layout that their loaders read."""

from __future__ import annotations

from pathlib import Path

import official_files
import pytest

from harness.core import Task
from harness.data.lock import current_set, read_lock, set_files, set_of
from harness.data.verify import verify
from harness.registry import typed

OTHERS = {
    "textvqa": official_files.write_textvqa_json,
    "vizwiz": official_files.write_vizwiz_parquet,
    "pope": official_files.write_pope_json,
}


def visible(folder: Path) -> set[str]:
    """The files that nobody hid."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)}


@pytest.mark.parametrize("name", official_files.WRITERS)
def test_every_file_that_a_loader_reads_is_in_the_lock(tmp_path: Path, name: str) -> None:
    task = typed(Task, name)
    for number, write in enumerate([official_files.WRITERS[name], *([OTHERS[name]] if name in OTHERS else [])]):
        data = tmp_path / str(number)
        write(data / name)
        (data / name / "README.md").write_text("a set")
        assert set(set_files(data / name, task.sources)) == visible(data / name) - {"README.md"}
    for parquet in (tmp_path / "0" / name).rglob("*.parquet"):
        assert parquet.name in " ".join(set_files(parquet.parent, task.sources)), "also where it lies flat"


@pytest.mark.parametrize("name", official_files.WRITERS)
def test_a_set_is_counted_opened_and_locked(tmp_path: Path, name: str) -> None:
    task = typed(Task, name)
    official_files.WRITERS[name](tmp_path / name)
    refused = verify(tmp_path, task)
    assert all(f"set {name}: " in line and "published are" in line for line in refused.faults)
    found = verify(tmp_path, task, write=True, pictures=True)
    assert found.faults == ()
    assert found.locked == read_lock(tmp_path).sets[name]
    assert list(found.locked.broken) == list(task.counts)
    assert not any(found.locked.broken.values())
    assert all(found.locked.counts.values())
    assert current_set(tmp_path, task) == found.locked, "copies of pictures are no part of a set"


def test_two_tasks_share_a_folder_where_their_source_is_one(tmp_path: Path) -> None:
    official_files.write_textvqa(tmp_path / "textvqa")
    ocr = typed(Task, "textvqa-ocr")
    assert set_of(tmp_path, ocr) == "textvqa"
    assert verify(tmp_path, ocr, write=True).faults == ()
    assert list(read_lock(tmp_path).sets) == ["textvqa"]
    official_files.write_textvqa(tmp_path / "textvqa-ocr")
    assert set_of(tmp_path, ocr) == "textvqa-ocr"
