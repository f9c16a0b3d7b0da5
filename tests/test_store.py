"""The store refuses whatever is not what it wrote, in one line that says what to do, and removes only what it may."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from fake_world import FAKE, PREFIX, STREAM, engine_maker, fake_run, find, make_model
from safetensors.numpy import save_file

from harness import run_inputs
from harness.core import Row, UserError, replace
from harness.runner import Finished, run
from harness.store import disk, tables
from harness.store.checkpoints import Store
from harness.store.lineage import load_checkpoint, weights_digest
from harness.store.tables import from_parquet, to_parquet

HOLDER = """
import sys, time
from pathlib import Path
from harness.store.checkpoints import Store
with Store(Path(sys.argv[1])).hold(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _fake_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_inputs, "typed", find)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def again(model: Path, out: Path) -> Finished:
    return run(fake_run(model, stream=PREFIX), out, engine=engine_maker([]))


def stage_folder(done: Finished, index: int = 0) -> Path:
    key = json.loads((done.folder / "run.json").read_text())["stages"][index]["key"]
    return done.folder.parent / "checkpoints" / key


def refusal(model: Path, out: Path) -> str:
    with pytest.raises(UserError) as refused:
        again(model, out)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_an_edited_checkpoint_is_refused_and_mended_by_what_the_line_says(model: Path, out: Path) -> None:
    done = again(model, out)
    folder = stage_folder(done)
    save_file({"w": numpy.array([9.0, 9.0])}, folder / "model.safetensors")
    assert f"remove the folder {folder}" in refusal(model, out)
    shutil.rmtree(folder)
    assert again(model, out).cells == done.cells


def test_a_truncated_checkpoint_is_refused(model: Path, out: Path) -> None:
    weights = stage_folder(again(model, out)) / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    assert "edited or cut short" in refusal(model, out)


def test_an_edited_configuration_is_refused(model: Path, out: Path) -> None:
    (stage_folder(again(model, out)) / "config.json").write_text("{}")
    assert "edited or cut short" in refusal(model, out)


def test_a_wrong_parent_is_refused(model: Path, out: Path) -> None:
    path = stage_folder(again(model, out), 1) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "parent": "0" * 64}))
    assert "comes from parent 000000000000, but the previous stage is" in refusal(model, out)


def test_a_checkpoint_under_another_key_is_refused(model: Path, out: Path) -> None:
    done = again(model, out)
    first, second = stage_folder(done, 0), stage_folder(done, 1)
    shutil.rmtree(second)
    shutil.copytree(first, second)
    assert "was made as" in refusal(model, out)


def test_an_unknown_schema_is_refused(model: Path, out: Path) -> None:
    done = again(model, out)
    for path in (stage_folder(done) / "manifest.json", done.folder / "run.json"):
        whole = path.read_text()
        path.write_text(json.dumps({**json.loads(whole), "schema": 99}))
        assert "has schema 99, this version knows 1" in refusal(model, out)
        path.write_text(whole)
    assert again(model, out).cells == done.cells


def test_a_damaged_manifest_or_record_is_refused(model: Path, out: Path) -> None:
    done = again(model, out)
    for path in (stage_folder(done) / "manifest.json", done.folder / "run.json"):
        whole = path.read_bytes()
        path.write_bytes(whole[:20])
        assert "is damaged" in refusal(model, out)
        path.write_bytes(whole)
    (stage_folder(done) / "manifest.json").unlink()
    assert "has no manifest.json" in refusal(model, out)


def test_a_changed_base_is_refused(model: Path, out: Path) -> None:
    done = again(model, out)
    make_model(model, 2.0)
    assert f"run {done.id} began from base" in refusal(model, out)
    make_model(model)
    assert again(model, out).cells == done.cells


def test_other_test_data_is_refused(model: Path, out: Path) -> None:
    done = again(model, out)
    path = done.folder / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "data": {**record["data"], "dice": "0" * 64}}))
    assert "began on other data of dice" in refusal(model, out)


