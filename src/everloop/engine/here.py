"""Jobs in a process that was begun for them: what a worker would have to load again is loaded here once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import msgspec

from everloop.engine.contract import Job, Outcome
from everloop.engine.inline import InlineExecutor
from everloop.engine.processes import PATIENT, THREAD_VARIABLES, ProcessExecutor


class HereExecutor:
    """`Executor` for a process that exists for one run: a retraining, a rebuild. Such a process may die with a step, as a worker
    may, and whoever began it is told.

    Jobs of one thread are done in this process, which must have been started with `environment`. What needs a process of its own
    (a time limit, a memory limit, an interpreter, more threads) gets a worker beside it. So does, with a purpose (see
    `programs.Program`), a job that comes while another waits: its worker is forked from the server that this process is of.
    """

    name = "local"

    def __init__(self, purpose: str = "") -> None:
        processors = os.cpu_count() or 1
        self._forks = bool(purpose) and processors > 1 and sys.platform == "linux"
        self._here = InlineExecutor()
        self._beside = ProcessExecutor(max(1, processors - 1), purpose)

    def room(self, cpus: int) -> bool:
        return self._beside.room(cpus) and (self._forks or self._here.room(cpus))

    def submit(self, job: Job) -> None:
        needs_own = job.cpus != 1 or job.timeout is not None or job.memory is not None or job.python
        if needs_own:
            self._beside.submit(job)
        elif self._here.room(job.cpus):
            self._beside.rest()  # a forked worker is had again quickly, its memory is not
            self._here.submit(job)
        else:
            self._beside.submit(msgspec.structs.replace(job, packages=job.packages | job.expected))

    def wait(self, timeout: float) -> list[Outcome]:
        done = self._here.wait(0.0)
        return done + self._beside.wait(0.0 if done else timeout)

    def close(self) -> None:
        self._here.close()
        self._beside.close()


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """The environment variables with which to start a process that uses a `HereExecutor`: those of a worker of one thread, and
    else those of `base`."""
    return PATIENT | dict(base) | dict.fromkeys(THREAD_VARIABLES, "1")
