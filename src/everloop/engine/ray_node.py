"""What runs on a node of a Ray cluster: a worker process of Everloop's own, inside a task of Ray's.

Ray decides where a job runs and brings it there. What a job is promised (time limit, memory, threads, its processes killed
with it, one outcome whatever happens) is kept by the same worker processes as without Ray. When Ray ends the process that
this module is in, its workers end too.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from everloop._version import __version__
from everloop.engine.contract import PROJECT_MOVED, Failure, Job, Outcome
from everloop.engine.processes import ProcessExecutor
from everloop.engine.shipping import unpack

_pools: dict[tuple[int, str], ProcessExecutor] = {}
"""Worker processes by the cpus of their jobs and where their project is, kept for the next job."""


def host(encoded: bytes, version: str, code: bytes | None) -> tuple[bytes, bytes]:
    """Run a `Job` here; returns its `Outcome` and what it printed. `code`: its packed project, for machines without it."""
    job = msgspec.msgpack.decode(encoded, type=Job)
    if version != __version__:
        said = f"the node has Everloop {__version__}, and the run was started by Everloop {version}"
        failure = Failure("other version", said, hint="install the same version on the nodes")
        return msgspec.msgpack.encode(Outcome(job.id, "failed", 0.0, failure=failure)), b""
    moved = ""
    if code is not None and not Path(job.project).is_dir():
        moved = os.environ[PROJECT_MOVED] = f"{job.project}\n{unpack(code)}"
    place = (job.cpus, moved)
    if place not in _pools:
        _pools[place] = ProcessExecutor(job.cpus)
    pool = _pools[place]
    with tempfile.NamedTemporaryFile(prefix="everloop-log-") as log:
        try:
            pool.submit(msgspec.structs.replace(job, log=log.name))
            while not (outcomes := pool.wait(1.0)):
                pass
        except BaseException:  # cancelled: Ray itself would end our worker, and leave what that started
            pool.close()
            raise
        return msgspec.msgpack.encode(outcomes[0]), Path(log.name).read_bytes()
