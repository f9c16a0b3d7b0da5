"""What the fingerprint of a run's data sees."""

from __future__ import annotations

import pytest
from fake_world import COINS

from harness.asking.evaluate import data_digest, pictures_digest
from harness.core import Example, replace

pytestmark = pytest.mark.usefixtures("fake_plugin")


def test_the_fingerprint_sees_every_text_and_every_pixel() -> None:
    examples = [COINS.twin("test", n) for n in range(5)]

    def fingerprint(items: list[Example], pictures: int | None = None) -> str:
        return data_digest(items, pictures_digest(items, pictures))

    first = fingerprint(examples)
    assert fingerprint(list(examples)) == first
    changes = {"question": "?", "answers": ("maybe",), "choices": ("a",), "group": "g", "id": "x", "rationale": "r"}
    for name, value in changes.items():
        assert fingerprint([*examples[:4], replace(examples[4], **{name: value})]) != first
    repainted = [*examples[:4], replace(examples[4], images=COINS.twin("test", 200).images)]
    assert fingerprint(repainted) != first
    assert fingerprint(repainted, pictures=4) == fingerprint(examples, pictures=4)
