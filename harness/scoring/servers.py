"""Models that a server serves: an OpenAI-compatible address per stage, in place of a folder.

What a server calls its model is not the model. Replies are kept under address and name, so a server that serves other
weights under them later would be believed: a note says so. A name that is the digest of the weights needs none.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.asking.engines import Engine
from harness.core import Scale, UserError, digest
from harness.values import cut

if TYPE_CHECKING:
    from harness.scoring.models import Model

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_address(place: str | Path) -> bool:
    """Whether a model's place is a server's address and no folder."""
    return str(place).startswith(("http://", "https://"))


def served_by(place: str) -> tuple[str, str]:
    """The address and the model's name of ADDRESS#NAME. Raises UserError where there is no name."""
    url, sign, name = place.partition("#")
    if not sign or not name:
        raise UserError(
            f"{cut(place, 100)} names no model: write ADDRESS#NAME, such as http://127.0.0.1:8000/v1#stage1"
        )
    return url, name


def weights_of_served(url: str, name: str) -> str:
    """What stands for the weights in a key: the name where it is their digest, else a digest of address and name."""
    return name if _DIGEST.fullmatch(name) else digest(["served", url, name])


def believed(stage: str, name: str) -> str:
    """The note that a server's word is believed; empty where the name is the weights' digest."""
    if _DIGEST.fullmatch(name):
        return ""
    return f"{stage} is whatever its server calls {cut(name, 60)}: after other weights are served so, use another --out"


def open_served(model: Model, scale: Scale) -> Engine:
    """The engine of a model that is served; its prompts are made with the base's tokenizer, template and processor."""
    from harness.asking.engines.endpoint import KEY, Endpoint

    url, name = served_by(model.address)
    return Endpoint(url, model.folder, scale, os.environ.get(KEY, ""), name)


__all__ = ["believed", "is_address", "open_served", "served_by", "weights_of_served"]
