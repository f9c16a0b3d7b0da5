"""Several ranks: what one rank learns, up to rounding; a rank that dies ends all; the same command goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_world import fake_run, make_model
from noise_jobs import NOISE, SMALL, build_bases, item, job, same, tensors
from test_kill import alive, children_of
from test_processes import interrupt_all, kill_it

from baselines.rft import RFT
from baselines.sft import SFT, SFT_LORA
from harness import registry
from harness.core import Job, Paradigm, Progress, Run, Stream, Trained, UserError, Verdict, replace
from harness.lora import NUMBERS
from harness.registry import typed
from harness.run_inputs import run_id
from harness.runner import run
from harness.scales import TWIN
from harness.store.record import read_record
from harness.store.tables import from_parquet
from harness.training import ranks
from harness.training.launch import train
from harness.training.ranks import refuse_missing, refuse_mixed, refuse_unequal

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = Path(__file__).with_name("cpu_ranks.py").resolve()
SCALE = replace(SMALL, name="ranked", micro_batch=1, rates={**SMALL.rates, "grpo-fixed": 3e-3})


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained twin bases that differ in their seed."""
    return build_bases(tmp_path_factory)


@pytest.fixture(scope="module")
def plugin() -> Iterator[ModuleType]:
    """The plugin that makes each rank take a CPU for its GPU, and two of them for this machine's GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_plugins", {})
        here = max(2, ranks.gpus())
        patch.setattr(ranks, "gpus", lambda: here)
        registry.load_plugin(PLUGIN)
        yield registry._plugins[PLUGIN]


def on(count: int, made: Job) -> Job:
    """The job on so many ranks."""
    return replace(made, scale=replace(made.scale, ranks=count))


Heard = list[float]


def heard_training(made: Job) -> tuple[Trained, Heard]:
    """What a job learns, and the loss of each of its updates, or its reward where replies are rewarded."""
    heard: Heard = []

    def report(said: Progress) -> None:
        heard.append(said.reward if said.loss is None else said.loss)  # type: ignore[arg-type]

    return train(replace(made, report=report)), heard


@pytest.fixture(scope="module")
def learned(
    bases: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, plugin: ModuleType
) -> tuple[Trained, Heard]:
    """Seven updates of SFT on two ranks, each in two micro-batches a rank."""
    return heard_training(on(2, job(bases[0], tmp_path_factory.mktemp("two"), SFT, count=28, scale=SCALE)))


def assert_same(base: Path, one: tuple[Trained, Heard], other: tuple[Trained, Heard]) -> None:
    """The same counts, files, configuration and names; each update's loss to 1e-5, and so what the weights moved.

    Where a gradient is 0 but for rounding, as that of a bias of keys, AdamW makes a step of it all the same: so no
    single weight is compared, but all of them together.
    """
    import torch

    (whole, told), (split, told_too) = one, other
    assert replace(split, weights=whole.weights) == whole
    files = [sorted(path.name for path in folder.iterdir()) for folder in (whole.weights, split.weights)]
    assert files[0] == files[1]
    configs = [json.loads((folder / "config.json").read_text()) for folder in (whole.weights, split.weights)]
    assert configs[0] == configs[1]
    assert len(told) == len(told_too) == whole.optimiser_steps
    assert told_too == pytest.approx(told, rel=1e-5, abs=1e-6)
    before, first, second = tensors(base), tensors(whole.weights), tensors(split.weights)
    assert first.keys() == second.keys()
    assert {value.dtype for value in second.values()} == {torch.float32}
    moved = torch.cat([(first[name] - before[name]).flatten() for name in first]).norm()
    apart = torch.cat([(first[name] - second[name]).flatten() for name in first]).norm()
    assert moved > 0
    assert apart < 2e-3 * moved, f"{apart / moved:.2e} of what was learned"


@pytest.mark.slow
def test_two_ranks_learn_what_one_learns(
    bases: tuple[Path, Path], tmp_path: Path, learned: tuple[Trained, Heard]
) -> None:
    whole = heard_training(job(bases[0], tmp_path, SFT, count=28, scale=replace(SCALE, micro_batch=None)))
    assert whole[0].optimiser_steps == 7
    assert_same(bases[0], whole, learned)


@pytest.mark.slow
def test_a_killed_rank_ends_all_and_the_same_job_goes_on_bit_for_bit(
    bases: tuple[Path, Path], tmp_path: Path, plugin: ModuleType, learned: tuple[Trained, Heard]
) -> None:
    made = on(2, job(bases[0], tmp_path / "job", SFT, count=28, scale=SCALE))
    before = set(children_of_this())
    steps: list[Progress] = []
    with pytest.raises(UserError, match=r"rank 1 of stage noise was ended by SIGKILL .*: the same command goes on"):
        train(replace(made, paradigm=replace(SFT, learner=plugin.KILLED), report=timed(steps)))
    assert time.monotonic() < TOLD[-1] + 20, "the others must not wait for the one that is gone"
    assert set(children_of_this()) == before, "nothing is left behind"
    assert steps[-1].step in (4, 5), "the main rank may not have come to say it"
    again: list[Progress] = []
    resumed = train(replace(made, report=again.append))
    assert [progress.step for progress in again] in ([5, 6, 7], [6, 7])
    assert same(learned[0].weights, resumed.weights)
    assert replace(resumed, weights=learned[0].weights) == learned[0]


@pytest.mark.slow
def test_two_ranks_train_an_adapter_as_one_does_and_go_on_after_a_kill(
    bases: tuple[Path, Path], tmp_path: Path, plugin: ModuleType
) -> None:
    import torch
    from safetensors.torch import load_file

    paradigm = replace(SFT_LORA, rate=1.0)
    whole = train(job(bases[0], tmp_path / "one", paradigm, count=28, scale=replace(SCALE, micro_batch=None)))
    made = on(2, job(bases[0], tmp_path / "two", paradigm, count=28, scale=SCALE))
    with pytest.raises(UserError, match="was ended by SIGKILL"):
        train(replace(made, paradigm=replace(paradigm, learner=plugin.KILLED)))
    steps: list[Progress] = []
    resumed = train(replace(made, report=steps.append))
    assert steps[0].step in (5, 6)
    assert replace(resumed, weights=whole.weights) == whole
    assert {path.name for path in resumed.weights.iterdir()} == {path.name for path in whole.weights.iterdir()}
    one, two = (load_file(made.weights / NUMBERS) for made in (whole, resumed))
    assert one.keys() == two.keys()
    moved = torch.cat([value.flatten() for name, value in one.items() if "lora_B" in name]).norm()
    apart = torch.cat([(value - two[name]).flatten() for name, value in one.items()]).norm()
    assert apart < 1e-3 * moved, f"{apart / moved:.2e} of what was learned"


TOLD: list[float] = []


def timed(steps: list[Progress]) -> Any:
    """A report that notes when it was told."""

    def report(progress: Progress) -> None:
        steps.append(progress)
        TOLD.append(time.monotonic())

    return report


def children_of_this() -> list[int]:
    """The living children of this process, but for Python's own tracker of semaphores."""
    return [pid for pid in children_of(os.getpid()) if alive(pid) and b"resource_tracker" not in command_of(pid)]


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
def test_two_ranks_of_grpo_learn_from_fixed_replies_what_one_learns(
    bases: tuple[Path, Path], tmp_path: Path, plugin: ModuleType
) -> None:
    scale = replace(SCALE, micro_batch=2, updates_per_rollout_batch=1)
    fixed = replace(plugin.RFT_FIXED, kl=0.5)
    made = job(bases[0], tmp_path / "one", fixed, count=6, scale=scale, reference=bases[1])
    whole, split = heard_training(made), heard_training(on(2, replace(made, folder=tmp_path / "two")))
    assert any(whole[1])
    assert_same(bases[0], whole, split)


