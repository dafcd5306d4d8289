"""All code that a step can reach, as components with digests: a change of behaviour changes one of them, nothing else does.

The walk reads the project's files as text (nothing is imported for it) and follows names from statement to statement. Where text
is not the whole truth, memory is asked: values of constants that the module computed when it was imported, cells of closures,
functions that were put in the place of others, files edited since they were imported. Code that cannot be seen through (`eval`,
computed imports and attributes) widens the closure to every file of the project, and `Closure.notes` says so.
"""

from __future__ import annotations

import os
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from everloop._version import __version__
from everloop.domain.canonical import sha256
from everloop.domain.pipelines import Component, key_of
from everloop.errors import InvalidDefinition
from everloop.pipelines.code.memory import Opaque, code_digest, fingerprint, unwrapped
from everloop.pipelines.code.normal import digest_of_code
from everloop.pipelines.code.origins import Origin, origin_of
from everloop.pipelines.code.packages import site
from everloop.pipelines.code.scopes import DYNAMIC, Use, outer_uses
from everloop.pipelines.code.source import ModuleSource, Unit, code_names, read_module, stamp

_NOT_PROJECT = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


@dataclass(frozen=True)
class Closure:
    """What a function's behaviour depends on. `notes` are sentences about what could not be seen through."""

    components: tuple[Component, ...]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return key_of(self.components)


@dataclass
class _Remembered:
    closure: Closure
    files: dict[Path, tuple[int, int, int]]
    values: list[tuple[Callable[[], str | None], str | None]]
    missing: set[str]

    def holds(self) -> bool:
        """Whether nothing it was made from has changed."""
        try:
            return (
                all(stamp(path) == known for path, known in self.files.items())
                and all(current() == known for current, known in self.values)
                and all(origin_of(name).kind == "missing" for name in self.missing)
            )
        except OSError:
            return False


_remembered: weakref.WeakKeyDictionary[Any, dict[Path, _Remembered]] = weakref.WeakKeyDictionary()
_modules: dict[Path, tuple[tuple[int, int, int], ModuleSource]] = {}
_compiled: dict[Path, tuple[tuple[int, int, int], dict[str, set[str]]]] = {}


