"""What running a module's statements changes elsewhere: decorators register functions, base classes collect subclasses.

    @known("one")          # known() puts the function into KINDS: whoever asks KINDS depends on it
    def first(): ...

Importing a module runs these statements, so they belong to the name whose object they change, wherever that stands.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

from everloop.pipelines.code.scopes import bound_names, dotted
from everloop.pipelines.code.source import ModuleSource, Unit

Target = tuple[Path, str]
"""A file, and the name in it whose object is changed."""

_CHANGES = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "register",
     "remove", "reverse", "setdefault", "sort", "update"}
)  # fmt: skip
"""Methods that change what they are called on, even where their result is used."""


class Actions:
    """Actions of modules' statements. `source` gives a module of the project by name, None for any other."""

    def __init__(self, source: Callable[[str], ModuleSource | None]) -> None:
        self._source = source
        self._of_function: dict[int, set[Target]] = {}

    def of(self, module: ModuleSource) -> Iterator[tuple[Target, Unit]]:
        """The statements of a module that change an object when they are run, each with the name of that object."""
        seen: set[int] = set()
        for units in module.bindings.values():
            for unit in units:
                if id(unit) in seen or unit.changes:
                    continue
                seen.add(id(unit))
                for target in self._of_unit(module, unit):
                    if target != (module.path, unit.label):
                        yield target, unit

    def _of_unit(self, module: ModuleSource, unit: Unit) -> set[Target]:
        node = unit.node
        found: set[Target] = set()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                if not module.is_declaration(decorator):
                    found |= self._of_call(module, decorator, certain=True)
        if isinstance(node, ast.ClassDef):
            found |= self._of_making(module, node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for each in ast.walk(node.value):
                if isinstance(each, ast.Call):
                    found |= self._of_call(module, each.func, certain=False)
        return found

    def _of_call(self, module: ModuleSource, called: ast.expr, *, certain: bool) -> set[Target]:
        """`certain`: what is called is a decorator, whose result is the function: it is called for what else it does."""
        if isinstance(called, ast.Call):
            return self._of_call(module, called.func, certain=certain)
        found: set[Target] = set()
        for source, name, unit, rest in self._named(module, dotted(called) or ()):
            if unit.kind in {"function", "class"} and not rest:
                found |= self._of_body(source, unit.node)
            elif certain or (rest and (rest[-1] in _CHANGES or self._is_made_here(source, unit))):
                found.add((source.path, name))
        return found

    def _is_made_here(self, module: ModuleSource, unit: Unit) -> bool:
        """Whether a name stands for an instance of a class of the project, whose methods may do anything to it."""
        value = getattr(unit.node, "value", None)
        if not isinstance(value, ast.Call):
            return unit.kind == "class"
        return any(made.kind == "class" for _, _, made, _ in self._named(module, dotted(value.func) or ()))

    def _of_making(self, module: ModuleSource, node: ast.ClassDef, depth: int = 0) -> set[Target]:
        """What the bases of a class do when it is made: ``__init_subclass__`` and metaclasses."""
        found: set[Target] = set()
        bases = [(each, False) for each in node.bases]
        bases += [(each.value, True) for each in node.keywords if each.arg == "metaclass"]
        for base, is_meta in bases:
            for source, name, unit, _ in self._named(module, dotted(base) or ()):
                if not isinstance(unit.node, ast.ClassDef) or depth > 20:
                    continue
                makers = {"__init_subclass__"} if not is_meta else {"__new__", "__init__", "__prepare__"}
                for each in unit.node.body:
                    if isinstance(each, ast.FunctionDef) and each.name in makers:
                        found |= {(source.path, name)} | self._of_body(source, each)
                if is_meta:
                    continue
                found |= self._of_making(source, unit.node, depth + 1)
        return found

    def _of_body(self, module: ModuleSource, node: ast.AST) -> set[Target]:
        """The outer names whose objects a function (or a class's methods, or what they call in turn) changes."""
        known = self._of_function.get(id(node))
        if known is not None:
            return known
        found = self._of_function[id(node)] = set()
        own = _own_names(node)
        for each in ast.walk(node):
            if isinstance(each, ast.Global):
                found |= {(module.path, name) for name in each.names}
            for changed in _changed_by(each):
                chain = dotted(changed)
                if chain and chain[0] not in own:
                    found |= {(source.path, name) for source, name, _, _ in self._named(module, chain)}
            if isinstance(each, ast.Call):
                chain = dotted(each.func)
                if chain and chain[0] not in own:
                    for source, _, unit, rest in self._named(module, chain):
                        if unit.kind == "function" and not rest:
                            found |= self._of_body(source, unit.node)
        return found

    def _named(
        self, module: ModuleSource, chain: tuple[str, ...], depth: int = 0
    ) -> Iterator[tuple[ModuleSource, str, Unit, tuple[str, ...]]]:
        """The statements that bind what a dotted name begins with, through imports, and the rest of the name."""
        if not chain or depth > 20:
            return
        for unit in module.bindings.get(chain[0], ()):
            if not unit.changes:
                yield module, chain[0], unit, chain[1:]
        for each in module.imports.get(chain[0], ()):
            name = module.resolve(each.level, each.module)
            rest = (*each.chain, *chain[1:])
            source = self._source(name)
            while rest and (
                source is None or (rest[0] not in source.bindings and rest[0] not in source.imports)
            ):
                inner = self._source(f"{name}.{rest[0]}")
                if inner is None:
                    break
                source, name, rest = inner, f"{name}.{rest[0]}", rest[1:]
            if source is not None:
                yield from self._named(source, rest, depth + 1)


def _own_names(node: ast.AST) -> set[str]:
    """The names that are bound anywhere inside: parameters and variables."""
    found: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.arg):
            found.add(each.arg)
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= bound_names(each.body)
    return found - {name for each in ast.walk(node) if isinstance(each, ast.Global) for name in each.names}


def _changed_by(node: ast.AST) -> Iterator[ast.AST]:
    """What a statement or call changes in place."""
    if isinstance(node, ast.Assign | ast.Delete):
        for target in node.targets:
            yield from _inside(target)
    elif isinstance(node, ast.AugAssign):
        yield from _inside(node.target)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        if isinstance(call.func, ast.Attribute):
            yield _base(call.func.value)
        yield from call.args
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
        yield _base(node.func.value)


def _inside(target: ast.AST) -> Iterator[ast.AST]:
    if isinstance(target, ast.Attribute | ast.Subscript):
        yield _base(target.value)


def _base(node: ast.AST) -> ast.AST:
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return node
