"""The file of a sweep: a TOML file with frozen keys; each mistake in it is one line that says where."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

from harness.core import UserError, slug
from harness.values import cut

MOST = 1_000  # runs of a grid
Setting = str | int | bool


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every paradigm on every stream at every scale with every seed, and the flags that all of them share.

    ``cpus`` and ``gpus`` are what one task takes; None: what its scale does. ``workers`` bounds the tasks at once of
    ``--executor local``, ``retries`` says how often Ray starts a task again whose node died, ``slurm`` holds options of
    sbatch. Paths are taken from the file's folder.
    """

    paradigms: tuple[str, ...]
    streams: tuple[str, ...]
    scales: tuple[str, ...] = ("twin",)
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    split: str = "test"
    suites: str = "native"
    skip_broken: int = 0
    data: str | None = None
    plugins: tuple[str, ...] = ()
    cpus: int | None = None
    gpus: int | None = None
    workers: int | None = None
    retries: int = 3
    slurm: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a grid, as the flags of ``harness run`` name it."""

    paradigm: str
    stream: str
    scale: str
    seed: int


def points(grid: Grid) -> Iterator[Point]:
    """The runs of a grid, in the order of its lists."""
    for paradigm, stream, scale, seed in product(grid.paradigms, grid.streams, grid.scales, grid.seeds):
        yield Point(paradigm=paradigm, stream=stream, scale=scale, seed=seed)


def words(grid: Grid, point: Point, out: Path) -> tuple[str, ...]:
    """The words after ``harness`` that do a run."""
    found = ["run", "--paradigm", point.paradigm, "--seq", point.stream, "--scale", point.scale]
    found += ["--seed", str(point.seed), "--split", grid.split, "--suites", grid.suites, "--out", str(out)]
    found += ["--limit", str(grid.limit)] if grid.limit is not None else []
    found += ["--data", grid.data] if grid.data is not None else []
    found += ["--skip-broken", str(grid.skip_broken)] if grid.skip_broken else []
    for plugin in grid.plugins:
        found += ["--plugin", plugin]
    return tuple(found)


def read_grid(path: Path) -> Grid:
    """The grid of a file.

    Raises:
        UserError: naming the line of the first thing that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is no UTF-8 text"
        raise UserError(f"{cut(str(path))} cannot be read ({reason}): give a TOML file, see docs/sweep.md") from fault
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise UserError(f"{cut(str(path))}: {cut(str(fault))}") from fault
    room = path.absolute().parent
    found = {key: _checked(key, value, room, _Place(path, text, key)) for key, value in said.items()}
    for key in ("paradigms", "streams"):
        if key not in found:
            raise UserError(f'{cut(str(path))} lacks {key}: add a line such as {key} = ["..."]')
    grid = Grid(**found)
    count = len(grid.paradigms) * len(grid.streams) * len(grid.scales) * len(grid.seeds)
    if count > MOST:
        raise UserError(f"{cut(str(path))} asks for {count:,} runs: {MOST:,} are the most")
    return grid


@dataclass(frozen=True, kw_only=False)
class _Place:
    """Where a key stands in a file."""

    path: Path
    text: str
    key: str

    def refuse(self, wanted: str) -> UserError:
        """The refusal that names file, line and key."""
        lines = self.text.splitlines()
        at = re.compile(rf"\s*\[?\s*[\"']?{re.escape(self.key)}[\"']?\s*[=.\]]")
        number = next((n for n, line in enumerate(lines, start=1) if at.match(line)), 1)
        return UserError(f"{cut(str(self.path))}, line {number}: {cut(self.key, 40)} {wanted}")


def _checked(key: str, value: Any, room: Path, place: _Place) -> Any:
    """The value of a key as a Grid has it."""
    known = [one.name for one in fields(Grid)]
    if key not in known:
        raise place.refuse(f"is no key of a sweep: use {', '.join(known)}")
    if key in ("paradigms", "streams", "scales"):
        return _list(value, str, place, "names")
    if key == "plugins":
        return tuple(str(room / name) for name in _list(value, str, place, "files", slugs=False))
    if key == "seeds":
        return _list(value, int, place, "whole numbers")
    if key == "slurm":
        if not isinstance(value, dict) or not all(isinstance(one, str | int) for one in value.values()):
            raise place.refuse("wants options of sbatch, each a text or a number")
        return value
    if key in ("split", "suites", "data"):
        if not isinstance(value, str) or not value:
            raise place.refuse("wants a text")
        return str(room / value) if key == "data" else value
    if type(value) is not int or value < (0 if key in ("skip_broken", "gpus", "retries") else 1):
        raise place.refuse("wants a whole number")
    return value


def _list(value: Any, kind: type, place: _Place, what: str, slugs: bool = True) -> tuple[Any, ...]:
    """A list of different things of a kind, at least one."""
    if not isinstance(value, list) or not value or not all(type(one) is kind for one in value):
        raise place.refuse(f"wants a list of {what}")
    if len(set(value)) != len(value):
        raise place.refuse("names one thing twice")
    if kind is str and slugs:
        for one in value:
            try:
                slug(one)
            except UserError as fault:
                raise place.refuse(str(fault)) from fault
    return tuple(value)


__all__ = ["Grid", "Point", "points", "read_grid", "words"]
