"""Adapters that other trainers left, put on the base that they are scored with.

What an adapter's settings call its base is a name or a path of another machine, so the base is the one that is given.
Where that name is another folder that is there, such as the merged model of the stage before, the adapter stands on it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from harness.lora import ADAPTER, NUMBERS, PLACE, digest_of, settings_of
from harness.scoring.folders import holds_model
from harness.values import cut
from harness.weights import model_files

OF_WEIGHTS = ("config.json", "generation_config.json", "model.safetensors.index.json", ADAPTER)


def take_adapter(folder: Path, base: Path, place: Path) -> str:
    """Make ``place`` a folder of the adapter on its base, as the engine reads one; a note on which base that is.

    Raises:
        UserError: where its settings are damaged, or it is of another kind than LoRA.
    """
    settings = settings_of(folder)
    named = str(settings.get("base_model_name_or_path") or "")
    there = Path(named) if named and Path(named).is_dir() and holds_model(Path(named)) else None
    stands_on = base if there is None else there
    place.mkdir(parents=True)
    for file in model_files(base):  # what asks: tokenizer, template and processor
        if file.suffix != ".safetensors" and file.name not in OF_WEIGHTS:
            shutil.copyfile(file, place / file.name)
    known = {**settings, "base_model_name_or_path": digest_of(stands_on), "inference_mode": True}
    (place / ADAPTER).write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    (place / PLACE).write_text(json.dumps({"folder": str(stands_on.resolve())}) + "\n")
    try:
        os.link(folder / NUMBERS, place / NUMBERS)
    except OSError:  # a disk without hard links, or another one
        shutil.copyfile(folder / NUMBERS, place / NUMBERS)
    if stands_on.resolve() == base.resolve():
        return ""
    return f"it is an adapter on {cut(named, 120)}, as its settings say, and not on the base that is given"


__all__ = ["take_adapter"]
