"""Features on demand: one definition for one request and for a million rows, whether in SQL or in Python."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everloop as ev
from everloop.domain.featureviews import Feature, FeatureView, OnDemandRecord, OnDemandView
from everloop.errors import Conflict, Failed, InvalidDefinition, InvalidInput
from everloop.features.apart import apart
from everloop.features.on_demand import functions
from everloop.features.on_demand.computing import ARROW, OnDemand, prove
from everloop.governance.definitions import declared, load
from everloop.workspace.workspace import Workspace

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
REQUEST = {
    "distance": "double",
    "seats": "long",
    "origin": "string",
    "direct": "boolean",
    "leaves": "datetime",
}

by_sql = ev.on_demand_view(
    "trip",
    request=REQUEST,
    inputs={"weather:wind": "double"},
    features=[
        ev.feature("gain", "distance * 2 - wind", type="double"),
        ev.feature("far", "distance > 1000", type="boolean"),
        ev.feature("place", "coalesce(origin, '?')", type="string"),
        ev.feature("hour", "date_part('hour', leaves)", type="long"),
        ev.feature("per_seat", "case when seats <> 0 then distance / seats end", type="double"),
    ],
)

UNKNOWN = "?"


def where(origin: Any) -> Any:
    return np.array([UNKNOWN if each is None else each for each in origin], object)


@ev.on_demand_view(
    "trip",
    request=REQUEST,
    inputs={"weather:wind": "double"},
    outputs={"gain": "double", "far": "boolean", "place": "string", "hour": "long", "per_seat": "double"},
)
def by_python(distance: Any, seats: Any, origin: Any, direct: Any, leaves: Any, wind: Any) -> Any:
    """The same as `by_sql`, by columns."""
    far = np.array([None if np.isnan(each) else bool(each > 1000) for each in distance], object)
    hour = (leaves - leaves.astype("datetime64[D]")) / np.timedelta64(1, "h")
    per_seat = np.where(seats != 0, distance / seats, np.nan)
    return {
        "gain": distance * 2 - wind,
        "far": far,
        "place": where(origin),
        "hour": np.floor(hour),
        "per_seat": per_seat,
    }


def ready(view: OnDemandView) -> OnDemand:
    return OnDemand(
        OnDemandRecord(
            reference="feature:trip@v1", name=view.name, version=1, digest="", view=view, created=NOON
        )
    )


rows = st.lists(
    st.fixed_dictionaries(
        {
            "distance": st.none() | st.floats(-1e6, 1e6) | st.just(float("nan")),
            "seats": st.none() | st.integers(-5, 500),
            "origin": st.none() | st.text(max_size=5),
            "direct": st.none() | st.booleans(),
            "leaves": st.none() | st.integers(-(10**6), 10**6).map(lambda m: NOON + timedelta(minutes=m)),
            "wind": st.none() | st.floats(-100, 100),
        }
    ),
    min_size=1,
    max_size=12,
)
SCHEMA = pa.schema([(each.column, ARROW[each.type]) for each in by_sql.columns])


@given(rows)
def test_a_row_alone_and_among_others_in_sql_and_in_python_is_one_thing(listed: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(listed, SCHEMA)
    answers = ready(by_sql).compute(table)
    assert answers.equals(ready(by_python).compute(table))
    for view in (ready(by_sql), ready(by_python)):
        alone = pa.concat_tables([view.compute(table.slice(row, 1)) for row in range(table.num_rows)])
        assert alone.equals(answers)


def test_rows_stay_in_order_when_there_are_many() -> None:
    count = 300_000
    table = pa.table({name: pa.nulls(count, SCHEMA.field(name).type) for name in SCHEMA.names})
    table = table.set_column(0, "distance", pa.array(np.arange(count, dtype=float)))
    table = table.set_column(SCHEMA.names.index("wind"), "wind", pa.array(np.zeros(count)))
    for view in (ready(by_sql), ready(by_python)):
        assert view.compute(table)["gain"].to_numpy()[[0, 17, count - 1]].tolist() == [0, 34, 2 * (count - 1)]


def of_one(*features: Feature) -> OnDemandView:
    return ev.on_demand_view("one", request={"x": "double", "t": "datetime"}, features=features)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("x - avg(x) over ()", "looks at other rows"),
        ("sum(x)", "looks at other rows"),
        ("(select max(x))", "has a query in it"),
        ("random() * x", "does not depend on its row alone"),
        ("t < current_date", "does not depend on its row alone"),
        ("age(t)", "does not depend on its row alone"),
        ("x), (t", "is more than one expression"),
        ("x from read_csv('/etc/hosts')", "syntax error"),
    ],
)
def test_sql_that_is_not_of_its_row_is_refused_by_name(expression: str, said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said) as refused:
        prove(ready(of_one(ev.feature("fine", "x + 1"), ev.feature("wrong", expression))))
    assert "on-demand view 'one': feature 'wrong'" in refused.value.message


def test_a_function_that_looks_at_other_rows_is_refused_by_name() -> None:
    @ev.on_demand_view("centred", request={"x": "double"}, outputs={"fine": "double", "less": "double"})
    def centred(x: Any) -> Any:
        return {"fine": x + 1, "less": x - np.nan_to_num(x).mean()}

    with pytest.raises(
        InvalidDefinition, match="on-demand view 'centred': feature 'less' depends on other rows"
    ):
        prove(ready(centred))


def test_errors_name_view_feature_and_line() -> None:
    @ev.on_demand_view("loud", request={"origin": "string"}, outputs={"upper": "string"})
    def loud(origin: Any) -> Any:
        longer = [each.upper() for each in origin]
        return {"upper": longer}

    with pytest.raises(Failed, match=r"on-demand view 'loud', line 2 of its code \(longer = .*NoneType"):
        prove(ready(loud))

    @ev.on_demand_view("short", request={"x": "double"}, outputs={"y": "double"})
    def short(x: Any) -> Any:
        return {"y": x[:1]}

    with pytest.raises(Failed, match=r"on-demand view 'short': feature 'y' has shape .1,. for 24 rows"):
        prove(ready(short))
    with pytest.raises(InvalidInput, match=r"on-demand view 'one': feature 'y': .*\"z\" not found"):
        prove(ready(of_one(ev.feature("fine", "x"), ev.feature("y", "z + 1"))))
    with pytest.raises(InvalidInput, match="feature 'y' is double, not string"):
        prove(ready(of_one(ev.feature("y", "x + 1", type="string"))))
    with pytest.raises(InvalidInput, match="on-demand view 'one': 'x' is string, not double"):
        ready(of_one(ev.feature("y", "x"))).compute(pa.table({"x": ["a"], "t": pa.nulls(1, INSTANT)}))
    with pytest.raises(InvalidInput, match="on-demand view 'one': 't' has no time zone"):
        ready(of_one(ev.feature("y", "x"))).compute(
            pa.table({"x": [1.0], "t": pa.array([NOON]).cast("timestamp[us]")})
        )


def test_what_cannot_be_recorded_is_refused_where_it_is_declared() -> None:
    model = object()

    def closes_over(x: Any) -> Any:
        return model and x

    declare = ev.on_demand_view("y", request={"x": "double"}, outputs={"y": "double"})
    with pytest.raises(InvalidDefinition, match=r"test_features_on_demand.py, line \d+: .* uses 'model'"):
        declare(closes_over)
    with pytest.raises(InvalidDefinition, match="not a function with a name"):
        declare(lambda x: x)


DEFINITIONS = """
import numpy as np
import everloop as ev

