"""Another trainer's command as a learner: what it is given, what is taken from it, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
from fake_world import ENGINE, FAKE, PREFIX, fake_run, make_model
from safetensors.numpy import load_file, save_file
from test_kill import alive

from harness import registry
from harness.core import Paradigm, Run, UserError, plain, replace
from harness.foreign import taken
from harness.foreign.learner import Command, command
from harness.laws import small_job
from harness.results.cells import read_cells
from harness.run_inputs import run_id
from harness.runner import Finished, run
from harness.scales import TWIN, model_folder
from harness.store.record import read_record
from harness.training.launch import train

TRAINER = Path(__file__).with_name("foreign_trainer.py")
LINE = f"{sys.executable} {TRAINER} {{data}} {{parent}} {{out}} {{seed}}"


def foreign(word: str = "", **fields: Any) -> Paradigm:
    """A paradigm whose learner is the small trainer."""
    learner = command(f"{LINE} {word}", name="foreign", form="ms-swift", batch=4, **fields)
    return replace(FAKE, name="foreign", learner=learner)


def asked(tmp_path: Path, word: str = "") -> Run:
    """A run of two stages by the small trainer."""
    return fake_run(make_model(tmp_path / "model"), foreign(word), PREFIX)


def costs(done: Finished) -> dict[str, Any]:
    """What costs.json says of the stages."""
    return json.loads((done.folder / "costs.json").read_text())["stages"]  # type: ignore[no-any-return]


def test_a_run_by_another_trainer_is_a_run(tmp_path: Path, fake_plugin: ModuleType) -> None:
    done = run(asked(tmp_path, "tells"), tmp_path / "runs", engine=ENGINE)
    record = read_record(done.folder)
    first, second = record.stages
    assert [first.parent, second.parent] == [record.base, first.weights]
    assert len({record.base, first.weights, second.weights}) == 3
    assert {cell.weights for cell in done.cells} == {record.base, first.weights, second.weights}
    # dice has two epochs, and each presentation is a row
    assert [costs(done)[n]["optimiser_steps"] for n in "12"] == [12, 12]
    assert costs(done)["2"]["trained_tokens"] == 60
    assert costs(done)["2"]["seconds"] > 0
    assert record.paradigm["learner"]["train"]["words"][1:3] == [str(TRAINER), "{data}"]
    kept = tmp_path / "runs" / "checkpoints" / str(second.key)
    assert (kept / "training.log").read_text() == "read 12 rows\n"
    assert (kept / "config.json").read_bytes() == (tmp_path / "model" / "config.json").read_bytes()
    assert {path.name for path in kept.iterdir()} == {
        "config.json", "manifest.json", "model.safetensors", "training.log"
    }  # fmt: skip
    before = (kept / "manifest.json").stat().st_mtime_ns
    assert run(asked(tmp_path, "tells"), tmp_path / "runs", engine=ENGINE).cells == done.cells
    assert (kept / "manifest.json").stat().st_mtime_ns == before


def test_a_command_that_fails_is_one_line_with_the_end_of_its_log(tmp_path: Path, fake_plugin: ModuleType) -> None:
    with pytest.raises(UserError) as refused:
        run(asked(tmp_path, "fails"), tmp_path / "runs", engine=ENGINE)
    line = str(refused.value)
    assert "ended with exit code 3 in stage coins: read 12 rows | Traceback: no card | OutOfMemory: 3 GB wanted" in line
    assert "\n" not in line
    nobody = replace(FAKE, learner=command("nowhere-trainer {data} {out}", name="foreign", form="trl"))
    with pytest.raises(UserError, match="nowhere-trainer cannot be started: No such file"):
        run(replace(asked(tmp_path), paradigm=nobody), tmp_path / "runs", engine=ENGINE)


def test_the_key_holds_the_words_and_the_configuration_and_no_place_of_it(
    tmp_path: Path, fake_plugin: ModuleType
) -> None:
    text = "data: '{data}'\nout: '{out}'\nmodel: '{parent}'\n"
    for name, content in (("one.yaml", text), ("two.yaml", text), ("three.yaml", text + "rate: 1\n")):
        (tmp_path / name).write_text(content)
    model = make_model(tmp_path / "model")

    def named(config: str, line: str = "train {config}") -> str:
        learner = command(line, name="foreign", form="llamafactory", config=tmp_path / config)
        return run_id(fake_run(model, replace(FAKE, learner=learner), PREFIX))

    assert named("one.yaml") == named("two.yaml")
    assert len({named("one.yaml"), named("three.yaml"), named("one.yaml", "train --fast {config}")}) == 3
    assert plain(Command(name="x", words=("a", "{data}", "{out}"), form="trl"))["does"].endswith("Command")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown place": ({"line": "t {data} {out} {sead}"}, "{sead} is no place: use {data}, {parent}"),
    "no place for the data": ({"line": "t {out}"}, "{data} stands nowhere"),
    "no place for the weights": ({"line": "t {data}"}, "{out} stands nowhere"),
    "a configuration that is not there": ({"line": "t {data} {out} {config}"}, "{config} wants a configuration"),
    "an unknown format": ({"form": "csv"}, "unknown format 'csv'"),
    "an open quote": ({"line": "t '{data} {out}"}, "No closing quotation"),
    "no words": ({"line": ""}, "a tuple of words"),
    "a configuration that cannot be read": ({"config": Path("nowhere.yaml")}, "nowhere.yaml"),
    "a name": ({"name": "A/b"}, "'A/b' is no name"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_command_that_cannot_be_is_refused(what: str) -> None:
    fields, said = WRONG[what]
    with pytest.raises(UserError) as refused:
        command(**{"line": "t {data} {out}", "name": "foreign", "form": "trl", **fields})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def _index(out: Path) -> None:
    save_file({"v": numpy.zeros(2)}, out / "other.safetensors")


LEFT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda out: (out / "model.safetensors").unlink(), "no *.safetensors"),
    "pickled weights": (
        lambda out: (out / "model.safetensors").rename(out / "pytorch_model.bin"), "pickled weights, which are never"
    ),
    "another adapter": (lambda out: (out / "adapter_config.json").write_text("{}"), "is no LoRA adapter"),
    "another shape": (
        lambda out: save_file({"w": numpy.zeros(3)}, out / "model.safetensors"), "w is 3, the parent's 2"
    ),
    "another name": (lambda out: save_file({"v": numpy.zeros(2)}, out / "model.safetensors"), "lacks w"),
    "one tensor more": (
        lambda out: save_file({"w": numpy.zeros(2), "lm_head.weight": numpy.zeros(2)}, out / "model.safetensors"),
        "has lm_head.weight",
    ),
    "quantised weights": (
        lambda out: save_file({"w": numpy.zeros(2, numpy.int8)}, out / "model.safetensors"), "w is of I8"
    ),
    "half a file": (lambda out: (out / "model.safetensors").write_bytes(b"\x08"), "is damaged"),
    "two models": (_index, "no model.safetensors.index.json that names them"),
    "words for costs": (lambda out: (out / "costs.json").write_text('{"steps": 3}'), "whole numbers of 0 or more"),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT)
def test_what_is_no_model_of_the_parents_kind_is_refused(tmp_path: Path, what: str) -> None:
    spoil, said = LEFT[what]
    parent, out = make_model(tmp_path / "parent"), make_model(tmp_path / "out", 2.0)
    spoil(out)

    def take_in() -> None:
        taken.take(out, parent, tmp_path / "taken")
        taken.reported(out)

    with pytest.raises(UserError) as refused:
        take_in()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_model_in_parts_is_taken_with_the_parents_files(tmp_path: Path) -> None:
    parent, out = make_model(tmp_path / "parent"), tmp_path / "out"
    save_file({"w": numpy.zeros(2), "v": numpy.ones((2, 2))}, parent / "model.safetensors")
    (parent / "chat_template.jinja").write_text("the parent's")
    make_model(out, 2.0).joinpath("chat_template.jinja").write_text("the framework's")
    (out / "model.safetensors").rename(out / "model-1.safetensors")
    save_file({"v": numpy.zeros((2, 2), numpy.float16)}, out / "model-2.safetensors")
    names = {"w": "model-1.safetensors", "v": "model-2.safetensors"}
    (out / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (out / "trainer_state.json").write_text('{"global_step": 7}')
    taken.take(out, parent, tmp_path / "taken")
    assert load_file(tmp_path / "taken" / "model-1.safetensors")["w"].tolist() == [2.0, 0.0]
    assert (tmp_path / "taken" / "chat_template.jinja").read_text() == "the parent's"
    assert taken.reported(out) == {"optimiser_steps": 7, "sampled_tokens": 0, "trained_tokens": 0}


TWO_LINES = """import sys; from safetensors.numpy import load_file, save_file; name = "/model.safetensors"
save_file({n: 0.5 * w for n, w in load_file(sys.argv[2] + name).items()}, sys.argv[3] + name)
"""


def test_a_script_of_two_lines_is_a_trainer(tmp_path: Path, fake_plugin: ModuleType) -> None:
    (tmp_path / "halve.py").write_text(TWO_LINES)
    learner = command(f"{sys.executable} {tmp_path}/halve.py {{data}} {{parent}} {{out}}", name="halve", form="trl")
    asked = fake_run(make_model(tmp_path / "model"), replace(FAKE, learner=learner), PREFIX)
    done = run(asked, tmp_path / "runs", engine=ENGINE)
    kept = [tmp_path / "runs" / "checkpoints" / str(stage.key) for stage in read_record(done.folder).stages]
    assert [load_file(folder / "model.safetensors")["w"].tolist() for folder in kept] == [[0.5, 0.0], [0.25, 0.0]]


@pytest.mark.slow
def test_trls_own_command_trains_a_stage_of_the_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    registry.load_plugin(TRAINER.parents[1] / "examples" / "trl_sft.py")
    paradigm, base = registry.typed(Paradigm, "sft-trl"), model_folder(TWIN)
    made = train(small_job(paradigm, TWIN, base, tmp_path))
    assert made.log is not None
    assert "Training completed" in made.log.read_text()
    before, after = (load_file(folder / "model.safetensors") for folder in (base, made.weights))
    moved = [name for name in before if not numpy.array_equal(before[name], after[name])]
    assert {name.partition(".")[0] for name in moved} == {"model", "visual"}
    beside = {path.name for path in base.iterdir() if path.name in {file.name for file in made.weights.iterdir()}}
    assert all(
        (base / name).read_bytes() == (made.weights / name).read_bytes() for name in beside - {"model.safetensors"}
    )


KILLED = """
import sys
from pathlib import Path
from conftest import FAKE_PLUGIN
from test_foreign import asked
from fake_world import ENGINE
from harness import registry
from harness.runner import run
registry.load_plugin(FAKE_PLUGIN)
run(asked(Path(sys.argv[1]), sys.argv[2]), Path(sys.argv[1]) / f"runs{sys.argv[2]}", engine=ENGINE)
"""


@pytest.mark.slow
def test_what_a_killed_run_had_started_dies_and_the_same_command_goes_on(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    paths = os.pathsep.join([str(TRAINER.parent), str(TRAINER.parents[1])])
    words, env = [sys.executable, "-c", KILLED, str(tmp_path)], {**os.environ, "PYTHONPATH": paths}
    first, told, until = subprocess.Popen([*words, "waits"], env=env), tmp_path / "runswaits" / "child", 60.0
    until += time.monotonic()
    while not told.exists() or not told.read_text():
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    child = int(told.read_text())
    assert alive(child)
    first.send_signal(signal.SIGKILL)
    first.wait()
    until = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < until, "what the command had started outlives the run"
        time.sleep(0.02)
    for word in ("waits", ""):
        subprocess.run([*words, word], env=env, timeout=120, check=True)
    (one,), (other,) = (list(tmp_path.glob(f"runs{word}/foreign-*/cells.csv")) for word in ("waits", ""))
    digests = [[cell.weights for cell in read_cells(path)] for path in (one, other)]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 3


@pytest.mark.slow
def test_an_adapter_is_added_to_the_parents_weights(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from harness.lora import without_renamed

    parent = model_folder(TWIN)
    with without_renamed():
        model = get_peft_model(
            AutoModelForImageTextToText.from_pretrained(parent, local_files_only=True),
            LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
        )
        model.save_pretrained(tmp_path / "out")
        wanted = model.merge_and_unload().state_dict()
    taken.take(tmp_path / "out", parent, tmp_path / "weights")
    found = AutoModelForImageTextToText.from_pretrained(tmp_path / "weights", local_files_only=True).state_dict()
    before = AutoModelForImageTextToText.from_pretrained(parent, local_files_only=True).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in before)
    assert sum(not torch.equal(found[name], before[name]) for name in before) == 8, "queries and values of four layers"
    (tmp_path / "out/adapter_model.safetensors").rename(tmp_path / "out/adapter_model.bin")
    with pytest.raises(UserError, match="save the adapter as safetensors"):
        taken.take(tmp_path / "out", parent, tmp_path / "again")
