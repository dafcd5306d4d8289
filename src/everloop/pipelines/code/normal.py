"""Code as text in which only behaviour shows: no comments, no docstrings, no formatting."""

from __future__ import annotations

import ast
from collections.abc import Callable

from everloop.domain.canonical import sha256

_SKIPPED = frozenset({"ctx", "type_comment", "kind", "type_ignores"})
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)

Omit = Callable[[ast.expr], bool]
"""Says of a decorator whether it is left out because it does not change what the function does."""


def digest_of_code(nodes: list[ast.AST], omit: Omit | None = None) -> str:
    """The digest of some statements or expressions.

    >>> one = ast.parse("def f(x):\\n    '''Twice.'''\\n    return (x * 2)  # comment").body
    >>> two = ast.parse("def f( x ): return x*2").body
    >>> digest_of_code(one) == digest_of_code(two)
    True
    """
    out: list[str] = []
    for node in nodes:
        _write(node, out, omit)
    return sha256("".join(out).encode("utf-8", "surrogatepass"))


def _write(node: object, out: list[str], omit: Omit | None) -> None:
    if isinstance(node, ast.AST):
        out.append(type(node).__name__)
        out.append("(")
        for field in node._fields:
            if field in _SKIPPED:
                continue
            value = getattr(node, field, None)
            if field == "body" and isinstance(node, _DOCUMENTED):
                value = [each for each in value if not _is_text(each)] if isinstance(value, list) else value
            elif field == "decorator_list" and omit is not None and isinstance(value, list):
                value = [each for each in value if not omit(each)]
            out.append(field)
            out.append("=")
            _write(value, out, omit)
            out.append(",")
        out.append(")")
    elif isinstance(node, list):
        out.append("[")
        for each in node:
            _write(each, out, omit)
            out.append(",")
        out.append("]")
    else:
        out.append(repr(node))


def _is_text(node: ast.AST) -> bool:
    """A bare string or `pass`: it does nothing, wherever it stands."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
