"""Feast's names for a repository's files, so that neither Feast nor pandas need be installed to read them.

Whatever is imported from ``feast`` is there: what we know keeps its arguments, everything else takes any argument and does
nothing. Nothing here reads data or goes anywhere.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any

DECLARED: list[Any] = []
"""Everything that was made, in order."""


class Anything:
    """Stands for what we do not know: takes any arguments, has any attribute, can be called and subclassed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.arguments = kwargs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()


class Type:
    """A type such as ``Float32``, or ``Array(Float32)``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *inner: Any) -> Type:
        return Type(f"{self.name}({', '.join(map(str, inner))})")

    def __str__(self) -> str:
        return self.name

    def __getattr__(self, name: str) -> Type:
        if name.startswith("__"):
            raise AttributeError(name)
        return Type(name)


class Field:
    def __init__(self, name: str = "", dtype: Any = "", **rest: Any) -> None:
        self.name, self.dtype = name, str(dtype)


class Feature(Field):
    """As Feast called fields before 0.21."""


class Entity:
    def __init__(
        self, name: str = "", join_keys: Sequence[str] | None = None, join_key: str = "", **rest: Any
    ) -> None:
        self.name = name
        self.join_keys = list(join_keys or [join_key or name])
        DECLARED.append(self)


class Source:
    """Any data source; `batch` is what a push or stream source writes to."""

    def __init__(self, *args: Any, **given: Any) -> None:
        self.kind = type(self).__name__
        self.name: str = given.get("name") or (args[0] if args and isinstance(args[0], str) else "")
        self.path: str = given.get("path") or given.get("file_url") or ""
        self.timestamp_field: str = given.get("timestamp_field") or given.get("event_timestamp_column") or ""
        self.created_field: str = given.get("created_timestamp_column") or ""
        self.field_mapping: dict[str, str] = dict(given.get("field_mapping") or {})
        self.batch: Any = given.get("batch_source")
        self.format = type(given["file_format"]).__name__ if given.get("file_format") is not None else ""
        self.schema: list[Any] = list(given.get("schema") or ())
        DECLARED.append(self)


class FileSource(Source):
    pass


class PushSource(Source):
    pass


class RequestSource(Source):
    pass


class View:
    def __init__(self, *args: Any, **given: Any) -> None:
        self.kind = type(self).__name__
        self.name: str = given.get("name") or (args[0] if args else "")
        self.entities = list(given.get("entities") or ())
        self.source = given.get("source") or given.get("batch_source") or given.get("input")
        self.fields = list(given.get("schema") or given.get("features") or ())
        ttl = given.get("ttl")
        self.ttl = ttl.total_seconds() if isinstance(ttl, timedelta) else 0.0
        self.transformed = bool(given.get("feature_transformation") or given.get("udf"))
        DECLARED.append(self)

    def __getitem__(self, names: Any) -> Projection:
        return Projection(self.name, [names] if isinstance(names, str) else list(names))

    def with_name(self, name: str) -> View:
        return self

    def with_join_key_map(self, keys: Any) -> View:
        return self


class FeatureView(View):
    pass


class BatchFeatureView(View):
    pass


class StreamFeatureView(View):
    pass


class Projection:
    """Some features of a view."""

    def __init__(self, name: str, features: list[str]) -> None:
        self.name, self.features = name, features


class FeatureService:
    def __init__(self, name: str = "", features: Sequence[Any] = (), **rest: Any) -> None:
        self.name, self.features = name, list(features)
        DECLARED.append(self)


class OnDemandFeatureView:
    """Made by the decorator: keeps the function."""

    def __init__(self, **given: Any) -> None:
        sources = given.get("sources") or given.get("inputs") or ()
        self.sources = list(sources.values()) if isinstance(sources, dict) else list(sources)
        self.schema = list(given.get("schema") or given.get("features") or ())
        self.mode: str = given.get("mode") or "pandas"
        self.function: Callable[..., Any] | None = given.get("udf")
        self.name = str(given.get("name") or getattr(self.function, "__name__", ""))
        DECLARED.append(self)

    def __getitem__(self, names: Any) -> Projection:
        return Projection(self.name, [names] if isinstance(names, str) else list(names))


def on_demand_feature_view(*args: Any, **given: Any) -> Any:
    def declare(function: Callable[..., Any]) -> OnDemandFeatureView:
        return OnDemandFeatureView(**{**given, "udf": function})

    return declare(args[0]) if len(args) == 1 and inspect.isfunction(args[0]) else declare


KNOWN = {
    each.__name__: each
    for each in (
        Field,
        Feature,
        Entity,
        FileSource,
        PushSource,
        RequestSource,
        FeatureView,
        BatchFeatureView,
        StreamFeatureView,
        FeatureService,
        OnDemandFeatureView,
        on_demand_feature_view,
    )
}


class Names(ModuleType):
    """A module of ``feast``: whatever is asked of it is there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in KNOWN:
            return KNOWN[name]
        if self.__name__.endswith(("types", "value_type")) or name == "ValueType":
            return Type(name)
        base = Source if name.endswith("Source") else Anything
        made = type(name, (base,), {})
        setattr(self, name, made)
        return made


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives ``feast`` and everything below it, and whatever else is named."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in self._names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return Names(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def install() -> None:
    """From now on, ``import feast`` means this, whether or not Feast is installed; so does pandas where it is not."""
    missing = [name for name in ("pandas",) if importlib.util.find_spec(name) is None]
    sys.meta_path.insert(0, Finder(["feast", *missing]))
