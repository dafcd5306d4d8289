"""The process that forks: ``python -m everloop.engine.forks.server LISTENING``. All it does itself is to load libraries.

A process forked from it has its own identity, environment, folder, streams and random numbers; what it shares with others is code
that was loaded. It never came near the code of a project, so neither did they.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import os
import random
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

from everloop.engine.forks.requests import STREAMS, Answer, Request, receive_request, send

IDLE = 60.0
"""Seconds without a process after which the server ends."""
MINDFUL = {"jemalloc_bg_thd"}
"""Threads that see to themselves when their process forks: jemalloc's, which pyarrow brings."""
LOOK = 2.0
"""Seconds between looks at whether its address is still there: whoever made the folder removes it on leaving."""


@dataclass(eq=False)
class _Child:
    pid: int
    end: int
    """Readable when the process has ended."""
    connection: socket.socket
    session: bool


class Server:
    """Answers requests one after the other. In the server `serve` returns None, at the end of its life; in each process that is
    forked it returns what that process is to be."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._address: str = listening.getsockname()
        self._watched = selectors.DefaultSelector()
        self._watched.register(listening, selectors.EVENT_READ, None)
        self._children: set[_Child] = set()

    def serve(self) -> Request | None:
        idle_since = time.monotonic()
        while True:
            for key, _ in self._watched.select(LOOK):
                if key.data is None:
                    request = self._accept()
                    if request is not None:
                        return request
                elif key.data in self._children:
                    self._look_at(key.data, over=key.fd == key.data.end)
                idle_since = time.monotonic()
            if self._children:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > IDLE or not os.path.exists(self._address):
                self._clear_away()
                return None

    def _clear_away(self) -> None:
        """Leave no address behind, and no folder when it was the last: whoever made it may have been killed."""
        with contextlib.suppress(OSError):
            for each in (self._address, f"{self._address}.lock"):
                Path(each).unlink(missing_ok=True)
            Path(self._address).parent.rmdir()

    def _accept(self) -> Request | None:
        """Serve one who asks. Returns the request in the process that was forked for it."""
        connection, _ = self._listening.accept()
        connection.settimeout(10.0)
        try:
            received = receive_request(connection)
        except OSError:
            received = None
        if received is None:
            connection.close()
            return None
        request, descriptors = received
        refused = _load(request.libraries)
        wanted = bool(request.module) and not refused
        pid = _fork() if wanted else 0
        if wanted and pid == 0:
            self._leave(connection)
            _become(request, descriptors)
            return request
        for each in descriptors:
            os.close(each)
        with contextlib.suppress(OSError):  # when the asker has gone, the look at its connection will tell
            send(connection, Answer(refused=refused, pid=pid))
        if not wanted:
            connection.close()
            return None
        child = _Child(pid, os.pidfd_open(pid), connection, request.session)
        self._children.add(child)
        self._watched.register(child.end, selectors.EVENT_READ, child)
        self._watched.register(connection, selectors.EVENT_READ, child)
        return None

    def _look_at(self, child: _Child, *, over: bool) -> None:
        """A process has ended, or its asker wants no more of it."""
        if not over and child.session:
            os.killpg(child.pid, signal.SIGKILL)  # what it started is not to outlive it
        elif not over:
            os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        with contextlib.suppress(OSError):
            send(child.connection, Answer(code=os.waitstatus_to_exitcode(status)))
        self._children.discard(child)
        self._watched.unregister(child.end)
        self._watched.unregister(child.connection)
        _let_go(child)

    def _leave(self, connection: socket.socket) -> None:
        """In a forked process: let go of all that is the server's. Nothing is unregistered: the server goes on watching."""
        self._watched.close()
        connection.close()
        for child in self._children:
            _let_go(child)
        self._listening.close()


def _let_go(child: _Child) -> None:
    os.close(child.end)
    child.connection.close()


def _load(libraries: list[str]) -> str:
    """Load what is not loaded yet. Returns why nothing may be forked afterwards, or nothing."""
    fresh = [name for name in libraries if name not in sys.modules]
    for name in fresh:
        with contextlib.suppress(ImportError):  # who asked will meet it where it is needed
            importlib.import_module(name)
    if fresh:
        gc.collect()
        gc.freeze()  # what is here is never collected: memory that forked processes share stays shared
    threads = [each for each in Path("/proc/self/task").iterdir() if each.name != str(os.getpid())]
    others = [each for each in threads if (each / "comm").read_text().strip() not in MINDFUL]
    return f"a fork takes one thread along, and here run {len(others)} more" if others else ""


def _fork() -> int:
    with warnings.catch_warnings():
        # Newer interpreters warn of any thread at all; which ones there are has been looked at.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become(request: Request, descriptors: list[int]) -> None:
    """Take on what makes one process differ from another."""
    if request.session:
        os.setsid()
    _place(descriptors, [*range(STREAMS), *request.files])
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    os.chdir(request.folder)
    if not request.isolated:
        sys.path.insert(0, request.folder)
    sys.modules.pop(request.module, None)  # loaded for what it imports: here it runs as the program
    sys.argv = [request.module, *request.arguments]
    sys.orig_argv = [sys.executable, *(["-I"] if request.isolated else []), "-m", *sys.argv]
    # `random` sees to itself after a fork; numpy's global generator would give every process the same numbers.
    if (numbers := sys.modules.get("numpy.random")) is not None:
        numbers.seed()
    random.seed()


def _place(descriptors: list[int], numbers: list[int]) -> None:
    """Give open files these numbers. One may have come under the number that another is to have: all step aside first."""
    aside = [fcntl.fcntl(each, fcntl.F_DUPFD, max(numbers) + 1) for each in descriptors]
    for each in descriptors:
        os.close(each)
    for each, number in zip(aside, numbers, strict=True):
        os.dup2(each, number)
        os.close(each)


def main(listening: int) -> None:
    os.chdir("/")  # no folder is kept from being removed
    os.closerange(3, listening)  # nor any file of whoever began this process open
    os.closerange(listening + 1, os.sysconf("SC_OPEN_MAX"))
    with socket.socket(fileno=listening) as server:
        request = Server(server).serve()
    if request is not None:
        os._exit(_run(request.module))


def _run(module: str) -> int:
    """Run a program to its end; returns its exit code.

    An interpreter that ends takes apart all it has loaded. In a forked process that copies every page of memory it shares with
    the server: ten times what a short program takes. So only that is done which a program counts on, as `multiprocessing` does
    it: its threads end, its exit handlers run, its streams are flushed.
    """
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  (as the interpreter does it)
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code & 0xFF


if __name__ == "__main__":
    main(int(sys.argv[1]))