def test_a_model_folder_without_weights_is_refused(model: Path, out: Path) -> None:
    (model / "model.safetensors").unlink()
    assert "*.safetensors" in refusal(model, out)
    assert not out.exists()


@pytest.mark.parametrize("harm", ["cut", "edit", "schema", "empty"])
def test_cached_rows_that_are_not_what_was_written_are_refused(
    model: Path, out: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = again(model, out)
    rows = done.folder / "rows" / "1-coins-direct.parquet"
    (path,) = [item for item in (out / "cells").iterdir() if item.read_bytes() == rows.read_bytes()]
    whole = path.read_bytes()
    if harm == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "edit":
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        scores = pyarrow.array([1.0] * len(table))
        place = table.column_names.index("score")
        pyarrow.parquet.write_table(table.set_column(place, table.schema.field("score"), scores), path)
    else:
        rows_read = from_parquet(Row, path)
        monkeypatch.setattr(tables, "SCHEMA", 9)
        path.write_bytes(to_parquet(Row, rows_read))
        monkeypatch.setattr(tables, "SCHEMA", 1)
    assert f"remove {path} to make it again" in refusal(model, out)
    path.unlink()
    assert again(model, out).cells == done.cells
    assert path.read_bytes() == whole


def test_a_second_process_on_the_same_run_is_refused_and_a_kill_frees_the_lock(model: Path, out: Path) -> None:
    done = again(model, out)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out), done.id], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert f"another process works on run {done.id} (pid {holder.pid})" in refusal(model, out)
        assert Store(out).list_runs()[0].working
        with pytest.raises(UserError, match=f"process {holder.pid} works on run"):
            Store(out).remove(done.id)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert not Store(out).list_runs()[0].working
    assert again(model, out).cells == done.cells


def test_a_stage_that_another_process_trains_is_waited_for(tmp_path: Path) -> None:
    lock = disk.Lock(tmp_path / "key.lock")
    assert lock.take()
    assert lock.owner() == str(os.getpid())
    assert not disk.Lock(lock.path).take()
    lock.release()
    assert disk.Lock(lock.path).take()


def test_gc_takes_what_nobody_refers_to_first_and_never_what_is_needed(model: Path, out: Path) -> None:
    finished = again(model, out)
    loose = run(fake_run(model, stream=PREFIX, seed=5), out, engine=engine_maker([]))
    orphans = [stage_folder(loose, n) for n in (0, 1)]
    Store(out).remove(loose.id)
    with pytest.raises(UserError, match="stops"):
        run(fake_run(model, replace(FAKE, name="half", rate=3.0, learn=stops), STREAM), out, engine=engine_maker([]))
    half = next(info for info in Store(out).list_runs() if not info.finished)
    needed = [out / "checkpoints" / key for key in half.keys if (out / "checkpoints" / key).exists()]
    assert needed
    cells = len(list((out / "cells").iterdir()))
    store = Store(out)

    assert store.gc(10**12) == ()
    ((name, _),) = store.gc(disk.size(out) - 1)
    assert name in {path.name for path in orphans}
    store.gc(0)
    assert not any(path.exists() for path in (*orphans, stage_folder(finished, 0), stage_folder(finished, 1)))
    assert all(path.exists() for path in needed)
    assert len(list((out / "cells").iterdir())) == cells
    with pytest.raises(UserError, match="negative"):
        store.gc(-1)


def stops(job: Any) -> Any:
    """Learns the first stage and fails at the second."""
    if job.stage.name == "dice":
        raise UserError("stops here")
    return FAKE.learn(job)


def test_gc_leaves_a_run_that_is_being_worked_on(model: Path, out: Path) -> None:
    done = again(model, out)
    with Store(out).hold(done.id):
        assert Store(out).gc(0) == ()
    assert len(Store(out).gc(0)) == 2


