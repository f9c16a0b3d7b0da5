"""The command `harness data`: fetch, verify, show and overlap."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.core import Scale, Task, UserError
from harness.values import cut

data_app = typer.Typer(no_args_is_help=True, help="Fetch official data, lock it, look at it, and compare it.")

TWIN_ITEMS = 400  # of a split of a twin, as many as a run reads

SetNames = Annotated[list[str], typer.Argument(help="Sets: tasks by name, see `harness list`.", metavar="SET...")]
SomeSets = Annotated[list[str] | None, typer.Argument(help="Sets; all in the folder without any.", metavar="[SET...]")]
FolderFlag = Annotated[Path, typer.Option("--data", help="The folder, with one subfolder per set.", show_default=False)]
SomeFolderFlag = Annotated[
    Path | None, typer.Option("--data", help="Official data, one subfolder per set; the twins without it.")
]
PluginFlag = Annotated[
    list[Path] | None, typer.Option("--plugin", help="A Python file with tasks of your own; repeatable.")
]


@data_app.command("fetch")
def fetch_command(
    sets: SetNames,
    data: FolderFlag,
    revision: Annotated[
        str | None, typer.Option("--revision", help="40 hex digits; the locked or else the current one without it.")
    ] = None,
    plugin: PluginFlag = None,
) -> None:
    """Download sets from where their tasks say they are published, and lock what came; the same command goes on."""
    registry.load_plugins(tuple(plugin or ()))
    if revision is not None and not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(f"--revision {cut(repr(revision), 50)} is no commit: give 40 hex digits")
    if revision is not None and len(sets) > 1:
        raise UserError("--revision is of one set: fetch the sets one by one")
    from harness.data.fetch import fetch, online

    tasks = [registry.typed(Task, name) for name in sets]
    online()
    for task in tasks:
        fetch(data, task, revision, print)


@data_app.command("verify")
def verify_command(
    data: FolderFlag,
    sets: SomeSets = None,
    write: Annotated[bool, typer.Option("--write", help="Lock what is there, whatever it is.")] = False,
    pictures: Annotated[bool, typer.Option("--pictures", help="Open every picture too.")] = False,
    plugin: PluginFlag = None,
) -> None:
    """Read sets again and compare them with the lock file, offline; a set that it lacks is locked."""
    registry.load_plugins(tuple(plugin or ()))
    from harness.data.verify import verify

    wrong = 0
    for task in _sets(data, sets):
        found = verify(data, task, write=write, pictures=pictures)
        for line in found.notes:
            print(f"note: {line}")
        for line in found.faults:
            print(f"error: {line}", file=sys.stderr)
        wrong += bool(found.faults)
        if found.locked is not None and not found.faults:
            size = sum(file.size for file in found.locked.files.values())
            counts = ", ".join(f"{count:,} {split}" for split, count in found.locked.counts.items())
            where = f"{found.locked.source} {found.locked.revision[:12]}".strip()
            print(f"{task.name}: {len(found.locked.files):,} files, {size / 1e6:,.1f} MB, {counts}; {where}")
    if wrong:
        raise typer.Exit(2)


@data_app.command("show")
def show_command(
    task: Annotated[str, typer.Argument(help="A task: see `harness list`.", metavar="TASK")],
    data: SomeFolderFlag = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    item: Annotated[str, typer.Option("--item", help="An id, or a place in the split from 0.", metavar="ID|N")] = "0",
    style: Annotated[str, typer.Option("--style", help="direct or cot.")] = "direct",
    picture: Annotated[Path | None, typer.Option("--picture", help="Write the picture as this PNG file.")] = None,
    scale: Annotated[str, typer.Option("--scale", help="Whose model counts the tokens.")] = "twin",
    plugin: PluginFlag = None,
) -> None:
    """Print an item as a model will see it, and write its pictures."""
    registry.load_plugins(tuple(plugin or ()))
    from harness.asking.styles import STYLES
    from harness.data.show import shown, visible, write_pictures

    known = {one.name: one for one in STYLES}
    if style not in known:
        raise UserError(f"--style {cut(style, 40)} is unknown: use one of {', '.join(known)}")
    noun, size = registry.typed(Task, task), registry.typed(Scale, scale)
    found = shown(noun, data, split, item, known[style], size)
    example = found.example
    group = f", group {visible(example.group)}" if example.group else ""
    print(f"{noun.name} {split} {found.place}: {visible(example.id)}{group}")
    print(f"\n{visible(found.prompt)}\n")
    print(f"answers: {', '.join(visible(repr(answer)) for answer in example.answers)}")
    if example.rationale:
        print(f"rationale: {visible(example.rationale)}")
    for number, one in enumerate(found.pictures, start=1):
        print(f"picture {number}: {one.width} x {one.height}")
    length = "not counted, its model is not on this machine" if found.tokens is None else f"{found.tokens} tokens"
    print(f"prompt in scale {size.name}: {length}, {size.max_prompt_tokens} are allowed")
    for file in write_pictures(found.pictures, picture) if picture else ():
        print(f"written: {file}")


@data_app.command("overlap")
def overlap_command(
    data: SomeFolderFlag = None,
    sets: SomeSets = None,
    limit: Annotated[int, typer.Option("--limit", help="At most this many items of a split.", min=1)] = 10**9,
    out: Annotated[Path | None, typer.Option("--out", help="Write the pairs into this CSV file.")] = None,
    plugin: PluginFlag = None,
) -> None:
    """Look for near duplicates between the training and the test items of all sets, of the twins without --data."""
    registry.load_plugins(tuple(plugin or ()))
    from harness.data.overlap import overlaps, report, summary
    from harness.store import disk

    if data is None:
        tasks = [registry.typed(Task, name) for name in sets or registry.names("task")]
        limit = min(limit, TWIN_ITEMS)
    else:
        tasks = _sets(data, sets)
    pairs = overlaps(tasks, data, limit, lambda line: print(f"note: {line}"))
    for line in summary(pairs):
        print(line)
    if out is not None:
        with disk.refusing_disk_faults(out):
            disk.write(out, report(pairs).encode())
        print(f"written: {out} ({len(pairs):,} pairs)")


def _sets(data: Path, names: list[str] | None) -> list[Task]:
    """The tasks of these names, or of every set that the folder or its lock file has."""
    from harness.data.lock import LOCK, read_lock

    if not data.is_dir():
        raise UserError(f"--data {data} is no folder: give one with a subfolder for each set")
    if names:
        return [registry.typed(Task, name) for name in names]
    locked, known = read_lock(data).sets, registry.names("task")
    there = [path.name for path in sorted(data.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for name in there:
        if name not in known:
            print(f"note: {cut(str(data / name))} is no set of a task that is known here")
    found = [name for name in known if name in locked or name in there]
    if gone := sorted(set(locked) - set(known)):
        raise UserError(f"{data / LOCK} has the set {gone[0]}, of no task that is known here: give its --plugin")
    if not found:
        raise UserError(f"{data} holds no set: `harness data fetch SET --data {data}`, or see docs/data.md")
    return [registry.typed(Task, name) for name in found]
