"""What an outside library asks: from the hub's files to turns, pictures and stop texts of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.asking.chat import messages, words
from harness.asking.engines.prompts import chat_text, prompt_lengths
from harness.asking.engines.transformers import TransformersEngine, load_processor
from harness.asking.suites import questions as asking
from harness.asking.suites.library import CACHE, Library
from harness.asking.suites.questions import Form, Item, questions
from harness.core import Decoding, Mark, Reply, UserError
from harness.scales import TWIN, model_folder
from harness.task import sampled
from tasks.mmlu_pro import MMLU_PRO
from tasks.mmmu import MMMU
from tasks.pictures import opened
from tasks.pope import POPE
from tasks.suite_files import PICTURES, SUBJECTS, mmlu_pro_rows, mmmu_rows, parquet_of, pope_rows, rows, write_twin
from tasks.suites import MMLU_PRO_LM_EVAL, MMMU_VLMEVAL, POPE_VLMEVAL

TURNS = (("system", "Be brief."), ("user", "1 + 1?"), ("assistant", "2 <|im_end|>"), ("user", "Is <image 1> red?"))
FORM = Form(library=Library(package="fake", version="1"), key="n", stop=("Question:",), more={"told": "so"})


# Turns and stop texts


def test_earlier_turns_are_text_and_the_last_one_has_the_pictures() -> None:
    chat = messages(TURNS, 1)
    assert [turn["role"] for turn in chat] == ["system", "user", "assistant", "user"]
    assert chat[2]["content"] == [{"type": "text", "text": "2 < |im_end|>"}]
    assert [part["type"] for part in chat[3]["content"]] == ["text", "image", "text"]
    assert messages("Is it red?", 1) == messages((("user", "Is it red?"),), 1)
    assert words(TURNS).split("\n") == [said for _, said in TURNS]


def test_the_models_own_template_writes_the_turns_and_they_are_counted() -> None:
    processor = load_processor(model_folder(TWIN), TWIN)
    picture = Image.new("RGB", (48, 48))
    said = chat_text(processor, (TURNS, (picture,)))
    assert said.count("<|im_start|>") == 5, "four turns, and where the reply begins"
    assert said.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    whole, last = prompt_lengths(processor, [(TURNS, (picture,)), (TURNS[-1][1], (picture,))])
    assert whole > last > 9


def test_a_reply_ends_before_the_first_stop_text_whatever_else_is_in_the_batch() -> None:
    with TransformersEngine(model_folder(TWIN), TWIN) as engine:
        prompts: list[Any] = [
            (f"What is {a} plus {b}?\nThink in <think> </think> first, then give the final answer in \\boxed{{}}.", ())
            for a in range(1, 6)
            for b in range(1, 4)
        ]
        plain = engine.generate(prompts, Decoding(name="greedy-32", max_new_tokens=32))
        assert sum("boxed" in reply.text for reply in plain) > 5, "there is something to stop at"
        for stop in (("boxed",), ("plus", "</think>"), ("nowhere",)):
            found = engine.generate(prompts, Decoding(name="short", max_new_tokens=32, stop=stop))
            for one, whole in zip(found, plain, strict=True):
                ends = [whole.text.find(text) for text in stop if text in whole.text]
                assert one.text == (whole.text[: min(ends)] if ends else whole.text)
                assert one.tokens < whole.tokens if ends else one == whole
                assert not (ends and one.truncated)


# The hub's files


def same_pixels(example: Any, names: Sequence[str], folder: Path) -> None:
    for image, name in zip(example.images, names, strict=True):
        with Image.open(folder / name) as read:
            assert read.tobytes() == image().tobytes()


def test_the_twins_files_give_the_twins_items(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    made = pope_rows(POPE, write_twin(POPE, tmp_path / "pope", 30), pictures, 30)
    for (name, row), example in zip(made, POPE.load("test", 30), strict=True):
        assert f"pope/test/{name}" == example.id
        assert (row["question"], row["answer"].lower()) == (example.question, example.answers[0])
        same_pixels(example, row["image"], pictures)
    assert len(list(pictures.iterdir())) == 5, "six questions share a picture"
    made = mmmu_rows(MMMU, write_twin(MMMU, tmp_path / "mmmu", 30), pictures, 30)
    for (_, row), example in zip(made, MMMU.load("test", 30), strict=True):
        assert [row[letter] for letter in "ABCD" if row.get(letter)] == list(example.choices)
        assert (row["question"], row["answer"]) == (example.question, example.answers[0])
        same_pixels(example, row["image"], pictures)
    folder = write_twin(MMLU_PRO, tmp_path / "mmlu-pro", 30)
    for row, example in zip(mmlu_pro_rows(MMLU_PRO, folder, "test", 30), MMLU_PRO.load("test", 30), strict=True):
        assert (row["question"], tuple(row["options"])) == (example.question, example.choices)
        assert row["options"][row["answer_index"]] == example.choices[ord(example.answers[0]) - 65]
    shots = mmlu_pro_rows(MMLU_PRO, folder, "validation", 70)
    assert {subject: sum(shot["category"] == subject for shot in shots) for subject in SUBJECTS} == dict.fromkeys(
        SUBJECTS, 5
    )
    assert all(f"The answer is ({shot['answer']})." in shot["cot_content"] for shot in shots)


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_sample_is_the_one_that_a_task_draws(items: int, count: int) -> None:
    drawn = sampled("pope/test", items, count)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == min(items, count)
    assert set(drawn) <= set(range(items)) & set(sampled("pope/test", items, count + 1))


def test_rows_are_a_seeded_sample_across_files_and_not_the_first_ones(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    for number, (start, stop) in enumerate(((0, 130), (130, 150))):
        table = pyarrow.table({"n": list(range(start, stop))})
        pyarrow.parquet.write_table(table, tmp_path / f"test-{number}.parquet", row_group_size=50)
    files = parquet_of(POPE, tmp_path, ("test",), ())
    drawn = [row["n"] for _, row in rows(POPE, files, ("n",), 20)]
    assert drawn == sampled("pope/test", 150, 20)
    assert drawn != list(range(20))
    assert set(drawn) < {row["n"] for _, row in rows(POPE, files, ("n",), 40)}
    assert [row["n"] for _, row in rows(POPE, files, ("n",), 10**9)] == list(range(150))


def test_a_suite_draws_the_very_items_that_its_task_draws(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for task in (POPE, MMMU, MMLU_PRO):
        write_twin(task, tmp_path / task.name, 120)
    drawn = [f"pope/{name}" for name, _ in pope_rows(POPE, tmp_path / "pope", pictures, 15)]
    assert drawn == [example.id for example in POPE.load("test", 15, tmp_path)]
    asked = [row["category"] + row["answer"] for _, row in mmmu_rows(MMMU, tmp_path / "mmmu", pictures, 15)]
    assert asked == ["Twin" + example.answers[0] for example in MMMU.load("test", 15, tmp_path)]
    wanted = MMLU_PRO.load("test", 15, tmp_path)
    assert [row["question"] for row in mmlu_pro_rows(MMLU_PRO, tmp_path / "mmlu-pro", "test", 15)] == [
        example.question for example in wanted
    ]


def png(size: int = 8) -> dict[str, Any]:
    file = BytesIO()
    Image.new("RGB", (size, size)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


GOOD = {"id": "validation_Art_1", "question": "?", "options": "['a', 'b']", "answer": "A"}
FAULTS = {
    "options that are run": ({"options": "__import__('os').system('true')"}, "the options are no list"),
    "options that are no list": ({"options": "'a'"}, "the options are no list"),
    "no question": ({"question": " "}, "the question is ' ', not a text"),
    "no picture": ({"image_1": None}, "validation_Art_1 has no picture"),
    "a picture outside the file": ({"image_1": {"bytes": None, "path": "/etc/passwd"}}, "is not inside the file"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_bad_row_is_one_line_that_names_file_and_row(tmp_path: Path, what: str) -> None:
    import pyarrow
    import pyarrow.parquet

    changed, words_of_it = FAULTS[what]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    row = {**GOOD, "image_1": png(), **dict.fromkeys(PICTURES[1:]), **changed}
    schema = pyarrow.schema([*((name, pyarrow.string()) for name in GOOD), *((name, kind) for name in PICTURES)])
    (tmp_path / "Art").mkdir()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([row], schema=schema), tmp_path / "Art" / "validation-0.parquet"
    )
    with pytest.raises(UserError, match=words_of_it) as refused:
        list(mmmu_rows(MMMU, tmp_path, tmp_path, 9))
    assert "validation-0.parquet, row 0" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_files_and_columns_are_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    with pytest.raises(UserError, match=r"has no test-.*parquet: put the files of mmlu-pro there"):
        mmlu_pro_rows(MMLU_PRO, tmp_path, "test", 9)
    with pytest.raises(UserError, match="put the official data of pope there"):
        list(pope_rows(POPE, tmp_path / "pope", tmp_path, 9))
    pyarrow.parquet.write_table(pyarrow.table({"n": [1]}), tmp_path / "test-0.parquet")
    with pytest.raises(UserError, match="has no column question_id"):
        mmlu_pro_rows(MMLU_PRO, tmp_path, "test", 9)
    (tmp_path / "test-0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="is no parquet"):
        mmlu_pro_rows(MMLU_PRO, tmp_path, "test", 9)


# Questions and marks, by a library of our own


def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Any) -> list[str]:
    """Let ``answer(do, item, room)`` stand for the library; the list holds what was asked of it."""
    heard: list[str] = []

    def call(library: Library, do: str, items: Sequence[Any], room: Path, **more: Any) -> list[dict[str, Any]]:
        assert more["told"] == "so"
        heard.append(do)
        return [answer(do, item, room) for item in items]

    monkeypatch.setattr(asking, "call", call)
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return heard


def with_picture(do: str, item: Any, room: Path) -> dict[str, Any]:
    Image.new("RGB", (8, 8), (item["n"], 0, 0)).save(room / f"{item['n']}.png")
    text = {"text": f"Is <image 1> {item['word']}?"}
    return {"key": item["n"], "parts": [text, {"picture": f"{item['n']}.png"}, {"text": "!"}], "until": ["Question:"]}


ITEMS = [Item(id=f"fake/{n}", answer="yes", row={"n": n, "word": "red", "image": ["x"]}) for n in (3, 5)]


def test_prompts_and_pictures_are_kept_and_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard = answering(monkeypatch, tmp_path, with_picture)
    first, again = (questions(FORM, ITEMS, opened) for _ in range(2))
    assert heard == ["ask"]
    assert first == again
    assert [example.question for example in first] == ["Is <image  1> red?<image 1>!"] * 2, "a mark in the data is text"
    assert [example.images[0]().getpixel((0, 0)) for example in first] == [(3, 0, 0), (5, 0, 0)]
    assert len({example.group for example in first}) == 2
    assert [example.row for example in first] == [{"n": 3, "word": "red"}, {"n": 5, "word": "red"}]
    questions(FORM, ITEMS[:1], opened)
    assert heard == ["ask", "ask"], "other items are asked anew"
    assert not [path for path in (tmp_path / "cache" / "suites").iterdir() if path.name.startswith("room-")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"until": ["\n"]}, r"fake ends replies at \['\\n'\], the suite at \['Question:'\]"),
        ({"key": 4}, "fake asked other items than it was given"),
        ({"parts": [{"picture": "../../outside.png"}]}, "names a picture outside its folder"),
    ],
)
def test_a_library_that_asks_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    answering(monkeypatch, tmp_path, lambda do, item, room: {**with_picture(do, item, room), **change})
    with pytest.raises(UserError, match=said):
        questions(FORM, ITEMS, opened)


def reply_to(example: Any, text: str) -> Reply:
    return Reply(example=example.id, group="", prompt_digest="", text=text, tokens=1, truncated=False)


def test_marks_come_back_by_key_and_what_was_not_read_is_malformed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering(monkeypatch, tmp_path, with_picture)
    examples = questions(FORM, ITEMS, opened)
    answering(
        monkeypatch,
        tmp_path,
        lambda do, item, room: {"key": item["n"], "read": item["reply"] or None, "score": float(item["n"] == 5)},
    )
    replies = [reply_to(example, text) for example, text in zip(examples, ("", "yes"), strict=True)]
    assert asking.marks(FORM, examples, replies) == [
        Mark(example="fake/3", read=None, score=0.0),
        Mark(example="fake/5", read="yes", score=1.0),
    ]
    with pytest.raises(UserError, match="are to other items"):
        asking.marks(FORM, examples, replies[::-1])


def test_the_suites_stand_for_tasks_and_decode_shorter_on_the_twins() -> None:
    suites = (MMLU_PRO_LM_EVAL, MMMU_VLMEVAL, POPE_VLMEVAL)
    assert [suite.stands_for for suite in suites] == ["mmlu-pro", "mmmu", "pope"]
    for suite in suites:
        short = suite.decoding_at(TWIN)
        assert short.stop == suite.decoding.stop
        assert short.max_new_tokens < suite.decoding.max_new_tokens
        assert short.name != suite.decoding.name
    assert MMLU_PRO_LM_EVAL.decoding.max_new_tokens == 2048
    assert MMLU_PRO_LM_EVAL.sized(TWIN).max_prompt_tokens == 8192
    assert POPE_VLMEVAL.sized(TWIN) == TWIN
