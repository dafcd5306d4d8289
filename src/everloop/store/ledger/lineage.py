"""Lineage followed level by level, and never all of it: a dataset that a hundred thousand runs read costs what is shown of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from everloop.store.ledger.transaction import Reader
from everloop.store.schema.base import edges

AT_ONCE = 500
FEW = 2_000
"""How many things that are no runs are followed."""
MADE = 5_000
"""How many made things are looked through for those that left-out runs made."""
RUNS = ("run:", "run;")
"""Runs are many and everything else is few: what is left out first. The references of runs lie between these two."""

Edge = tuple[str, str, str]
"""Source, target, role: something of the source went into the target."""


class Lineage(NamedTuple):
    """Edges in the order of their sources, and how many objects of which kind (``run``) were left out."""

    edges: list[Edge]
    more: dict[str, int]


def lineage(look: Reader, starts: Sequence[str], *, upward: bool, most: int) -> Lineage:
    """What went into some objects (`upward`) or what they went into, and so on, each object once.

    Of up to `most` runs, the newest. What older ones that read one of the objects made (models, datasets) is found all the same,
    with the run that made each.
    """
    walk = _Walk(look, upward, most)
    return walk.at_once(starts) or walk.through(starts)


class _Walk:
    def __init__(self, look: Reader, upward: bool, most: int) -> None:
        self.look = look
        self.upward = upward
        self.most = most
        self.here, self.there = (
            (edges.c.target, edges.c.source) if upward else (edges.c.source, edges.c.target)
        )
        self.is_run = (self.there > RUNS[0]) & (self.there < RUNS[1])
        self.seen: dict[str, None] = {}
        self.found: dict[Edge, None] = {}
        self.more: Counter[str] = Counter()
        self.runs = 0
        self.is_full = False
        """No more runs are taken in."""

    def at_once(self, starts: Sequence[str]) -> Lineage | None:
        """All of it in one question, when there is not too much; None when there is."""
        most = min(self.most, FEW)
        begin = sa.union_all(*(sa.select(sa.literal(each, sa.String).label("node")) for each in starts))
        begun = begin.subquery()
        walk = sa.select(begun.c.node).cte("walk", recursive=True)
        walk = walk.union(sa.select(self.there).select_from(walk.join(edges, self.here == walk.c.node)))
        nodes = [row.node for row in self.look.all(sa.select(walk.c.node).limit(most + 1))]
        if len(nodes) > most:
            return None
        for part in _parts(nodes):
            for row in self.look.all(sa.select(edges).where(self.here.in_(part))):
                self.found[row.source, row.target, row.role] = None
        return Lineage(sorted(self.found), {})

    def through(self, starts: Sequence[str]) -> Lineage:
        frontier = list(dict.fromkeys(starts))
        self.seen = dict.fromkeys(frontier)
        while frontier:
            frontier = [each for part in _parts(frontier) for each in self._level(part)]
        return Lineage(sorted(self.found), dict(self.more))

    def _level(self, frontier: Sequence[str]) -> Iterator[str]:
        """What lies beside these objects and was not seen before."""
        of_these = self.here.in_(frontier)
        for few in (
            self.there <= RUNS[0],
            self.there >= RUNS[1],
        ):  # what is no run; the index has it in two pieces
            room = max(FEW - len(self.seen) + self.runs, 0)
            rows = self.look.all(sa.select(edges).where(of_these & few).order_by(self.there).limit(room + 1))
            yield from self._add(rows[:room])
            if len(rows) > room:
                count = self.look.scalar(sa.select(sa.func.count()).where(of_these & few)) or 0
                self.more[self._there(rows[-1]).partition(":")[0]] += count - room
        if self.is_full:
            return
        runs = of_these & self.is_run
        room = max(self.most - self.runs, 0)
        rows = self.look.all(sa.select(edges).where(runs).order_by(self.there.desc()).limit(room + 1))
        self.runs += min(len(rows), room)
        yield from self._add(rows[:room])
        if len(rows) > room:
            self.is_full = True
            query = sa.select(sa.func.count(sa.distinct(self.there))).where(runs)
            self.more["run"] += int(self.look.scalar(query) or 0) - len(
                {self._there(row) for row in rows[:room]}
            )
            if not self.upward:
                yield from self._made_beyond(frontier)

    def _there(self, row: sa.Row[Any]) -> str:
        return str(row.source if self.upward else row.target)

    def _add(self, rows: Sequence[sa.Row[Any]]) -> Iterator[str]:
        for row in rows:
            self.found[row.source, row.target, row.role] = None
            there = self._there(row)
            if there not in self.seen:
                self.seen[there] = None
                yield there

    def _made_beyond(self, frontier: Sequence[str]) -> Iterator[str]:
        """What was made by runs that read these objects and are left out: by such a run itself, or by one of its steps. Much
        fewer things are made than runs are run, so it is asked from that side."""
        made = sa.select(edges).where(edges.c.role == "produced")
        for few in (edges.c.target < RUNS[0], edges.c.target > RUNS[1]):
            rows = self.look.all(made.where(few).order_by(edges.c.target.desc()).limit(MADE))
            rows = [row for row in rows if row.target not in self.seen]
            readers = self._readers(list({row.source for row in rows}), frontier)
            yield from self._add([row for row in rows if row.source in readers])

    def _readers(self, runs: Sequence[str], frontier: Sequence[str]) -> set[str]:
        """Those of some runs that read one of these objects, or are steps of one that did."""
        steps: dict[str, list[str]] = {each: [each] for each in runs}
        for part in _parts(runs):
            above = edges.c.target.in_(part) & (edges.c.role == "child")
            for row in self.look.all(sa.select(edges.c.source, edges.c.target).where(above)):
                steps.setdefault(row.source, []).append(row.target)
        found: set[str] = set()
        for part in _parts(list(steps)):
            read = edges.c.target.in_(part) & edges.c.source.in_(frontier) & (edges.c.role == "consumed")
            found |= {
                each
                for row in self.look.all(sa.select(edges.c.target).where(read))
                for each in steps[row.target]
            }
        return found


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), AT_ONCE):
        yield names[first : first + AT_ONCE]
