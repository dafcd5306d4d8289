"""Jobs in worker processes of this machine: each can be killed with all it started, and its death is one outcome."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from everloop.engine.contract import STARTUP, Failure, Job, Outcome

if TYPE_CHECKING:  # its import is for those that start a worker
    from multiprocessing.connection import Connection

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


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    lifeline: int
    cpus: int
    python: str
    end: int | None
    """Readable when the process has ended. The end of its connection does not tell: what it forked may hold that open."""
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
    which is fixed when libraries load.
    """

    name = "local"

    def __init__(self, cpus: int | None = None) -> None:
        self._cpus = cpus or os.cpu_count() or 1
        self._workers: list[_Worker] = []

    def room(self, cpus: int) -> bool:
        used = sum(each.cpus for each in self._workers if each.job is not None)
        return used == 0 or used + cpus <= self._cpus

    def submit(self, job: Job) -> None:
        worker = self._idle(job) or self._begin(job.cpus, job.python)
        worker.job, worker.begun, worker.at_work = job, time.monotonic(), False
        try:
            worker.connection.send_bytes(msgspec.msgpack.encode(job))
        except OSError:  # it died while idle: the job has not begun, so another worker takes it
            self._end(worker)
            self.submit(job)

    def wait(self, timeout: float) -> list[Outcome]:
        busy = {each.connection: each for each in self._workers if each.job is not None}
        if not busy:
            return []
        from multiprocessing import connection

        deadlines = [each.deadline for each in busy.values() if each.deadline is not None]
        if deadlines:
            timeout = max(0.0, min(timeout, min(deadlines) - time.monotonic()))
        outcomes = []
        ends = {each.end: each for each in busy.values() if each.end is not None}
        ready = set(connection.wait([*busy, *ends], timeout))
        for worker in list(busy.values()):
            if worker.connection in ready:
                outcome = self._outcome(busy.pop(worker.connection))
                outcomes += [outcome] if outcome is not None else []
            elif worker.end in ready or (worker.end is None and worker.process.poll() is not None):
                outcomes.append(self._killed(busy.pop(worker.connection)))
        now = time.monotonic()
        late = [each for each in busy.values() if each.deadline is not None and each.deadline <= now]
        return [*outcomes, *(self._timed_out(each) for each in late)]

    def close(self) -> None:
        for worker in list(self._workers):
            self._end(worker)

    def _idle(self, job: Job) -> _Worker | None:
        idle = [each for each in self._workers if each.job is None]
        for each in idle:
            if (each.cpus, each.python) == (job.cpus, job.python):
                return each
        if len(self._workers) >= self._cpus and idle:  # none fits: make room for one that does
            self._end(idle[0])
        return None

    def _begin(self, cpus: int, python: str) -> _Worker:
        from multiprocessing.connection import Connection

        ours, theirs = socket.socketpair()
        theirs_lifeline, our_lifeline = os.pipe()
        with theirs:
            process = subprocess.Popen(
                [
                    python or sys.executable,
                    "-m",
                    "everloop.engine.worker",
                    str(theirs.fileno()),
                    str(theirs_lifeline),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), theirs_lifeline),
                env=PATIENT | os.environ | dict.fromkeys(THREAD_VARIABLES, str(cpus)),
                start_new_session=True,  # its own group: it can be killed with all it started, and Ctrl-C does not reach it
            )
        os.close(theirs_lifeline)
        end = os.pidfd_open(process.pid) if sys.platform == "linux" else None
        worker = _Worker(process, Connection(ours.detach()), our_lifeline, cpus, python, end)
        self._workers.append(worker)
        return worker

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
        if worker.end is not None:
            os.close(worker.end)
        code = worker.process.wait()
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
        with contextlib.suppress(subprocess.TimeoutExpired):
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
