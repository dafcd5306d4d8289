"""Jobs on a Ray cluster: on this machine, started when it is asked for, or on one that is there.

Everloop counts tries, so Ray's own are off: a job that fails has failed, and one whose node went away is `lost` and may begin
again elsewhere.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from everloop._version import __version__
from everloop.engine import ray_node
from everloop.engine.contract import Failure, Job, Outcome
from everloop.engine.shipping import pack
from everloop.errors import InvalidInput, MissingExtra, Unavailable

OBJECT_STORE = 200 * 2**20
"""Bytes of shared memory of a cluster of our own: calls and answers pass through it; data go by the workspace's store."""
QUIET = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "everloop"}
CANCEL = 10.0
"""Seconds for a node to end a job that is cancelled, before its process is ended."""
COUNTED = 5.0
"""Seconds for which the number of a cluster's processors holds: nodes come and go."""


class RayExecutor:
    """`Executor` over a Ray cluster.

    address: empty for a cluster on this machine that ends with this executor; ``auto`` or ``host:port`` for one that is there.
    A Ray that this process has begun already is used as it is. Nothing is started or connected before a job is there.
    """

    name = "ray"

    def __init__(self, address: str = "", cpus: int | None = None) -> None:
        self._address, self._cpus = address, cpus or os.cpu_count() or 1
        self._ray: Any = None
        self._ours = False
        self._host: Any = None
        self._packed: dict[str, Any] = {}
        self._running: dict[Any, tuple[Job, float]] = {}
        self._total, self._counted_at = 0, 0.0

    def room(self, cpus: int) -> bool:
        """One job more than there are processors for may wait at the cluster, so that none of them waits for us."""
        used = sum(job.cpus for job, _ in self._running.values())
        total = self._processors()
        return used == 0 or used + cpus <= total + max(1, total // 2)

    def submit(self, job: Job) -> None:
        if job.python:
            raise InvalidInput(
                "a step with an environment of its own cannot run on Ray",
                hint="use the executor 'local', or install its packages on the nodes",
            )
        self._connect()
        options: dict[str, Any] = {"num_cpus": min(job.cpus, self._processors()), "max_retries": 0}
        if job.memory is not None:
            options["memory"] = job.memory
        code = None if self._ours or not job.project else self._code(job.project)
        reference = self._host.options(**options).remote(msgspec.msgpack.encode(job), __version__, code)
        self._running[reference] = (job, time.monotonic())

    def wait(self, timeout: float) -> list[Outcome]:
        if not self._running:
            return []
        waiting = list(self._running)
        first, rest = self._ray.wait(waiting, num_returns=1, timeout=timeout)
        if not first:
            return []
        others, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0) if rest else ([], [])
        return [self._outcome(each) for each in (*first, *others)]

    def close(self) -> None:
        if self._ray is None:
            return
        left = list(self._running)
        for reference in left:  # the node's side ends the job with all it started
            self._ray.cancel(reference)
        if left:
            _, left = self._ray.wait(left, num_returns=len(left), timeout=CANCEL)
        for reference in left:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        if self._ours:
            self._ray.shutdown()
            self._ray, self._ours = None, False

    def _outcome(self, reference: Any) -> Outcome:
        job, begun = self._running.pop(reference)
        errors = self._ray.exceptions
        try:
            encoded, printed = self._ray.get(reference)
        except errors.OutOfMemoryError:
            failure = Failure(
                "killed", "its node ran out of memory", hint="declare its memory, or use larger nodes"
            )
        except errors.RayTaskError as error:
            said = (
                f"its node cannot run Everloop's workers: {error.cause if hasattr(error, 'cause') else error}"
            )
            failure = Failure("node", said, hint=f"install everloop=={__version__} on the nodes")
        except errors.RayError as error:
            said = f"its node went away ({type(error).__name__})"
            return Outcome(job.id, "lost", time.monotonic() - begun, failure=Failure("lost", said))
        else:
            if printed:
                with Path(job.log).open("ab") as log:
                    log.write(printed)
            return msgspec.msgpack.decode(encoded, type=Outcome)
        status: Any = "killed" if failure.kind == "killed" else "failed"
        return Outcome(job.id, status, time.monotonic() - begun, failure=failure)

    def _code(self, project: str) -> Any:
        """The project's code, as an object of the cluster: each node fetches it once."""
        if project not in self._packed:
            self._packed[project] = self._ray.put(pack(Path(project)))
        return self._packed[project]

    def _processors(self) -> int:
        if self._ray is None:
            return self._cpus
        if time.monotonic() - self._counted_at > COUNTED:
            self._total = max(1, int(self._ray.cluster_resources().get("CPU", 0)))
            self._counted_at = time.monotonic()
        return self._total

    def _connect(self) -> None:
        if self._ray is not None:
            return
        if not self._address:
            keep_private()
        try:
            import ray
        except ModuleNotFoundError:
            raise MissingExtra("Ray is not installed", hint="pip install 'everloop[ray]'") from None
        if not ray.is_initialized():
            if self._address:
                _join(ray, self._address)
            else:
                start(ray, self._cpus)
                self._ours = True
        self._ray, self._host = ray, ray.remote(ray_node.host)


def keep_private() -> None:
    """Before Ray is imported, which is when it reads this: what it starts listens on this machine alone (on Linux too, whatever
    the first name says), asks for a key that is made here, and reports to nobody."""
    if "ray" in sys.modules:
        return
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))


def start(ray: Any, cpus: int) -> None:
    """A cluster on this machine."""
    ray.init(
        address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=OBJECT_STORE, **QUIET
    )


def _join(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, **QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Unavailable(
            f"there is no Ray cluster at '{address}': {str(error).partition(chr(10))[0]}",
            hint="start it (ray start --head), or leave [engine] ray empty for one on this machine",
        ) from error
