"""The command `harness data`: fetch, verify, show and overlap."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.core import Task, UserError
from harness.values import cut

data_app = typer.Typer(no_args_is_help=True, help="Fetch official data, lock it, look at it, and compare it.")

SetNames = Annotated[list[str], typer.Argument(help="Sets: tasks by name, see `harness list`.", metavar="SET...")]
SomeSets = Annotated[list[str] | None, typer.Argument(help="Sets; all in the folder without any.", metavar="[SET...]")]
FolderFlag = Annotated[Path, typer.Option("--data", help="The folder, with one subfolder per set.", show_default=False)]
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
