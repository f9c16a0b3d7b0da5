"""Is this machine ready? Versions, disk, permissions, model and data, each as one finding with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from harness import registry
from harness.asking.evaluate import open_pictures
from harness.command.shell import THREADS
from harness.core import Paradigm, Run, Scale, Stream, Suite, Task, UserError, collecting
from harness.data.lock import LockedSet, current_set
from harness.store.disk import refusing_disk_faults
from harness.store.environment import unfit_versions, versions
from harness.values import cut

LEAST_FREE = 2 * 10**9
# The trainers' reporters, and the packages of which one must be there for each.
REPORTERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at: whether it is well, and in one line what was found or what to do."""

    what: str
    well: bool
    line: str


def environment(out: Path, scale: Scale, stream: Stream, data: Path | None, allowed: int = 0) -> list[Finding]:
    """All findings for runs of a scale and a stream that write to ``out`` and read ``data`` (None: the twins).

    Of broken items and long prompts so many are ``allowed``.
    """
    findings = [_python(), _attempt("packages", fit_versions), _threads(), *_machine(scale)]
    findings += [_attempt("output", lambda: writable(out)), *_locking(out)]
    findings += [_attempt("disk", lambda: disk(out, scale, stream)), _attempt("model", lambda: model(scale))]
    findings += (
        [_attempt("memory", lambda: memory(scale, official=data is not None))]
        if _planned(scale) and findings[3].well
        else []
    )
    findings.append(_attempt("data", lambda: items(stream, data, allowed)))
    if all(finding.well for finding in findings):
        findings.append(_attempt("prompts", lambda: prompts(stream, scale, data, allowed)))
    return findings


def _machine(scale: Scale) -> list[Finding]:
    """What the machine has for a scale; driver, NCCL and the host's memory only where there is a GPU."""
    from harness.command import machine

    try:
        seen = machine.look()
    except UserError as error:
        return [Finding(what="device", well=False, line=str(error))]
    found = [_attempt("device", lambda: machine.gpus(seen, scale))]
    if seen.gpus or seen.visible:
        found.append(_attempt("driver", lambda: machine.driver(seen)))
        found.append(_attempt("nccl", lambda: machine.nccl(seen, scale)))
        found += [_attempt("host", lambda: machine.host(seen, wanted))] if (wanted := _host_wanted(scale)) else []
    found.append(_attempt("engine", lambda: machine.engine(seen, scale)))
    found.append(_attempt("lock", lambda: machine.versions(seen, machine.lock_files())))
    return [*found, _attempt("offline", lambda: machine.offline(seen))]


def _planned(scale: Scale) -> bool:
    """Whether memory and disk can be planned: the model is here, or its shape is known."""
    from harness.command import price

    try:
        price.shape_of(scale)
    except UserError:
        return False
    return True


def _host_wanted(scale: Scale) -> float:
    """What any paradigm takes of the host's memory at most; 0 where that cannot be planned."""
    from harness.budget.hardware import this_machine
    from harness.command import price

    found, here = [0.0], this_machine()
    if _planned(scale) and here.count >= scale.ranks:
        known = [registry.typed(Paradigm, name) for name in registry.names("paradigm")]
        found += [price.of(one, scale, here).host for one in known if price.learns_at(one, scale)]
    return max(found)


def disk(out: Path, scale: Scale, stream: Stream) -> str:
    """Whether a run through a stream has room where ``out`` lies, in one of the paradigms at least.

    Raises:
        UserError: where none of them has.
    """
    from harness.command import price

    wanted = {"a run": LEAST_FREE}
    if _planned(scale):
        stages, columns = len(stream.tasks), len({*stream.tasks, *stream.general})
        cells = (stages + 1) * len(scale.decodings) * columns
        found = [registry.typed(Paradigm, name) for name in registry.names("paradigm")]
        shape = price.shape_of(scale)[0]
        wanted = {
            one.name: max(LEAST_FREE, price.disk(one, shape, stages, cells))
            for one in found
            if price.learns_at(one, scale)
        } or wanted
    said = room(out, min(wanted.values()))
    place = existing(out)
    free = shutil.disk_usage(place if place.exists() else place.parent).free
    most = max(wanted.values())
    return f"{said}; a run of all weights takes {in_words(most)}" if most > free else said


