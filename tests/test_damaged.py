"""Damaged files and strangers in a store: one line, nothing of others removed, no other run hindered."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import FAKE_PLUGIN
from fake_world import PREFIX, fake_run, make_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import registry
from harness.core import Reply, UserError, replace
from harness.runner import Finished, run
from harness.store import typed
from harness.store.checkpoints import Store
from harness.store.housekeeping import collect_garbage, list_runs, remove_run
from harness.store.lineage import load_checkpoint
from harness.store.record import read_costs, read_record
from harness.store.tables import from_parquet, to_parquet

pytestmark = pytest.mark.usefixtures("fake_plugin")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A store with two runs, of which one is looked at."""
    place = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_plugins", {})
        registry.load_plugin(FAKE_PLUGIN)
        asked = fake_run(make_model(place / "model"), stream=PREFIX)
        run(replace(asked, seed=1), place / "runs")
        made = run(asked, place / "runs")
        del sys.modules[registry._plugins[FAKE_PLUGIN].__name__]
    return made


@pytest.fixture
def done(built: Finished, tmp_path: Path) -> Finished:
    """A copy of it that a test may damage."""
    shutil.copytree(built.folder.parents[1], tmp_path, dirs_exist_ok=True)
    return replace(built, folder=tmp_path / "runs" / built.id)


def again(done: Finished, **changes: Any) -> Finished:
    """The same command once more."""
    out = done.folder.parent
    return run(replace(fake_run(out.parent / "model", stream=PREFIX), **changes), out)


def first_key(done: Finished) -> str:
    return str(read_record(done.folder).stages[0].key)


def cut_short(whole: bytes) -> bytes:
    return whole[: len(whole) * 2 // 3]


def deep(whole: bytes) -> bytes:
    return b'{"schema": 2, "id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def not_json(whole: bytes) -> bytes:
    return whole.replace(b"{", b"<", 1)


# Every way to damage a file that is JSON, whatever it says.
CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "cut short": cut_short,
    "empty": lambda whole: b"",
    "a list": lambda whole: b"[1, 2]",
    "a text": lambda whole: b'"run"',
    "null": lambda whole: b"null",
    "a number": lambda whole: b"NaN",
    "deep": deep,
    "no JSON": not_json,
    "no UTF-8": lambda whole: b"\xff\xfe" + whole,
    "no schema": lambda whole: whole.replace(b'"schema"', b'"other"', 1),
    "a newer schema": lambda whole: whole.replace(b'"schema": 2', b'"schema": 3', 1),
    "a schema that is a text": lambda whole: whole.replace(b'"schema": 2', b'"schema": "2"', 1),
    "zeros": lambda whole: bytes(len(whole)),
}
PLACES = ("folder", "pipe", "huge file", "link that leads nowhere", "link in a circle")


def spoil(path: Path, harm: str) -> None:
    """Put something else where the file was."""
    whole = path.read_bytes()
    path.unlink()
    if harm in CONTENTS:
        path.write_bytes(CONTENTS[harm](whole))
    elif harm == "folder":
        path.mkdir()
    elif harm == "pipe":
        os.mkfifo(path)
    elif harm == "huge file":
        path.write_bytes(whole + b" " * typed.LARGEST)
    elif harm == "link that leads nowhere":
        path.symlink_to(path.with_name("nowhere"))
    else:
        path.symlink_to(path)


READERS: dict[str, Callable[[Finished], Any]] = {
    "run.json": lambda done: read_record(done.folder),
    "costs.json": lambda done: read_costs(done.folder),
}


@pytest.mark.parametrize("harm", [*CONTENTS, *PLACES])
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_of_a_run_is_named_and_no_other_run_is_hindered(
    done: Finished, name: str, harm: str, capfd: pytest.CaptureFixture[str]
) -> None:
    other = again(done, seed=1)  # it is in the store already
    out = Store(done.folder.parent)
    path = done.folder / name
    spoil(path, harm)
    with pytest.raises(UserError) as refused:
        READERS[name](done)
    line = str(refused.value)
    assert "\n" not in line
    assert len(line) < 700
    assert str(done.folder) in line
    runs, strangers = list_runs(out)
    if name == "run.json":
        assert [info.id for info in runs] == [other.id]
        ((stranger),) = strangers
        assert str(done.folder) in stranger
        with pytest.raises(UserError, match=str(done.folder)):
            remove_run(out, done.id)
        assert os.path.lexists(path)
    with pytest.raises(UserError, match=str(done.folder)):
        again(done)
    assert again(done, seed=1).cells == other.cells
    assert remove_run(out, other.id) > 0
    assert collect_garbage(out, 0)[0], "what no readable run refers to may go"