@pytest.mark.parametrize("harm", ["none", "rows", "cells"])
def test_a_finished_run_whose_checkpoints_were_freed_is_served_while_it_is_whole(
    model: Path, out: Path, harm: str
) -> None:
    done = again(model, out)
    before = (done.folder / "cells.csv").read_bytes()
    Store(out).gc(0)
    if harm == "rows":
        (done.folder / "rows" / "1-coins-cot.parquet").write_bytes(b"half")
    elif harm == "cells":
        (done.folder / "cells.csv").write_bytes(before[: len(before) // 2])
    assert again(model, out).cells == done.cells
    assert stage_folder(done).exists() == (harm != "none"), "trained again only where something is missing"
    assert (done.folder / "cells.csv").read_bytes() == before


def test_runs_are_listed_shown_and_removed_by_their_first_letters(model: Path, out: Path) -> None:
    assert Store(out).list_runs() == ()
    done = again(model, out)
    (info,) = Store(out).list_runs()
    assert (info.id, info.finished, info.working, len(info.keys)) == (done.id, True, False, 2)
    assert Store(out).show("fake-short")["id"] == done.id
    with pytest.raises(UserError, match=f"did you mean {done.id}"):
        Store(out).show(done.id[1:])
    with pytest.raises(UserError, match="unknown run"):
        Store(out).remove("../model")
    other = run(fake_run(model, stream=PREFIX, seed=1), out, engine=engine_maker([]))
    with pytest.raises(UserError, match="2 runs begin with"):
        Store(out).folder("fake-")
    assert Store(out).remove(other.id) > 0
    assert [info.id for info in Store(out).list_runs()] == [done.id]


def test_a_full_disk_is_refused_before_a_stage(model: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(model)._replace(free=1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: usage)
    assert "harness runs gc" in refusal(model, out)
    monkeypatch.undo()
    monkeypatch.setattr(run_inputs, "typed", find)
    assert len(again(model, out).cells) == 18


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no disk space left"),
        (RuntimeError("[enforce fail] No space left on device"), "no disk space left"),
        (OSError(errno.EACCES, "Permission denied"), "no permission"),
        (OSError(errno.EROFS, "Read-only file system"), "no permission"),
    ],
)
def test_disk_faults_become_one_line(
    model: Path, out: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, words: str
) -> None:
    def learn(job: Any) -> Any:
        raise fault

    with pytest.raises(UserError, match=words) as refused:
        run(fake_run(model, replace(FAKE, name="unlucky", learn=learn), PREFIX), out, engine=engine_maker([]))
    assert "\n" not in str(refused.value)


def test_other_faults_stay_what_they_are(model: Path, out: Path) -> None:
    def learn(job: Any) -> Any:
        raise RuntimeError("our own mistake")

    with pytest.raises(RuntimeError, match="our own mistake"):
        run(fake_run(model, replace(FAKE, name="unlucky", learn=learn), PREFIX), out, engine=engine_maker([]))


def test_an_output_that_is_a_file_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "give another --out" in refusal(model, tmp_path / "file")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cells.csv"
    disk.write(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        disk.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["cells.csv"]


def test_rows_survive_the_disk_and_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    rows = [
        Row(
            example=f"x/{n}",
            group="=g",
            prompt_digest="d",
            reply="a\nb \u00e9" if n else "",
            read=None if n == 1 else "a",
            score=0.1 + 0.2 * n,
            malformed=n == 1,
            truncated=False,
            tokens=n,
        )
        for n in range(3)
    ]
    disk.write(tmp_path / "rows.parquet", to_parquet(Row, rows))
    assert from_parquet(Row, tmp_path / "rows.parquet") == rows
    assert to_parquet(Row, rows) == to_parquet(Row, list(rows))


def test_the_digest_covers_weights_configuration_and_tokenizer_but_no_notes(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    first = weights_digest(folder)
    (folder / "README.md").write_text("notes")
    assert weights_digest(folder) == first
    for name in ("tokenizer.json", "preprocessor_config.json", "model-00002.safetensors"):
        (folder / name).write_text("{}")
        assert weights_digest(folder) != first
        (folder / name).unlink()
    with pytest.raises(UserError, match="holds no"):
        weights_digest(tmp_path)


def test_a_folder_without_a_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(folder, "m", "p")
