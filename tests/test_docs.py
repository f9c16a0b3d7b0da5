"""The documentation site: it builds without a warning, its reference is the code's, its runnable blocks run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RUNNABLE = re.compile(r"<!-- runnable -->\n```[a-z]*\n(.*?)```", re.DOTALL)
PAGES = sorted(page for page in DOCS.rglob("*.md") if RUNNABLE.search(page.read_text()))


def generator() -> dict[str, object]:
    """What docs/generate.py defines; it is a script beside the pages, no package."""
    import runpy

    return runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("name", sorted(generator()["PAGES"]))  # type: ignore[call-overload]
def test_the_reference_is_what_the_code_says(name: str) -> None:
    wanted = generator()["PAGES"][name]()  # type: ignore[index]
    assert (DOCS / "reference" / name).read_text() == wanted, "run `python docs/generate.py`"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))  # and one for what is not found
    for page in pages:
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?:https?:)?//", page.read_text()), page


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_runnable_blocks_of_a_page_run_in_their_order(page: Path, tmp_path: Path) -> None:
    commands = [line for block in RUNNABLE.findall(page.read_text()) for line in block.splitlines() if line.strip()]
    assert commands
    here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env={**os.environ, **here}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