station = ev.entity("station", keys=["station"])
FACTOR = {factor}


def scaled(values):
    return values * FACTOR


def celsius(table):  # a comment
    import pyarrow.compute as pc
    return table.append_column("celsius", pc.divide(pc.subtract(table["temp"], 32.0), 1.8))


weather = ev.feature_view(
    "weather", entity=station, source="weather", event_time="time", python=celsius,
    features=["temp", ev.feature("celsius", type="double")],
)


@ev.on_demand_view("felt", request={{"wind": "double"}}, inputs={{"weather:celsius": "double"}}, outputs={{"felt": "double"}})
def felt(wind, celsius):
    return {{"felt": celsius - scaled(wind)}}
"""


class TestRoom:
    @pytest.fixture
    def frame(self, any_workspace: Workspace, tmp_path: Path) -> pa.Table:
        times = pa.array([NOON, NOON + timedelta(hours=1)], INSTANT)
        any_workspace.data.add(
            pa.table({"station": ["A", "A"], "temp": [50.0, 32.0], "time": times}), "weather"
        )
        asked = pa.array([NOON - timedelta(hours=1), NOON, NOON + timedelta(hours=2)], INSTANT)
        return pa.table({"wind": [1.0, 2.0, None], "station": ["A", "A", "A"], "asked": asked})

    def apply(self, workspace: Workspace, folder: Path, factor: float) -> list[str]:
        file = folder / f"views_{str(factor).replace('.', '_')}.py"
        file.write_text(DEFINITIONS.format(factor=factor))
        module = load(str(file), folder)
        views = [*declared(module, FeatureView), *declared(module, OnDemandView)]
        return [each.reference for each in workspace.features.apply(views)]

    def test_history_computes_them_of_what_was_known(
        self, any_workspace: Workspace, frame: pa.Table, tmp_path: Path
    ) -> None:
        assert self.apply(any_workspace, tmp_path, 2.0) == ["feature:weather@v1", "feature:felt@v1"]
        found = any_workspace.features.history(frame, ["felt", "weather:temp"], time="asked")
        assert found.column_names == ["wind", "station", "asked", "felt", "temp"]
        assert found["felt"].to_pylist() == [None, 6.0, None]
        assert found["temp"].to_pylist() == [None, 50.0, 32.0]
        alone = any_workspace.features.history(frame, ["felt:felt"], time="asked")
        assert alone["felt"].to_pylist() == [None, 6.0, None]
        assert b"feature:felt@v1" in alone.schema.metadata[b"everloop.features"]

    def test_an_old_version_runs_as_it_was_when_the_file_has_changed(
        self, any_workspace: Workspace, frame: pa.Table, tmp_path: Path
    ) -> None:
        self.apply(any_workspace, tmp_path, 2.0)
        assert self.apply(any_workspace, tmp_path, 3.0) == ["feature:weather@v1", "feature:felt@v2"]
        old = any_workspace.features.history(frame, ["felt@v1"], time="asked")["felt"].to_pylist()
        new = any_workspace.features.history(frame, ["felt@v2"], time="asked")["felt"].to_pylist()
        assert (old, new) == ([None, 6.0, None], [None, 4.0, None])

    def test_the_views_it_is_computed_from_stand_in_its_lineage(
        self, any_workspace: Workspace, frame: pa.Table, tmp_path: Path
    ) -> None:
        self.apply(any_workspace, tmp_path, 2.0)
        why = any_workspace.provenance.why("feature:felt")
        assert [(each.source, each.role) for each in why.parents] == [("feature:weather@v1", "input")]

    def test_a_name_is_of_one_kind(self, any_workspace: Workspace, frame: pa.Table, tmp_path: Path) -> None:
        self.apply(any_workspace, tmp_path, 2.0)
        clash = ev.on_demand_view("weather", request={"x": "double"}, features=[ev.feature("y", "x")])
        with pytest.raises(Conflict, match="'weather' is recorded as a stored view already"):
            any_workspace.features.apply([clash])
        with pytest.raises(InvalidInput, match="'felt' is computed on demand"):
            any_workspace.features.view("felt")
        unknown = ev.on_demand_view(
            "other", request={}, inputs={"weather:tmp": "double"}, features=[ev.feature("y", "tmp")]
        )
        with pytest.raises(
            InvalidDefinition, match="on-demand view 'other': feature view 'weather' has no feature 'tmp'"
        ):
            any_workspace.features.apply([unknown])

    def test_code_runs_in_a_child_where_it_must_not_run_here(
        self, any_workspace: Workspace, frame: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.apply(any_workspace, tmp_path, 2.0)
        here = any_workspace.features.history(frame, ["felt"], time="asked")

        def never(*_: Any, **__: Any) -> Any:
            raise AssertionError("a user's code ran in this process")

        monkeypatch.setattr(functions, "call", never)
        with apart():
            there = any_workspace.features.history(frame, ["felt"], time="asked")
        assert there.equals(here)


def test_what_goes_wrong_in_a_child_is_named_as_here(capfd: pytest.CaptureFixture[str]) -> None:
    @ev.on_demand_view("loud", request={"origin": "string"}, outputs={"upper": "string"})
    def loud(origin: Any) -> Any:
        print("said by the code")
        return {"upper": [each.upper() for each in origin]}

    with apart():
        told = ready(loud).compute(pa.table({"origin": ["jfk"]}))
        assert told["upper"].to_pylist() == ["JFK"]
        with pytest.raises(Failed, match=r"on-demand view 'loud', line 3 of its code .*NoneType"):
            ready(loud).compute(pa.table({"origin": pa.array([None], pa.string())}))
    assert "said by the code" in capfd.readouterr().err
