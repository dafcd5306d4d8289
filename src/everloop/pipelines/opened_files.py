"""Files that a step opens by itself, seen while it runs, so that its result is not used again when one of them has changed.

Python tells of every file that it opens, lists or starts (`sys.addaudithook`); of what libraries open in C, their reading
functions tell (`everloop.pipelines.opened_in_c`), besides the names in the code (`everloop.pipelines.code.outside`).

A file is written down as ``file:data/prices.csv@<digest>-<size>-<time of modification>``: one that still looks the same is not
read again to find out. What the step wrote itself is no input; neither are hidden folders, the system's files and Everloop's own.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, wraps
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from types import FrameType
from typing import Any

from everloop.pipelines import opened_in_c
from everloop.pipelines.code.outside import digest_of_file, label_of

PREFIX = "file:"
_MISSING, _OTHER = "missing", "no file"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CODE = (".py", ".pyc", ".pyi", ".so", ".pyd")
_OWN = str(Path(__file__).resolve().parents[1]) + os.sep
_LIBRARIES = (__file__, str(opened_in_c.__file__), f"{sys.prefix}{os.sep}", f"{sys.base_prefix}{os.sep}")
_IMPORTING = "<frozen importlib"
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_PACKAGES = os.path.join(_STDLIB, "importlib", "metadata") + os.sep
_FRESH_NS = 1_000_000_000
"""A file modified less than this before it was read may change again within one tick of the clock: its look says nothing."""


class Opened:
    """What was opened, listed and written while somebody watched."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, None] = {}
        self._listed: dict[str, None] = {}
        self._written: set[str] = set()

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in what Python tells."""
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or not path:
                return
            writes = (isinstance(flags, int) and flags & _WRITES) or (
                isinstance(mode, str) and mode.strip("rbtU")
            )
            name = _absolute(path)
            if writes:
                self._written.add(name)
            elif not name.endswith(_CODE):
                self._read[name] = None
        elif event in {"os.listdir", "os.scandir"}:
            if not isinstance(arguments[0], int):
                self._listed[_absolute(arguments[0] or ".")] = None
        elif event in {"os.rename", "shutil.move", "shutil.copyfile"}:
            self._written.add(_absolute(arguments[1]))
        elif event == "ctypes.dlopen":
            if isinstance(arguments[0], str) and os.sep in arguments[0]:
                self._read[_absolute(arguments[0])] = None
        elif event == "sqlite3.connect":
            if opened_in_c.is_there(arguments[0], S_ISREG):
                self._read[_absolute(arguments[0])] = None
        elif event == "subprocess.Popen":
            self._started(arguments[0], arguments[1] or (), arguments[2])

    def _started(self, program: Any, given: Any, folder: Any) -> None:
        """A program was started: files that it is given count, and of Python scripts and modules what they import from beside."""
        words = [
            os.fsdecode(each) for each in (program, *given) if isinstance(each, str | bytes | os.PathLike)
        ]
        for before, word in zip(["", *words], words, strict=False):
            inside = [f"{word.replace('.', os.sep)}{end}" for end in (".py", f"{os.sep}__main__.py")]
            for each in inside if before == "-m" else [word]:
                place = os.path.join(os.fsdecode(folder), each) if folder else each
                if opened_in_c.is_there(place, S_ISREG):
                    self._read[_absolute(place)] = None

    def references(self) -> list[str]:
        """What was read and not written, with its content, as texts that `unchanged` understands."""
        # Copies: threads of the step, and of what watches the machine, open files meanwhile.
        read = [each for name in list(self._read) for each in self._with_imports(name)]
        found = [
            f"{PREFIX}{label_of(Path(name), self._root)}@{_content(Path(name))}"
            for name in dict.fromkeys(read)
            if name not in self._written and self._counts(name) and not os.path.isdir(name)
        ]
        filled = {os.path.dirname(name) for name in list(self._written)}
        found += [
            f"{PREFIX}{label_of(Path(name), self._root)}/@{_names(Path(name))}"
            for name in list(self._listed)
            if name not in filled and self._counts(name + os.sep)
        ]
        return found

    def _with_imports(self, name: str) -> list[str]:
        """A file; with a Python script, which only another process can have run, the modules beside it that it imports."""
        if not name.endswith(".py") or not self._counts(name):
            return [name]
        from everloop.pipelines.kinds.scripts import imported_beside

        return [name, *map(str, imported_beside(Path(name)))]

    def _counts(self, name: str) -> bool:
        path = Path(name)
        if path.is_relative_to(self._root):
            folders = path.relative_to(self._root).parts[:-1]
        elif name.startswith(_system_folders()):
            return False
        else:
            folders = path.parts[:-1]
        return not any(each.startswith(".") or each == "__pycache__" for each in folders)


_watchers: list[Opened] = []


@contextmanager
def watched(root: Path) -> Iterator[Opened]:
    """Within the block, files that this process opens are noted; paths are told relative to `root`."""
    _listen()
    opened = Opened(root.resolve())
    _watchers.append(opened)
    try:
        with _absences_told():
            yield opened
    finally:
        _watchers.remove(opened)


@contextmanager
def _absences_told() -> Iterator[None]:
    """Within the block, a file that is looked for and is not there counts as read: Python tells only of those it opens, and
    ``Path("override.json").exists()`` decides what a step does all the same."""
    real = os.stat

    @wraps(real)
    def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        try:
            return real(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        except FileNotFoundError:
            if dir_fd is None and path:
                _told("open", os.fsdecode(path))
            raise

    able = (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks)
    for each in able:
        each.add(stat)
    os.stat = stat
    try:
        yield
    finally:
        if os.stat is stat:  # a step in another thread may be at work meanwhile
            os.stat = real
        for each in able:
            each.discard(stat)


def is_file(reference: str) -> bool:
    """Whether what was read is a file, not a dataset or the like."""
    return reference.startswith(PREFIX)


def asked(reference: str) -> str:
    """A file without its content: ``file:data/prices.csv``."""
    return reference.rpartition("@")[0]


def unchanged(reference: str, root: Path) -> bool:
    """Whether the file holds what it held."""
    name, _, content = reference.removeprefix(PREFIX).rpartition("@")
    path = root / name
    if name.endswith("/"):
        return _names(path) == content
    digest, _, look = content.partition("-")
    if look:
        try:
            if _look(path) == look:
                return True
        except OSError:
            return False
    return _digest(path) == digest


def _digest(path: Path) -> str:
    """Of a file's content, or what there is instead."""
    return digest_of_file(path) or (_OTHER if os.path.lexists(path) else _MISSING)


