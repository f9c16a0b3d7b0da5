"""The store refuses whatever is not what it wrote, in one line that says what to do, and removes only what it may."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy
import pytest
from fake_world import PREFIX, STREAM, fake_run, learn, make_model, trained_by
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from harness.core import Job, Mark, Reply, Trained, UserError
from harness.runner import Finished, run
from harness.store import disk, tables
from harness.store.checkpoints import Store
from harness.store.housekeeping import collect_garbage, list_runs, remove_run, run_folder
from harness.store.lineage import load_checkpoint
from harness.store.tables import from_parquet, to_parquet
from harness.weights import weights_digest

HOLDER = """
import sys, time
from pathlib import Path
from harness.store.checkpoints import Store
with Store(Path(sys.argv[1])).hold(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


pytestmark = pytest.mark.usefixtures("fake_plugin")
FAULTS: list[Exception] = []


def fails(job: Job) -> Trained:
    """Raise the fault that a test puts into FAULTS."""
    raise FAULTS[-1]


def stops(job: Job) -> Trained:
    """Learn the first stage and fail at the second."""
    if job.stage.name == "dice":
        raise UserError("stops here")
    return learn(job)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def again(model: Path, out: Path) -> Finished:
    return run(fake_run(model, stream=PREFIX), out)


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
        assert "has schema 99, this version knows 2" in refusal(model, out)
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


@pytest.mark.parametrize("harm", ["cut", "edit", "schema", "empty", "other kind"])
def test_kept_replies_that_are_not_what_was_written_are_refused(
    model: Path, out: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = again(model, out)
    path = kept_file(out, done.folder / "replies" / "1-coins-direct.parquet")
    whole, found = path.read_bytes(), from_parquet(Reply, path)
    if harm == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "edit":
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        texts = pyarrow.array(["yes"] * len(table))
        place = table.column_names.index("text")
        pyarrow.parquet.write_table(table.set_column(place, table.schema.field("text"), texts), path)
    elif harm == "other kind":
        path.write_bytes(to_parquet(Mark, [Mark(example="x", read="yes", score=1.0)], found.bound))
    else:
        with monkeypatch.context() as patch:
            patch.setattr(tables, "SCHEMA", 9)
            path.write_bytes(to_parquet(Reply, found.records, found.bound, found.about))
    assert f"remove {path} to make it again" in refusal(model, out)
    path.unlink()
    assert again(model, out).cells == done.cells
    assert path.read_bytes() == whole


def kept_file(out: Path, copy: Path) -> Path:
    """The file in the store that a run's own file is a copy of."""
    (found,) = [path for path in (out / "replies").iterdir() if path.read_bytes() == copy.read_bytes()]
    return found


def test_a_second_process_on_the_same_run_is_refused_and_a_kill_frees_the_lock(model: Path, out: Path) -> None:
    done = again(model, out)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out), done.id], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert f"another process works on run {done.id} (pid {holder.pid})" in refusal(model, out)
        assert list_runs(Store(out))[0][0].working
        with pytest.raises(UserError, match=f"process {holder.pid} works on run"):
            remove_run(Store(out), done.id)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert not list_runs(Store(out))[0][0].working
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
    loose = run(fake_run(model, stream=PREFIX, seed=5), out)
    orphans = [stage_folder(loose, n) for n in (0, 1)]
    remove_run(Store(out), loose.id)
    with pytest.raises(UserError, match="stops"):
        run(fake_run(model, trained_by(stops, name="half", rate=3.0), STREAM), out)
    half = next(info for info in list_runs(Store(out))[0] if not info.finished)
    needed = [out / "checkpoints" / key for key in half.keys if (out / "checkpoints" / key).exists()]
    assert needed
    cells = len(list((out / "replies").iterdir()))
    store = Store(out)

    assert collect_garbage(store, 10**12) == ((), ())
    ((name, _),) = collect_garbage(store, disk.size(out) - 1)[0]
    assert name in {path.name for path in orphans}
    collect_garbage(store, 0)
    assert not any(path.exists() for path in (*orphans, stage_folder(finished, 0), stage_folder(finished, 1)))
    assert all(path.exists() for path in needed)
    assert len(list((out / "replies").iterdir())) == cells
    with pytest.raises(UserError, match="negative"):
        collect_garbage(store, -1)


