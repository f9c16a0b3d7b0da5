"""Pictures of items as files of the report: drawn anew by Pillow, so that nothing of a data set's file is passed on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from harness.asking.evaluate import open_pictures
from harness.core import Example

LONGEST_SIDE = 768  # pixels; a picture is shown to be understood, not to be measured
SHARP = 256 * 256  # a picture of no more pixels is kept without loss
QUALITY = 80
AT_ONCE = 4


class Album:
    """The folder of a report's pictures: each is kept once, under a name that its pixels give it."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made with its first picture."""
        self.folder = folder
        self._known: dict[str, tuple[str, int, int]] = {}

    def add(self, examples: Sequence[Example]) -> Iterator[list[tuple[str, int, int]]]:
        """For each example, in their order, its pictures: file under the folder, width and height in pixels.

        Raises:
            UserError: naming the example, where a picture cannot be read.
        """
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            rest = iter(examples)
            while some := list(islice(rest, 64)):
                yield from pool.map(self._added, some)

    def _added(self, example: Example) -> list[tuple[str, int, int]]:
        return [self._kept(picture) for picture in open_pictures(example)]

    def _kept(self, picture: Any) -> tuple[str, int, int]:
        name = hashlib.sha256(f"{picture.mode}{picture.size}".encode() + picture.tobytes()).hexdigest()[:32]
        if name not in self._known:
            file = self.folder / name[:2] / f"{name}.webp"
            file.parent.mkdir(parents=True, exist_ok=True)
            content, width, height = drawn(picture)
            file.write_bytes(content)
            self._known[name] = (f"{name[:2]}/{name}.webp", width, height)
        return self._known[name]


def drawn(picture: Any) -> tuple[bytes, int, int]:
    """A picture as WebP with its width and height: pixels alone, no larger than the longest side."""
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    small = picture.width * picture.height <= SHARP
    target = BytesIO()
    picture.save(target, "WEBP", lossless=small, quality=QUALITY, method=2, exif=b"", icc_profile=b"", xmp=b"")
    return target.getvalue(), picture.width, picture.height


__all__ = ["Album", "drawn"]
