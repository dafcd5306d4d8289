"""All code that a step can reach, as components with digests: a change of behaviour changes one of them, nothing else does.

The walk reads the project's files as text (nothing is imported for it) and follows names from statement to statement; where
text is not the whole truth, memory is asked. Code that cannot be seen through (`eval`, computed imports and attributes) widens
the closure to every file of the project, and `Closure.notes` says so.
"""

from __future__ import annotations

import sys
import types
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everloop.domain.pipelines import Component, key_of
from everloop.pipelines.code.entry import entry
from everloop.pipelines.code.findings import Findings
from everloop.pipelines.code.kept import Kept
from everloop.pipelines.code.looks import Look, Seen, look_at, still
from everloop.pipelines.code.origins import origin_of
from everloop.pipelines.code.project import Project
from everloop.pipelines.code.text_walk import TextWalk
from everloop.pipelines.code.watched import Watched


@dataclass(frozen=True)
class Closure:
    """What a function's behaviour depends on. `notes` are sentences about what could not be seen through.

    files: what the code may read, as far as it names it; those that are there count. variables: of the environment.
    """

    components: tuple[Component, ...]
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    variables: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return key_of(self.components)


@dataclass
class _Remembered:
    closure: Closure
    files: dict[str, Seen]
    watched: Watched
    missing: set[str]

    def holds(self, looks: dict[str, Look]) -> bool:
        """Whether nothing it was made from has changed. `looks`: of files that were looked at for others already."""
        renewed = {}
        known = looks.get
        try:
            for path, (before, settled, _) in self.files.items():
                look = known(path)
                if look is None:
                    look = looks[path] = look_at(path)
                if look != before or not settled:
                    now = still(path, self.files[path], look)
                    if now is None:
                        return False
                    renewed[path] = now
        except OSError:
            return False
        self.files.update(renewed)
        return self.watched.holds() and all(origin_of(name).kind == "missing" for name in self.missing)


_remembered: weakref.WeakKeyDictionary[Any, dict[Path, _Remembered]] = weakref.WeakKeyDictionary()


class Closures:
    """Closures of one project at one moment: files are looked at once, so use a new one for each run.

    root: the project's folder; components name files relative to it. What its files say is kept in its workspace.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._known: dict[int, tuple[Any, Closure]] = {}
        self._looks: dict[str, Look] = {}
        self._kept = Kept(self.root)

    def of(self, function: Any) -> Closure:
        """The closure of a function, class or module. What has not changed since the last time is not read again."""
        known = self._known.get(id(function))
        if known is not None:
            return known[1]
        by_root = _remembered.setdefault(function, {}) if _weakly(function) else {}
        remembered = by_root.get(self.root)
        if remembered is None or not remembered.holds(self._looks):
            remembered = by_root[self.root] = _walked(function, self.root, self._kept)
            self._kept.save()
        self._known[id(function)] = (function, remembered.closure)
        return remembered.closure


def _weakly(value: Any) -> bool:
    return isinstance(value, types.FunctionType | type)


def _walked(function: Any, root: Path, kept: Kept) -> _Remembered:
    project = Project(root, kept)
    found = Findings(project)
    found.add("python", "python", f"{sys.version_info.major}.{sys.version_info.minor}")
    TextWalk(project, found).memory.follow(function)
    closure = Closure(
        (entry(function, project), *found.components()),
        tuple(found.notes),
        tuple(found.named_files),
        tuple(found.variables),
    )
    if found.widened:  # new files count too, so the next run has to look again
        found.watched.never = True
    project.keep_facts()
    found.watched.settle()
    return _Remembered(closure, project.files, found.watched, found.missing)
