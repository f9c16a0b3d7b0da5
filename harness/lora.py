"""Low-rank adapters: the noun that asks for one, and folders that hold one beside the digest of the base it stands on.

An adapter's folder has its settings and its numbers as peft writes them. Their ``base_model_name_or_path`` is the
digest of the base's files, so that the folder's own digest covers the base; where the base lies stands in a file apart,
which no digest covers and which is checked against it on every load. Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.values import Checked, UserError, cut
from harness.weights import model_files, weights_digest

ADAPTER = "adapter_config.json"
NUMBERS = "adapter_model.safetensors"
PLACE = "base.json"
ALL_LINEAR = ("all-linear",)
KEEPS = ("adapter", "merged")
FROZEN = ("float32", "bfloat16")
_MODULE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A low-rank adapter: W + alpha / rank B A stands where W stood, and A and B alone are trained (arXiv:2106.09685).

    A is (rank, in) and B, which begins at 0, (out, rank), in fp32; W stays as the base has it, in the ``frozen``
    precision, which holds weights that were published in bf16 exactly. ``targets`` are the names of the modules that
    get one, as they end, or all-linear: every linear layer but the head, those of the vision tower too. One adapter
    goes from stage to stage. ``keep`` says what a checkpoint holds: the adapter with the digest of its base, or the
    merged weights in fp32, which every tool loads; the numbers are the same.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = ALL_LINEAR
    keep: str = "adapter"
    frozen: str = "float32"

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("rank")
        checked.number("alpha", above=True)
        checked.one_of("keep", *KEEPS)
        checked.one_of("frozen", *FROZEN)
        named = isinstance(self.targets, tuple) and len(set(self.targets)) == len(self.targets) > 0
        if self.targets != ALL_LINEAR and not (named and all(map(_is_module, self.targets))):
            checked.refuse("targets", f"{ALL_LINEAR}, or a tuple of different module names")


def _is_module(name: object) -> bool:
    return isinstance(name, str) and _MODULE.fullmatch(name) is not None


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and not a whole model."""
    return (folder / ADAPTER).is_file()


def stands_on(folder: Path) -> str:
    """The digest of the base that an adapter's folder names.

    Raises:
        UserError: where its settings are damaged.
    """
    try:
        digest = json.loads((folder / ADAPTER).read_bytes())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        mend = f"remove the folder {folder} to train the stage again"
        raise UserError(f"{folder / ADAPTER} is damaged: {mend}") from fault
    return str(digest)


def base_of(folder: Path) -> Path:
    """The folder of the base that an adapter stands on.

    Raises:
        UserError: where it is no longer there, or another model lies there now.
    """
    mend = "give the run's command again with that base"
    try:
        base = Path(json.loads((folder / PLACE).read_bytes())["folder"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise UserError(f"{folder} is an adapter and has no {PLACE} that says where its base lies: {mend}") from fault
    refuse_other_base(folder, base)
    return base


def settings_of(folder: Path) -> dict[str, object]:
    """The settings of an adapter that somebody made, looked at.

    Raises:
        UserError: where they are damaged, or it is of another kind than LoRA, or not kept as safetensors.
    """
    try:
        found = json.loads((folder / ADAPTER).read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise UserError(f"{cut(str(folder / ADAPTER))} is damaged: save the adapter again") from fault
    if not isinstance(found, dict) or found.get("peft_type") != "LORA":
        raise UserError(f"{cut(str(folder))} is no LoRA adapter: merge it into its base and give that folder")
    if not (folder / NUMBERS).is_file():
        raise UserError(f"{cut(str(folder))} has no {NUMBERS}: save the adapter as safetensors")
    return found


def refuse_other_base(folder: Path, base: Path) -> None:
    """Raise UserError where a base is not the one that an adapter stands on, or is missing."""
    wanted, mend = stands_on(folder), "put it back, or give the run's command again with that base"
    if not base.is_dir() or not any(base.glob("*.safetensors")):
        raise UserError(f"{folder} is an adapter on base {wanted[:12]}, which is not in {base}: {mend}")
    found = digest_of(base)
    if found != wanted:
        raise UserError(f"{folder} is an adapter on base {wanted[:12]}, but {base} holds {found[:12]}: {mend}")


def digest_of(base: Path) -> str:
    """The digest of a base's files, computed once a process as long as none of them is touched."""
    touched = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in model_files(base)]
    return _digest_of(base.absolute(), tuple(touched))


@lru_cache(maxsize=8)
def _digest_of(base: Path, touched: tuple[tuple[str, int, int], ...]) -> str:
    return weights_digest(base)


def attached(base: Any, folder: Path, trainable: bool) -> Any:
    """The loaded base with the adapter of a folder as a peft model.

    Raises:
        UserError: where the adapter is for other modules than the base has; peft would only warn, and add a part of it.
    """
    from peft import PeftModel

    with without_renamed():
        warnings.filterwarnings("error", "Found missing adapter keys", UserWarning)
        try:
            return PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
        except (UserWarning, ValueError) as fault:
            raise UserError(f"{folder} is an adapter that does not fit its base ({cut(str(fault), 200)})") from fault


@contextmanager
def without_renamed() -> Iterator[None]:
    """Silence transformers 5.23 where peft 0.21 and TRL 1.16 ask for what it renamed; nothing of ours reads it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)
        yield


def save_adapter(model: Any, folder: Path, base: str, whole: dict[str, Any] | None = None) -> None:
    """Write the adapter that is trained, settings in sorted order, and nothing else that peft would write.

    ``base`` is the digest of what it stands on; ``whole`` holds the weights where the model's own lie in parts. Names
    and order are a function of the adapter alone: peft writes the set of its targets in an order of the process.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    settings = model.peft_config["default"]
    known = {**settings.to_dict(), "base_model_name_or_path": base, "inference_mode": True}
    (folder / ADAPTER).write_text(json.dumps(known, indent=2, sort_keys=True, default=_plain) + "\n")
    numbers = get_peft_model_state_dict(model, whole, adapter_name="default", save_embedding_layers=False)
    numbers = {name: number.detach().contiguous().cpu() for name, number in numbers.items()}
    save_file(numbers, folder / NUMBERS, metadata={"format": "pt"})


def _plain(value: Any) -> Any:
    """What JSON lacks of peft's settings: sets, sorted, and words of an enumeration."""
    return sorted(value) if isinstance(value, set) else str(getattr(value, "value", value))


def merged(base: Any, folder: Path) -> Any:
    """The loaded fp32 base with the adapter of a folder added to its weights: a plain model again."""
    return attached(base, folder, trainable=False).merge_and_unload()
