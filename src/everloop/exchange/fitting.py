"""What another store keeps and Everloop does not, made to fit: one value at fault must not keep a whole run out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from everloop.domain.adoption import AdoptedRun, MetricColumns
from everloop.domain.runs import MAX_KEY, MAX_PARAM, MAX_TAG, checked_key
from everloop.errors import InvalidInput
from everloop.exchange.source import Changed, Skipped

_POINT_COLUMNS = 3
_NOT_IN_KEYS = re.compile(r"[^/\w.\- :]")


def fitted(run: AdoptedRun, skipped: list[Skipped], changed: list[Changed]) -> AdoptedRun:
    """The run with keys that can be kept and values that are not too long; adds what was done to `skipped` and `changed`."""
    params = _texts(run, run.params, "param", MAX_PARAM, skipped, changed)
    tags = _texts(run, run.tags, "tag", MAX_TAG, skipped, changed)
    metrics = _metrics(run, skipped, changed)
    name = whole(run.name)[:5_000]
    if params is run.params and tags is run.tags and metrics is run.metrics and name == run.name:
        return run
    return msgspec.structs.replace(run, name=name, params=params, tags=tags, metrics=metrics)


@lru_cache(100_000)
def is_key(key: str) -> bool:
    """Whether a key can be kept as it is."""
    try:
        checked_key(key, "key")
    except InvalidInput:
        return False
    return True


def kept_key(key: str) -> str:
    """The key nearest to one that cannot be kept; blank where nothing is left of it.

    >>> kept_key("accuracy (val)"), kept_key("/a//../b"), kept_key("…"), kept_key("")
    ('accuracy _val_', 'a/b', '_', '')
    """
    parts = _NOT_IN_KEYS.sub("_", key).split("/")
    text = "/".join(part for part in parts if part.strip() not in {"", ".", ".."})[:MAX_KEY].rstrip("/")
    return text if text.strip() else ""


def whole(text: str) -> str:
    """Text as a database can keep it: no NUL, no half of a character.

    >>> whole("a\\0b\\ud800"), whole("ü")
    ('ab?', 'ü')
    """
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else text.encode(errors="replace").decode()


def _names(
    run: AdoptedRun, keys: Iterable[str], kind: str, skipped: list[Skipped], changed: list[Changed]
) -> dict[str, str]:
    """The key under which each is kept; those that cannot be are missing."""
    listed = list(keys)
    names = {key: key for key in listed if is_key(key)}
    taken = set(names)
    for key in listed:
        if key in names:
            continue
        name = kept_key(key)
        owner = f"run:{run.run_id} {key[:MAX_KEY]}"
        if not name or name in taken:
            skipped.append(Skipped(kind, owner, "it is no key here, and the nearest one is taken"))
            continue
        taken.add(name)
        names[key] = name
        changed.append(Changed(kind, owner, f"called {name} here"))
    return names


def _texts(
    run: AdoptedRun,
    entries: dict[str, str],
    kind: str,
    limit: int,
    skipped: list[Skipped],
    changed: list[Changed],
) -> dict[str, str]:
    if all(is_key(key) and len(value) <= limit and whole(value) == value for key, value in entries.items()):
        return entries
    kept: dict[str, str] = {}
    for key, name in _names(run, entries, kind, skipped, changed).items():
        text = whole(entries[key])
        if text != entries[key]:
            changed.append(
                Changed(kind, f"run:{run.run_id} {name}", "characters that no text holds were taken out")
            )
        if len(text) > limit:
            changed.append(
                Changed(kind, f"run:{run.run_id} {name}", f"cut to {limit} of {len(text)} characters")
            )
        kept[name] = text[:limit]
    return kept


def _metrics(run: AdoptedRun, skipped: list[Skipped], changed: list[Changed]) -> MetricColumns:
    metrics = run.metrics
    if all(is_key(key) for key in metrics.keys):
        return metrics
    import numpy as np

    names = _names(run, metrics.keys, "metric", skipped, changed)
    keep = np.repeat([key in names for key in metrics.keys], metrics.counts)
    columns = np.frombuffer(metrics.points, "<i8").reshape(_POINT_COLUMNS, -1)
    kept = [
        (names[key], count) for key, count in zip(metrics.keys, metrics.counts, strict=True) if key in names
    ]
    return MetricColumns([key for key, _ in kept], [count for _, count in kept], columns[:, keep].tobytes())
