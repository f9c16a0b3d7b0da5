"""What a model's weights are called wherever they are told apart: a digest over its files. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from harness.digests import file_digest
from harness.values import UserError

_PARTS = (
    "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
    "chat_template.json", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json",
    "adapter_config.json", "tokenizer.model",
)  # fmt: skip


def model_files(folder: Path) -> tuple[Path, ...]:
    """The files that decide what a model says: safetensors, configuration, tokenizer, processor; sorted."""
    parts = [folder / name for name in _PARTS]
    return tuple(sorted([*folder.glob("*.safetensors"), *(part for part in parts if part.is_file())]))


def weights_digest(folder: Path) -> str:
    """SHA-256, in hex, over names and contents of the model's files. Raises UserError where there are no weights."""
    files = model_files(folder)
    if not any(file.suffix == ".safetensors" for file in files):
        raise UserError(f"{folder} holds no *.safetensors: give a folder with a model's weights")
    return files_digest(folder, files)


def files_digest(folder: Path, files: Sequence[Path]) -> str:
    """SHA-256, in hex, over names (within the folder) and contents of files."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(folder).as_posix()}:{file_digest(file)}\n".encode())
    return total.hexdigest()


__all__ = ["files_digest", "model_files", "weights_digest"]
