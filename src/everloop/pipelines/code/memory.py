"""Functions and values as they are in this process, whatever the files say by now."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import re
import sys
import types
import uuid
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

import msgspec

from everloop.domain.canonical import sha256


class Opaque(Exception):
    """A value whose content cannot be told."""


def code_digest(code: types.CodeType) -> str:
    """What a function does, by its byte code: the same for the same text under one version of Python, wherever it stands.

    >>> a = compile("def f(x): return x + 1", "a.py", "exec").co_consts[0]
    >>> b = compile("\\n\\ndef f(x):\\n    '''Docs.'''\\n    return x + 1", "b.py", "exec").co_consts[0]
    >>> code_digest(a) == code_digest(b)
    True
    """
    return sha256(repr(_shape(code)).encode("utf-8", "surrogatepass"))


def _shape(code: types.CodeType) -> tuple[Any, ...]:
    consts = list(code.co_consts)
    # The first constant of a function is its docstring or None; no instruction of a documented function needs the text.
    if consts and isinstance(consts[0], str) and code.co_flags & 0x2:
        consts[0] = None
    shaped = tuple(_shape(each) if isinstance(each, types.CodeType) else _constant(each) for each in consts)
    flags = code.co_flags & ~0x4000000
    return (code.co_code, shaped, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount,
            code.co_kwonlyargcount, code.co_posonlyargcount, flags, code.co_exceptiontable)  # fmt: skip


def _constant(value: Any) -> Any:
    return ("frozenset", sorted(map(repr, value))) if isinstance(value, frozenset) else value


def unwrapped(value: Any) -> Any:
    """What decorators that follow `functools.wraps` stand for."""
    for _ in range(100):
        inner = getattr(value, "__wrapped__", None)
        if inner is None:
            break
        value = inner
    return value


OnCode = Callable[[Any], str]
"""Given a function, class or module met inside a value: follows it, and returns its name."""


def fingerprint(value: Any, on_code: OnCode, root: Path) -> str:
    """The digest of plain data: numbers, text, containers, dates, paths, patterns, structs, dataclasses, arrays.

    Functions, classes and modules inside are handed to `on_code`. Raises Opaque for anything else.
    """
    return sha256(repr(_lower(value, on_code, root, 0)).encode("utf-8", "surrogatepass"))


_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_PRINTED = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    decimal.Decimal,
    uuid.UUID,
    range,
    slice,
)


def _lower(value: Any, on_code: OnCode, root: Path, depth: int) -> Any:
    if depth > 50:
        raise Opaque("nested too deeply")
    kind = type(value)
    if kind in _PLAIN or isinstance(value, _PRINTED):
        return (kind.__name__, repr(value))

    def deeper(inner: Any) -> Any:
        return _lower(inner, on_code, root, depth + 1)

    if isinstance(
        value, types.FunctionType | types.MethodType | type | types.ModuleType | types.BuiltinFunctionType
    ):
        return ("code", on_code(value))
    if isinstance(value, enum.Enum):
        return ("enum", on_code(kind), value.name)
    if kind in (list, tuple):
        return (kind.__name__, [deeper(each) for each in value])
    if kind in (set, frozenset):
        return (kind.__name__, sorted(repr(deeper(each)) for each in value))
    if kind in (dict, types.MappingProxyType):
        return ("dict", [(deeper(key), deeper(each)) for key, each in value.items()])
    if kind in (collections.OrderedDict, collections.Counter, collections.defaultdict):
        return (kind.__name__, [(deeper(key), deeper(each)) for key, each in value.items()])
    if kind is collections.deque:
        return ("deque", [deeper(each) for each in value])
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return ("named tuple", kind.__name__, kind._fields, [deeper(each) for each in value])
    if kind is types.SimpleNamespace:
        return ("namespace", [(name, deeper(each)) for name, each in vars(value).items()])
    if isinstance(value, PurePath):
        path = Path(value)
        return (
            "path",
            str(path.relative_to(root)) if path.is_absolute() and path.is_relative_to(root) else str(path),
        )
    if isinstance(value, re.Pattern):
        return ("pattern", value.pattern, value.flags)
    if isinstance(value, msgspec.Struct):
        return ("struct", on_code(kind), [deeper(getattr(value, name)) for name in kind.__struct_fields__])
    if is_dataclass(value):
        return ("dataclass", on_code(kind), [deeper(getattr(value, each.name)) for each in fields(value)])
    if hasattr(value, "func") and hasattr(value, "keywords") and kind.__name__ == "partial":
        return ("partial", deeper(value.func), deeper(value.args), deeper(value.keywords))
    if hasattr(value, "__wrapped__") and callable(value):
        return ("code", on_code(value))
    return _array(value)


def _array(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if (
        numpy is not None
        and isinstance(value, numpy.ndarray | numpy.generic)
        and not value.dtype.hasobject
        and value.dtype.names is None
    ):
        content = numpy.ascontiguousarray(value)
        return ("array", str(value.dtype), value.shape, sha256(content.tobytes()))
    raise Opaque(f"{type(value).__module__}.{type(value).__qualname__}")
