"""All code that a step can reach, as components with digests: a change of behaviour changes one of them, nothing else does.

The walk reads the project's files as text (nothing is imported for it) and follows names from statement to statement. Where text
is not the whole truth, memory is asked: values of constants that the module computed when it was imported, cells of closures,
functions that were put in the place of others, files edited since they were imported. Code that cannot be seen through (`eval`,
computed imports and attributes) widens the closure to every file of the project, and `Closure.notes` says so.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from everloop._version import __version__
from everloop.domain.canonical import sha256
from everloop.domain.pipelines import Component, key_of
from everloop.errors import InvalidDefinition
from everloop.pipelines.code.acting import Actions, Target
from everloop.pipelines.code.described import Described
from everloop.pipelines.code.facts import Imported
from everloop.pipelines.code.kept import Kept
from everloop.pipelines.code.looks import Look, Seen, look_at, read, still
from everloop.pipelines.code.memory import Opaque, code_digest, fingerprint, is_wrapper, unwrapped
from everloop.pipelines.code.normal import digest_of_code
from everloop.pipelines.code.origins import Origin, origin_of
from everloop.pipelines.code.outside import candidates, is_secret
from everloop.pipelines.code.packages import site
from everloop.pipelines.code.scopes import DYNAMIC, Use, outer_uses
from everloop.pipelines.code.source import ModuleSource, Unit, code_names
from everloop.pipelines.code.watched import Watched
from everloop.tracking.places import this_process

_OF_MODULES = frozenset({"__file__", "__name__", "__path__", "__package__", "__spec__", "__version__"})
_IMPORT = re.compile(rb"^[ \t]*(?:import|from)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
_NOT_PROJECT = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


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
_modules: dict[str, tuple[Seen, ModuleSource]] = {}
_compiled: dict[str, tuple[bytes, dict[str, set[str]]]] = {}


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
            remembered = by_root[self.root] = _Walk(self.root, self._kept).run(function)
            self._kept.save()
        self._known[id(function)] = (function, remembered.closure)
        return remembered.closure


def _weakly(value: Any) -> bool:
    return isinstance(value, types.FunctionType | type)


@dataclass
class _Walk:
    root: Path
    kept: Kept
    found: dict[tuple[str, str], dict[tuple[int, str], None]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    files: dict[str, Seen] = field(default_factory=dict)
    watched: Watched = field(default_factory=Watched)
    missing: set[str] = field(default_factory=set)
    named_files: dict[Path, None] = field(default_factory=dict)
    variables: dict[str, None] = field(default_factory=dict)
    acted: dict[Target, list[tuple[ModuleSource, Unit, bool]]] = field(default_factory=dict)
    reached: dict[tuple[str, str], bool] = field(default_factory=dict)
    touched: dict[str, bool] = field(default_factory=dict)
    followed: set[int] = field(default_factory=set)
    keep: list[Any] = field(default_factory=list)
    sources: dict[str, ModuleSource | None] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    lives: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    resolved: dict[str, str] = field(default_factory=dict)
    modules: dict[str, ModuleSource] = field(default_factory=dict)
    widened: bool = False

    def run(self, function: Any) -> _Remembered:
        self._add("python", "python", f"{sys.version_info.major}.{sys.version_info.minor}")
        self.actions = Actions(lambda name: self._source(self._origin(name)))
        self._follow(function)
        closure = Closure(
            tuple(self._components()), tuple(self.notes), tuple(self.named_files), tuple(self.variables)
        )
        if self.widened:  # new files count too, so the next run has to look again
            self.watched.never = True
        for path, module in self.modules.items():
            self.kept.use(self.files[path].digest, module.facts, grown=module.grown)
            module.grown = False
        self.watched.settle()
        return _Remembered(closure, self.files, self.watched, self.missing)

    def _add(self, kind: str, name: str, digest: str, line: int = 0) -> None:
        self.found.setdefault((kind, name), {})[line, digest] = None

    def _components(self) -> Iterator[Component]:
        """One for each kind and name; several statements that bind one name count in the order they stand in."""
        for (kind, name), parts in sorted(self.found.items()):
            ordered = sorted(parts)
            digest = (
                ordered[0][1] if len(ordered) == 1 else sha256("".join(each for _, each in ordered).encode())
            )
            yield Component(kind, name, digest, ordered[0][0])

    # Objects in memory

    def _follow(self, value: Any) -> str:
        """Reach a function, class, module or wrapper of one; returns a name for it."""
        if isinstance(value, functools.partial):
            name = self._follow(value.func)
            self._value(f"{name} partial", lambda: (value.args, value.keywords))
            return name
        self._wrappers(value)
        value = unwrapped(value)
        if isinstance(value, types.MethodType):
            self._instance(value.__self__)
            value = value.__func__
        if isinstance(value, types.ModuleType):
            self._import(value.__name__, (), True, 0)
            return self._identity(value)
        if isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, Described):
            self._describe(value)
        elif (module := getattr(value, "__module__", None)) is not None:
            self._import(
                module, (getattr(value, "__name__", ""),) if hasattr(value, "__name__") else (), True, 0
            )
        return self._identity(value)

    def _wrappers(self, value: Any) -> None:
        """The functions around a decorated one; at the top level of a file its text says which they are."""
        inner = unwrapped(value)
        code = getattr(inner, "__code__", None)
        while value is not inner:
            if isinstance(value, types.FunctionType) and not (code and "." not in code.co_qualname):
                self._function(value, of=self._identity(inner))
            value = value.__wrapped__

    def _describe(self, value: Described) -> None:
        """Take in what code that is not Python says of itself. Its files may change at any time, so it is asked anew each run."""
        if id(value) in self.followed:
            return
        self.followed.add(id(value))
        self.keep.append(value)
        told = value.described(self.root)
        files = dict(self.named_files)
        for each in told.components:
            self._add(each.kind, each.name, each.digest, each.line)
        for name in told.packages:
            self._import(name, (), False, 0)
        for module in told.modules:
            self._touch(module, False)
            for name in [*module.bindings, *module.imports]:
                self._reach(module, (name,), False, 0)
        self.named_files = files  # which files count is said, too
        self.notes.update(dict.fromkeys(told.notes))
        self.watched.never = True

    def _identity(self, value: Any) -> str:
        """A name that is the same whether a file was imported or started as a script."""
        value = unwrapped(value)
        name = (
            value.__name__
            if isinstance(value, types.ModuleType)
            else str(getattr(value, "__module__", None) or "")
        )
        file = getattr(sys.modules.get(name), "__file__", None)
        path = self._resolved(file) if file else None
        place = self._label(path) if path is not None and path.startswith(f"{self.root}{os.sep}") else name
        if isinstance(value, types.ModuleType):
            return place
        return f"{place}::{getattr(value, '__qualname__', type(value).__qualname__)}"

    def _function(self, function: types.FunctionType, of: str = "") -> None:
        """Reach a function as it is in memory; `of` is what it wraps: wrappers with different cells have one name."""
        if id(function) in self.followed:
            return
        self.followed.add(id(function))
        self.keep.append(function)
        name = str(function.__globals__.get("__name__", ""))
        module = self._module_of_globals(name, function.__globals__)
        if isinstance(module, Origin):
            if module.kind != "missing":
                self._import(name, (), True, 0)
                return
            self._memory_function(function, of)
            return
        code = function.__code__
        if module is None or not self._is_current(module, code):
            self._memory_function(function, of)
            return
        self._touch(module, True)
        if "." not in code.co_qualname and code.co_name in module.bindings:
            self._reach(module, (code.co_name,), True, code.co_firstlineno)
        else:
            column = next((position[2] for position in code.co_positions() if position[2]), None)
            node = module.function_at(code.co_name, code.co_firstlineno, column)
            if node is None:
                self._memory_function(function, of)
                return
            label = f"{self._label(module.file)}::{code.co_qualname}"
            self._add("function", label, digest_of_code([node], module.is_declaration), code.co_firstlineno)
            label += of and f" around {of}"
            inner = set(code.co_freevars)
            for use in outer_uses([module.without_declarations(node)]):
                if use.module is not None or not use.chain or use.chain[0] not in inner:
                    self._use(module, use, True)
            self._cells(function, label, module)
        self._defaults(function, f"{self._label(module.file)}::{code.co_qualname}")

    def _module_of_globals(self, name: str, scope: dict[str, Any]) -> ModuleSource | Origin | None:
        """The text of the module a function was made in; its origin when that is not the project's; None without a text."""
        file = scope.get("__file__")
        if name.partition(".")[0] == "everloop":
            return Origin("package", name)
        loaded = sys.modules.get(name)
        if file is None:
            return Origin("missing", name) if loaded is None or vars(loaded) is scope else None
        if loaded is not None and vars(loaded) is scope and name != "__main__":
            origin = self._origin(name)
            if origin.kind != "project" or origin.binary:
                return origin
        path = self._resolved(file)
        return self._read(path, name, str(scope.get("__package__") or "")) if path.endswith(".py") else None

    def _memory_function(self, function: types.FunctionType, of: str = "") -> None:
        """A function whose text cannot be had, or is not the one in memory: its byte code, and what it names."""
        code = function.__code__
        where = Path(code.co_filename)
        label = f"{self._label(str(where)) if where.is_file() else code.co_filename.partition('-')[0]}::{code.co_qualname}"
        self._add("function", label, code_digest(code), code.co_firstlineno)
        label += of and f" around {of}"
        names = list(dict.fromkeys(_names(code)))
        for name in names:
            if name in function.__globals__:
                self._value_of(label, name, function.__globals__, names)
            elif name in DYNAMIC and name != "compile":
                self._widen(f"{label}: {name}()")
        self._cells(function, label, None)
        self._defaults(function, label)

    def _value_of(self, label: str, name: str, scope: dict[str, Any], names: list[str]) -> None:
        value = scope[name]
        if isinstance(value, types.ModuleType):
            used = [each for each in names if hasattr(value, each)]
            for each in used or [""]:
                self._import(value.__name__, (each,) if each else (), True, 0)
        else:
            self._value(f"{label.partition('::')[0]}::{name}", lambda: scope.get(name))

    def _cells(self, function: types.FunctionType, label: str, module: ModuleSource | None) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):

            def content(cell: Any = cell) -> Any:
                try:
                    return cell.cell_contents
                except ValueError:  # not yet bound
                    return None

            if not self._value(f"{label}.{name}", content) and module is not None:
                self._enclosing(function, label, module)

    def _enclosing(self, function: types.FunctionType, label: str, module: ModuleSource) -> None:
        """A cell holds something whose content cannot be told: the code that made it stands for it."""
        outer = function.__code__.co_qualname.partition(".")[0]
        if outer in module.bindings:
            self._reach(module, (outer,), True, function.__code__.co_firstlineno)

    def _defaults(self, function: types.FunctionType, label: str) -> None:
        if function.__defaults__ or function.__kwdefaults__:
            self._value(f"{label} defaults", lambda: (function.__defaults__, function.__kwdefaults__))

    def _value(self, name: str, get: Callable[[], Any]) -> bool:
        """Add what a name stands for in memory; False when its content cannot be told."""

        def current() -> str | None:
            try:
                return fingerprint(get(), self._identity, self.root, self._is_own)[0]
            except Opaque:
                return None

        value = get()
        if isinstance(value, types.FunctionType | type) or is_wrapper(value):
            self._follow(value)
            self.watched.same(lambda: unwrapped(get()), unwrapped(value))
            return True
        try:
            digest, whole = fingerprint(value, self._follow, self.root, self._is_own)
        except Opaque:
            self._instance(value)
            self.watched.content(get, current, None)
            return False
        self.watched.content(get, current, digest)
        self._add("value", name, digest)
        return whole

    def _is_own(self, kind: type) -> bool:
        """Whether a class is the project's."""
        return kind.__module__ == "__main__" or self._origin(kind.__module__).kind == "project"

    def _instance(self, value: Any) -> None:
        """An object whose content cannot be told: at least its class's code counts."""
        kind = type(value)
        if kind.__module__ != "builtins":
            self._class(kind)

    def _class(self, kind: type) -> None:
        if id(kind) in self.followed or kind.__module__ == "builtins":
            return
        self.followed.add(id(kind))
        self.keep.append(kind)
        loaded = sys.modules.get(kind.__module__)
        top = kind.__qualname__.partition(".")[0]
        if loaded is not None and (hasattr(loaded, top) or "<locals>" not in kind.__qualname__):
            self._import(kind.__module__, (top,), True, 0)
            if "<locals>" not in kind.__qualname__:
                return
        for base in kind.__mro__[1:]:
            self._class(base)
        for member in vars(kind).values():
            inner = unwrapped(getattr(member, "fget", None) or getattr(member, "__func__", None) or member)
            if isinstance(inner, types.FunctionType):
                self._function(inner)

    def _is_current(self, module: ModuleSource, code: types.CodeType) -> bool:
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

    # Text

    def _read(self, path: str, name: str, package: str) -> ModuleSource | None:
        try:
            known = _modules.get(path)
            seen = None if known is None else still(path, known[0], look_at(path))
            if known is not None and seen is not None:
                module = known[1]
            else:
                content, seen = read(path)
                module = ModuleSource(path, name, package, content, self.kept.get(seen.digest))
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

    def _resolved(self, path: str) -> str:
        """The path without symbolic links. Folders are asked about once: modules of one folder are many."""
        known = self.resolved.get(path)
        if known is None:
            folder, name = os.path.split(path)
            real = self.resolved.get(f"{folder}{os.sep}")
            if real is None:
                real = self.resolved[f"{folder}{os.sep}"] = os.path.realpath(folder)
            known = os.path.join(real, name)
            if os.path.islink(known):
                known = os.path.realpath(known)
            self.resolved[path] = known
        return known

    def _reach(self, module: ModuleSource, chain: tuple[str, ...], eager: bool, line: int) -> bool:
        """Reach what a dotted name of a module stands for; False when the module's text does not bind it."""
        name, rest = chain[0], chain[1:]
        found = False
        ways = len(module.bindings.get(name, ())) + len(module.imports.get(name, ()))
        if name in module.bindings:
            found = True
            if not self._is_reached(module, name, eager):
                live = self._live(module) if eager else None
                for unit in module.bindings[name]:
                    self._unit(module, unit, eager)
                    if live is not None and name in live:
                        self._check_memory(module, unit, name, live)
                    elif unit.kind == "constant":
                        self._files_of(module, unit)
                for acting, unit, eagerly in self.acted.get((module.file, name), ()):
                    self._unit(acting, unit, eagerly)
        if name in module.imports:
            found = True
            if not self._is_reached(module, f"import {'.'.join(chain)}", eager):
                for each in module.imports[name]:
                    self._import_here(module, each, rest, eager)
        for star in module.stars:
            target = self._origin(module.resolve(star.level, star.module))
            source = self._source(target)
            if source is None and target.kind == "package" and not found:
                self._package(target)
            if source is not None and source is not module and self._star_offers(source, name, set()):
                self._touch(source, eager)
                self._offered(source, name, eager, line)
                found = self._reach(source, chain, eager, line) or found
                ways += 1
        if ways > 1 and eager:
            self._chosen(module, name)
        if found:
            return True
        if (
            os.path.basename(module.file) == "__init__.py"
            and self._origin(f"{module.name}.{name}").kind == "project"
        ):
            self._import(f"{module.name}.{name}", rest, eager, line)
            return True
        if "__getattr__" in module.bindings and name != "__getattr__":
            self._reach(module, ("__getattr__",), eager, line)
            self._widen(f"{self._label(module.file)}: __getattr__ of the module, asked for {name}")
            return True
        live = self._live(module) if eager else None
        if live is not None and name in live and not (name.startswith("__") and name.endswith("__")):
            self._value(
                f"{self._label(module.file)}::{name}", lambda: live.get(name)
            )  # put there from elsewhere
        return False

    def _import_here(self, module: ModuleSource, each: Imported, rest: tuple[str, ...], eager: bool) -> None:
        target, chain = module.resolve(each.level, each.module), (*each.chain, *rest)
        if target == module.name and chain:  # ``from . import inner`` in a package's own file
            target, chain = f"{target}.{chain[0]}", chain[1:]
        self._import(target, chain, eager, each.line)

    def _star_offers(self, module: ModuleSource, name: str, asked: set[Path]) -> bool:
        if name in module.bindings or name in module.imports:
            return True
        asked.add(module.path)
        inner = (self._source(self._origin(module.resolve(each.level, each.module))) for each in module.stars)
        return any(
            each is not None and each.path not in asked and self._star_offers(each, name, asked)
            for each in inner
        )

    def _offered(self, module: ModuleSource, name: str, eager: bool, line: int) -> None:
        """Whether ``from module import *`` brings this name along, where the module says so itself."""
        live = self._live(module) if eager else None
        if live is not None and isinstance(live.get("__all__"), list | tuple):
            self._value(
                f"{self._label(module.file)}::__all__ has {name}", lambda: name in live.get("__all__", ())
            )
        elif "__all__" in module.bindings:
            self._reach(module, ("__all__",), eager, line)

    def _chosen(self, module: ModuleSource, name: str) -> None:
        """Which of several statements a name stands for: the order they are run in decides."""
        live = self._live(module)
        value = None if live is None else unwrapped(live.get(name))
        if live is None or not isinstance(value, types.FunctionType | type | types.ModuleType):
            return
        code = getattr(value, "__code__", None)
        what = f"{self._identity(value)} {code_digest(code) if code else ''}"
        self._add("value", f"{self._label(module.file)}::{name} as bound last", sha256(what.encode()))
        self.watched.same(lambda: unwrapped(live.get(name)), value)

    def _files_of(self, module: ModuleSource, unit: Unit) -> None:
        """Memory does not tell what a statement at the top level made, so the files that it names count."""
        for use in unit.uses:
            self._files(module, use.files)
        self._files(module, unit.texts)

    def _files(self, module: ModuleSource, texts: tuple[str, ...]) -> None:
        self.named_files.update(dict.fromkeys(candidates(texts, module.path.parent, self.root)))

    def _is_reached(self, module: ModuleSource, name: str, eager: bool) -> bool:
        before = self.reached.get((module.file, name))
        if before is None or (eager and not before):
            self.reached[module.file, name] = eager
            return False
        return True

    def _unit(self, module: ModuleSource, unit: Unit, eager: bool) -> None:
        self._add(unit.kind, f"{self._label(module.file)}::{unit.label}", unit.digest, unit.line)
        for use in unit.uses:
            self._use(module, use, eager)

    def _check_memory(self, module: ModuleSource, unit: Unit, name: str, live: dict[str, Any]) -> None:
        """What the module's text says of a name, against what the name stands for in this process."""
        value = unwrapped(live[name])
        if unit.kind == "function":
            if isinstance(value, types.FunctionType):
                code = value.__code__
                same = code.co_filename == module.file or self._resolved(code.co_filename) == module.file
                if not (same and code.co_name == name and self._is_current(module, code)):
                    self._function(value)
                if value is live[name]:
                    self.watched.named(live, name, value)
                else:
                    self.watched.same(lambda: unwrapped(live.get(name)), value)
        elif unit.kind == "class":
            if isinstance(value, type) and value.__module__ == module.name:
                for member in vars(value).values():
                    inner = unwrapped(
                        getattr(member, "fget", None) or getattr(member, "__func__", None) or member
                    )
                    if isinstance(inner, types.FunctionType) and not self._is_as_written(module, name, inner):
                        self._function(inner)
        elif unit.kind == "constant" and not self._value(
            f"{self._label(module.file)}::{name}", lambda: live.get(name)
        ):
            self._files_of(module, unit)

    def _is_as_written(self, module: ModuleSource, name: str, method: types.FunctionType) -> bool:
        """Whether a method is the one that its class's text says: not put there from elsewhere, not of an older text."""
        code = method.__code__
        path = code.co_filename
        if path != module.file and self._resolved(path) != module.file:
            return not os.path.isfile(
                path
            )  # dataclasses and the like generate theirs from what the text says
        if code.co_qualname.partition(".")[0] != name and "<locals>" not in code.co_qualname:
            return False
        return self._is_current(module, code)

    def _use(self, module: ModuleSource, use: Use, eager: bool) -> None:
        if use.dynamic and not (use.chain and self._binds(module, use.chain[0])):
            self._widen(f"{self._label(module.file)}, line {use.line}: {use.dynamic}")
        if use.files:
            self._files(module, use.files)
        if use.variable is not None or use.read:
            self._outside(module, use, eager)
        if use.module is not None:
            target = module.resolve(use.level, use.module)
            if use.only_import:
                self._only_import(target, use, eager=False)
            else:
                self._import(target, use.chain, False, use.line)
        elif use.chain:
            self._reach(module, use.chain, eager, use.line)

    def _outside(self, module: ModuleSource, use: Use, eager: bool) -> None:
        """An environment variable that is asked for by name; a file whose path is a constant."""
        came = [module.resolve(use.level, use.module)] if use.module is not None else []
        came += [each.module for each in module.imports.get(use.chain[0] if use.chain else "", ())]
        if use.variable is not None and "os" in came:
            if not use.variable:
                where = f"{self._label(module.file)}, line {use.line}"
                self.notes[f"{where}: an environment variable with a computed name is no part of the key"] = (
                    None
                )
            elif not is_secret(use.variable):
                self.variables[use.variable] = None
        live = self._live(module) if use.read and eager and use.module is None else None
        value = None if live is None else live.get(use.chain[0])
        if isinstance(value, str | PurePath) and len(use.chain) == 1:
            self._files(module, (str(value),))

    def _binds(self, module: ModuleSource, name: str) -> bool:
        return name in module.bindings or name in module.imports

    def _only_import(self, target: str, use: Use, *, eager: bool) -> None:
        origin = self._origin(target)
        if origin.kind == "package":
            self._package(origin)
        source = self._source(origin)
        if source is not None:
            self._touch(source, eager)
        if use.chain and origin.is_package:
            inner = self._source(self._origin(f"{target}.{use.chain[0]}"))
            if inner is not None:
                self._touch(inner, eager)

    def _import(self, name: str, chain: tuple[str, ...], eager: bool, line: int) -> None:
        origin = self._origin(name)
        if origin.kind == "package":
            self._package(origin)
        elif origin.kind == "missing":
            if name not in sys.modules:
                self.missing.add(name)
                self._add("missing module", name, "missing", line)
        elif origin.kind == "project":
            if origin.binary and origin.file is not None:
                seen = self.files[origin.file] = read(origin.file)[1]
                self._add("binary", self._label(origin.file), seen.digest.hex())
                return
            source = self._source(origin)
            if source is None:
                if origin.is_package and chain:  # a folder without __init__.py
                    self._import(f"{name}.{chain[0]}", chain[1:], eager, line)
                return
            self._touch(source, eager)
            if not chain or (not self._reach(source, chain, eager, line) and chain[0] not in _OF_MODULES):
                self._whole(source, eager, line)

    def _whole(self, source: ModuleSource, eager: bool, line: int) -> None:
        """All names of a module: it is passed around, or asked for a name that its text does not show."""
        if self._is_reached(source, "*", eager):
            return
        for each in [*source.bindings, *source.imports]:
            self._reach(source, (each,), eager, line)
        for star in source.stars:
            self._import(source.resolve(star.level, star.module), (), eager, line)

    def _source(self, origin: Origin) -> ModuleSource | None:
        if origin.kind != "project" or origin.binary or origin.file is None:
            return None
        if origin.name not in self.sources:
            self.sources[origin.name] = self._read(self._resolved(origin.file), origin.name, origin.package)
        return self.sources[origin.name]

    def _origin(self, name: str) -> Origin:
        if name not in self.origins:
            self.origins[name] = origin_of(name)
        return self.origins[name]

    def _live(self, module: ModuleSource) -> dict[str, Any] | None:
        """What the names of a module stand for in this process, when it is loaded."""
        if module.file not in self.lives:
            loaded = sys.modules.get(module.name)
            file = getattr(loaded, "__file__", None)
            same = loaded is not None and file is not None and self._resolved(file) == module.file
            self.lives[module.file] = vars(loaded) if same else None
        return self.lives[module.file]

    def _touch(self, module: ModuleSource, eager: bool) -> None:
        """Importing a module runs it: its effects count, and those of the project's modules it imports in turn."""
        if self.touched.get(module.file) in {True, eager}:
            return
        self.touched[module.file] = eager
        parts = module.name.split(".")
        for count in range(1, len(parts)):
            parent = self._source(self._origin(".".join(parts[:count])))
            if parent is not None and parent is not module:
                self._touch(parent, eager)
        for unit in module.effects:
            self._unit(module, unit, eager)
        for changed, unit in self.actions.of(module):
            self.acted.setdefault(changed, []).append((module, unit, eager))
            if changed in self.reached:
                self._unit(module, unit, eager)
        for each in module.loaded:
            target = self._origin(module.resolve(each.level, each.module))
            for candidate in (
                target,
                *(
                    [self._origin(f"{target.name}.{each.chain[0]}")]
                    if each.chain and target.is_package
                    else []
                ),
            ):
                source = self._source(candidate)
                if source is not None:
                    self._touch(source, eager)

    def _package(self, origin: Origin) -> None:
        top = origin.name.partition(".")[0]
        if ("package", top) in self.found:
            return
        if top == "everloop":
            self._add("package", "everloop", __version__)
            return
        if origin.site is None:
            return
        owners = site(origin.site).owners(top)
        for owner in owners:
            for name, version in site(origin.site).closure(owner).items():
                self._add("package", name, version)
        file = None if owners else self._origin(top).file
        if file is not None and os.path.isfile(file):
            self._add("package", top, read(file)[1].digest.hex())

    def _widen(self, why: str) -> None:
        self.notes[f"{why} cannot be seen through, so any change of the project's code re-runs this step"] = (
            None
        )
        if self.widened:
            return
        self.widened = True
        for path in project_files(self.root):
            text = path.read_bytes()
            self._add("project file", self._label(str(path)), sha256(text))
            for top in sorted({found.decode() for found in _IMPORT.findall(text)}):
                origin = self._origin(top)
                if origin.kind == "package":
                    self._package(origin)

    def _label(self, path: str) -> str:
        """The path within the project; of a file beside it, the path it would be imported by."""
        if path not in self.labels:
            inside = f"{self.root}{os.sep}"
            if path.startswith(inside):
                self.labels[path] = path[len(inside) :].replace(os.sep, "/")
            else:
                beside = Path(path)
                place = next(
                    (each for each in sys.path if each and beside.is_relative_to(each)), beside.parent
                )
                self.labels[path] = beside.relative_to(place).as_posix()
        return self.labels[path]


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


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _names(each)


@cache
def _process_start_ns() -> int:
    """When this process began, a second early to be safe: a file not changed since cannot differ from what was imported."""
    return int((this_process().began - 1.0) * 1e9)
