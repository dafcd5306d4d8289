"""Which outer names a piece of code uses: Python's scoping rules over the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

DYNAMIC = frozenset({"eval", "exec", "compile", "__import__", "globals", "__builtins__", "__doc__"})
"""Builtins through which code (or its docstrings) is reached that no reader of the text can name."""

_UNSEEN = {
    ("runpy", "run_path"): "",
    ("runpy", "run_module"): "",
    ("importlib", "util", "spec_from_file_location"): "",
    ("importlib", "machinery", "SourceFileLoader"): "",
    ("importlib", "metadata", "entry_points"): "",
    ("pkgutil", "iter_modules"): "",
    ("pkgutil", "walk_packages"): "",
    ("pkgutil", "resolve_name"): "",
    ("inspect", "getsource"): "",
    ("inspect", "getdoc"): "",
    ("operator", "attrgetter"): "with a computed name",
    ("operator", "methodcaller"): "with a computed name",
    ("pickle", "load"): "of objects of any class",
    ("pickle", "loads"): "of objects of any class",
    ("pickle", "Unpickler"): "of objects of any class",
    ("cloudpickle", "load"): "of objects of any class",
    ("cloudpickle", "loads"): "of objects of any class",
    ("dill", "load"): "of objects of any class",
    ("dill", "loads"): "of objects of any class",
    ("joblib", "load"): "of objects of any class",
    ("pandas", "read_pickle"): "of objects of any class",
}
"""Calls behind which any code of the project may stand."""

_READS = ("read", "scan", "load")
"""What functions that read files are called like."""
_QUERIES = frozenset({"execute", "from_query", "query", "sql"})
"""What functions are called that take SQL, in which DuckDB and polars read files by their names."""


class Use(msgspec.Struct, frozen=True, array_like=True):
    """A use of something that is bound outside.

    `chain` is the dotted path: ``helpers.fit`` is ``("helpers", "fit")``. Its first part is a name of the module the code stands
    in, unless `module` is given: then an import statement inside the code names that module (with `level` leading dots), and the
    chain goes on from there. `only_import`: the module is imported here, and used (if at all) by other entries.
    `dynamic` says what cannot be seen through. `variable`: the environment variable that this use of `os` asks for, empty for a
    computed name. `files`: texts that a reading function is called with, which may name a file (``("data", "prices.csv")``).
    `read`: what the name stands for is given to a reading function, and may be the path of a file.
    """

    chain: tuple[str, ...]
    line: int
    module: str | None = None
    level: int = 0
    only_import: bool = False
    dynamic: str = ""
    variable: str | None = None
    files: tuple[str, ...] = ()
    read: bool = False


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
            self._annotation(argument.annotation)
        body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
        if not isinstance(node, ast.Lambda):
            for decorator in node.decorator_list:
                self.visit(decorator)
            self._annotation(node.returns)
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

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def _annotation(self, node: ast.expr | None) -> None:
        """An annotation may be written as text: libraries that read annotations look its names up."""
        if node is None:
            return
        self.visit(node)
        for each in ast.walk(node):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                with suppress(SyntaxError):
                    self.visit(_moved(ast.parse(each.value.strip(), mode="eval").body, each.lineno))

    # Uses

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use((node.id,), node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = dotted(node)
        if chain is not None:
            self._use(chain, node.lineno)
        else:
            self.visit(node.value)
        if node.attr in {"__subclasses__", "__doc__"}:
            self._unseen(node.attr, node.lineno)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        chain = dotted(node.value) or ()
        if chain[-1:] == ("environ",) and isinstance(node.ctx, ast.Load):
            self._use(chain, node.lineno, variable=_text(node.slice) or "")
        elif chain == ("sys", "modules") and not _is_own_name(node.slice):
            self._unseen("sys.modules with a computed name", node.lineno)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        chain = dotted(node.comparators[0]) or ()
        if chain[-1:] == ("environ",) and isinstance(node.ops[0], ast.In | ast.NotIn):
            self._use(chain, node.lineno, variable=_text(node.left) or "")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = dotted(node.func) or ()
        first = node.args[0] if node.args else None
        if called == ("getattr",) and len(node.args) > 1:
            name = _text(node.args[1])
            chain = dotted(node.args[0])
            if name is not None and chain is not None:
                self._use((*chain, name), node.lineno)
                for extra in node.args[2:]:
                    self.visit(extra)
                return
            if name is None and self._outer(("getattr",)):
                self._unseen("getattr() with a computed name", node.lineno)
        elif called[-1:] == ("import_module",):
            target = _text(first)
            if target is not None and not target.startswith("."):
                self.uses.append(Use((), node.lineno, module=target))
            else:
                self._unseen("import_module() with a computed name", node.lineno)
        elif (
            called == ("vars",) and not node.args and not any(each.kind == "function" for each in self.scopes)
        ):
            self._unseen("vars()", node.lineno)
        elif called[-1:] == ("getenv",) or called[-2:-1] == ("environ",):
            self._use(called, node.lineno, variable=_text(first) or "")
        elif called and (called[-1].startswith(_READS) or called[-1] in _QUERIES):
            self._reading(node, called)
        self._maybe_unseen(node, called)
        self.generic_visit(node)

    def _reading(self, node: ast.Call, called: tuple[str, ...]) -> None:
        given = [*node.args, *(each.value for each in node.keywords)]
        texts = tuple(text for argument in given for text in texts_in(argument))
        if texts:
            self.uses.append(Use((), node.lineno, files=texts))
        for argument in given[:1]:
            chain = dotted(argument)
            if chain is not None:
                self._use(chain, node.lineno, read=True)

    def _maybe_unseen(self, node: ast.Call, called: tuple[str, ...]) -> None:
        """A call of something in `_UNSEEN`, under whatever name it was imported: the last parts of the name decide."""
        for known, how in _UNSEEN.items():
            if called[-1:] != known[-1:]:
                continue
            module = self._module_called(called)
            if (*module, called[-1]) != known and called[-2:] != known[-2:]:
                continue
            if how == "with a computed name" and all(_text(each) is not None for each in node.args[:1]):
                continue
            self._unseen(f"{known[0]}.{known[-1]}() {how}".rstrip(), node.lineno)
            return

    def _module_called(self, called: tuple[str, ...]) -> tuple[str, ...]:
        """The module that a name imported inside this code comes from."""
        for scope in reversed(self.scopes):
            for module, _, _ in scope.imports.get(called[0], ()):
                return tuple(module.split("."))
        return ()

    def _unseen(self, what: str, line: int) -> None:
        self.uses.append(Use((), line, dynamic=what))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.uses.append(Use((), node.lineno, module=alias.name, only_import=True))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            chain = () if alias.name == "*" else (alias.name,)
            self.uses.append(
                Use(chain, node.lineno, module=node.module or "", level=node.level, only_import=bool(chain))
            )

    def _use(
        self, chain: tuple[str, ...], line: int, *, variable: str | None = None, read: bool = False
    ) -> None:
        name = chain[0]
        for depth, scope in enumerate(reversed(self.scopes)):
            if scope.kind == "class" and depth > 0:
                continue
            if name in scope.globals:
                break
            if name in scope.imports:
                for module, level, prefix in scope.imports[name]:
                    found = (*prefix, *chain[1:])
                    self.uses.append(
                        Use(found, line, module=module, level=level, variable=variable, read=read)
                    )
                return
            if name in scope.bound:
                if (
                    scope.kind == "class"
                ):  # a class body falls back to the module when its own name is not yet bound
                    continue
                return
        dynamic = ""
        if len(chain) == 1 and name in DYNAMIC:
            dynamic = name if name.startswith("__") and name != "__import__" else f"{name}()"
        elif chain[0] == "builtins" and chain[1:2] and chain[1] in DYNAMIC:
            self._unseen(f"builtins.{chain[1]}()", line)
        self.uses.append(Use(chain, line, dynamic=dynamic, variable=variable, read=read))

    def _outer(self, chain: tuple[str, ...]) -> bool:
        return not any(chain[0] in scope.bound for scope in self.scopes)


def _text(node: ast.AST | None) -> str | None:
    """The text that a constant is."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts_in(node: ast.AST) -> list[str]:
    """The constant texts inside an expression or statement, in the order they are written."""
    found = [
        (each.lineno, each.col_offset, each.value)
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]
    return [text for _, _, text in sorted(found)]


def _is_own_name(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "__name__") or _text(node) is not None


def _moved(node: ast.expr, line: int) -> ast.expr:
    for each in ast.walk(node):
        if hasattr(each, "lineno"):
            each.lineno = line
    return node


def dotted(node: ast.AST) -> tuple[str, ...] | None:
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
