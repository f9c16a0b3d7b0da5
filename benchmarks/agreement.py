"""Does another engine say what transformers says? ``python -m benchmarks.agreement --engine vllm``.

Both engines are asked the same twin items, greedily, with the twin base's weights: replies, their lengths in tokens and
whether they were cut off are compared one by one. Where a text differs, the gap in log-probability at the first other
token is reported; above ``--tie`` nats it is no tie, and the report ends with 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where it is started as a file, its own folder stands there

from harness.asking.engines import Engine, Prompt, open_engine  # noqa: E402
from harness.asking.engines.agreement import Agreement, agreement  # noqa: E402
from harness.asking.engines.transformers import TransformersEngine  # noqa: E402
from harness.asking.evaluate import open_pictures  # noqa: E402
from harness.asking.styles import COT, DIRECT  # noqa: E402
from harness.command.shell import ENVIRONMENT, set_threads  # noqa: E402
from harness.core import Style, Task, replace  # noqa: E402
from harness.registry import all_of, typed  # noqa: E402
from harness.scales import TWIN, model_folder  # noqa: E402

HEAD = "| task | style | items | texts | tokens | cut off | worst gap, nats | s |\n|---|---|---|---|---|---|---|---|"
TIE = {"float32": 1e-3, "bfloat16": 0.1}  # nats


def prompts_of(task: Task, style: Style, items: int) -> list[Prompt]:
    """The prompts of a task's test items in a style."""
    return [(style.ask(task, example), open_pictures(example)) for example in task.load("test", items)]


def compared(here: TransformersEngine, there: Engine, prompts: Sequence[Prompt], style: Style) -> Agreement:
    """Both engines' replies, compared."""
    decoding = TWIN.decodings[style.name]
    return agreement(here, prompts, here.generate(prompts, decoding), there.generate(prompts, decoding))


def line(name: str, style: str, found: Agreement, seconds: float) -> str:
    """One row of the report."""
    gap = f"{found.worst:.1e}" if found.gaps else ""
    cells = (name, style, found.count, found.texts, found.tokens, found.truncated, gap, f"{seconds:.1f}")
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def main(given: Sequence[str] | None = None) -> int:
    """Print the report; 0 where all differences are near ties."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="vllm", help="the other engine")
    parser.add_argument("--items", type=int, default=200, help="of each task and style")
    parser.add_argument("--precision", default="float32", choices=sorted(TIE))
    parser.add_argument("--tie", type=float, default=None, help="the largest gap that is a tie, in nats")
    asked = parser.parse_args(given)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    set_threads(TWIN.name)
    scale = replace(TWIN, name="twin-there", precision=asked.precision, engine=asked.engine)
    folder, tie = model_folder(TWIN), asked.tie if asked.tie is not None else TIE[asked.precision]
    begun = time.monotonic()
    with TransformersEngine(folder, scale) as here, open_engine(folder, scale) as there:
        print(f"{there.name}-v{there.version} on {there.device_kind}: open after {time.monotonic() - begun:.0f} s\n")
        print(HEAD)
        far, total, equal = [], 0, 0
        for name in all_of("task"):
            for style in (DIRECT, COT):
                begun = time.monotonic()
                found = compared(here, there, prompts_of(typed(Task, name), style, asked.items), style)
                print(line(name, style.name, found, time.monotonic() - begun), flush=True)
                total, equal = total + found.count, equal + (found.count if found.whole else found.texts)
                far += [gap for gap in found.gaps if gap.nats > tie]
    print(f"\n{equal} of {total} texts are equal; {len(far)} of the others began at a gap of more than {tie:g} nats")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
