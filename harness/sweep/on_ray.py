"""``--executor ray``: a Ray task for each leg, which takes the results of the legs before it as ObjectRefs.

So Ray holds the tree: it starts a leg when those before it are done, where GPUs are free, and again elsewhere when its
node dies. The dead node's command is dead too, or ends at once: its lifeline is held by the worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from harness.core import UserError
from harness.sweep.leg import LOST, NOT_BEGUN, Hear, Place, do
from harness.sweep.legs import Leg
from harness.values import cut

STORE = 80 * 2**20  # bytes of a local Ray's object store: exit codes are all that is kept there


def do_on_ray(legs: Sequence[Leg], place: Place, retries: int, hear: Hear) -> None:
    """Do all legs on the cluster that RAY_ADDRESS names or that runs here, else on a Ray of this process' own.

    Raises:
        UserError: where Ray is not installed, or its cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as fault:
        raise UserError('Ray is not installed: `pip install -c constraints.txt -e ".[sweep]"`') from fault
    began = not ray.is_initialized()
    if began:
        _connect(ray)
    try:
        _do(ray, legs, place, retries, hear)
    finally:
        if began:
            ray.shutdown()  # ends what is still at work


def _connect(ray: Any) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), **quiet)
    except ConnectionError as fault:
        if "RAY_ADDRESS" in os.environ:
            said = cut(os.environ["RAY_ADDRESS"], 80)
            raise UserError(f"no Ray cluster answers at RAY_ADDRESS={said}: start it, or unset the variable") from fault
        ray.init(include_dashboard=False, object_store_memory=STORE, **quiet)


def _do(ray: Any, legs: Sequence[Leg], place: Place, retries: int, hear: Hear) -> None:
    for name, most in (("CPU", max(leg.cpus for leg in legs)), ("GPU", max(leg.gpus for leg in legs))):
        here = max((node["Resources"].get(name, 0) for node in ray.nodes() if node["Alive"]), default=0)
        if most > here:  # a cluster may grow
            print(
                f"note: a task takes {most} {name}s, no node has more than {here:g}: it waits for one", file=sys.stderr
            )
    task = ray.remote(max_retries=retries, scheduling_strategy="SPREAD")(stage)
    refs: list[Any] = []
    for leg in legs:
        asked = task.options(num_cpus=leg.cpus, num_gpus=leg.gpus, name=leg.name)
        refs.append(asked.remote(leg, place, *(refs[before] for before in leg.after)))
    pending = dict(zip(refs, legs, strict=True))
    while pending:
        for ref in ray.wait(list(pending), timeout=1.0)[0]:
            try:
                code = ray.get(ref)
            except ray.exceptions.RayTaskError:
                raise  # a fault of ours, with its traceback
            except ray.exceptions.RayError:
                code = LOST
            hear(pending.pop(ref), code)


def stage(leg: Leg, place: Place, *before: int) -> int:
    """A leg, on the machine that Ray chose; its exit code."""
    import ray

    if any(before):
        return NOT_BEGUN
    return do(leg, place, f", Ray node {ray.get_runtime_context().get_node_id()}")


__all__ = ["do_on_ray", "stage"]
