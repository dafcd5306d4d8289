"""Aggregates: one number of the rows of an entity in a window that ends at the moment asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Literal

import msgspec

from everloop.domain.durations import Duration, duration
from everloop.domain.featureviews.naming import WORD, feature_name
from everloop.domain.names import shown
from everloop.errors import InvalidDefinition

Function = Literal["count", "sum", "mean", "min", "max", "last", "first", "std", "distinct"]
FUNCTIONS: tuple[Function, ...] = ("count", "sum", "mean", "min", "max", "last", "first", "std", "distinct")

By = Literal["known", "event"]


class Aggregate(msgspec.Struct, frozen=True, tag_field="kind", tag="aggregate", kw_only=True):
    """A number over a window: null when fewer than `min_count` values are in it.

    by: what has to lie in (T - over, T]: when a row became ``known`` (the later of its two times), or its ``event`` time. A row
    that is not known at T counts in neither.
    """

    name: str
    function: Function
    expression: str
    over: timedelta
    min_count: int = 1
    by: By = "known"


def aggregate(
    function: Function,
    expression: str = "1",
    *,
    over: Duration,
    name: str = "",
    min_count: int = 1,
    by: By = "known",
) -> Aggregate:
    """Declare a number over a window, of an SQL expression that is taken as a double: count, sum, mean, min, max, first and last
    (by when rows became known), std (of a sample: null below two values), or distinct (how many different values, of any type).

    >>> aggregate("mean", "arr_delay > 15", over="3h", min_count=3, name="late_3h").over
    datetime.timedelta(seconds=10800)
    """
    if function not in FUNCTIONS:
        raise InvalidDefinition(f"'{function}' is not an aggregate", hint=f"there are {', '.join(FUNCTIONS)}")
    if by not in ("known", "event"):
        raise InvalidDefinition(f"a window is not by '{by}'", hint='by="known" or by="event"')
    window = duration(over)
    if not window:
        raise InvalidDefinition("a window has a length", hint='over="3h"')
    if min_count < 1:
        raise InvalidDefinition(f"min_count is at least 1, not {min_count}")
    if not name and not WORD.match(expression):
        raise InvalidDefinition(f"the {function} of {shown(expression)} needs a name", hint='name="late_3h"')
    return Aggregate(
        name=feature_name(name or f"{expression}_{function}"),
        function=function,
        expression=expression,
        over=window,
        min_count=min_count,
        by=by,
    )


def aggregates(
    functions: Iterable[Function],
    expression: str = "1",
    *,
    over: Sequence[Duration],
    name: str = "",
    min_count: int = 1,
    by: By = "known",
) -> list[Aggregate]:
    """Declare several functions over several windows at once, called ``{name}_{function}_{over}``; `name` is the expression when
    that is one word.

    >>> [each.name for each in aggregates(["mean", "max"], "amount", over=["1h", "7d"])]
    ['amount_mean_1h', 'amount_mean_7d', 'amount_max_1h', 'amount_max_7d']
    """
    if isinstance(functions, str) or isinstance(over, str | timedelta):
        raise InvalidDefinition(
            "several functions over several windows are lists", hint='["mean"], over=["7d"]'
        )
    if not name and not WORD.match(expression):
        raise InvalidDefinition(f"aggregates of {shown(expression)} need a name", hint='name="amount"')
    return [
        aggregate(
            function,
            expression,
            over=window,
            name=f"{name or expression}_{function}_{written(duration(window))}",
            min_count=min_count,
            by=by,
        )
        for function in functions
        for window in over
    ]


def written(length: timedelta) -> str:
    """A length of time as one word.

    >>> written(timedelta(days=7)), written(timedelta(minutes=90)), written(timedelta(hours=24))
    ('7d', '1h30min', '1d')
    """
    units = (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("us", 1))
    rest, parts = length // timedelta(microseconds=1), []
    for unit, size in units:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
