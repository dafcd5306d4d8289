"""What one record says: of the run, its configuration, one step of its history, its summary, its machine, its end.

Fields by number, from wandb_internal.proto and wandb_telemetry.proto of Weights & Biases' client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from everloop.domain.protobuf import Value, double, fields, plain, signed, text
from everloop.errors import Corrupted

_HISTORY, _SUMMARY, _CONFIG, _STATS, _RUN, _EXIT, _ENVIRONMENT = 2, 3, 5, 7, 17, 18, 26

Path = tuple[str, ...]
"""The key of a value, and the keys within it: ``("val", "acc")``."""


class Changes(msgspec.Struct, frozen=True):
    """Values by path, and paths that are gone."""

    values: dict[Path, Any]
    removed: list[Path] = []


class RunSaid(msgspec.Struct, frozen=True):
    """`start`: seconds since 1970."""

    run_id: str
    project: str
    name: str
    notes: str
    group: str
    job_type: str
    sweep: str
    host: str
    tags: list[str]
    config: Changes
    start: float
    commit: str


class Config(msgspec.Struct, frozen=True):
    changes: Changes


class Step(msgspec.Struct, frozen=True):
    """A step of the history."""

    number: int | None
    values: dict[Path, Any]


class Summary(msgspec.Struct, frozen=True):
    changes: Changes


class Stats(msgspec.Struct, frozen=True):
    """What the machine did at a time, in seconds since 1970."""

    time: float
    values: dict[Path, Any]


class Exit(msgspec.Struct, frozen=True):
    code: int


class Surroundings(msgspec.Struct, frozen=True):
    program: str
    user: str
    commit: str


Said = RunSaid | Config | Step | Summary | Stats | Exit | Surroundings


def read_record(record: bytes) -> Said | None:
    """What a record says; None where it says nothing that is read. Raises Corrupted."""
    try:
        for number, value in fields(record):
            if isinstance(value, bytes) and number in _READERS:
                return _READERS[number](value)
    except (ValueError, RecursionError) as error:
        raise Corrupted(f"a message in it is none: {error}") from None
    return None


def _run(message: bytes) -> RunSaid:
    found = dict(fields(message))

    def said(number: int) -> str:
        return text(found.get(number, b""))

    return RunSaid(
        run_id=said(1),
        project=said(3),
        config=_changes(plain(found.get(4, b""))),
        group=said(6),
        job_type=said(7),
        name=said(8),
        notes=said(9),
        tags=[text(value) for number, value in fields(message) if number == 10],
        sweep=said(12),
        host=said(13),
        start=_seconds(found.get(17, b"")),
        commit=_commit(found.get(21, b"")),
    )


def _changes(message: bytes) -> Changes:
    """Of a configuration or a summary."""
    values: dict[Path, Any] = {}
    removed = []
    for number, item in fields(message):
        path, value = _item(plain(item))
        if number == 1:
            values[path] = value
        elif number == 2:
            removed.append(path)
    return Changes(values, removed)


def _step(message: bytes) -> Step:
    number: int | None = None
    values: dict[Path, Any] = {}
    for field, value in fields(message):
        if field == 1:
            path, said = _item(plain(value))
            values[path] = said
        elif field == 2:
            number = signed(dict(fields(plain(value))).get(1, 0))
    return Step(number, values)


def _item(message: bytes) -> tuple[Path, Any]:
    """A key and its value: as JSON in field 16, or, in a history, in a field of its type."""
    key, nested = "", []
    value: Any = None
    for number, content in fields(message):
        match number:
            case 1:
                key = text(content)
            case 2:
                nested.append(text(content))
            case 4:
                value = bool(content)
            case 5:
                value = signed(content)
            case 6:
                value = double(content)
            case 7:
                value = text(content)
            case 8 | 16:
                value = json.loads(plain(content)) if content else None
    return ((key,) if key else tuple(nested)), value


def _stats(message: bytes) -> Stats:
    time, values = 0.0, {}
    for number, value in fields(message):
        if number == 2:
            time = _seconds(value)
        elif number == 3:
            path, said = _item(plain(value))
            values[path] = said
    return Stats(time, values)


def _surroundings(message: bytes) -> Surroundings:
    found = dict(fields(message))
    return Surroundings(text(found.get(6, b"")), text(found.get(13, b"")), _commit(found.get(9, b"")))


def _commit(repository: Value) -> str:
    return text(dict(fields(plain(repository))).get(2, b""))


def _seconds(timestamp: Value) -> float:
    found = dict(fields(plain(timestamp)))
    return signed(found.get(1, 0)) + signed(found.get(2, 0)) / 1e9


_READERS: dict[int, Any] = {
    _HISTORY: _step,
    _SUMMARY: lambda message: Summary(_changes(message)),
    _CONFIG: lambda message: Config(_changes(message)),
    _STATS: _stats,
    _RUN: _run,
    _EXIT: lambda message: Exit(signed(dict(fields(message)).get(1, 0))),
    _ENVIRONMENT: _surroundings,
}


def leaves(path: Path, value: Any) -> Iterator[tuple[str, Any]]:
    """The values below a path by dotted keys; lists, and objects that say what they are, stand for themselves.

    >>> list(leaves(("model",), {"depth": 3, "kind": {"name": "tree"}, "sizes": [1, 2]}))
    [('model.depth', 3), ('model.kind.name', 'tree'), ('model.sizes', [1, 2])]
    """
    if isinstance(value, dict) and value and "_type" not in value:
        for key, below in value.items():
            yield from leaves((*path, str(key)), below)
    else:
        yield ".".join(path), value
