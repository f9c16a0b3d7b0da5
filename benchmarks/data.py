"""What official data costs: opening a set, its pictures in any order, and a walk over all of them. Two GB of disk.

    python -m benchmarks.data                    # 35,000 rows with pictures of 25 kB, some minutes on two idle cores
    python -m benchmarks.data --rows 2000        # a smaller set

The set is PathVQA's layout with synthetic photos: a few distinct ones, each row's with bytes of its own, so that no two
rows are equal. Each step runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from random import Random

from benchmarks.speed import Finding, line
from tasks.pathvqa import PATHVQA

ROWS, GROUP, DISTINCT, READS = 35_000, 100, 50, 1_000


def photos(count: int) -> list[bytes]:
    """Distinct photos of 400 x 300 as JPEG, about 25 kB each."""
    import numpy
    from PIL import Image

    rng = numpy.random.default_rng(0)
    made = []
    for _ in range(count):
        buffer = BytesIO()
        small = rng.integers(0, 255, (48, 64, 3), dtype=numpy.uint8)
        Image.fromarray(small).resize((400, 300), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=80)
        made.append(buffer.getvalue())
    return made


def write(folder: Path, rows: int) -> int:
    """The train split in one parquet file with the hub's columns; its size in bytes."""
    import pyarrow
    import pyarrow.parquet

    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", picture), ("question", pyarrow.string()), ("answer", pyarrow.string())])
    file = folder / "pathvqa" / "data" / "train-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    shown = photos(DISTINCT)
    with pyarrow.parquet.ParquetWriter(file, schema, use_dictionary=False) as writer:
        for start in range(0, rows, GROUP):
            made = [
                {
                    # A JPEG ends where it says so: bytes after that are its own and nobody's pixels.
                    "image": {"bytes": shown[n % DISTINCT] + n.to_bytes(8, "big"), "path": None},
                    "question": f"what is shown in picture {n} of this set?",
                    "answer": "yes",
                }
                for n in range(start, min(start + GROUP, rows))
            ]
            writer.write_table(pyarrow.Table.from_pylist(made, schema=schema))
    return file.stat().st_size


def opening(folder: Path) -> tuple[float, float]:
    """(seconds to load the split's texts and tell its pictures apart, peak memory in GB)."""
    start = time.perf_counter()
    PATHVQA.load("train", 10**9, folder)
    return time.perf_counter() - start, peak()


def copying(folder: Path) -> tuple[float, float]:
    """(seconds to open the first picture, which copies all to Arrow, peak memory in GB)."""
    first = PATHVQA.load("train", 10**9, folder)[0]
    start = time.perf_counter()
    first.images[0]()
    return time.perf_counter() - start, peak()


def reading(folder: Path) -> tuple[float, float]:
    """(milliseconds for a picture in random order, peak memory in GB)."""
    examples = PATHVQA.load("train", 10**9, folder)
    examples[0].images[0]()
    drawn = Random(0).sample(examples, min(READS, len(examples)))
    start = time.perf_counter()
    for example in drawn:
        example.images[0]()
    return (time.perf_counter() - start) * 1000 / len(drawn), peak()


def walking(folder: Path) -> tuple[float, float]:
    """(seconds for all pictures in a shuffled order, peak memory in GB)."""
    examples = list(PATHVQA.load("train", 10**9, folder))
    Random(1).shuffle(examples)
    start = time.perf_counter()
    for example in examples:
        example.images[0]()
    return time.perf_counter() - start, peak()


def peak() -> float:
    """The largest resident set of this process so far in GB, mapped pages of files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def alone(step: Callable[[Path], tuple[float, float]], folder: Path) -> tuple[float, float]:
    """What a step returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(step, folder).result()


def report(folder: Path, rows: int) -> list[Finding]:
    """All steps, in their order."""
    size = write(folder, rows) / 1e9
    set_of = f"{rows:,} rows, {size:.2f} GB"
    steps = (
        (opening, "opening a set", "s", None),
        (copying, "the first picture, once for a set", "s", None),
        (reading, "a picture in random order", "ms", 20.0),
        (walking, "all pictures, shuffled", "s", None),
    )
    found = []
    for step, what, unit, most in steps:
        value, memory = alone(step, folder)
        detail = f"{set_of}; peak memory {memory:.2f} GB"
        found.append(Finding(item="data", what=what, value=value, unit=unit, most=most, detail=detail))
        if step is walking:
            walk = Finding(
                item="data", what="peak memory of the walk", value=memory, unit="GB", most=1.0, detail=set_of
            )
            found.append(walk)
    return found


def main() -> None:
    """Print the report as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for finding in report(Path(folder), arguments.rows):
            print(line(finding))


if __name__ == "__main__":
    main()