@pytest.mark.slow
def test_a_run_on_two_ranks_samples_selects_trains_and_evaluates(tmp_path: Path, plugin: ModuleType) -> None:
    """The whole loop in bf16, from fp32 weights: replies are sampled from weights in parts, layers are recomputed.

    Cells and verdicts are made by one engine on each device.
    """
    stream = Stream(name="one", tasks=("gqa",), epochs={"gqa": 1}, general=())
    scale = replace(
        TWIN, name="small", train_items=8, test_items=12, eval_batch=2, rollouts=4, prompts_per_update=2,
        updates_per_rollout_batch=1, observers=0, precision="bfloat16",
    )  # fmt: skip
    asked = Run(paradigm=typed(Paradigm, "rif-rft"), stream=stream, scale=scale)
    done = run(replace(asked, scale=replace(scale, ranks=2)), tmp_path / "runs")
    assert done.id != run_id(asked)
    record = read_record(done.folder)
    stage = tmp_path / "runs" / "checkpoints" / str(record.stages[0].key)
    assert record.declared["ranks"] == json.loads((stage / "manifest.json").read_text())["inputs"]["ranks"] == 2
    assert len(from_parquet(Verdict, done.folder / "verdicts-1.parquet").records) == 8
    assert not list((tmp_path / "runs" / "replies").glob("*.parts"))
    assert {str(value.dtype) for value in tensors(stage).values()} == {"torch.float32"}


