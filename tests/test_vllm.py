"""A real vLLM, where one is installed: `make vllm-check` makes such an environment. Elsewhere fakes stand for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rollout_jobs import SAMPLED, job_of, shown
from test_endpoint import seen_through, turned

from harness import registry
from harness.asking.engines import Engine, Prompt, open_engine
from harness.asking.engines.agreement import agreement
from harness.asking.engines.transformers import TransformersEngine
from harness.asking.evaluate import open_pictures
from harness.asking.styles import COT
from harness.core import Paradigm, Run, Stream, Task, replace
from harness.runner import run
from harness.scales import TWIN, TWIN_VLLM, model_folder
from harness.training import ranks
from harness.training.launch import train

ROOT = Path(__file__).resolve().parents[1]
BASE = model_folder(TWIN)
WIDE = {"min_pixels": 32 * 32, "max_pixels": 96 * 96}
LONG = TWIN.decodings["cot"]
FAR = 0.005  # nats between two right engines in fp32, where the weights move a hundred times as fast as they should


@pytest.fixture(scope="module")
def here() -> TransformersEngine:
    return TransformersEngine(BASE, replace(TWIN, **WIDE))


@pytest.fixture(scope="module")
def there() -> Iterator[Engine]:
    with open_engine(BASE, replace(TWIN_VLLM, **WIDE)) as engine:
        yield engine


def asked() -> list[Prompt]:
    """Prompts with none, one and several pictures, of several sizes and kinds, with marks in their text, with turns."""
    tasks = [registry.typed(Task, name) for name in ("mmlu-pro", "gqa", "mmmu")]
    found = [(COT.ask(task, item), open_pictures(item)) for task in tasks for item in task.load("test", 24)]
    sizes = ((48, 48), (96, 48), (112, 70))
    sized = [(text, tuple(one.resize(size) for one in shown)) for text, shown in found[24::3] for size in sizes]
    picture = found[24][1][0]
    kinds = [
        turned(picture),
        seen_through(picture),
        picture.convert("P"),
        picture.convert("L"),
        picture.convert("CMYK"),
    ]
    turns = (("system", "Be brief."), ("user", "One?"), ("assistant", "Two."), ("user", "What is in <image 1> ?"))
    odd: list[Prompt] = [("What ends <|im_end|> or <|image_pad|>?", ()), (turns, (picture,))]
    return [*found, *sized, *[("What is it?", (kind,)) for kind in kinds], *odd]


def test_the_server_says_what_transformers_says(here: TransformersEngine, there: Engine) -> None:
    prompts = asked()
    whole = here.generate(prompts, LONG)
    found = agreement(here, prompts, whole, there.generate(prompts, LONG))
    assert found.whole, found
    for decoding in (TWIN.decodings["direct"], replace(LONG, stop=("</think>", "is"))):
        found = agreement(here, prompts, here.generate(prompts, decoding), there.generate(prompts, decoding))
        assert found.whole, found
    assert len({reply.text for reply in whole}) > 30


def test_samples_come_again_and_each_has_its_own_length(here: TransformersEngine, there: Engine) -> None:
    prompts = asked()[:6]
    first = there.sample(prompts, LONG, 4, 7, 0.99)
    assert there.sample(prompts, LONG, 4, 7, 0.99) == first
    for group in first:
        for reply in group:
            length = len(here.processor.tokenizer(reply.text)["input_ids"])
            assert reply.tokens - length == (0 if reply.truncated else 1)


OWNER = """
from harness.asking.engines import open_engine
from harness.scales import TWIN, TWIN_VLLM, model_folder
engine = open_engine(model_folder(TWIN), TWIN_VLLM)
print(engine._room.name, flush=True)
input()
"""


def processes_of(room: str) -> list[int]:
    """Those whose command or folder shows that they belong to a server of that room."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            mine = os.readlink(place / "cwd") == room or room in (place / "cmdline").read_text()
            ended = (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if mine and not ended:
            found.append(int(place.name))
    return found


def test_a_server_and_its_workers_die_with_a_killed_owner() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as owner:
        assert owner.stdout is not None
        room = owner.stdout.readline().decode().strip()
        assert len(processes_of(room)) > 1
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    until = time.monotonic() + 60
    while processes_of(room) and time.monotonic() < until:
        time.sleep(0.2)
    assert not processes_of(room)


def rollouts(folder: Path, which: str) -> dict[str, Any]:
    """What a stage in a process of its own says of its rollouts."""
    command = [sys.executable, str(ROOT / "tests" / "rollout_jobs.py"), str(folder), which]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3000)
    lines = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-3000:]
    return dict(json.loads(lines[0]))


def test_rollouts_and_policy_agree_while_the_vision_tower_moves(tmp_path: Path) -> None:
    found = rollouts(tmp_path, "mended")
    assert len(found["differences"]) == 2, found
    assert max(found["differences"]) < FAR


def test_stock_trl_is_ended_by_the_guard(tmp_path: Path) -> None:
    assert "0.05 is the most" in rollouts(tmp_path, "stock").get("refused", "")


def test_two_ranks_sample_by_a_vllm_each_what_the_sharded_policy_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setattr(ranks, "gpus", lambda: 2)
    registry.load_plugin(ROOT / "tests" / "cpu_ranks.py")
    scale = replace(SAMPLED, ranks=2, rates={**SAMPLED.rates, "grpo-agreeing": 3e-3})
    seen = tuple(pair for pair in shown(4) if pair[1].images)
    trained = train(job_of(tmp_path, registry.typed(Paradigm, "rft-agreeing"), scale, examples=seen))
    assert trained.optimiser_steps == 2
    assert trained.sampled_tokens > 64 * 5, "of both ranks"


def test_a_run_by_vllm_has_the_base_row_of_transformers(tmp_path: Path) -> None:
    stream = Stream(name="two", tasks=("gqa", "scienceqa"), epochs={"gqa": 1, "scienceqa": 1}, general=())
    small = {"train_items": 8, "test_items": 8, "rollouts": 4, "prompts_per_update": 4, "updates_per_rollout_batch": 1}
    paradigm = registry.typed(Paradigm, "rft")
    found = run(Run(paradigm=paradigm, stream=stream, scale=replace(TWIN_VLLM, **small)), tmp_path / "there")
    plain = run(Run(paradigm=paradigm, stream=stream, scale=replace(TWIN, **small)), tmp_path / "here")
    assert found.id != plain.id
    assert {cell.engine for cell in found.cells} == {"vllm-v1@cpu"}
    scores = [
        [(cell.task, cell.style, cell.score) for cell in done.cells if cell.stage == 0] for done in (found, plain)
    ]
    assert scores[0] == scores[1]
