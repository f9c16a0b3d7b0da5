"""Several training processes, one on each device: torch's own launcher starts them, and they end together.

The runner's process holds locks and store; a child of its own launches the ranks, hears the first of them, and dies
with its parent, as they die with it. What all ranks must do alike is decided by the first one.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar, cast

from harness import registry
from harness.core import Example, Job, Paradigm, Scale, Task, Trained, UserError, replace
from harness.job import unheard
from harness.processes import Say, Worker, die_with
from harness.values import cut

LOGS = "ranks"  # what the ranks print, in the job's folder
PATIENCE = timedelta(minutes=30)  # a rank waits for the others as long: one of them may be writing 33 GB
COURTESY = 2.0  # seconds that a rank waits with its own fault: it may be that another one vanished, which says more

Found = TypeVar("Found")
Batch = Callable[[Scale], tuple[int, int]]
Train = Callable[[Job], Trained]


def across_ranks(batch: Batch) -> Callable[[Train], Train]:
    """Declare that a learner's ``train`` may run on several ranks at once, each with its part of every update.

    ``batch(scale)`` gives the groups of an update and the sequences of a group; a group is never divided.
    """

    def declared(train: Train) -> Train:
        cast(Any, train).batch = batch
        return train

    return declared


def world() -> int:
    """How many training processes work on this job: 1 outside of ranks."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched() -> bool:
    """Whether this process is one of the launcher's ranks, be it the only one."""
    return "RANK" in os.environ


def is_main() -> bool:
    """Whether this process decides and writes for all ranks; true outside of ranks."""
    return os.environ.get("RANK", "0") == "0"


def agreed(find: Callable[[], Found]) -> Found:
    """What the main rank finds, told to all of them; all wait for it. Outside of ranks it is found here."""
    if world() == 1:
        return find()
    import torch.distributed

    told = [find() if is_main() else None]
    torch.distributed.broadcast_object_list(told)
    return cast(Found, told[0])


def dealt(parts: Iterable[Found]) -> list[Found]:
    """This rank's share of parts that all ranks list in one order."""
    return list(parts)[int(os.environ.get("RANK", "0")) :: world()]


def refuse_unequal(paradigm: Paradigm, scale: Scale) -> None:
    """Raise UserError where the learner cannot train on the scale's ranks, or an update is not dealt evenly to them."""
    if scale.ranks <= 1 or paradigm.learner.takes_all_devices:
        return
    batch: Batch | None = getattr(paradigm.learner.train, "batch", None)
    if batch is None:
        raise UserError(
            f"learner {paradigm.learner.name} trains in one process, and scale {scale.name} wants {scale.ranks} ranks:"
            " set ranks to 0 or 1"
        )
    adapter = paradigm.adapter
    if adapter is not None and (adapter.keep, adapter.frozen) != ("adapter", "float32"):
        raise UserError(
            f"{paradigm.name} keeps merged weights or freezes them in bf16, which one rank does, and scale {scale.name}"
            f' wants {scale.ranks}: set keep to "adapter" and frozen to "float32", or ranks to 0 or 1'
        )
    groups, sequences = batch(scale)
    if groups % scale.ranks:
        what = "sequences" if sequences == 1 else f"groups of {sequences} replies"
        raise UserError(
            f"{groups} {what} of a batch cannot be dealt evenly to the {scale.ranks} ranks of scale {scale.name}:"
            f" set ranks to a divisor of {groups}"
        )
    micro_batches(scale, groups * sequences, scale.ranks)


def micro_batches(scale: Scale, sequences: int, ranks: int | None = None) -> dict[str, int]:
    """TRL's settings for an update of so many sequences on all ranks: at most ``scale.micro_batch`` in a forward pass.

    Raises:
        UserError: where a rank's part of an update is no whole number of micro-batches.
    """
    mine = sequences // (ranks or world())
    size = min(scale.micro_batch or mine, mine)
    if mine % size:
        raise UserError(
            f"{mine} sequences of a batch are no whole number of micro-batches of {size}: "
            f"set micro_batch of scale {scale.name} to a divisor of {mine}"
        )
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": mine // size}


def refuse_missing(paradigm: Paradigm, scale: Scale) -> None:
    """Raise UserError where the scale wants more ranks than this machine shows GPUs."""
    if scale.ranks <= 1 or paradigm.learner.takes_all_devices:
        return
    found = gpus()
    if found < scale.ranks:
        raise UserError(
            f"scale {scale.name} trains on {scale.ranks} GPUs, and this machine shows {found}: use another scale, or"
            " show more by CUDA_VISIBLE_DEVICES"
        )


def gpus() -> int:
    """How many GPUs this process is shown."""
    import torch

    return int(torch.cuda.device_count())


