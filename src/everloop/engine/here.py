"""Jobs in a process that was begun for them: what a worker would have to load again is loaded here once."""

from __future__ import annotations

from collections.abc import Mapping

from everloop.engine.contract import Job, Outcome
from everloop.engine.inline import InlineExecutor
from everloop.engine.processes import PATIENT, THREAD_VARIABLES, ProcessExecutor


class HereExecutor:
    """`Executor` for a process that exists for one run: a retraining, a rebuild. Such a process may die with a step, as a worker
    may, and whoever began it is told.

    Jobs of one thread are done in this process, which must have been started with `environment`. What needs a process of its own
    (a time limit, a memory limit, an interpreter, more threads) gets a worker beside it.
    """

    name = "local"

    def __init__(self) -> None:
        self._here = InlineExecutor()
        self._beside = ProcessExecutor()

    def room(self, cpus: int) -> bool:
        return self._here.room(cpus) and self._beside.room(cpus)

    def submit(self, job: Job) -> None:
        needs_own = job.cpus != 1 or job.timeout is not None or job.memory is not None or job.python
        (self._beside if needs_own else self._here).submit(job)

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
