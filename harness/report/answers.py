"""The replies of a run's cells with their marks, from a folder of the store or a published one, a task at a time."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.asking.evaluate import mean
from harness.core import Mark, Observation, Reply, UserError, digest
from harness.observe import file_name
from harness.results.marks import MARKS
from harness.results.published import RUNS, PublishedRun
from harness.results.remark import weights_of
from harness.store.record import RECORD
from harness.store.tables import from_parquet
from harness.values import cut

REPLIES = "replies.parquet"
Place = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The replies of one cell, in the order of its items: text, tokens, cut off or not, the answer read, the score."""

    examples: tuple[str, ...]
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]
    read: tuple[str | None, ...]
    scores: tuple[float, ...]


def folder_of(name: str, out: Path, results: Path) -> Path:
    """The folder of a run: one that is named as it is, else by its id or its first letters, in the store or published.

    Raises:
        UserError: where there is none, or more than one begins like that.
    """
    if "/" in name and (Path(name) / RECORD).is_file():
        return Path(name)
    places = (out, results / RUNS)
    stored, published = ({path.parent.name: path.parent for path in place.glob(f"*/{RECORD}")} for place in places)
    known = published | stored
    if name in known:
        return known[name]
    for place in (stored, published):
        fitting = sorted(run for run in place if run.startswith(name))
        if len(fitting) == 1:
            return place[fitting[0]]
        if fitting:
            raise UserError(f"{len(fitting)} runs begin with {cut(name)!r}: write more of the id, such as {fitting[0]}")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "`harness runs list` and `harness leaderboard` name them"
    raise UserError(f"run {cut(repr(name))} is neither in {out} nor published in {results}: {hint}")


def answers_of(folder: Path, run: PublishedRun, task: str) -> dict[Place, Answers]:
    """The replies of a task or suite by (stage, style), as far as there are some.

    Raises:
        UserError: where replies or marks are damaged or another cell's, or do not give the run's cells.
    """
    published = (folder / REPLIES).is_file()
    found = _published(folder, task) if published else _stored(folder, run, task)
    for cell in run.cells:
        if cell.task != task:
            continue
        answers = found.get((cell.stage, cell.style))
        if answers is None:
            raise UserError(f"{folder} lacks the replies of {_called(cell.stage, task, cell.style)}: restore them")
        if cell.n != len(answers.scores) or cell.score != mean(answers.scores):
            raise UserError(
                f"the cell {_called(cell.stage, task, cell.style)} of {run.id} does not follow from its marks:"
                f" {'restore the published files' if published else f'`harness remark {run.id}` makes it again'}"
            )
    return found


def _called(stage: int, task: str, style: str) -> str:
    return f"{stage}/{task}/{style}"


def _stored(folder: Path, run: PublishedRun, task: str) -> dict[Place, Answers]:
    found = {}
    for one in run.record.observations:
        if one.name != task or one.kind == "probe":
            continue
        replies_file, marks_file = (folder / place / file_name(one) for place in ("replies", "marks"))
        if replies_file.is_file() and marks_file.is_file():
            found[(one.stage, one.style)] = _paired(replies_file, marks_file, weights_of(run.record)[one.stage], one)
    return found


def _paired(replies_file: Path, marks_file: Path, weights: str, one: Observation) -> Answers:
    replies, marks = from_parquet(Reply, replies_file), from_parquet(Mark, marks_file)
    same = [reply.example for reply in replies.records] == [mark.example for mark in marks.records]
    if marks.bound.get("replies") != digest(replies.bound) or not same:
        raise UserError(f"{marks_file} holds the marks of other replies: `harness remark` makes them again")
    if replies.bound.get("weights") != weights:
        called = _called(one.stage, one.name, one.style)
        raise UserError(f"{replies_file} holds replies of other weights than those of {called}: restore the file")
    return Answers(
        examples=tuple(reply.example for reply in replies.records),
        texts=tuple(reply.text for reply in replies.records),
        tokens=tuple(reply.tokens for reply in replies.records),
        truncated=tuple(reply.truncated for reply in replies.records),
        read=tuple(mark.read for mark in marks.records),
        scores=tuple(mark.score for mark in marks.records),
    )


def _published(folder: Path, task: str) -> dict[Place, Answers]:
    said = _columns(folder / REPLIES, task, ("stage", "style", "example", "text", "tokens", "truncated"))
    marked = _columns(folder / MARKS, task, ("stage", "style", "example", "read", "score"))
    if any(said[name] != marked[name] for name in ("stage", "style", "example")):
        raise UserError(f"{folder / MARKS} holds the marks of other replies than {REPLIES}: restore both files")
    rows: dict[Place, list[int]] = {}
    for row, place in enumerate(zip(said["stage"], said["style"], strict=True)):
        rows.setdefault(place, []).append(row)

    def taken(column: Sequence[Any], which: Sequence[int]) -> tuple[Any, ...]:
        return tuple(column[row] for row in which)

    return {
        place: Answers(
            examples=taken(said["example"], which),
            texts=taken(said["text"], which),
            tokens=taken(said["tokens"], which),
            truncated=taken(said["truncated"], which),
            read=taken(marked["read"], which),
            scores=taken(marked["score"], which),
        )
        for place, which in rows.items()
    }


def _columns(path: Path, task: str, names: Sequence[str]) -> Mapping[str, list[Any]]:
    """Columns of a published table, of one task. Raises UserError where it is missing or damaged."""
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=["task", *names])
        mine = table.filter(pyarrow.compute.equal(table["task"], task))
        return {name: mine[name].to_pylist() for name in names}
    except (OSError, KeyError, pyarrow.ArrowException) as fault:
        raise UserError(f"{path} is missing or damaged: restore it, or publish the run again") from fault


__all__ = ["Answers", "Place", "answers_of", "folder_of"]
