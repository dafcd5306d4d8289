"""Files that libraries open in C, of which Python does not tell: their reading functions tell of the paths they are given.

The functions of `READING` are wrapped when their module is imported, in processes that execute steps; outside of a step the
wrappers do nothing but call. A path that a query names in quotes counts too, and a folder is listed with all that is in it.
"""

from __future__ import annotations

import functools
import glob
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_DUCKDB = (
    "execute", "from_csv_auto", "from_parquet", "from_query", "query", "read_csv", "read_json", "read_parquet", "sql",
    "table_function",
)  # fmt: skip
_POLARS = ("csv", "delta", "ipc", "ndjson", "parquet")

READING: dict[str, tuple[str, ...]] = {
    "pyarrow": ("OSFile", "input_stream", "memory_map"),
    "pyarrow.csv": ("open_csv", "read_csv"),
    "pyarrow.dataset": ("dataset",),
    "pyarrow.feather": ("read_feather", "read_table"),
    "pyarrow.json": ("open_json", "read_json"),
    "pyarrow.orc": ("ORCFile.__init__", "read_table"),
    "pyarrow.parquet.core": ("ParquetDataset.__init__", "ParquetFile.__init__"),
    "duckdb": ("connect", *_DUCKDB, *(f"DuckDBPyConnection.{each}" for each in _DUCKDB)),
    "polars": tuple(f"{how}_{each}" for how in ("read", "scan") for each in _POLARS),
    "lightgbm.basic": ("Booster.__init__", "Dataset.__init__"),
    "xgboost.core": ("Booster.load_model", "DMatrix.__init__"),
    "h5py._hl.files": ("File.__init__",),
    "netCDF4": ("Dataset",),
    "tables.file": ("open_file",),
    "rasterio": ("open",),
    "osgeo.gdal": ("Open", "OpenEx"),
    "cv2": ("imread",),
}
"""Module -> the functions and classes in it that open files in C."""

_CONNECTING = frozenset({"connect"})
"""What makes the database that it is given where there is none: one that is there counts, as SQLite's do."""
_WRITING = frozenset({"w", "wb", "w+", "w-", "x", "a", "ab", "a+", "r+", "rb+", "r+b"})
"""Modes in which a file is changed: it is what the step makes, not what it depends on."""

_QUOTED = re.compile(r"'([^'\n]+)'")
_MOST = 10_000
"""Files below one folder that are told of."""

_told: list[Callable[[str, str], None]] = []


def tell(listener: Callable[[str, str], None]) -> None:
    """From now on, in this process, `listener` is called with ``open``, ``written`` or ``os.listdir`` and a path."""
    if _told:
        return
    _told.append(listener)
    sys.meta_path.insert(0, _Finder())
    for name in READING:
        if name in sys.modules:
            _wrap(sys.modules[name])


def paths_in(value: object) -> Iterator[str]:
    """The paths that an argument of a reading function may be, or hold.

    >>> list(paths_in("select * from 'a.csv' join \\"b\\"")), list(paths_in(["x.csv", "https://h/y.csv"])), list(paths_in(3))
    (['a.csv'], ['x.csv'], [])
    """
    if isinstance(value, list | tuple | set):
        for each in value:
            yield from paths_in(each)
    elif isinstance(value, os.PathLike):
        yield os.fsdecode(value)
    elif isinstance(value, str) and "'" in value:
        for quoted in _QUOTED.findall(value):
            yield from paths_in(quoted)
    elif isinstance(value, str) and 0 < len(value) < 4096 and "://" not in value and "\n" not in value:
        yield value


def is_there(path: str | os.PathLike[str], is_kind: Callable[[int], bool]) -> bool:
    """Whether there is a file of a kind (`stat.S_ISREG`), asked so that nobody takes it for the step's own asking."""
    try:
        return is_kind(os.lstat(os.path.realpath(path)).st_mode)
    except (OSError, ValueError):
        return False


def _tell_of(value: object) -> None:
    for path in paths_in(value):
        if is_there(path, stat.S_ISDIR):
            _tell_of_folder(path)
        elif any(each in path for each in "*?["):
            _say("os.listdir", os.path.dirname(path.split("*")[0]) or ".")
            for each in glob.iglob(path, recursive=True):
                _say("open", each)
        elif is_there(path, stat.S_ISREG) or os.path.splitext(path)[1]:
            _say("open", path)


def _tell_of_folder(path: str) -> None:
    count = 0
    for folder, _, names in os.walk(path):
        _say("os.listdir", folder)
        for name in names:
            count += 1
            if count > _MOST:
                return
            _say("open", os.path.join(folder, name))


def _say(event: str, path: str) -> None:
    for each in _told:
        each(event, path)


def _wrap(module: ModuleType) -> None:
    for name in READING[module.__name__]:
        owner: Any = module
        *owners, last = name.split(".")
        for each in owners:
            owner = getattr(owner, each, None)
        found = getattr(owner, last, None)
        if not callable(found) or hasattr(found, "_everloop_tells"):
            continue
        setattr(owner, last, _telling_class(found) if isinstance(found, type) else _telling(found))


def _telling(function: Callable[..., Any]) -> Callable[..., Any]:
    connects = getattr(function, "__name__", "") in _CONNECTING

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _tell_of_arguments(args, kwargs, connects)
        return function(*args, **kwargs)

    call._everloop_tells = True  # type: ignore[attr-defined]
    return call


def _telling_class(kind: type[Any]) -> type[Any]:
    """A class written in C, whose methods cannot be replaced: one derived from it that takes its name, and is equal to it for
    ``isinstance``."""

    class Kind(type(kind)):  # type: ignore[misc]
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, kind)

    def new(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        _tell_of_arguments(args, kwargs, connects=False)
        return kind.__new__(cls, *args, **kwargs)

    body = {
        "__new__": new,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "_everloop_tells": True,
    }
    made: type[Any] = Kind(kind.__name__, (kind,), body)
    return made


def _tell_of_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], connects: bool) -> None:
    written = any(isinstance(each, str) and each in _WRITING for each in (*args[1:], kwargs.get("mode")))
    for each in (*args, *kwargs.values()):
        if not isinstance(each, str | os.PathLike | list | tuple | set):
            continue
        if written:
            for path in paths_in(each):
                if path not in _WRITING:
                    _say("written", path)
        elif not connects:
            _tell_of(each)
        elif isinstance(each, str | os.PathLike) and is_there(each, stat.S_ISREG):
            _say("open", os.fsdecode(each))


class _Finder(MetaPathFinder):
    """Finds the modules of `READING` where they are, and wraps their functions once they are executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in READING:
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is not None and found.loader is not None:
            found.loader = _Around(found.loader)
        return found


class _Around(Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _wrap(module)
