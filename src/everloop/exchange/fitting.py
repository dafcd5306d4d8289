"""What another store keeps and Everloop does not, made to fit: one value at fault must not keep a whole run out."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from everloop.domain.adoption import AdoptedRun, MetricColumns
from everloop.domain.runs import MAX_PARAM, MAX_TAG, checked_key
from everloop.errors import InvalidInput
from everloop.exchange.source import Changed, Skipped

_POINT_COLUMNS = 3
_WIDTH = 8


def fitted(run: AdoptedRun, skipped: list[Skipped], changed: list[Changed]) -> AdoptedRun:
    """The run without the keys that cannot be kept, and with values cut that are too long; adds to `skipped` and `changed`."""
    params = _texts(run, run.params, "param", MAX_PARAM, skipped, changed)
    tags = _texts(run, run.tags, "tag", MAX_TAG, skipped, changed)
    metrics = _metrics(run, skipped)
    name = run.name.replace("\0", "")[:5_000]
    if params is run.params and tags is run.tags and metrics is run.metrics and name == run.name:
        return run
    return msgspec.structs.replace(run, name=name, params=params, tags=tags, metrics=metrics)


@lru_cache(100_000)
def why_not(key: str) -> str:
    """Why a key cannot be kept; blank if it can."""
    try:
        checked_key(key, "key")
    except InvalidInput as error:
        return error.message
    return ""


def _texts(
    run: AdoptedRun,
    entries: dict[str, str],
    kind: str,
    limit: int,
    skipped: list[Skipped],
    changed: list[Changed],
) -> dict[str, str]:
    if not any(why_not(key) or len(value) > limit or not _whole(value) for key, value in entries.items()):
        return entries
    kept: dict[str, str] = {}
    for key, value in entries.items():
        name = f"run:{run.run_id} {key}"
        reason = why_not(key)
        if reason:
            skipped.append(Skipped(kind, name, reason))
            continue
        text = value
        if not _whole(text):
            text = text.replace("\0", "").encode(errors="replace").decode()
            changed.append(Changed(kind, name, "characters that no text can hold were taken out"))
        if len(text) > limit:
            text = text[:limit]
            changed.append(Changed(kind, name, f"cut to {limit} of {len(value)} characters"))
        kept[key] = text
    return kept


def _whole(text: str) -> bool:
    """Whether a database can keep it: no NUL, no half of a character."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _metrics(run: AdoptedRun, skipped: list[Skipped]) -> MetricColumns:
    metrics = run.metrics
    bad = {key: reason for key in metrics.keys if (reason := why_not(key))}
    if not bad:
        return metrics
    import numpy as np

    skipped += [Skipped("metric", f"run:{run.run_id} {key}", reason) for key, reason in bad.items()]
    keep = np.repeat([key not in bad for key in metrics.keys], metrics.counts)
    columns = np.frombuffer(metrics.points, f"V{_WIDTH}").reshape(_POINT_COLUMNS, -1)
    kept = [(key, count) for key, count in zip(metrics.keys, metrics.counts, strict=True) if key not in bad]
    return MetricColumns([key for key, _ in kept], [count for _, count in kept], columns[:, keep].tobytes())