def _content(path: Path) -> str:
    """Digest and look. The look is left out when the file is so new that it says nothing."""
    try:
        before = _look(path)
        digest = _digest(path)
        if digest in (_MISSING, _OTHER):
            return digest
        fresh = time.time_ns() - os.stat(path).st_mtime_ns < _FRESH_NS
        return digest if fresh or _look(path) != before else f"{digest}-{before}"
    except OSError:
        return _MISSING


def _look(path: Path) -> str:
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


def _names(folder: Path) -> str:
    """The digest of the names in a folder; of nothing when it is none."""
    try:
        names = sorted(each.name for each in os.scandir(folder) if each.name != "__pycache__")
    except OSError:
        return _MISSING
    return sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def _absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))


@cache
def _system_folders() -> tuple[str, ...]:
    """Folders whose files belong to the machine: Python, its packages, the system, temporary files."""
    folders = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), tempfile.gettempdir()}
    folders |= {
        "/bin",
        "/dev",
        "/etc",
        "/lib",
        "/lib64",
        "/nix",
        "/opt",
        "/proc",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/var",
    }
    return tuple(sorted(os.path.abspath(each) + os.sep for each in folders))


@cache
def _listen() -> None:
    sys.addaudithook(_heard)
    opened_in_c.tell(_told)


_EVENTS = frozenset(
    {
        "open",
        "os.listdir",
        "os.scandir",
        "os.rename",
        "shutil.move",
        "shutil.copyfile",
        "ctypes.dlopen",
        "sqlite3.connect",
        "subprocess.Popen",
    }
)


def _asked_for_data(frame: FrameType) -> FrameType | None:
    """Who asked a loader for a file of data (`pkgutil.get_data`); None where a module is imported."""
    if frame.f_code.co_name != "get_data":
        return None
    return frame.f_back


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    """Called by Python for whatever happens; imports and what Everloop itself opens are none of the step's doing."""
    if not _watchers or event not in _EVENTS:
        return
    frame: FrameType | None = sys._getframe(1)
    if frame is not None and frame.f_code.co_filename.startswith(_IMPORTING):
        frame = _asked_for_data(frame)
    while frame is not None and frame.f_code.co_filename.startswith(_STDLIB):
        if frame.f_code.co_filename.startswith(_PACKAGES):
            return  # somebody asks for a package: every folder that code may come from is listed
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith((_OWN, _IMPORTING)):
        return
    for each in _watchers:
        each.note(event, arguments)


def _told(event: str, path: str) -> None:
    """Called by functions that open files in C, or look for them; what Everloop itself does is none of the step's doing."""
    if not _watchers:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith(_OWN):
        return
    said = ("open", (path, "w", os.O_WRONLY)) if event == "written" else (event, (path, "r", os.O_RDONLY))
    for each in _watchers:
        each.note(*said)
