"""A run whose general tasks are marked by us, by the suites that stand for them, or by both; and what comes after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from fake_world import ENGINE, PREFIX, SHOUTS, ask_shouts, fake_run, heard_by, make_model

from harness.command import cli
from harness.core import Decoding, Example, Run, UserError, replace
from harness.observe import view_of
from harness.prompt_length import long_prompts
from harness.results.matrix import from_cells
from harness.results.published import read_run
from harness.results.remark import remark
from harness.run_inputs import observations, run_id, with_suites
from harness.runner import run
from harness.store.record import read_record

pytestmark = pytest.mark.usefixtures("fake_plugin")
STANDING = replace(
    SHOUTS,
    stands_for="watched",
    decoding=Decoding(name="greedy-9", max_new_tokens=9, stop=("Question:",)),
    decodings={"fake": Decoding(name="greedy-5-to-question", max_new_tokens=5, stop=("Question:",))},
    max_prompt_tokens=9999,
)


@pytest.fixture
def standing(fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered suite that stands for the task which is watched."""
    monkeypatch.setattr(fake_plugin, "SHOUTS", STANDING)


def asked(tmp_path: Path, which: str) -> Run:
    return fake_run(make_model(tmp_path / "model"), stream=with_suites(PREFIX, which))


def test_the_flag_puts_suites_in_the_place_of_tasks_or_beside_them(standing: None) -> None:
    assert with_suites(PREFIX, "native") is PREFIX
    assert with_suites(PREFIX, "library").general == ("shouts",)
    assert with_suites(PREFIX, "both").general == ("watched", "shouts")
    two = replace(PREFIX, general=("watched", "cards"))
    assert with_suites(two, "library").general == ("shouts", "cards"), "what no suite stands for stays"
    with pytest.raises(UserError, match="--suites all is unknown: use one of native, library, both"):
        with_suites(PREFIX, "all")
    with pytest.raises(UserError, match="no library's suite stands for one of stream short"):
        with_suites(replace(PREFIX, general=()), "library")


def test_runs_of_the_three_kinds_have_ids_of_their_own_and_share_their_stages(tmp_path: Path, standing: None) -> None:
    runs = [asked(tmp_path, which) for which in ("native", "library", "both")]
    assert len({run_id(one) for one in runs}) == 3
    done = [run(one, tmp_path / "runs") for one in runs]
    keys = [[stage.key for stage in read_record(one.folder).stages] for one in done]
    assert keys[0] == keys[1] == keys[2]
    columns = [{(cell.task, cell.style) for cell in one.cells} for one in done]
    watched = {("watched", "direct"), ("watched", "cot")}
    assert columns[2] == columns[0] | columns[1]
    assert (columns[0] - columns[1], columns[1] - columns[0]) == (watched, {("shouts", "own")})
    for one in done[1:]:
        assert {cell.decoding for cell in one.cells if cell.task == "shouts"} == {"greedy-5-to-question"}
        matrix = from_cells(one.cells, style="cot", tasks=PREFIX.tasks, general=read_run(one.folder).suites)
        assert matrix.whole


@pytest.mark.parametrize("which", ["library", "both"])
def test_such_a_run_is_marked_again_and_shown(
    tmp_path: Path, standing: None, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    made = asked(tmp_path, which)
    monkeypatch.setattr(fake_plugin, "SCALE", made.scale, raising=False)
    done = run(made, tmp_path / "runs")
    assert remark(done.folder)[0] == 0
    shown = read_run(done.folder)
    assert shown.suites == with_suites(PREFIX, which).general
    assert not shown.missing()
    journal: list[str] = []
    again = run(asked(tmp_path, which), tmp_path / "runs", engine=heard_by(journal))
    assert (again.cells, journal) == (done.cells, [])


def ask_at_length(data: Path | None, count: int) -> Sequence[Example]:
    """Prompts with earlier turns, of some 5,000 tokens."""
    turns = (("user", "one " * 1600), ("assistant", "two"))
    return [replace(example, turns=turns) for example in ask_shouts(data, count)]


def ask_too_many(data: Path | None, count: int) -> Sequence[Example]:
    """More than was asked for."""
    return [replace(example, id=f"{example.id}-{n}") for n in range(9) for example in ask_shouts(data, 9)]


def test_earlier_turns_and_a_bound_of_its_own_are_in_the_address_of_a_suites_replies_alone(
    tmp_path: Path, standing: None, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = asked(tmp_path, "both")

    def keys() -> dict[str, dict[str, object]]:
        view = view_of(made, ENGINE)
        assert view.scale.max_prompt_tokens == 9999, "the engine must take what any suite asks"
        lengths = {one.max_new_tokens for one in view.scale.decodings.values()}
        assert {suite.decoding_at(made.scale).max_new_tokens for suite in view.suites.values()} <= lengths
        return {one.name: view.key("w", one) for one in observations(made) if one.stage == 0}

    before = keys()
    assert before["shouts"]["max_prompt_tokens"] == 9999
    assert before["shouts"]["stop"] == ["Question:"]
    assert before["coins"]["max_prompt_tokens"] == made.scale.max_prompt_tokens
    assert "stop" not in before["coins"]
    monkeypatch.setattr(fake_plugin, "SHOUTS", replace(STANDING, ask=ask_at_length))
    after = keys()
    assert {name for name in after if after[name] != before[name]} == {"shouts"}
    assert view_of(made, ENGINE).asked["shouts"].data != ""


def test_a_prompt_longer_than_the_suites_own_bound_is_named_before_training(
    tmp_path: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.asking.engines import prompts, transformers

    monkeypatch.setattr(transformers, "load_processor", lambda folder, scale: None)
    monkeypatch.setattr(prompts, "prompt_lengths", lambda processor, asked, texts=None: [5000 for _ in asked])
    for bound, found in ((9999, 0), (4999, 7)):
        suite = replace(STANDING, ask=ask_at_length, max_prompt_tokens=bound)
        monkeypatch.setattr(fake_plugin, "SHOUTS", suite)
        made = asked(tmp_path, "library")
        made = replace(made, scale=replace(made.scale, max_prompt_tokens=64))
        long = {place: why for place, why in long_prompts(made, []).items() if place[0] == "shouts"}
        assert len(long) == found
    assert "has 5000 tokens, scale fake allows 4999" in long["shouts", "shout-0"]
    assert len(view_of(replace(made, left_out=tuple(long)[:2]), ENGINE).asked["shouts"].examples) == 5


def test_a_suite_that_gives_more_than_it_is_asked_for_is_refused(
    tmp_path: Path, fake_plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_plugin, "SHOUTS", replace(STANDING, ask=ask_too_many))
    with pytest.raises(UserError, match="suite shouts gives 63 prompts where 10 are asked for"):
        view_of(asked(tmp_path, "library"), ENGINE)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--suites", "lm-eval"], "--suites lm-eval is unknown: use one of native, library, both"),
        (["--suites", "library", "--split", "validation"], "--suites library knows the test split alone"),
    ],
)
def test_the_command_refuses_what_cannot_be(capsys: pytest.CaptureFixture[str], flags: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", "--paradigm", "sft", "--seq", "default", *flags])
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1
