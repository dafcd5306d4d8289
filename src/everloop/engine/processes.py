"""Jobs in worker processes of this machine: each can be killed with all it started, and its death is one outcome."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.engine.contract import STARTUP, Failure, Job, Outcome

if TYPE_CHECKING:  # its import is for those that start a worker
    from multiprocessing.connection import Connection

    from everloop.engine.forks import programs

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)

PATIENT = {"GOMP_SPINCOUNT": "10000"}
"""How long threads of OpenMP (GNU's, which scikit-learn brings) spin before they sleep. Left alone they spin for
milliseconds: with anything else on the same processors, a prediction server or another step, a fit of 1.1 s takes 8.7 s; not
spinning at all takes 4.6 s. So many rounds are 1.1 s alone and 2.8 s beside two busy processes (two cores, histogram gradient
boosting, 58,000 rows)."""

SLOW = frozenset({"pandas", "scipy", "scikit-learn"})
"""Packages that take longer to load than a fork server takes to begin."""
FIRST = frozenset({"numpy"})
"""What each of them loads first."""


@dataclass(eq=False)
class _Worker:
    process: programs.Process
    connection: Connection
    lifeline: int
    cpus: int
    python: str
    packages: set[str] = field(default_factory=set)
    """Slow ones that it has loaded."""
    job: Job | None = None
    begun: float = 0.0
    at_work: bool = False

    @property
    def deadline(self) -> float | None:
        if self.job is None or self.job.timeout is None:
            return None
        return self.begun + self.job.timeout + (0.0 if self.at_work else STARTUP)


class ProcessExecutor:
    """`Executor` over worker processes, as many as this machine has processors.

    Workers are started when a job needs one and used again for jobs with the same interpreter and the same number of threads,
    which is fixed when libraries load. With a purpose (see `programs.Program`) a job that needs slow packages gets a worker
    forked from a server that has them loaded. A job that lets expect them has that server begun: its own worker is forked before
    the server loads them, and it loads them meanwhile.
    """

    name = "local"

    def __init__(self, cpus: int | None = None, purpose: str = "") -> None:
        self._cpus = cpus or os.cpu_count() or 1
        self._workers: list[_Worker] = []
        self._purpose = purpose
        self._expected: set[tuple[int, frozenset[str]]] = set()
        self._to_load: list[programs.Program] = []
        self._loading = False

    def room(self, cpus: int) -> bool:
        used = sum(each.cpus for each in self._workers if each.job is not None)
        return used == 0 or used + cpus <= self._cpus

    def submit(self, job: Job) -> None:
        worker = self._idle(job) or self._begin(job)
        worker.job, worker.begun, worker.at_work = job, time.monotonic(), False
        worker.packages |= self._slow(job.packages, job)
        try:
            worker.connection.send_bytes(msgspec.msgpack.encode(job))
        except OSError:  # it died while idle: the job has not begun, so another worker takes it
            self._end(worker)
            self.submit(job)

    def wait(self, timeout: float) -> list[Outcome]:
        self._let_load()
        busy = {each.connection: each for each in self._workers if each.job is not None}
        if not busy:
            return []
        from multiprocessing import connection

        deadlines = [each.deadline for each in busy.values() if each.deadline is not None]
        if deadlines:
            timeout = max(0.0, min(timeout, min(deadlines) - time.monotonic()))
        outcomes = []
        # The end of its connection does not tell that a process has ended: what it forked may hold that open.
        ends = {each.process.end: each for each in busy.values() if each.process.end is not None}
        ready = set(connection.wait([*busy, *ends], timeout))
        for worker in list(busy.values()):
            if worker.connection in ready:
                outcome = self._outcome(busy.pop(worker.connection))
                outcomes += [outcome] if outcome is not None else []
            elif worker.process.end in ready or (
                worker.process.end is None and worker.process.poll() is not None
            ):
                outcomes.append(self._killed(busy.pop(worker.connection)))
        now = time.monotonic()
        late = [each for each in busy.values() if each.deadline is not None and each.deadline <= now]
        return [*outcomes, *(self._timed_out(each) for each in late)]

    def close(self) -> None:
        for worker in list(self._workers):
            self._end(worker)

    def rest(self) -> None:
        """Let workers without a job go."""
        for worker in [each for each in self._workers if each.job is None]:
            self._end(worker)

    def _slow(self, packages: frozenset[str], job: Job) -> frozenset[str]:
        """Those for which a worker of this job is forked, where it can be."""
        return packages & SLOW if self._purpose and not job.python else frozenset()

    def _idle(self, job: Job) -> _Worker | None:
        idle = [each for each in self._workers if each.job is None]
        needed = self._slow(job.packages, job)
        fit = [each for each in idle if (each.cpus, each.python) == (job.cpus, job.python)]
        if able := [each for each in fit if needed <= each.packages]:
            # What a job is given may need more than its own code does: rather one that has loaded much.
            return max(able, key=lambda each: len(each.packages))
        if len(self._workers) >= self._cpus and idle:  # none fits: make room for one that does
            self._end(idle[0])
        return None

    def _begin(self, job: Job) -> _Worker:
        # Only here: a run whose steps are all cached begins nothing, and imports nothing for it.
        from multiprocessing.connection import Connection

        from everloop.engine.forks import programs

        ours, theirs = socket.socketpair()
        theirs_lifeline, our_lifeline = os.pipe()
        with theirs, open(os.devnull, "rb") as nothing:
            files = (theirs.fileno(), theirs_lifeline)
            program = programs.Program(
                "everloop.engine.worker",
                [str(each) for each in files],
                PATIENT | os.environ | dict.fromkeys(THREAD_VARIABLES, str(job.cpus)),
                Path.cwd(),
                self._purpose,
                python=job.python,
                packages=self._loaded_first(job),
                files=files,
                session=True,  # its own group: it can be killed with all it started, and Ctrl-C does not reach it
            )
            self._expect(program, job)
            process = programs.begin(program, [nothing.fileno(), 1, 2])
        os.close(theirs_lifeline)
        worker = _Worker(process, Connection(ours.detach()), our_lifeline, job.cpus, job.python)
        self._workers.append(worker)
        return worker

    def _loaded_first(self, job: Job) -> frozenset[str]:
        """What the server that a job's worker is forked from loads before; nothing for a worker begun from nothing."""
        slow = self._slow(job.packages, job)
        if slow:
            self._loading = False  # when this worker is there, they are loaded
        elif self._slow(job.expected, job) and not self._loading:
            return FIRST
        return slow

    def _expect(self, program: programs.Program, job: Job) -> None:
        """Note what jobs to come will need."""
        expected = self._slow(job.expected, job)
        if expected and (job.cpus, expected) not in self._expected:
            self._expected.add((job.cpus, expected))
            self._to_load.append(replace(program, packages=expected))

    def _let_load(self) -> None:
        """Let servers load what is expected, now that the jobs at hand have their workers: while one loads, it forks nothing."""
        while self._to_load:
            from everloop.engine.forks import programs

            programs.expect(self._to_load.pop())
            self._loading = True

    def _end(self, worker: _Worker) -> int:
        """Kill a worker and all it started; returns how it ended."""
        self._workers.remove(worker)
        gone = worker.process.poll()
        if gone is None and worker.job is not None:
            _kill_with_sessions(worker.process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.connection.close()
        os.close(worker.lifeline)
        code = worker.process.wait(None)
        worker.process.kill()
        return code if gone is None else gone

    def _outcome(self, worker: _Worker) -> Outcome | None:
        """What a worker has to say: its outcome, or (None) that the real work begins."""
        job = worker.job
        assert job is not None
        try:
            said = worker.connection.recv_bytes()
        except (EOFError, OSError):
            return self._killed(worker)
        if not said:
            worker.begun, worker.at_work = time.monotonic(), True
            return None
        worker.job = None
        return msgspec.msgpack.decode(said, type=Outcome)

    def _killed(self, worker: _Worker) -> Outcome:
        job = worker.job
        assert job is not None
        with contextlib.suppress(TimeoutError):
            worker.process.wait(1.0)
        seconds = time.monotonic() - worker.begun
        return Outcome(job.id, "killed", seconds, failure=Failure("killed", _how(self._end(worker))))

    def _timed_out(self, worker: _Worker) -> Outcome:
        job = worker.job
        assert job is not None
        seconds = time.monotonic() - worker.begun
        self._end(worker)
        failure = Failure("timeout", f"it took longer than {job.timeout:g} seconds and was stopped")
        return Outcome(job.id, "timeout", seconds, failure=failure)


def _kill_with_sessions(process: int) -> None:
    """Kill a process and all that it started and that still lives, those that have begun a session of their own too."""
    import psutil

    try:
        root = psutil.Process(process)
        for each in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                each.kill()
    except psutil.Error:  # gone meanwhile: its group is killed all the same
        return


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its process was killed by {name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
