"""Feature views as declarations: what is known of an entity at a moment, computed the same for training and for serving.

A view reads rows from datasets. Each row has keys (of which entity), an **event time** (when it was true) and an
**availability time** (when it was known). At a moment T a row counts only when both are at or before T; so no row of a training
set sees its future. Three kinds of features stand on that:

- a *column*: the value in the row with the latest event time among those that count; of equal ones the one known last, then the
  one that stands last in the data. Null when that row is older than the view's time to live (T - event time > ttl).
- an *aggregate* over a window: of the values in rows that became known in (T - over, T], or, with ``by="event"``, of those that
  count and were true in (T - over, T]; whatever the time to live. A row becomes known at the later of its two times. Missing
  values (null, NaN) do not count.
- a feature *on demand*: computed when it is asked for, from what the request brings along and features of other views.

>>> airport = entity("airport", keys=["origin"])
>>> weather = feature_view("weather", entity=airport, source="weather", event_time="time_hour", available="52min", ttl="3h",
...     features=["temp", feature("freezing", "temp < 32")])
>>> [each.name for each in weather.features], weather.ttl
(['temp', 'freezing'], datetime.timedelta(seconds=10800))

- `declaring`: entities, views and their columns
- `windows`: aggregates over windows
- `on_demand`: views that are computed at request time
- `asked`: features by name, views as they are recorded, what the online store answers
- `parity`: logged values against recomputed ones, as a report
- `changes`: what differs between two versions of a view, what bringing one about will cost, what its values are like
"""

from everloop.domain.featureviews.asked import (
    FeatureName,
    Materialized,
    OnlineRow,
    ViewRecord,
    as_read,
    declaration,
)
from everloop.domain.featureviews.declaring import (
    Code,
    Entity,
    Feature,
    FeatureView,
    entity,
    feature,
    feature_view,
)
from everloop.domain.featureviews.on_demand import OnDemandRecord, OnDemandView, TypedColumn, on_demand_view
from everloop.domain.featureviews.parity import ColumnParity, ParityRecord, ParityReport
from everloop.domain.featureviews.windows import FUNCTIONS, Aggregate, Function, aggregate, aggregates

__all__ = [
    "FUNCTIONS",
    "Aggregate",
    "Code",
    "ColumnParity",
    "Entity",
    "Feature",
    "FeatureName",
    "FeatureView",
    "Function",
    "Materialized",
    "OnDemandRecord",
    "OnDemandView",
    "OnlineRow",
    "ParityRecord",
    "ParityReport",
    "TypedColumn",
    "ViewRecord",
    "aggregate",
    "aggregates",
    "as_read",
    "declaration",
    "entity",
    "feature",
    "feature_view",
    "on_demand_view",
]
