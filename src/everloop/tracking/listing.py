"""Tables of very many runs: their order at once, the cells of those in sight when they come into sight."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from everloop.domain.listing import Excerpt, KeyCount, Outline, RunKeys
from everloop.domain.runs import ACTIVE, number_text
from everloop.domain.search import Field, parse_order
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Reader
from everloop.store.schema.tracking import experiments, run_metrics, run_params, run_tags, runs
from everloop.tracking import outlining, reading
from everloop.tracking.searching import Compiler
from everloop.tracking.writing import find_experiment

MOST_EXCERPTS = 1_000
_OWN = ("name", "user", "source", "version", "state", "start_time", "end_time", "parent")
_HEAD = (*_OWN, "experiment", "status")


class Listing(Room):
    """Operations for tables that show some of very many runs."""

    name = "tracking"

    @operation(Permission.READ)
    def outline(
        self,
        where: str = "",
        experiment: list[str] = [],  # noqa: B006 (not changed)
        state: str = ACTIVE,
        order_by: list[str] = [],  # noqa: B006
        group_by: str = "",
        nested: bool = False,
        spreads: list[str] = [],  # noqa: B006
        limit: int = 20_000,
    ) -> Outline:
        """The identifiers of the runs that match, in order: what a table needs to know where each row is.

        `where`, `experiment`, `state`, `order_by`: as in `search`. `group_by`: a parameter, tag or attribute, or ``data``;
        groups come in the order of their first run. `nested`: runs stand below the run that started them, which is there for
        them even where it does not match. `spreads`: metrics whose mean, least and greatest are wanted for each group.
        """
        if not 1 <= limit <= outlining.MOST_OUTLINED:
            raise InvalidInput(
                f"an outline of {limit} runs cannot be had", hint=f"ask for 1 to {outlining.MOST_OUTLINED}"
            )
        with self.look() as look:
            wanted = outlining.Wanted(where, experiment, state, order_by, group_by, nested, spreads)
            return outlining.outline(look, self.context.clock(), wanted, limit)

    @operation(Permission.READ)
    def excerpts(self, run_ids: list[str], columns: list[str] = []) -> list[Excerpt]:  # noqa: B006
        """Rows of a table: some runs in the order asked for, with the cells of some columns and nothing else. Runs that are
        no more are left out.

        `columns`: parameters, metrics and tags as the search language names them; ``min(metrics.loss)`` is the least value.
        """
        if len(run_ids) > MOST_EXCERPTS:
            raise InvalidInput(f"{len(run_ids)} runs are too many", hint=f"ask for up to {MOST_EXCERPTS}")
        fields = [parse_order(each).field for each in columns]
        with self.look() as look:
            rows = {row.id: row for row in look.all(_heads(look, self.context.clock(), run_ids))}
            cells = _cells(look, run_ids, fields)
            counted = (
                sa.select(runs.c.parent, sa.func.count().label("n"))
                .where(runs.c.parent.in_(run_ids), runs.c.state == ACTIVE)
                .group_by(runs.c.parent)
            )
            children = {row.parent: row.n for row in look.all(counted)}
        return [
            Excerpt(
                **{name: getattr(rows[run], name) for name in _HEAD},
                run_id=run,
                children=children.get(run, 0),
                cells=[cells[run].get(at) for at in range(len(fields))],
            )
            for run in run_ids
            if run in rows
        ]

    @operation(Permission.READ)
    def run_keys(
        self,
        containing: str = "",
        experiment: list[str] = [],  # noqa: B006
        limit: int = 100,
    ) -> RunKeys:
        """The parameters, metrics and tags that runs have, those most runs have first; `containing`: a part of the key."""
        with self.look() as look:
            numbers = [find_experiment(look, each).id for each in experiment]
            params = _keys(look, run_params, containing, numbers, limit, sa.func.count(run_params.c.number))
            metrics = _keys(look, run_metrics, containing, numbers, limit, sa.func.count())
            tags = _keys(look, run_tags, containing, numbers, limit, sa.literal(-1))
        return RunKeys(params, metrics, tags)


def _heads(look: Reader, now: datetime, run_ids: Sequence[str]) -> sa.Select[Any]:
    status = Compiler(look.dialect, reading.lost_runs(look, now, run_ids)).status
    columns = [runs.c[name] for name in _OWN]
    query = sa.select(runs.c.id, *columns, experiments.c.name.label("experiment"), status.label("status"))
    query = query.select_from(runs.join(experiments, runs.c.experiment == experiments.c.id))
    return query.where(runs.c.id.in_(run_ids))


def _cells(look: Reader, run_ids: Sequence[str], fields: Sequence[Field]) -> dict[str, dict[int, str]]:
    """The cells of some runs by the number of their column."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for entity, table in (("param", run_params), ("tag", run_tags), ("metric", run_metrics)):
        places: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for at, field in enumerate(fields):
            if field.entity == entity:
                places[field.key].append((at, field.aggregate if entity == "metric" else "value"))
        if not places:
            continue
        query = sa.select(table).where(table.c.run.in_(run_ids), table.c.key.in_(places))
        for row in look.all(query):
            for at, column in places[row.key]:
                value = row._mapping[column]
                if entity != "metric":
                    found[row.run][at] = value
                else:
                    found[row.run][at] = number_text(float("nan")) if value is None else repr(value)
    return found


def _keys(
    look: Reader,
    table: sa.Table,
    containing: str,
    numbers: Sequence[int],
    limit: int,
    numeric: sa.ColumnElement[int],
) -> list[KeyCount]:
    query = sa.select(table.c.key, sa.func.count().label("n"), numeric.label("numbers")).group_by(table.c.key)
    if containing:
        query = query.where(sa.func.lower(table.c.key).contains(containing.lower(), autoescape=True))
    if numbers:
        query = query.join(runs, runs.c.id == table.c.run).where(runs.c.experiment.in_(numbers))
    query = query.order_by(sa.desc("n"), table.c.key).limit(limit)
    return [KeyCount(row.key, row.n, row.numbers == row.n) for row in look.all(query)]
