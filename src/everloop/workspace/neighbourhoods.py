"""What lies around an object in the lineage, level by level and never all of it: a hub with ten thousand neighbours costs what is
shown of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from everloop.domain.references import Kind
from everloop.store.ledger import Reader
from everloop.store.schema.base import edges

EACH = 8
"""Neighbours of one kind that are shown of an object until more are asked for."""
MOST_LEVELS = 12
MOST_NODES = 300
THROUGH = 3
"""How many hidden objects in a row are looked through."""


class Opening(msgspec.Struct, frozen=True):
    """One object more of whose neighbours are wanted: those it came from (`upward`) or those that came of it, so many of each
    kind."""

    reference: str
    upward: bool
    each: int = EACH


class Tie(msgspec.Struct, frozen=True, order=True):
    """Something of `source` went into `target`. through: how many hidden objects lie between."""

    source: str
    target: str
    role: str
    through: int = 0


class Near(msgspec.Struct, frozen=True):
    """An object that is shown. level: how many steps from the middle, below zero upward. above and below: how many neighbours it
    has that are not shown."""

    reference: str
    level: int
    above: int = 0
    below: int = 0


class Neighbourhood(msgspec.Struct, frozen=True):
    """Objects around one, with all ties among them. capped: there are more, but `MOST_NODES` are enough for one picture."""

    reference: str
    nodes: list[Near]
    ties: list[Tie]
    capped: bool = False


class Surroundings:
    """Gathers the neighbourhood of one object from the ledger's edges."""

    def __init__(self, look: Reader, hidden: Iterable[str], most: int = MOST_NODES) -> None:
        self.look = look
        self.hidden = tuple(f"{each}:" for each in sorted(hidden))
        self.most = most
        self.levels: dict[str, int] = {}
        self.between: dict[str, int] = {}
        self.capped = False

    def of(
        self, reference: str, starts: Sequence[str], up: int, down: int, opened: Sequence[Opening]
    ) -> Neighbourhood:
        """The neighbourhood: `up` and `down` levels around the object, and what was opened further. `starts`: what it came from
        where no edge says so (a prediction's model)."""
        self.levels[reference] = 0
        ties = {Tie(each, reference, "consumed") for each in starts if each != reference}
        for each in sorted(ties):
            self.levels[each.source] = -1
        for upward, levels in ((True, up), (False, down)):
            frontier = [reference] if not (upward and ties) else [each.source for each in sorted(ties)]
            begun = 1 if upward and ties else 0
            for _ in range(begun, min(levels, MOST_LEVELS)):
                frontier = self._grow(frontier, upward, EACH)
        for opening in opened:
            if opening.reference in self.levels:
                self._grow([opening.reference], opening.upward, opening.each)
        ties |= self._ties()
        return self._counted(reference, ties)

    def _grow(self, frontier: Sequence[str], upward: bool, each: int) -> list[str]:
        """Take in one level more; what is hidden is looked through. Gives what is new."""
        found: list[str] = []
        waiting, step = list(frontier), -1 if upward else 1
        for depth in range(THROUGH + 1):
            hidden: list[str] = []
            for here, there in self._beside(waiting, upward, each):
                level = self.levels.get(here, self.between.get(here, 0)) + (0 if depth else step)
                if there in self.levels or there in self.between:
                    continue
                if there.startswith(self.hidden):
                    self.between[there] = level
                    hidden.append(there)
                elif len(self.levels) < self.most:
                    self.levels[there] = level
                    found.append(there)
                else:
                    self.capped = True
            waiting = hidden
            if not waiting:
                break
        return found

    def _beside(self, nodes: Sequence[str], upward: bool, each: int) -> list[tuple[str, str]]:
        """The newest neighbours of these objects, so many of each kind, as (object, neighbour)."""
        here, there = (edges.c.target, edges.c.source) if upward else (edges.c.source, edges.c.target)
        kind = sa.case(*((there.startswith(f"{known}:"), str(known)) for known in Kind), else_="")
        rank = sa.func.row_number().over(partition_by=(here, kind), order_by=(edges.c.time.desc(), there))
        found = []
        for some in _batches(nodes):
            ranked = sa.select(here.label("here"), there.label("there"), rank.label("rank"))
            within = ranked.where(here.in_(some)).subquery()
            query = sa.select(within.c.here, within.c.there).where(within.c.rank <= each)
            found += [(row.here, row.there) for row in self.look.all(query.order_by(within.c.rank))]
        return found

    def _ties(self) -> set[Tie]:
        """All edges among what is shown; ways through hidden objects count as one."""
        known = [*self.levels, *self.between]
        found = set()
        for some in _batches(known):
            for others in _batches(known):
                query = sa.select(edges).where(edges.c.source.in_(some), edges.c.target.in_(others))
                found |= {Tie(row.source, row.target, row.role) for row in self.look.all(query)}
        for each in self.between:
            into = [tie for tie in found if tie.target == each]
            out = [tie for tie in found if tie.source == each]
            found = {tie for tie in found if each not in (tie.source, tie.target)}
            found |= {
                Tie(one.source, other.target, "through", one.through + other.through + 1)
                for one in into
                for other in out
                if one.source != other.target
            }
        return found

    def _counted(self, reference: str, ties: set[Tie]) -> Neighbourhood:
        """How much there is beyond what is shown."""
        shown: dict[str, tuple[set[str], set[str]]] = {each: (set(), set()) for each in self.levels}
        for tie in (each for each in ties if not each.through):
            shown[tie.target][0].add(tie.source)
            shown[tie.source][1].add(tie.target)
        above, below = self._counts(upward=True), self._counts(upward=False)
        nodes = [
            Near(
                each,
                level,
                max(0, above.get(each, 0) - len(shown[each][0])),
                max(0, below.get(each, 0) - len(shown[each][1])),
            )
            for each, level in self.levels.items()
        ]
        return Neighbourhood(reference, nodes, sorted(ties), self.capped)

    def _counts(self, *, upward: bool) -> dict[str, int]:
        here, there = (edges.c.target, edges.c.source) if upward else (edges.c.source, edges.c.target)
        count = sa.func.count(sa.distinct(there)).label("neighbours")
        found: dict[str, int] = {}
        for some in _batches(list(self.levels)):
            query = sa.select(here.label("here"), count).where(here.in_(some)).group_by(here)
            for kind in (
                self.hidden
            ):  # they are looked through; to count what lies behind them would be a search of its own
                query = query.where(~there.startswith(kind))
            found |= {row.here: row.neighbours for row in self.look.all(query)}
        return found


def _batches(names: Sequence[str], size: int = 300) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]
