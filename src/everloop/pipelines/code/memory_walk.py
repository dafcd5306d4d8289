"""The half of the walk that looks into memory: functions, classes and values as they are in this process.

Where text is not the whole truth, memory is asked: values of constants that the module computed when it was imported, cells of
closures, functions that were put in the place of others, files edited since they were imported.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everloop.domain.canonical import sha256
from everloop.pipelines.code.described import Described
from everloop.pipelines.code.findings import Findings
from everloop.pipelines.code.memory import Opaque, code_digest, fingerprint, is_wrapper, unwrapped
from everloop.pipelines.code.normal import digest_of_code
from everloop.pipelines.code.origins import Origin
from everloop.pipelines.code.project import Project
from everloop.pipelines.code.scopes import DYNAMIC, outer_uses
from everloop.pipelines.code.source import ModuleSource, Unit

if TYPE_CHECKING:
    from everloop.pipelines.code.text_walk import TextWalk


class MemoryWalk:
    """Reaches objects, and compares what the text of a module says of a name with what the name stands for.

    text: the other half, which reaches what their code names.
    """

    def __init__(self, project: Project, found: Findings, text: TextWalk) -> None:
        self._project, self._found, self._text = project, found, text
        self._followed: set[int] = set()
        self._keep: list[Any] = []

    def follow(self, value: Any) -> str:
        """Reach a function, class, module or wrapper of one; returns a name for it."""
        if isinstance(value, functools.partial):
            name = self.follow(value.func)
            self.value(f"{name} partial", lambda: (value.args, value.keywords))
            return name
        self._wrappers(value)
        value = unwrapped(value)
        if isinstance(value, types.MethodType):
            self._instance(value.__self__)
            value = value.__func__
        if isinstance(value, types.ModuleType):
            self._text.imported(value.__name__, (), True, 0)
            return self._project.identity(value)
        if isinstance(value, types.FunctionType):
            self.function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, Described):
            self._describe(value)
        elif (module := getattr(value, "__module__", None)) is not None:
            self._text.imported(
                module, (getattr(value, "__name__", ""),) if hasattr(value, "__name__") else (), True, 0
            )
        return self._project.identity(value)

    def _wrappers(self, value: Any) -> None:
        """The functions around a decorated one; at the top level of a file its text says which they are."""
        inner = unwrapped(value)
        code = getattr(inner, "__code__", None)
        while value is not inner:
            if isinstance(value, types.FunctionType) and not (code and "." not in code.co_qualname):
                self.function(value, of=self._project.identity(inner))
            value = value.__wrapped__

    def _describe(self, value: Described) -> None:
        """Take in what code that is not Python says of itself. Its files may change at any time, so it is asked anew each run."""
        if id(value) in self._followed:
            return
        self._followed.add(id(value))
        self._keep.append(value)
        told = value.described(self._project.root)
        files = dict(self._found.named_files)
        for each in told.components:
            self._found.add(each.kind, each.name, each.digest, each.line)
        for name in told.packages:
            self._text.imported(name, (), False, 0)
        for module in told.modules:
            self._text.touch(module, False)
            for name in [*module.bindings, *module.imports]:
                self._text.reach(module, (name,), False, 0)
        if not told.apart:
            self._found.named_files = files  # which files count is said, too
        self._found.notes.update(dict.fromkeys(told.notes))
        self._found.watched.never = True

    def function(self, function: types.FunctionType, of: str = "") -> None:
        """Reach a function as it is in memory; `of` is what it wraps: wrappers with different cells have one name."""
        if id(function) in self._followed:
            return
        self._followed.add(id(function))
        self._keep.append(function)
        name = str(function.__globals__.get("__name__", ""))
        module = self._project.module_of_globals(name, function.__globals__)
        if isinstance(module, Origin):
            if module.kind != "missing":
                self._text.imported(name, (), True, 0)
                return
            self._memory_function(function, of)
            return
        code = function.__code__
        if module is None or not self._project.is_current(module, code):
            self._memory_function(function, of)
            return
        self._text.touch(module, True)
        if "." not in code.co_qualname and code.co_name in module.bindings:
            self._text.reach(module, (code.co_name,), True, code.co_firstlineno)
        else:
            column = next((position[2] for position in code.co_positions() if position[2]), None)
            node = module.function_at(code.co_name, code.co_firstlineno, column)
            if node is None:
                self._memory_function(function, of)
                return
            label = f"{self._project.label(module.file)}::{code.co_qualname}"
            self._found.add(
                "function", label, digest_of_code([node], module.is_declaration), code.co_firstlineno
            )
            label += of and f" around {of}"
            inner = set(code.co_freevars)
            for use in outer_uses([module.without_declarations(node)]):
                if use.module is not None or not use.chain or use.chain[0] not in inner:
                    self._text.use(module, use, True)
            self._cells(function, label, module)
        self._defaults(function, f"{self._project.label(module.file)}::{code.co_qualname}")

    def _memory_function(self, function: types.FunctionType, of: str = "") -> None:
        """A function whose text cannot be had, or is not the one in memory: its byte code, and what it names."""
        code = function.__code__
        where = Path(code.co_filename)
        place = self._project.label(str(where)) if where.is_file() else code.co_filename.partition("-")[0]
        label = f"{place}::{code.co_qualname}"
        self._found.add("function", label, code_digest(code), code.co_firstlineno)
        label += of and f" around {of}"
        names = list(dict.fromkeys(_names(code)))
        for name in names:
            if name in function.__globals__:
                self._value_of(label, name, function.__globals__, names)
            elif name in DYNAMIC and name != "compile":
                self._found.widen(f"{label}: {name}()")
        self._cells(function, label, None)
        self._defaults(function, label)

    def _value_of(self, label: str, name: str, scope: dict[str, Any], names: list[str]) -> None:
        value = scope[name]
        if isinstance(value, types.ModuleType):
            used = [each for each in names if hasattr(value, each)]
            for each in used or [""]:
                self._text.imported(value.__name__, (each,) if each else (), True, 0)
        else:
            self.value(f"{label.partition('::')[0]}::{name}", lambda: scope.get(name))

    def _cells(self, function: types.FunctionType, label: str, module: ModuleSource | None) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):

            def content(cell: Any = cell) -> Any:
                try:
                    return cell.cell_contents
                except ValueError:  # not yet bound
                    return None

            if not self.value(f"{label}.{name}", content) and module is not None:
                self._enclosing(function, label, module)

    def _enclosing(self, function: types.FunctionType, label: str, module: ModuleSource) -> None:
        """A cell holds something whose content cannot be told: the code that made it stands for it."""
        outer = function.__code__.co_qualname.partition(".")[0]
        if outer in module.bindings:
            self._text.reach(module, (outer,), True, function.__code__.co_firstlineno)

    def _defaults(self, function: types.FunctionType, label: str) -> None:
        if function.__defaults__ or function.__kwdefaults__:
            self.value(f"{label} defaults", lambda: (function.__defaults__, function.__kwdefaults__))

    def value(self, name: str, get: Callable[[], Any]) -> bool:
        """Add what a name stands for in memory; False when its content cannot be told."""

        def current() -> str | None:
            try:
                return fingerprint(get(), self._project.identity, self._project.root, self._project.is_own)[0]
            except Opaque:
                return None

        value = get()
        if isinstance(value, types.FunctionType | type) or is_wrapper(value):
            self.follow(value)
            self._found.watched.same(lambda: unwrapped(get()), unwrapped(value))
            return True
        try:
            digest, whole = fingerprint(value, self.follow, self._project.root, self._project.is_own)
        except Opaque:
            self._instance(value)
            self._found.watched.content(get, current, None)
            return False
        self._found.watched.content(get, current, digest)
        self._found.add("value", name, digest)
        return whole

    def _instance(self, value: Any) -> None:
        """An object whose content cannot be told: at least its class's code counts."""
        kind = type(value)
        if kind.__module__ != "builtins":
            self._class(kind)

    def _class(self, kind: type) -> None:
        if id(kind) in self._followed or kind.__module__ == "builtins":
            return
        self._followed.add(id(kind))
        self._keep.append(kind)
        loaded = sys.modules.get(kind.__module__)
        top = kind.__qualname__.partition(".")[0]
        if loaded is not None and (hasattr(loaded, top) or "<locals>" not in kind.__qualname__):
            self._text.imported(kind.__module__, (top,), True, 0)
            if "<locals>" not in kind.__qualname__:
                return
        for base in kind.__mro__[1:]:
            self._class(base)
        for member in vars(kind).values():
            inner = unwrapped(getattr(member, "fget", None) or getattr(member, "__func__", None) or member)
            if isinstance(inner, types.FunctionType):
                self.function(inner)

    def compare(self, module: ModuleSource, unit: Unit, name: str, live: dict[str, Any]) -> None:
        """What the module's text says of a name, against what the name stands for in this process."""
        value = unwrapped(live[name])
        if unit.kind == "function":
            if isinstance(value, types.FunctionType):
                code = value.__code__
                same = (
                    code.co_filename == module.file or self._project.resolved(code.co_filename) == module.file
                )
                if not (same and code.co_name == name and self._project.is_current(module, code)):
                    self.function(value)
                if value is live[name]:
                    self._found.watched.named(live, name, value)
                else:
                    self._found.watched.same(lambda: unwrapped(live.get(name)), value)
        elif unit.kind == "class":
            if isinstance(value, type) and value.__module__ == module.name:
                for member in vars(value).values():
                    inner = unwrapped(
                        getattr(member, "fget", None) or getattr(member, "__func__", None) or member
                    )
                    if isinstance(inner, types.FunctionType) and not self._is_as_written(module, name, inner):
                        self.function(inner)
        elif unit.kind == "constant" and not self.value(
            f"{self._project.label(module.file)}::{name}", lambda: live.get(name)
        ):
            self._text._files_of(module, unit)

    def _is_as_written(self, module: ModuleSource, name: str, method: types.FunctionType) -> bool:
        """Whether a method is the one that its class's text says: not put there from elsewhere, not of an older text."""
        code = method.__code__
        path = code.co_filename
        if path != module.file and self._project.resolved(path) != module.file:
            return not os.path.isfile(
                path
            )  # dataclasses and the like generate theirs from what the text says
        if code.co_qualname.partition(".")[0] != name and "<locals>" not in code.co_qualname:
            return False
        return self._project.is_current(module, code)

    def chosen(self, module: ModuleSource, name: str) -> None:
        """Which of several statements a name stands for: the order they are run in decides."""
        live = self._project.live(module)
        value = None if live is None else unwrapped(live.get(name))
        if live is None or not isinstance(value, types.FunctionType | type | types.ModuleType):
            return
        code = getattr(value, "__code__", None)
        what = f"{self._project.identity(value)} {code_digest(code) if code else ''}"
        self._found.add(
            "value", f"{self._project.label(module.file)}::{name} as bound last", sha256(what.encode())
        )
        self._found.watched.same(lambda: unwrapped(live.get(name)), value)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _names(each)
