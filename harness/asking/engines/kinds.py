"""The engines of this package, found by name; what they load is imported when one is opened."""

from __future__ import annotations

from pathlib import Path

from harness.asking.engines import Engine, EngineKind
from harness.core import Scale


def open_transformers(folder: Path, scale: Scale) -> Engine:
    """The model of a folder in transformers, in this process."""
    from harness.asking.engines.transformers import TransformersEngine

    return TransformersEngine(folder, scale)


def open_vllm(folder: Path, scale: Scale) -> Engine:
    """The model of a folder in a server of vLLM, started for it."""
    from harness.asking.engines.vllm import VllmEngine

    return VllmEngine(folder, scale)


def open_endpoint(folder: Path, scale: Scale) -> Engine:
    """The server that the user names, which must serve the model of the folder."""
    from harness.asking.engines.endpoint import named_endpoint

    return named_endpoint(folder, scale)


TRANSFORMERS = EngineKind(name="transformers", version=1, open=open_transformers)
# Its version stands for vLLM 0.31, which constraints-gpu.txt pins.
VLLM = EngineKind(
    name="vllm",
    version=1,
    open=open_vllm,
    takes_all_devices=True,
    opening="vLLM is started for these weights, which takes a minute or more",
)
ENDPOINT = EngineKind(name="endpoint", version=1, open=open_endpoint, takes_all_devices=True, elsewhere=True)