def refuse_mixed(examples: Iterable[tuple[Task, Example]], stage: str) -> None:
    """Raise UserError where some examples have pictures and others none.

    A rank whose micro-batch has none skips the vision tower, in which the others then wait for its part for ever.
    """
    pictured = {bool(example.images) for _, example in examples}
    if len(pictured) > 1:
        raise UserError(
            f"stage {stage} has examples with pictures and others without, which several ranks cannot train together:"
            " use a scale with one rank, or a picture in every example"
        )


def train_on_ranks(job: Job) -> Trained:
    """Train a stage on the scale's ranks, each a process that torch's launcher starts; one is enough.

    Raises:
        UserError: what a rank refuses, or where the system ended one of them.
        RuntimeError: for a fault in a rank, with its traceback.
    """
    refuse_unequal(job.paradigm, job.scale)
    refuse_missing(job.paradigm, job.scale)
    refuse_mixed(job.examples, job.stage.name)
    with Worker(starts_others=True) as worker:
        return worker.call(_launch, replace(job, report=unheard), cast(Callable[[Any], None], job.report))


def _launch(job: Job, say: Say) -> Trained:
    """Start the ranks from a process that has nothing else to do, and give what the main one gives."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _silence()
    logs = job.folder / LOGS
    shutil.rmtree(logs, ignore_errors=True)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=max(1, job.scale.ranks),
        run_id="stage",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        start_method="spawn",
        signals_to_handle="SIGTERM",
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=Std.ALL),
    )
    heard, line = Pipe(duplex=False)
    lifelines = [Pipe(duplex=False) for _ in range(max(1, job.scale.ranks))]
    listening = Thread(target=_pass_on, args=(heard, say), daemon=True)
    listening.start()
    try:
        theirs = tuple(held for held, _ in lifelines)
        found = elastic_launch(config, _rank)(pickle.dumps(job), registry.plugins(), line, theirs)
    except ChildFailedError as fault:
        raise _reason(fault, job) from None
    finally:
        line.close()
        listening.join()
        for pipe in lifelines:
            for end in pipe:
                end.close()
    shutil.rmtree(logs, ignore_errors=True)
    return cast(Trained, found[0])


def _silence() -> None:
    """Torch's launcher says on standard error what its exceptions say as well."""
    for name in ("torch.distributed.elastic", "torch.multiprocessing"):
        launcher = logging.getLogger(name)
        launcher.addHandler(logging.NullHandler())
        launcher.propagate = False


def _pass_on(heard: Connection, say: Say) -> None:
    """Say what the main rank says, until all ends of its line are closed."""
    while True:
        try:
            said = heard.recv()
        except EOFError:
            return
        say(said)


def _rank(content: bytes, plugins: tuple[Path, ...], line: Connection, lifelines: tuple[Connection, ...]) -> Any:
    """One rank: train the job with the others; the main one is heard, and gives what was trained."""
    from harness.training.launch import train_in_place

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the runner's, which then ends all
    mine = int(os.environ["LOCAL_RANK"])
    for number, lifeline in enumerate(lifelines):
        if number == mine:
            die_with(lifeline)
        else:
            lifeline.close()
    registry.load_plugins(plugins)
    # Pickled by this rank's own launcher for it alone, and handed over by a pipe.
    job: Job = pickle.loads(content)  # noqa: S301 - our own parent's, by a pipe
    try:
        _join()
        trained = train_in_place(replace(job, report=line.send if is_main() else unheard))
        _part()
    except UserError:
        raise
    except Exception:
        time.sleep(COURTESY)
        raise
    return trained if is_main() else None


def _join() -> None:
    """Meet the other ranks: what is agreed on goes by gloo, tensors of a GPU by NCCL."""
    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)


def _part() -> None:
    """Leave together: nobody goes while another one still works."""
    import torch.distributed

    agreed(lambda: None)
    torch.distributed.destroy_process_group()


def _reason(fault: Any, job: Job) -> Exception:
    """Why the ranks failed: what one of them refused, which signal ended it, or the traceback of its fault."""
    number, failure = fault.get_first_failure()
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        return UserError(
            f"rank {number} of stage {job.stage.name} was ended by {name} (SIGKILL often means that memory ran out):"
            f" the same command goes on from the last saved state; what it said is in {cut(str(job.folder / LOGS))}"
        )
    told = failure.error_file_data.get("message", "")
    if isinstance(told, dict):
        refused = str(told["message"])
        if refused.startswith("UserError: "):
            return UserError(refused.removeprefix("UserError: "))
        told = told["extraInfo"]["py_callstack"]
    return RuntimeError(
        f"a fault in rank {number} (what it said is in {job.folder / LOGS}):\n{told or failure.message}"
    )


__all__ = [
    "across_ranks", "agreed", "dealt", "gpus", "is_main", "launched", "micro_batches", "refuse_missing", "refuse_mixed",
    "refuse_unequal", "train_on_ranks", "world",
]  # fmt: skip
