"""A program of this package, run to its end in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from everloop.engine.forks.asking import forked, passed_on
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
        process = _begun(program, nothing, out, err)
        try:
            if meanwhile is not None:
                meanwhile()
            code = process.wait(timeout)
        finally:
            process.kill()
        return Ended(code, _all(out), _all(err))


class _Process(Protocol):
    def wait(self, timeout: float | None) -> int: ...
    def kill(self) -> None: ...


class _FromNothing:
    """A process that was begun as any program is."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait(self, timeout: float | None) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _begun(program: Program, nothing: IO[bytes], out: IO[bytes], err: IO[bytes]) -> _Process:
    modules = [module for package in program.packages for module in MODULES.get(package, ())]
    if modules and program.python in {"", sys.executable}:
        environment = dict(program.environment) | ({} if program.isolated else passed_on())
        request = Request(
            program.module,
            list(program.arguments),
            environment,
            str(program.folder),
            program.isolated,
            [*OWN, *modules, *([program.module] if _ours(program.module) else [])],
        )
        found = forked(request, [nothing.fileno(), out.fileno(), err.fileno()], program.purpose)
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
            stdin=nothing,
            stdout=out,
            stderr=err,
        )
    )


def _ours(module: str) -> bool:
    """Whether a program is one of this package: the code of a project is never loaded where others are forked from."""
    return module.partition(".")[0] == __name__.partition(".")[0]


def _all(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
