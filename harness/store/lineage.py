"""What made a checkpoint: digests of weights, the key of a stage, and the manifest that says a folder is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.asking.evaluate import gold_digest
from harness.asking.marking import scorer_name
from harness.core import (
    LATER,
    Example,
    Learner,
    Paradigm,
    Run,
    Scale,
    Selector,
    Stage,
    Style,
    Task,
    UserError,
    digest,
    plain,
)
from harness.store.typed import SCHEMA, decode, dump
from harness.weights import files_digest, weights_digest

MANIFEST = "manifest.json"
CARRY = "carry"
SHARES = {"rollout_memory"}  # how much of a device is used, which moves no number


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a stage took. Seconds add up over interruptions; tokens are counted, never estimated.

    ``items`` are the distinct training examples before the selection, ``kept`` those after it; ``dose`` is the sum of
    the learning rates over the updates.
    """

    items: int
    kept: int
    optimiser_steps: int
    sampled_tokens: int
    trained_tokens: int
    dose: float
    filter_rollouts: int
    filter_sampled_tokens: int
    seconds: float
    filter_seconds: float


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights with their origin: the folder, their digest, those of parent, reference and carry, costs, environment.

    The base model has no parent, no costs and no environment; ``key`` is empty there.
    """

    path: Path
    weights: str
    key: str = ""
    stage: str = "base"
    parent: str | None = None
    reference: str | None = None
    carry: str | None = None
    costs: Costs | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def carried(self) -> Path | None:
        """The folder of what the stage hands on, where there is something."""
        return self.path / CARRY if self.carry else None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The file that says a checkpoint is whole: what it is, what made it, and in which environment."""

    schema: int
    key: str
    stage: str
    weights: str
    parent: str
    reference: str | None
    carry: str | None
    inputs: dict[str, Any]
    costs: Costs
    environment: dict[str, Any]


def carry_digest(folder: Path) -> str | None:
    """The digest of what a stage hands on in ``folder/carry``; None where there is nothing."""
    files = sorted(path for path in (folder / CARRY).rglob("*") if path.is_file())
    return files_digest(folder, files) if files else None


def training_inputs(
    run: Run,
    stage: Stage,
    *,
    examples: Mapping[str, tuple[Task, Sequence[Example]]],
    pictures: Mapping[str, str],
    parent: Checkpoint,
    reference: str | None,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """All that decides what a stage learns, as JSON types; two stages of equal inputs are one checkpoint.

    These are the digests of the parent's weights and carry and of the reference's weights; the learner and the selector
    with the fields that they obey; the texts that the style's ``ask`` and ``write`` give for the stage's examples, and
    their pictures; the scorer and what it reads, where training marks replies; the seed, the kind of device, and the
    number of ranks where there are several. Nothing else: no name or citation of paradigm and scale, no path, no other
    style's decoding, no batch of evaluation.
    """
    paradigm, style = run.paradigm, run.paradigm.style
    marks = paradigm.learner.scores or paradigm.select is not None
    data = []
    for name in stage.tasks:
        task, items = examples[name]
        entry = {
            "task": name,
            "epochs": run.stream.epochs[name],
            "prompts": digest([style.ask(task, example) for example in items]),
            "targets": digest([style.write(example.answers[0], example.rationale) for example in items]),
            "pictures": pictures[name],
        }
        data.append({**entry, "scorer": scorer_name(task), "gold": gold_digest(items)} if marks else entry)
    inputs = {
        "parent": parent.weights,
        "carry": parent.carry,
        "reference": reference,
        "style": style_inputs(style, marks),
        "learner": part_inputs(paradigm.learner, paradigm, run.scale, paradigm.learner.name),
        "select": part_inputs(paradigm.select, paradigm, run.scale, paradigm.learner.name) if paradigm.select else None,
        "stage": stage.name,
        "data": data,
        "seed": seed,
        "device": device,
        **ranks_inputs(paradigm, run.scale),
    }
    resolved: dict[str, Any] = plain(inputs)
    return resolved


def ranks_inputs(paradigm: Paradigm, scale: Scale) -> dict[str, int]:
    """The number of ranks that train together, where there are several: each samples replies of its own."""
    several = scale.ranks > 1 and not paradigm.learner.takes_all_devices
    return {"ranks": scale.ranks} if several else {}


def style_inputs(style: Style, marks: bool) -> dict[str, Any]:
    """What a style has to do with training beside its texts: how replies are read and paid, where they are marked."""
    if not marks:
        return {"name": style.name}
    readers = {"read": style.read, "follows": style.follows, "format_weight": style.format_weight}
    return {"name": style.name, "version": style.version, **readers}


def part_inputs(part: Learner | Selector, paradigm: Paradigm, scale: Scale, rate: str) -> dict[str, Any]:
    """A learner or selector: name, version, function, and the fields of paradigm and scale that it obeys.

    Of decodings only the paradigm's own style's counts, of rates only the learner's (``rate``); style and reference
    have entries of their own.
    """
    fields: dict[str, Any] = {}
    for name in sorted(part.obeys - {"style", "reference"}):
        if name == "decodings":
            fields[name] = scale.decodings[paradigm.style.name].max_new_tokens
        elif name == "rates":
            fields[name] = scale.rates[rate]
        elif name not in SHARES:
            value = getattr(paradigm if name in Paradigm.__dataclass_fields__ else scale, name)
            fields |= {} if name in LATER and value == LATER[name] else {name: value}
    does = part.train if isinstance(part, Learner) else part.choose
    return {"name": part.name, "version": part.version, "does": does, "fields": fields}


def stage_key(inputs: Mapping[str, Any]) -> str:
    """The address of a stage's checkpoint: 32 hex digits of the digest of its inputs."""
    return digest([SCHEMA, inputs])[:32]


def manifest(checkpoint: Checkpoint, inputs: Mapping[str, Any]) -> bytes:
    """The text of the file that says a checkpoint is whole."""
    fields = {name: getattr(checkpoint, name) for name in ("key", "stage", "weights", "parent", "reference", "carry")}
    return dump(
        {
            "schema": SCHEMA,
            **fields,
            "inputs": inputs,
            "costs": plain(checkpoint.costs),
            "environment": plain(checkpoint.environment),
        }
    )


def load_checkpoint(folder: Path, key: str, parent: str) -> Checkpoint:
    """A finished checkpoint, checked: its manifest, its parent and every byte of its weights and carry.

    Raises UserError where the parent is another, or the folder was edited or cut short after it was written.
    """
    mend = f"remove the folder {folder} to train the stage again"
    found = decode(Manifest, folder / MANIFEST, mend)
    if found.key != key or stage_key(found.inputs) != key:
        raise UserError(f"checkpoint {folder} was made as {found.key}: {mend}")
    if found.parent != parent:
        raise UserError(
            f"checkpoint {folder} comes from parent {found.parent[:12]}, but the previous stage is {parent[:12]}:"
            f" {mend}"
        )
    whole = any(folder.glob("*.safetensors")) and weights_digest(folder) == found.weights
    if not whole or carry_digest(folder) != found.carry:
        raise UserError(f"checkpoint {folder} was edited or cut short after it was written: {mend}")
    return Checkpoint(
        path=folder,
        weights=found.weights,
        key=key,
        stage=found.stage,
        parent=parent,
        reference=found.reference,
        carry=found.carry,
        costs=found.costs,
        environment=found.environment,
    )
