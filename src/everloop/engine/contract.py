"""Jobs, their outcomes, and what an executor promises."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from everloop.errors import EverloopError

TAIL = 4000
"""Bytes of a job's output that go with a failure."""


class Job(msgspec.Struct, frozen=True):
    """A call to make: ``module:function`` with `payload`, which returns bytes.

    timeout: seconds from `begun`, then the job is killed. cpus: threads its libraries may use. log: the file its output goes to.
    memory: bytes that it may use beyond what its process has when it begins. python: the interpreter to run it with, this one
    when empty. project: the folder whose code it needs, which an executor on other machines takes there. packages: the installed
    packages that its code reaches; expected: those that jobs after it may need.
    """

    id: str
    function: str
    payload: bytes
    log: str
    timeout: float | None = None
    cpus: int = 1
    memory: int | None = None
    python: str = ""
    project: str = ""
    packages: frozenset[str] = frozenset()
    expected: frozenset[str] = frozenset()


class Failure(msgspec.Struct, frozen=True):
    """Why a job failed. An exception crosses as text, because unpickling one can break the receiver.

    kind: the exception's class, or ``killed``, ``timeout``. hint: what to do, when the error knew.
    """

    kind: str
    message: str
    traceback: str = ""
    hint: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What came of a job: `result`, or `failure`. ``lost``: the machine it was on went away, through no fault of the job."""

    id: str
    status: Literal["done", "failed", "killed", "timeout", "lost"]
    seconds: float
    result: bytes = b""
    failure: Failure | None = None


class Executor(Protocol):
    """Runs jobs.

    Belongs to one thread. `submit` takes a job when `room` says so; `wait` returns finished ones. A job that dies, hangs
    or kills its process is one outcome and disturbs no other job. `close` stops whatever still runs, and all it started.
    """

    name: str

    def room(self, cpus: int) -> bool:
        """Whether a job with this many cpus would start now."""
        ...

    def submit(self, job: Job) -> None: ...

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes since the last call; waits up to `timeout` seconds for the first one."""
        ...

    def close(self) -> None: ...


PROJECT_MOVED = "EVERLOOP_PROJECT_MOVED"
"""The environment variable of a worker on another machine: the project's folder there and its folder here, on two lines."""


def here(path: str) -> str:
    """Where a file or folder of the project is on this machine, from where it was on the one that sent the job."""
    before, _, now = os.environ.get(PROJECT_MOVED, "").partition("\n")
    if now and Path(path).is_relative_to(before):
        return str(now / Path(path).relative_to(before))
    return path


STARTUP = 120.0
"""Seconds that a job may take, beyond its time limit, to import what it needs."""

announcements: list[Callable[[], None]] = []
"""Who wants to know that the real work begins: the connection of a worker process."""


def begun() -> None:
    """Called by a job's function when its real work begins: its time limit counts from here, not from importing libraries."""
    for announce in announcements:
        announce()


def resolve(name: str) -> Callable[[bytes], bytes]:
    """The function a job names."""
    module, _, attribute = name.partition(":")
    found: Callable[[bytes], bytes] = getattr(importlib.import_module(module), attribute)
    return found


def failure_of(error: BaseException) -> Failure:
    """An exception as text, without the frames of the engine."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/everloop/engine/" not in frame.filename]
    lines = traceback.format_list(own) + traceback.format_exception_only(error)
    return Failure(
        kind=type(error).__name__,
        message=_said(error),
        traceback="".join(lines),
        hint=_hint(error),
    )


def _said(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001  (the user's class: that it cannot tell what went wrong must not hide that something did)
        return f"a {type(error).__name__}, which fails to say what it is"


def _hint(error: BaseException) -> str:
    if isinstance(error, EverloopError):
        return error.hint
    if isinstance(error, ModuleNotFoundError) and error.name:
        return "install it here, or give the step packages of its own: environment=ev.environment([…])"
    return ""


def tail(log: str, limit: int = TAIL) -> str:
    """The last bytes of a job's output, from the beginning of a line."""
    path = Path(log)
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - limit))
        text = file.read().decode("utf-8", "replace")
    return text if size <= limit else text.partition("\n")[2]
