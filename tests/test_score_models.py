"""Folders that other trainers left: asked as a run's own checkpoints are, whatever stands beside the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
from fake_world import STREAM, WATCHING, fake_run, fake_scale, heard_by, make_model
from safetensors.numpy import save_file

from harness import runner
from harness.command import cli
from harness.core import Reply, Run, UserError, joint, replace
from harness.lora import base_of
from harness.results.marks import read_marks
from harness.results.published import read_run
from harness.scoring.evidence import intervals, reasons
from harness.scoring.folders import model_in
from harness.scoring.models import models_of, score_models
from harness.scoring.paradigm import ELSEWHERE
from harness.scoring.scored import Scored
from harness.store.checkpoints import Store
from harness.store.tables import from_parquet
from harness.weights import weights_digest

pytestmark = pytest.mark.usefixtures("fake_plugin")


@pytest.fixture
def trained(tmp_path: Path, fake_plugin: Any) -> tuple[runner.Finished, Path, dict[str, Path]]:
    """A run of the fake world, and its models as another trainer would leave them in folders of its own."""
    base = make_model(tmp_path / "base")
    fake_plugin.SCALE = fake_scale(base)
    done = runner.run(fake_run(base), tmp_path / "runs")
    folders = {}
    for stage in read_run(done.folder).record.stages:
        folder = folders[stage.name] = tmp_path / "elsewhere" / stage.name
        folder.mkdir(parents=True)
        made = Store(tmp_path / "runs").checkpoints / str(stage.key)
        shutil.copyfile(made / "model.safetensors", folder / "model.safetensors")
        (folder / "config.json").write_text('{"model_type": "fake", "transformers_version": "4.51.0"}')
        (folder / "trainer_state.json").write_text("{}")
        (folder / "optimizer.pt").write_bytes(b"never read")
    return done, base, folders


def asked(base: Path, **fields: Any) -> Run:
    """On what is scored: as the run was."""
    return replace(fake_run(base), paradigm=ELSEWHERE, **fields)


def scored(
    base: Path | None, stages: dict[str, Path], out: Path, run: Run, styles: tuple[str, ...] = ("direct",)
) -> tuple[tuple[Scored, ...], list[str]]:
    """What is scored, and what was said meanwhile."""
    said: list[str] = []
    with models_of(base, stages, out) as models:
        return score_models(models, run, out, styles, said.append), said


def test_folders_from_elsewhere_get_the_numbers_of_the_run_that_made_them(trained, tmp_path):
    done, base, folders = trained
    (direct, cot), said = scored(base, folders, tmp_path / "other", asked(base), ("direct", "cot"))
    run = read_run(done.folder)
    for one in (direct, cot):
        assert replace(one.matrices[0], flips=()) == run.matrix(one.style)
        marks = read_marks(done.folder)
        assert one.marks[0] == {place: found for place, found in marks.items() if place[2] in ("direct", "cot")}
    assert len(said) == len(run.cells)
    assert list((tmp_path / "other").iterdir()) == [tmp_path / "other" / "replies"], "nothing else is left there"
    assert direct.inputs["coins"] == run.record.stages[0].weights, "the base's files stand beside the tensors"


def test_what_the_store_holds_is_not_asked_again(trained, tmp_path):
    _, base, folders = trained
    _, said = scored(base, folders, tmp_path / "runs", asked(base), ("direct", "cot"))
    assert said == []


def test_a_killed_command_goes_on_where_it_was(trained, tmp_path, fake_plugin, monkeypatch):
    done, base, folders = trained
    journal: list[str] = []
    monkeypatch.setattr(fake_plugin, "ENGINE", heard_by(journal))
    heard: list[str] = []

    def stop_at_the_fifth(line: str) -> None:
        heard.append(line)
        if len(heard) == 5:
            raise KeyboardInterrupt

    with models_of(base, folders, tmp_path / "other") as models, pytest.raises(KeyboardInterrupt):
        score_models(models, asked(base), tmp_path / "other", ["direct"], stop_at_the_fifth)
    assert journal.count("load") == journal.count("close") == 2
    (one,), said = scored(base, folders, tmp_path / "other", asked(base))
    assert len(said) == len(one.cells) - 5
    assert replace(one.matrices[0], flips=()) == read_run(done.folder).matrix("direct")


def test_what_is_missing_is_named_and_the_rest_is_given(trained, tmp_path):
    _, base, folders = trained
    (one,), _ = scored(None, {name: folders[name] for name in ("coins", "cards")}, tmp_path / "runs", asked(base))
    found, why = intervals(one), reasons(one)
    assert found["average_accuracy"].value is not None
    assert why["net_learning"] == "not observed: coins after base, dice after base, cards after base and 1 more"
    assert why["backward_transfer"] == "not observed: dice after dice"
    assert why["general_delta"] == "not observed: watched after base"
    assert why["loss_rate"] == "not observed: dice after dice"
    assert why["chance_adjusted_forgetting"] == "no task whose items all have options"
    assert why["intransigence"] == "what joint training reaches is not given"
    assert set(why) == {name for name, one in found.items() if one.value is None}


def test_joint_training_has_one_stage(trained, tmp_path):
    _, base, folders = trained
    (one,), _ = scored(base, {"joint": folders["cards"]}, tmp_path / "runs", asked(base))
    assert one.matrices[0].stages == ("base", "joint")
    assert one.matrices[0].trained == tuple(stage.tasks for stage in joint(STREAM))
    assert reasons(one)["backward_transfer"] == "its stages are not the tasks one by one"
    with pytest.raises(UserError, match="'joint' is no stage of stream games"):
        scored(base, {"joint": folders["cards"], "coins": folders["coins"]}, tmp_path / "runs", asked(base))


def test_a_folder_that_is_given_twice_is_noted(trained, tmp_path):
    _, base, folders = trained
    (one,), _ = scored(base, {**folders, "dice": folders["coins"], "coins": base}, tmp_path / "runs", asked(base))
    assert one.notes == ("the weights of coins are those of base, to the last bit: is its folder the right one?",)


def test_another_architecture_keeps_its_own_files_and_a_note_says_so(trained, tmp_path):
    _, base, folders = trained
    save_file({"w": numpy.array([0.25, 3.0]), "more": numpy.array([1.0])}, folders["dice"] / "model.safetensors")
    (one,), _ = scored(base, folders, tmp_path / "runs", asked(base))
    (note,) = one.notes
    assert note.startswith("dice keeps its own configuration, tokenizer and template")
    assert "more" in note


def test_suites_of_libraries_are_scored_too(trained, tmp_path):
    _, base, folders = trained
    two = {name: folders[name] for name in ("coins", "dice")}
    (one,), _ = scored(base, two, tmp_path / "runs", asked(base, stream=WATCHING))
    assert one.matrices[0].suites == ("watched", "shouts")
    assert intervals(one)["general_delta"].low is not None


# --- adapters


def adapter(folder: Path, **settings: Any) -> Path:
    """An adapter's folder as peft leaves it; its numbers are not looked at here."""
    folder.mkdir(parents=True)
    known = {"peft_type": "LORA", "r": 4, "base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(known))
    save_file({"w": numpy.array([1.0])}, folder / "adapter_model.safetensors")
    (folder / "training_args.bin").write_bytes(b"never read")
    return folder


def test_an_adapter_is_put_on_the_base_that_is_given(trained, tmp_path):
    _, base, folders = trained
    (base / "tokenizer.json").write_text("{}")
    given = {
        "coins": adapter(tmp_path / "a"),
        "dice": adapter(tmp_path / "b", base_model_name_or_path=str(folders["coins"])),
    }
    with models_of(base, given, tmp_path / "runs") as (_, coins, dice):
        for model, stands_on in ((coins, base), (dice, folders["coins"])):
            assert base_of(model.folder) == stands_on
            assert (model.folder / "tokenizer.json").is_file()
            assert not (model.folder / "config.json").exists()
        assert coins.weights != dice.weights
        assert (coins.note, "as its settings say, and not on the base" in dice.note) == ("", True)
    assert not coins.folder.exists()
    for folder, words in (
        (adapter(tmp_path / "c", peft_type="IA3"), "is no LoRA adapter: merge it"),
        (adapter(tmp_path / "d"), "give the model that it stands on with --base"),
    ):
        under = None if folder.name == "d" else base
        with pytest.raises(UserError, match=words), models_of(under, {"coins": folder}, tmp_path):
            pass
    (given["coins"] / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="has no adapter_model"), models_of(base, given, tmp_path):
        pass


@pytest.mark.slow
def test_an_adapter_as_peft_saves_it_is_scored_as_the_merged_model_is(tmp_path, tmp_path_factory):
    import torch
    from noise_jobs import build_bases
    from peft import LoraConfig, get_peft_model

    from harness import registry
    from harness.asking.engines.transformers import load_model
    from harness.core import Stream
    from harness.lora import without_renamed
    from harness.scales import TWIN

    base = build_bases(tmp_path_factory)[0]
    with without_renamed(), torch.random.fork_rng():
        torch.manual_seed(0)
        model = get_peft_model(load_model(base, "float32"), LoraConfig(r=4, target_modules="all-linear"))
        for name, number in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(number, std=0.3)
        model.save_pretrained(tmp_path / "adapter")
        model.merge_and_unload().save_pretrained(tmp_path / "merged")
    one_task = {"name": "short", "tasks": ("scienceqa",), "epochs": {"scienceqa": 1}, "general": ()}
    stream = replace(registry.typed(Stream, "o1"), **one_task)
    run = Run(paradigm=ELSEWHERE, stream=stream, scale=replace(TWIN, model=str(base)), limit=12)
    for name in ("adapter", "merged"):
        (one,), said = scored(base, {"scienceqa": tmp_path / name}, tmp_path / "runs", run)
        assert one.notes == ()
    assert len(said) == 1, "the base was asked once, the merged model anew"
    kept = [from_parquet(Reply, path) for path in (tmp_path / "runs" / "replies").iterdir()]
    texts = {table.bound["weights"]: tuple(reply.text for reply in table.records) for table in kept}
    assert len(texts) == 3, "base, adapter and merged model have addresses of their own"
    own = texts.pop(weights_digest(base))
    assert len(set(texts.values())) == 1
    assert own not in texts.values()


# --- folders


def layout(folder: Path, *files: str) -> Path:
    """A folder with these files; safetensors hold a tensor."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file({"w": numpy.array([1.0])}, path)
        else:
            path.write_text("{}")
    return folder


FOLDERS = {
    "EasyR1 before merging": (["actor/model_world_size_8_rank_0.pt"], "merge .*actor with EasyR1's scripts/"),
    "EasyR1's actor": (["model_world_size_8_rank_0.pt", "huggingface/config.json"], "model_merger.py"),
    "EasyR1 after merging": (
        ["actor/model_world_size_2_rank_1.pt", "actor/huggingface/config.json", "actor/huggingface/model.safetensors"],
        "its model is in .*actor/huggingface: give that folder",
    ),
    "ms-swift's output": (
        ["args.json", "checkpoint-50/config.json", "checkpoint-50/model.safetensors"], "checkpoint-50 do: give the one",
    ),
    "DeepSpeed's shards": (["config.json", "zero_to_fp32.py", "global_step9/x.pt"], "run its zero_to_fp32.py"),
    "FSDP's shards": (["config.json", "pytorch_model_fsdp_0/.metadata"], "accelerate merge-weights"),
    "pickled": (["config.json", "pytorch_model.bin"], "pickled weights are never loaded"),
    "GGUF": (["model.gguf"], "GGUF cannot be read"),
    "empty": (["readme.md"], "give the folder of a saved model"),
}  # fmt: skip


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_without_a_model_says_what_it_is_instead(tmp_path, what):
    files, words = FOLDERS[what]
    with pytest.raises(UserError, match=words) as refused:
        model_in(layout(tmp_path / "out", *files))
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="is no folder"):
        model_in(tmp_path / "absent")


# --- the command


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Runs the command: (exit code, standard output, standard error)."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["score", *map(str, arguments)])
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, said.err


def test_a_gate_ends_in_an_exit_code_and_leaves_its_evidence(trained, tmp_path, capsys, monkeypatch):
    _, base, folders = trained
    monkeypatch.chdir(tmp_path)
    for folder in (base, *folders.values()):
        for name in ("tokenizer.json", "preprocessor_config.json"):
            (folder / name).write_text("{}")
    flags = ["--base", base, "--seq", "games", "--scale", "fake", "--out", tmp_path / "runs"]
    flags += [word for name, folder in folders.items() for word in ("--stage", f"{name}={folder}")]
    for gate, code, word in (
        ("average_accuracy>5", 0, "ship"),
        ("average_accuracy>5,general_delta>99", 3, "don't ship"),
        ("average_accuracy>5,backward_transfer>0.0001", 4, "cannot tell"),
    ):
        found, out, err = call(capsys, *flags, "--gate", gate)
        assert (found, err) == (code, ""), out
        assert out.splitlines()[-1] == word
        kept = json.loads((tmp_path / "evidence.json").read_text())
        assert kept["gate"]["verdict"] == word
        assert [one["rule"] for one in kept["gate"]["rules"]] == gate.split(",")
        assert set(kept["inputs"]) == {"base", *folders}
        assert kept["asked"]["gate"] == gate
        assert {cell["scorer"] for cell in kept["cells"]} == {"same-v1"}
        bwt = kept["metrics"]["backward_transfer"]
        assert bwt["low"] < bwt["value"] < bwt["high"]
        assert kept["made_by"]["packages"]["cpt-harness"]
    code, out, err = call(capsys, *flags, "--gate", "backward_transfre>1")
    assert (code, out) == (2, "")
    assert err == "error: --gate: unknown metric 'backward_transfre': did you mean backward_transfer?\n"


def test_without_a_gate_numbers_are_printed_and_nothing_is_written(trained, tmp_path, capsys, monkeypatch):
    _, _, folders = trained
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out, err = call(
        capsys, "--stage", f"coins={folders['coins']}", "--seq", "games", "--scale", "fake", "--out", tmp_path / "runs"
    )
    assert (code, out) == (2, "")
    assert "has no tokenizer (tokenizer.json or vocab.json" in err
    assert sorted(tmp_path.iterdir()) == before


MISTAKES = {
    "nothing": ([], "--predictions, --matrix says what is scored: none is given"),
    "two": (["--stage", "a=b", "--matrix", "m.csv"], "--stage and --matrix is given"),
    "no stream": (["--stage", "a=b"], "--seq is missing"),
    "no sign": (["--seq", "games", "--scale", "fake", "--stage", "coins"], "write TASK=FOLDER"),
    "twice": (["--seq", "games", "--scale", "fake", "--stage", "coins=a", "--stage", "coins=b"], "given twice"),
    "a style": (["--stage", "a=b", "--style", "loud"], "use one of direct, cot"),
    "a rule": (["--stage", "a=b", "--gate", "__import__('os')"], "is no rule: write METRIC>NUMBER"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line(trained, tmp_path, capsys, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    flags, words = MISTAKES[what]
    code, out, err = call(capsys, *flags)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


# --- servers


@pytest.mark.slow
def test_a_server_takes_the_place_of_a_folder(tmp_path, tmp_path_factory):
    from fake_openai import FakeServer, by_transformers
    from noise_jobs import build_bases

    from harness import registry
    from harness.core import Stream
    from harness.scales import TWIN

    base = build_bases(tmp_path_factory)[0]
    one_task = {"name": "short", "tasks": ("scienceqa",), "epochs": {"scienceqa": 1}, "general": ()}
    stream = replace(registry.typed(Stream, "o1"), **one_task)
    run = Run(paradigm=ELSEWHERE, stream=stream, scale=replace(TWIN, model=str(base)), limit=4)
    with FakeServer("stage-1", by_transformers(base, TWIN)) as server:
        place = {"scienceqa": f"{server.url}#stage-1"}
        (one,), said = scored(base, place, tmp_path / "runs", run)
        assert len(server.requests) == 4
        assert one.matrices[0].scores[1] == one.matrices[0].scores[0]
        assert [line.partition(" ")[0] for line in one.notes] == ["scienceqa", "stages"]
        assert scored(base, place, tmp_path / "runs", run)[1] == []
        (both,), _ = scored(base, {"base": f"{server.url}#stage-1", **place}, tmp_path / "runs", run)
        assert {cell.engine for cell in both.cells} == {"endpoint-v1@server"}
        for wrong, words in ((server.url, "names no model: write ADDRESS#NAME"), (f"{server.url}#x", "serves stage-1")):
            with pytest.raises(UserError, match=words):
                scored(base, {"scienceqa": wrong}, tmp_path / "runs", run)
        with pytest.raises(UserError, match="give the folder of its tokenizer"):
            scored(None, place, tmp_path / "runs", run)
    assert len(said) == 2
