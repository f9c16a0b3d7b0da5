"""A sweep on a Ray cluster of two nodes on this machine, one of which is killed while it trains.

Arguments: the file of the sweep, the store. Prints what it sees as JSON.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DISABLE_IMPORT_WARNING="1")
import ray
from ray.cluster_utils import Cluster
from test_kill import children_of

from harness.command.sweep import runs_of
from harness.sweep.grid import read_grid
from harness.sweep.leg import Place, last_code
from harness.sweep.legs import legs_of
from harness.sweep.on_ray import do_on_ray

MEMORY = 80 * 2**20


def step(state: Path) -> int:
    """How far a stage's training is."""
    try:
        return int(json.loads(state.read_text())["step"])
    except (OSError, ValueError):
        return 0


def main(file: Path, out: Path) -> None:
    """Begin the sweep, kill the node that is in the middle of a stage, let the sweep go on to its end."""
    head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=MEMORY) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    grid, place = read_grid(file), Place(out=out, folder=Path.cwd())
    legs = legs_of(runs_of(grid, place))
    heard: dict[str, int] = {}
    told: dict[str, object] = {"legs": [leg.name for leg in legs]}

    def kill() -> None:
        while not (busy := [path for path in out.glob("checkpoints/*/trainer/state.json") if 3 <= step(path) <= 8]):
            time.sleep(0.05)
        (log,) = [log for log in out.glob(".sweep/while-*.log") if last_code(log) is None]
        home = re.findall(r"Ray node (\w+)", log.read_text())[-1]
        node = next(node for node in nodes if node.node_id == home)
        raylet = node.all_processes["raylet"][0].process.pid
        workers = children_of(raylet)
        told.update(killed=log.stem, at=step(busy[0]))
        cluster.remove_node(node, allow_graceful=False)
        for worker in workers:  # they die with their node; here they would notice after some seconds
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    do_on_ray(legs, place, grid.retries, lambda leg, code: heard.update({leg.name: code}))
    killer.join(10)
    told["heard"] = heard
    print(json.dumps(told), flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
