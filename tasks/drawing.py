"""What the twins draw with: a 48 x 48 canvas, colours, fonts, clutter. Scenes are tuples, painting a pure function."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

SIDE = 48
COLOURS = {
    "red": (215, 40, 40),
    "green": (40, 160, 60),
    "blue": (45, 85, 215),
    "yellow": (240, 205, 40),
    "purple": (145, 60, 175),
    "orange": (240, 135, 30),
    "gray": (130, 130, 130),
    "black": (25, 25, 25),
}
PAPER = ((250, 250, 248), (240, 240, 232), (228, 236, 240), (238, 230, 222))
FONTS = ("DejaVuSans-Bold", "DejaVuSans", "DejaVuSerif-Bold", "DejaVuSansMono-Bold")


@cache
def font(name: str, size: int) -> Any:
    """A font that ships with matplotlib, so that pictures are the same on every machine."""
    import importlib.util

    from PIL import ImageFont

    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("matplotlib, whose fonts the twins draw with, is not installed")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"{name}.ttf"), size)


def canvas(paper: int) -> tuple[Any, Any]:
    """An empty picture and its pen. ``paper`` picks the background."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (SIDE, SIDE), PAPER[paper % len(PAPER)])
    return picture, ImageDraw.Draw(picture)


def speckle(pen: Any, seed: int, dots: int) -> None:
    """Clutter: faint dots at places that ``seed`` fixes."""
    rng = Random(seed)
    for _ in range(dots):
        x, y, shade = rng.randrange(SIDE), rng.randrange(SIDE), rng.randrange(170, 215)
        pen.point((x, y), fill=(shade, shade, shade))


def centred(pen: Any, xy: tuple[float, float], text: str, face: str, size: int, fill: tuple[int, int, int]) -> None:
    """Text with its middle at ``xy``."""
    pen.text(xy, text, font=font(face, size), fill=fill, anchor="mm")


def shape(pen: Any, kind: str, xy: tuple[float, float], r: float, fill: tuple[int, int, int]) -> None:
    """A filled circle, square, triangle, diamond, cross or ring of radius ``r`` around ``xy``."""
    x, y = xy
    if kind == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif kind == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=fill)
    elif kind == "triangle":
        pen.polygon(((x, y - r), (x - r, y + r), (x + r, y + r)), fill=fill)
    elif kind == "diamond":
        pen.polygon(((x, y - r), (x + r, y), (x, y + r), (x - r, y)), fill=fill)
    elif kind == "cross":
        pen.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=fill)
        pen.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=fill)
    elif kind == "ring":
        pen.ellipse((x - r, y - r, x + r, y + r), outline=fill, width=max(2, int(r / 2.5)))
    else:
        raise ValueError(f"no shape named {kind}")
