"""The lock file of a data folder: what it sees, what it costs, and what no lock file may make the harness do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_data import PAIRS, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core import UserError
from harness.data import lock
from harness.data.lock import LOCK, current_set, read_lock, set_files, write_set
from harness.data.verify import verify


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path / "pairs")
    return tmp_path


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as fault:
        action()
    line = str(fault.value)
    assert "\n" not in line
    assert line.isprintable()
    return line


def look(data: Path) -> Any:
    return current_set(data, PAIRS)


def test_the_first_look_locks_a_set_and_the_next_reads_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = look(data)
    assert first == read_lock(data).sets["pairs"]
    assert list(first.files) == sorted(first.files)
    assert "README.md" not in first.files
    monkeypatch.setattr(lock, "_sha256", lambda *known: pytest.fail("read again"))
    assert look(data) == first


def test_a_touched_file_is_read_again_and_only_its_content_counts(data: Path) -> None:
    first = look(data)
    os.utime(data / "pairs/test.json", ns=(1, 1))
    second = look(data)
    assert second.fingerprint == first.fingerprint
    assert read_lock(data).sets["pairs"].files["test.json"].mtime_ns == 1


DAMAGES = {
    "missing": lambda file: file.unlink(),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "changed": lambda file: file.write_bytes(file.read_bytes()[:-1] + b" "),
    "additional": lambda file: (file.parent / "more.json").write_bytes(b"[]"),
    "pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}
EXPECTED = {
    "missing": "set pairs: train.json: expected {size} bytes, found no file",
    "truncated": "set pairs: train.json: expected {size} bytes, found {less}",
    "changed": "set pairs: train.json: expected SHA-256 ",
    "additional": "set pairs: more.json: expected no such file, found one of 2 bytes",
    "pipe": "train.json is no file",
    "folder": "set pairs: train.json: expected {size} bytes, found no file",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_happened_to_a_file_is_one_line(data: Path, damage: str) -> None:
    look(data)
    file = data / "pairs/train.json"
    size = file.stat().st_size
    DAMAGES[damage](file)
    expected = EXPECTED[damage].format(size=f"{size:,}", less=f"{size - 1:,}")
    before = (data / LOCK).read_bytes()
    assert expected in refused(lambda: look(data))
    found = verify(data, PAIRS)
    assert len(found.faults) == 1
    assert expected in found.faults[0]
    assert (data / LOCK).read_bytes() == before


def test_a_change_that_keeps_size_and_time_is_found_by_verify_alone(data: Path) -> None:
    look(data)
    file = data / "pairs/train.json"
    at = file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    os.utime(file, ns=(at, at))
    look(data)
    assert "expected SHA-256" in verify(data, PAIRS).faults[0]


def test_verify_accepts_what_is_there_only_when_asked(data: Path) -> None:
    assert verify(data, PAIRS).locked == read_lock(data).sets["pairs"]
    (data / "pairs/test.json").write_text("[]")
    assert verify(data, PAIRS).faults
    found = verify(data, PAIRS, write=True)
    assert found.faults == ()
    assert found.notes == ("set pairs: test has 0 items, published are 4",)
    assert verify(data, PAIRS).faults == ()
    (data / "pairs/train.json").unlink()
    assert "train.json" in verify(data, PAIRS, write=True).faults[0], "what no loader reads is not locked"


def test_a_folder_that_is_read_only_is_read_by_each_process_and_not_written(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    first = look(data)
    assert not (data / LOCK).exists()
    monkeypatch.setattr(lock.hashlib, "file_digest", lambda *known: pytest.fail("read again"))
    assert look(data) == first


def test_pictures_that_do_not_open_are_named_and_remembered(data: Path) -> None:
    (data / "pairs/pictures/train-2.png").write_bytes(b"no picture")
    found = verify(data, PAIRS, pictures=True)
    assert found.faults == ()
    assert len(found.notes) == 1
    assert found.notes[0].startswith("set pairs: train: train-2: a picture of train-2 cannot be read")
    assert list(read_lock(data).sets["pairs"].broken["train"]) == ["train-2"]
    assert read_lock(data).sets["pairs"].broken["test"] == {}
    assert list(verify(data, PAIRS).locked.broken["train"]) == ["train-2"]  # type: ignore[union-attr]


def entry(**changes: Any) -> dict[str, Any]:
    files = {"a.json": {"sha256": "0" * 64, "size": 1, "mtime_ns": 1}}
    found = {"source": "local", "revision": "", "counts": {}, "broken": {}, "files": files, **changes}
    return {"fingerprint": lock.digest(sorted((n, f["sha256"]) for n, f in found["files"].items())), **found}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"schema": 2, "sets": []}',
        b'{"schema": 99, "sets": {}}',
        b'{"schema": 2, "sets": {"pairs": {}}}',
        b'{"schema": 2, "sets": ' + b"[" * 10**6,
        *(
            json.dumps({"schema": 2, "sets": {name: value}}).encode()
            for name, value in {
                "../pairs": entry(),
                "pairs\x1b[31m": entry(),
                "a": entry(files={"../../etc/passwd": {"sha256": "0" * 64, "size": 1, "mtime_ns": 1}}),
                "b": entry(files={"/etc/passwd": {"sha256": "0" * 64, "size": 1, "mtime_ns": 1}}),
                "c": entry(files={"a": {"sha256": "short", "size": 1, "mtime_ns": 1}}),
                "d": entry(files={"a": {"sha256": "0" * 64, "size": -1, "mtime_ns": 1}}),
                "e": entry(revision="main"),
                "f": entry(fingerprint="0" * 64),
                "g": {**entry(), "files": 7},
            }.items()
        ),
    ],
)
def test_a_lock_file_that_was_not_written_here_is_one_line(data: Path, content: bytes) -> None:
    (data / LOCK).write_bytes(content)
    line = refused(lambda: look(data))
    assert LOCK in line
    assert (data / LOCK).read_bytes() == content


KEYS = st.sampled_from(["schema", "sets", "pairs", "files", "a"])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(KEYS, x, max_size=3),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_a_lock_or_one_line(tmp_path: Path, value: object) -> None:
    (tmp_path / LOCK).write_text(json.dumps({"schema": 2, "sets": value}))
    said = ""
    try:
        assert isinstance(read_lock(tmp_path).sets, dict)
    except UserError as fault:
        said = str(fault)
    assert "\n" not in said


def test_a_huge_lock_or_a_link_in_its_place_is_one_line(data: Path) -> None:
    with (data / LOCK).open("wb") as file:
        file.truncate(65 * 2**20)
    assert "no file of a size" in refused(lambda: read_lock(data))
    (data / LOCK).unlink()
    (data / "elsewhere").write_text('{"schema": 2, "sets": {}}')
    (data / LOCK).symlink_to(data / "elsewhere")
    assert "symbolic link" in refused(lambda: look(data))
    assert (data / "elsewhere").read_text() == '{"schema": 2, "sets": {}}'


def test_names_and_links_of_a_set(data: Path) -> None:
    (data / "pairs/evil\x1b[31m.json").write_text("[]")
    assert "unprintable" in refused(lambda: look(data))
    (data / "pairs/evil\x1b[31m.json").unlink()
    (data / "pairs/loop").symlink_to(data / "pairs")
    (data / "snapshot").symlink_to(data / "pairs")
    assert list(set_files(data / "snapshot", PAIRS.sources)) == list(set_files(data / "pairs", PAIRS.sources))
    (data / "pairs/gone.json").symlink_to(data / "nowhere")
    assert "gone.json" in refused(lambda: look(data))


def test_other_sets_stay_as_they_are_and_the_order_is_that_of_names(data: Path) -> None:
    locked = look(data)
    for name in ("zebra", "ape"):
        write_set(data, name, locked)
    assert list(read_lock(data).sets) == ["ape", "pairs", "zebra"]
    before = (data / LOCK).read_bytes()
    write_set(data, "ape", locked)
    assert (data / LOCK).read_bytes() == before
