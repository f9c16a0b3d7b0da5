"""`harness check` on machines that are not here: what nvidia-smi, /proc/meminfo and torch would say is given to it."""

from __future__ import annotations

import fcntl
import sys

import pytest

from harness.command import check, machine
from harness.command.machine import Gpu, Seen
from harness.core import UserError, replace
from harness.scales import QWEN25_VL_7B, TWIN
from harness.store import mounts

SMI = "NVIDIA H100 80GB HBM3, 81559, 4, 580.65.06\n" * 8
H100 = Gpu(name="NVIDIA H100 80GB HBM3", memory=81559 * 2**20, used=4 * 2**20)
EIGHT = Seen(
    gpus=(H100,) * 8,
    driver="580.65.06",
    visible=((9, 0),) * 8,
    torch="2.13.0+cu130",
    cuda="13.0",
    nccl="2.28.9",
    free=900 * 10**9,
    installed={"torch": "2.13.0+cu130", "trl": "1.16.0", "vllm": "0.31.0"},
    environment=dict.fromkeys(machine.OFFLINE, "1"),
)
LARGE = replace(QWEN25_VL_7B, engine="transformers", rollout_engine="transformers")
BARE = Seen(torch="2.14.1", installed={"torch": "2.14.1"})


def test_nvidia_smi_is_read_and_whatever_else_is_said_is_nothing():
    assert machine.cards(SMI) == (EIGHT.gpus, "580.65.06")
    for said in ("", "No devices were found", "NVIDIA H100, [N/A], 4, 580", "\x1b[31m, 1, 2", "a, b, c, d\n" * 3):
        assert machine.cards(said) == ((), "")
    assert machine.available("MemFree: 3 kB\n") is None
    assert machine.pinned("torch==2.13.0 ; python_version > '3'\n# vllm==1\n-e .\n") == {"torch": "2.13.0"}


def test_eight_cards_are_enough():
    assert machine.gpus(EIGHT, LARGE) == "8 x NVIDIA H100 80GB HBM3 (86 GB), compute capability 9.0"
    assert machine.driver(EIGHT) == "580.65.06, torch is built with CUDA 13.0"
    assert machine.nccl(EIGHT, LARGE) == "2.28.9"
    assert machine.offline(EIGHT) == "nothing is fetched by a run"
    assert machine.host(EIGHT, 150e9) == "900 GB free, about 150 GB wanted"


def test_a_machine_without_a_gpu_is_fine_for_the_twin():
    assert machine.gpus(BARE, TWIN) == "CPU only, which is all that scale twin needs"
    assert machine.driver(BARE) == "not told, torch is built with CUDA none"
    assert machine.nccl(BARE, TWIN) == "none"


def test_only_the_cards_that_are_shown_count():
    busy = replace(EIGHT, gpus=(replace(H100, used=70 * 10**9),) * 4 + (H100,) * 4, visible=((9, 0),) * 4)
    four = replace(LARGE, ranks=4)
    with pytest.raises(UserError, match=r"another program holds 70\.0 GB of card 1"):
        machine.gpus(replace(busy, environment={"CUDA_VISIBLE_DEVICES": "1,2,3,4"}), four)
    for shown in ("4,5,6,7", "GPU-8a1b,GPU-9c2d,GPU-3e4f,GPU-5a6b"):
        found = machine.gpus(replace(busy, environment={"CUDA_VISIBLE_DEVICES": shown}), four)
        assert found in ("4 x NVIDIA H100 80GB HBM3 (86 GB), compute capability 9.0", "4 GPUs, compute capability 9.0")


