"""Modules of Python that SQLAlchemy imports for what no command asks of it: they wait until they are used.

`asyncio` is for drivers that are asynchronous, `importlib.metadata` for plugins. With all that these import in turn, they are a
fifth of importing SQLAlchemy, which is most of what a short command takes. Nobody else sees the modules that stand for them.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import (
        Loader,  # its own import takes longer than what is saved on the smallest commands
    )

IMPORTERS = frozenset({"sqlalchemy", "sqlalchemy.dialects.sqlite"})
"""Whose imports wait, with those of all that they import."""

WAITING: dict[str, tuple[str, ...]] = {"asyncio": ("iscoroutine",), "importlib.metadata": ()}
"""Module -> those of its functions that importers name (``iscoroutine = asyncio.iscoroutine``): they wait for a call."""

_loading = threading.RLock()


class Waiting(ModuleType):
    """Stands for a module until somebody asks it for something, and is a way to it from then on."""

    def __init__(self, name: str, functions: Sequence[str]) -> None:
        super().__init__(name, None)
        for each in functions:
            setattr(self, each, self._function(each))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loaded(), name)

    def _loaded(self) -> ModuleType:
        with _loading:
            _make_way(self)
            return importlib.import_module(self.__name__)

    def _function(self, name: str) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            return getattr(self._loaded(), name)(*args, **kwargs)

        return called


class _Finder:
    """Finds `IMPORTERS` where they are, and has modules wait while they are executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in IMPORTERS:
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is not None and found.loader is not None:
            found.loader = cast("Loader", _Around(found.loader))
        return found


class _Around:
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with waiting(WAITING):
            self._loader.exec_module(module)


@contextmanager
def waiting(modules: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Within the block, those of some modules wait that were not imported before it."""
    made = [Waiting(name, functions) for name, functions in modules.items() if name not in sys.modules]
    for each in made:
        sys.modules[each.__name__] = each
        parent, _, name = each.__name__.rpartition(".")
        if parent:
            setattr(importlib.import_module(parent), name, each)
    try:
        yield
    finally:
        for each in made:
            _make_way(each)


def _make_way(module: Waiting) -> None:
    """Let the next import find the module that this one stands for. It stays the attribute of its package until then: who said
    ``import importlib.metadata`` reaches it there."""
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]


def install() -> None:
    """From now on, in this process."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
