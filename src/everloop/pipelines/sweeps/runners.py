"""How trials are run: one after another in this process, or some at a time, each in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol, Self

import msgspec

from everloop.domain.runs import FAILED
from everloop.domain.sweeps import Trial
from everloop.errors import InvalidInput
from everloop.pipelines.sweeps.trying import TrialAnswer, TrialTask, Trying

PATIENCE = 10.0
"""Seconds that a trial's process gets to record that it was interrupted."""


class Runner(Protocol):
    """Runs trials. Within its block; leaving it stops those that still run."""

    def make_room(self) -> Iterator[Trial]:
        """Wait until one more can begin; gives those that have ended meanwhile."""
        ...

    def begin(self, trial: Trial) -> None: ...

    def rest(self) -> Iterator[Trial]:
        """Wait for all that still run; gives them as they end."""
        ...


class OneByOne:
    """`Runner` in this process. A trial that is begun is over when that returns."""

    def __init__(self, trying: Trying, sweep: str) -> None:
        self._trying, self._sweep = trying, sweep
        self._done: list[Trial] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._trying.executor.close()

    def make_room(self) -> Iterator[Trial]:
        done, self._done = self._done, []
        yield from done

    def begin(self, trial: Trial) -> None:
        self._done.append(self._trying.run(self._sweep, trial))

    def rest(self) -> Iterator[Trial]:
        yield from self.make_room()


class SideBySide:
    """`Runner` of some trials at a time. A process that dies is one failed trial."""

    def __init__(self, template: TrialTask, jobs: int) -> None:
        self._template, self._jobs = template, jobs
        self._waiting = ThreadPoolExecutor(jobs)
        self._folder = tempfile.TemporaryDirectory(prefix="everloop-")
        self._running: dict[Future[Trial], subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _interrupt(list(self._running.values()))
        self._waiting.shutdown()
        self._folder.cleanup()

    def make_room(self) -> Iterator[Trial]:
        while len(self._running) >= self._jobs:
            yield from self._ended()

    def begin(self, trial: Trial) -> None:
        answer = Path(self._folder.name, f"{trial.number}.json")
        process = subprocess.Popen(
            [sys.executable, "-m", "everloop.pipelines.sweeps.trying", str(answer)],
            stdin=subprocess.PIPE,  # held open: the process ends when this one does
            stdout=2,  # what a pipeline prints is not the answer of the command
            start_new_session=True,  # Ctrl-C reaches it through this process
        )
        assert process.stdin is not None
        task = msgspec.structs.replace(self._template, trial=trial)
        with contextlib.suppress(BrokenPipeError):  # it died at once: that is told when it is waited for
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            process.stdin.flush()
        self._running[self._waiting.submit(_came_out, process, answer, trial)] = process

    def rest(self) -> Iterator[Trial]:
        while self._running:
            yield from self._ended()

    def _ended(self) -> Iterator[Trial]:
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for each in done:
            del self._running[each]
        yield from sorted((each.result() for each in done), key=lambda trial: trial.number)


def _came_out(process: subprocess.Popen[bytes], answer: Path, trial: Trial) -> Trial:
    """The trial as its process left it. Raises InvalidInput with what it says when the sweep cannot go on."""
    code = process.wait()
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    if not answer.is_file():
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return msgspec.structs.replace(trial, status=FAILED, error=f"its process {how}")
    said = msgspec.json.decode(answer.read_bytes(), type=TrialAnswer)
    if said.trial is None:
        raise InvalidInput(said.message, hint=said.hint)
    return said.trial


def _interrupt(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let trials record that they were interrupted, all at the same time; the second signal stops their steps at once."""
    for _ in range(2):
        for each in processes:
            with contextlib.suppress(ProcessLookupError):
                each.send_signal(signal.SIGINT)
        until = time.monotonic() + PATIENCE / 2
        for each in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(max(0.0, until - time.monotonic()))
        processes = [each for each in processes if each.poll() is None]
    for each in processes:
        each.kill()
