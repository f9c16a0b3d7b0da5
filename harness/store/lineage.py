"""What made a checkpoint: digests of weights, the key of a stage, and the manifest that says a folder is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.core import Paradigm, Scale, Stage, Task, UserError, digest, plain

SCHEMA = 1
MANIFEST = "manifest.json"
_PARTS = (
    "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
    "chat_template.json", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a stage took. Seconds add up over interruptions; tokens are counted, never estimated.

    ``items`` are the distinct training examples before the filter, ``kept`` those after it.
    """

    items: int
    kept: int
    optimiser_steps: int
    sampled_tokens: int
    trained_tokens: int
    filter_rollouts: int
    filter_sampled_tokens: int
    seconds: float
    filter_seconds: float


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights with their origin: the folder, their digest, the digests of parent and reference, and the costs.

    The base model has no parent and no costs; ``key`` is empty there.
    """

    path: Path
    weights: str
    key: str = ""
    stage: str = "base"
    parent: str | None = None
    reference: str | None = None
    costs: Costs | None = None


def model_files(folder: Path) -> tuple[Path, ...]:
    """The files that decide what a model says: safetensors, configuration, tokenizer, processor; sorted."""
    parts = [folder / name for name in _PARTS]
    return tuple(sorted([*folder.glob("*.safetensors"), *(part for part in parts if part.is_file())]))


def weights_digest(folder: Path) -> str:
    """SHA-256, in hex, over names and contents of the model's files. Raises UserError where there are no weights."""
    files = model_files(folder)
    if not any(file.suffix == ".safetensors" for file in files):
        raise UserError(f"{folder} holds no *.safetensors: give a folder with a model's weights")
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            total.update(f"{file.name}:{hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def training_inputs(
    paradigm: Paradigm,
    scale: Scale,
    stage: Stage,
    *,
    tasks: Mapping[str, Task],
    epochs: Mapping[str, int],
    data: Mapping[str, str],
    parent: str,
    reference: str | None,
    seed: int,
) -> dict[str, Any]:
    """All that decides what a stage learns, as JSON types; two stages of equal inputs are one checkpoint.

    Left out is what does not reach the training: the names and citations of paradigm and scale, how stages follow each
    other, where the model lies (its digest is the parent's), and how many items the tests have. ``data`` holds the
    fingerprints of the training examples.
    """
    learning = {
        "learn": paradigm.learn,
        "select": paradigm.select,
        "style": paradigm.style,
        "kl": paradigm.kl,
        "rate": paradigm.rate,
        "version": paradigm.version,
    }
    size = replace(scale, name="", model="", cite="", test_items=None)
    data_of = [
        {"task": name, "version": tasks[name].version, "epochs": epochs[name], "data": data[name]}
        for name in stage.tasks
    ]
    inputs = {
        "parent": parent,
        "reference": reference,
        "paradigm": learning,
        "scale": size,
        "stage": stage.name,
        "data": data_of,
        "seed": seed,
    }
    resolved: dict[str, Any] = plain(inputs)
    return resolved


def stage_key(inputs: Mapping[str, Any]) -> str:
    """The address of a stage's checkpoint: 32 hex digits of the digest of its inputs."""
    return digest([SCHEMA, inputs])[:32]


def manifest(checkpoint: Checkpoint, inputs: Mapping[str, Any]) -> bytes:
    """The text of the file that says a checkpoint is whole."""
    costs = plain(checkpoint.costs)
    return dump(
        {
            "schema": SCHEMA,
            "key": checkpoint.key,
            "stage": checkpoint.stage,
            "weights": checkpoint.weights,
            "parent": checkpoint.parent,
            "reference": checkpoint.reference,
            "inputs": inputs,
            "costs": costs,
        }
    )


def dump(value: object) -> bytes:
    """JSON with two spaces of indent and a last newline."""
    return (json.dumps(value, indent=2) + "\n").encode()


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """A JSON file of this store. Raises UserError, ending in ``advice``, where it is damaged or of another schema."""
    try:
        content = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise UserError(f"{path} is damaged: {advice}") from fault
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: {advice}")
    if content.get("schema") != SCHEMA:
        raise UserError(
            f"{path} has schema {content.get('schema')!r}, this version knows {SCHEMA}: {advice}, or use the version of"
            " cpt-harness that wrote it"
        )
    return content


def load_checkpoint(folder: Path, key: str, parent: str) -> Checkpoint:
    """A finished checkpoint, checked: its manifest, its parent and every byte of its weights.

    Raises UserError where the parent is another, or the folder was edited or cut short after it was written.
    """
    mend = f"remove the folder {folder} to train the stage again"
    found = read_json(folder / MANIFEST, mend)
    if found.get("key") != key:
        raise UserError(f"checkpoint {folder} was made as {found.get('key')}: {mend}")
    if found.get("parent") != parent:
        raise UserError(
            f"checkpoint {folder} comes from parent {str(found.get('parent'))[:12]}, but the previous stage is"
            f" {parent[:12]}: {mend}"
        )
    if not any(folder.glob("*.safetensors")) or weights_digest(folder) != found.get("weights"):
        raise UserError(f"checkpoint {folder} was edited or cut short after it was written: {mend}")
    try:
        costs = Costs(**found["costs"])
    except (KeyError, TypeError) as fault:
        raise UserError(f"{folder / MANIFEST} is damaged: {mend}") from fault
    return Checkpoint(
        path=folder,
        weights=found["weights"],
        key=key,
        stage=str(found.get("stage")),
        parent=parent,
        reference=found.get("reference"),
        costs=costs,
    )
