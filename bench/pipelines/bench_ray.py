"""200 steps of 50 ms on a Ray cluster of two nodes with a processor each, beside two worker processes. Goal: at most 20 % more,
after the start.

    python bench/pipelines/bench_ray.py [--steps 200] [--rounds 3]

Both work at their figures in turns, and both are warm; the start of either is said apart.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path

from everloop.engine import ray_cluster
from everloop.engine.contract import Executor
from everloop.engine.processes import ProcessExecutor
from everloop.engine.ray_cluster import RayExecutor
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace

STEPS = """
import time
import everloop as ev

@ev.step
def nap(i):
    time.sleep(0.05)
    return i

@ev.pipeline
def naps(salt: int, count: int):
    return nap.map(range(salt, salt + count))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    begun = time.perf_counter()
    ray_cluster.keep_private()
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    print(f"start of the cluster: {time.perf_counter() - begun:.1f} s")
    found: dict[str, list[float]] = {"pool": [], "ray": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "napping.py").write_text(STEPS)
        with LocalWorkspace(folder) as workspace:
            room = workspace.room(Pipelines)
            executors: dict[str, Executor] = {"pool": ProcessExecutor(2), "ray": RayExecutor()}
            salt = 0
            for number in range(given.rounds + 1):
                for name, executor in executors.items():
                    salt += 100_000
                    count = given.steps if number else 8  # the first round warms up
                    begun = time.perf_counter()
                    done = room.run("napping.py:naps", {"salt": salt, "count": count}, executor=executor)
                    seconds = time.perf_counter() - begun
                    assert done.executed == count, done.error
                    found[name] += [seconds] if number else []
            for executor in executors.values():
                executor.close()
    ray.shutdown()
    cluster.shutdown()
    floor = given.steps * 0.05 / 2
    for name, rounds in found.items():
        print(f"{name}: {statistics.median(rounds):.2f} s (asleep {floor:.2f} s)")
    print(
        f"ray / pool: {statistics.median(r / p for r, p in zip(found['ray'], found['pool'], strict=True)):.2f}"
    )


if __name__ == "__main__":
    main()
