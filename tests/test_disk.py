"""The disk: drafts of this host's dead processes go and no others, links are not followed, faults are one line."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core import UserError
from harness.store import disk
from harness.store.disk_faults import refusing_disk_faults

ROOT = Path(__file__).resolve().parent.parent


def a_dead_process() -> int:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


def named(path: Path, *, host: str = "", boot: str = "", pid: int = 0, kind: str = "aside") -> Path:
    """The name of another process's draft."""
    whole = f"{host or disk._host()}-{boot or disk._boot()}-{pid or os.getpid()}"
    return path.with_name(f".{path.name}.{kind}-{whole}")


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    text = str(refused.value)
    assert text.isprintable()
    assert len(text) < 400
    return text


# --- drafts


def test_a_draft_names_host_boot_and_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = disk.aside(tmp_path / "a-1.b")
    assert mine == named(tmp_path / "a-1.b")
    names = {mine.name}
    for host in ("one", "two"):
        disk._host.cache_clear()
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        names.add(disk.aside(tmp_path / "a-1.b").name)
    monkeypatch.undo()
    disk._host.cache_clear()
    assert len(names) == 3


def test_what_is_gone_on_this_host_is_swept_and_nothing_else(tmp_path: Path) -> None:
    gone = a_dead_process()
    swept = [named(tmp_path / "key", pid=gone), named(tmp_path / "rows.parquet", boot="0" * 8)]
    kept = [
        named(tmp_path / "mine"),
        named(tmp_path / "far", host="0" * 12, pid=gone),
        named(tmp_path / "farther", host="0" * 12, boot="0" * 8, pid=gone),
        tmp_path / f".key.aside-{gone}",
        tmp_path / f".key.aside-{gone}-{gone}-x",
        tmp_path / "cells.csv",
    ]
    for path in (*swept, *kept):
        path.write_text("half")
    folder = named(tmp_path / "stage", pid=gone)
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "w").write_text("half")
    disk.sweep(tmp_path)
    assert set(tmp_path.iterdir()) == set(kept)


def test_a_link_with_a_drafts_name_is_left_with_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_text("precious")
    link = named(tmp_path / "key", pid=a_dead_process())
    link.symlink_to(tmp_path / "far")
    disk.sweep(tmp_path)
    assert link.is_symlink()
    assert (tmp_path / "far" / "file").read_text() == "precious"


@pytest.mark.parametrize("plant", ["symlink", "hard link"])
def test_a_planted_draft_is_not_written_through(tmp_path: Path, plant: str) -> None:
    precious, path = tmp_path / "precious", tmp_path / "cells.csv"
    precious.write_text("precious")
    draft = disk.aside(path)
    if plant == "symlink":
        draft.symlink_to(precious)
    else:
        draft.hardlink_to(precious)
    disk.write(path, b"new")
    assert precious.read_text() == "precious"
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()


def test_a_draft_folder_is_empty_and_no_link(tmp_path: Path) -> None:
    target, far = tmp_path / "run", tmp_path / "far"
    far.mkdir()
    (far / "file").write_text("precious")
    disk.aside(target).symlink_to(far)
    draft = disk.draft_folder(target)
    assert not draft.is_symlink()
    (draft / "half").write_text("x")
    assert list(disk.draft_folder(target).iterdir()) == []
    assert (far / "file").read_text() == "precious"


# --- what stands where a file, a folder or a lock should be


def plant(kind: str, path: Path) -> None:
    """Something that the harness does not make."""
    if kind == "link":
        (path.parent / "far").write_text("precious")
        path.symlink_to(path.parent / "far")
    elif kind == "folder link":
        (path.parent / "far").mkdir()
        (path.parent / "far" / "file").write_text("precious")
        path.symlink_to(path.parent / "far")
    elif kind == "dangling link":
        path.symlink_to(path.parent / "nowhere")
    elif kind == "loop":
        path.symlink_to(path.parent / "other")
        (path.parent / "other").symlink_to(path)
    elif kind == "folder":
        path.mkdir()
        (path / "file").write_text("precious")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    else:
        path.write_text("precious")


