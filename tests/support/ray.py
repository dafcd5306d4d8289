"""A Ray cluster on this machine for tests: two processors, one a session; executors attach to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A Ray that this process has begun: `RayExecutor` uses it as it is. It starts when the first test asks for it (5-20 s)."""
    from everloop.engine import ray_cluster

    before = dict(os.environ)
    ray_cluster.keep_private()
    ray = pytest.importorskip("ray", reason="needs the extra 'ray'")
    ray_cluster.start(ray, 2)
    try:
        yield
    finally:
        ray.shutdown()
        for name in [name for name in os.environ if name.startswith("RAY_") and name not in before]:
            del os.environ[name]
