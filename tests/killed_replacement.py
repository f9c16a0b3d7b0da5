"""Kills ``replace_folder`` and ``discard`` before and after each of their calls to the system, one child at a time.

Arguments: a folder, "exchange" or "rename" (a disk that cannot exchange two names). Prints the number of children
killed; an assertion fails where a reader or the next call would meet anything but the old folder or the new.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.store import disk

CALLS = ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync", "open")
OLD, NEW = {"a": "old", "b": "old"}, {"a": "new", "c": "new"}


def contents(folder: Path) -> dict[str, str] | None:
    """The files of a folder with their text; None where there is no folder."""
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else None


def fill(folder: Path, files: dict[str, str]) -> None:
    """Make a folder of these files."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def work(target: Path) -> None:
    """What is killed: a folder is prepared and put in the place of another, which then goes."""
    draft = disk.draft_folder(target)
    for name, text in NEW.items():
        disk.write(draft / name, text.encode())
    disk.replace_folder(draft, target)


def remove(target: Path) -> None:
    """What is killed: a folder is removed."""
    disk.discard(target)


def killed_at(moment: int, task: Callable[[Path], None], target: Path) -> bool:
    """Do the task in a child that ends at its call number ``moment``; False where the child came to its end."""
    child = os.fork()
    if not child:
        count = 0

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                for part in ("before", "after"):
                    count += 1
                    if count == moment:
                        os._exit(9)
                    if part == "before":
                        result = call(*arguments, **options)
                return result

            return wrapper

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        disk._exchange = counted(disk._exchange)
        task(target)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def main(root: Path, way: str) -> int:
    """Try every moment of every task; the number of kills."""
    if way == "rename":
        disk._exchange = lambda one, other: False
    kills = 0
    for task, allowed in ((work, (OLD, NEW)), (remove, (OLD, None))):
        moment, killed = 0, True
        while killed:
            moment += 1
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            target = root / "run"
            fill(target, OLD)
            killed = killed_at(moment, task, target)
            kills += killed
            if way == "exchange":
                assert contents(target) in allowed, (task, moment, "a reader met it")
            disk.sweep(root)
            assert contents(target) in allowed, (task, moment, "the sweep left it")
            assert {path.name for path in root.iterdir()} <= {"run"}, (task, moment, "a draft was left")
            task(target)
            assert contents(target) == allowed[-1], (task, moment)
        assert moment > 5, "nothing was counted"
    return kills


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2]))
