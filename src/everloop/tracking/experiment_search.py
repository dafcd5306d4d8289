"""Searching experiments, as runs are searched: the same language, with the fields that experiments have."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.direct import ExperimentPage
from everloop.domain.paging import page_after, page_start
from everloop.domain.runs import ACTIVE, Experiment
from everloop.domain.search import EXPERIMENTS, Order
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Reader
from everloop.store.schema.tracking import experiment_tags, experiments, runs
from everloop.tracking.conditions import Column, Conditions, Kept, Searched
from everloop.tracking.listings import asked_of, narrowed, page_rows

MOST_ON_A_PAGE = 50_000
_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement

_NUMBER = sa.cast(experiments.c.id, sa.String)
_SEARCHED = Searched(
    (experiments.c.id,),
    {
        "name": experiments.c.name,
        "experiment_id": _NUMBER,
        "created": experiments.c.created,
        "updated": experiments.c.updated,
    },
    {"tag": Kept(experiment_tags, (experiment_tags.c.experiment,))},
)


class _ExperimentConditions(Conditions):
    """Identifiers of experiments are texts to those who ask, and sorted as the numbers they are."""

    def sorted_by(self, order: Order) -> list[Column]:
        if order.field.key == "experiment_id":
            return [experiments.c.id.desc() if order.descending else experiments.c.id.asc()]
        return super().sorted_by(order)


class ExperimentSearch(Room):
    """Operations that find experiments."""

    name = "tracking"

    @operation(Permission.READ)
    def search_experiments(
        self,
        where: str = "",
        state: str = "active",
        order_by: list[str] = [],  # noqa: B006 (not changed)
        limit: int = 1_000,
        page: str = "",
    ) -> ExperimentPage:
        """Experiments that match a filter, such as ``name like 'flights%' and tags.team = 'ops'``, newest first unless `order_by`
        says otherwise. `page`: `next_page` of the page before."""
        if not 1 <= limit <= MOST_ON_A_PAGE:
            raise InvalidInput(f"a page of {limit} experiments cannot be had", hint=f"1 to {MOST_ON_A_PAGE}")
        search = (where, state, order_by)
        start = page_start(page, *search)
        asked = asked_of(EXPERIMENTS, where, order_by, unsorted=["tag"])
        with self.look() as look:
            conditions = _ExperimentConditions(look.dialect, _SEARCHED)
            query = sa.select(experiments.c.id)
            if state != "all":
                query = query.where(experiments.c.state == state)
            last = [experiments.c.id.desc()]
            if not asked.orders:
                last.insert(0, experiments.c.created.desc())
            rows, more = page_rows(look, narrowed(query, conditions, asked, last), start, limit)
            following = page_after(start + limit, *search) if more else None
            return ExperimentPage(_numbered(look, [row.id for row in rows]), following)

    @operation(Permission.READ)
    def numbered_experiments(self, numbers: list[int]) -> list[Experiment]:
        """The experiments of these numbers that there are, deleted ones too, in the order asked for."""
        with self.look() as look:
            return _numbered(look, numbers)


def _numbered(look: Reader, numbers: Sequence[int]) -> list[Experiment]:
    """The experiments of these numbers that there are, in this order."""
    rows: dict[int, sa.Row[Any]] = {}
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    counts: dict[int, int] = {}
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        rows |= {row.id: row for row in look.all(sa.select(experiments).where(experiments.c.id.in_(some)))}
        for row in look.all(sa.select(experiment_tags).where(experiment_tags.c.experiment.in_(some))):
            tags[row.experiment][row.key] = row.value
        counted = sa.select(runs.c.experiment, sa.func.count().label("n")).group_by(runs.c.experiment)
        for row in look.all(counted.where(runs.c.experiment.in_(some), runs.c.state == ACTIVE)):
            counts[row.experiment] = row.n
    return [
        Experiment(
            row.id,
            row.uuid,
            row.name,
            row.state,
            row.created,
            row.updated,
            tags.get(row.id, {}),
            counts.get(row.id, 0),
        )
        for row in (rows[each] for each in numbers if each in rows)
    ]
