"""Engines on several devices give the replies of one; what a killed evaluation had is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_world import COINS, ENGINE, FakeEngine, fake_run, fake_scale, heard_by, make_model, open_fake

from harness.asking.devices import Engines
from harness.asking.engines import Engine, Generation, Prompt
from harness.asking.evaluate import Asking, askings, replies_to
from harness.core import Decoding, Run, Scale, UserError, replace
from harness.runner import run
from harness.store.checkpoints import Store

pytestmark = pytest.mark.usefixtures("fake_plugin")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def parts(count: int) -> list[Asking]:
    """Parts of four items each."""
    examples = [COINS.twin("test", number) for number in range(count)]
    return askings(examples, [example.question for example in examples], Decoding(name="g", max_new_tokens=8), 1)


def device_of(engine: Engine, asking: Asking) -> tuple[int, str]:
    """Which process a part was asked in, and which device that sees."""
    import os

    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_two_devices_give_the_replies_of_one(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 7")
    asked = parts(26)
    assert [len(part.examples) for part in asked] == [4] * 6 + [2]
    with Engines(ENGINE, model, fake_scale(model)) as one, Engines(ENGINE, model, fake_scale(model), 2) as two:
        assert list(two.each(replies_to, asked)) == list(one.each(replies_to, asked))
        found = set(two.each(device_of, asked * 3))
        assert {shown for _, shown in found} <= {"4", "7"}
        assert os.getpid() not in {pid for pid, _ in found}
        with pytest.raises(UserError, match="no way"):
            list(two.each(refuses, asked))
        assert len(list(two.each(replies_to, asked))) == len(asked), "the engines go on after a refusal"
    whole = Engines(replace(ENGINE, takes_all_devices=True), model, fake_scale(model), 2)
    assert [reply for found in whole.each(replies_to, asked[:1]) for reply in found]
    assert not whole._workers
    whole.close()


def slowly(engine: Engine, asking: Asking) -> str:
    """The part's first item, late; the second part is refused at once."""
    if asking.examples[0].id.endswith("4"):
        raise UserError("no way")
    time.sleep(0.3)
    return asking.examples[0].id


def test_what_is_still_asked_when_another_part_is_refused_answers_nobody_else(model: Path) -> None:
    asked = parts(8)
    with Engines(ENGINE, model, fake_scale(model), 2) as two:
        list(two.each(replies_to, asked))
        for _ in range(3):
            with pytest.raises(UserError, match="no way"):
                list(two.each(slowly, asked[::-1]))
            assert [len(found) for found in two.each(replies_to, asked)] == [4, 4]


def refuses(engine: Engine, asking: Asking) -> None:
    raise UserError("no way")


class Fails(FakeEngine):
    """An engine whose machine goes down in the middle of the second cell."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """A reply, or the end."""
        if self.journal.count("generate") == 5:
            raise UserError("gone")
        return super().generate(prompts, decoding)


def in_parts(model: Path) -> Run:
    """A run whose cells of ten items have three parts."""
    asked = fake_run(model)
    return replace(asked, scale=replace(asked.scale, eval_batch=1))


def test_a_cell_that_was_cut_off_is_not_asked_again_where_it_was_done(tmp_path: Path, model: Path) -> None:
    journal: list[str] = []

    def fragile(folder: Path, scale: Scale) -> Any:
        opened = open_fake(folder, scale, journal)
        return Fails(value=opened.value, journal=journal)

    whole = run(in_parts(model), tmp_path / "whole")
    with pytest.raises(UserError, match="gone"):
        run(in_parts(model), tmp_path / "runs", engine=replace(ENGINE, open=fragile))
    kept = sorted(Store(tmp_path / "runs").replies.glob("*.parts/*"))
    assert [path.name for path in kept] == ["000000.parquet", "000001.parquet"]
    kept[1].write_bytes(kept[1].read_bytes()[:-9])  # a damaged part is made again
    rest: list[str] = []
    done = run(in_parts(model), tmp_path / "runs", engine=heard_by(rest))
    assert done.cells == whole.cells
    assert journal.count("generate") == 5
    assert rest.count("generate") == 3 * len(done.cells) - 5 + 1
    assert not list(Store(tmp_path / "runs").replies.glob("*.parts"))
