"""A newcomer's task and paradigm, outside the package: found by --plugin, clashes refused, run end to end."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import registry
from harness.asking.styles import STYLES
from harness.core import Paradigm, Scale, Stream, Task, UserError, name_of, replace
from harness.results.cells import read_cells

ROOT = Path(__file__).resolve().parent.parent
MY_TASK = ROOT / "examples" / "my_task.py"
MY_PARADIGM = ROOT / "examples" / "my_paradigm.py"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No plugin is left behind."""
    monkeypatch.setattr(registry, "_plugins", {})
    yield
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


@pytest.mark.parametrize("path", [MY_TASK, MY_PARADIGM], ids=lambda path: path.name)
def test_the_examples_are_short(path):
    assert len(path.read_text().splitlines()) < 45


@pytest.mark.parametrize("path", [MY_TASK, MY_PARADIGM], ids=lambda path: path.name)
def test_the_readme_shows_the_examples_as_they_are(path):
    assert f"```python\n{path.read_text()}```" in (ROOT / "docs" / "extending.md").read_text()


def test_a_task_of_ones_own_obeys_the_laws():
    registry.load_plugins((MY_TASK,))
    task = registry.typed(Task, "dots")
    assert registry.typed(Stream, "dots").tasks[0] == "dots"
    splits = {split: task.load(split, 50) for split in ("train", "validation", "test", "pretrain")}
    assert splits["train"] == task.load("train", 50)
    pictures = {
        split: {image().tobytes() for example in examples for image in example.images}
        for split, examples in splits.items()
    }
    for one in pictures:
        for other in set(pictures) - {one}:
            assert not pictures[one] & pictures[other]
    for example in splits["test"]:
        for style in STYLES:
            assert task.score(style.read(style.write(example.answers[0], "")), example) == 1
        assert task.score("no such thing", example) == 0


def test_a_paradigm_of_ones_own_differs_in_what_it_says():
    registry.load_plugins((MY_PARADIGM,))
    rft, mine = registry.typed(Paradigm, "rft"), registry.typed(Paradigm, "rft-anchored")
    assert (rft.reference, mine.reference) == ("previous", "base")
    assert (rft.learner, rft.kl, rft.style) == (mine.learner, mine.kl, mine.style)
    sft, short = registry.typed(Paradigm, "sft"), registry.typed(Paradigm, "sft-short")
    assert replace(short, name="sft", learner=sft.learner) == sft
    assert short.learner.obeys == sft.learner.obeys
    twin = registry.typed(Scale, "twin")
    assert short.learner.work(384, short, twin).steps * 2 == sft.learner.work(384, sft, twin).steps


def test_what_a_plugin_defines_has_its_files_digest_in_its_name(tmp_path):
    """So an edited file, or another one of that name, is never served what the first one made."""
    names = []
    for text in ("return train_sft(job)", "return train_sft(replace(job, seed=1))"):
        path = tmp_path / str(len(names)) / "mine.py"
        path.parent.mkdir()
        path.write_text(
            "from baselines.sft import LIKELIHOOD, SFT, train_sft\nfrom harness.core import replace\n"
            f"def train(job):\n    {text}\n"
            f"MINE = replace(SFT, name='mine-{len(names)}', learner=replace(LIKELIHOOD, train=train))\n"
        )
        registry.load_plugin(path)
        names.append(name_of(registry.typed(Paradigm, f"mine-{len(names)}").learner.train))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        assert registry.loaded_plugins()[str(path)] == digest
        assert digest in names[-1]
    assert len(set(names)) == 2


def test_the_environment_lists_plugins_too(monkeypatch):
    monkeypatch.setenv("CPT_HARNESS_PLUGINS", f"{MY_TASK}:{MY_PARADIGM}")
    registry.load_plugins()
    assert "dots" in registry.names("task")
    assert "sft-short" in registry.names("paradigm")
    registry.load_plugins((MY_TASK,))
    assert registry.plugins() == (MY_TASK, MY_PARADIGM)


