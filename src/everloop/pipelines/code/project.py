"""The project as the walk sees it: its modules as texts, what their names stand for in this process, and what all are called."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from everloop.errors import InvalidDefinition
from everloop.pipelines.code.kept import Kept
from everloop.pipelines.code.looks import Seen, look_at, read, still
from everloop.pipelines.code.memory import code_digest, unwrapped
from everloop.pipelines.code.origins import Origin, origin_of
from everloop.pipelines.code.source import ModuleSource, code_names
from everloop.tracking.places import this_process

_NOT_PROJECT = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})

_modules: dict[str, tuple[Seen, ModuleSource]] = {}
_compiled: dict[str, tuple[bytes, dict[str, set[str]]]] = {}


class Project:
    """One project during one walk: each question is asked of the disk once.

    root: its folder; what is called by a label is named relative to it. files: all that were read, and how they looked.
    modules: their texts, cut into statements.
    """

    def __init__(self, root: Path, kept: Kept) -> None:
        self.root = root
        self.files: dict[str, Seen] = {}
        self.modules: dict[str, ModuleSource] = {}
        self._kept = kept
        self._sources: dict[str, ModuleSource | None] = {}
        self._origins: dict[str, Origin] = {}
        self._lives: dict[str, dict[str, Any] | None] = {}
        self._labels: dict[str, str] = {}
        self._real: dict[str, str] = {}

    def origin(self, name: str) -> Origin:
        if name not in self._origins:
            self._origins[name] = origin_of(name)
        return self._origins[name]

    def source(self, origin: Origin) -> ModuleSource | None:
        if origin.kind != "project" or origin.binary or origin.file is None:
            return None
        if origin.name not in self._sources:
            self._sources[origin.name] = self.read(self.resolved(origin.file), origin.name, origin.package)
        return self._sources[origin.name]

    def read(self, path: str, name: str, package: str) -> ModuleSource | None:
        try:
            known = _modules.get(path)
            seen = None if known is None else still(path, known[0], look_at(path))
            if known is not None and seen is not None:
                module = known[1]
            else:
                content, seen = read(path)
                module = ModuleSource(path, name, package, content, self._kept.get(seen.digest))
            _modules[path] = seen, module
        except OSError:
            return None
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            raise InvalidDefinition(
                f"{path}{f', line {line}' if line else ''}: {getattr(error, 'msg', error)}",
                hint="mend the file and try again",
            ) from None
        self.files[path] = seen
        self.modules[path] = module
        return module

    def module_of_globals(self, name: str, scope: dict[str, Any]) -> ModuleSource | Origin | None:
        """The text of the module a function was made in; its origin when that is not the project's; None without a text."""
        file = scope.get("__file__")
        if name.partition(".")[0] == "everloop":
            return Origin("package", name)
        loaded = sys.modules.get(name)
        if file is None:
            return Origin("missing", name) if loaded is None or vars(loaded) is scope else None
        if loaded is not None and vars(loaded) is scope and name != "__main__":
            origin = self.origin(name)
            if origin.kind != "project" or origin.binary:
                return origin
        path = self.resolved(file)
        return self.read(path, name, str(scope.get("__package__") or "")) if path.endswith(".py") else None

    def live(self, module: ModuleSource) -> dict[str, Any] | None:
        """What the names of a module stand for in this process, when it is loaded."""
        if module.file not in self._lives:
            loaded = sys.modules.get(module.name)
            file = getattr(loaded, "__file__", None)
            same = loaded is not None and file is not None and self.resolved(file) == module.file
            self._lives[module.file] = vars(loaded) if same else None
        return self._lives[module.file]

    def is_own(self, kind: type) -> bool:
        """Whether a class is the project's."""
        return kind.__module__ == "__main__" or self.origin(kind.__module__).kind == "project"

    def is_current(self, module: ModuleSource, code: types.CodeType) -> bool:
        """Whether the text on disk is the one this code was made from."""
        seen = self.files[module.file]
        if seen.look[1] < _process_start_ns():
            return True
        found = _compiled.get(module.file)
        if found is None or found[0] != seen.digest:
            by_name: dict[str, set[str]] = {}
            for name, each in code_names(module.text, module.path):
                by_name.setdefault(name, set()).add(code_digest(each))  # type: ignore[arg-type]
            found = _compiled[module.file] = (seen.digest, by_name)
        return code_digest(code) in found[1].get(code.co_qualname, ())

    def identity(self, value: Any) -> str:
        """A name that is the same whether a file was imported or started as a script."""
        value = unwrapped(value)
        name = (
            value.__name__
            if isinstance(value, types.ModuleType)
            else str(getattr(value, "__module__", None) or "")
        )
        file = getattr(sys.modules.get(name), "__file__", None)
        path = self.resolved(file) if file else None
        place = self.label(path) if path is not None and path.startswith(f"{self.root}{os.sep}") else name
        if isinstance(value, types.ModuleType):
            return place
        return f"{place}::{getattr(value, '__qualname__', type(value).__qualname__)}"

    def label(self, path: str) -> str:
        """The path within the project; of a file beside it, the path it would be imported by."""
        if path not in self._labels:
            inside = f"{self.root}{os.sep}"
            if path.startswith(inside):
                self._labels[path] = path[len(inside) :].replace(os.sep, "/")
            else:
                beside = Path(path)
                place = next(
                    (each for each in sys.path if each and beside.is_relative_to(each)), beside.parent
                )
                self._labels[path] = beside.relative_to(place).as_posix()
        return self._labels[path]

    def resolved(self, path: str) -> str:
        """The path without symbolic links. Folders are asked about once: modules of one folder are many."""
        known = self._real.get(path)
        if known is None:
            folder, name = os.path.split(path)
            real = self._real.get(f"{folder}{os.sep}")
            if real is None:
                real = self._real[f"{folder}{os.sep}"] = os.path.realpath(folder)
            known = os.path.join(real, name)
            if os.path.islink(known):
                known = os.path.realpath(known)
            self._real[path] = known
        return known

    def keep_facts(self) -> None:
        """Let the next process know what was worked out of the texts."""
        for path, module in self.modules.items():
            self._kept.use(self.files[path].digest, module.facts, grown=module.grown)
            module.grown = False


def project_files(root: Path) -> Iterator[Path]:
    """The Python files of a project: not hidden folders, virtual environments or installed packages."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".")
            and each not in _NOT_PROJECT
            and not os.path.exists(os.path.join(folder, each, "pyvenv.cfg"))
        )
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


@cache
def _process_start_ns() -> int:
    """When this process began, a second early to be safe: a file not changed since cannot differ from what was imported."""
    return int((this_process().began - 1.0) * 1e9)
