"""The search over traces: their tags, steps and assessments are rows, what their clients said of them (`metadata`) lies in one
column of JSON."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.paging import page_after, page_start
from everloop.domain.search import TRACES, And, Compare, Field, Node, OneOf
from everloop.errors import InvalidInput
from everloop.store.ledger import Reader
from everloop.store.schema.traces import assessments, trace_links, trace_spans, trace_tags, traces
from everloop.tracking.conditions import Column, Condition, Conditions, Kept, Searched, conjuncts
from everloop.tracking.listings import asked_of, narrowed, page_rows
from everloop.tracking.writing import experiment_numbers

MOST_ON_A_PAGE = 50_000

RUN = "mlflow.sourceRun"
"""The fact that names the run a trace belongs to."""
NAME = "mlflow.traceName"
"""The tag that names a trace."""
TO_RUN, TO_PROMPT = "run", "prompt"
"""The kinds of links of a trace."""

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
        "experiment_id": sa.cast(traces.c.experiment, sa.Text),
        "state": traces.c.state,
        "name": _NAME,
        "text": traces.c.request,
        "time": traces.c.time,
        "ended": sa.type_coerce(traces.c.time, sa.BigInteger) + traces.c.duration,
        "duration": traces.c.duration / 1000.0,
    },
    {"tag": Kept(trace_tags, (trace_tags.c.trace,))},
)
_JUDGED = ("feedback", "expectation")

Test = Callable[[Column], Condition]
"""A condition of a value."""


class _Conditions(Conditions):
    """A trace has many steps, and may be judged several times under one name: a test holds if it holds for one of them."""

    def attribute(self, field: Field) -> Column:
        if field.entity == "metadata":
            return self._entry(traces.c.facts, field.key)
        if field.entity in _JUDGED:  # to sort by and to reckon with: what was said last
            newest = (
                sa.select(assessments.c.number).where(*_judged(field)).order_by(assessments.c.updated.desc())
            )
            return newest.limit(1).scalar_subquery()
        if field.key == "run_id":
            return self._entry(traces.c.facts, RUN)
        if field.key == "prompt":
            linked = sa.select(sa.func.min(trace_links.c.target)).where(*_linked(TO_PROMPT))
            return linked.scalar_subquery()
        return super().attribute(field)

    def condition(self, node: Node) -> Condition:
        """Tests of steps that must all hold must hold for one step."""
        of_steps = [
            each
            for each in conjuncts(node)
            if isinstance(each, Compare | OneOf) and each.field.entity == "span"
        ]
        if not isinstance(node, And) or len(of_steps) < 2:
            return super().condition(node)
        tests = [test for each in of_steps for test in self._of_step(each)]
        rest = [self.condition(each) for each in conjuncts(node) if each not in of_steps]
        return sa.and_(_exists(trace_spans.c.trace == traces.c.id, *tests), *rest)

    def _of_step(self, test: Compare | OneOf) -> list[Condition]:
        column = self._span_column(test.field)
        return [column.is_not(None), self._value_test(column, test)]

    def _own(self, test: Compare | OneOf) -> Condition:
        field = test.field
        if field.entity == "text" and field.key == "text":
            return self._steps(trace_spans.c.content, lambda column: self._value_test(column, test))
        some = self._some(field, lambda column: self._value_test(column, test))
        if some is None:
            return super()._own(test)
        numeric = isinstance(test, Compare) and not isinstance(test.value, str)
        if field.entity in _JUDGED and numeric:
            return _exists(*_judged(field), self._value_test(assessments.c.number, test))
        return some

    def _present(self, field: Field) -> Condition:
        if field.entity in _JUDGED:
            return _exists(*_judged(field))
        some = self._some(field, lambda column: column.is_not(None))
        return super()._present(field) if some is None else some

    def _some(self, field: Field, test: Test) -> Condition | None:
        """Whether one of the values passes; None where a trace has but one."""
        if field.entity in _JUDGED:
            return _exists(*_judged(field), test(assessments.c.text))
        if field.entity == "span":
            return self._steps(self._span_column(field), test)
        run = field.entity == "text" and field.key == "run_id"
        if run or (field.entity == "metadata" and field.key == RUN):
            said = self._entry(traces.c.facts, RUN)
            linked = _exists(*_linked(TO_RUN), test(trace_links.c.target))
            return sa.or_(sa.and_(said.is_not(None), test(said)), linked)
        if field.entity == "text" and field.key == "prompt":
            return _exists(*_linked(TO_PROMPT), test(trace_links.c.target))
        return None

    def _span_column(self, field: Field) -> Column:
        name = field.key.removeprefix("attributes.")
        return trace_spans.c[name] if name == field.key else self._entry(trace_spans.c.attributes, name)

    def _steps(self, column: Column, test: Test) -> Condition:
        return _exists(trace_spans.c.trace == traces.c.id, column.is_not(None), test(column))

    def _entry(self, column: sa.Column[Any], key: str) -> Column:
        """The text under a key of a column of JSON."""
        text = sa.type_coerce(column, sa.Text)
        each = sa.func.json_each(text)
        if self.dialect != "sqlite":
            from sqlalchemy.dialects.postgresql import JSONB  # takes .1 s, which every command would pay

            each = sa.func.jsonb_each_text(sa.cast(text, JSONB))
        entry = each.table_valued(sa.column("key", sa.Text), sa.column("value", sa.Text))
        found = sa.select(sa.cast(entry.c.value, sa.Text)).where(entry.c.key == key)
        return found.limit(1).scalar_subquery()


def _judged(field: Field) -> list[Condition]:
    """Of an assessment: that it is of the trace, and says this."""
    own = [assessments.c.trace == traces.c.id, assessments.c.kind == field.entity]
    return [*own, assessments.c.name == field.key]


def _linked(kind: str) -> list[Condition]:
    return [trace_links.c.trace == traces.c.id, trace_links.c.kind == kind]


def _exists(*tests: Condition) -> Condition:
    return sa.select(sa.literal(1)).where(*tests).correlate(traces).exists()


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
