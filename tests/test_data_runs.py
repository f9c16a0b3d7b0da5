"""What a run does with official data: its fingerprint in every key, and broken items named before training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_data import PAIRS, TEST, TRAIN, rows, write

from harness import broken_items, registry
from harness.command import check
from harness.core import Paradigm, Run, Stream, UserError, replace
from harness.data.lock import LOCK, read_lock
from harness.data.verify import verify
from harness.run_inputs import asked_examples, data_sets, pictures_of, run_id, run_stages, training_examples
from harness.scales import TWIN

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "tests" / "data_plugin.py"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setattr(broken_items, "_opened", {})
    registry.load_plugin(PLUGIN)
    write(tmp_path / "data/pairs")
    yield tmp_path / "data"
    del sys.modules[registry._plugins[PLUGIN].__name__]


def asked(data: Path | None, **changes: object) -> Run:
    run = Run(
        paradigm=registry.typed(Paradigm, "sft"),
        stream=registry.typed(Stream, "pairs-only"),
        scale=replace(TWIN, train_items=None, test_items=None),
        data=None if data is None else str(data),
    )
    return replace(run, **changes)


def spoil(data: Path, *names: str) -> None:
    for name in names:
        (data / f"pairs/pictures/{name}.png").write_bytes(b"no picture")


def test_the_fingerprint_of_the_files_is_in_keys_and_record(data: Path) -> None:
    run = asked(data)
    task = registry.typed(type(PAIRS), "pairs")
    examples = asked_examples(run, task)
    first, sets = pictures_of(run, "pairs", examples), data_sets(run)
    locked = read_lock(data).sets["pairs"]
    assert sets == {"pairs": {"source": "local", "revision": "", "fingerprint": locked.fingerprint}}
    assert data_sets(asked(None)) == {}
    assert pictures_of(run, "pairs", examples) == first
    other = data.parent / "other"
    write(other / "pairs")
    assert pictures_of(asked(other), "pairs", examples) == first, "a path is in no key"
    (other / LOCK).unlink()
    file = other / "pairs/pictures/train-5.png"
    file.write_bytes((other / "pairs/pictures/train-4.png").read_bytes())
    assert pictures_of(asked(other), "pairs", examples) != first, "every file of the set counts"


@pytest.mark.parametrize("look", ["training", "asked", "check", "settled", "pictures"])
def test_a_changed_set_is_one_line_wherever_data_is_read(data: Path, look: str) -> None:
    run = asked(data)
    task = registry.typed(type(PAIRS), "pairs")
    examples = asked_examples(run, task)
    assert verify(data, PAIRS).locked
    (data / "pairs/train.json").write_text(json.dumps(rows("train", TRAIN - 1)))
    looks = {
        "training": lambda: training_examples(run, run_stages(run)[0], {"pairs": task}),
        "asked": lambda: asked_examples(run, task),
        "check": lambda: check.items(run.stream, data),
        "settled": lambda: broken_items.settled(run, pictures=False),
        "pictures": lambda: pictures_of(run, "pairs", examples),
    }
    with pytest.raises(UserError, match=r"^set pairs: train\.json: expected \d+ bytes, found \d+: put the data back"):
        looks[look]()


def test_broken_pictures_are_named_before_training_and_left_out_only_when_asked(data: Path) -> None:
    whole = run_id(asked(data))
    assert broken_items.settled(asked(data), 5) == asked(data), "a run without broken items is the same run"
    spoil(data, "train-1", "test-3")
    (data / LOCK).unlink()
    with pytest.raises(UserError, match=r"^2 broken .*: train-1 of pairs \(.*, test-3 of pairs \(.* 2$"):
        broken_items.settled(asked(data), 1)
    said: list[str] = []
    run = broken_items.settled(asked(data), 2, said.append)
    assert run.left_out == (("pairs", "test-3"), ("pairs", "train-1"))
    assert [line.partition(" (")[0] for line in said] == ["left out: train-1 of pairs", "left out: test-3 of pairs"]
    task = registry.typed(type(PAIRS), "pairs")
    assert [one.id for one in asked_examples(run, task)] == ["test-0", "test-1", "test-2"]
    assert len(training_examples(run, run_stages(run)[0], {"pairs": task})["pairs"]) == TRAIN - 1
    assert run_id(run) != whole
    assert run_id(replace(run, left_out=run.left_out[:1])) != run_id(run)
    assert broken_items.settled(run, 0) == run, "what is left out is not looked at again"


def test_opened_pictures_are_remembered_with_the_set(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(data, "test-0")
    broken_items.settled(asked(data), 1)
    assert {split: list(found) for split, found in read_lock(data).sets["pairs"].broken.items()} == {
        "train": [],
        "test": ["test-0"],
    }
    monkeypatch.setattr(broken_items, "broken_pictures", lambda *known: pytest.fail("opened again"))
    monkeypatch.setattr(broken_items, "_opened", {})
    assert broken_items.settled(asked(data), 1).left_out == (("pairs", "test-0"),)
    assert str(data.parent) not in (data / LOCK).read_text(), "nobody's folders are told"
    assert broken_items.settled(asked(data, limit=1)).left_out == (), "only what the run reads counts"


def test_a_plan_opens_no_picture_and_knows_what_was_opened(data: Path) -> None:
    spoil(data, "test-1")
    assert broken_items.settled(asked(data), pictures=False) == asked(data)
    assert not (data / LOCK).exists(), "a plan reads no file that it need not"
    assert "pairs is not locked" in check.items(asked(data).stream, data)
    verify(data, PAIRS)
    assert "not all pictures of pairs were opened" in check.items(asked(data).stream, data)
    verify(data, PAIRS, pictures=True)
    assert "pictures" not in check.items(asked(data).stream, data).replace("picture of", "")
    with pytest.raises(UserError, match=r"^1 broken or too long: test-1 of pairs"):
        broken_items.settled(asked(data), pictures=False)


def test_long_prompts_are_broken_items_too(data: Path) -> None:
    items = rows("test", TEST)
    items[2]["question"] = "word " * 400
    (data / "pairs/test.json").write_text(json.dumps(items))
    scale = replace(asked(data).scale, max_prompt_tokens=300)
    run = asked(data, scale=scale)
    with pytest.raises(UserError, match=r"^1 broken .*: test-2 of pairs \(its prompt has \d+ tokens, .*300\)"):
        broken_items.settled(run)
    assert broken_items.settled(run, 1).left_out == (("pairs", "test-2"),)


def harness(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "harness.command.cli", *map(str, arguments), "--plugin", str(PLUGIN)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{PLUGIN.parent}"}
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_a_run_without_broken_items_is_recorded_continued_and_marked_again(data: Path, tmp_path: Path) -> None:
    spoil(data, "train-1", "test-3")
    flags = ("--seq", "pairs-only", "--data", data, "--out", tmp_path / "runs")
    refused = harness("run", "--paradigm", "sft", *flags)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: 2 broken or too long: train-1 of pairs (")
    assert not list((tmp_path / "runs").glob("runs/*/run.json"))
    done = harness("run", "--paradigm", "sft", *flags, "--skip-broken", "2")
    assert done.returncode == 0, done.stderr
    assert "left out: test-3 of pairs" in done.stdout
    record_file = next((tmp_path / "runs").rglob("run.json"))
    record = json.loads(record_file.read_text())
    assert record["declared"]["left_out"] == [["pairs", "test-3"], ["pairs", "train-1"]]
    assert record["sets"]["pairs"]["fingerprint"] == read_lock(data).sets["pairs"].fingerprint
    again = harness("run", "--paradigm", "sft", *flags, "--skip-broken", "9")
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "runs").rglob("run.json"))) == 1
    remarked = harness("remark", record_file.parent.name, "--out", tmp_path / "runs", "--data", data)
    assert remarked.returncode == 0, remarked.stderr
    assert "0 of them changed" in remarked.stdout