FROM_SFT = "from baselines.sft import LIKELIHOOD, SFT\nfrom harness.core import replace, Stream\nA = replace(SFT, "
BAD = {
    "clash": (f"{FROM_SFT}rate=3.0)", "are called sft"),
    "path in a name": (f"{FROM_SFT}name='../a')", "is no name"),
    "capital letters": (f"{FROM_SFT}name='Mine')", "is no name"),
    "a name of 256 letters": (f"{FROM_SFT}name='a' * 256)", "too long for a name"),
    "syntax": ("A = (", "does not load: SyntaxError"),
    "missing module": ("import no_such_module_here", "does not load: ModuleNotFoundError"),
    "its own fault": ("1 / 0", "does not load: ZeroDivisionError"),
    "a long fault": ("raise ValueError('x' * 100_000)", "does not load: ValueError: xxx"),
    "an exit": ("import sys; sys.exit(0)", "does not load: SystemExit: 0"),
    "nothing in it": ("A = 1", "defines no Task"),
    "a field that the learner ignores": (f"{FROM_SFT}name='a', kl=10.0)", "sets kl to 10.0, which learner sft"),
    "a lambda": (f"{FROM_SFT}name='a', stages=lambda stream: ())", "<lambda> is no function of a module"),
    "a task twice": (f"{FROM_SFT}name='a')\nS = Stream(name='s', tasks=('gqa',) * 2, epochs={{'gqa': 1}}, general=())",
                     "Stream 's': tasks is .*, wanted is a tuple of 1 or more different names"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_plugin_is_one_line_and_leaves_the_registry_alone(tmp_path, bad):
    text, words = BAD[bad]
    before = {kind: registry.names(kind) for kind in registry.KINDS}
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as refused:
        registry.load_plugin(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    assert str(path) in str(refused.value) or bad == "clash"
    assert {kind: registry.names(kind) for kind in registry.KINDS} == before
    path.write_text(f"{FROM_SFT}name='mine')\n")
    registry.load_plugin(path)
    assert registry.typed(Paradigm, "mine").name == "mine"


def test_two_files_of_one_name_do_not_meet(tmp_path):
    (tmp_path / "my_task.py").write_text(MY_TASK.read_text().replace('name="dots"', 'name="spots"'))
    registry.load_plugins((MY_TASK, tmp_path / "my_task.py"))
    assert {"dots", "spots"} <= set(registry.names("task"))
    (tmp_path / "copy").mkdir()
    shutil.copy(MY_TASK, tmp_path / "copy" / "my_task.py")
    with pytest.raises(UserError, match="is loaded already, from another place"):
        registry.load_plugin(tmp_path / "copy" / "my_task.py")


def test_what_a_module_imports_from_another_is_no_clash():
    scales = ["qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen3-vl-8b", "twin", "twin-long", "twin-vllm"]
    assert registry.names("scale") == scales
    registry.load_plugin(MY_PARADIGM)  # imports RFT and SFT, which baselines have too
    assert registry.names("paradigm").count("rft") == 1


@pytest.mark.parametrize("kind", [kind for kind in registry.KINDS if registry.names(kind)])
def test_unknown_names_come_with_the_nearest(kind):
    name = registry.names(kind)[0]
    with pytest.raises(UserError, match=f"did you mean {name}"):
        registry.find(kind, name + "x")


def test_kinds_are_kept_apart():
    with pytest.raises(UserError, match="unknown task"):
        registry.typed(Task, "rft")
    assert registry.typed(Scale, "twin").name == "twin"


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", ["rft-anchored", "sft-short"])
def test_a_newcomers_task_and_paradigm_run_end_to_end(tmp_path, paradigm):
    command = [
        sys.executable, "-m", "harness.command.cli", "run", "--paradigm", paradigm, "--seq", "dots", "--limit", "4",
        "--out", str(tmp_path), "--plugin", str(MY_TASK), "--plugin", str(MY_PARADIGM),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (found,) = tmp_path.glob("*/cells.csv")
    cells = read_cells(found)
    assert {cell.task for cell in cells} == {"dots", "gqa", "pope"}
    assert len(cells) == 3 * 3 * 2
    assert all(cell.n == 4 for cell in cells)
    assert "average_accuracy" in done.stdout
    assert "backward_transfer" in done.stdout
