"""The fake world as a plugin that `harness run` finds all of: its model's folder stands in FAKE_MODEL."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_world import (
    CARDS,
    COINS,
    DICE,
    ENGINE,
    PREFIX,
    STREAM,
    WATCHED,
    Job,
    Trained,
    fake_scale,
    learn,
    trained_by,
)


def learn_for_a_while(job: Job) -> Trained:
    """Some seconds for a stage, so that a node can be killed in its middle; it says where it begins."""
    state = job.folder / "state.json"
    print("begins after step", json.loads(state.read_text())["step"] if state.exists() else 0, flush=True)
    return learn(job, pause=0.25)


WHILE = trained_by(learn_for_a_while, name="while")
QUICK = trained_by(learn, name="quick")
SCALE = fake_scale(Path(os.environ.get("FAKE_MODEL", "no-model")))

__all__ = ["CARDS", "COINS", "DICE", "ENGINE", "PREFIX", "QUICK", "SCALE", "STREAM", "WATCHED", "WHILE"]
