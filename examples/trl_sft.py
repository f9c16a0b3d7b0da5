"""Stages trained by TRL's own command: `--plugin examples/trl_sft.py --paradigm sft-trl`."""

from pathlib import Path

from harness.asking.styles import DIRECT
from harness.core import Paradigm
from harness.foreign.learner import command

LEARNER = command(
    "trl sft --config {config}", name="trl", form="trl", config=Path(__file__).with_suffix(".yaml"), batch=16
)
SFT_TRL = Paradigm(name="sft-trl", learner=LEARNER, style=DIRECT)
