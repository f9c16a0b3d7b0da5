"""A learner that is another program's command: it gets data, the parent's weights and a folder, and leaves weights.

    learner = command(
        "llamafactory-cli train {config}", name="llamafactory", form="llamafactory", config=HERE / "stage.yaml"
    )
    SFT_LLAMAFACTORY = Paradigm(name="sft-llamafactory", learner=learner, style=DIRECT)

The words of the command and the text of its configuration are fields of a frozen value, so they stand in the key of a
checkpoint and in the record of a run. No shell reads them.
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.core import Job, Learner, Paradigm, Progress, Scale, Trained, UserError, Work, digest
from harness.foreign.export import export
from harness.foreign.formats import format_of
from harness.foreign.taken import reported, take
from harness.outside import Outside, exit_in_words, last_lines
from harness.store import disk
from harness.training import resume
from harness.training.presentations import presentations
from harness.values import Checked, cut

PLACES = ("data", "parent", "out", "seed", "config")
LOG = "training.log"
SPLIT = "train"
LISTENS = 1.0  # seconds between two looks whether the command has ended
_PLACE = re.compile(r"\{([a-z_]+)\}")
_UNFIT = re.compile(r"[\"'\\{}#\x00-\x1f]")  # what would end a text of a configuration, or begin something else


@dataclass(frozen=True, kw_only=True)
class Command:
    """``words`` with places that are filled for each stage; the data's format; the configuration's text and suffix.

    Places are {data}, the folder that ``harness export`` would write, of every presentation in the order of training;
    {parent}, the folder of the weights to start from; {out}, where the trained ones are to be left; {seed}; and
    {config}, a file with the configuration, in whose text the other places are filled.
    """

    name: str
    words: tuple[str, ...]
    form: str
    config: str = ""
    suffix: str = ""
    takes_all_devices: ClassVar[bool] = True  # it is given once, and starts ranks of its own

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.text("config", "suffix")
        format_of(self.form)
        if not isinstance(self.words, tuple) or not self.words or not all(isinstance(word, str) for word in self.words):
            checked.refuse("words", "a tuple of words")
        named = {place for text in (*self.words, self.config) for place in _PLACE.findall(text)}
        if unknown := sorted(named - set(PLACES)):
            raise UserError(f"{checked.called}: {{{cut(unknown[0], 40)}}} is no place: use {_listed(PLACES)}")
        if missing := [place for place in ("data", "out") if place not in named]:
            raise UserError(f"{checked.called}: {{{missing[0]}}} stands nowhere in its words or its configuration")
        if ("config" in named) != bool(self.config) or "{config}" in self.config:
            raise UserError(f"{checked.called}: {{config}} wants a configuration, and a configuration wants {{config}}")

    def __call__(self, job: Job) -> Trained:
        """Train a stage; after a kill the command is given again, with what it left in {out}.

        Raises:
            UserError: where it fails, with the last lines of its log, or leaves no model of the parent's kind.
        """
        weights, identity = job.folder / "weights", digest([job.key, job.stage, job.seed, self])
        counts = resume.opened(weights, identity)
        if counts is None:
            resume.remove(weights)
            self.run(job)
            take(job.folder / "out", job.model, weights)
            counts = reported(job.folder / "out")
            resume.seal(weights, identity, counts)
        log = job.folder / LOG
        return Trained(
            weights=weights,
            optimiser_steps=counts["optimiser_steps"],
            sampled_tokens=counts["sampled_tokens"],
            trained_tokens=counts["trained_tokens"],
            log=log if log.is_file() else None,
        )

    def run(self, job: Job) -> None:
        """Write the data and the configuration, and do the command to its end."""
        places = self.places(job)
        shown = presentations(job)
        export(shown, job.paradigm.style, format_of(self.form), Path(places["data"]), SPLIT)
        Path(places["out"]).mkdir(exist_ok=True)
        if self.config:
            disk.write(Path(places["config"]), filled(self.config, places).encode())
        log = job.folder / LOG
        words = [filled(word, places) for word in self.words]
        with Outside(words, log=log, lock=job.folder / "command.lock", folder=job.folder) as command:
            while (code := command.wait(LISTENS)) is None:
                job.report(Progress(step=0, steps=len(shown)))
        if code:
            raise UserError(
                f"{cut(words[0], 80)} {exit_in_words(code)} in stage {job.stage.name}: {last_lines(log)} (all of it:"
                f" {log}); mend it, then give the same command again"
            )

    def places(self, job: Job) -> dict[str, str]:
        """What each place stands for in a stage. Raises UserError where a path cannot stand in a text."""
        room = job.folder.absolute()
        paths = {"data": room / "data", "parent": job.model.absolute(), "out": room / "out"}
        paths["config"] = room / f"config{self.suffix}"
        for path in paths.values():
            if _UNFIT.search(str(path)):
                raise UserError(f"{cut(str(path))} cannot stand in a command's configuration: use another --out")
        return {"seed": str(job.seed), **{name: str(path) for name, path in paths.items()}}


@dataclass(frozen=True, kw_only=True)
class Batches:
    """What a plan counts for a command: an update for each batch of presentations."""

    batch: int

    def __call__(self, shown: int, paradigm: Paradigm, scale: Scale) -> Work:
        """The updates of so many presentations."""
        return Work(steps=math.ceil(shown / self.batch))


def command(
    line: str, *, name: str, form: str, config: Path | None = None, batch: int = 1, version: int = 1
) -> Learner:
    """The learner of a command line, whose data is written in the format ``form``, with a configuration's template.

    ``batch`` says how many presentations an update takes, for plans alone.
    """
    try:
        words = tuple(shlex.split(line))
        text = config.read_text(encoding="utf-8") if config is not None else ""
    except (ValueError, OSError) as fault:
        raise UserError(f"learner {cut(name, 40)}: {cut(line, 80)}: {cut(str(fault))}") from fault
    suffix = config.suffix if config is not None else ""
    train = Command(name=name, words=words, form=form, config=text, suffix=suffix)
    return Learner(name=name, version=version, train=train, work=Batches(batch=batch), obeys=frozenset({"style"}))


def filled(text: str, places: dict[str, str]) -> str:
    """A text with its places filled.

    >>> filled("--seed {seed} --set {'a': 1}", {"seed": "7"})
    "--seed 7 --set {'a': 1}"
    """
    return _PLACE.sub(lambda match: places[match[1]], text)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


__all__ = ["PLACES", "Batches", "Command", "command", "filled"]
