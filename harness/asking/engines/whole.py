"""A folder that any program loads: an adapter is added to its base, a whole model stays where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.asking.engines.transformers import load_model, load_processor
from harness.core import Scale
from harness.lora import is_adapter
from harness.weights import model_files


def whole_model(folder: Path, scale: Scale, place: Path) -> Path:
    """The folder itself, or ``place`` with the sum of its adapter and base in the scale's precision."""
    if not is_adapter(folder):
        return folder
    load_model(folder, scale.precision).cpu().save_pretrained(place)
    load_processor(folder, scale).save_pretrained(place)
    for file in model_files(folder):
        if file.suffix != ".safetensors" and not (place / file.name).exists():
            shutil.copyfile(file, place / file.name)
    (place / "adapter_config.json").unlink(missing_ok=True)
    return place
