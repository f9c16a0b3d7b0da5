"""Items that cannot be used: rows that are broken, pictures that do not open, prompts that are too long.

They are found and named before anything is trained. A user may let a run do without a number of them; what was left
out is part of the run's id, because it moves its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.core import Run, UserError, replace
from harness.data.lock import current_set, set_of
from harness.data.verify import broken_pictures, remember_broken
from harness.prompt_length import Item, Read, long_prompts, read_items
from harness.values import cut

SHOWN = 3
# What was opened by this process: (fingerprint of the set, id of the item) and why it is broken, or nothing.
_opened: dict[Item, str] = {}


def settled(
    run: Run,
    allowed: int = 0,
    say: Callable[[str], None] | None = None,
    every_style: bool = False,
    pictures: bool = True,
) -> Run:
    """The run itself, or the run without its broken items where these are no more than ``allowed``; each is said.

    Raises:
        UserError: naming the first of them, where there are more.
    """
    found = broken_items(run, every_style, pictures)
    lines = [f"{cut(item, 60)} of {task} ({cut(why)})" for (task, item), why in found.items()]
    if len(found) > allowed:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"{len(found)} broken or too long: {', '.join(lines[:SHOWN])}{more}: mend the data, use a scale with a"
            f" larger max_prompt_tokens, or do without by --skip-broken {len(found)}"
        )
    for line in lines:
        if say is not None:
            say(f"left out: {line}")
    return replace(run, left_out=tuple(sorted({*run.left_out, *found}))) if found else run


def broken_items(run: Run, every_style: bool = False, pictures: bool = True) -> dict[Item, str]:
    """(task, id) of each item of the run that cannot be used, and the reason in one line.

    ``pictures`` opens those that the lock file does not know of, 3 to 30 ms each; without it only what is known counts.
    """
    items = read_items(run)
    found = {(read.task.name, fault.item): fault.reason for read in items for fault in read.faults}
    for read in items:
        found |= {(read.task.name, item): why for item, why in _pictures(run, read, pictures).items()}
    return found | long_prompts(run, items, every_style, without=found)


def _pictures(run: Run, read: Read, look: bool) -> Mapping[str, str]:
    """The items whose pictures do not open, from the lock file, or by opening them; twins' pictures always open."""
    task, split, examples = read.task, read.split, read.examples
    if run.data is None or not any(example.images for example in examples):
        return {}
    locked = current_set(Path(run.data), task, write=look)
    if locked is not None and split in locked.broken:
        there = {example.id for example in examples}
        return {item: why for item, why in locked.broken[split].items() if item in there}
    if locked is None or not look:
        return {}
    new = [example for example in examples if (locked.fingerprint, example.id) not in _opened]
    why = broken_pictures(new, Path(run.data))
    _opened.update({(locked.fingerprint, example.id): why.get(example.id, "") for example in new})
    found = {one.id: said for one in examples if (said := _opened[locked.fingerprint, one.id])}
    if read.whole and not run.left_out:
        remember_broken(Path(run.data), set_of(Path(run.data), task), locked, split, found)
    return found


__all__ = ["broken_items", "settled"]
