"""Which format takes a value that is not plain, and users' own formats."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from everloop.domain.canonical import sha256
from everloop.errors import InvalidInput, nearest
from everloop.pipelines.values.plain import importable

T = TypeVar("T")


class Format(Protocol):
    """How values of some type are kept. `name` is stored with each value, so it must not change."""

    name: str

    def accepts(self, value: Any) -> bool:
        """Whether this format takes the value. Must be quick and import nothing heavy."""
        ...

    def dump(self, value: Any) -> tuple[bytes, str, str]:
        """The bytes to keep, the digest of the content (equal for equal values), and a few words for people."""
        ...

    def load(self, data: bytes) -> Any:
        """The value of `dump`."""
        ...


class _Bytes:
    name = "bytes"

    def accepts(self, value: Any) -> bool:
        return type(value) is bytes

    def dump(self, value: bytes) -> tuple[bytes, str, str]:
        return value, sha256(value), f"{len(value):,} bytes"

    def load(self, data: bytes) -> bytes:
        return data


class _Array:
    name = "array"

    def accepts(self, value: Any) -> bool:
        numpy = sys.modules.get("numpy")
        return numpy is not None and type(value) is numpy.ndarray

    def dump(self, value: Any) -> tuple[bytes, str, str]:
        from everloop.pipelines.values import arrays

        if value.dtype.hasobject:
            raise InvalidInput(
                "an array of Python objects cannot pass between steps",
                hint="give it a type: array.astype(float) or a table",
            )
        size = " x ".join(map(str, value.shape)) or "single"
        return arrays.dump(value), arrays.array_digest(value), f"array {size} of {value.dtype}"

    def load(self, data: bytes) -> Any:
        from everloop.pipelines.values import arrays

        return arrays.load(data)


class _Scalar:
    name = "scalar"

    def accepts(self, value: Any) -> bool:
        numpy = sys.modules.get("numpy")
        return numpy is not None and isinstance(value, numpy.generic) and not value.dtype.hasobject

    def dump(self, value: Any) -> tuple[bytes, str, str]:
        import numpy as np

        from everloop.pipelines.values import arrays

        array = np.asarray(value)
        return arrays.dump(array), arrays.array_digest(array), str(value)

    def load(self, data: bytes) -> Any:
        from everloop.pipelines.values import arrays

        return arrays.load(data)[()]


class _Table:
    name = "table"

    def accepts(self, value: Any) -> bool:
        arrow = sys.modules.get("pyarrow")
        return arrow is not None and isinstance(value, arrow.Table)

    def dump(self, value: Any) -> tuple[bytes, str, str]:
        from everloop.pipelines.values import tables

        words = f"table of {value.num_columns} columns x {value.num_rows:,} rows"
        return tables.dump(value), tables.table_digest(value), words

    def load(self, data: bytes) -> Any:
        from everloop.pipelines.values import tables

        return tables.load(data)


class _Frame:
    name = "frame"

    def accepts(self, value: Any) -> bool:
        pandas = sys.modules.get("pandas")
        return pandas is not None and type(value) is pandas.DataFrame

    def dump(self, value: Any) -> tuple[bytes, str, str]:
        from everloop.pipelines.values import tables

        table = tables.from_frame(value)
        words = f"frame of {value.shape[1]} columns x {value.shape[0]:,} rows"
        return tables.dump(table), tables.table_digest(table), words

    def load(self, data: bytes) -> Any:
        from everloop.pipelines.values import tables

        return tables.load(data).to_pandas()


class _Model:
    name = "model"

    def accepts(self, value: Any) -> bool:
        from everloop.pipelines.values import models

        return models.is_model(value)

    def dump(self, value: Any) -> tuple[bytes, str, str]:
        from everloop.pipelines.values import models

        data, content = models.dump(value)
        return data, content, f"model {type(value).__name__}"

    def load(self, data: bytes) -> Any:
        from everloop.pipelines.values import models

        return models.load(data)


class _Registered:
    def __init__(
        self,
        kind: type,
        name: str,
        save: Callable[[Any, Path], object],
        load: Callable[[Path], Any],
        digest: Callable[[Any], str] | None,
    ) -> None:
        self.kind, self.name, self._save, self._load, self._digest = kind, name, save, load, digest

    def accepts(self, value: Any) -> bool:
        return type(value) is self.kind

    def dump(self, value: Any) -> tuple[bytes, str, str]:
        with tempfile.TemporaryDirectory(prefix="everloop-") as folder:
            path = Path(folder) / "value"
            self._save(value, path)
            data = path.read_bytes()
        content = sha256(self._digest(value).encode()) if self._digest is not None else sha256(data)
        return data, content, self.kind.__name__

    def load(self, data: bytes) -> Any:
        with tempfile.TemporaryDirectory(prefix="everloop-") as folder:
            path = Path(folder) / "value"
            path.write_bytes(data)
            return self._load(path)


_FORMATS: list[Format] = [_Bytes(), _Array(), _Scalar(), _Table(), _Frame(), _Model()]
_BUILT_IN = frozenset(each.name for each in _FORMATS)


def register_serialiser(
    kind: type[T],
    *,
    save: Callable[[T, Path], object],
    load: Callable[[Path], T],
    digest: Callable[[T], str] | None = None,
    version: int = 1,
    name: str = "",
) -> None:
    """Let values of a type pass between steps.

    `save` writes a value to a path, `load` reads it back. `digest` tells equal values from different ones; without it the
    bytes of the file do, so they must then be equal for equal values. `version`: raise it when what `save` writes changes its
    meaning: files of another version are not read. Call it at the top level of the module that defines the type, so that every
    worker knows it; the call is part of what the steps of that module depend on.
    """
    name = name or f"{importable(kind.__module__)}:{kind.__qualname__}"
    if name in _BUILT_IN:
        raise InvalidInput(
            f"a serialiser cannot be called '{name}'",
            hint="that is one of Everloop's own; leave the name out",
        )
    if version != 1:
        name = f"{name}@{version}"
    _FORMATS[:] = [each for each in _FORMATS if each.name != name]
    _FORMATS.insert(0, _Registered(kind, name, save, load, digest))


def format_for(value: Any, where: str) -> Format:
    """The format that takes a value, or InvalidInput that names the place in the value and the type."""
    for each in _FORMATS:
        if each.accepts(value):
            return each
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise InvalidInput(
        f"{where} is a {kind}, which cannot pass between steps",
        hint=_ADVICE.get(kind.partition(".")[0])
        or "return numbers, text, containers, arrays, tables or estimators, or register it: everloop.register_serialiser(…)",
    )


def format_called(name: str) -> Format:
    """The format a stored value names."""
    for each in _FORMATS:
        if each.name == name:
            return each
    raise InvalidInput(
        f"nothing here reads values of the format '{name}'",
        hint=nearest(name, [each.name for each in _FORMATS]) or "import the module that registers it",
    )


_ADVICE = {
    "duckdb": "turn it into a table: relation.to_arrow_table()",
    "polars": "turn it into a table: frame.to_arrow()",
    "generator": "return a list",
}
