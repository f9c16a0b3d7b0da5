"""A stage's seed is the run's seed and the stage's name: no last digit of a weight becomes another order of data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy
import pytest
from fake_world import FAKE, SLOW, STREAM, fake_run, make_model
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from baselines.rft import RFT
from baselines.sft import SFT
from harness.core import Job, Paradigm, Run, Stage, Stream, Task, replace, stage_seed
from harness.registry import typed
from harness.runner import Finished, run
from harness.scales import TWIN, model_folder
from harness.store.record import read_record
from harness.training.presentations import presentations
from harness.weights import weights_digest


@given(seed=st.integers(0, 2**31 - 1), stages=st.lists(st.text(max_size=9), min_size=2, max_size=9, unique=True))
def test_stages_and_seeds_have_seeds_of_their_own(seed: int, stages: list[str]) -> None:
    found = [stage_seed(seed, name) for name in stages]
    assert found == [stage_seed(seed, name) for name in stages]
    assert len(set(found)) == len(found)
    assert all(0 <= one < 2**31 for one in found)
    assert stage_seed(seed, stages[0]) != stage_seed(seed + 1, stages[0])


def test_the_seed_of_a_stage_is_the_same_in_every_release() -> None:
    assert (stage_seed(0, "gqa"), stage_seed(1, "gqa"), stage_seed(0, "joint")) == (1593912411, 2095189350, 1872317208)


@pytest.mark.slow
@pytest.mark.usefixtures("fake_plugin")
def test_arms_of_one_seed_and_bases_of_other_weights_share_their_seeds(tmp_path: Path) -> None:
    asked = [
        fake_run(make_model(tmp_path / f"model-{value}", value), paradigm, seed=3)
        for value in (1.0, 2.0)
        for paradigm in (FAKE, SLOW)
    ]
    records = [read_record(run(one, tmp_path / f"runs-{n}").folder) for n, one in enumerate(asked)]
    assert len({stage.weights for record in records for stage in record.stages}) == 12
    expected = [stage_seed(3, name) for name in STREAM.tasks]
    assert [[stage.seed for stage in record.stages] for record in records] == [expected] * 4


@pytest.mark.parametrize("names", [("gqa",), ("gqa", "textvqa")])
def test_arms_of_one_seed_share_their_order_of_data(tmp_path: Path, names: tuple[str, ...]) -> None:
    tasks = [typed(Task, name) for name in names]
    jobs = [
        Job(
            paradigm=paradigm,
            scale=TWIN,
            stage=Stage(name="stage", tasks=names),
            examples=tuple((task, example) for task in tasks for example in task.load("train", 9)),
            epochs=dict.fromkeys(names, 2),
            model=tmp_path / paradigm.name,
            reference=None,
            seed=stage_seed(seed, "stage"),
            folder=tmp_path,
        )
        for seed in (0, 1)
        for paradigm in (SFT, RFT)
    ]
    sft, rft, *others = [[example.id for _, example in presentations(job)] for job in jobs]
    assert sft == rft
    assert others[0] == others[1] != sft


# Small, and with steps and rates at which another order of data leaves 1 or 2 of the last stage's 6 cells equal.
BRISK = replace(
    TWIN,
    name="brisk",
    train_items=16,
    test_items=16,
    sft_batch=4,
    rollouts=4,
    prompts_per_update=4,
    updates_per_rollout_batch=1,
    rates={"sft": 1e-3, "grpo": 5e-4},
    observers=0,
)


def nudged(folder: Path) -> Path:
    """A copy of the twin base of which every number of one tensor is moved by one unit in the last place."""
    shutil.copytree(model_folder(TWIN), folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in sorted(weights) if name.endswith("mlp.down_proj.weight"))
    weights[name] = numpy.nextafter(weights[name], numpy.float32(numpy.inf))
    save_file(weights, file, metadata={"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", ["sft", "rft"])
def test_a_base_that_differs_in_the_last_place_ends_with_equal_cells(tmp_path: Path, paradigm: str) -> None:
    stream = replace(typed(Stream, "o1"), general=())
    asked = Run(paradigm=typed(Paradigm, paradigm), stream=stream, scale=BRISK)
    moved = replace(asked, scale=replace(BRISK, model=str(nudged(tmp_path / "nudged"))))
    assert weights_digest(Path(moved.scale.model)) != weights_digest(model_folder(TWIN))
    one, other = run(asked, tmp_path / "runs"), run(moved, tmp_path / "other")
    last = len(stream.tasks)
    assert numbers(one, last) == numbers(other, last)
    assert {cell.weights for cell in one.cells}.isdisjoint(cell.weights for cell in other.cells)
    assert numbers(one, last) != numbers(one, 0), "training would hide a mistake if it moved nothing"


def numbers(done: Finished, stage: int) -> list[tuple[object, ...]]:
    """What the cells of a stage say, without what they were made from."""
    return [
        (cell.task, cell.style, cell.n, cell.score, cell.malformed, cell.truncated)
        for cell in done.cells
        if cell.stage == stage
    ]
