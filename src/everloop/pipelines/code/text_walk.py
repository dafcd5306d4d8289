"""The half of the walk that reads: it follows names from statement to statement and module to module, and imports nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath

from everloop.pipelines.code.acting import Actions, Target
from everloop.pipelines.code.facts import Imported
from everloop.pipelines.code.findings import Findings
from everloop.pipelines.code.looks import read
from everloop.pipelines.code.memory_walk import MemoryWalk
from everloop.pipelines.code.origins import Origin
from everloop.pipelines.code.outside import candidates, is_secret
from everloop.pipelines.code.project import Project
from everloop.pipelines.code.scopes import Use
from everloop.pipelines.code.source import ModuleSource, Unit

_CALLS_BY_NAME = (b"PyImport_", b"PyRun_", b"PyEval_")
"""How functions of Python's interface for C begin by which compiled code comes to code that nobody handed to it."""
_OF_MODULES = frozenset({"__file__", "__name__", "__path__", "__package__", "__spec__", "__version__"})


class TextWalk:
    """Reaches what names stand for in the texts of the project's modules.

    eager: in what its methods are asked, whether the name is used now, so that what it stands for in memory counts too; what is
    imported within functions need not be there yet. memory: the other half.
    """

    def __init__(self, project: Project, found: Findings) -> None:
        self._project, self._found = project, found
        self.memory = MemoryWalk(project, found, self)
        self._actions = Actions(lambda name: project.source(project.origin(name)))
        self._acted: dict[Target, list[tuple[ModuleSource, Unit, bool]]] = {}
        self._reached: dict[tuple[str, str], bool] = {}
        self._touched: dict[str, bool] = {}

    def reach(self, module: ModuleSource, chain: tuple[str, ...], eager: bool, line: int) -> bool:
        """Reach what a dotted name of a module stands for; False when the module's text does not bind it."""
        name, rest = chain[0], chain[1:]
        found = False
        ways = len(module.bindings.get(name, ())) + len(module.imports.get(name, ()))
        if name in module.bindings:
            found = True
            if not self._is_reached(module, name, eager):
                live = self._project.live(module) if eager else None
                for unit in module.bindings[name]:
                    self._unit(module, unit, eager)
                    if live is not None and name in live:
                        self.memory.compare(module, unit, name, live)
                    elif unit.kind == "constant":
                        self._files_of(module, unit)
                for acting, unit, eagerly in self._acted.get((module.file, name), ()):
                    self._unit(acting, unit, eagerly)
        if name in module.imports:
            found = True
            if not self._is_reached(module, f"import {'.'.join(chain)}", eager):
                for each in module.imports[name]:
                    self._import_here(module, each, rest, eager)
        for star in module.stars:
            target = self._project.origin(module.resolve(star.level, star.module))
            source = self._project.source(target)
            if source is None and target.kind == "package" and not found:
                self._found.package(target)
            if source is not None and source is not module and self._star_offers(source, name, set()):
                self.touch(source, eager)
                self._offered(source, name, eager, line)
                found = self.reach(source, chain, eager, line) or found
                ways += 1
        if ways > 1 and eager:
            self.memory.chosen(module, name)
        if found:
            return True
        if (
            os.path.basename(module.file) == "__init__.py"
            and self._project.origin(f"{module.name}.{name}").kind == "project"
        ):
            self.imported(f"{module.name}.{name}", rest, eager, line)
            return True
        if "__getattr__" in module.bindings and name != "__getattr__":
            self.reach(module, ("__getattr__",), eager, line)
            self._found.widen(
                f"{self._project.label(module.file)}: __getattr__ of the module, asked for {name}"
            )
            return True
        live = self._project.live(module) if eager else None
        if live is not None and name in live and not (name.startswith("__") and name.endswith("__")):
            self.memory.value(
                f"{self._project.label(module.file)}::{name}", lambda: live.get(name)
            )  # put there from elsewhere
        return False

    def _import_here(self, module: ModuleSource, each: Imported, rest: tuple[str, ...], eager: bool) -> None:
        target, chain = module.resolve(each.level, each.module), (*each.chain, *rest)
        if target == module.name and chain:  # ``from . import inner`` in a package's own file
            target, chain = f"{target}.{chain[0]}", chain[1:]
        self.imported(target, chain, eager, each.line)

    def _star_offers(self, module: ModuleSource, name: str, asked: set[Path]) -> bool:
        if name in module.bindings or name in module.imports:
            return True
        asked.add(module.path)
        inner = (
            self._project.source(self._project.origin(module.resolve(each.level, each.module)))
            for each in module.stars
        )
        return any(
            each is not None and each.path not in asked and self._star_offers(each, name, asked)
            for each in inner
        )

    def _offered(self, module: ModuleSource, name: str, eager: bool, line: int) -> None:
        """Whether ``from module import *`` brings this name along, where the module says so itself."""
        live = self._project.live(module) if eager else None
        if live is not None and isinstance(live.get("__all__"), list | tuple):
            self.memory.value(
                f"{self._project.label(module.file)}::__all__ has {name}",
                lambda: name in live.get("__all__", ()),
            )
        elif "__all__" in module.bindings:
            self.reach(module, ("__all__",), eager, line)

    def _files_of(self, module: ModuleSource, unit: Unit) -> None:
        """Memory does not tell what a statement at the top level made, so the files that it names count."""
        for use in unit.uses:
            self._files(module, use.files)
        self._files(module, unit.texts)

    def _files(self, module: ModuleSource, texts: tuple[str, ...]) -> None:
        self._found.named_files.update(
            dict.fromkeys(candidates(texts, module.path.parent, self._project.root))
        )

    def _is_reached(self, module: ModuleSource, name: str, eager: bool) -> bool:
        before = self._reached.get((module.file, name))
        if before is None or (eager and not before):
            self._reached[module.file, name] = eager
            return False
        return True

    def _unit(self, module: ModuleSource, unit: Unit, eager: bool) -> None:
        self._found.add(
            unit.kind, f"{self._project.label(module.file)}::{unit.label}", unit.digest, unit.line
        )
        for use in unit.uses:
            self.use(module, use, eager)

    def use(self, module: ModuleSource, use: Use, eager: bool) -> None:
        if use.dynamic and not (use.chain and self._binds(module, use.chain[0])):
            self._found.widen(f"{self._project.label(module.file)}, line {use.line}: {use.dynamic}")
        if use.files:
            self._files(module, use.files)
        if use.variable is not None or use.read:
            self._outside(module, use, eager)
        if use.module is not None:
            target = module.resolve(use.level, use.module)
            if use.only_import:
                self._only_import(target, use, eager=False)
            else:
                self.imported(target, use.chain, False, use.line)
        elif use.chain:
            self.reach(module, use.chain, eager, use.line)

    def _outside(self, module: ModuleSource, use: Use, eager: bool) -> None:
        """An environment variable that is asked for by name; a file whose path is a constant."""
        came = [module.resolve(use.level, use.module)] if use.module is not None else []
        came += [each.module for each in module.imports.get(use.chain[0] if use.chain else "", ())]
        if use.variable is not None and "os" in came:
            if not use.variable:
                where = f"{self._project.label(module.file)}, line {use.line}"
                self._found.notes[
                    f"{where}: an environment variable with a computed name is no part of the key"
                ] = None
            elif not is_secret(use.variable):
                self._found.variables[use.variable] = None
        live = self._project.live(module) if use.read and eager and use.module is None else None
        value = None if live is None else live.get(use.chain[0])
        if isinstance(value, str | PurePath) and len(use.chain) == 1:
            self._files(module, (str(value),))

    def _binds(self, module: ModuleSource, name: str) -> bool:
        return name in module.bindings or name in module.imports

    def _only_import(self, target: str, use: Use, *, eager: bool) -> None:
        origin = self._project.origin(target)
        if origin.kind == "package":
            self._found.package(origin)
        self._touch_origin(origin, eager)
        if use.chain and origin.is_package:
            self._touch_origin(self._project.origin(f"{target}.{use.chain[0]}"), eager)

    def imported(self, name: str, chain: tuple[str, ...], eager: bool, line: int) -> None:
        origin = self._project.origin(name)
        if origin.kind == "package":
            self._found.package(origin)
        elif origin.kind == "missing":
            if name not in sys.modules:
                self._found.missing.add(name)
                self._found.add("missing module", name, "missing", line)
        elif origin.kind == "project":
            if origin.binary and origin.file is not None:
                if any(each in self._binary(origin.file) for each in _CALLS_BY_NAME):
                    self._found.widen(
                        f"{self._project.label(origin.file)}: the Python code that a compiled module imports"
                    )
                return
            source = self._project.source(origin)
            if source is None:
                if origin.is_package and chain:  # a folder without __init__.py
                    self.imported(f"{name}.{chain[0]}", chain[1:], eager, line)
                return
            self.touch(source, eager)
            if not chain or (not self.reach(source, chain, eager, line) and chain[0] not in _OF_MODULES):
                self._whole(source, eager, line)

    def _binary(self, file: str) -> bytes:
        """A compiled module: its bytes count, for importing it runs what it pleases. Returns them."""
        content, seen = read(file)
        self._project.files[file] = seen
        self._found.add("binary", self._project.label(file), seen.digest.hex())
        return content

    def _whole(self, source: ModuleSource, eager: bool, line: int) -> None:
        """All names of a module: it is passed around, or asked for a name that its text does not show."""
        if self._is_reached(source, "*", eager):
            return
        for each in [*source.bindings, *source.imports]:
            self.reach(source, (each,), eager, line)
        for star in source.stars:
            self.imported(source.resolve(star.level, star.module), (), eager, line)

    def touch(self, module: ModuleSource, eager: bool) -> None:
        """Importing a module runs it: its effects count, and those of the project's modules it imports in turn."""
        if self._touched.get(module.file) in {True, eager}:
            return
        self._touched[module.file] = eager
        parts = module.name.split(".")
        for count in range(1, len(parts)):
            parent = self._project.source(self._project.origin(".".join(parts[:count])))
            if parent is not None and parent is not module:
                self.touch(parent, eager)
        for unit in module.effects:
            self._unit(module, unit, eager)
        for changed, unit in self._actions.of(module):
            self._acted.setdefault(changed, []).append((module, unit, eager))
            if changed in self._reached:
                self._unit(module, unit, eager)
        for each in module.loaded:
            target = self._project.origin(module.resolve(each.level, each.module))
            for candidate in (
                target,
                *(
                    [self._project.origin(f"{target.name}.{each.chain[0]}")]
                    if each.chain and target.is_package
                    else []
                ),
            ):
                self._touch_origin(candidate, eager)

    def _touch_origin(self, origin: Origin, eager: bool) -> None:
        source = self._project.source(origin)
        if source is not None:
            self.touch(source, eager)
        elif origin.kind == "project" and origin.binary and origin.file is not None:
            self._binary(origin.file)
