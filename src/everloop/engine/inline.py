"""Jobs in this process, one after another: nothing to start, nothing to cross, but nothing that can be killed either."""

from __future__ import annotations

import contextlib
import io
import time
from collections import deque
from typing import TextIO

from everloop.engine.contract import Job, Outcome, failure_of, resolve
from everloop.engine.limits import trim
from everloop.errors import InvalidInput


class InlineExecutor:
    """`Executor` in this process. Output of a job goes to its log, as far as Python prints it."""

    name = "inline"

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()

    def room(self, cpus: int) -> bool:
        return not self._waiting

    def submit(self, job: Job) -> None:
        if job.timeout is not None:
            raise InvalidInput(
                "a step with a time limit cannot run in this process: nothing could stop it",
                hint="use the executor 'local'",
            )
        if job.python:
            raise InvalidInput(
                "a step with an environment of its own cannot run in this process",
                hint="use the executor 'local'",
            )
        self._waiting.append(job)

    def wait(self, timeout: float) -> list[Outcome]:
        if not self._waiting:
            return []
        job = self._waiting.popleft()
        begun = time.perf_counter()
        try:
            with (
                contextlib.closing(_Log(job.log)) as log,
                contextlib.redirect_stdout(log),
                contextlib.redirect_stderr(log),
            ):
                result = resolve(job.function)(job.payload)
        except Exception as error:  # noqa: BLE001  (the job is the user's code: whatever it raises is its outcome)
            return [Outcome(job.id, "failed", time.perf_counter() - begun, failure=failure_of(error))]
        finally:
            trim(job.log)
        return [Outcome(job.id, "done", time.perf_counter() - begun, result)]

    def close(self) -> None:
        self._waiting.clear()


class _Log(io.TextIOBase):
    """A log that is made when the first thing is written: most small jobs print nothing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: TextIO | None = None

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._file is None:
            self._file = open(self._path, "a", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115 (closed by close)
        return self._file.write(text)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def fileno(self) -> int:
        self.write("")
        assert self._file is not None
        return self._file.fileno()

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None  # closing the base flushes once more
            file.close()
        super().close()
