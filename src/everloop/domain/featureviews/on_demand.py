"""Views on demand: features of a request, computed from what it brings along and from features of other views.

One definition answers a single request and a training set of a million rows: what a feature says of a row depends on that row
alone. Missing values are one thing, null; an SQL expression sees null, a Python function NaN, None or NaT.

>>> from everloop.domain.featureviews.declaring import feature
>>> trip = on_demand_view("trip", request={"distance": "double"}, inputs={"weather:wind": "double"},
...     features=[feature("upwind", "distance * wind > 500")])
>>> [each.column for each in trip.columns]
['distance', 'wind']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from everloop.domain.featureviews.asked import FeatureName
from everloop.domain.featureviews.declaring import Code, Feature
from everloop.domain.featureviews.naming import feature_name, type_named
from everloop.domain.names import checked_name
from everloop.domain.signature import Type
from everloop.errors import InvalidDefinition


class TypedColumn(msgspec.Struct, frozen=True):
    """A column and its type. `name` is that of a request's field or an output, or a feature of a stored view."""

    name: str
    type: Type

    @property
    def column(self) -> str:
        """What the column is called in computing.

        >>> TypedColumn("weather@v2:temp", Type.DOUBLE).column
        'temp'
        """
        return self.name.rpartition(":")[2]


class OnDemandView(msgspec.Struct, frozen=True, kw_only=True):
    """Features that are computed when they are asked for.

    request: what the caller brings along. inputs: features of stored views, ``view:feature``; once recorded, each names the
    version it is of. Either `features` are SQL expressions over these columns, or `python` is a function of them that gives
    `outputs`.
    """

    name: str
    request: tuple[TypedColumn, ...]
    inputs: tuple[TypedColumn, ...]
    features: tuple[Feature, ...] = ()
    outputs: tuple[TypedColumn, ...] = ()
    python: Code | None = None

    @property
    def columns(self) -> tuple[TypedColumn, ...]:
        """All that features are computed from."""
        return (*self.request, *self.inputs)

    @property
    def names(self) -> tuple[str, ...]:
        """The features it gives."""
        return tuple(each.name for each in (self.features or self.outputs))


class OnDemandRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded view on demand, like `ViewRecord`."""

    reference: str
    name: str
    version: int
    digest: str
    view: OnDemandView
    created: datetime


def on_demand_view(
    name: str,
    *,
    request: Mapping[str, str],
    inputs: Mapping[str, str] | None = None,
    features: Iterable[Feature] = (),
    outputs: Mapping[str, str] | None = None,
    python: Code | None = None,
) -> OnDemandView:
    """Declare a view on demand: types by name of what a request brings (`request`) and of features of other views (`inputs`,
    ``{"weather:temp": "double"}``), and either SQL `features`, or `python` with the types of its `outputs`."""
    checked_name(name, "feature view name", folders=True)
    what = f"on-demand view '{name}'"
    view = OnDemandView(
        name=name,
        request=tuple(
            TypedColumn(feature_name(n), type_named(t, f"{what}, '{n}'")) for n, t in request.items()
        ),
        inputs=tuple(
            TypedColumn(_input(what, n), type_named(t, f"{what}, '{n}'")) for n, t in (inputs or {}).items()
        ),
        features=tuple(features),
        outputs=tuple(
            TypedColumn(feature_name(n), type_named(t, f"{what}, '{n}'")) for n, t in (outputs or {}).items()
        ),
        python=python,
    )
    if not view.columns:
        raise InvalidDefinition(f"{what} is computed from nothing", hint="name request fields or inputs")
    if bool(view.features) == bool(view.outputs) or bool(view.outputs) != (python is not None):
        raise InvalidDefinition(
            f"{what} says what it gives in one of two ways",
            hint="features=[…] in SQL, or outputs={…} for Python",
        )
    taken = [each.column for each in view.columns] + list(view.names)
    for each in taken:
        if taken.count(each) > 1:
            raise InvalidDefinition(f"{what} has two columns called '{each}'", hint="name one otherwise")
    return view


def _input(what: str, name: str) -> str:
    if not FeatureName.parse(name).feature:
        raise InvalidDefinition(f"{what}: the input '{name}' is not one feature", hint=f"{name}:feature")
    return name.removeprefix("feature:")
