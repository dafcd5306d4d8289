"""What a walk finds: components, notes, files and variables that are named, and what to look at again the next time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from everloop._version import __version__
from everloop.domain.canonical import sha256
from everloop.domain.pipelines import Component
from everloop.pipelines.code.looks import read
from everloop.pipelines.code.origins import Origin
from everloop.pipelines.code.packages import site
from everloop.pipelines.code.project import Project, project_files
from everloop.pipelines.code.watched import Watched

_IMPORT = re.compile(rb"^[ \t]*(?:import|from)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)


class Findings:
    """Gathered while a walk goes on.

    notes: sentences about what could not be seen through. named_files: what the code may read. variables: of the environment.
    watched: what names stood for in memory. missing: modules that are not there. widened: whether all of the project counts.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._parts: dict[tuple[str, str], dict[tuple[int, str], None]] = {}
        self.notes: dict[str, None] = {}
        self.named_files: dict[Path, None] = {}
        self.variables: dict[str, None] = {}
        self.watched = Watched()
        self.missing: set[str] = set()
        self.widened = False

    def add(self, kind: str, name: str, digest: str, line: int = 0) -> None:
        self._parts.setdefault((kind, name), {})[line, digest] = None

    def components(self) -> Iterator[Component]:
        """One for each kind and name; several statements that bind one name count in the order they stand in."""
        for (kind, name), parts in sorted(self._parts.items()):
            ordered = sorted(parts)
            digest = (
                ordered[0][1] if len(ordered) == 1 else sha256("".join(each for _, each in ordered).encode())
            )
            yield Component(kind, name, digest, ordered[0][0])

    def package(self, origin: Origin) -> None:
        top = origin.name.partition(".")[0]
        if ("package", top) in self._parts:
            return
        if top == "everloop":
            self.add("package", "everloop", __version__)
            return
        if origin.site is None:
            return
        owners = site(origin.site).owners(top)
        for owner in owners:
            for name, version in site(origin.site).closure(owner).items():
                self.add("package", name, version)
        file = None if owners else self._project.origin(top).file
        if file is not None and os.path.isfile(file):
            self.add("package", top, read(file)[1].digest.hex())

    def widen(self, why: str) -> None:
        self.notes[f"{why} cannot be seen through, so any change of the project's code re-runs this step"] = (
            None
        )
        if self.widened:
            return
        self.widened = True
        for path in project_files(self._project.root):
            text = path.read_bytes()
            self.add("project file", self._project.label(str(path)), sha256(text))
            for top in sorted({found.decode() for found in _IMPORT.findall(text)}):
                origin = self._project.origin(top)
                if origin.kind == "package":
                    self.package(origin)
