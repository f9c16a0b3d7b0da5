"""``--executor local``: some legs at once on this machine, each as soon as those before it are done."""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness.outside import Outside
from harness.sweep.leg import NOT_BEGUN, Hear, Place, begin, note
from harness.sweep.legs import Leg

LISTENS = 0.2  # seconds between two looks whether a command has ended


def do_here(legs: Sequence[Leg], place: Place, workers: int, hear: Hear) -> None:
    """Do all legs, ``workers`` of them at once; whatever runs ends with this process."""
    ended: dict[int, int] = {}
    running: dict[int, Outside] = {}
    try:
        while len(ended) < len(legs):
            for number, leg in enumerate(legs):
                if number in ended or number in running or not all(before in ended for before in leg.after):
                    continue
                if any(ended[before] for before in leg.after):
                    ended[number] = NOT_BEGUN
                    hear(leg, NOT_BEGUN)
                elif len(running) < workers:
                    running[number] = begin(leg, place)
            for number in list(running):
                code = running[number].wait(0)
                if code is not None:
                    running.pop(number).close()
                    note(place.log(legs[number].run), f"ended with exit code {code}")
                    ended[number] = code
                    hear(legs[number], code)
            time.sleep(LISTENS)
    finally:
        for left in running.values():
            left.close()


__all__ = ["do_here"]