# One field of the record or of a manifest becomes something that it cannot be.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
slowly = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slowly
@given(data=st.data())
def test_any_value_in_any_field_is_read_or_refused_in_one_line(done: Finished, data: st.DataObject) -> None:
    key = first_key(done)
    folder = done.folder.parent / "checkpoints" / key
    parent = read_record(done.folder).base
    path, read = data.draw(
        st.sampled_from(
            [
                (done.folder / "run.json", lambda: read_record(done.folder)),
                (done.folder / "costs.json", lambda: read_costs(done.folder)),
                (folder / "manifest.json", lambda: load_checkpoint(folder, key, parent)),
            ]
        )
    )
    whole = path.read_bytes()
    content = json.loads(whole)
    field = data.draw(st.sampled_from(sorted(content)))
    if data.draw(st.booleans()):
        del content[field]
    else:
        content[field] = data.draw(JSON)
    path.write_text(json.dumps(content))
    line = refusal(read)
    path.write_bytes(whole)
    assert "\n" not in line
    assert len(line) < 900
    assert refusal(read) == ""


def refusal(read: Callable[[], Any]) -> str:
    """The one line that refuses a file; empty where it is read."""
    try:
        read()
    except UserError as refused:
        return str(refused)
    return ""


def test_a_stranger_beside_checkpoints_is_left_and_named(done: Finished, tmp_path: Path) -> None:
    store = Store(done.folder.parent)
    base = make_model(store.checkpoints / "my-llama")
    key = first_key(done)
    renamed = store.checkpoints / "copy-of-mine"
    shutil.copytree(store.checkpoints / key, renamed)
    half = store.checkpoints / f"{'0' * 32}.partial"
    half.mkdir()
    (half / "notes.txt").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(store.checkpoints / key, elsewhere)
    link = store.checkpoints / ("1" * 32)
    link.symlink_to(elsewhere)
    ours = {key for info in list_runs(store)[0] for key in info.keys}
    removed, strangers = collect_garbage(store, 0)
    assert {name for name, _ in removed} == ours
    for left in (base, renamed, half, link, elsewhere):
        assert os.path.lexists(left)
        assert left == elsewhere or any(str(left) in line for line in strangers)
    assert len(strangers) == 4
    assert (elsewhere / "model.safetensors").is_file()


def test_a_run_that_is_a_link_is_no_run_of_ours(done: Finished, tmp_path: Path) -> None:
    store = Store(done.folder.parent)
    elsewhere = tmp_path / "elsewhere" / done.id
    elsewhere.parent.mkdir()
    done.folder.rename(elsewhere)
    done.folder.symlink_to(elsewhere)
    runs, (stranger,) = list_runs(store)
    assert done.id not in [info.id for info in runs]
    assert "symbolic link" in stranger
    with pytest.raises(UserError, match="symbolic link"):
        remove_run(store, done.id)
    assert (elsewhere / "run.json").is_file()


def test_a_foreign_run_json_is_left_and_named(done: Finished) -> None:
    store = Store(done.folder.parent)
    foreign = store.root / "mlflow"
    foreign.mkdir()
    (foreign / "run.json").write_text('{"run": 1}')
    runs, strangers = list_runs(store)
    assert done.id in [info.id for info in runs]
    assert [line for line in strangers if str(foreign) in line]
    with pytest.raises(UserError):
        remove_run(store, "mlflow")
    assert collect_garbage(store, 0)[1] == strangers
    assert (foreign / "run.json").is_file()


def kept(done: Finished, name: str) -> Path:
    """The file in the store of which a run's own file is a copy."""
    copy = (done.folder / "replies" / name).read_bytes()
    (found,) = [path for path in (done.folder.parent / "replies").iterdir() if path.read_bytes() == copy]
    return found


def test_the_replies_of_two_cells_swapped_are_refused(done: Finished) -> None:
    one, other = kept(done, "1-coins-direct.parquet"), kept(done, "1-dice-direct.parquet")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(UserError, match=rf"{one} belongs to another .*prompts.*: remove {one} to make it again"):
        again(done)
    one.unlink()
    other.unlink()
    assert again(done).cells == done.cells


def test_replies_resealed_by_hand_under_another_key_are_refused_for_each_field(done: Finished) -> None:
    path = kept(done, "1-coins-direct.parquet")
    whole, found = path.read_bytes(), from_parquet(Reply, path)
    assert set(found.bound) == {
        "weights", "prompts", "pictures", "max_new_tokens", "engine", "precision", "batch", "pixels",
        "max_prompt_tokens",
    }  # fmt: skip
    for field in found.bound:
        for bound in ({**found.bound, field: "other"}, {key: found.bound[key] for key in set(found.bound) - {field}}):
            path.write_bytes(to_parquet(Reply, found.records, bound, found.about))
            with pytest.raises(UserError, match=f"{path} belongs to another {field}"):
                again(done)
    more = {**found.bound, "more": 1}
    path.write_bytes(to_parquet(Reply, found.records, more, found.about))
    with pytest.raises(UserError, match=f"{path} belongs to another cell"):
        again(done)
    path.write_bytes(whole)
    assert again(done).cells == done.cells
