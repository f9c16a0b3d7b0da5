"""A suite and a probe, end to end: a suite's cells beside those of tasks, a probe's numbers in a table of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from fake_world import DRIFT, SHOUTS, WATCHING, fake_run, heard_by, make_model, mark_shouts
from safetensors.numpy import load_file

from harness.core import Example, Mark, Observation, ProbeValue, Reply, UserError, replace
from harness.results.cells import read_cells
from harness.results.probes import COLUMNS, read_probes
from harness.run_inputs import observations
from harness.runner import Finished, run
from harness.store.record import read_record
from harness.store.tables import from_parquet

pytestmark = pytest.mark.usefixtures("fake_plugin")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def watch(model: Path, out: Path) -> Finished:
    return run(fake_run(model, stream=WATCHING), out)


def test_what_is_looked_at_is_one_list_in_the_order_of_the_tables(model: Path) -> None:
    found = observations(fake_run(model, stream=WATCHING))
    columns = [(name, style) for name in ("coins", "dice", "watched") for style in ("direct", "cot")]
    row = [*columns, ("shouts", "own")]
    assert [(one.name, one.style) for one in found] == [*row, *([*row, ("drift", "")] * 2)]
    assert [one.stage for one in found] == [0] * 7 + [1] * 8 + [2] * 8, "a probe of the base has nothing to compare"
    assert found[6] == Observation(
        stage=0, stage_name="base", kind="suite", name="shouts", style="own", decoding="greedy-4"
    )


def test_a_suite_asks_in_its_own_words_and_marks_by_its_own_rules(tmp_path: Path, model: Path) -> None:
    done = watch(model, tmp_path / "runs")
    assert read_cells(done.folder / "cells.csv") == list(done.cells)
    cells = [cell for cell in done.cells if cell.task == "shouts"]
    assert [(cell.stage, cell.style, cell.decoding, cell.scorer, cell.n) for cell in cells] == [
        (stage, "own", "greedy-4", "shouts-v2", 7) for stage in range(3)
    ]
    for cell in cells:
        name = f"{cell.stage}-shouts-own.parquet"
        replies = from_parquet(Reply, done.folder / "replies" / name).records
        marks = from_parquet(Mark, done.folder / "marks" / name).records
        assert marks == tuple(mark_shouts(SHOUTS.ask(None, 10), replies))
        assert cell.score == sum(reply.text.upper() == "YES" for reply in replies) / 7
        assert cell.malformed == sum(not reply.text for reply in replies) / 7
    assert len({cell.score for cell in cells}) > 1, "the suite would hide a mistake if all scores were equal"
    assert read_record(done.folder).suites == ("watched", "shouts")


def test_a_probe_is_measured_after_each_stage_from_the_base(tmp_path: Path, model: Path) -> None:
    done = watch(model, tmp_path / "runs")
    record = read_record(done.folder)
    text = (done.folder / "probes.csv").read_text()
    assert text.splitlines()[0] == "run,stage,stage_name,probe,version,unit,value,before,after" == ",".join(COLUMNS)
    folders = [tmp_path / "runs" / "checkpoints" / str(stage.key) for stage in record.stages]
    weights = [float(load_file(folder / "model.safetensors")["w"][0]) for folder in folders]
    assert read_probes(done.folder / "probes.csv") == [
        ProbeValue(
            run=done.id,
            stage=index,
            stage_name=stage.name,
            probe="drift",
            version=3,
            unit="weight",
            value=abs(weights[index - 1] - 1.0),
            before=record.base,
            after=str(stage.weights),
        )
        for index, stage in enumerate(record.stages, start=1)
    ]
    assert not [cell for cell in done.cells if cell.task == "drift"]
    again = watch(model, tmp_path / "runs")
    assert (again.folder / "probes.csv").read_text() == text


def test_a_new_version_of_a_suite_marks_the_kept_replies_without_an_engine(
    tmp_path: Path, model: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = watch(model, tmp_path / "runs")
    monkeypatch.setattr(fake_plugin, "SHOUTS", replace(SHOUTS, version=3, mark=all_right))
    journal: list[str] = []
    second = run(fake_run(model, stream=WATCHING), tmp_path / "runs", engine=heard_by(journal))
    assert journal == []
    assert first.id != second.id
    assert [cell.score for cell in second.cells if cell.task == "shouts"] == [1.0] * 3
    assert [replace(cell, run=first.id) for cell in second.cells if cell.task != "shouts"] == [
        cell for cell in first.cells if cell.task != "shouts"
    ]


def all_right(examples: Sequence[Example], replies: Sequence[Reply]) -> Sequence[Mark]:
    return [Mark(example=example.id, read="YES", score=1.0) for example in examples]


def one_mark_less(examples: Sequence[Example], replies: Sequence[Reply]) -> Sequence[Mark]:
    return mark_shouts(examples, replies)[1:]


def another_order(examples: Sequence[Example], replies: Sequence[Reply]) -> Sequence[Mark]:
    return list(reversed(mark_shouts(examples, replies)))


def no_number(before: Path, after: Path, examples: Mapping[str, tuple[Example, ...]]) -> float:
    return float("nan")


def a_text(before: Path, after: Path, examples: Mapping[str, tuple[Example, ...]]) -> float:
    return "1"  # type: ignore[return-value]


def same_ids(data: Path | None, count: int) -> Sequence[Example]:
    return [replace(example, id="one") for example in SHOUTS.ask(data, count)]


@pytest.mark.parametrize(
    ("name", "noun", "words"),
    [
        ("SHOUTS", replace(SHOUTS, mark=one_mark_less), "suite shouts does not give one Mark for each reply"),
        ("SHOUTS", replace(SHOUTS, mark=another_order), "suite shouts does not give one Mark for each reply"),
        ("SHOUTS", replace(SHOUTS, ask=same_ids), "the prompts of suite shouts: two have one id"),
        ("DRIFT", replace(DRIFT, measure=no_number), "probe drift gives nan"),
        ("DRIFT", replace(DRIFT, measure=a_text), "probe drift gives '1'"),
    ],
)
def test_a_suite_or_probe_that_breaks_its_promise_is_refused(
    tmp_path: Path,
    model: Path,
    fake_plugin: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    noun: object,
    words: str,
) -> None:
    monkeypatch.setattr(fake_plugin, name, noun)
    with pytest.raises(UserError, match=words) as refused:
        watch(model, tmp_path / "runs")
    assert "\n" not in str(refused.value)


def test_a_suite_and_a_task_of_one_name_are_refused(
    fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    monkeypatch.setattr(fake_plugin, "SHOUTS", replace(SHOUTS, name="watched"))
    with pytest.raises(UserError, match="watched is both a task and a suite"):
        observations(fake_run(model, stream=replace(WATCHING, general=("watched",))))
