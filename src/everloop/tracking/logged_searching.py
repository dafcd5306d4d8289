"""The search over logged models: a metric may be measured on several datasets, and one measurement that passes is enough."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from everloop.domain.logged_models import LoggedModelOrder, LoggedModelPage, ModelDataset
from everloop.domain.paging import page_after, page_start
from everloop.domain.runs import ACTIVE
from everloop.domain.search import (
    LOGGED_MODELS,
    Compare,
    Field,
    OneOf,
    Relation,
    parse_filter,
    parse_order,
)
from everloop.errors import InvalidInput
from everloop.store.ledger import Reader
from everloop.store.schema.logged_models import (
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)
from everloop.tracking import logged_reading
from everloop.tracking.conditions import Column, Condition, Conditions, Kept, Searched, ordered
from everloop.tracking.listings import page_rows
from everloop.tracking.writing import experiment_numbers

MOST_ON_A_PAGE = 50_000

_MODEL = logged_models.c.id
_POINTS = logged_model_metrics
_SEARCHED = Searched(
    (_MODEL,),
    {
        "name": logged_models.c.name,
        "model_id": _MODEL,
        "model_type": logged_models.c.kind,
        "status": logged_models.c.status,
        "source_run_id": logged_models.c.source_run,
        "created": logged_models.c.created,
        "updated": logged_models.c.updated,
    },
    {
        "metric": Kept(_POINTS, (_POINTS.c.model,)),
        "param": Kept(logged_model_params, (logged_model_params.c.model,)),
        "tag": Kept(logged_model_tags, (logged_model_tags.c.model,)),
    },
)
_AGGREGATES: dict[str, Callable[[Column], Column]] = {
    "min": sa.func.min,
    "max": sa.func.max,
    "mean": sa.func.avg,
    "count": lambda _: sa.cast(sa.func.count(), sa.Double),
}


class MeasuredConditions(Conditions):
    """Conditions over logged models. `datasets`: only what was measured on one of these counts; none for all."""

    def __init__(self, dialect: str, datasets: Sequence[ModelDataset] = ()) -> None:
        super().__init__(dialect, _SEARCHED)
        self._on = [] if not datasets else [sa.or_(*map(_measured_on, datasets))]

    def measured(self) -> Condition:
        """Whether anything was measured."""
        return self._row(self.searched.kept["metric"], *self._on)

    def rows_of(self, test: Compare | OneOf, table: sa.FromClause) -> list[Condition]:
        if test.field.entity != "metric":
            return super().rows_of(test, table)
        assert isinstance(test, Compare)
        number = _POINTS.c.value
        found = ordered(number, test.operator, float(test.value))
        if test.operator == "!=":  # NULL is NaN
            found = sa.or_(found, number.is_(None))
        return [_POINTS.c.key == test.field.key, *self._on, found]

    def _among(self, test: Compare | OneOf) -> Condition:
        if isinstance(test, Compare) and test.field.entity == "metric" and test.field.aggregate != "last":
            assert not isinstance(test.value, str)
            return self._related(Relation(test.field, test.operator, test.value))
        return super()._among(test)

    def _scalar(self, field: Field, made: Callable[[Column], Column]) -> Column:
        if field.entity != "metric":
            return super()._scalar(field, made)
        here = [_POINTS.c.model == _MODEL, _POINTS.c.key == field.key, *self._on]
        if field.aggregate in _AGGREGATES:
            found = sa.select(made(_AGGREGATES[field.aggregate](_POINTS.c.value)))
        else:
            ends = (_POINTS.c.time, _POINTS.c.step)
            nearest = [each.asc() if field.aggregate == "first" else each.desc() for each in ends]
            found = sa.select(made(_POINTS.c.value)).order_by(*nearest).limit(1)
        return found.where(*here).scalar_subquery()

    def _present(self, field: Field) -> Condition:
        if field.entity != "metric":
            return super()._present(field)
        return self._row(self.searched.kept["metric"], _POINTS.c.key == field.key, *self._on)

    _numeric = _present


def search(
    look: Reader,
    experiment: Sequence[str],
    where: str,
    datasets: Sequence[ModelDataset],
    order_by: Sequence[LoggedModelOrder],
    limit: int,
    page: str,
) -> LoggedModelPage:
    """One page of the logged models that match. An experiment that does not exist has none."""
    if not 1 <= limit <= MOST_ON_A_PAGE:
        raise InvalidInput(f"a page of {limit} logged models cannot be had", hint=f"1 to {MOST_ON_A_PAGE}")
    tree = parse_filter(where, LOGGED_MODELS)
    orders = [
        parse_order(f"{each.field} {'desc' if each.descending else 'asc'}", LOGGED_MODELS)
        for each in order_by
    ]
    asked = (list(experiment), where, list(datasets), list(order_by))
    start = page_start(page, *asked)
    numbers = experiment_numbers(look, experiment)
    query = sa.select(logged_models).where(
        logged_models.c.state == ACTIVE, logged_models.c.experiment.in_(numbers)
    )
    conditions = MeasuredConditions(look.dialect, datasets)
    if datasets:
        query = query.where(conditions.measured())
    if tree is not None:
        query = query.where(conditions.condition(tree))
    for order, given in zip(orders, order_by, strict=True):
        of_order = MeasuredConditions(look.dialect, [given.dataset] if given.dataset else [])
        query = query.order_by(*of_order.sorted_by(order))
    query = query.order_by(logged_models.c.created.desc(), logged_models.c.id)
    rows, more = page_rows(look, query, start, limit)
    return LoggedModelPage(
        logged_reading.records(look, rows), page_after(start + limit, *asked) if more else None
    )


def _measured_on(dataset: ModelDataset) -> Condition:
    named = _POINTS.c.dataset == dataset.name
    return sa.and_(named, _POINTS.c.dataset_digest == dataset.digest) if dataset.digest else named
