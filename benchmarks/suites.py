"""Evaluation here beside lm-eval's ``hf-multimodal`` and VLMEvalKit's loop: ``python -m benchmarks.suites``.

The same twin items in the same words, the same weights on one core, each in processor time by turns; libraries are
imported and models loaded outside the time. Wanted: a fifth of the time of either, and the same accuracy to the last
digit. The libraries are those of the extra ``suites``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where it is started as a file, its own folder stands there

from benchmarks.speed import RATIO, Finding, line, machine, natural, paired  # noqa: E402
from harness.asking.evaluate import open_pictures, replies_of  # noqa: E402
from harness.asking.marking import mark  # noqa: E402
from harness.asking.styles import DIRECT  # noqa: E402
from harness.command.shell import ENVIRONMENT, set_threads  # noqa: E402
from harness.core import Example, Task  # noqa: E402
from harness.scales import TWIN, model_folder  # noqa: E402

TASKS = ("pope", "gqa")
MOST = 0.2  # of a library's time
BATCHES = (16, 64, 128)  # that lm-eval is tried with; the fastest one counts
TOKENS = TWIN.decodings["direct"].max_new_tokens
Asked = Callable[[], list[str]]


def here(task: Task, examples: Sequence[Example]) -> Asked:
    """The replies of this harness's engine, as a cell gets them; no picture is kept from one time to the next."""
    from harness.asking.engines.transformers import TransformersEngine

    engine = TransformersEngine(model_folder(TWIN), TWIN)
    texts = [DIRECT.ask(task, example) for example in examples]

    def ask() -> list[str]:
        if engine.prompts is not None:
            engine.prompts.kept.clear()
        return [reply.text for reply in replies_of(engine, examples, texts, TWIN.decodings["direct"], TWIN.eval_batch)]

    return ask


def by_lm_eval(task: Task, examples: Sequence[Example], batch: int) -> Asked:
    """The replies of lm-eval's ``hf-multimodal`` in batches."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.hf_vlms import HFMultimodalLM

    model = HFMultimodalLM(
        pretrained=str(model_folder(TWIN)),
        device="cpu",
        dtype="float32",
        batch_size=batch,
        min_pixels=TWIN.min_pixels,
        max_pixels=TWIN.max_pixels,
        trust_remote_code=False,
    )
    settings = {"until": [], "max_gen_toks": TOKENS, "do_sample": False}

    def ask() -> list[str]:
        requests = []
        for number, example in enumerate(examples):
            pictures = list(open_pictures(example))
            turn = {"role": "user", "content": "<image>" * len(pictures) + DIRECT.ask(task, example)}
            asked = (model.apply_chat_template([turn]), dict(settings), {"visual": pictures})
            requests.append(Instance(request_type="generate_until", doc={}, arguments=asked, idx=number))
        replies: list[str] = model.generate_until(requests, disable_tqdm=True)
        return replies

    return ask


class OneByOne:
    """What VLMEvalKit's loop calls for a local model: a message of texts and picture files, one at a time."""

    is_api = False

    def __init__(self) -> None:
        """Load model and processor."""
        from harness.asking.engines.transformers import load_model, load_processor

        self.processor = load_processor(model_folder(TWIN), TWIN)
        self.model = load_model(model_folder(TWIN), TWIN.precision).eval()

    def set_dump_image(self, dump: Any) -> None:
        """The loop hands over how pictures are written; messages name files already."""

    def generate(self, message: list[dict[str, str]], dataset: str) -> str:
        """The greedy reply to one message."""
        import torch
        from PIL import Image

        kinds = {"image": "image", "text": "text"}
        parts = [{"type": kinds[part["type"]], kinds[part["type"]]: part["value"]} for part in message]
        chat = [{"role": "user", "content": parts}]
        text = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        pictures = [Image.open(part["value"]).convert("RGB") for part in message if part["type"] == "image"]
        inputs = self.processor(text=[text], images=pictures or None, return_tensors="pt")
        with torch.inference_mode():
            output = self.model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        said = self.processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return str(said)


