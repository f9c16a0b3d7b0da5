"""A task of your own in one file: count the dots. Use it with `--plugin examples/my_task.py --seq dots`."""

from random import Random

from harness.core import Example, Stream, Task
from tasks.drawing import COLOURS, canvas, shape
from tasks.scoring import exact_match
from tasks.twins import Draft, generate


def world(rng: Random, split: str, slot: int) -> Draft:
    """Two to five places of a 3 x 3 grid get a dot."""
    places = tuple(sorted(rng.sample(range(9), rng.randint(2, 5))))
    scene = (places, rng.choice(("red", "blue")), rng.randint(4, 6))
    return Draft(question="How many dots are there?", answers=(str(len(places)),), scenes=(scene,))


def paint(scene):
    """The dots as a 48 x 48 RGB picture."""
    picture, pen = canvas(0)
    places, colour, radius = scene
    for place in places:
        shape(pen, "circle", (8 + 16 * (place % 3), 8 + 16 * (place // 3)), radius, COLOURS[colour])
    return picture


def twin(split: str, index: int) -> Example:
    """Item ``index`` of a split."""
    return generate("dots", world, paint, split, index)


DOTS = Task(
    name="dots",
    version=1,
    cite="your paper",
    licence="Apache-2.0",
    suffix="Answer the question using a single word or phrase.",
    score=exact_match,
    twin=twin,
)
STREAM = Stream(name="dots", tasks=("dots", "gqa"), epochs={"dots": 1, "gqa": 1}, general=("pope",))
