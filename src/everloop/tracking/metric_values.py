"""One metric of very many runs: read along its index, where that is less work than looking each run up."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.search import Field
from everloop.store.ledger import Reader
from everloop.store.schema.tracking import run_metrics

_INDEXED = ("last", "min", "max")
_ENTRIES_A_LOOKUP = 5
"""Looking up a run's metric touches a page of its own; so many entries of the index are read in the time that takes."""
_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement


def values_of(look: Reader, run_ids: Sequence[str], field: Field) -> dict[str, float | None]:
    """The metric of those of the runs that have it (perhaps of others too), None for NaN."""
    column = run_metrics.c[field.aggregate]
    query = sa.select(run_metrics.c.run, column).where(run_metrics.c.key == field.key)
    if field.aggregate in _INDEXED:
        one_too_many = query.with_only_columns(run_metrics.c.run)
        if look.first(one_too_many.limit(1).offset(_ENTRIES_A_LOOKUP * len(run_ids))) is None:
            return _read(look, query)
    found: dict[str, float | None] = {}
    for start in range(0, len(run_ids), _AT_ONCE):
        some = query.where(run_metrics.c.run.in_(run_ids[start : start + _AT_ONCE]))
        found |= _read(look, some)
    return found


def _read(look: Reader, query: sa.Select[Any]) -> dict[str, float | None]:
    """Rows as the driver gives them: they are many, and texts and numbers need no conversion."""
    answer = look.execute(query)
    found = dict(answer.cursor.fetchall())
    answer.close()
    return found


def sorted_by(run_ids: Sequence[str], values: Mapping[str, float | None], *, descending: bool) -> list[str]:
    """Runs by a metric, as searches sort them: NaN behind all numbers, runs without the metric behind these, in both directions;
    where all else is equal they stay as they were.

    >>> sorted_by(["a", "b", "c", "d", "e"], {"b": None, "c": 1.0, "d": 2.0, "e": 1.0}, descending=True)
    ['d', 'c', 'e', 'b', 'a']
    """
    numbers = {run: value for run in run_ids if (value := values.get(run)) is not None}
    ordered = sorted(numbers, key=numbers.__getitem__, reverse=descending)
    ordered += [run for run in run_ids if run not in numbers and run in values]
    return ordered + [run for run in run_ids if run not in values]
