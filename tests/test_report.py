"""The report's files: what is in them, what cannot be in them, and which runs are refused."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
from fake_runs import SFT, fake_run, publish, registered
from PIL import Image
from report_site import HOSTILE, make_report

from harness.core import Mark, UserError
from harness.report.answers import answers_of, folder_of
from harness.report.pictures import LONGEST_SIDE, drawn
from harness.report.shards import opened, shard
from harness.report.site import HERE, build
from harness.results.arms import paired
from harness.results.flips import flips
from harness.results.metrics import compute_all
from harness.results.published import read_run
from harness.results.sides import side
from harness.results.stats import differences
from harness.store.tables import from_parquet, to_parquet

OWN = sorted((HERE / "page").glob("*.js"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("report"), items=30)


def data(page: Path, name: str) -> object:
    named, value = opened((page.parent / "data" / f"{name}.js").read_bytes())
    assert named == name
    return value


def test_the_report_holds_every_reply_of_every_run_as_it_was(page: Path) -> None:
    site, runs = data(page, "site"), page.parent.parent / "runs"
    assert [column["name"] for column in site["columns"]] == ["gqa", "pathvqa", "pope"]
    for number, described in enumerate(site["runs"]):
        run = read_run(runs / described["id"])
        cells, metrics = described["cells"]["cot"]["gqa"], compute_all(run.matrix("cot"))
        assert [value for value, _, _ in cells] == pytest.approx([row[0] for row in run.matrix("cot").scores], abs=1e-6)
        for name in ("average_accuracy", "backward_transfer", "general_delta"):
            value, low, high = described["metrics"]["cot"][name]
            assert value == pytest.approx(metrics[name], abs=1e-6)
            assert low < value < high
        for column in site["columns"]:
            name = column["name"]
            index, parts = data(page, f"items/{name}"), [data(page, f"items/{name}/0")]
            found = answers_of(runs / described["id"], run, name)
            assert len(index["ids"]) == len(parts[0]) == 30
            for (stage, style), answers in found.items():
                said = [item["replies"][number][f"{stage}/{style}"] for item in parts[0]]
                assert [one[0] for one in said] == list(answers.texts)
                assert [one[1] for one in said] == list(answers.read)
                marks = index["marks"][number][f"{stage}/{style}"]
                assert marks == [-1 if read is None else int(100 * score) for _, read, score, *_ in said]
                since = column["runs"][number]["learned"]
                if stage < since:
                    assert column["runs"][number]["flips"][style][stage] is None
                    continue
                counts = flips(found[(since, style)].scores, answers.scores)
                assert column["runs"][number]["flips"][style][stage] == [counts.lost, counts.won]


def test_the_difference_of_two_runs_has_the_interval_of_compare(page: Path) -> None:
    site = data(page, "site")
    folder = page.parent.parent / "runs"
    words = [str(folder / run["id"]) for run in site["runs"]]
    found = differences(*paired(*(side(word, "cot", folder, folder) for word in (words[1], words[0]))))
    shown = site["runs"][0]["minus"]["1"]["cot"]
    for name, wanted in found.items():
        expected = wanted and pytest.approx((wanted.value, wanted.low, wanted.high), abs=1e-6)
        assert (shown[name] and tuple(shown[name])) == expected, name
    assert shown["backward_transfer"][0] < 0, "the second run forgets more"


def test_nothing_of_a_run_can_be_more_than_text(page: Path) -> None:
    folder = page.parent
    calls = re.compile(rb'receive\("[a-z0-9./-]+", "[A-Za-z0-9+/=]+"\);\n')
    for path in folder.rglob("*"):
        if path.is_file() and "data" in path.relative_to(folder).parts:
            assert calls.fullmatch(path.read_bytes()), f"{path} holds more than one call with base64"
    texts = [item["prompts"]["cot"] for item in data(page, "items/gqa/0")]
    sound = [text for text in HOSTILE if "\ud800" not in text]
    assert all(any(text in prompt for prompt in texts) for text in sound), "the hostile texts are in the report"
    for path in [page, *(folder / "page").glob("*")]:
        assert (HERE / "page" / path.name).read_bytes() == path.read_bytes(), "the page is the same for every report"
    for place in folder.rglob("*.webp"):
        with Image.open(place) as picture:
            picture.load()
            assert picture.format == "WEBP"
            assert not picture.info.get("exif")
    assert len(list(folder.rglob("*.webp"))) == 10, "each picture once"


def test_the_page_can_neither_load_from_elsewhere_nor_run_text() -> None:
    html = (HERE / "page" / "index.html").read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    assert "http" not in policy
    assert rules["require-trusted-types-for"] == "'script'"
    scripts = re.findall(r"<script src=\"([^\"]*)\"></script>", html)
    assert html.count("<script") == len(scripts) == len(OWN) + 2
    assert not re.findall(r"\son\w+=|style=|https?:", html)
    for path in OWN:
        text = path.read_text()
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|\bfetch\(|https?:", text
        )
        assert not found, f"{path.name}: {found}"
        assert len(text.splitlines()) <= 200


def test_the_vendored_libraries_are_those_of_the_registry() -> None:
    vendor = HERE / "vendor"
    known = json.loads((vendor / "vendored.json").read_text())
    files = {name: digest for library in known for name, (_, digest) in library["files"].items()}
    assert set(files) | {"vendored.json"} == {path.name for path in vendor.iterdir()}
    for name, wanted in files.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == wanted, name
    for library in known:
        assert library["licence"] == "MIT"
        assert any(name.endswith("LICENSE") for name in library["files"])


def test_equal_runs_give_an_equal_report_in_the_place_of_the_old_one(tmp_path: Path) -> None:
    run, target = fake_run(tmp_path / "runs", SFT, items=6), tmp_path / "report"
    with registered(run.name):
        build([run], target)
        first = {path: path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()}
        (target / "stale.txt").write_text("old")
        build([run], target)
        assert {path: path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()} == first
        publish(run, tmp_path / "results")
        other = tmp_path / "published"
        build([tmp_path / "results" / "runs" / run.name], other)
    for path, content in first.items():
        assert (other / path.relative_to(target)).read_bytes() == content, "a published run gives the same report"


def test_what_is_no_report_is_not_replaced(tmp_path: Path) -> None:
    run, home = fake_run(tmp_path / "runs", SFT, items=4), tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with registered(run.name), pytest.raises(UserError, match="is there and is no report"):
        build([run], home)
    assert [path.name for path in home.iterdir()] == ["thesis.tex"]


def test_a_damaged_run_is_refused_in_one_line(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "runs", SFT, items=6)
    marks = run / "marks" / "1-gqa-direct.parquet"
    whole = marks.read_bytes()
    kept = from_parquet(Mark, marks)
    better = [Mark(example=mark.example, read="yes", score=1.0) for mark in kept.records]
    other = from_parquet(Mark, run / "marks" / "2-gqa-direct.parquet")
    damages = {
        "does not follow from its marks": to_parquet(Mark, better, kept.bound),
        "marks of other replies": to_parquet(Mark, other.records, other.bound),
        "damaged or cut short": whole[:200],
    }
    with registered(run.name):
        for line, content in damages.items():
            marks.write_bytes(content)
            with pytest.raises(UserError, match=line):
                build([run], tmp_path / "report")
        marks.unlink()
        with pytest.raises(UserError, match="lacks the replies of 1/gqa/direct"):
            build([run], tmp_path / "report")
        assert not (tmp_path / "report").exists()
        marks.write_bytes(whole)
        assert build([run], tmp_path / "report") == 6 * 3 * 3 * 2


def test_a_run_is_found_by_its_first_letters_in_the_store_or_published(tmp_path: Path) -> None:
    out, results = tmp_path / "runs", tmp_path / "results"
    run = fake_run(out, SFT, items=4)
    publish(run, results)
    assert folder_of(run.name[:8], out, results) == run
    assert folder_of(str(run), tmp_path / "none", results) == run
    assert folder_of(run.name, tmp_path / "none", results) == results / "runs" / run.name
    other = fake_run(out, SFT, items=4, seed=1)
    with pytest.raises(UserError, match="2 runs begin with 'sft'"):
        folder_of("sft", out, results)
    with pytest.raises(UserError, match=f"did you mean {other.name}"):
        folder_of(other.name[:-1] + "x", out, results)


def test_items_that_changed_since_are_left_out_and_named(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "runs", SFT, items=4)
    path = run / "run.json"
    record = json.loads(path.read_text())
    record["data"]["gqa"] = "0" * 64
    path.write_text(json.dumps(record))
    with registered(run.name):
        build([run], tmp_path / "report")
    page = tmp_path / "report" / "index.html"
    assert [one["runs"][0]["known"] for one in data(page, "site")["columns"]] == [False, True, True]
    first = data(page, "items/gqa/0")[0]
    assert set(first) == {"replies"}
    assert data(page, "items/gqa")["ids"] == [f"gqa-test-{n}" for n in range(4)]


def test_a_shard_is_what_it_was_and_no_name_leaves_the_folder() -> None:
    value = {"texts": list(HOSTILE), "none": None, "share": 0.1}
    content = shard("items/gqa/0", value)
    assert opened(content) == ("items/gqa/0", value)
    assert json.loads(gzip.decompress(base64.b64decode(content.split(b'"')[3]))) == value
    for name in ("../up", "a b", '");alert("', ""):
        with pytest.raises(ValueError, match="no name"):
            shard(name, value)
    with pytest.raises(ValueError, match="JSON"):
        shard("nan", float("nan"))
    with pytest.raises(ValueError, match="nothing else"):
        opened(content + b"alert(1)")


def test_a_large_picture_is_made_smaller_and_loses_what_is_not_pixels() -> None:
    picture = Image.effect_noise((2000, 500), 50).convert("RGB")
    content, width, height = drawn(picture)
    assert (width, height) == (LONGEST_SIDE, LONGEST_SIDE // 4)
    assert len(content) < 200_000
    for mode in ("P", "L", "CMYK", "I;16", "LA", "1"):
        assert drawn(Image.new(mode, (8, 8)))[1:] == (8, 8), mode
