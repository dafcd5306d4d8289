"""One module of the project, cut into the statements that bind its names and those that only have effects."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from everloop.pipelines.code.normal import digest_of_code
from everloop.pipelines.code.scopes import Use, bound_names, imports_of, outer_uses

DECLARATIONS = frozenset({"step", "pipeline"})


@dataclass(eq=False)
class Unit:
    """A top-level statement: what it binds, and (worked out when somebody reaches it) its digest and uses.

    `guards` are the conditions it stands under (``if``, ``try``, ``with`` at the top level). `changes` is the name whose object a
    statement without a name of its own changes in place.
    """

    module: ModuleSource
    node: ast.stmt
    names: frozenset[str]
    kind: str
    guards: tuple[ast.AST, ...] = ()
    changes: str = ""

    @property
    def line(self) -> int:
        return self.node.lineno

    @property
    def label(self) -> str:
        if self.changes:
            return self.changes
        return ", ".join(sorted(self.names)) or f"statement {ast.unparse(self.node)[:60]!r}"

    @cached_property
    def digest(self) -> str:
        return digest_of_code([self.node, *self.guards], self.module.is_declaration)

    @cached_property
    def uses(self) -> list[Use]:
        return outer_uses([self.module.without_declarations(self.node), *self.guards])


@dataclass(frozen=True)
class Imported:
    """A name bound by an import at the top level: the module, and the attribute path within it."""

    module: str
    level: int
    chain: tuple[str, ...]
    line: int


@dataclass(eq=False)
class ModuleSource:
    """The statements of one file.

    bindings: name -> the statements that bind or change it.
    imports: name -> what it is imported from (several under ``try`` or ``if``).
    stars: modules of ``from m import *``.
    effects: statements that act on something else than a name of this module.
    """

    path: Path
    name: str
    package: str
    text: bytes
    bindings: dict[str, list[Unit]] = field(default_factory=dict)
    imports: dict[str, list[Imported]] = field(default_factory=dict)
    stars: list[Imported] = field(default_factory=list)
    loaded: list[Imported] = field(default_factory=list)
    effects: list[Unit] = field(default_factory=list)
    tree: ast.Module = field(init=False)
    file: str = field(init=False)

    def __post_init__(self) -> None:
        self.file = str(self.path)
        self.tree = ast.parse(self.text, filename=str(self.path))
        self._take(self.tree.body, ())
        self._assign_effects()

    def resolve(self, level: int, module: str) -> str:
        """The absolute name of a module imported from here."""
        if level == 0:
            return module
        parts = self.package.split(".") if self.package else []
        base = parts[: len(parts) - (level - 1)]
        return ".".join([*base, module] if module else base)

    def is_declaration(self, decorator: ast.expr) -> bool:
        """Whether a decorator is `everloop.step` or `everloop.pipeline`: their options only steer execution."""
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            return target.attr in DECLARATIONS and any(
                each.module == "everloop" for each in self.imports.get(target.value.id, [])
            )
        if isinstance(target, ast.Name):
            return any(
                each.module.partition(".")[0] == "everloop" and each.chain[-1:] in {("step",), ("pipeline",)}
                for each in self.imports.get(target.id, [])
            )
        return False

    def without_declarations(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return node
        kept = [each for each in node.decorator_list if not self.is_declaration(each)]
        if len(kept) == len(node.decorator_list):
            return node
        values = {name: getattr(node, name) for name in node._fields if hasattr(node, name)} | {
            "decorator_list": kept
        }
        return ast.copy_location(type(node)(**values), node)

    def function_at(self, name: str, line: int, column: int | None = None) -> ast.AST | None:
        """The function, lambda or class that begins at a line (its first decorator's line counts too)."""
        found: list[ast.AST] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                if node.name == name and line in {first, node.lineno}:
                    found.append(node)
            elif (
                isinstance(node, ast.Lambda)
                and name == "<lambda>"
                and node.lineno == line
                and (column is None or node.body.col_offset <= column < (node.body.end_col_offset or 0))
            ):
                found.append(node)
        return found[0] if len(found) == 1 else None

    # Cutting

    def _take(self, body: list[ast.stmt], guards: tuple[ast.AST, ...]) -> None:
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._take_import(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._bind(Unit(self, node, frozenset({node.name}), "function", guards))
            elif isinstance(node, ast.ClassDef):
                self._bind(Unit(self, node, frozenset({node.name}), "class", guards))
            elif isinstance(node, ast.If):
                if not _is_main_guard(node.test) and not _is_for_types(node.test):
                    self._take(node.body, (*guards, node.test))
                self._take(node.orelse, (*guards, node.test))
            elif isinstance(node, ast.Try | ast.TryStar):
                kinds = tuple(handler.type for handler in node.handlers if handler.type is not None)
                for part in (
                    node.body,
                    *(handler.body for handler in node.handlers),
                    node.orelse,
                    node.finalbody,
                ):
                    self._take(part, (*guards, *kinds))
            elif isinstance(node, ast.With):
                self._take(node.body, (*guards, *(item.context_expr for item in node.items)))
            elif isinstance(node, ast.Pass) or (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            ):
                continue
            else:
                names = frozenset(bound_names([node]))
                unit = Unit(self, node, names, "constant" if names else "effect", guards)
                if names:
                    self._bind(unit)
                if not names or isinstance(node, ast.For | ast.While):
                    self.effects.append(unit)

    def _bind(self, unit: Unit) -> None:
        for name in unit.names:
            self.bindings.setdefault(name, []).append(unit)

    def _take_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                self.loaded.append(Imported(alias.name, 0, (), node.lineno))
            else:
                chain: tuple[str, ...] = () if alias.name == "*" else (alias.name,)
                self.loaded.append(Imported(node.module or "", node.level, chain, node.lineno))
        for name, module, level, chain in imports_of(node):
            if name == "*":
                self.stars.append(Imported(module, level, (), node.lineno))
            else:
                self.imports.setdefault(name, []).append(Imported(module, level, chain, node.lineno))

    def _assign_effects(self) -> None:
        """``TABLE["x"] = 1`` and ``TABLE.update(…)`` belong to TABLE, if this module made it: they matter when TABLE does."""
        for unit in list(self.effects):
            target = _changed(unit.node)
            if target is not None and target in self.bindings and target not in self.imports:
                unit.changes = target
                self.bindings[target].append(unit)
                self.effects.remove(unit)


def read_module(path: Path, name: str, package: str) -> ModuleSource:
    """Read and cut a file. Raises OSError and SyntaxError."""
    return ModuleSource(path, name, package, path.read_bytes())


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file does."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ctime_ns


def code_names(text: bytes, path: Path) -> Iterator[tuple[str, object]]:
    """Every code object of a file by its qualified name, as Python would make them now."""
    waiting = [compile(text, str(path), "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop()
        yield code.co_qualname, code
        waiting.extend(each for each in code.co_consts if hasattr(each, "co_qualname"))


def _is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _is_for_types(test: ast.expr) -> bool:
    """``if TYPE_CHECKING:``: nothing in it is ever run."""
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _changed(node: ast.stmt) -> str | None:
    """The name whose object a statement changes in place, when that is all it does."""
    target: ast.AST
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AugAssign):
        target = node.target
    elif (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
    ):
        target = node.value.func.value
    else:
        return None
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return target.id if isinstance(target, ast.Name) else None
