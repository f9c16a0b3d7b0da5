"""What a long list of items has given so far, part by part: a kill loses the parts that were under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

from harness.core import UserError
from harness.store import disk
from harness.store.tables import Kind, from_parquet, to_parquet


class Parts(Generic[Kind]):
    """The parts of one list of records, each a file of a folder, bound to what decides them all."""

    def __init__(self, kind: type[Kind], folder: Path, bound: Mapping[str, Any]) -> None:
        """Name the folder; it is made with the first part that is kept."""
        self.kind: type[Kind] = kind
        self.folder, self.bound = folder, bound

    def all(self, count: int, make: Callable[[Sequence[int]], Iterable[Sequence[Kind]]]) -> list[Kind]:
        """The records of ``count`` parts, in order: those that are kept, and those that ``make`` gives for the others.

        ``make`` is given the numbers of the parts that are missing, and gives their records in that order. A list of
        one part is not kept here.
        """
        found: dict[int, Sequence[Kind] | None] = {number: self._kept(number, count) for number in range(count)}
        missing = [number for number, records in found.items() if records is None]
        for number, records in zip(missing, make(missing), strict=True):
            found[number] = records
            if count > 1:
                content = to_parquet(self.kind, records, self._bound(number, count))
                disk.write(self._file(number), content, derived=True)
        return [record for number in range(count) for record in found[number] or ()]

    def remove(self) -> None:
        """Drop the parts: their list is kept as a whole elsewhere."""
        disk.discard(self.folder)

    def _kept(self, number: int, count: int) -> Sequence[Kind] | None:
        """A part's records; None where it is not there, or is not what was written."""
        try:
            return from_parquet(self.kind, self._file(number), self._bound(number, count)).records
        except (FileNotFoundError, UserError):
            return None

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def _bound(self, number: int, count: int) -> dict[str, Any]:
        return {**self.bound, "part": [number, count]}


__all__ = ["Parts"]
