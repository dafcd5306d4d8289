"""Where a module comes from: the project, an installed package, or Python itself. Nothing is imported to find out."""

from __future__ import annotations

import importlib.machinery
import os
import re
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SITES = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


@dataclass(frozen=True)
class Origin:
    """kind: ``project``, ``package``, ``python`` or ``missing``.

    file: where it is (None for a namespace package, and for Python's own).
    site: the folder of installed packages, for packages.
    binary: a project module that is not Python text (an extension built in place).
    """

    kind: str
    name: str
    file: str | None = None
    site: Path | None = None
    is_package: bool = False
    binary: bool = False

    @property
    def package(self) -> str:
        """What relative imports in this module are relative to."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


def origin_of(name: str) -> Origin:
    """Find a module by its absolute name, first among those loaded, then along the import path."""
    if name.partition(".")[0] == "everloop":
        return Origin("package", name)
    spec = getattr(sys.modules.get(name), "__spec__", None) or _find(name)
    if spec is None:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        return _of_file(name, file, hasattr(module, "__path__")) if file else Origin("missing", name)
    if spec.origin in {"built-in", "frozen"}:
        return Origin("python", name)
    is_package = spec.submodule_search_locations is not None
    if spec.origin is None or not spec.has_location:
        places = list(spec.submodule_search_locations or ())
        known = _of_file(name, places[0] + "/__init__.py", True) if places else Origin("missing", name)
        return Origin("project", name, is_package=True) if known.kind == "project" else known
    return _of_file(name, spec.origin, is_package)


def _of_file(name: str, file: str, is_package: bool) -> Origin:
    site = _SITES.search(file)
    if site is not None:
        return Origin("package", name, file, site=Path(file[: site.end() - 1]))
    if file.startswith(_python_folders()):
        return Origin("python", name)
    return Origin("project", name, file, is_package=is_package, binary=not file.endswith(".py"))


@cache
def _python_folders() -> tuple[str, ...]:
    """Where Python's own modules are, as the beginnings of their paths."""
    known = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib")]
    return tuple({f"{place}{os.sep}" for each in known for place in (each, os.path.realpath(each))})


def _find(name: str) -> importlib.machinery.ModuleSpec | None:
    places: Sequence[str] | None = None
    found = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        found = _search(".".join(parts[:count]), places)
        if found is None:
            return None
        places = found.submodule_search_locations
        if places is None and count < len(parts):
            return None
    return found


def _search(name: str, places: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    if places is None and name in sys.builtin_module_names:
        return importlib.machinery.BuiltinImporter.find_spec(name)
    found = importlib.machinery.PathFinder.find_spec(name, places)
    return found or _found_by_others(name, places)


def _found_by_others(name: str, places: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Editable installs may come with a finder of their own."""
    for finder in sys.meta_path:
        kind = finder if isinstance(finder, type) else type(finder)
        if kind.__name__.startswith("_Editable") and hasattr(finder, "find_spec"):
            found = finder.find_spec(name, places)
            if found is not None:
                return found
    return None
