"""Secrets of steps: found by name when a run begins, given to the step that declares them, kept nowhere.

They come from the environment of whoever starts the run, else from ``.everloop/secrets.toml``, which only its owner may read.
Their values are no part of a key, and they are masked in output, errors and parameters.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import msgspec

from everloop.errors import InvalidInput, nearest
from everloop.pipelines.kinds.surroundings import workspace_here
from everloop.pipelines.steps import declared_secrets
from everloop.tracking.secrets import also_masked

FILE = "secrets.toml"

_given: ContextVar[Mapping[str, str] | None] = ContextVar("everloop_secrets", default=None)


def secret(name: str) -> str:
    """The value of a secret. Within a step, of one that it declares: ``@ev.step(secrets=["DB_PASSWORD"])``.

    Raises InvalidInput when the step does not declare it, or it is nowhere.
    """
    given = _given.get()
    if given is None:  # outside of a pipeline
        return find_secrets([name], workspace_here().folder, "it")[name]
    if name not in given:
        raise InvalidInput(
            f"the step does not declare the secret {name}",
            hint=nearest(name, given) or f'declare it: @ev.step(secrets=["{name}"])',
        )
    return given[name]


def secrets_here() -> Mapping[str, str]:
    """What the step at work has been given, by name."""
    return _given.get() or {}


def find_secrets(names: Iterable[str], folder: Path, step: str) -> dict[str, str]:
    """The values of these secrets. Raises InvalidInput that names the first that is nowhere, and who needs it."""
    found: dict[str, str] = {}
    kept: dict[str, str] | None = None
    for name in names:
        if name in os.environ:
            found[name] = os.environ[name]
            continue
        if kept is None:
            kept = _kept(folder / FILE)
        if name not in kept:
            raise InvalidInput(
                f"{step} needs the secret {name}, which is neither in the environment nor in {folder / FILE}",
                hint=f"export {name}=…, or write it there: {name} = '…'",
            )
        found[name] = kept[name]
    return found


@contextmanager
def given(values: Mapping[str, str]) -> Iterator[None]:
    """Within the block, a step has these secrets, in its environment too, and none that only other steps declare."""
    others = declared_secrets - values.keys()
    before = {name: os.environ.get(name) for name in (*values, *others)}
    token = _given.set(values)
    os.environ.update(values)
    for name in others:
        os.environ.pop(name, None)
    try:
        with also_masked(values.values()):
            yield
    finally:
        _given.reset(token)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def refuse_secrets_in(value: Any, values: Mapping[str, str], what: str) -> None:
    """Raise InvalidInput when a text in a value that is to be stored holds a secret; tables and arrays are not looked into."""
    for text in _texts(value) if values else ():
        for name, each in values.items():
            if each and each in text:
                raise InvalidInput(
                    f"{what} holds the secret {name}, and results are stored",
                    hint="return what is made with it instead",
                )


def _texts(value: Any) -> Iterator[str]:
    """The texts in a plain value, however deep."""
    waiting, seen = [value], set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, bytes):
            yield each.decode("utf-8", "replace")
        elif id(each) not in seen:
            seen.add(id(each))
            if isinstance(each, Mapping):
                waiting += [*each.keys(), *each.values()]
            elif isinstance(each, list | tuple | set | frozenset):
                waiting += each
            elif isinstance(each, msgspec.Struct):
                waiting += [getattr(each, name) for name in each.__struct_fields__]
            elif is_dataclass(each) and not isinstance(each, type):
                waiting += [getattr(each, one.name) for one in fields(each)]


def _kept(file: Path) -> dict[str, str]:
    try:
        mode = file.stat().st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidInput(f"{file} can be read by others than its owner", hint=f"chmod 600 {file}")
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # What the parser says might show a value.
        raise InvalidInput(f"{file} is not TOML", hint="write one secret a line: DB_PASSWORD = '…'") from None
    return {name: value for name, value in content.items() if isinstance(value, str)}
