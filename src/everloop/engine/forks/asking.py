"""Finds a fork server that fits a program, begins one if need be, and asks it for a process.

Servers are found by their addresses in a folder of this process and all that it begins. A server fits when it was begun for
the same purpose, with the same interpreter and installed packages, and with the same of those variables that are read while
libraries load.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import select
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from everloop.engine.forks.requests import Request, receive_answer, send

FOLDER = "EVERLOOP_FORKS"
"""Names, to processes begun from here, the folder with the addresses of fork servers."""

_AT_LOADING = (
    *("PYTHON", "LD_", "MALLOC_", "LC_", "LANG"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "RAYON_", "POLARS_"),
    *("NPY_", "NUMPY_", "SCIPY_", "SKLEARN_", "ARROW_", "JOBLIB_"),
)
"""How the names of variables begin that the interpreter or a library reads while it loads: later they come too late."""
_INDIFFERENT = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK"}
"""Of those, the ones with which nothing comes out otherwise; the last two scikit-learn sets wherever it is loaded."""


class Forked:
    """A process that a fork server has begun."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        self._connection = connection
        self._code: int | None = None

    @property
    def end(self) -> int:
        """Readable when the process has ended, or the server has."""
        return self._connection.fileno()

    def poll(self) -> int | None:
        """How it ended, as in `subprocess`; None while it runs."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def wait(self, timeout: float | None) -> int:
        """How it ended, as in `subprocess`. Raises TimeoutError when it has not after so many seconds."""
        if self._code is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise TimeoutError
            answer = receive_answer(self._connection)
            self._code = -signal.SIGKILL if answer is None or answer.code is None else answer.code
        return self._code

    def kill(self) -> None:
        """End it if it runs, and let go of it."""
        self._connection.close()


def forked(request: Request, streams: list[int], purpose: str) -> Forked | None:
    """A process as asked for. None when it cannot be had this way: the caller begins one from nothing."""
    if sys.platform != "linux":  # elsewhere system libraries do not survive a fork
        return None
    for _ in range(2):  # a server may end at the very moment it is asked
        with suppress(OSError):
            connection = _connected(request, purpose)
            try:
                send(connection, request, streams)
                answer = receive_answer(connection)
            except OSError:
                connection.close()
                raise
            if answer is not None and not answer.refused:
                return Forked(connection, answer.pid)
            connection.close()
            if answer is not None:
                return None
    return None


def load_ahead(request: Request, purpose: str) -> None:
    """Let a server load the libraries of a request to come, and do not wait for it."""
    if sys.platform == "linux":
        with suppress(OSError), _connected(request, purpose) as connection:
            send(connection, request)


def _connected(request: Request, purpose: str) -> socket.socket:
    """A connection to a server that fits, which is begun if there is none."""
    folder = _folder()
    address = str(folder / _fitting(request, purpose))
    try:
        return _connect(address)
    except OSError:
        pass
    with open(f"{address}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may want the same at this moment
        try:
            return _connect(address)
        except OSError:
            _begin_server(address, request)
        return _connect(address)


def _connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


_begun: set[int] = set()
"""The servers that this process began."""


def _begin_server(address: str, request: Request) -> None:
    _take_note()
    with suppress(FileNotFoundError):
        os.unlink(address)  # of one that is no more
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(address)
        listening.listen()
        listening.set_inheritable(True)
        program = [sys.executable, *_isolated(request), "-m", "everloop.engine.forks.server"]
        # Not a `Popen`: the server may outlive this process, and nobody waits for it.
        pid = os.posix_spawn(
            sys.executable,
            [*program, str(listening.fileno())],
            request.environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, each, os.devnull, os.O_RDWR, 0) for each in (0, 1, 2)],
            setsid=True,  # Ctrl-C is for those who wait for a process, and they end it
        )
    _begun.add(pid)


def _take_note() -> None:
    """Of servers that have ended: the system keeps a place for each until whoever began it does."""
    for pid in list(_begun):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody waits for any child
            ended = pid
        if ended:
            _begun.discard(pid)


def _isolated(request: Request) -> list[str]:
    """What the interpreter of a server is told: never to look for modules in a folder it happens to be in, and for a program that
    sees only what is installed, to see no more."""
    return ["-I"] if request.isolated or _sees_no_more(request.environment) else ["-P"]


def _sees_no_more(environment: Mapping[str, str]) -> bool:
    """Whether an isolated interpreter finds the same modules."""
    import site

    own = site.getusersitepackages()
    told = {name for name in environment if name.startswith("PYTHON")}
    return own not in sys.path and told <= _INDIFFERENT


def _fitting(request: Request, purpose: str) -> str:
    """Equal for requests that one server may serve."""
    read = {
        name: value
        for name, value in request.environment.items()
        if name.startswith(_AT_LOADING) and name not in _INDIFFERENT
    }
    places = {*sysconfig.get_paths().values(), *_source_folders()}
    installed = [(place, os.stat(place).st_mtime_ns) for place in sorted(places) if os.path.isdir(place)]
    fitting = (purpose, _isolated(request), sys.executable, sorted(read.items()), installed)
    return hashlib.sha256(msgspec.msgpack.encode(fitting)).hexdigest()[:16]


def _source_folders() -> list[str]:
    """Where Everloop itself is loaded from."""
    return [str(Path(__file__).parents[2]), str(Path(__file__).parent)]


_made: dict[int, Path] = {}
"""The folder that each process made: one forked from it, by a user's code, has none yet."""


def _folder() -> Path:
    told = os.environ.get(FOLDER)
    if told and os.path.isdir(told):
        return Path(told)
    own = _made.get(os.getpid())
    if own is None or not own.is_dir():
        own = _made[os.getpid()] = Path(
            tempfile.mkdtemp(prefix="everloop-forks-")
        )  # only this user may enter
        atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def passed_on() -> dict[str, str]:
    """The variables by which a process begun from here finds the same servers."""
    if sys.platform == "linux":
        with suppress(OSError):  # no place for temporary files: each begins its programs from nothing
            return {FOLDER: str(_folder())}
    return {}
