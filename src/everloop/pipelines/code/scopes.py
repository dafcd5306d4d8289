"""Which outer names a piece of code uses: Python's scoping rules over the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

DYNAMIC = frozenset({"eval", "exec", "compile", "__import__", "globals"})
"""Builtins through which code is reached that no reader of the text can name."""


@dataclass(frozen=True)
class Use:
    """A use of something that is bound outside.

    `chain` is the dotted path: ``helpers.fit`` is ``("helpers", "fit")``. Its first part is a name of the module the code stands
    in, unless `module` is given: then an import statement inside the code names that module (with `level` leading dots), and the
    chain goes on from there. `only_import`: the module is imported here, and used (if at all) by other entries.
    `dynamic` says what cannot be seen through.
    """

    chain: tuple[str, ...]
    line: int
    module: str | None = None
    level: int = 0
    only_import: bool = False
    dynamic: str = ""


@dataclass
class _Scope:
    kind: str
    bound: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)
    imports: dict[str, list[tuple[str, int, tuple[str, ...]]]] = field(default_factory=dict)


def outer_uses(nodes: Iterable[ast.AST]) -> list[Use]:
    """The uses of module-level names, builtins and imported modules in statements or expressions of one module.

    >>> tree = ast.parse("def f(x, y=LIMIT):\\n    from a.b import c as d\\n    def g(): return x + d.e\\n    return np.log(x)")
    >>> [(use.module, ".".join(use.chain)) for use in outer_uses(tree.body) if not use.only_import]
    [(None, 'LIMIT'), ('a.b', 'c.e'), (None, 'np.log')]
    """
    finder = _Finder()
    for node in nodes:
        finder.visit(node)
    return list(dict.fromkeys(finder.uses))


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.scopes: list[_Scope] = []

    # Scopes

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments = node.args
        for expression in [
            *arguments.defaults,
            *(each for each in arguments.kw_defaults if each is not None),
        ]:
            self.visit(expression)
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
        for argument in every:
            if argument.annotation is not None:
                self.visit(argument.annotation)
        body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
        if not isinstance(node, ast.Lambda):
            for decorator in node.decorator_list:
                self.visit(decorator)
            if node.returns is not None:
                self.visit(node.returns)
        scope = _Scope("function", bound={argument.arg for argument in every})
        _bindings(body, scope)
        self._within(scope, body)

    visit_FunctionDef = _function
    visit_AsyncFunctionDef = _function
    visit_Lambda = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for expression in [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]:
            self.visit(expression)
        scope = _Scope("class")
        _bindings(node.body, scope)
        self._within(scope, node.body)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.visit(node.generators[0].iter)
        scope = _Scope("function")
        for generator in node.generators:
            scope.bound |= {each.id for each in ast.walk(generator.target) if isinstance(each, ast.Name)}
        rest: list[ast.AST] = [condition for generator in node.generators for condition in generator.ifs]
        rest += [generator.iter for generator in node.generators[1:]]
        rest += [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._within(scope, rest)

    visit_ListComp = _comprehension
    visit_SetComp = _comprehension
    visit_DictComp = _comprehension
    visit_GeneratorExp = _comprehension

    def _within(self, scope: _Scope, nodes: Iterable[ast.AST]) -> None:
        self.scopes.append(scope)
        for node in nodes:
            self.visit(node)
        self.scopes.pop()

    # Uses

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use((node.id,), node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = _chain(node)
        if chain is not None:
            self._use(chain, node.lineno)
        else:
            self.visit(node.value)
        if node.attr == "__subclasses__":
            self.uses.append(Use((), node.lineno, dynamic="__subclasses__()"))

    def visit_Call(self, node: ast.Call) -> None:
        called = _chain(node.func) or ()
        if called == ("getattr",) and len(node.args) > 1:
            name = node.args[1]
            chain = _chain(node.args[0])
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                if chain is not None:
                    self._use((*chain, name.value), node.lineno)
            elif self._outer(("getattr",)):
                self.uses.append(Use((), node.lineno, dynamic="getattr() with a computed name"))
        elif called[-1:] == ("import_module",):
            target = node.args[0] if node.args else None
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                self.uses.append(Use((), node.lineno, module=target.value))
            else:
                self.uses.append(Use((), node.lineno, dynamic="import_module() with a computed name"))
        elif called[:1] == ("runpy",):
            self.uses.append(Use((), node.lineno, dynamic="runpy"))
        if not (called == ("getattr",) and node.args and _chain(node.args[0]) is not None and _named(node)):
            self.generic_visit(node)
            return
        for extra in node.args[2:]:
            self.visit(extra)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.uses.append(Use((), node.lineno, module=alias.name, only_import=True))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            chain = () if alias.name == "*" else (alias.name,)
            self.uses.append(
                Use(chain, node.lineno, module=node.module or "", level=node.level, only_import=bool(chain))
            )

    def _use(self, chain: tuple[str, ...], line: int) -> None:
        name = chain[0]
        for depth, scope in enumerate(reversed(self.scopes)):
            if scope.kind == "class" and depth > 0:
                continue
            if name in scope.globals:
                break
            if name in scope.imports:
                for module, level, prefix in scope.imports[name]:
                    self._import_use(module, level, prefix, chain[1:], line)
                return
            if name in scope.bound:
                if (
                    scope.kind == "class"
                ):  # a class body falls back to the module when its own name is not yet bound
                    continue
                return
        self.uses.append(
            Use(chain, line, dynamic=f"{name}()" if chain[0] in DYNAMIC and len(chain) == 1 else "")
        )

    def _import_use(
        self, module: str, level: int, prefix: tuple[str, ...], rest: tuple[str, ...], line: int
    ) -> None:
        self.uses.append(Use((*prefix, *rest), line, module=module, level=level))

    def _outer(self, chain: tuple[str, ...]) -> bool:
        return not any(chain[0] in scope.bound for scope in self.scopes)


def _named(node: ast.Call) -> bool:
    return (
        len(node.args) > 1 and isinstance(node.args[1], ast.Constant) and isinstance(node.args[1].value, str)
    )


def _chain(node: ast.AST) -> tuple[str, ...] | None:
    """``a.b.c`` as its parts; None when it does not begin with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return (node.id, *reversed(parts))


def imports_of(node: ast.Import | ast.ImportFrom) -> Iterable[tuple[str, str, int, tuple[str, ...]]]:
    """What an import statement binds: name, module, leading dots, and the attribute path within that module."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, alias.name, 0, ()
            else:
                yield alias.name.partition(".")[0], alias.name.partition(".")[0], 0, ()
    else:
        for alias in node.names:
            yield alias.asname or alias.name, node.module or "", node.level, (alias.name,)


def bound_names(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that statements bind in the scope they stand in."""
    scope = _Scope("function")
    _bindings(nodes, scope)
    return scope.bound


def _bindings(nodes: Iterable[ast.AST], scope: _Scope) -> None:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            scope.bound.add(node.name)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, _COMPREHENSIONS):  # its own names stay inside; only := reaches out
            for inner in ast.walk(node):
                if isinstance(inner, ast.NamedExpr):
                    scope.bound.add(inner.target.id)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            scope.bound.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name, module, level, prefix in imports_of(node):
                scope.bound.add(name)
                scope.imports.setdefault(name, []).append((module, level, prefix))
        elif isinstance(node, ast.Global):
            scope.globals.update(node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            scope.bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            scope.bound.add(node.rest)
        waiting.extend(ast.iter_child_nodes(node))
