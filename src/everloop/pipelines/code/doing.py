"""What statements do when they are run, as far as their text shows: what they call, and the objects that they change in place."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from everloop.pipelines.code.facts import Acts, Body, Chain
from everloop.pipelines.code.scopes import bound_names, dotted

CHANGES = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "register",
     "remove", "reverse", "setdefault", "sort", "update"}
)  # fmt: skip
"""Methods that change what they are called on, even where their result is used."""

SUBCLASSING = frozenset({"__init_subclass__"})
"""Methods of a base class that run when a class is made of it."""
CREATING = frozenset({"__new__", "__init__", "__prepare__"})
"""Methods of a metaclass that run when a class is made with it."""


def acts_of(node: ast.stmt, is_declaration: Callable[[ast.expr], bool]) -> Acts:
    """What a statement calls, and what a class is made of. Decorators that only declare count for nothing."""
    decorators: list[Chain] = []
    bases: list[Chain] = []
    metas: list[Chain] = []
    calls: list[Chain] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        decorators = [_called(each) for each in node.decorator_list if not is_declaration(each)]
    if isinstance(node, ast.ClassDef):
        bases = [dotted(each) or () for each in node.bases]
        metas = [dotted(each.value) or () for each in node.keywords if each.arg == "metaclass"]
        run = [each for each in node.body if isinstance(each, ast.Assign | ast.AnnAssign | ast.Expr)]
        # A descriptor that is made in a class is told its name, and may write itself down with it.
        calls = [_called(each.func) for one in run for each in ast.walk(one) if isinstance(each, ast.Call)]
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        calls = [_called(each.func) for each in ast.walk(node.value) if isinstance(each, ast.Call)]
    value = getattr(node, "value", None)
    made = (dotted(value.func) or ()) if isinstance(value, ast.Call) else None
    return Acts(_named(decorators), _named(calls), _named(bases), _named(metas), made)


def body_of(node: ast.AST) -> Body:
    """What a function, or a class with all its methods, does to names from outside."""
    own = _own_names(node)
    declared: list[str] = []
    changes: list[Chain] = []
    calls: list[Chain] = []
    for each in ast.walk(node):
        if isinstance(each, ast.Global):
            declared += each.names
        changes += [dotted(changed) or () for changed in _changed_by(each)]
        if isinstance(each, ast.Call):
            calls.append(dotted(each.func) or ())
    return Body(
        tuple(dict.fromkeys(declared)),
        _named(chain for chain in changes if chain and chain[0] not in own),
        _named(chain for chain in calls if chain and chain[0] not in own),
    )


def makers_of(node: ast.AST) -> dict[str, Body]:
    """The methods of a class that run when classes are made."""
    if not isinstance(node, ast.ClassDef):
        return {}
    return {
        each.name: body_of(each)
        for each in node.body
        if isinstance(each, ast.FunctionDef) and each.name in SUBCLASSING | CREATING
    }


def _named(chains: Iterator[Chain] | list[Chain]) -> tuple[Chain, ...]:
    return tuple(dict.fromkeys(each for each in chains if each))


def _called(node: ast.expr) -> Chain:
    while isinstance(node, ast.Call):
        node = node.func
    return dotted(node) or ()


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
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
        yield _base(node.func.value)


def _inside(target: ast.AST) -> Iterator[ast.AST]:
    if isinstance(target, ast.Attribute | ast.Subscript):
        yield _base(target.value)


def _base(node: ast.AST) -> ast.AST:
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return node
