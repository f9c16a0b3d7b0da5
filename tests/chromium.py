"""The browser that the report is tested in: one that is installed, or playwright's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = (
    "there is no Chromium to look at the report with: `apt-get install chromium`, or `playwright install chromium`,"
    " or name one in CHROMIUM"
)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium. Without one the test is skipped at home, and fails in a check of a commit."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        named = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
        path = named or driver.chromium.executable_path
        if not Path(path).exists():
            (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
        opened = driver.chromium.launch(executable_path=path, args=arguments)
        try:
            yield opened
        finally:
            opened.close()


__all__ = ["browser"]
