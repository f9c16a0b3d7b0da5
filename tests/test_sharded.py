"""What several ranks are told, without any: where weights and pixels go, and that the vision tower has learned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from noise_jobs import SMALL, build_bases, job, tensors

from baselines.sft import SFT
from harness.core import UserError, replace
from harness.training import trainers
from harness.training.ranks import agreed, dealt, is_main, micro_batches, world
from harness.training.sharded import placement, reference_loading, sharding
from harness.training.shared_prefix import Prompt, _pictures
from harness.training.vision import check_moved


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch's launcher tells the second of two ranks, on a machine with GPUs."""
    import torch

    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_outside_of_ranks_nothing_is_told_otherwise() -> None:
    assert (world(), is_main(), dealt("abc"), agreed(os.getpid)) == (1, True, ["a", "b", "c"], os.getpid())
    assert (sharding(True), placement(), reference_loading("bfloat16")) == ({}, {}, {})


@pytest.mark.usefixtures("second_of_two")
def test_a_rank_loads_onto_its_own_gpu_and_shards_by_fsdp2_with_fp32_masters(tmp_path: Path) -> None:
    assert (world(), is_main(), dealt("abcde")) == (2, False, ["b", "d"])
    assert placement() == {"device_map": {"": 1}}
    # TRL would spread the reference over all GPUs of each rank, in fp32
    assert reference_loading("bfloat16") == {
        "device_map": {"": 1},
        "dtype": "bfloat16",
        "use_safetensors": True,
        "local_files_only": True,
    }
    told = trainers.settings(replace(job(tmp_path, tmp_path, SFT), scale=replace(SMALL, precision="bfloat16")))
    assert (told["bf16"], told[trainers.recomputing()], told["use_cpu"], told["fsdp"]) == (True, False, False, True)
    config = told["fsdp_config"]
    assert (config["version"], config["activation_checkpointing"], config["reshard_after_forward"]) == (2, True, True)
    assert config["state_dict_type"] == "SHARDED_STATE_DICT"
    assert micro_batches(replace(SMALL, micro_batch=2), 8) == {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
    }
    with pytest.raises(UserError, match="4 sequences of a batch are no whole number of micro-batches of 3"):
        micro_batches(replace(SMALL, micro_batch=3), 8)


def test_pixels_wait_in_memory_of_the_host() -> None:
    """They follow their prompt's ids to the device of a forward pass: here to the one that holds nothing."""
    import torch

    prompt = Prompt(
        ids=torch.zeros(3, dtype=torch.long, device="meta"),
        positions=torch.zeros(3, 3, device="meta"),
        pixels=torch.ones(4, 2),
        grids=torch.ones(1, 3, device="meta"),
    )
    assert {name: value.device.type for name, value in _pictures([prompt, prompt]).items()} == {
        "pixel_values": "meta",
        "image_grid_thw": "meta",
    }


@pytest.mark.slow
def test_a_stage_whose_vision_tower_stays_as_it_was_is_an_error(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from safetensors.torch import save_file

    base, _ = build_bases(tmp_path_factory)
    weights = tensors(base)
    for name, moves in {"both": lambda _: True, "none": lambda _: False}.items():
        (tmp_path / name).mkdir()
        save_file({key: value + moves(key) for key, value in weights.items()}, tmp_path / name / "model.safetensors")
        check_moved(base, tmp_path / name)
    blind = {key: value + ("visual." not in key) for key, value in weights.items()}
    save_file(blind, tmp_path / "both" / "model.safetensors")
    with pytest.raises(RuntimeError, match="none of the vision tower"):
        check_moved(base, tmp_path / "both")
    save_file({key: value for key, value in blind.items() if "visual." not in key}, tmp_path / "both" / "a.safetensors")
    (tmp_path / "both" / "model.safetensors").unlink()
    check_moved(base, tmp_path / "both")  # of another layout: nothing is said where nothing can be compared