def by_vlmeval(task: Task, examples: Sequence[Example], work: Path) -> Asked:
    """The replies that VLMEvalKit's inference loop collects; the pictures lie in files, as it wants them."""
    from types import SimpleNamespace

    import pandas
    from vlmeval.inference import infer_data
    from vlmeval.smp import load

    messages = []
    for number, example in enumerate(examples):
        parts = []
        for place, picture in enumerate(open_pictures(example)):
            file = work / f"{number}-{place}.png"
            picture.save(file)
            parts.append({"type": "image", "value": str(file)})
        messages.append([*parts, {"type": "text", "value": DIRECT.ask(task, example)}])

    class Local(SimpleNamespace):
        """The part of a data set of VLMEvalKit's that its loop asks for."""

        dataset_name = "local"
        data = pandas.DataFrame({"index": range(len(messages))})

        def __len__(self) -> int:
            return len(messages)

        def dump_image(self, row: Any) -> None:
            """Nothing: the files are there."""

        def build_prompt(self, row: Any) -> list[dict[str, str]]:
            return messages[int(row["index"])]

    model, out = OneByOne(), work / "replies.pkl"

    def ask() -> list[str]:
        for path in work.glob("*.pkl"):
            path.unlink()
        infer_data(model, "twin", str(work), Local(), str(out))
        found = load(str(out))
        return [found[number] for number in range(len(messages))]

    return ask


def accuracy(task: Task, examples: Sequence[Example], replies: Sequence[str]) -> float:
    """The mean mark of replies, by the task's own scorer."""
    marks = [mark(task, DIRECT, example, reply).score for example, reply in zip(examples, replies, strict=True)]
    return sum(marks) / len(marks)


def findings(task: Task, items: int, pairs: int, work: Path) -> Iterator[Finding]:
    """The time here over that of each library, with the accuracies."""
    examples = task.load("test", items)
    ours = here(task, examples)
    mine = accuracy(task, examples, ours())
    lm_eval = {f"lm-eval, batch {batch}": by_lm_eval(task, examples, batch) for batch in BATCHES if batch <= items}
    for name, theirs in {**lm_eval, "VLMEvalKit's loop": by_vlmeval(task, examples, work)}.items():
        other = accuracy(task, examples, theirs())
        times = paired(ours, theirs, pairs)
        same = f"accuracy {100 * mine:.2f} and {100 * other:.2f}"
        yield Finding(
            item=task.name,
            what=f"{task.name}: {items} items here / {name}, processor time",
            value=times.ratio(1),
            unit=RATIO,
            most=MOST,
            detail=f"{times.detail()}; {same}",
        )


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a Markdown table; exit code 2 where the libraries are not installed."""
    from harness import registry

    parser = argparse.ArgumentParser(description="Evaluation here beside lm-eval and VLMEvalKit, in processor time.")
    parser.add_argument("--items", type=natural, default=200, help="items of each task (200)")
    parser.add_argument("--pairs", type=natural, default=3, help="repetitions (3)")
    parser.add_argument("--only", choices=TASKS, action="append", help="this task alone; repeatable")
    wanted = parser.parse_args(arguments)
    if missing := [name for name in ("lm_eval", "vlmeval") if find_spec(name) is None]:
        print(f'error: {missing[0]} is missing: pip install -c constraints.txt -e ".[suites]"', file=sys.stderr)
        return 2
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    set_threads(TWIN.name)
    print(", ".join(f"{name} {value}" for name, value in machine().items()) + "\n")
    print("| measured | value | wanted | kept | how |\n|---|---|---|---|---|", flush=True)
    for name in wanted.only or TASKS:
        with tempfile.TemporaryDirectory(prefix="suites-") as work:
            for finding in findings(registry.typed(Task, name), wanted.items, wanted.pairs, Path(work)):
                print(line(finding), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
