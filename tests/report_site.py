"""A report of made-up runs whose items and replies try to be anything but text; and one with very many items."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import fake_runs
from fake_runs import RFT, SFT, registered

from harness.core import Example, Reply, replace
from harness.report.shards import opened, shard
from harness.report.site import build

# Each of these would set window.hacked, load something from elsewhere, or break out of where it stands.
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<svg onload=window.hacked=1>",
    '"><iframe src="https://example.invalid/"></iframe>',
    "javascript:window.hacked=1",
    "\u2028window.hacked=1\u2029",
    "');window.hacked=1;('",
    "\\u003cimg src=x onerror=window.hacked=1\\u003e",
    "<style>body{display:none}</style><link rel=stylesheet href=//example.invalid/a.css>",
    "\u202eright to left\u0000\u0007\x1b[31m",
    "${window.hacked=1}{{window.hacked=1}}__proto__",
    "\ud800 no text",
    "long " * 400,
)


def shade(index: int) -> Any:
    """A picture; some are of one shade, so that they are kept once."""
    from PIL import Image

    return Image.new("RGBA" if index % 2 else "RGB", (48, 48), (40 * (index % 5), 80, 160))


def question(name: str, split: str, index: int) -> Example:
    """An item whose texts are hostile and which has a picture."""
    text = HOSTILE[index % len(HOSTILE)]
    return Example(
        id=f"{name}-{index}{text if index == 1 else ''}",
        question=f"{name} {index}? {text}",
        answers=("yes", text),
        choices=(text, "no"),
        group=f"{name}-{index // 2}",
        rationale=text,
        images=(partial(shade, index),),
    )


def replies(rng: Random, view: Any, one: Any, level: float) -> list[Reply]:
    """What fake_runs makes up, with a hostile text behind every unreadable reply."""
    found = made_up(rng, view, one, level)
    return [
        replace(reply, text="\\boxed{" + HOSTILE[n % len(HOSTILE)]) if not reply.text else reply
        for n, reply in enumerate(found)
    ]


made_up = fake_runs.made_up_replies


def make_report(folder: Path, items: int = 60) -> Path:
    """A report of two hostile runs, of which the second forgets more; its index.html."""
    out, target = folder / "runs", folder / "report"
    with patch.object(fake_runs, "question", question), patch.object(fake_runs, "made_up_replies", replies):
        runs = [
            fake_runs.fake_run(out, RFT, items=items, forgets=0.0),
            fake_runs.fake_run(out, SFT, items=items, forgets=0.3, drift=-0.1),
        ]
        with registered(runs[0].name, other=SFT):
            build(runs, target)
    return target / "index.html"


def make_large_report(folder: Path, small: Path, items: int) -> Path:
    """The report ``small`` with one task of so many items, whose replies are those of its first 64; its index.html."""
    target = folder / "large"
    shutil.copytree(small.parent, target)
    _, site = opened((target / "data" / "site.js").read_bytes())
    name, rng = site["columns"][0]["name"], Random(0)
    _, index = opened((target / "data" / "items" / f"{name}.js").read_bytes())
    index["ids"] = [f"item-{n}" for n in range(items)]
    index["questions"] = [f"What is written on sign {n}?" for n in range(items)]
    index["gold"] = [f"word {n % 977}" for n in range(items)]
    index["marks"] = [
        {place: rng.choices((100, 0, 60, -1), (60, 30, 5, 5), k=items) for place in marks} for marks in index["marks"]
    ]
    site["columns"][0]["items"] = items
    (target / "data" / "site.js").write_bytes(shard("site", site))
    (target / "data" / "items" / f"{name}.js").write_bytes(shard(f"items/{name}", index))
    _, first = opened((target / "data" / "items" / name / "0.js").read_bytes())
    last = (items - 1) // site["at_a_time"]
    (target / "data" / "items" / name / f"{last}.js").write_bytes(shard(f"items/{name}/{last}", first))
    return target / "index.html"


__all__ = ["HOSTILE", "make_large_report", "make_report"]
