"""Archives of official sites: fetched where the last try stopped, unpacked inside one folder, refused where hostile."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from fake_data import POSTED, files
from fake_hub import serving
from hypothesis import given
from hypothesis import strategies as st

from harness.core import UserError, replace
from harness.data import archives
from harness.data.archives import archive_name, download, unpack
from harness.data.fetch import fetch
from harness.data.lock import is_plain, read_lock

LINK = 0o120777 << 16


def zipped(content: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A zip archive of files, and of symbolic links by their targets."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in content.items():
            packed.writestr(name, data)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = LINK
            packed.writestr(entry, target)
    return buffer.getvalue()


def tarred(entries: list[tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for entry in entries:
            packed.addfile(entry, io.BytesIO(b"x" * entry.size))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.size, found.linkname = kind, size, link
    return found


@pytest.fixture
def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SCHEMES", ("http", "https"))


@pytest.mark.usefixtures("plain_http")
def test_a_set_of_an_official_site_is_fetched_unpacked_and_locked(tmp_path: Path) -> None:
    content = {name: data for name, data in files().items() if not name.startswith(".")}
    said: list[str] = []
    with serving(
        "lab/x", {"set.zip": zipped(content), "more.tar.gz": tarred([entry("pictures/z.png", size=3)])}
    ) as hub:
        urls = (f"{hub.address}/site/set.zip", f"{hub.address}/site/more.tar.gz")
        task = replace(POSTED, sources=(replace(POSTED.sources[0], urls=urls),))
        fetch(tmp_path, task, None, said.append)
        asked = len(hub.asked)
        fetch(tmp_path, task, None, said.append)
        assert len(hub.asked) == asked, "nothing comes twice"
    assert "posted: 12 files from set.zip" in said
    assert "posted: 1 files from more.tar.gz" in said
    locked = read_lock(tmp_path).sets["posted"]
    assert (locked.source, locked.revision, len(locked.files)) == ("official site", "", 13)
    assert not (tmp_path / "posted/README.md").exists(), "what no pattern wants is not unpacked"
    with pytest.raises(UserError, match="has no revisions"):
        fetch(tmp_path, task, "a" * 40, said.append)


@pytest.mark.usefixtures("plain_http")
def test_a_download_goes_on_where_it_was(tmp_path: Path) -> None:
    content = os.urandom(50_000)
    with serving("lab/x", {"set.zip": content}) as hub:
        (tmp_path / "set.zip.part").write_bytes(content[:20_000])
        download(f"{hub.address}/site/set.zip", tmp_path / "set.zip")
        assert hub.asked == ["GET /site/set.zip bytes=20000-"]
    assert (tmp_path / "set.zip").read_bytes() == content
    assert not (tmp_path / "set.zip.part").exists()


def test_only_https_is_asked_and_what_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://a.example/set.zip", "file:///etc/passwd", "ftp://a.example/x", "https://a.example/"):
        with pytest.raises(UserError, match="no https address"):
            archive_name(url)
    monkeypatch.setattr(archives, "SCHEMES", ("http",))
    with serving("lab/x", {}) as hub, pytest.raises(UserError, match=r"cannot be had .*404"):
        download(f"{hub.address}/site/set.zip", tmp_path / "set.zip")
    with pytest.raises(UserError, match="cannot be had"):
        download("http://127.0.0.1:9/set.zip", tmp_path / "set.zip")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped({"../escape.json": b"x"}), "leaves its folder"),
        (zipped({"/etc/escape.json": b"x"}), "leaves its folder"),
        (zipped({"a\\..\\escape.json": b"x"}), "leaves its folder"),
        (zipped({"a/\x1b[31m.json": b"x"}), "leaves its folder"),
        (zipped({"ok.json": b"x"}, {"link.json": "/etc/passwd"}), "is no file"),
        (zipped({"readme.txt": b"x"}), "no file of the set"),
        (zipped({"bomb.json": bytes(1_200_000_000)}) if os.environ.get("LARGE") else b"PK broken", "damaged|too much"),
        (tarred([entry("../escape.json", size=3)]), "leaves its folder"),
        (tarred([entry("link.json", tarfile.SYMTYPE, link="/etc/passwd")]), "is no file"),
        (tarred([entry("hard.json", tarfile.LNKTYPE, link="ok.json")]), "is no file"),
        (tarred([entry("device.json", tarfile.CHRTYPE)]), "is no file"),
        (tarred([entry("pipe.json", tarfile.FIFOTYPE)]), "is no file"),
        (zipped({"ok.json": b"x" * 9000})[:-40], "damaged"),
        (b"", "damaged"),
    ],
)
def test_a_hostile_archive_writes_nothing(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/set.zip").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=said):
        unpack(tmp_path / "in/set.zip", tmp_path / "in", ("*.json",))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_grows_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BESIDE", 1000)
    (tmp_path / "set.zip").write_bytes(zipped({"bomb.json": bytes(10**6)}))
    with pytest.raises(UserError, match="too much for its size"):
        unpack(tmp_path / "set.zip", tmp_path)
    monkeypatch.setattr(archives.disk.shutil, "disk_usage", lambda folder: os.statvfs_result([0] * 10) and _none_free())
    (tmp_path / "set.zip").write_bytes(zipped({"ok.json": os.urandom(1000)}))
    with pytest.raises(UserError, match=r"unpacking set\.zip needs"):
        unpack(tmp_path / "set.zip", tmp_path)


def _none_free() -> object:
    return type("Usage", (), {"free": 0})()


def test_an_interrupted_unpacking_goes_on_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(zipped({"a/one.json": b"one", "a/two.json": b"two"}))
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "in/a/one.json").write_bytes(b"ONE")
    assert unpack(tmp_path / "set.zip", tmp_path / "in") == 2
    assert (tmp_path / "in/a/one.json").read_bytes() == b"ONE", "a whole file is not written again"
    assert (tmp_path / "in/a/two.json").read_bytes() == b"two"
    (tmp_path / "out").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/a").symlink_to(tmp_path / "out")
    with pytest.raises(UserError, match="symbolic link"):
        unpack(tmp_path / "set.zip", tmp_path / "linked")
    assert not list((tmp_path / "out").iterdir())


@given(st.text(alphabet="ab./\\:\x00\x1b é~*", max_size=12))
def test_a_plain_name_stays_below_its_folder(name: str) -> None:
    if is_plain(name):
        folder = Path("/data/set")
        assert Path(os.path.normpath(folder / name)).is_relative_to(folder)
        assert Path(os.path.normpath(folder / name)) != folder
        assert name.isprintable()
