"""Plain values as tagged JSON: what comes back has the types that went in, and equal values make equal digests.

A list, text, number, true, false and null stand for themselves; a dict with text keys too. Everything else is an object with one
key that begins with ``~``: ``{"~tuple": [1, 2]}``. The order of a dict's keys is kept; as
for ``==``, it is not part of the digest.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import importlib
import math
import sys
import types
import uuid
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.canonical import canonical, sha256
from everloop.errors import InvalidInput
from everloop.pipelines.values.files import File

LARGEST_INT = 2**63
INLINE_BYTES = 4096

Lower = Callable[[Any, str], Any]
Raise = Callable[[Any], Any]

_BY_TEXT: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "~datetime": (datetime.datetime, lambda value: value.isoformat(), datetime.datetime.fromisoformat),
    "~date": (datetime.date, lambda value: value.isoformat(), datetime.date.fromisoformat),
    "~time": (datetime.time, lambda value: value.isoformat(), datetime.time.fromisoformat),
    "~decimal": (decimal.Decimal, str, decimal.Decimal),
    "~uuid": (uuid.UUID, str, uuid.UUID),
    "~complex": (complex, repr, complex),
    "~path": (type(Path()), str, Path),
}
_TAG_OF = {kind: tag for tag, (kind, _, _) in _BY_TEXT.items()}


class NotPlain(Exception):
    """Not plain: some other format may know it."""


def lower(value: Any, deeper: Lower, where: str, types_: set[str]) -> Any:
    """The tree of a plain value; what is inside goes to `deeper`. Names of project types met are added to `types_`."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -LARGEST_INT <= value < LARGEST_INT else {"~int": str(value)}
    if kind is float:
        return value if math.isfinite(value) else {"~float": repr(value)}
    if kind is list:
        return [deeper(each, f"{where}[{number}]") for number, each in enumerate(value)]
    if kind is tuple:
        return {"~tuple": [deeper(each, f"{where}[{number}]") for number, each in enumerate(value)]}
    if kind is dict:
        if all(type(key) is str and not key.startswith("~") for key in value):
            return {key: deeper(each, f"{where}[{key!r}]") for key, each in value.items()}
        return {
            "~dict": [
                [deeper(key, f"{where} key"), deeper(each, f"{where}[{key!r}]")]
                for key, each in value.items()
            ]
        }
    if kind is set or kind is frozenset:
        return {
            f"~{kind.__name__}": sorted((deeper(each, f"{where} element") for each in value), key=canonical)
        }
    if kind is bytes and len(value) <= INLINE_BYTES:
        return {"~bytes": base64.b85encode(value).decode()}
    if kind in _TAG_OF:
        return {_TAG_OF[kind]: _BY_TEXT[_TAG_OF[kind]][1](value)}
    if kind is datetime.timedelta:
        return {"~timedelta": [value.days, value.seconds, value.microseconds]}
    if kind is File:
        return {"~file": [value.name, deeper(value.content, f"{where}.content")]}
    if isinstance(value, Enum):
        return {"~enum": [_type_label(kind, types_), value.name]}
    if isinstance(value, msgspec.Struct):
        names = kind.__struct_fields__
        return {
            "~struct": [
                _type_label(kind, types_),
                {name: deeper(getattr(value, name), f"{where}.{name}") for name in names},
            ]
        }
    if is_dataclass(value) and not isinstance(value, type):
        inner = {
            each.name: deeper(getattr(value, each.name), f"{where}.{each.name}") for each in fields(value)
        }
        return {"~dataclass": [_type_label(kind, types_), inner]}
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
        return {"~code": _type_label(value, types_)}
    if isinstance(value, types.ModuleType):
        types_.add(f"{importable(value.__name__)}:")
        return {"~code": f"{importable(value.__name__)}:"}
    raise NotPlain


def lift(tag: str, body: Any, deeper: Raise) -> Any:
    """The value of a tagged tree. Raises KeyError for a tag that is not a plain one's."""
    if tag in _BY_TEXT:
        return _BY_TEXT[tag][2](body)
    if tag == "~tuple":
        return tuple(deeper(each) for each in body)
    if tag == "~dict":
        return {deeper(key): deeper(each) for key, each in body}
    if tag in {"~set", "~frozenset"}:
        found = [deeper(each) for each in body]
        return set(found) if tag == "~set" else frozenset(found)
    if tag == "~int":
        return int(body)
    if tag == "~float":
        return float(body)
    if tag == "~bytes":
        return base64.b85decode(body)
    if tag == "~timedelta":
        return datetime.timedelta(*body)
    if tag == "~file":
        return File(body[0], deeper(body[1]))
    if tag == "~enum":
        return named(body[0])[body[1]]
    if tag == "~struct":
        return named(body[0])(**{name: deeper(each) for name, each in body[1].items()})
    if tag == "~dataclass":
        return _dataclass(named(body[0]), {name: deeper(each) for name, each in body[1].items()})
    if tag == "~code":
        return named(body)
    raise KeyError(tag)


def tree_digest(tree: Any) -> str:
    """The digest of a tree: dicts in any order, objects by their content rather than by the file that holds it.

    >>> tree_digest({"a": 1, "b": {"~tuple": [1]}}) == tree_digest({"b": {"~tuple": [1]}, "a": 1})
    True
    """
    return sha256(canonical(_canonical(tree)))


def _canonical(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_canonical(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if "~object" in tree:
        return {"~object": [tree["~object"]["as"], tree["~object"]["content"]]}
    if "~dataset" in tree:
        return {"~dataset": [tree["~dataset"]["name"], tree["~dataset"]["content"]]}
    if "~dict" in tree:
        return {
            "~dict": sorted(
                ([_canonical(key), _canonical(each)] for key, each in tree["~dict"]), key=canonical
            )
        }
    return {key: _canonical(each) for key, each in tree.items()}


def _type_label(value: Any, types_: set[str]) -> str:
    label = f"{importable(value.__module__)}:{value.__qualname__}"
    try:
        found = named(label)
    except (ImportError, AttributeError):
        found = None
    if found is not value and getattr(found, "__wrapped__", None) is not value:
        raise InvalidInput(
            f"{value.__qualname__} cannot pass between steps: it is not a name of the module {value.__module__}",
            hint="define it at the top level of a module",
        )
    types_.add(label)
    return label


def importable(module: str) -> str:
    """The name by which another process imports a module: a script that was started is ``__main__`` only here."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    return str(spec.name) if spec is not None else Path(file).stem if file else module


def named(label: str) -> Any:
    """What ``module:Name`` names."""
    module, _, path = label.partition(":")
    found: Any = (
        sys.modules["__main__"] if module == importable("__main__") else importlib.import_module(module)
    )
    for part in path.split(".") if path else ():
        found = getattr(found, part)
    return found


def _dataclass(kind: type, content: dict[str, Any]) -> Any:
    """The instance as it was: fields that `__init__` does not take, or that `__post_init__` changed, are set too."""
    instance: Any = object.__new__(kind)
    for name, value in content.items():
        object.__setattr__(instance, name, value)
    return instance
