"""A killed stage goes on where its last whole state was, bit for bit, and never from anything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from noise_jobs import SMALL, build_bases, job, same

from baselines.rft import RFT_NOCOT
from baselines.sft import SFT
from harness.core import Progress, replace
from harness.training import resume, trainers
from harness.training.launch import train


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained twin bases that differ in their seed."""
    return build_bases(tmp_path_factory)


class Killed(Exception):
    """Stands in for SIGKILL."""


def killed_at(step: int) -> Callable[[Progress], None]:
    """A report that dies when a step is done."""

    def report(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return report


@pytest.fixture
def saves_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A save wherever one is allowed."""
    monkeypatch.setattr(trainers, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(trainers, "SAVE_SHARE", float("inf"))


@pytest.mark.slow
@pytest.mark.usefixtures("saves_always")
def test_sft_resumes_bit_identical(bases: tuple[Path, Path], tmp_path: Path) -> None:
    made = job(bases[0], tmp_path / "whole", SFT, count=28)
    whole = train(made)
    with pytest.raises(Killed):
        train(replace(made, folder=tmp_path / "cut", report=killed_at(5)))
    steps: list[Progress] = []
    resumed = train(replace(made, folder=tmp_path / "cut", report=steps.append))
    assert [progress.step for progress in steps] == [5, 6, 7]
    assert same(whole.weights, resumed.weights)
    assert replace(whole, weights=resumed.weights) == resumed


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_rft_resumes_bit_identical_towards_its_own_reference(
    bases: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int | None
) -> None:
    paradigm, scale = replace(RFT_NOCOT, kl=0.5), replace(SMALL, micro_batch=micro_batch)
    made = job(bases[0], tmp_path / "whole", paradigm, count=12, reference=bases[1], scale=scale)
    whole = train(made)
    monkeypatch.setattr(trainers, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(trainers, "SAVE_SHARE", float("inf"))
    with pytest.raises(Killed):
        train(replace(made, folder=tmp_path / "cut", report=killed_at(4)))
    steps: list[Progress] = []
    resumed = train(replace(made, folder=tmp_path / "cut", report=steps.append))
    assert [progress.step for progress in steps] == [3, 4, 5, 6], "states lie between rollout batches"
    assert same(whole.weights, resumed.weights)
    assert replace(whole, weights=resumed.weights) == resumed
    assert not same(whole.weights, train(replace(made, folder=tmp_path / "x", reference=bases[0])).weights)


@pytest.mark.slow
@pytest.mark.usefixtures("saves_always")
@pytest.mark.parametrize("harm", ["unsealed", "edited", "shortened", "foreign"])
def test_a_state_that_is_not_whole_is_never_resumed_from(bases: tuple[Path, Path], tmp_path: Path, harm: str) -> None:
    made = job(bases[0], tmp_path, SFT, count=12)
    with pytest.raises(Killed):
        train(replace(made, report=killed_at(3)))
    state = tmp_path / "states" / "checkpoint-2"
    optimizer = state / "optimizer.pt"
    if harm == "unsealed":
        (state.parent / "checkpoint-2.json").unlink()
    elif harm == "edited":
        (state / "trainer_state.json").write_text((state / "trainer_state.json").read_text().replace("2", "1", 1))
    elif harm == "shortened":
        optimizer.write_bytes(optimizer.read_bytes()[:100])
    else:
        made = replace(made, seed=made.seed + 1)
    steps: list[Progress] = []
    train(replace(made, report=steps.append))
    assert [progress.step for progress in steps] == [1, 2, 3]


@pytest.mark.slow
def test_a_finished_job_is_not_learned_again_unless_its_weights_changed(
    bases: tuple[Path, Path], tmp_path: Path
) -> None:
    steps: list[Progress] = []
    made = job(bases[0], tmp_path, SFT, count=4, report=steps.append)
    first = train(made)
    assert train(made) == first
    assert len(steps) == 1
    (first.weights / "model.safetensors").write_bytes(b"")
    assert train(made) == first
    assert len(steps) == 2


def test_seals(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    (folder / "a").write_text("x")
    assert resume.opened(folder, "me") is None
    resume.seal(folder, "me", {"n": 3})
    assert resume.opened(folder, "me") == {"n": 3}
    assert resume.opened(folder, "you") is None
    (tmp_path / "checkpoint-9").mkdir()
    assert resume.last_whole(tmp_path, "me") == folder
    (folder / "b").write_text("more")
    assert resume.last_whole(tmp_path, "me") is None
    assert not list(tmp_path.iterdir())
