"""The search over traces: their tags are rows, what their clients said of them (`metadata`) lies in one column of JSON."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.paging import page_after, page_start
from everloop.domain.search import TRACES, Field
from everloop.errors import InvalidInput
from everloop.store.ledger import Reader
from everloop.store.schema.traces import trace_tags, traces
from everloop.tracking.conditions import Column, Conditions, Kept, Searched
from everloop.tracking.listings import asked_of, narrowed, page_rows
from everloop.tracking.writing import experiment_numbers

MOST_ON_A_PAGE = 50_000

RUN = "mlflow.sourceRun"
"""The fact that names the run a trace belongs to."""
NAME = "mlflow.traceName"
"""The tag that names a trace."""

_NAME = (
    sa.select(trace_tags.c.value)
    .where(trace_tags.c.trace == traces.c.id, trace_tags.c.key == NAME)
    .scalar_subquery()
)
_SEARCHED = Searched(
    (traces.c.id,),
    {
        "trace_id": traces.c.id,
        "client_request_id": traces.c.request_id,
        "state": traces.c.state,
        "name": _NAME,
        "time": traces.c.time,
        "duration": traces.c.duration / 1000.0,
    },
    {"tag": Kept(trace_tags, (trace_tags.c.trace,))},
)


class _Conditions(Conditions):
    def attribute(self, field: Field) -> Column:
        if field.entity == "metadata":
            return self._fact(field.key)
        return self._fact(RUN) if field.key == "run_id" else super().attribute(field)

    def _fact(self, key: str) -> Column:
        text = sa.type_coerce(traces.c.facts, sa.Text)
        each = sa.func.json_each(text)
        if self.dialect != "sqlite":
            from sqlalchemy.dialects.postgresql import JSONB  # takes .1 s, which every command would pay

            each = sa.func.jsonb_each_text(sa.cast(text, JSONB))
        entry = each.table_valued(sa.column("key", sa.Text), sa.column("value", sa.Text))
        found = sa.select(sa.cast(entry.c.value, sa.Text)).where(entry.c.key == key)
        return found.limit(1).scalar_subquery()


def search(
    look: Reader, experiment: Sequence[str], where: str, order_by: Sequence[str], limit: int, page: str
) -> tuple[list[sa.Row[Any]], str | None]:
    """The traces of one page, and the name of the page after it. An experiment that does not exist has none."""
    if not 1 <= limit <= MOST_ON_A_PAGE:
        raise InvalidInput(f"a page of {limit} traces cannot be had", hint=f"1 to {MOST_ON_A_PAGE}")
    asked = asked_of(TRACES, where, order_by)
    search = ("traces", list(experiment), where, list(order_by))
    start = page_start(page, *search)
    query = sa.select(traces).where(traces.c.experiment.in_(experiment_numbers(look, experiment)))
    last = [traces.c.time.desc(), traces.c.id]
    query = narrowed(query, _Conditions(look.dialect, _SEARCHED), asked, last)
    rows, more = page_rows(look, query, start, limit)
    return rows, page_after(start + limit, *search) if more else None
