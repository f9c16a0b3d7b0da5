"""The engines of this package, found by name; what they load is imported when one is opened."""

from __future__ import annotations

from pathlib import Path

from harness.asking.engines import Engine, EngineKind
from harness.core import Scale


def open_transformers(folder: Path, scale: Scale) -> Engine:
    """The model of a folder in transformers, in this process."""
    from harness.asking.engines.transformers import TransformersEngine

    return TransformersEngine(folder, scale)


TRANSFORMERS = EngineKind(name="transformers", version=1, open=open_transformers)
