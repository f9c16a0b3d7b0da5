"""Stages trained by LLaMA-Factory: `--plugin examples/llamafactory.py --paradigm sft-llamafactory`.

`llamafactory-cli` must be found on the PATH; it may belong to a virtual environment of its own.
"""

from pathlib import Path

from harness.asking.styles import DIRECT
from harness.core import Paradigm
from harness.foreign.learner import command

LEARNER = command(
    "llamafactory-cli train {config}",
    name="llamafactory",
    form="llamafactory",
    config=Path(__file__).with_name("llamafactory.yaml"),
    batch=16,
)
SFT_LLAMAFACTORY = Paradigm(name="sft-llamafactory", learner=LEARNER, style=DIRECT)
