"""A run in a process of its own, to be killed: prints a line for whatever it does.

Arguments: out, world, model, processes. The world "fake" takes a second; any other word is a paradigm's name, run for
real on a short stream of the twins. With one process more ("1"), stages are trained and observed in other processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from conftest import FAKE_PLUGIN
from fake_world import ENGINE, SLOW, fake_run, open_slowly

from harness import observe, registry, train_stage
from harness.core import Cell, Observation, Paradigm, Progress, Run, Stream, replace
from harness.registry import typed
from harness.runner import run
from harness.scales import TWIN
from harness.store import record
from harness.training import trainers


class Speaker:
    """Prints a line for each event, so that the one who kills can choose a moment."""

    def stage(self, index: int, total: int, name: str) -> None:
        """A stage begins."""
        print(f"stage {name}", flush=True)

    def progress(self, progress: Progress) -> None:
        """A step is done."""
        print(f"step {progress.step}", flush=True)

    def replies(self, observation: Observation, seconds: float) -> None:
        """Replies were generated."""

    def cell(self, cell: Cell, done: int, total: int) -> None:
        """A cell is done."""
        print(f"cell {done}", flush=True)

    def note(self, text: str) -> None:
        """Something was said."""
        print(f"note {text}", flush=True)


def real_run(paradigm: str, model: str) -> Run:
    """Two tasks and one suite of the twins, small, with six rollout batches or three SFT steps a stage."""
    stream = Stream(name="two", tasks=("gqa", "scienceqa"), epochs={"gqa": 1, "scienceqa": 1}, general=("pope",))
    scale = replace(
        TWIN,
        model=model,
        train_items=24,
        test_items=8,
        sft_batch=8,
        rollouts=4,
        prompts_per_update=4,
        updates_per_rollout_batch=1,
    )
    return Run(paradigm=typed(Paradigm, paradigm), stream=stream, scale=scale, limit=24)


if __name__ == "__main__":
    out, world, model, processes = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    if world == "fake":
        registry.load_plugin(FAKE_PLUGIN)
        if not processes:  # torch takes longer to load than this world; other processes would not know of these
            record.environment = observe.environment = train_stage.environment = lambda: {"here": "the fake world"}
            observe.device_kind = train_stage.device_kind = lambda: "cpu"
        asked, engine = fake_run(Path(model), SLOW), replace(ENGINE, open=open_slowly)
    else:
        # States are saved as often as they can be, so that a stage this short is resumed from one.
        trainers.SAVE_SECONDS, trainers.SAVE_SHARE = 0.0, 1.0
        asked, engine = real_run(world, model), None
    asked = replace(asked, scale=replace(asked.scale, ranks=processes, observers=processes))
    run(asked, out, Speaker(), engine)
    print("done", flush=True)