def seen(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder: its kind and, of files and links, what it holds."""
    found = {}
    for path in root.rglob("*"):
        mode = stat.S_IFMT(path.lstat().st_mode)
        held = {stat.S_IFREG: path.read_bytes, stat.S_IFLNK: lambda path=path: os.fsencode(os.readlink(path))}
        found[str(path)] = (mode, held[mode]() if mode in held else b"")
    return found


STRANGERS = ("link", "folder link", "dangling link", "loop", "folder", "pipe", "socket")


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("act", ["take", "wait", "held", "owner", "write", "read"])
def test_no_stranger_in_a_files_place_is_followed_changed_or_waited_for(tmp_path: Path, kind: str, act: str) -> None:
    path = tmp_path / "name"
    plant(kind, path)
    before = seen(tmp_path)
    lock = disk.Lock(path)
    acts: dict[str, Callable[[], object]] = {
        "take": lock.take,
        "wait": lambda: lock.take(wait=True),
        "held": lock.held_elsewhere,
        "owner": lock.owner,
        "write": lambda: disk.write(path, b"precious"),
        "read": lambda: disk.read(path),
    }
    if act == "read" and kind == "link":
        assert disk.read(path) == b"precious"
    elif act == "read" and kind == "dangling link":
        with pytest.raises(FileNotFoundError):
            disk.read(path)
    else:
        assert "name" in refusal(acts[act])
    assert seen(tmp_path) == before


@pytest.mark.parametrize("kind", [*(kind for kind in STRANGERS if kind != "folder"), "file"])
@pytest.mark.parametrize("act", ["discard", "replace"])
def test_no_stranger_in_a_folders_place_is_removed(tmp_path: Path, kind: str, act: str) -> None:
    path = tmp_path / "name"
    plant(kind, path)
    before = seen(tmp_path)
    if act == "discard":
        assert "did not make: move it away" in refusal(lambda: disk.discard(path))
    else:
        draft = disk.draft_folder(path)
        assert "did not make: move it away" in refusal(lambda: disk.replace_folder(draft, path))
        disk.discard(draft)
    assert seen(tmp_path) == before


def test_another_users_lock_is_refused_and_a_readable_one_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("12")
    script = (
        "import os, sys; from pathlib import Path\n"
        "from harness.core import UserError; from harness.store.disk import Lock\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "lock = Lock(Path(sys.argv[1]))\n"
        "for act in (lock.held_elsewhere, lock.owner, lock.take):\n"
        "    try: print(act())\n"
        "    except UserError as error: print(error)\n"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)

    def tell(mode: int) -> list[str]:
        path.chmod(mode)
        command = [sys.executable, "-c", script, str(path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    assert tell(0o444) == ["False", "12", f"no permission for {path}: change its permissions or give another --out"]
    assert tell(0o000) == [f"no permission for {path}: change its permissions or give another --out"] * 3


@pytest.mark.parametrize("content", [b"\x1b[31m", b"\xff\xfe", b"9" * 10**6, b"", "１２".encode(), b"12\x00"])
def test_a_hostile_lock_names_no_owner_but_a_number(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert re.fullmatch(r"unknown|9{20}", disk.Lock(tmp_path / "lock").owner())


def test_a_lock_whose_file_is_removed_while_it_is_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = tmp_path / "lock", fcntl.flock
    removals = iter([True])

    def removing(handle: int, how: int) -> None:
        flock(handle, how)
        if next(removals, False):
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", removing)
    assert disk.Lock(path).take()
    assert path.read_text() == str(os.getpid())


# --- replacing


@pytest.mark.parametrize("way", ["exchange", "rename"])
def test_a_kill_at_any_moment_leaves_the_old_folder_or_the_new(tmp_path: Path, way: str) -> None:
    script = Path(__file__).with_name("killed_replacement.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "root"), way],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another_or_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(disk, "_exchange", lambda one, other: False)
    target = tmp_path / "run"
    for text in ("first", "second"):
        draft = disk.draft_folder(target)
        disk.write(draft / text, text.encode())
        disk.replace_folder(draft, target)
        assert [path.name for path in target.iterdir()] == [text]
        assert list(tmp_path.iterdir()) == [target]


def test_two_names_are_exchanged_in_one_step_here(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    assert disk._exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").read_text() == "b"
    with pytest.raises(FileNotFoundError):
        disk._exchange(tmp_path / "a", tmp_path / "c")


def test_only_a_draft_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(ValueError, match="no draft"):
        disk.replace_folder(tmp_path / "new", tmp_path / "old")


def test_a_folder_that_stepped_aside_comes_back_unless_another_is_there(tmp_path: Path) -> None:
    target, gone = tmp_path / "run", a_dead_process()
    old = named(target, pid=gone, kind="old")
    old.mkdir()
    (old / "cells").write_text("1")
    disk.sweep(tmp_path)
    assert (target / "cells").read_text() == "1"
    old.mkdir()
    disk.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [target]


# --- faults

REFUSED = [
    "ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST", "EISDIR", "ENXIO", "ELOOP",
    "ENAMETOOLONG", "EXDEV", "ENOTEMPTY", "EIO", "ESTALE", "ENOLCK", "EOPNOTSUPP",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("where", [None, "/some/place", b"/some/place", "/a\x1b[31m\n" + "b" * 5000])
def test_what_a_disk_refuses_is_one_line_that_names_the_place(name: str, where: str | bytes | None) -> None:
    number = getattr(errno, name)

    def fail() -> None:
        with refusing_disk_faults(Path("/the/out")):
            raise OSError(number, os.strerror(number), where)

    place = "/the/out" if where is None else "/some/place" if len(where) < 20 else "/a?[31m bbb"
    assert place in refusal(fail)


@pytest.mark.parametrize(
    "fault", [ValueError("no"), OSError("no number"), FileNotFoundError(errno.ENOENT, "No such file"), KeyError("x")]
)
def test_other_faults_stay_what_they_are(fault: Exception) -> None:
    with pytest.raises(type(fault)) as raised, refusing_disk_faults(Path("/out")):
        raise fault
    assert raised.value is fault


def test_names_that_are_too_long_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 256)
    assert "too long" in refusal(disk.Lock(path).take)
    assert "too long" in refusal(lambda: disk.read(path))
    for act in (lambda: disk.write(path, b""), lambda: disk.discard(path), lambda: disk.draft_folder(path)):
        with pytest.raises(OSError, match="too long"):
            act()
    disk.write(tmp_path / ("n" * 200), b"x")


def writers() -> dict[str, Callable[[Path], object]]:
    """Each library that writes here, made to write two megabytes."""
    import numpy
    import pyarrow
    import pyarrow.parquet
    import safetensors.torch
    import torch

    noise = numpy.random.default_rng(0).random(250_000)
    tensors = {"w": torch.from_numpy(noise)}
    return {
        "python": lambda folder: disk.write(folder / "a", noise.tobytes()),
        "torch": lambda folder: torch.save(tensors, folder / "a.pt"),
        "safetensors": lambda folder: safetensors.torch.save_file(tensors, folder / "a.safetensors"),
        "pyarrow": lambda folder: pyarrow.parquet.write_table(pyarrow.table({"a": noise}), folder / "a.parquet"),
        "numpy": lambda folder: numpy.save(folder / "a.npy", noise),
    }


@pytest.mark.parametrize("library", ["python", "torch", "safetensors", "pyarrow", "numpy"])
def test_a_file_that_does_not_fit_is_refused_in_one_line_whoever_writes_it(tmp_path: Path, library: str) -> None:
    write = writers()[library]
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(UserError) as refused, refusing_disk_faults(tmp_path):
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert str(tmp_path) in str(refused.value).splitlines()[-1]
    write(tmp_path)  # which fits now


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("library", ["python", "torch", "safetensors", "pyarrow", "numpy"])
def test_a_disk_that_fills_is_refused_in_one_line_whoever_writes_to_it(tmp_path: Path, library: str) -> None:
    write = writers()[library]
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        with pytest.raises(UserError, match=r"^no disk space left .*$"), refusing_disk_faults(tmp_path):
            write(tmp_path)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_folders_size_counts_its_files_once_and_no_links(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"x" * 10)
    (tmp_path / "b").write_bytes(b"x" * 5)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert disk.size(tmp_path) == 15
    assert disk.size(tmp_path / "nothing") == 0
