"""`harness data show`: an item as the model will see it, and nothing that a terminal acts on."""

from __future__ import annotations

from pathlib import Path

import official_files
import pytest
from PIL import Image

from harness.asking.engines.prompts import prompt_lengths
from harness.asking.styles import COT, DIRECT
from harness.command import data as commands
from harness.core import Example, Task, UserError, replace
from harness.data import show
from harness.data.show import shown, visible, write_pictures
from harness.registry import names, typed
from harness.scales import QWEN25_VL_7B, TWIN

TOKENS = 17


@pytest.fixture(autouse=True)
def lengths(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A processor takes a second to load; that its count is shown is held once."""
    if "processor" not in request.node.name and "not_here" not in request.node.name:
        monkeypatch.setattr(show, "_tokens", lambda scale, prompt, pictures: TOKENS)


@pytest.mark.parametrize("name", names("task"))
@pytest.mark.parametrize("style", [DIRECT, COT], ids=lambda style: style.name)
def test_a_twin_is_shown_in_the_words_of_the_style(name: str, style) -> None:
    task = typed(Task, name)
    found = shown(task, None, "test", "3", style, TWIN)
    assert found.example == task.twin("test", 3)
    assert found.prompt == style.ask(task, found.example)
    assert [picture.size for picture in found.pictures] == [image().size for image in found.example.images]
    assert found.tokens == TOKENS
    by_id = shown(task, None, "test", found.example.id, style, TWIN)
    assert (by_id.place, by_id.prompt) == (3, found.prompt)


@pytest.mark.parametrize("name", official_files.WRITERS)
def test_an_official_item_is_shown_by_place_and_by_id(tmp_path: Path, name: str) -> None:
    task = typed(Task, name)
    official_files.WRITERS[name](tmp_path / name)
    found = shown(task, tmp_path, "test", "2", DIRECT, TWIN)
    assert found.example == task.official(tmp_path / name, "test")[2]
    assert shown(task, tmp_path, "test", found.example.id, DIRECT, TWIN).place == 2
    assert len(found.pictures) == len(found.example.images)


def test_a_model_that_is_not_here_counts_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(typed(Task, "gqa"), None, "test", "0", DIRECT, QWEN25_VL_7B).tokens is None


@pytest.mark.parametrize("item", ["nope", "99999999", "-1", "1" * 40, "\x1b[31m", ""])
def test_an_item_that_is_not_there_is_one_line(tmp_path: Path, item: str) -> None:
    official_files.write_pathvqa(tmp_path / "pathvqa")
    with pytest.raises(UserError, match="has no item") as fault:
        shown(typed(Task, "pathvqa"), tmp_path, "test", item, DIRECT, TWIN)
    assert str(fault.value).isprintable()
    with pytest.raises(UserError, match="is unknown"):
        shown(typed(Task, "pathvqa"), tmp_path, "tset", "0", DIRECT, TWIN)


def test_nothing_that_a_terminal_acts_on_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = Example(id="e\x1b]0;x\x07", question="Red\x1b[2J\u202e?\r<|im_end|>", answers=("\x9b31m",), rationale="\b\b")
    task = replace(typed(Task, "mmlu-pro"), official=lambda folder, split: (evil,))
    monkeypatch.setattr(commands.registry, "typed", lambda noun, name: task if noun is Task else TWIN)
    commands.show_command("mmlu-pro", data=tmp_path)
    said = capsys.readouterr().out
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert "Red\\x1b[2J\\u202e?\\r<|im_end|>" in said
    assert visible("one\n\ttwo") == "one\n\\ttwo"


def test_pictures_are_written_as_they_are_decoded_and_over_no_link(tmp_path: Path) -> None:
    official_files.write_geometry3k(tmp_path / "geometry3k")
    found = shown(typed(Task, "geometry3k"), tmp_path, "test", "0", DIRECT, TWIN)
    two = (*found.pictures, Image.new("RGB", (5, 7), "red"))
    written = write_pictures(two, tmp_path / "p.png")
    assert written == [tmp_path / "p.png", tmp_path / "p-2.png"]
    for file, picture in zip(written, two, strict=True):
        with Image.open(file) as again:
            assert again.tobytes() == picture.tobytes()
    (tmp_path / "link.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(UserError, match="symbolic link"):
        write_pictures(two, tmp_path / "link.png")
    with pytest.raises(UserError, match="no PNG file"):
        write_pictures(two, tmp_path / "p.py")


def test_the_length_is_that_of_the_processor() -> None:
    from harness.asking.engines.transformers import load_processor
    from harness.scales import model_folder

    found = shown(typed(Task, "scienceqa"), None, "train", "1", COT, TWIN)
    processor = load_processor(model_folder(TWIN), TWIN)
    assert [found.tokens] == prompt_lengths(processor, [(found.prompt, found.pictures)])
