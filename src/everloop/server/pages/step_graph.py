"""The steps of a run of a pipeline as pictures: the graph of what went into what, and when each was at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.pipeline_history import StepMoment, whole_name
from everloop.server.pages.lineage import Graph

MOST_CALLS = 12
"""Calls of one step that have a node each; more of them are one node."""
MOST_ROWS = 40
"""Rows of the time line; with more, all parts of a map share one."""
MOST_BARS = 2000

STATES = {"executed": "good", "failed": "bad", "killed": "bad", "running": "live", "skipped": "warn"}
"""The tone of a step's status; one that was taken from the cache has none."""
_WORST = ("failed", "killed", "running", "interrupted", "skipped", "executed", "cached")


def worst_of(statuses: Sequence[str]) -> str:
    """The status that is worth telling first.

    >>> worst_of(["cached", "failed", "executed"])
    'failed'
    """
    return min(statuses, key=lambda each: _WORST.index(each) if each in _WORST else len(_WORST))


def step_graph(moments: Sequence[StepMoment], run: str) -> Graph | None:
    """Steps and what went into what, as `lineage.ts` draws it, the parts of a map as one; None for a single step."""
    named = folded(moments)
    groups: dict[str, list[StepMoment]] = {}
    for each in moments:
        groups.setdefault(named[each.name], []).append(each)
    edges = {
        (named.get(source, source), name)
        for name, some in groups.items()
        for each in some
        for source in each.inputs
    }
    edges = {(one, other) for one, other in edges if one in groups and one != other}
    if len(groups) < 2:
        return None
    level = levels_of(list(groups), edges)
    return {
        "columns": [""] * (max(level.values()) + 1),
        "nodes": [_node(name, some, level[name], run) for name, some in groups.items()],
        "edges": sorted([one, other] for one, other in edges),
        "whole": True,
    }


def folded(moments: Sequence[StepMoment]) -> dict[str, str]:
    """The node that each record belongs to."""
    wholes = {each.name: whole_name(each.name) for each in moments}
    calls = Counter(whole.partition("#")[0] for whole in set(wholes.values()))
    found = {
        name: whole.partition("#")[0] if calls[whole.partition("#")[0]] > MOST_CALLS else whole
        for name, whole in wholes.items()
    }
    return found | {whole: found[name] for name, whole in wholes.items()}


def levels_of(names: Sequence[str], edges: set[tuple[str, str]]) -> dict[str, int]:
    """The longest way to each node, so that no arrow runs back but one of each circle. In a circle the node comes first that
    does so in `names`.

    >>> levels_of(["a", "b", "c"], {("a", "b"), ("b", "c"), ("a", "c"), ("c", "a")})
    {'a': 0, 'b': 1, 'c': 2}
    """
    after: dict[str, list[str]] = {each: [] for each in names}
    for one, other in sorted(edges):
        after[one].append(other)
    ordered = _after_all_before(names, after)
    place = {each: at for at, each in enumerate(ordered)}
    level = dict.fromkeys(names, 0)
    for one in ordered:
        for other in after[one]:
            if place[other] > place[one]:
                level[other] = max(level[other], level[one] + 1)
    return level


def _after_all_before(names: Sequence[str], after: Mapping[str, Sequence[str]]) -> list[str]:
    """Nodes in topological order (depth first, postorder reversed: Tarjan 1976); the way back of a circle does not count."""
    seen: set[str] = set()
    done: list[str] = []
    for start in names:
        waiting = [] if start in seen else [(start, iter(after[start]))]
        seen.add(start)
        while waiting:
            here, rest = waiting[-1]
            there = next((each for each in rest if each not in seen), None)
            if there is None:
                done.append(here)
                waiting.pop()
            else:
                seen.add(there)
                waiting.append((there, iter(after[there])))
    return done[::-1]


def _node(name: str, some: Sequence[StepMoment], column: int, run: str) -> dict[str, Any]:
    statuses = Counter(each.status for each in some)
    worst = worst_of(list(statuses))
    told = next(each for each in some if each.status == worst)
    words = (
        worst if len(statuses) == 1 else ", ".join(f"{count} {status}" for status, count in statuses.items())
    )
    seconds = sum(each.seconds for each in some if each.status != "cached")
    return {
        "id": name,
        "label": f"{name} ×{len(some):,}" if len(some) > 1 else name,
        "kind": f"{words}, {brief(seconds)}" if seconds else words,
        "column": column,
        "href": step_address(told, run),
        "state": STATES.get(worst, ""),
        "title": told.reason,
    }


