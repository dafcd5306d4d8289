"""Whether a value is what an annotation says: what a step is given, and what it returns."""

from __future__ import annotations

import inspect
import itertools
import numbers
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, NewType, TypeVar, Union

from everloop.errors import InvalidInput

LOOKED_AT = 1000
"""Elements of a container that are looked at: a long list is believed when its beginning is right."""
_NUMBERS: dict[Any, type] = {int: numbers.Integral, float: numbers.Real, complex: numbers.Complex}


def check_arguments(step: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise InvalidInput for an argument that is not what the function's annotation says. A list may stand for a tuple and the
    other way round; what cannot be told from an annotation is not checked."""
    wanted = hints(function)
    for name, value in arguments.items():
        annotation = wanted.get(name, Any)
        kind = typing.get_origin(annotation) or annotation
        given = kind(value) if kind in (list, tuple) and type(value) in (list, tuple) else value
        found = misfit(given, annotation)
        if found is not None:
            place, what = found
            raise InvalidInput(
                f"step {step}: {name}{place} is {what}; declared is {spelled(annotation)}",
                hint="call it with that, or mend the annotation",
            )


def check_returned(step: str, function: Callable[..., Any], value: Any) -> None:
    """Raise InvalidInput when a function returned something else than its annotation says."""
    annotation = hints(function).get("return", Any)
    found = misfit(value, annotation)
    if found is not None:
        place, what = found
        raise InvalidInput(
            f"step {step}: its result{place} is {what}; declared is {spelled(annotation)}",
            hint="return that, or mend the annotation",
        )


def misfit(value: Any, wanted: Any, place: str = "") -> tuple[str, str] | None:
    """Where a value is not what an annotation says, and what it is there; None when it fits, or the annotation cannot be checked.

    >>> misfit([1, 2, "3"], list[int]), misfit(3, float | None), misfit({"a": 1}, tuple)
    (('[2]', 'a str'), None, ('', 'a dict'))
    """
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if isinstance(wanted, TypeVar) or wanted in (Any, object, inspect.Parameter.empty):
        return None
    if isinstance(wanted, NewType):
        return misfit(value, wanted.__supertype__, place)
    if origin is typing.Annotated:
        return misfit(value, inner[0], place)
    if origin in (Union, types.UnionType):
        fits = any(misfit(value, each) is None for each in inner)
    elif origin is Literal:
        fits = value in inner
    elif wanted is None:
        fits = value is None
    else:
        fits = _is_a(value, origin or wanted)
    if not fits:
        return place, repr(value) if origin is Literal else _a(type(value))
    if isinstance(value, tuple) and origin is tuple and Ellipsis not in inner and len(value) != len(inner):
        return place, f"a tuple of {len(value)}"
    return next(filter(None, _within(value, origin, inner, place)), None)


def _within(value: Any, origin: Any, inner: tuple[Any, ...], place: str) -> Iterator[tuple[str, str] | None]:
    """The same of what a container holds."""
    some: list[tuple[Any, Any, str]] = []
    if origin is tuple and Ellipsis not in inner:
        some = [
            (each, one, f"[{number}]") for number, (each, one) in enumerate(zip(value, inner, strict=True))
        ]
    elif isinstance(value, dict) and len(inner) == 2:
        for key, each in itertools.islice(value.items(), LOOKED_AT):
            some += [(key, inner[0], f" key {key!r}"), (each, inner[1], f"[{key!r}]")]
    elif (
        isinstance(value, list | tuple | set | frozenset)
        and inner
        and origin not in (Union, types.UnionType, Literal)
    ):
        some = [
            (each, inner[0], f"[{number}]") for number, each in enumerate(itertools.islice(value, LOOKED_AT))
        ]
    return (misfit(each, one, f"{place}{within}") for each, one, within in some)


def _is_a(value: Any, kind: Any) -> bool:
    if typing.is_typeddict(kind):
        return isinstance(value, dict)
    try:
        if kind is bool:
            return type(value).__name__ in {"bool", "bool_"}  # numpy's is no subclass
        return isinstance(value, _NUMBERS.get(kind, kind))
    except TypeError:  # a protocol, or a form of annotation that cannot be asked
        return True


@lru_cache(maxsize=1024)
def hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of a function; none where one of them names something that is not there at run time."""
    try:
        return typing.get_type_hints(function) if isinstance(function, types.FunctionType) else {}
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}


def spelled(annotation: Any) -> str:
    """An annotation as people write it.

    >>> spelled(list[int]), spelled(float), spelled(int | None), spelled(type(None))
    ('list[int]', 'float', 'int | None', 'None')
    """
    if annotation in (None, type(None)):
        return "None"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return _name(annotation)
    return str(annotation)


def _a(kind: type) -> str:
    if kind is type(None):
        return "None"
    name = _name(kind)
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _name(kind: type) -> str:
    module = kind.__module__.partition(".")[0]
    return kind.__qualname__ if module in {"builtins", "__main__"} else f"{module}.{kind.__qualname__}"