class Closures:
    """Closures of one project at one moment: files are looked at once, so use a new one for each run.

    root: the project's folder; components name files relative to it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._known: dict[int, tuple[Any, Closure]] = {}

    def of(self, function: Any) -> Closure:
        """The closure of a function, class or module. What has not changed since the last time is not read again."""
        known = self._known.get(id(function))
        if known is not None:
            return known[1]
        by_root = _remembered.setdefault(function, {}) if _weakly(function) else {}
        remembered = by_root.get(self.root)
        if remembered is None or not remembered.holds():
            remembered = by_root[self.root] = _Walk(self.root).run(function)
        self._known[id(function)] = (function, remembered.closure)
        return remembered.closure


def _weakly(value: Any) -> bool:
    return isinstance(value, types.FunctionType | type)


@dataclass
class _Walk:
    root: Path
    found: dict[tuple[str, str], dict[tuple[int, str], None]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    files: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    values: list[tuple[Callable[[], str | None], str | None]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    reached: dict[tuple[Path, str], bool] = field(default_factory=dict)
    touched: dict[Path, bool] = field(default_factory=dict)
    followed: set[int] = field(default_factory=set)
    keep: list[Any] = field(default_factory=list)
    widened: bool = False

    def run(self, function: Any) -> _Remembered:
        self._add("python", "python", f"{sys.version_info.major}.{sys.version_info.minor}")
        self._follow(function)
        closure = Closure(tuple(self._components()), tuple(self.notes))
        if self.widened:  # new files count too, so the next run has to look again
            self.values.append((lambda: None, "never"))
        return _Remembered(closure, self.files, self.values, self.missing)

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
        value = unwrapped(value)
        if isinstance(value, types.MethodType):
            value = value.__func__
        if isinstance(value, types.ModuleType):
            self._import(value.__name__, (), True, 0)
            return self._identity(value)
        if isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif (module := getattr(value, "__module__", None)) is not None:
            self._import(
                module, (getattr(value, "__name__", ""),) if hasattr(value, "__name__") else (), True, 0
            )
        return self._identity(value)

    def _identity(self, value: Any) -> str:
        """A name that is the same whether a file was imported or started as a script."""
        value = unwrapped(value)
        name = (
            value.__name__
            if isinstance(value, types.ModuleType)
            else str(getattr(value, "__module__", None) or "")
        )
        file = getattr(sys.modules.get(name), "__file__", None)
        path = Path(file).resolve() if file else None
        place = self._label(path) if path is not None and path.is_relative_to(self.root) else name
        if isinstance(value, types.ModuleType):
            return place
        return f"{place}::{getattr(value, '__qualname__', type(value).__qualname__)}"

    def _function(self, function: types.FunctionType) -> None:
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
            self._memory_function(function)
            return
        code = function.__code__
        if module is None or not self._is_current(module, code):
            self._memory_function(function)
            return
        self._touch(module, True)
        if "." not in code.co_qualname and code.co_name in module.bindings:
            self._reach(module, (code.co_name,), True, code.co_firstlineno)
        else:
            column = next((position[2] for position in code.co_positions() if position[2]), None)
            node = module.function_at(code.co_name, code.co_firstlineno, column)
            if node is None:
                self._memory_function(function)
                return
            label = f"{self._label(module.path)}::{code.co_qualname}"
            self._add("function", label, digest_of_code([node], module.is_declaration), code.co_firstlineno)
            inner = set(code.co_freevars)
            for use in outer_uses([module.without_declarations(node)]):
                if use.module is not None or not use.chain or use.chain[0] not in inner:
                    self._use(module, use, True)
            self._cells(function, label, module)
        self._defaults(function, f"{self._label(module.path)}::{code.co_qualname}")

    def _module_of_globals(self, name: str, scope: dict[str, Any]) -> ModuleSource | Origin | None:
        """The text of the module a function was made in; its origin when that is not the project's; None without a text."""
        file = scope.get("__file__")
        if name.partition(".")[0] == "everloop":
            return Origin("package", name)
        loaded = sys.modules.get(name)
        if file is None:
            return Origin("missing", name) if loaded is None or vars(loaded) is scope else None
        if loaded is not None and vars(loaded) is scope and name != "__main__":
            origin = origin_of(name)
            if origin.kind != "project" or origin.binary:
                return origin
        path = Path(file).resolve()
        return self._read(path, name, str(scope.get("__package__") or "")) if path.suffix == ".py" else None

    def _memory_function(self, function: types.FunctionType) -> None:
        """A function whose text cannot be had, or is not the one in memory: its byte code, and what it names."""
        code = function.__code__
        where = Path(code.co_filename)
        label = f"{self._label(where) if where.is_file() else code.co_filename.partition('-')[0]}::{code.co_qualname}"
        self._add("function", label, code_digest(code), code.co_firstlineno)
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
                return fingerprint(get(), self._identity, self.root)
            except Opaque:
                return None

        value = get()
        if isinstance(value, types.FunctionType | type) or hasattr(value, "__wrapped__"):
            self._follow(value)
            self.values.append((lambda: str(id(unwrapped(get()))), str(id(unwrapped(value)))))
            return True
        try:
            digest = fingerprint(value, self._follow, self.root)
        except Opaque:
            self._instance(value)
            self.values.append((current, None))
            return False
        self.values.append((current, current()))
        self._add("value", name, digest)
        return True

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
        known = self.files[module.path]
        if known[2] < _process_start_ns():
            return True
        found = _compiled.get(module.path)
        if found is None or found[0] != known:
            by_name: dict[str, set[str]] = {}
            for name, each in code_names(module.text, module.path):
                by_name.setdefault(name, set()).add(code_digest(each))  # type: ignore[arg-type]
            found = _compiled[module.path] = (known, by_name)
        return code_digest(code) in found[1].get(code.co_qualname, ())

    # Text

    def _read(self, path: Path, name: str, package: str) -> ModuleSource | None:
        try:
            now = stamp(path)
            known = _modules.get(path)
            if known is None or known[0] != now:
                known = _modules[path] = (now, read_module(path, name, package))
        except OSError:
            return None
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            raise InvalidDefinition(
                f"{path}{f', line {line}' if line else ''}: {getattr(error, 'msg', error)}",
                hint="mend the file and try again",
            ) from None
        self.files[path] = now
        return known[1]

    def _reach(self, module: ModuleSource, chain: tuple[str, ...], eager: bool, line: int) -> None:
        name, rest = chain[0], chain[1:]
        found = False
        if name in module.bindings:
            found = True
            if not self._is_reached(module, name, eager):
                live = _live(module) if eager else None
                for unit in module.bindings[name]:
                    self._unit(module, unit, eager)
                    if live is not None and name in live:
                        self._check_memory(module, unit, name, live)
        for each in module.imports.get(name, ()):
            found = True
            self._import(module.resolve(each.level, each.module), (*each.chain, *rest), eager, each.line)
        if found:
            return
        for star in module.stars:
            target = origin_of(module.resolve(star.level, star.module))
            source = self._source(target)
            if source is None and target.kind == "package":
                self._package(target)
            if source is not None and _offers(source, name):
                self._touch(source, eager)
                self._reach(source, chain, eager, line)
                return
        if module.path.name == "__init__.py" and origin_of(f"{module.name}.{name}").kind == "project":
            self._import(f"{module.name}.{name}", rest, eager, line)
        elif "__getattr__" in module.bindings and name != "__getattr__":
            self._reach(module, ("__getattr__",), eager, line)
            self._widen(f"{self._label(module.path)}: __getattr__ of the module, asked for {name}")

    def _is_reached(self, module: ModuleSource, name: str, eager: bool) -> bool:
        before = self.reached.get((module.path, name))
        if before is None or (eager and not before):
            self.reached[module.path, name] = eager
            return False
        return True

    def _unit(self, module: ModuleSource, unit: Unit, eager: bool) -> None:
        self._add(unit.kind, f"{self._label(module.path)}::{unit.label}", unit.digest, unit.line)
        for use in unit.uses:
            self._use(module, use, eager)

    def _check_memory(self, module: ModuleSource, unit: Unit, name: str, live: dict[str, Any]) -> None:
        """What the module's text says of a name, against what the name stands for in this process."""
        value = unwrapped(live[name])
        if unit.kind == "function":
            if isinstance(value, types.FunctionType):
                code = value.__code__
                same = (
                    Path(code.co_filename) == module.path or Path(code.co_filename).resolve() == module.path
                )
                if not (same and code.co_name == name and self._is_current(module, code)):
                    self._function(value)
                self.values.append((lambda: str(id(unwrapped(live.get(name)))), str(id(value))))
        elif unit.kind == "class":
            if isinstance(value, type) and value.__module__ == module.name:
                for member in vars(value).values():
                    inner = unwrapped(
                        getattr(member, "fget", None) or getattr(member, "__func__", None) or member
                    )
                    if (
                        isinstance(inner, types.FunctionType)
                        and Path(inner.__code__.co_filename) == module.path
                        and not self._is_current(module, inner.__code__)
                    ):
                        self._function(inner)
        elif unit.kind == "constant":
            self._value(f"{self._label(module.path)}::{name}", lambda: live.get(name))

    def _use(self, module: ModuleSource, use: Use, eager: bool) -> None:
        if use.dynamic and not (use.chain and self._binds(module, use.chain[0])):
            self._widen(f"{self._label(module.path)}, line {use.line}: {use.dynamic}")
        elif use.module is not None:
            target = module.resolve(use.level, use.module)
            if use.only_import:
                self._only_import(target, use, eager=False)
            else:
                self._import(target, use.chain, False, use.line)
        elif use.chain:
            self._reach(module, use.chain, eager, use.line)

    def _binds(self, module: ModuleSource, name: str) -> bool:
        return name in module.bindings or name in module.imports

    def _only_import(self, target: str, use: Use, *, eager: bool) -> None:
        origin = origin_of(target)
        if origin.kind == "package":
            self._package(origin)
        source = self._source(origin)
        if source is not None:
            self._touch(source, eager)
        if use.chain and origin.is_package:
            inner = self._source(origin_of(f"{target}.{use.chain[0]}"))
            if inner is not None:
                self._touch(inner, eager)

    def _import(self, name: str, chain: tuple[str, ...], eager: bool, line: int) -> None:
        origin = origin_of(name)
        if origin.kind == "package":
            self._package(origin)
        elif origin.kind == "missing":
            if name not in sys.modules:
                self.missing.add(name)
                self._add("missing module", name, "missing", line)
        elif origin.kind == "project":
            if origin.binary and origin.path is not None:
                self.files[origin.path] = stamp(origin.path)
                self._add("binary", self._label(origin.path), sha256(origin.path.read_bytes()))
                return
            source = self._source(origin)
            if source is None:
                if origin.is_package and chain:  # a folder without __init__.py
                    self._import(f"{name}.{chain[0]}", chain[1:], eager, line)
                return
            self._touch(source, eager)
            if chain:
                self._reach(source, chain, eager, line)
            else:
                for each in [*source.bindings, *source.imports]:
                    self._reach(source, (each,), eager, line)

    def _source(self, origin: Origin) -> ModuleSource | None:
        if origin.kind != "project" or origin.binary or origin.path is None:
            return None
        return self._read(origin.path.resolve(), origin.name, origin.package)

    def _touch(self, module: ModuleSource, eager: bool) -> None:
        """Importing a module runs it: its effects count, and those of the project's modules it imports in turn."""
        if self.touched.get(module.path) in {True, eager}:
            return
        self.touched[module.path] = eager
        parts = module.name.split(".")
        for count in range(1, len(parts)):
            parent = self._source(origin_of(".".join(parts[:count])))
            if parent is not None and parent is not module:
                self._touch(parent, eager)
        for unit in module.effects:
            self._unit(module, unit, eager)
        for each in module.loaded:
            target = origin_of(module.resolve(each.level, each.module))
            for candidate in (
                target,
                *([origin_of(f"{target.name}.{each.chain[0]}")] if each.chain and target.is_package else []),
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
        if not owners and origin.path is not None and origin.path.is_file():
            self._add("package", top, sha256(origin.path.read_bytes()))

    def _widen(self, why: str) -> None:
        self.notes[f"{why} cannot be seen through, so any change of the project's code re-runs this step"] = (
            None
        )
        if self.widened:
            return
        self.widened = True
        for path in project_files(self.root):
            self._add("project file", self._label(path), sha256(path.read_bytes()))

    def _label(self, path: Path) -> str:
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.name


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


def _live(module: ModuleSource) -> dict[str, Any] | None:
    loaded = sys.modules.get(module.name)
    file = getattr(loaded, "__file__", None)
    if loaded is None or file is None or Path(file).resolve() != module.path:
        return None
    return vars(loaded)


def _offers(module: ModuleSource, name: str) -> bool:
    return name in module.bindings or name in module.imports or bool(module.stars)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _names(each)


@cache
def _process_start_ns() -> int:
    """When this process began, a second early to be safe: a file not changed since cannot differ from what was imported."""
    return int((psutil.Process().create_time() - 1.0) * 1e9)