def _locking(out: Path) -> list[Finding]:
    """Whether a lock keeps a second process out where ``out`` lies; nothing where no file can be made there."""
    from harness.command import machine

    try:
        place = existing(out)
        writable(out)
    except UserError:
        return []  # said by another finding
    return [_attempt("locks", lambda: machine.locking(place))]


def laws(plugins: Sequence[Path]) -> list[Finding]:
    """A finding for each law that something a plugin defines breaks; one that is well where none is broken."""
    from harness.laws import broken

    found = []
    for path in plugins:
        lines = list(broken(registry.defined_in(path)))
        found += [Finding(what="laws", well=False, line=f"{path.name}: {line}") for line in lines]
        if not lines:
            found.append(Finding(what="laws", well=True, line=f"{path.name}: tasks, styles, learners, paradigms"))
    return found


def reporter(name: str) -> None:
    """Raise UserError where the trainers have no reporter of that name, or its package is not installed."""
    if name not in REPORTERS:
        raise UserError(f"--report-to {cut(name, 40)} is unknown: use {' or '.join(REPORTERS)}, or leave it out")
    if not any(find_spec(package) for package in REPORTERS[name]):
        raise UserError(f"--report-to {name} needs the package {name}: pip install {name}, or leave the flag out")


def writable(out: Path) -> str:
    """Whether files can be written in a folder that may not exist yet; it is not made.

    Raises:
        UserError: where it cannot be written, or is a file, a pipe or a link that leads nowhere.
    """
    place = existing(out)
    if not place.is_dir():
        what = "a symbolic link that leads nowhere" if place.is_symlink() else "a file, not a folder"
        raise UserError(f"{cut(str(place))} is {what}: give another --out")
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            return f"{out} can be written"
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            f"{cut(str(place))} cannot be written ({reason}): change its permissions or give another --out"
        ) from error


def room(out: Path, wanted: int) -> str:
    """Whether ``wanted`` bytes are free where ``out`` lies.

    Raises:
        UserError: where they are not.
    """
    place = existing(out)
    free = shutil.disk_usage(place if place.exists() else place.parent).free  # a link may lead nowhere
    if free < wanted:
        raise UserError(
            f"the disk of {out} has {in_words(free)} free, but about {in_words(wanted)} are needed:"
            " free some (`harness runs gc`) or give another --out"
        )
    return f"{in_words(free)} free"


def existing(path: Path) -> Path:
    """The path itself, or its nearest parent that exists, if only as a link.

    Raises:
        UserError: where that cannot be looked at: no permission, a name that is too long, a loop of links.
    """
    path = path.absolute()
    with refusing_disk_faults(path):
        for place in (path, *path.parents):
            try:
                place.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            return place
    return path


def in_words(size: int) -> str:
    """A number of bytes in decimal units.

    >>> in_words(17_300_000), in_words(900)
    ('17.3 MB', '900 B')
    """
    for unit, worth in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= worth:
            return f"{size / worth:.1f} {unit}"
    return f"{size} B"


def model(scale: Scale) -> str:
    """Where a scale's model lies, and its size; UserError where it is missing, holds no weights or does not fit."""
    from harness.asking.fit import READERS, refuse_unfit
    from harness.scales import TWIN_BASE, model_folder

    folder = model_folder(scale)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if not size:
        raise UserError(f"model folder {folder} holds only empty weights: download or copy it again")
    if scale.model != TWIN_BASE and scale.engine in READERS:
        refuse_unfit(folder, scale)
    return f"{folder} ({in_words(size)} of weights)"


