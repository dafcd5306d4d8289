"""Declarations are asked themselves: `view.history(frame)`, `view.get(keys)`, and the same of an entity for all its views."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

import everloop as ev
from everloop.domain.featureviews import FeatureView
from everloop.errors import InvalidInput, NotFound
from everloop.governance.definitions import declared
from everloop.workspace.workspace import Workspace

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
MINUTE = timedelta(minutes=1)

airport = ev.entity("airport", keys=["origin"])
weather = ev.feature_view(
    "weather", entity=airport, source="weather", event_time="time", available="5min", features=["temp"]
)
recent = ev.feature_view(
    "recent",
    entity=airport,
    source="weather",
    event_time="time",
    features=[ev.aggregate("max", "temp", over="1h", name="warmest")],
)
RECENT_BEFORE = ev.feature_view(
    "recent",
    entity=airport,
    source="weather",
    event_time="time",
    features=[ev.aggregate("min", "temp", over="1h", name="coldest")],
)


@pytest.fixture
def frame(any_workspace: Workspace) -> pa.Table:
    rows = {"origin": ["JFK", "JFK", "LGA"], "temp": [60.0, 50.0, 70.0]}
    times = pa.array([NOON, NOON + 30 * MINUTE, NOON], INSTANT)
    any_workspace.data.add(pa.table(rows | {"time": times}), "weather")
    asked = [NOON + 4 * MINUTE, NOON + 5 * MINUTE, NOON + 40 * MINUTE]
    return pa.table({"origin": ["JFK", "JFK", "JFK"], "asked": pa.array(asked, INSTANT)})


def test_history_of_a_declaration_needs_nothing_but_the_frame(
    any_workspace: Workspace, frame: pa.Table
) -> None:
    assert weather.history(frame)["temp"].to_pylist() == [None, 60.0, 50.0]
    assert [each.reference for each in any_workspace.features.views()] == ["feature:weather@v1"]
    weather.history(frame)
    assert any_workspace.features.view("weather").version == 1


def test_the_declaration_counts_and_not_what_was_recorded_since(
    any_workspace: Workspace, frame: pa.Table
) -> None:
    any_workspace.features.apply([RECENT_BEFORE])
    assert recent.history(frame)["warmest"].to_pylist() == [60.0, 60.0, 60.0]
    assert any_workspace.features.view("recent").version == 2


def test_an_entity_asks_all_views_about_it(any_workspace: Workspace, frame: pa.Table) -> None:
    with pytest.raises(NotFound, match="no recorded feature view is about 'airport'"):
        airport.history(frame)
    any_workspace.features.apply([weather, recent])
    found = airport.history(frame, full_names=True)
    assert found["weather__temp"].to_pylist() == [None, 60.0, 50.0]
    assert found["recent__warmest"].to_pylist() == [60.0, 60.0, 60.0]


def test_values_at_hand(any_workspace: Workspace, frame: pa.Table) -> None:
    with pytest.raises(NotFound, match="not recorded as it is declared here"):
        weather.get(["JFK"])
    any_workspace.features.apply([weather, recent])
    any_workspace.features.materialize(["weather"], until=NOON + 40 * MINUTE)
    found = weather.get(["LGA", {"origin": "JFK"}, "nowhere"])
    assert [(each.values, each.status) for each in found] == [
        ({"temp": 70.0}, "present"),
        ({"temp": 50.0}, "present"),
        ({"temp": None}, "unknown"),
    ]
    assert [each.values for each in weather.get({"origin": "JFK"})] == [{"temp": 50.0}]
    assert list(airport.get(["JFK"])) == ["weather"]


def test_what_is_not_clear_is_asked_for(any_workspace: Workspace, frame: pa.Table) -> None:
    twice = frame.append_column("later", frame["asked"])
    with pytest.raises(InvalidInput, match="columns of instants: asked, later"):
        weather.history(twice)
    assert weather.history(twice, time="later")["temp"].to_pylist() == [None, 60.0, 50.0]
    with pytest.raises(InvalidInput, match="no column of instants"):
        weather.history(frame.select(["origin"]))
    with pytest.raises(InvalidInput, match="keys are a list"):
        weather.get("JFK")
    route = ev.entity("route", keys=["origin", "carrier"])
    with pytest.raises(InvalidInput, match="named by origin, carrier together"):
        ev.feature_view("r", entity=route, source="weather", event_time="time", features=["temp"]).get(
            ["JFK"]
        )


def test_a_definitions_module_still_declares_them() -> None:
    from types import ModuleType

    module = ModuleType("definitions")
    module.weather, module.recent = weather, recent  # type: ignore[attr-defined]
    assert declared(module, FeatureView) == [weather, recent]


def test_columns_may_be_called_as_sql_calls_things(workspace: Workspace) -> None:
    """Nothing but a name is said, so nobody knows that it would have to be quoted."""
    rows = {"group": [1, 2], "order": [3.0, 4.0], "at": pa.array([NOON, NOON], INSTANT)}
    workspace.data.add(pa.table(rows), "orders")
    view = ev.feature_view(
        "orders",
        entity=ev.entity("group", keys=["group"]),
        source="orders",
        event_time="at",
        available="at",
        features=["order", ev.aggregate("sum", "order", over="1h", name="sum")],
    )
    asked = pa.table({"group": [2], "asked": pa.array([NOON], INSTANT)})
    assert view.history(asked).select(["order", "sum"]).to_pylist() == [{"order": 4.0, "sum": 4.0}]


def test_what_cannot_be_a_key_or_a_frame_is_refused(any_workspace: Workspace, frame: pa.Table) -> None:
    """Through a server too, where anything else would be its failure."""
    room = any_workspace.features
    rows = {"id": [1], "time": pa.array([NOON], INSTANT), "x": [1.0]}
    any_workspace.data.add(pa.table(rows), "numbers")
    view = ev.feature_view(
        "numbers",
        entity=ev.entity("number", keys=["id"]),
        source="numbers",
        event_time="time",
        features=["x"],
    )
    room.apply([view])
    room.materialize(["numbers"], until=NOON)
    big = {"id": 2**70}
    for ask in (
        lambda: room.get("numbers", [big]),
        lambda: room.get("numbers", [big, {"id": 1}]),
        lambda: room.look_up(["numbers"], [big]),
    ):
        with pytest.raises(InvalidInput, match="can have no such key"):
            ask()
    with pytest.raises(InvalidInput, match="'id' does not fit"):
        room.push_rows("numbers", [big | {"time": "2013-06-01T12:00:00Z", "x": 1.0}])
    with pytest.raises(InvalidInput, match="a list is no frame"):
        view.history([1, 2])
