"""Replacing functions of libraries and putting them back; also of those that are imported later."""

import functools
import importlib.abc
import importlib.machinery
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from everloop.tracking.autolog.options import chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
Around = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Is called instead of a function, with the function and its arguments."""

within: ContextVar[bool] = ContextVar("everloop_autolog_within", default=False)
"""Whether the code runs within a call that is recorded already: what a library calls of itself makes no run of its own."""

_lock = threading.RLock()
_undo: list[Callable[[], None]] = []
_watched: dict[str, Callable[[], None]] = {}
_warned: set[str] = set()


def safely(work: Callable[[], T], about: str) -> T | None:
    """Do something for the user's log, not for the user: a failure is one warning. Random generators are left as they were."""
    states = _random_states()
    try:
        return work()
    except Exception as error:  # noqa: BLE001 (the boundary between a log and somebody's training)
        options = chosen()
        text = f"everloop autolog: {about} failed: {type(error).__name__}: {error}"
        if text not in _warned and not (options is not None and options.silent):
            _warned.add(text)
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        return None
    finally:
        _put_back(states)


@contextmanager
def inside() -> "Iterator[None]":
    """A block in which nothing is recorded."""
    token = within.set(True)
    try:
        yield
    finally:
        within.reset(token)


def replace(owner: Any, name: str, around: Around) -> None:
    """Call `around` instead of a function of a module or a class; `around` must be importable by name, since what it wraps may be
    pickled for other processes. A method that is there only sometimes (`available_if`) stays so."""
    found = vars(owner).get(name)
    if found is None or getattr(found, "__everloop__", False):
        return
    inner = getattr(found, "fn", None)
    if isinstance(found, FunctionType) or (not isinstance(owner, type) and callable(found)):
        wrapped = _wrapped(found, around)
        setattr(owner, name, wrapped)
        _remember(lambda: setattr(owner, name, found) if vars(owner).get(name) is wrapped else None)
    elif isinstance(inner, FunctionType) and not getattr(inner, "__everloop__", False):
        found.fn = _wrapped(inner, around)
        _remember(lambda: setattr(found, "fn", inner))


def on_undo(work: Callable[[], None]) -> None:
    """Something else that is to be put back."""
    _remember(work)


def undo_all() -> None:
    """Put everything back, last things first."""
    with _lock:
        while _undo:
            _undo.pop()()
        _watched.clear()
        _warned.clear()
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)


def when_imported(name: str, work: Callable[[], None]) -> None:
    """Do something now, if the module is there, or else as soon as it has been imported."""
    with _lock:
        if name in sys.modules:
            safely(work, f"preparing {name}")
            return
        _watched[name] = work
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def _wrapped(original: Callable[..., Any], around: Around) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return around(original, args, kwargs)

    call.__everloop__ = True  # type: ignore[attr-defined]
    return call


def _remember(work: Callable[[], None]) -> None:
    with _lock:
        _undo.append(work)


def _random_states() -> tuple[Any, Any]:
    random, numpy = sys.modules.get("random"), sys.modules.get("numpy.random")
    return random and random.getstate(), numpy and numpy.get_state()


def _put_back(states: tuple[Any, Any]) -> None:
    random, numpy = sys.modules.get("random"), sys.modules.get("numpy.random")
    if random is not None and states[0] is not None:
        random.setstate(states[0])
    if numpy is not None and states[1] is not None:
        numpy.set_state(states[1])


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself: of the modules that are waited for, it wraps the loader that others find."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _watched:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            found = finder.find_spec(name, path, target)
            if found is not None:
                if found.loader is not None:
                    _hook(found.loader, name)
                return found
        return None


def _hook(loader: Any, name: str) -> None:
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        work = _watched.pop(name, None)
        if work is not None:
            safely(work, f"preparing {name}")

    loader.exec_module = exec_module


_finder = _Finder()
