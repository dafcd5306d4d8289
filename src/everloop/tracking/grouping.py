"""Runs grouped by what they have in common, with what each group says about the metrics."""

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from everloop.domain.repeats import GroupedRuns, Grouping, Mean
from everloop.domain.search import Field, Order, parse_filter, parse_order
from everloop.errors import InvalidInput
from everloop.store.ledger import Reader
from everloop.store.schema.tracking import run_metrics
from everloop.tracking import reading
from everloop.tracking.metric_values import values_of
from everloop.tracking.searching import RunSearch
from everloop.tracking.writing import find_experiment

LEVEL = 0.95
MOST_GROUPED = 100_000
MOST_METRICS = 20
"""How many metrics a grouping has when none is named."""
_NAMED = 100
_ASKED = 5_000
"""How many runs are asked which metrics they have, where none is named."""


def group(
    look: Reader,
    now: datetime,
    by: Sequence[str],
    where: str,
    experiment: Sequence[str],
    state: str,
    metrics: Sequence[str],
    order_by: str,
) -> Grouping:
    """See `Finding.group_runs`."""
    fields = [_groupable(each) for each in by]
    order = parse_order(order_by) if order_by else None
    if order is not None and order.field.entity != "metric":
        raise InvalidInput(
            f"groups cannot be ranked by {order_by}", hint="rank by a metric, such as metrics.rmse"
        )
    chosen = [_metric(each) for each in metrics]
    if order is not None and chosen and order.field not in chosen:
        chosen.append(order.field)
    numbers = [find_experiment(look, each).id for each in experiment] or None
    search = RunSearch(look.dialect, reading.lost_runs(look, now), parse_filter(where), [], state, numbers)
    rows = look.all(search.values(fields).limit(MOST_GROUPED + 1))
    if len(rows) > MOST_GROUPED:
        raise InvalidInput(
            f"more than {MOST_GROUPED} runs match", hint="narrow the filter, or name an experiment"
        )
    members: dict[tuple[str | None, ...], list[str]] = defaultdict(list)
    for run, *values in map(tuple, rows):
        members[tuple(values)].append(run)
    ids = [row.id for row in rows]
    if not chosen:
        chosen = _common_metrics(look, ids)
        if order is not None and order.field not in chosen:
            chosen.append(order.field)
    measured = {
        _name(each): {run: value for run, value in values_of(look, ids, each).items() if value is not None}
        for each in chosen
    }
    groups = [
        GroupedRuns(list(key), len(found), _means(measured, found), found[:_NAMED])
        for key, found in members.items()
    ]
    groups.sort(key=lambda each: (-each.runs, [(value is None, value or "") for value in each.values]))
    if order is not None:
        groups = _ranked(groups, members, order, measured[_name(order.field)])
    return Grouping(
        list(by), list(measured), groups, len(rows), LEVEL, _name(order.field) if order is not None else None
    )


def mean_of(values: Sequence[float]) -> Mean | None:
    """A metric over repeats; None where none is finite."""
    from statistics import fmean

    from everloop.stats.repeats import mean_of_repeats

    finite = [each for each in values if math.isfinite(each)]
    if not finite:
        return None
    interval = mean_of_repeats(finite, level=LEVEL)
    ends = (interval.low, interval.high) if interval else (None, None)
    return Mean(len(finite), fmean(finite), min(finite), max(finite), *ends)


def _ranked(
    groups: list[GroupedRuns],
    members: dict[tuple[str | None, ...], list[str]],
    order: Order,
    values: dict[str, float],
) -> list[GroupedRuns]:
    """Groups by the mean of a metric, those without it last, with what can be said of each against the first."""
    from everloop.stats.repeats import difference_of_repeats

    name, sign = _name(order.field), -1 if order.descending else 1

    def place(each: GroupedRuns) -> tuple[bool, float]:
        mean = each.metrics.get(name)
        return (mean is None, 0.0 if mean is None else sign * mean.mean)

    def finite(each: GroupedRuns) -> list[float]:
        found = (values.get(run, math.nan) for run in members[tuple(each.values)])
        return [number for number in found if math.isfinite(number)]

    ranked = sorted(groups, key=place)
    if not ranked or name not in ranked[0].metrics:
        return ranked
    best = finite(ranked[0])
    found = [msgspec.structs.replace(ranked[0], tied=True)]
    for each in ranked[1:]:
        difference = difference_of_repeats(best, finite(each), level=LEVEL)
        found.append(
            msgspec.structs.replace(each, tied=None if difference is None else difference.contains(0))
        )
    return found


def _groupable(text: str) -> Field:
    field = parse_order(text).field
    if field.entity not in {"param", "tag", "text"}:
        raise InvalidInput(
            f"runs cannot be grouped by {text}",
            hint="name parameters, tags or attributes, such as params.model or status",
        )
    return field


def _metric(text: str) -> Field:
    field = parse_order(text).field
    if field.entity != "metric":
        raise InvalidInput(f"{text} is no metric", hint="name metrics, such as metrics.rmse")
    return field


def _name(field: Field) -> str:
    return field.key if field.aggregate == "last" else f"{field.aggregate}({field.key})"


def _common_metrics(look: Reader, ids: Sequence[str]) -> list[Field]:
    """The metrics that most of the runs have, by name. Of very many runs only some are asked, spread over all."""
    asked = ids[:: -(-len(ids) // _ASKED) or 1]
    query = sa.select(run_metrics.c.key, sa.func.count().label("n")).where(run_metrics.c.run.in_(asked))
    count = dict(map(tuple, look.all(query.group_by(run_metrics.c.key))))
    most = sorted(count, key=lambda key: (-count[key], key))[:MOST_METRICS]
    return [Field("metric", key) for key in sorted(most)]


def _means(values: dict[str, dict[str, float]], members: Sequence[str]) -> dict[str, Mean]:
    means = {
        name: mean_of([numbers[run] for run in members if run in numbers]) for name, numbers in values.items()
    }
    return {name: mean for name, mean in means.items() if mean is not None}
