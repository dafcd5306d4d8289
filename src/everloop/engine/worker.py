"""What a worker process runs: jobs from its connection, one after another, until the connection closes.

It is started as a program of its own, not forked: nothing of the parent's threads and locks comes along, a script without a
``__main__`` guard is not run again, and thread settings are there before any library loads. When the parent dies, so does it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

import msgspec

from everloop.engine.contract import Failure, Job, Outcome, announcements, failure_of, here, resolve
from everloop.engine.limits import LogKeeper, memory_limited


def main(connection_number: int, lifeline: int) -> None:
    """Serve one parent."""
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()
    connection = Connection(connection_number)
    timed = False

    def announce() -> None:
        if timed:  # nobody else needs to know, and each message wakes the parent
            connection.send_bytes(b"")

    announcements.append(announce)
    keeper = LogKeeper()
    keeper.start()
    output = _Output()
    own = os.getpid()
    while True:
        try:
            job = msgspec.msgpack.decode(connection.recv_bytes(), type=Job)
        except EOFError:
            return
        timed = job.timeout is not None
        output.go_to(job.log)
        with keeper.keeping(job.log):
            outcome = _run(job)
        if os.getpid() != own:  # the job forked and its child came back: the answer is the parent's to give
            os._exit(0)
        connection.send_bytes(msgspec.msgpack.encode(outcome))


class _Output:
    """Where this process prints. A log that nothing was printed into becomes the next job's: a new file takes longer than many a
    small job."""

    def __init__(self) -> None:
        self._path, self._file = "", -1

    def go_to(self, path: str) -> None:
        """Print into this file from now on, whatever the last job did with its own output."""
        if not self._renamed(path):
            if self._path:
                os.close(self._file)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._path = path
        os.dup2(self._file, 1)
        os.dup2(self._file, 2)

    def _renamed(self, path: str) -> bool:
        if not self._path or os.fstat(self._file).st_size or os.path.exists(path):
            return False
        try:
            os.rename(self._path, path)
        except OSError:  # its folder went with the pipeline's last run, or this one's is on another disk
            return False
        return True


def _run(job: Job) -> Outcome:
    begun = time.perf_counter()
    try:
        if job.project and (project := here(job.project)) not in sys.path:
            sys.path.append(project)
        function = resolve(job.function)
        with memory_limited(job.memory):
            result = function(job.payload)
    except MemoryError as error:
        return Outcome(job.id, "failed", time.perf_counter() - begun, failure=_out_of_memory(job, error))
    except SystemExit as error:
        failure = msgspec.structs.replace(failure_of(error), message=f"it called sys.exit({error.code!r})")
        return Outcome(job.id, "failed", time.perf_counter() - begun, failure=failure)
    except Exception as error:  # noqa: BLE001  (the job is the user's code: whatever it raises is its outcome)
        return Outcome(job.id, "failed", time.perf_counter() - begun, failure=failure_of(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return Outcome(job.id, "done", time.perf_counter() - begun, result)


def _out_of_memory(job: Job, error: MemoryError) -> Failure:
    found = failure_of(error)
    if job.memory is None:
        return found
    wanted = f"it needs more than the {job.memory / 1e9:g} GB of memory it declares"
    said = wanted if not str(error) else f"{wanted}: {error}"
    return msgspec.structs.replace(found, message=said, hint="declare more, or work on less at a time")


def _die_with_parent(lifeline: int) -> None:
    """The other end of this pipe is held by the parent alone: it ends when the parent does, however that ends."""
    os.read(lifeline, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
