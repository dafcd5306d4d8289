"""Functions and values as they are in this process, whatever the files say by now."""

from __future__ import annotations

import abc
import array
import collections
import datetime
import decimal
import enum
import functools
import inspect
import re
import sys
import types
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any, Generic, Protocol

import msgspec

from everloop.domain.canonical import sha256


class Opaque(Exception):
    """A value whose content cannot be told."""


class TooDeep(Opaque):
    """One that holds itself, or nearly so."""


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
        if not is_wrapper(value):
            break
        value = value.__wrapped__
    return value


def is_wrapper(value: Any) -> bool:
    """Whether a value says what it wraps: by itself, not because it answers whatever it is asked for, as proxies and mocks do."""
    if type(value) not in _SIMPLE and any("__getattr__" in vars(each) for each in type(value).__mro__):
        try:
            inspect.getattr_static(value, "__wrapped__")
        except AttributeError:
            return False
    return getattr(value, "__wrapped__", None) is not None


_SIMPLE = frozenset(
    {types.FunctionType, types.MethodType, type, *map(type, (None, True, 0, 0.0, "", b"", (), [], {}))}
)

OnCode = Callable[[Any], str]
"""Given a function, class or module met inside a value: follows it, and returns its name."""


def fingerprint(
    value: Any, on_code: OnCode, root: Path, is_own: Callable[[type], bool] = lambda kind: False
) -> tuple[str, bool]:
    """The digest of data: numbers, text, containers, dates, paths, patterns, structs, dataclasses, arrays, tables, and objects of
    the project's own classes by their attributes; and whether that is all of it.

    Functions, classes and modules inside are handed to `on_code`. `is_own`: whether a class is the project's. Raises Opaque for
    anything else; of what is inside of containers and objects, only its class counts then.
    """
    lowering = _Lowering(on_code, root, is_own)
    lowered = lowering.of(value, 0)
    return sha256(repr(lowered).encode("utf-8", "surrogatepass")), lowering.whole


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
_DEEPEST = 50


