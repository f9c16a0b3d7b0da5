"""A picture as it is handed to a model elsewhere: the pixels that the processor here sees, and nothing beside them."""

from __future__ import annotations

import base64
import io
from typing import Any


def plain_picture(picture: Any) -> Any:
    """A picture's pixels in RGB as the processor here converts them, without what its file said beside them.

    vLLM puts transparent pictures on white where transformers drops the transparency, and turns pictures as their EXIF
    says where transformers does not.
    """
    plain = picture.convert("RGB") if picture.mode != "RGB" else picture.copy()
    plain.info.clear()
    plain.getexif().clear()
    return plain


def data_url(picture: Any) -> str:
    """A picture as a PNG in a data URL: without loss, for a JPEG would change the pixels that a model sees."""
    box = io.BytesIO()
    plain_picture(picture).save(box, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(box.getvalue()).decode("ascii")