TROUBLES = {
    "no card": (BARE, "no GPU is here, and scale qwen2.5-vl-7b wants 8: use such a machine, or scale twin"),
    "torch without CUDA": (replace(EIGHT, visible=(), cuda=None, torch="2.14.1"), "torch 2.14.1 is built without CUDA"),
    "hidden": (
        replace(EIGHT, visible=(), environment={"CUDA_VISIBLE_DEVICES": ""}),
        "CUDA_VISIBLE_DEVICES hides them: unset it",
    ),
    "broken driver": (replace(EIGHT, visible=()), "finds none: update the driver (580.65.06)"),
    "old card": (replace(EIGHT, visible=((7, 5),) * 8), "compute capability 7.5, and bf16 wants 8.0 or more"),
    "too few": (replace(EIGHT, visible=((9, 0),) * 4), "trains on 8 GPUs, torch sees 4: use another scale"),
    "too few shown": (
        replace(EIGHT, visible=((9, 0),) * 4, environment={"CUDA_VISIBLE_DEVICES": "0,1,2,3"}),
        "torch sees 4: show more by CUDA_VISIBLE_DEVICES=0,1,2,3",
    ),
    "unequal": (
        replace(EIGHT, gpus=(*EIGHT.gpus[:7], replace(H100, name="NVIDIA L4"))),
        "the cards differ (7 x NVIDIA H100 80GB HBM3 (86 GB), 1 x NVIDIA L4 (86 GB))",
    ),
    "busy": (
        replace(EIGHT, gpus=(H100, replace(H100, used=20 * 10**9), *EIGHT.gpus[2:])),
        "another program holds 20.0 GB of card 1",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_with_the_cards_is_one_line(trouble):
    seen, line = TROUBLES[trouble]
    with pytest.raises(UserError) as refused:
        machine.gpus(seen, LARGE)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_troubles_are_one_line_each():
    with pytest.raises(UserError, match=r"driver 575\.51 is too old for CUDA 13\.0: install 580 or newer"):
        machine.driver(replace(EIGHT, driver="575.51"))
    assert machine.driver(replace(EIGHT, driver="575.51", cuda="12.8")).startswith("575.51")
    with pytest.raises(UserError, match=r"has no NCCL, and scale qwen2\.5-vl-7b has 8 ranks"):
        machine.nccl(replace(EIGHT, nccl=""), LARGE)
    with pytest.raises(UserError, match="about 150 GB of the host's memory are wanted, 100 GB are free"):
        machine.host(replace(EIGHT, free=100 * 10**9), 150e9)
    assert "does not tell" in machine.host(replace(EIGHT, free=None), 150e9)
    assert machine.offline(replace(EIGHT, environment={"HF_HUB_OFFLINE": "0"})).startswith("HF_HUB_OFFLINE, TRANSF")
    with pytest.raises(UserError, match="samples by vLLM, which is not installed"):
        machine.engine(BARE, replace(LARGE, engine="vllm"))
    with pytest.raises(UserError, match="samples by vLLM, which is not installed"):
        machine.engine(replace(BARE, environment={machine.VLLM_PYTHON: "x"}), replace(LARGE, rollout_engine="vllm"))
    assert machine.engine(replace(BARE, environment={machine.VLLM_PYTHON: "x"}), replace(LARGE, engine="vllm"))
    assert machine.engine(EIGHT, replace(LARGE, engine="vllm")) == "vllm for evaluation, transformers for rollouts"


def test_versions_are_held_against_the_lock_that_is_nearest():
    locks = {"constraints.txt": {"torch": "2.14.1", "trl": "1.16.0"}, "constraints-gpu.txt": {"torch": "2.13.0"}}
    assert machine.versions(EIGHT, locks) == "as constraints-gpu.txt has them"
    assert machine.versions(BARE, locks) == "as constraints.txt has them"
    other = replace(BARE, installed={"torch": "2.15.0", "trl": "1.16.0"})
    assert machine.versions(other, locks) == "torch 2.15.0, constraints.txt has 2.14.1"
    assert machine.versions(other, {}) == "no lock file beside the project"
    assert "torch" in machine.lock_files()["constraints.txt"]


def test_this_machine_can_be_looked_at(monkeypatch):
    monkeypatch.setattr(machine, "SMI", (sys.executable, "-c", f"print({SMI!r})"))
    seen = machine.look()
    assert seen.gpus == EIGHT.gpus
    assert seen.torch
    assert seen.free
    assert seen.installed["trl"]
    monkeypatch.setattr(machine, "SMI", ("no-such-program-here",))
    assert machine.look().gpus == ()


def test_locks_are_tried_from_two_processes(tmp_path, monkeypatch):
    assert machine.locking(tmp_path) == "a second process is kept out"
    assert list(tmp_path.iterdir()) == []
    table = tmp_path.parent / "mounts"
    monkeypatch.setattr(mounts, "MOUNTS", table)
    for kind, options, alone in (
        ("nfs4", "rw,vers=4.2,local_lock=none", ""),
        ("nfs", "rw,local_lock=flock", "nfs, local_lock=flock"),
        ("lustre", "rw,flock", ""),
        ("lustre", "rw,localflock", "lustre, localflock"),
        ("ext4", "rw,nolock", ""),
    ):
        table.write_text(f"/dev/a / ext4 rw 0 0\nhost:/x {tmp_path.parent} {kind} {options} 0 0\n")
        assert mounts.locks_alone(tmp_path) == alone
        assert ("but not one of another machine" in machine.locking(tmp_path)) == bool(alone)
    monkeypatch.setattr(fcntl, "flock", lambda handle, how: None)  # as a mount without locks: the first one holds none
    with pytest.raises(UserError, match=r"two processes get one lock .*mount it with locks"):
        machine.locking(tmp_path)
    found = {finding.what: finding for finding in check._locking(tmp_path / "runs")}
    assert not found["locks"].well
    (tmp_path / "file").touch()
    assert check._locking(tmp_path / "file") == [], "another finding says that nothing can be written there"
