"""A program of this package in a process of its own: begun, or run to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from everloop.engine.forks.asking import forked, load_ahead, passed_on
from everloop.engine.forks.requests import Request

MODULES = {
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "scipy": ("scipy",),
    "scikit-learn": (
        "sklearn.ensemble",
        "sklearn.linear_model",
        "sklearn.pipeline",
        "sklearn.compose",
        "skops.io",
    ),
}
"""What a fork server may load of an installed package: modules that begin no thread, open no device and read nothing of the
project. Others are loaded by the process that needs them. With scikit-learn comes what its models are stored with."""
OWN = ("msgspec", "sqlalchemy.dialects.sqlite", "pyarrow.parquet", "pyarrow.compute", "duckdb")
"""What Everloop itself needs wherever it runs. With them goes the program's own module, where it is one of this
package: what it imports is loaded once."""


@dataclass(frozen=True)
class Program:
    """``python -m module arguments…`` with these environment variables, in this folder."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    purpose: str
    """Programs of one purpose may be forked from one server. What is to be compared must not share one: two results that agree
    because one process drew the same random hashes for both agree for no good reason."""
    isolated: bool = False
    """As ``python -I``: only what is installed is found."""
    python: str = ""
    """Another interpreter than this process has."""
    packages: Iterable[str] = ()
    """The installed packages it will need. Without any it is begun from nothing."""
    files: Sequence[int] = ()
    """Open files that it gets, each under its own number."""
    session: bool = False
    """Whether it begins a session of its own: it can be killed with all it started, and Ctrl-C does not reach it."""


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code, negative for a signal, and what it printed."""

    code: int
    out: bytes
    err: bytes


def run(
    program: Program, *, timeout: float | None = None, meanwhile: Callable[[], None] | None = None
) -> Ended:
    """Run a program to its end; `meanwhile` is called while it works. Raises TimeoutError after so many seconds, when it has been
    ended."""
    with (
        open("/dev/null", "rb") as nothing,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        process = begin(program, [each.fileno() for each in (nothing, out, err)])
        try:
            if meanwhile is not None:
                meanwhile()
            code = process.wait(timeout)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return Ended(code, out.read(), err.read())


class Process(Protocol):
    """A program that was begun."""

    @property
    def pid(self) -> int: ...

    @property
    def end(self) -> int | None:
        """A descriptor that is readable when it has ended, where there is one."""
        ...

    def poll(self) -> int | None:
        """How it ended, as in `subprocess`; None while it runs."""
        ...

    def wait(self, timeout: float | None) -> int:
        """How it ended. Raises TimeoutError when it has not after so many seconds."""
        ...

    def kill(self) -> None:
        """End it if it runs, and let go of it."""
        ...


class _FromNothing:
    """A process that was begun as any program is."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.end = os.pidfd_open(process.pid) if sys.platform == "linux" else None

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float | None) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        if self.end is not None:
            os.close(self.end)
            self.end = None


def begin(program: Program, streams: Sequence[int]) -> Process:
    """Begin a program with these open files as its standard input, output and error; 1 and 2 are this process's own."""
    if modules(program.packages) and program.python in {"", sys.executable}:
        found = forked(_request(program), [*streams, *program.files], program.purpose)
        if found is not None:
            return found
    return _FromNothing(
        subprocess.Popen(
            [
                program.python or sys.executable,
                *(["-I"] if program.isolated else []),
                "-m",
                program.module,
                *program.arguments,
            ],
            cwd=program.folder,
            env=dict(program.environment),
            stdin=streams[0],
            stdout=None if streams[1] == 1 else streams[1],
            stderr=None if streams[2] == 2 else streams[2],
            pass_fds=program.files,
            start_new_session=program.session,
        )
    )


def expect(program: Program) -> None:
    """Let the libraries of a program that may be begun later be loaded meanwhile, if it would be forked."""
    if modules(program.packages) and program.python in {"", sys.executable}:
        load_ahead(msgspec.structs.replace(_request(program), module="", files=[]), program.purpose)


def modules(packages: Iterable[str]) -> list[str]:
    """What a fork server loads for who needs these packages.

    >>> modules(["pandas", "somebody-elses"])
    ['pandas']
    """
    return [module for package in packages for module in MODULES.get(package, ())]


def _request(program: Program) -> Request:
    environment = dict(program.environment) | ({} if program.isolated else passed_on())
    own = [program.module] if _ours(program.module) else []
    return Request(
        program.module,
        list(program.arguments),
        environment,
        str(program.folder),
        program.isolated,
        [*OWN, *modules(program.packages), *own],
        list(program.files),
        program.session,
    )


def _ours(module: str) -> bool:
    """Whether a program is one of this package: the code of a project is never loaded where others are forked from."""
    return module.partition(".")[0] == __name__.partition(".")[0]
