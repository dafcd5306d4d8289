"""What a job may use up: how much output is kept, and how much memory it gets."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from everloop.errors import InvalidInput

KEPT_FIRST = 4 * 1024 * 1024
KEPT = 2 * KEPT_FIRST
"""Bytes of a job's output that are kept: the first half, and what was printed last."""
KEPT_LAST = 64 * 1024
LOOKS = 0.05
"""Seconds between two looks at how long the output has become."""
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def trim(path: str) -> None:
    """Shorten a log that has grown beyond `KEPT`: its beginning and its last lines stay, and a sentence says so. Who appends to
    it meanwhile goes on at its new end."""
    try:
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= KEPT:
                return
            file.seek(size - KEPT_LAST)
            last = file.read()
            file.truncate(KEPT_FIRST)
            file.seek(KEPT_FIRST)
            said = f"\n[Everloop: this job printed more than {KEPT >> 20} MB; what came in between is not kept]\n"
            file.write(said.encode() + last.partition(b"\n")[2])
    except FileNotFoundError:
        return


class LogKeeper(threading.Thread):
    """Keeps the log of the job at work short, whatever writes into it: the job, its libraries, its child processes."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="everloop-log-keeper")
        self._path = ""
        self._at_work = threading.Event()

    @contextlib.contextmanager
    def keeping(self, path: str) -> Iterator[None]:
        self._path = path
        self._at_work.set()
        try:
            yield
        finally:
            self._at_work.clear()
            trim(path)

    def run(self) -> None:
        pause = threading.Event()
        while True:
            self._at_work.wait()
            pause.wait(LOOKS)
            trim(self._path)


def bytes_of(text: str | int) -> int:
    """An amount of memory.

    >>> bytes_of("2GB"), bytes_of("512 MiB"), bytes_of(1000)
    (2000000000, 536870912, 1000)
    """
    if isinstance(text, int):
        number, unit = float(text), ""
    else:
        digits = text.strip().rstrip("BbKkMmGgTtIi ")
        unit = text.strip()[len(digits) :].strip().upper()
        try:
            number = float(digits)
        except ValueError:
            number = -1.0
    if unit not in UNITS or not 0 < number < float("inf"):
        raise InvalidInput(f"{text!r} is not an amount of memory", hint="write it like '2GB' or '512MB'")
    return int(number * UNITS[unit])


@contextlib.contextmanager
def memory_limited(limit: int | None) -> Iterator[None]:
    """Within the block this process, and each it starts, can take `limit` more bytes; beyond that Python raises MemoryError.
    Kept by Linux alone: other systems have no such limit."""
    status = Path("/proc/self/status")
    if limit is None or not status.is_file():
        yield
        return
    import resource

    taken = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmData" in line)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (taken + limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