def memory(scale: Scale, paradigms: Sequence[Paradigm] = (), official: bool = False) -> str:
    """Whether training a scale's model fits this machine, in one of the paradigms at least; all without naming them.

    Raises:
        UserError: where the model is missing, or none of them fits.
    """
    from harness.budget.hardware import this_machine
    from harness.command import price

    here, fit, refused = this_machine(), [], []
    for one in paradigms or [registry.typed(Paradigm, name) for name in registry.names("paradigm")]:
        if not price.trains_here(one) or not price.learns_at(one, scale):
            continue
        priced = price.of(one, scale, here, official)
        try:
            price.refuse_memory(priced, f"training {one.name} at scale {scale.name}")
        except UserError as fault:
            refused.append((one.name, fault))
        else:
            fit.append((priced.memory.peak, one.name))
    if refused and not fit:
        raise refused[0][1]
    if not fit:
        return "not known: its learner trains by means of its own"
    most, name = max(fit)
    without = f"; too little for {', '.join(name for name, _ in refused)}" if refused else ""
    return f"{in_words(int(most))} at the peak of {name}, {here.name} has {in_words(here.card.memory)}{without}"


def items(stream: Stream, data: Path | None, allowed: int = 0) -> str:
    """Whether every task and suite of a stream gives a training and a test item whose pictures open.

    Only what a run reads is looked at: training and test items of the stream's tasks, test items of its suites.
    Official data with another number of items than published is named: its scores compare with nobody's.

    Raises:
        UserError: naming the first task that does not.
    """
    if data is not None and not data.is_dir():
        raise UserError(f"data folder {data} does not exist: give a folder with one subfolder per task")
    remarks = []
    for name in stream.tasks + stream.general:
        if name in registry.names("suite"):
            registry.typed(Suite, name).ask(data, 1)
            continue
        task = registry.typed(Task, name)
        if data is not None and task.official is not None:
            locked = current_set(data, task, write=False)
            remarks += _unseen(name, locked)
        for split in ("train", "test") if name in stream.tasks else ("test",):
            published = task.counts.get(split, 0)
            with collecting(allowed) if allowed else nullcontext(()) as faults:
                found = task.load(split, 1 if data is None else published + 1, data)
            for example in found[:1]:
                open_pictures(example)
            remarks += [f"{cut(fault.item, 60)} would be left out ({cut(fault.reason)})" for fault in faults]
            if data is not None and published and len(found) != published:
                more = "more than " if len(found) > published else ""
                count = min(len(found), published)
                remarks.append(f"{name} {split} has {more}{count:,} items, published are {published:,}")
    where = "generated twins" if data is None else str(data)
    found_all = f"{len(stream.tasks)} tasks and {len(stream.general)} suites of stream {stream.name} from {where}"
    return "; ".join([found_all, *remarks])


def _unseen(name: str, locked: LockedSet | None) -> list[str]:
    """What nobody has looked at yet in a set: its files, or the pictures in them."""
    if locked is None:
        return [f"{name} is not locked: `harness data verify {name}`"]
    return [] if locked.broken else [f"not all pictures of {name} were opened: `harness data verify {name} --pictures`"]


def prompts(stream: Stream, scale: Scale, data: Path | None, allowed: int = 0) -> str:
    """Whether every prompt of a stream, in any style, is as short as the scale wants it, and no item known as broken.

    Raises:
        UserError: naming the first items where there are more than ``allowed`` that are not.
    """
    from harness.broken_items import settled

    any_paradigm = registry.typed(Paradigm, registry.names("paradigm")[0])
    run = Run(paradigm=any_paradigm, stream=stream, scale=scale, data=None if data is None else str(data))
    without = settled(run, allowed, every_style=True, pictures=False).left_out
    less = f", {len(without)} items left out" if without else ""
    return f"none of more than {scale.max_prompt_tokens} tokens{less}"


def _attempt(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, well=True, line=look())
    except UserError as error:
        return Finding(what=what, well=False, line=str(error))


def _python() -> Finding:
    line = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return Finding(what="python", well=True, line=line)


def fit_versions() -> str:
    """Whether what is installed lies in the ranges that this project declares.

    Raises:
        UserError: naming what does not.
    """
    if unfit := unfit_versions():
        raise UserError(f"{'; '.join(unfit)}: run `pip install -c constraints.txt -e .`")
    return ", ".join(f"{name} {version}" for name, version in versions().items())


def _threads() -> Finding:
    chosen = [f"{name}={cut(os.environ[name], 20)}" for name in THREADS if os.environ.get(name)]
    return Finding(what="threads", well=True, line=", ".join(chosen) or "the libraries' choice")