def step_address(moment: StepMoment, run: str) -> str:
    """Where a record is told of; one that is at work is told of by its own run."""
    return (
        f"/runs/{moment.run}"
        if moment.status == "running" and moment.run
        else f"/runs/{run}/steps/{moment.position}"
    )


def brief(seconds: float) -> str:
    """A duration in a few characters.

    >>> brief(0.0002), brief(0.0123), brief(7.46), brief(200), brief(7300)
    ('<1 ms', '12 ms', '7.5 s', '3 min', '2.0 h')
    """
    if seconds < 0.0005:
        return "0 ms" if not seconds else "<1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


class Bar(msgspec.Struct, frozen=True):
    """A time at work: from and how long, in percent of the whole."""

    left: float
    width: float
    status: str
    title: str


class Line(msgspec.Struct, frozen=True):
    """A row of the time line."""

    name: str
    href: str
    status: str
    seconds: float
    bars: list[Bar]


class Chart(msgspec.Struct, frozen=True):
    """When each step was at work. ticks: place in percent and words. busy: seconds of all steps together. inexact: some starts
    are reckoned from when the step was recorded."""

    lines: list[Line]
    ticks: list[tuple[float, str]]
    seconds: float
    busy: float
    inexact: bool
    more: int = 0


def time_line(moments: Sequence[StepMoment], started: datetime, ended: datetime, run: str) -> Chart | None:
    """The steps that were at work, in the order they began; None when none was."""
    at_work = sorted(
        (each for each in moments if each.began is not None), key=lambda each: (each.began, each.position)
    )
    if not at_work:
        return None
    begin = min(started, *(each.began for each in at_work if each.began))
    end = max(ended, *(each.ended or ended for each in at_work))
    whole = max((end - begin).total_seconds(), 1e-3)
    rows: dict[str, list[StepMoment]] = {}
    for each in at_work[:MOST_BARS]:
        rows.setdefault(each.name if len(at_work) <= MOST_ROWS else whole_name(each.name), []).append(each)
    lines = []
    for name, some in list(rows.items())[: 2 * MOST_ROWS]:
        bars = [_bar(each, begin, end, whole) for each in some]
        worst = worst_of([each.status for each in some])
        told = next(each for each in some if each.status == worst)
        label = f"{name} ×{len(some):,}" if len(some) > 1 else name
        lines.append(Line(label, step_address(told, run), worst, sum(each.seconds for each in some), bars))
    return Chart(
        lines,
        _ticks(whole),
        whole,
        sum(each.seconds for each in at_work),
        any(not each.exact for each in at_work),
        max(0, len(rows) - 2 * MOST_ROWS),
    )


def _bar(moment: StepMoment, begin: datetime, end: datetime, whole: float) -> Bar:
    assert moment.began is not None
    left = 100 * (moment.began - begin).total_seconds() / whole
    width = 100 * ((moment.ended or end) - moment.began).total_seconds() / whole
    left, width = max(0.0, left), max(0.25, width)
    return Bar(
        round(min(left, 99.75), 3),
        round(min(width, 100 - left), 3),
        moment.status,
        f"{moment.name}: {moment.status}, {brief(moment.seconds)}",
    )


def _ticks(whole: float) -> list[tuple[float, str]]:
    """Up to six round numbers of seconds along the axis.

    >>> _ticks(5.0)
    [(0.0, '0 ms'), (20.0, '1.0 s'), (40.0, '2.0 s'), (60.0, '3.0 s'), (80.0, '4.0 s')]
    """
    steps = (
        0.001,
        0.002,
        0.005,
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.5,
        1,
        2,
        5,
        10,
        20,
        30,
        60,
        120,
        300,
        600,
        1200,
        1800,
        3600,
    )
    size = next((each for each in steps if whole / each <= 6), max(7200.0, whole / 5))
    return [
        (round(100 * number * size / whole, 3), brief(number * size))
        for number in range(int(whole / size * 0.97) + 1)
    ]
