"""What every test runs under: offline, one thread, no plugins, nothing of the user's environment."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from harness import registry

# Set before anything loads torch or a hub library: both read them once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["WANDB_MODE"] = "disabled"
os.environ["MPLBACKEND"] = "agg"
os.environ.pop("CPT_HARNESS_PLUGINS", None)

# A first example may import a large library, and the machine may be busy: no example has a deadline. At home examples
# are drawn anew each time; a check of a commit draws the same ones, so that it says something about the commit.
settings.register_profile("here", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("here")

# What a real vLLM is needed for is tried by `make vllm-check`, which makes an environment that has one.
# A program that a test starts is no module; looking for doctests would start it, too.
collect_ignore = ["fake_vllm_server.py", *([] if importlib.util.find_spec("vllm") else ["test_vllm.py"])]
if importlib.util.find_spec("vllm"):
    with warnings.catch_warnings():  # TRL imports vLLM where there is one, whose modules warn
        warnings.simplefilter("ignore")
        importlib.import_module("trl.generation.vllm_generation")

FAKE_PLUGIN = Path(__file__).with_name("fake_plugin.py").resolve()


@pytest.fixture
def fake_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The fake world's nouns, registered for one test; what is set in the module is what the registry finds."""
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a test survives no power cut, and waits for no disk
    registry.load_plugin(FAKE_PLUGIN)
    module = registry._plugins[FAKE_PLUGIN]
    yield module
    del sys.modules[module.__name__]
