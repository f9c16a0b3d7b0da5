"""The trainers' own reporters: what they are told, what they write, and that no number and no key knows of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_world import ENGINE, fake_run, make_model

from baselines.sft import SFT
from harness import train_stage
from harness.command import check
from harness.core import Job, Progress, UserError, replace
from harness.job import Reporting
from harness.laws import small_job
from harness.runner import run
from harness.scales import TWIN, model_folder
from harness.store.record import read_record
from harness.training.launch import train
from harness.training.reporting import reporting, settings_of


@pytest.mark.slow
def test_tensorboard_gets_every_step_and_moves_no_weight(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    heard: list[Progress] = []
    weights = []
    for place in ("plain", "reported"):
        (tmp_path / place).mkdir()
        job = small_job(SFT, replace(TWIN, sft_batch=4), model_folder(TWIN), tmp_path / place)
        if place == "reported":
            told = Reporting(to="tensorboard", group="sft-default-twin", folder=tmp_path / "run")
            job = replace(job, reporting=told, report=heard.append)
        weights.append((train(job).weights / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / job.stage.name))
    events.Reload()
    losses = [(point.step, point.value) for point in events.Scalars("train/loss")]
    assert losses == [(step.step, pytest.approx(step.loss)) for step in heard]
    assert len(losses) == heard[-1].steps > 1
    assert [step.tokens for step in heard] == sorted(step.tokens or 0 for step in heard)


def test_wandb_is_offline_in_the_runs_folder_and_one_run_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(finish=lambda: ended.append(os.environ["WANDB_RUN_ID"])))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    told = Reporting(to="wandb", group="a-run", folder=tmp_path)
    stage = small_job(SFT, TWIN, tmp_path, tmp_path)
    job = replace(stage, reporting=told, key="1")
    assert settings_of(job) == {"report_to": "wandb", "run_name": f"a-run/{job.stage.name}"}
    before = dict(os.environ)
    with reporting(job):
        assert os.environ["WANDB_MODE"] == "offline"
        assert os.environ["WANDB_DIR"] == str(tmp_path)
        assert os.environ["WANDB_RUN_GROUP"] == "a-run"
    with reporting(replace(job, key="2")):
        pass
    assert len(set(ended)) == 2, "each stage ends a run of its own"
    assert dict(os.environ) == before
    monkeypatch.setenv("WANDB_MODE", "online")
    with reporting(job):
        assert os.environ["WANDB_MODE"] == "online", "the user asked for it"
    assert settings_of(stage) == {"report_to": "none"}
    with reporting(stage):
        assert "WANDB_RUN_GROUP" not in os.environ


def test_a_run_tells_its_stages_and_no_key_knows(
    tmp_path: Path, fake_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def noted(job: Job) -> Any:
        jobs.append(job)
        return train(job)

    monkeypatch.setattr(train_stage, "train", noted)
    asked = fake_run(make_model(tmp_path / "model"))
    plain = run(asked, tmp_path / "plain", None, ENGINE)
    told = run(asked, tmp_path / "told", None, ENGINE, report_to="tensorboard")
    assert read_record(plain.folder).stages == read_record(told.folder).stages
    assert (plain.folder / "cells.csv").read_bytes() == (told.folder / "cells.csv").read_bytes()
    half = len(jobs) // 2
    assert [job.reporting for job in jobs[:half]] == [None] * half
    wanted = Reporting(to="tensorboard", group=told.id, folder=told.folder)
    assert [job.reporting for job in jobs[half:]] == [wanted] * half


def test_a_reporter_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--report-to mlflow is unknown: use tensorboard or wandb"):
        check.reporter("mlflow")
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="--report-to wandb needs the package wandb: pip install wandb"):
        check.reporter("wandb")
