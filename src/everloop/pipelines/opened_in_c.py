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
)  # fmt: skip
_POLARS = ("csv", "delta", "ipc", "ndjson", "parquet")

READING: dict[str, tuple[str, ...]] = {
    "pyarrow.csv": ("open_csv", "read_csv"),
    "pyarrow.dataset": ("dataset",),
    "pyarrow.feather": ("read_feather", "read_table"),
    "pyarrow.json": ("open_json", "read_json"),
    "pyarrow.orc": ("ORCFile.__init__", "read_table"),
    "pyarrow.parquet.core": ("ParquetDataset.__init__", "ParquetFile.__init__"),
    "duckdb": (*_DUCKDB, *(f"DuckDBPyConnection.{each}" for each in _DUCKDB)),
    "polars": tuple(f"{how}_{each}" for how in ("read", "scan") for each in _POLARS),
    "lightgbm.basic": ("Booster.__init__", "Dataset.__init__"),
    "xgboost.core": ("Booster.load_model", "DMatrix.__init__"),
}
"""Module -> the functions in it that open files in C."""

_QUOTED = re.compile(r"'([^'\n]+)'")
_MOST = 10_000
"""Files below one folder that are told of."""

_told: list[Callable[[str, str], None]] = []


def tell(listener: Callable[[str, str], None]) -> None:
    """From now on, in this process, `listener` is called with ``open`` or ``os.listdir`` and a path."""
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
        function = getattr(owner, last, None)
        if callable(function) and not hasattr(function, "_everloop_tells"):
            setattr(owner, last, _telling(function))


def _telling(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for each in (*args, *kwargs.values()):
            if isinstance(each, str | os.PathLike | list | tuple | set):
                _tell_of(each)
        return function(*args, **kwargs)

    call._everloop_tells = True  # type: ignore[attr-defined]
    return call


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
