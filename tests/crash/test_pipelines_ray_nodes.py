"""A Ray cluster loses a node while a pipeline runs: it completes, and each step's effect happens once. Part of
``make soak-pipelines``: a cluster of three nodes takes minutes on a busy machine."""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from everloop.engine import ray_cluster
from everloop.engine.ray_cluster import RayExecutor
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace

pytestmark = [
    pytest.mark.skipif(not os.environ.get("EVERLOOP_TEST_KILLS"), reason="make soak-pipelines"),
    pytest.mark.timeout(600),
]

QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
STEPS = """
    import os, time
    import everloop as ev

    @ev.step
    def slow(number, notes):
        with open(f"{notes}/{number}-{time.monotonic_ns()}", "w") as file:
            file.write(ev.idempotency_key())
        time.sleep(4)
        return number * number

    @ev.pipeline
    def slowly(notes: str):
        return slow.map(range(6), notes=notes)
    """


def test_a_node_is_killed_under_its_steps(tmp_path: Path) -> None:
    (tmp_path / "node_steps.py").write_text(textwrap.dedent(STEPS))
    notes = tmp_path / "notes"
    notes.mkdir()
    ray_cluster.keep_private()
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": QUICK}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        doomed = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        killer = threading.Thread(target=_kill_when_at_work, args=(cluster, doomed, notes))
        killer.start()
        with LocalWorkspace(tmp_path) as workspace:
            done = workspace.room(Pipelines).run(
                "node_steps.py:slowly", {"notes": str(notes)}, executor=RayExecutor()
            )
            killer.join()
            assert done.status == "finished", done.error
            assert done.value() == [number * number for number in range(6)]
            assert all(each.attempts == 1 for each in done.steps)
            assert sum(each.status == "executed" for each in done.steps) == 6
        keys: dict[str, list[str]] = {}
        for each in notes.iterdir():
            keys.setdefault(each.name.partition("-")[0], []).append(each.read_text())
        assert sum(map(len, keys.values())) > 6  # some were cut off and began again,
        assert all(len(set(each)) == 1 for each in keys.values())  # with the key that they had
    finally:
        ray.shutdown()
        cluster.shutdown()
        sys.modules.pop("node_steps", None)


def _kill_when_at_work(cluster: Any, node: Any, notes: Path) -> None:
    deadline = time.monotonic() + 300
    while len(list(notes.iterdir())) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)