def test_gc_leaves_a_run_that_is_being_worked_on(model: Path, out: Path) -> None:
    done = again(model, out)
    with Store(out).hold(done.id):
        assert collect_garbage(Store(out), 0) == ((), ())
    assert len(collect_garbage(Store(out), 0)[0]) == 2


@pytest.mark.parametrize("harm", ["none", "replies", "marks", "cells", "kept replies"])
def test_a_finished_run_whose_checkpoints_were_freed_is_served_while_it_is_whole(
    model: Path, out: Path, harm: str
) -> None:
    done = again(model, out)
    before = {path: path.read_bytes() for path in done.folder.rglob("*.parquet")}
    before[done.folder / "cells.csv"] = (done.folder / "cells.csv").read_bytes()
    collect_garbage(Store(out), 0)
    if harm in ("replies", "marks"):
        (done.folder / harm / "1-coins-cot.parquet").write_bytes(b"half")
    elif harm == "cells":
        (done.folder / "cells.csv").write_bytes(before[done.folder / "cells.csv"][:99])
    elif harm == "kept replies":
        kept_file(out, done.folder / "replies" / "1-coins-cot.parquet").unlink()
    assert again(model, out).cells == done.cells
    trained = harm == "kept replies"
    assert stage_folder(done).exists() == trained, "trained again only where the store cannot mend it"
    assert {path: path.read_bytes() for path in before} == before


def test_runs_are_listed_shown_and_removed_by_their_first_letters(model: Path, out: Path) -> None:
    assert list_runs(Store(out))[0] == ()
    done = again(model, out)
    (info,) = list_runs(Store(out))[0]
    assert (info.id, info.finished, info.working, len(info.keys)) == (done.id, True, False, 2)
    assert run_folder(Store(out), "fake-short") == done.folder
    with pytest.raises(UserError, match=f"did you mean {done.id}"):
        run_folder(Store(out), done.id[1:])
    with pytest.raises(UserError, match="unknown run"):
        remove_run(Store(out), "../model")
    other = run(fake_run(model, stream=PREFIX, seed=1), out)
    with pytest.raises(UserError, match="2 runs begin with"):
        run_folder(Store(out), "fake-")
    assert remove_run(Store(out), other.id) > 0
    assert [info.id for info in list_runs(Store(out))[0]] == [done.id]


def test_a_full_disk_is_refused_before_a_stage(model: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(model)._replace(free=1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: usage)
    assert "harness runs gc" in refusal(model, out)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: usage._replace(free=10**12))
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
    monkeypatch.setattr(sys.modules[__name__], "FAULTS", [fault])
    with pytest.raises(UserError, match=words) as refused:
        run(fake_run(model, trained_by(fails), PREFIX), out)
    assert "\n" not in str(refused.value)


def test_other_faults_stay_what_they_are(model: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FAULTS", [RuntimeError("our own mistake")])
    with pytest.raises(RuntimeError, match="our own mistake"):
        run(fake_run(model, trained_by(fails), PREFIX), out)


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


def reply(number: int, text: str) -> Reply:
    return Reply(
        example=f"x/{number}", group="=g", prompt_digest="d", text=text, tokens=number, truncated=number % 2 == 1
    )


@given(texts=st.lists(st.text()), bound=st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_replies_survive_the_disk_and_equal_replies_are_equal_bytes(texts: list[str], bound: dict[str, Any]) -> None:
    replies = tuple(reply(number, text) for number, text in enumerate(texts))
    written = to_parquet(Reply, replies, bound, {"environment": {"commit": "c"}})
    assert written == to_parquet(Reply, list(replies), dict(bound), {"environment": {"commit": "c"}})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replies.parquet"
        path.write_bytes(written)
        found = from_parquet(Reply, path, bound)
    assert (found.records, found.bound, found.about) == (replies, bound, {"environment": {"commit": "c"}})


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
