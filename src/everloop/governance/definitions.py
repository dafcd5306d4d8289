"""Reading a user's definitions: plain modules whose globals are declarations.

Only the user's own processes do this, never the server.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from everloop.errors import EverloopError, InvalidDefinition, nearest

T = TypeVar("T")

_opened: set[str] = set()
"""Folders that were put on the import path here."""


def load(spec: str, project: Path) -> ModuleType:
    """Import a definitions module by file (``pipelines/train.py``) or dotted name (``pipelines.train``).

    The project's folder comes first on the import path, and for a file its own folder too, so that modules beside it are found.
    Raises InvalidDefinition with file, line and what Python says.
    """
    _importable(project)
    path = Path(spec) if spec.endswith(".py") else None
    try:
        if path is None:
            return _import(spec, project)
        return _load_file(_existing(path, project), project)
    except EverloopError:
        raise
    except SyntaxError as error:
        raise InvalidDefinition(
            f"{error.filename}, line {error.lineno}: {error.msg}", hint="mend the file and try again"
        ) from error
    except ModuleNotFoundError as error:
        if path is None and error.name and (spec == error.name or spec.startswith(error.name + ".")):
            raise InvalidDefinition(
                f"no module is called '{spec}'",
                hint=f"it is looked for from {project}; a file is written with .py",
            ) from None
        raise _failed(spec, error) from error
    except (
        Exception,
        SystemExit,
    ) as error:  # a user's module may raise anything while it is imported, also by sys.exit
        raise _failed(spec, error) from error


def declared(module: ModuleType, kind: type[T]) -> list[T]:
    """The declarations of one kind among a module's globals, each once, in the order they were written."""
    found: dict[int, T] = {id(value): value for value in vars(module).values() if isinstance(value, kind)}
    return list(found.values())


def pick(module: ModuleType, name: str, kind: type[T], what: str) -> T:
    """The declaration called `name`, or InvalidDefinition with the nearest names."""
    value = vars(module).get(name)
    if isinstance(value, kind):
        return value
    known = [key for key, each in vars(module).items() if isinstance(each, kind)]
    hint = nearest(name, known) or (f"it has: {', '.join(known)}" if known else f"it has no {what}")
    raise InvalidDefinition(f"{module.__file__} has no {what} called '{name}'", hint=hint)


def _existing(path: Path, project: Path) -> Path:
    for candidate in (path, project / path):
        if candidate.is_file():
            return candidate.resolve()
    raise InvalidDefinition(f"there is no file {path}", hint=f"it is looked for here and in {project}")


def _load_file(path: Path, project: Path) -> ModuleType:
    if path.is_relative_to(project):
        parts = path.relative_to(project).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            return _import(".".join(parts), project)
    _importable(path.parent)
    name = (
        path.stem if path.stem.isidentifier() else f"definition_{sha256(str(path).encode()).hexdigest()[:12]}"
    )
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidDefinition(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        _opened.add(str(folder))
        importlib.invalidate_caches()


def _import(name: str, project: Path) -> ModuleType:
    _make_way(name.partition(".")[0], project)
    return importlib.import_module(name)


def _make_way(top: str, project: Path) -> None:
    """Forget modules of another project that go by the same name: one process may open several projects."""
    loaded = [each for each in sys.modules if each == top or each.startswith(top + ".")]
    files = [getattr(sys.modules[each], "__file__", None) for each in loaded]
    own = (project / top).exists() or (project / f"{top}.py").exists()
    if not own or all(Path(each).resolve().is_relative_to(project.resolve()) for each in files if each):
        return
    for each in loaded:
        del sys.modules[each]
    sys.path[:] = [str(project), *(each for each in sys.path if each not in _opened and each != str(project))]
    importlib.invalidate_caches()


def _failed(spec: str, error: BaseException) -> InvalidDefinition:
    frames = traceback.extract_tb(error.__traceback__)
    own: Iterable[traceback.FrameSummary] = [frame for frame in frames if "importlib" not in frame.filename]
    place = next((f"{frame.filename}, line {frame.lineno}" for frame in reversed(list(own))), spec)
    return InvalidDefinition(f"{place}: {type(error).__name__}: {error}", hint="mend the file and try again")
