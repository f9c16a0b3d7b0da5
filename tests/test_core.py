"""The chat turn: where pictures stand."""

from __future__ import annotations

import pytest

from harness.core import UserError, messages


def kinds(text: str, images: int) -> list[str]:
    return [part["type"] for part in messages(text, images)[0]["content"]]


def test_pictures_stand_at_their_first_mark() -> None:
    assert kinds("<image 1> is like <image 2> , is <image 1> red?", 2) == ["image", "text", "image", "text"]
    assert messages("a <image 1> b <image 1>", 1)[0]["content"][2] == {"type": "text", "text": " b <image 1>"}


def test_pictures_without_a_mark_come_first() -> None:
    assert kinds("what?", 2) == ["image", "image", "text"]
    assert kinds("see <image 2> .", 2) == ["image", "text", "image", "text"]


def test_a_mark_without_a_picture_is_text() -> None:
    assert kinds("see <image 3> .", 1) == ["image", "text"]
    assert kinds("see <image 1> .", 0) == ["text"]


@pytest.mark.parametrize(("text", "images"), [("<image 2> or <image 1> ?", 2), ("only <image 1> ?", 2)])
def test_marks_out_of_order_are_refused(text: str, images: int) -> None:
    with pytest.raises(UserError, match="as first mentioned"):
        messages(text, images)