class _Lowering:
    """One value on its way to plain tuples and texts. whole: whether nothing inside was opaque."""

    def __init__(self, on_code: OnCode, root: Path, is_own: Callable[[type], bool]) -> None:
        self.on_code, self.root, self.is_own = on_code, root, is_own
        self.whole = True
        self._met: dict[int, tuple[int, object]] = {}

    def of(self, value: Any, depth: int) -> Any:
        """Raises Opaque."""
        if depth > _DEEPEST:
            raise TooDeep("nested too deeply")
        kind = type(value)
        if kind in _PLAIN or isinstance(value, _PRINTED):
            return (kind.__name__, repr(value))
        on_code = self.on_code

        def deeper(inner: Any) -> Any:
            return self._inside(inner, depth + 1)

        if isinstance(
            value,
            types.FunctionType | types.MethodType | type | types.ModuleType | types.BuiltinFunctionType,
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
        if kind in (bytearray, memoryview, array.array):
            return (kind.__name__, sha256(bytes(value)))
        if kind is collections.deque:
            return ("deque", [deeper(each) for each in value])
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return ("named tuple", kind.__name__, kind._fields, [deeper(each) for each in value])
        if kind is types.SimpleNamespace:
            return ("namespace", [(name, deeper(each)) for name, each in vars(value).items()])
        if isinstance(value, PurePath):
            path = Path(value)
            inside = path.is_absolute() and path.is_relative_to(self.root)
            return ("path", str(path.relative_to(self.root)) if inside else str(path))
        if isinstance(value, re.Pattern):
            return ("pattern", value.pattern, value.flags)
        if isinstance(value, msgspec.Struct):
            return (
                "struct",
                on_code(kind),
                [deeper(getattr(value, name)) for name in kind.__struct_fields__],
            )
        if is_dataclass(value):
            return ("dataclass", on_code(kind), [deeper(getattr(value, each.name)) for each in fields(value)])
        if kind.__name__ == "partial" and hasattr(value, "func") and hasattr(value, "keywords"):
            return ("partial", deeper(value.func), deeper(value.args), deeper(value.keywords))
        if callable(value) and is_wrapper(value):
            return ("code", on_code(value))
        if self.is_own(kind) and not _is_at_work(kind):
            return self._object(value, depth)
        return _table(value) or _array(value)

    def _inside(self, value: Any, depth: int) -> Any:
        """A part of something. Where it is opaque, its class stands for it."""
        try:
            return self.of(value, depth)
        except TooDeep:
            raise
        except Opaque as opaque:
            self.whole = False
            return ("opaque", self.on_code(type(value)) if self.is_own(type(value)) else str(opaque))

    def _object(self, value: Any, depth: int) -> Any:
        """An object by its attributes, and by what it holds as a container. One that was met before is named by its number:
        objects may refer to each other."""
        kind = type(value)
        if id(value) in self._met:
            return ("met", self._met[id(value)][0])
        self._met[id(value)] = len(self._met), value
        held = [self._inside(each, depth + 1) for each in _held(value)]
        attributes = sorted(_attributes(value))
        if any(not self.is_own(base) and base not in _TRANSPARENT for base in kind.__mro__):
            self.whole = False  # what a base keeps out of sight cannot be told
        parts = [(name, self._inside(each, depth + 1)) for name, each in attributes]
        return ("object", self.on_code(kind), parts, held)


_TRANSPARENT = frozenset(
    {object, dict, list, tuple, set, frozenset, str, bytes, int, float, Generic, Protocol, abc.ABC}
)


def _is_at_work(kind: type) -> bool:
    """Whether a class builds on one of Python's own that is more than data: threads, locks, connections, loggers."""
    return any(
        base not in _TRANSPARENT and base.__module__.partition(".")[0] in sys.stdlib_module_names
        for base in kind.__mro__
    )


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object keeps by name; not what `functools.cached_property` put there, which follows from the rest."""
    kind = type(value)
    for name, each in getattr(value, "__dict__", {}).items():
        if not isinstance(inspect.getattr_static(kind, name, None), functools.cached_property):
            yield name, each
    for base in kind.__mro__:
        if "__slots__" in vars(base):
            for name, member in vars(base).items():
                if isinstance(member, types.MemberDescriptorType):
                    with suppress(AttributeError):  # nothing was put there
                        yield f"{base.__name__}.{name}", member.__get__(value, kind)


def _held(value: Any) -> Iterator[Any]:
    """What an object holds that is one of Python's containers, numbers or texts besides."""
    if isinstance(value, dict):
        yield from dict.items(value)
    elif isinstance(value, list):
        yield from list.__iter__(value)
    elif isinstance(value, tuple):
        yield from tuple.__iter__(value)
    elif isinstance(value, set | frozenset):
        yield frozenset(value)
    elif isinstance(value, str):
        yield str.__str__(value)
    elif isinstance(value, bytes):
        yield bytes.__getitem__(value, slice(None))
    elif isinstance(value, int):
        yield int.__int__(value)
    elif isinstance(value, float):
        yield float.__float__(value)


def _table(value: Any) -> Any:
    """A table of pandas, polars or Arrow by its rows; None for anything else."""
    pandas, arrow, polars = map(sys.modules.get, ("pandas", "pyarrow", "polars"))
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index):
        try:
            rows = pandas.util.hash_pandas_object(value).to_numpy()
        except TypeError:  # cells that are lists, or anything else
            raise Opaque(f"{type(value).__module__}.{type(value).__qualname__}") from None
        names = value.columns if isinstance(value, pandas.DataFrame) else [value.name]
        kinds = value.dtypes if isinstance(value, pandas.DataFrame) else [value.dtype]
        return (
            "frame",
            [repr(each) for each in names],
            [str(each) for each in kinds],
            sha256(rows.tobytes()),
        )
    if polars is not None and isinstance(value, polars.DataFrame):
        return _table(value.to_arrow())
    if arrow is not None and isinstance(value, arrow.Table):
        sink = arrow.BufferOutputStream()
        with arrow.ipc.new_stream(sink, value.schema) as stream:
            stream.write_table(value.combine_chunks())
        return ("table", sha256(sink.getvalue().to_pybytes()))
    return None


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
