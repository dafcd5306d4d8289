"""One module of the project, cut into the statements that bind its names and those that only have effects.

Everything that is asked of it is in its facts, or is worked out from its syntax tree and put there. With facts that were kept,
the file is parsed only when something new is asked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from everloop.pipelines.code import doing
from everloop.pipelines.code.facts import Acts, Body, Imported, ModuleFacts, Statement
from everloop.pipelines.code.normal import digest_of_code
from everloop.pipelines.code.scopes import Use, bound_names, imports_of, outer_uses, texts_in

DECLARATIONS = frozenset({"step", "pipeline"})

Guards = tuple[ast.AST, ...]
"""The conditions that a statement stands under (``if``, ``try``, ``with`` at the top level)."""


class Unit:
    """A top-level statement: what it binds, its digest and uses, and what running it does.

    names: what it binds. kind: ``function``, ``class``, ``constant`` or ``effect``. changes: the name whose object a statement
    without a name of its own changes in place.
    """

    __slots__ = ("_at", "_facts", "module")

    def __init__(self, module: ModuleSource, facts: Statement, at: int) -> None:
        self.module, self._facts, self._at = module, facts, at

    @property
    def names(self) -> tuple[str, ...]:
        return self._facts.names

    @property
    def kind(self) -> str:
        return self._facts.kind

    @property
    def line(self) -> int:
        return self._facts.line

    @property
    def changes(self) -> str:
        return self._facts.changes

    @property
    def node(self) -> ast.stmt:
        return self.module.cut[self._at][0]

    @property
    def label(self) -> str:
        return self.changes or ", ".join(self._facts.names) or f"statement {self._facts.text!r}"

    @property
    def digest(self) -> str:
        facts = self._facts
        if facts.digest is None:
            node, guards = self.module.cut[self._at]
            facts.digest = digest_of_code([node, *guards], self.module.is_declaration)
            self.module.grown = True
        return facts.digest

    @property
    def uses(self) -> list[Use]:
        facts = self._facts
        if facts.uses is None:
            node, guards = self.module.cut[self._at]
            facts.uses = outer_uses([self.module.without_declarations(node), *guards])
            self.module.grown = True
        return facts.uses

    @property
    def texts(self) -> tuple[str, ...]:
        """The constant texts inside, in the order they are written."""
        facts = self._facts
        if facts.texts is None:
            facts.texts = tuple(texts_in(self.node))
            self.module.grown = True
        return facts.texts

    @property
    def acts(self) -> Acts:
        facts = self._facts
        if facts.acts is None:
            facts.acts = doing.acts_of(self.node, self.module.is_declaration)
            self.module.grown = True
        return facts.acts

    @property
    def body(self) -> Body:
        """Of a function or class."""
        facts = self._facts
        if facts.body is None:
            facts.body = doing.body_of(self.node)
            self.module.grown = True
        return facts.body

    @property
    def makers(self) -> dict[str, Body]:
        """Of a class: its methods that run when classes are made, by name."""
        facts = self._facts
        if facts.makers is None:
            facts.makers = doing.makers_of(self.node)
            self.module.grown = True
        return facts.makers


class ModuleSource:
    """The statements of one file. Raises SyntaxError, and ValueError for what is no text.

    binding: the statements that bind names.
    bindings: name -> the statements that bind or change it.
    imports: name -> what it is imported from (several under ``try`` or ``if``).
    stars: modules of ``from m import *``.
    loaded: all modules that are imported at the top level.
    effects: statements that act on something else than a name of this module.
    grown: whether its facts are more than those it was made with.
    """

    def __init__(
        self, path: Path | str, name: str, package: str, text: bytes, known: ModuleFacts | None = None
    ) -> None:
        self.file, self.name, self.package, self.text = str(path), name, package, text
        self.grown = known is None
        self.facts = self._cut_now() if known is None else known
        self.imports, self.stars, self.loaded = self.facts.imports, self.facts.stars, self.facts.loaded
        self.bindings: dict[str, list[Unit]] = {}
        self.binding: list[Unit] = []
        self.effects: list[Unit] = []
        self._arrange()

    @cached_property
    def path(self) -> Path:
        return Path(self.file)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.file)

    @cached_property
    def cut(self) -> list[tuple[ast.stmt, Guards]]:
        """The node of each statement of the facts, in their order."""
        return list(_cut(self.tree.body, ()))

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

    def _cut_now(self) -> ModuleFacts:
        facts = ModuleFacts([], {}, [], [])
        for statement in _imports(self.tree.body):
            _take_import(statement, facts)
        for node, _ in self.cut:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                kind = "class" if isinstance(node, ast.ClassDef) else "function"
                facts.statements.append(Statement((node.name,), kind, node.lineno, False))
                continue
            names = tuple(sorted(bound_names([node])))
            kind, is_effect = (
                ("constant", isinstance(node, ast.For | ast.While)) if names else ("effect", True)
            )
            text = "" if names else ast.unparse(node)[:60]
            facts.statements.append(Statement(names, kind, node.lineno, is_effect, text))
        self._assign_effects(facts)
        return facts

    def _assign_effects(self, facts: ModuleFacts) -> None:
        """``TABLE["x"] = 1`` and ``TABLE.update(…)`` belong to TABLE, if this module made it: they matter when TABLE does."""
        bound = {name for each in facts.statements for name in each.names}
        for statement, (node, _) in zip(facts.statements, self.cut, strict=True):
            if statement.is_effect:
                target = _changed(node)
                if target is not None and target in bound and target not in facts.imports:
                    statement.changes = target

    def _arrange(self) -> None:
        changing = []
        for at, facts in enumerate(self.facts.statements):
            unit = Unit(self, facts, at)
            for name in facts.names:
                self.bindings.setdefault(name, []).append(unit)
            if facts.names:
                self.binding.append(unit)
            if facts.changes:
                changing.append(unit)
            elif facts.is_effect:
                self.effects.append(unit)
        for unit in changing:
            self.bindings[unit.changes].append(unit)


def _cut(body: list[ast.stmt], guards: Guards) -> Iterator[tuple[ast.stmt, Guards]]:
    """The statements that bind names or have effects, under their conditions; imports are taken elsewhere."""
    for node in body:
        inner = _parts(node)
        if inner is not None:
            for part, conditions in inner:
                yield from _cut(part, (*guards, *conditions))
        elif not (
            isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        ):
            yield node, guards


def _imports(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        for part, _ in _parts(node) or ():
            yield from _imports(part)


def _parts(node: ast.stmt) -> list[tuple[list[ast.stmt], Guards]] | None:
    """The blocks of a compound statement that may be run at import, with their conditions; None for any other statement."""
    if isinstance(node, ast.If):
        never = _is_main_guard(node.test) or _is_for_types(node.test)
        return [([] if never else node.body, (node.test,)), (node.orelse, (node.test,))]
    if isinstance(node, ast.Try | ast.TryStar):
        kinds = tuple(handler.type for handler in node.handlers if handler.type is not None)
        handled = [handler.body for handler in node.handlers]
        return [(part, kinds) for part in (node.body, *handled, node.orelse, node.finalbody)]
    if isinstance(node, ast.With):
        return [(node.body, tuple(item.context_expr for item in node.items))]
    return None


def _take_import(node: ast.Import | ast.ImportFrom, facts: ModuleFacts) -> None:
    for alias in node.names:
        if isinstance(node, ast.Import):
            facts.loaded.append(Imported(alias.name, 0, (), node.lineno))
        else:
            chain: tuple[str, ...] = () if alias.name == "*" else (alias.name,)
            facts.loaded.append(Imported(node.module or "", node.level, chain, node.lineno))
    for name, module, level, chain in imports_of(node):
        if name == "*":
            facts.stars.append(Imported(module, level, (), node.lineno))
        else:
            facts.imports.setdefault(name, []).append(Imported(module, level, chain, node.lineno))


def read_module(path: Path, name: str, package: str) -> ModuleSource:
    """Read and cut a file. Raises OSError and SyntaxError."""
    return ModuleSource(path, name, package, path.read_bytes())


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
