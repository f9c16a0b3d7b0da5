"""`harness data fetch` against a hub on this machine: what it says, locks, goes on with, and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_data import files, write
from fake_hub import Hub, serving

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "tests" / "data_plugin.py"
REVISION = "a" * 40


def command(hub: Hub | None, *arguments: str | Path) -> tuple[list[str], dict[str, str]]:
    """The command and its environment: this hub and no other, whose caches are nobody's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    address = hub.address if hub else "http://127.0.0.1:9"
    environment |= {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": f"{ROOT}:{PLUGIN.parent}"}
    line = [sys.executable, "-m", "harness.command.cli", "data", *map(str, arguments), "--plugin", str(PLUGIN)]
    return line, environment


def harness(hub: Hub | None, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line, environment = command(hub, *arguments)
    return subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("Fetching", "Downloading"))]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: "), done.stderr
    return lines[0]


def locked(data: Path) -> dict[str, dict[str, object]]:
    sets: dict[str, dict[str, object]] = json.loads((data / "data.lock.json").read_text())["sets"]
    return sets


def test_a_set_is_fetched_counted_locked_and_verified_without_the_hub(tmp_path: Path) -> None:
    with serving("lab/pairs", files()) as hub:
        done = harness(hub, "fetch", "pairs", "--data", tmp_path)
        assert done.returncode == 0, done.stderr
        first, last = done.stdout.splitlines()
        assert first == (f"pairs: 0.0 MB from lab/pairs at revision {REVISION} (12 files); licence CC0; of a test")
        assert last.startswith("pairs: 6 train, 4 test; fingerprint ")
        assert not any("README" in line for line in hub.asked)
        entry = locked(tmp_path)["pairs"]
        assert (entry["source"], entry["revision"]) == ("lab/pairs", REVISION)
        assert entry["counts"] == {"train": 6, "test": 4}
        assert len(entry["files"]) == 12  # type: ignore[arg-type]
        before, asked = (tmp_path / "data.lock.json").read_bytes(), len(hub.asked)
        assert harness(hub, "fetch", "pairs", "--data", tmp_path).returncode == 0
        assert not any(line.startswith("GET /datasets") for line in hub.asked[asked:]), "nothing comes twice"
        assert (tmp_path / "data.lock.json").read_bytes() == before
        assert str(tmp_path) not in before.decode()
    done = harness(None, "verify", "--data", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"pairs: 12 files, 0.0 MB, 6 train, 4 test; lab/pairs {REVISION[:12]}\n"


@pytest.mark.slow
def test_the_locked_revision_is_fetched_where_one_is_locked(tmp_path: Path) -> None:
    with serving("lab/pairs", files()) as hub:
        assert harness(hub, "fetch", "pairs", "--data", tmp_path).returncode == 0
        hub.revision = "b" * 40
        line = refused(harness(hub, "fetch", "pairs", "--data", tmp_path))
        assert f"has no revision {REVISION}" in line
        assert harness(hub, "fetch", "pairs", "--data", tmp_path, "--revision", "b" * 40).returncode == 0
        assert locked(tmp_path)["pairs"]["revision"] == "b" * 40


@pytest.mark.slow
def test_after_a_kill_only_what_did_not_come_whole_comes_again(tmp_path: Path) -> None:
    large = {**files(), "pictures/train-0.png": files()["pictures/train-0.png"] + os.urandom(24_000_000)}
    with serving("lab/pairs", large, slow=0.02) as hub:
        line, environment = command(hub, "fetch", "pairs", "--data", tmp_path)
        begun = subprocess.Popen(line, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while begun.poll() is None and not (_torn(tmp_path) > 10**6 and len(_whole(tmp_path)) == 11):
            time.sleep(0.05)
        begun.kill()
        begun.wait()
        whole = _whole(tmp_path)
        assert not (tmp_path / "data.lock.json").exists()
        assert _torn(tmp_path)
        hub.slow, asked = 0.0, len(hub.asked)
        done = harness(hub, "fetch", "pairs", "--data", tmp_path)
        assert done.returncode == 0, done.stderr
        assert "0.0 MB of it here" in done.stdout
        again = {
            line.partition(hub.revision + "/")[2] for line in hub.asked[asked:] if line.startswith("GET /datasets")
        }
        assert again == {"pictures/train-0.png"}
    assert (tmp_path / "pairs/pictures/train-0.png").read_bytes() == large["pictures/train-0.png"]
    assert len(whole) == 11
    assert not _torn(tmp_path)


def _torn(data: Path) -> int:
    """The bytes of files that did not come whole."""
    return sum(path.stat().st_size for path in data.rglob("*.incomplete"))


def _whole(data: Path) -> list[Path]:
    """The files of the set that came whole."""
    return [path for path in (data / "pairs").rglob("*.[jp]*") if ".cache" not in path.parts and path.is_file()]


@pytest.mark.slow
def test_what_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    with serving("lab/other", files()) as hub:
        assert "lab/pairs is not on the hub" in refused(harness(hub, "fetch", "pairs", "--data", tmp_path))
    assert "cannot be reached" in refused(harness(None, "fetch", "pairs", "--data", tmp_path))
    assert "no commit" in refused(harness(None, "fetch", "pairs", "--data", tmp_path, "--revision", "main"))
    assert "one by one" in refused(
        harness(None, "fetch", "pairs", "posted", "--data", tmp_path, "--revision", REVISION)
    )
    assert not (tmp_path / "data.lock.json").exists()


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with serving("lab/pairs", {**files(), "pictures/train-0.png": os.urandom(3_000_000)}) as hub:
        line, environment = command(hub, "fetch", "pairs", "--data", tmp_path)
        limited = ["bash", "-c", 'ulimit -f 1000; exec "$@"', "limited", *line]
        done = subprocess.run(limited, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert "raise the limit or use another disk" in refused(done)
        assert not (tmp_path / "data.lock.json").exists()
        assert harness(hub, "fetch", "pairs", "--data", tmp_path).returncode == 0
        assert len(locked(tmp_path)["pairs"]["files"]) == 12  # type: ignore[arg-type]


def test_a_download_with_other_counts_than_published_is_not_locked(tmp_path: Path) -> None:
    with serving("lab/pairs", {**files(), "test.json": b"[]"}) as hub:
        line = refused(harness(hub, "fetch", "pairs", "--data", tmp_path))
    assert "set pairs: test has 0 items, published are 4" in line
    assert not (tmp_path / "data.lock.json").exists()
    done = harness(None, "verify", "pairs", "--data", tmp_path, "--write")
    assert done.returncode == 0
    assert done.stdout.startswith("note: set pairs: test has 0 items, published are 4\n")
    assert locked(tmp_path)["pairs"]["source"] == "local"


def test_a_hub_cannot_name_files_outside_the_set(tmp_path: Path) -> None:
    with serving("lab/pairs", {**files(), "../../escape.json": b"{}"}) as hub:
        assert "names a file '../../escape.json'" in refused(harness(hub, "fetch", "pairs", "--data", tmp_path / "in"))
    assert not list(tmp_path.rglob("*.json"))


def test_a_download_follows_no_link_and_takes_no_file_for_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pairs").symlink_to(tmp_path / "elsewhere")
    with serving("lab/pairs", files()) as hub:
        assert "is a symbolic link" in refused(harness(hub, "fetch", "pairs", "--data", tmp_path / "data"))
        (tmp_path / "file").write_text("x")
        assert "no folder" in refused(harness(hub, "fetch", "pairs", "--data", tmp_path / "file"))