@pytest.mark.slow
@pytest.mark.parametrize(("learner", "kind"), [("REFUSING", UserError), ("BREAKING", RuntimeError)])
def test_what_a_rank_raises_ends_all_and_arrives(
    bases: tuple[Path, Path], tmp_path: Path, plugin: ModuleType, learner: str, kind: type[Exception]
) -> None:
    made = on(2, job(bases[0], tmp_path, replace(SFT, learner=getattr(plugin, learner)), count=4, scale=SCALE))
    with pytest.raises(kind) as fault:
        train(made)
    if kind is UserError:
        assert str(fault.value) == "rank 1 does not want to"
    else:
        assert "ZeroDivisionError" in str(fault.value)
        assert "in train_breaking" in str(fault.value)


@pytest.mark.usefixtures("fake_plugin")
def test_mistakes_are_one_line_before_anything_is_done(tmp_path: Path) -> None:
    asked = fake_run(make_model(tmp_path / "model"))
    two = replace(asked, scale=replace(asked.scale, ranks=2))
    with pytest.raises(UserError, match=r"learner fake trains in one process, and scale .* wants 2 ranks: set ranks"):
        run(two, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match=r"^4 sequences of a batch cannot be dealt evenly to the 3 ranks of scale rank"):
        refuse_unequal(SFT, replace(SCALE, ranks=3))
    with pytest.raises(UserError, match=r"^2 groups of 4 replies of a batch cannot be dealt evenly to the 4 ranks"):
        refuse_unequal(RFT, replace(SCALE, ranks=4))
    with pytest.raises(UserError, match=r"^4 sequences of a batch are no whole number of micro-batches of 3: "):
        refuse_unequal(RFT, replace(SCALE, ranks=2, micro_batch=3))
    with pytest.raises(UserError, match=r"scale ranked trains on 64 GPUs, and this machine shows \d+: use another"):
        refuse_missing(SFT, replace(SCALE, ranks=64))
    mixed = [(NOISE, item("train", n, pictures=n)) for n in range(2)]
    with pytest.raises(UserError, match=r"stage noise has examples with pictures and others without") as refused:
        refuse_mixed(mixed, "noise")
    assert "\n" not in str(refused.value)
    for fine in (0, 1):
        refuse_unequal(SFT, replace(SCALE, ranks=fine))
        refuse_missing(SFT, replace(SCALE, ranks=fine))


PARENT = """
import sys
from pathlib import Path
from noise_jobs import job
from baselines.sft import SFT
from harness import registry
from harness.core import replace
from harness.training import ranks
from harness.training.launch import train
from test_ranks import PLUGIN, SCALE, on

if __name__ == "__main__":
    registry.load_plugin(PLUGIN)
    ranks.gpus = lambda: 2
    waiting = replace(SFT, learner=registry._plugins[PLUGIN].WAITING)
    here = Path(sys.argv[1])
    made = job(here, here / "job", waiting, count=4, scale=SCALE)
    train(on(2, replace(made, report=lambda said: print(said.step, flush=True))))
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose ranks wait for ever."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    made = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    yield made
    with contextlib.suppress(ProcessLookupError):
        os.killpg(made.pid, signal.SIGKILL)  # its session: itself, and what the law does not reach
    made.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("end", [kill_it, interrupt_all])
def test_ranks_die_with_the_process_that_wanted_them(
    parent: subprocess.Popen[str], end: Callable[[subprocess.Popen[str]], None]
) -> None:
    assert parent.stdout is not None
    main_rank = int(parent.stdout.readline())
    everybody = descendants(parent.pid)
    assert main_rank in everybody
    assert len(everybody) >= 3, "the launcher and two ranks"
    end(parent)
    ended = time.monotonic()
    while [pid for pid in everybody if alive(pid)]:
        assert time.monotonic() < ended + 10, "a process outlives the one that wanted it"
        time.sleep(0.02)
    _, faults = parent.communicate(timeout=20)
    assert faults.count("Traceback") == (1 if end is interrupt_all else 0), faults


def descendants(pid: int) -> list[int]:
    """All processes below one, but for Python's own trackers of semaphores."""
    below = [child for child in children_of(pid) if b"resource_tracker" not in command_of(child)]
    return [*below, *(one for child in below for one in descendants(child))]
