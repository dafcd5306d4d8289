"""Versions of views: what a change does before it is done, what it costs, what the values are like, and who uses a feature."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.support.trained import train

import everloop as ev
from everloop.cli.main import main
from everloop.domain.canonical import canonical
from everloop.domain.featureviews import FeatureView, declaration
from everloop.errors import InvalidInput, NotFound
from everloop.serving.predictions import within
from everloop.serving.serving import Serving
from everloop.workspace.feature_users import impact, unused
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")

airport = ev.entity("airport", keys=["origin"])


def weather(**changed: Any) -> FeatureView:
    given: dict[str, Any] = {
        "entity": airport,
        "source": "weather",
        "event_time": "time",
        "ttl": "3h",
        "features": ["temp", ev.aggregate("max", "wind", over="2h", name="gusty")],
    }
    return ev.feature_view("weather", **{**given, **changed})


felt = ev.on_demand_view(
    "felt",
    request={"wind": "double"},
    inputs={"weather:temp": "double"},
    features=[ev.feature("felt", "temp - wind")],
)


@pytest.fixture
def room(any_workspace: Workspace) -> Workspace:
    times = pa.array([NOON + timedelta(hours=hour) for hour in range(4)] * 2, INSTANT)
    rows = {
        "origin": ["JFK"] * 4 + ["LGA"] * 4,
        "temp": [60.0, 61, None, 63, 50, 51, 52, 53],
        "wind": np.arange(8.0),
    }
    any_workspace.data.add(pa.table({**rows, "time": times}), "weather")
    return any_workspace


def test_a_plan_says_what_would_change_and_changes_nothing(room: Workspace) -> None:
    [new, made] = room.features.plan([weather()]), room.features.apply([weather()])
    assert [(each.reference, each.before, each.changed) for each in new] == [("feature:weather@v1", "", True)]
    assert [each.sentence for each in new[0].changes] == [
        "feature temp added: temp",
        "feature gusty added: max(wind) over 2:00:00",
    ]
    assert made[0].version == 1
    features = [ev.feature("temp", "(temp - 32) / 1.8"), "wind"]
    [changed] = room.features.plan([weather(ttl="6h", features=features)])
    assert (changed.reference, changed.before) == ("feature:weather@v2", "feature:weather@v1")
    assert [each.sentence for each in changed.changes] == [
        "feature temp: temp -> (temp - 32) / 1.8",
        "feature gusty removed: max(wind) over 2:00:00",
        "feature wind added: wind",
        "ttl: 3:00:00 -> 6:00:00",
    ]
    assert room.features.view("weather").version == 1
    [same] = room.features.plan([weather()])
    assert (same.reference, same.changed, same.changes, same.cost) == ("feature:weather@v1", False, [], None)


def test_a_change_reaches_the_views_that_are_computed_from_it(room: Workspace) -> None:
    room.features.apply([weather(), felt])
    plans = room.features.plan([felt, weather(ttl="6h")])
    assert [(each.reference, each.changed) for each in plans] == [
        ("feature:felt@v2", True),
        ("feature:weather@v2", True),
    ]
    assert [each.reference for each in room.features.apply([felt, weather(ttl="6h")])] == [
        "feature:felt@v2",
        "feature:weather@v2",
    ]
    assert not any(each.changed for each in room.features.plan([felt, weather(ttl="6h")]))


def test_the_cost_of_a_backfill_is_told_by_what_it_took_before(room: Workspace) -> None:
    [first] = room.features.plan([weather()])
    assert first.cost is not None
    assert (first.cost.rows, first.cost.seconds, first.cost.measured) == (8, None, 0)
    assert first.cost.bytes > 0
    room.features.apply([weather()])
    room.features.note_work(
        work="materialize", reference="feature:weather@v1", rows=100, bytes=1, seconds=50.0
    )
    room.features.note_work(work="materialize", reference="feature:other@v1", rows=100, bytes=1, seconds=1.0)
    [changed] = room.features.plan([weather(ttl="6h")])
    assert changed.cost is not None
    assert (changed.cost.seconds, changed.cost.measured, changed.cost.same_view) == (4.0, 1, True)
    room.features.materialize(["weather"], until=NOON + timedelta(hours=5))
    assert [(each.work, each.rows) for each in room.features.past_work(limit=1)] == [("materialize", 8)]


def test_a_wrong_expression_is_found_before_anything_is_recorded(room: Workspace) -> None:
    wrong = weather(features=["temp", ev.feature("cold", "tmp < 3")])
    with pytest.raises(InvalidInput, match=r"feature view 'weather': feature 'cold': .*tmp"):
        room.features.plan([wrong])
    with pytest.raises(InvalidInput, match="feature view 'weather': feature 'temp' is double, not string"):
        room.features.plan([weather(features=[ev.feature("temp", type="string")])])
    with pytest.raises(NotFound):
        room.features.view("weather")
    # What cannot be tried is not passed off as tried.
    [early] = room.features.plan([weather(source=["weather", "stations"], sql="select * from weather")])
    assert (early.changed, early.cost, early.absent) == (True, None, ["stations"])


def test_views_of_the_first_release_keep_their_version(room: Workspace) -> None:
    old = {
        "name": "weather",
        "entity": {"name": "airport", "keys": ["origin"]},
        "sources": ["weather"],
        "event_time": "time",
        "features": [
            {"kind": "column", "name": "temp", "expression": "temp"},
            {
                "kind": "aggregate",
                "name": "gusty",
                "function": "max",
                "expression": "wind",
                "over": "PT7200S",
                "min_count": 1,
            },
        ],
        "sql": "",
        "where": "",
        "available": "",
        "available_after": "P0D",
        "ttl": "PT10800S",
    }
    assert msgspec.json.decode(msgspec.json.encode(declaration(weather()))) == old
    room.governance.record_definition(kind="feature", name="weather", declaration=old)
    assert [each.version for each in room.features.apply([weather()])] == [1]


def test_statistics_are_kept_by_version_of_view_and_data(room: Workspace) -> None:
    room.features.apply([weather()])
    told = room.features.describe("weather")
    assert (told.reference, told.sources, told.rows) == (
        "feature:weather@v1",
        {"weather": "data:weather@v1"},
        8,
    )
    temp, gusty = told.columns
    assert (temp.name, temp.rows, temp.nulls) == ("temp", 8, 1)
    assert temp.number is not None
    assert (temp.number.low, temp.number.high) == (50.0, 63.0)
    assert gusty.number is not None
    assert gusty.number.high == 7.0
    more = pa.table({"origin": ["EWR"], "temp": [99.0], "wind": [1.0], "time": pa.array([NOON], INSTANT)})
    room.data.add(more, "weather", append=True)
    room.features.describe("weather")
    room.features.describe("weather")
    kept = room.features.statistics("weather")
    assert [each.sources["weather"] for each in kept] == ["data:weather@v2", "data:weather@v1"]
    assert kept[0].columns[0].number is not None
    assert kept[0].columns[0].number.high == 99.0


def test_who_uses_a_feature(room: Workspace, tmp_path: Path) -> None:
    room.features.apply([weather(), felt])
    assert [each.feature for each in unused(room)] == ["felt:felt", "weather:gusty"]
    frame = pa.table({"origin": ["JFK"], "asked": pa.array([NOON], INSTANT)})
    room.data.add(
        pa.table({"temp": np.arange(40.0), "wind": np.arange(40.0), "late": [0, 1] * 20}), "flights"
    )
    with room.tracking.start() as reading:
        room.features.history(frame, ["weather:temp"], time="asked")
    with room.tracking.start(params={"depth": 1}) as run:
        room.data.dataset("flights").to_arrow()
        from sklearn.linear_model import LinearRegression

        room.features.history(frame, ["weather:temp"], time="asked")
        model = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
        logged = run.log_model(model, example={"temp": np.array([1.0])}, features=["weather:temp"])
    assert logged.features == ("weather@v1:temp",), "a model keeps the version that was read"
    other = train(room, "flights@v1")
    made = room.registry.register(run.run_id, "delay")
    room.registry.register(other, "other")
    room.serving.deploy("delay", made.reference)
    room.features.apply([weather(ttl="6h")])
    assert room.registry.version("delay").model.features == ("weather@v1:temp",)

    found = impact(room, "weather:temp")
    assert [(each.model, each.feature, each.pinned) for each in found.models] == [
        ("model:delay@v1", "weather@v1:temp", True)
    ]
    assert (found.endpoints, found.views) == (["delay"], ["feature:felt@v1"])
    assert set(found.runs) == {f"run:{run.run_id}", f"run:{reading.run_id}"}
    assert impact(room, "weather@v1:temp").endpoints == ["delay"]
    assert impact(room, "weather@v2:temp").models == []
    gusty = impact(room, "weather:gusty")
    assert (gusty.models, gusty.endpoints, gusty.views) == ([], [], [])
    assert [each.model for each in impact(room, "weather").models] == ["model:delay@v1"]
    with pytest.raises(NotFound, match="no feature 'tmp'"):
        impact(room, "weather:tmp")


def test_a_log_can_be_held_against_what_it_has_all_columns_of(room: Workspace) -> None:
    room.features.apply([weather(), felt])
    comparable = room.features.comparable
    assert comparable("weather", ["origin", "temp", "other"]) == ["weather:temp"]
    assert comparable("weather@v1:temp", ["origin", "temp"]) == ["weather@v1:temp"]
    assert comparable("weather:temp", ["temp"]) == [], "nobody knows of which airport"
    assert comparable("felt", ["origin", "felt", "wind"]) == ["felt:felt"]
    assert comparable("felt", ["origin", "felt"]) == [], "it is made of the wind of the request"


def test_rows_of_several_files_are_one_history(room: Workspace) -> None:
    """The last in the data is in the last file, whatever the number of its row there."""
    room.features.apply([weather()])
    again = pa.table({"origin": ["JFK"], "temp": [-1.0], "wind": [0.0], "time": pa.array([NOON], INSTANT)})
    room.data.add(again, "weather", append=True)
    room.data.add(again.set_column(1, "temp", [[-2.0]]), "weather", append=True)
    asked = pa.array([NOON, NOON, NOON + timedelta(hours=1)], INSTANT)
    frame = pa.table({"origin": ["JFK", "LGA", "JFK"], "asked": asked, "mine": [1, 2, 3]})
    found = room.features.history(frame, ["weather:temp"], time="asked")
    assert found["temp"].to_pylist() == [-2.0, 50.0, 61.0]
    assert found["mine"].to_pylist() == [1, 2, 3]
    pinned = room.features.history(frame, ["weather:temp"], time="asked", at={"weather": 2})
    assert pinned["temp"].to_pylist() == [-1.0, 50.0, 61.0]


def test_reports_of_parity_are_kept_by_view(room: Workspace) -> None:
    room.features.apply([weather()])
    frame = pa.table({"origin": ["JFK"], "asked": pa.array([NOON], INSTANT), "temp": [1.0]})
    report = room.features.parity(frame, ["weather:temp"], time="asked")
    kept = room.features.record_parity(report)
    for asked in ("", "weather", "weather@v1"):
        assert [each.id for each in room.features.parity_reports(asked)] == [kept.id]
    assert room.features.parity_reports("weather@v2") == []
    again = room.features.parity_report(kept.id).report
    assert canonical(again) == canonical(report)
    with pytest.raises(NotFound, match="no parity report 'x'"):
        room.features.parity_report("x")


DEFINITIONS = """
import everloop as ev

airport = ev.entity("airport", keys=["origin"])

weather = ev.feature_view(
    "weather",
    entity=airport,
    source="weather",
    event_time="time",
    features=[
        "wind",
        ev.feature("double_wind", "{expression}"),
    ],
)
doubled = ev.on_demand_view("doubled", request={{"x": "double"}}, features=[ev.feature("y", "{on_demand}")])
"""

Run = Callable[..., tuple[int, Any]]


class TestCommands:
    @pytest.fixture
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "project"
        (folder / ".everloop").mkdir(parents=True)
        monkeypatch.chdir(folder)
        (folder / "weather.csv").write_text("origin,time,wind\nJFK,2026-06-01T12:00:00Z,10.5\n")
        return folder

    @pytest.fixture
    def run(self, project: Path, capsys: pytest.CaptureFixture[str]) -> Run:
        def run(*arguments: str) -> tuple[int, Any]:
            code = main([*arguments, "--json"])
            return code, json.loads(capsys.readouterr().out)

        return run

    def define(self, project: Path, name: str, expression: str, on_demand: str = "x * 2") -> str:
        (project / name).write_text(DEFINITIONS.format(expression=expression, on_demand=on_demand))
        return name

    def test_a_change_from_plan_to_backfill(self, run: Run, project: Path) -> None:
        run("data", "add", "weather.csv", "--name", "weather")
        first = self.define(project, "first_views.py", "wind * 2")
        code, answer = run("features", "apply", first, "--dry-run")
        assert (code, [each["digest"] for each in answer["views"]]) == (0, [None, None])
        assert run("features", "list")[1]["views"] == []
        code, answer = run("features", "apply", first)
        assert [each["reference"] for each in answer["views"]] == ["feature:weather@v1", "feature:doubled@v1"]
        second = self.define(project, "second_views.py", "wind * 2.0 + 1")
        code, answer = run(
            "features", "apply", second, "--backfill", "--yes", "--until", "2026-06-01T13:00:00Z"
        )
        [view, on_demand] = answer["views"]
        assert view["changes"] == ["feature double_wind: wind * 2 -> wind * 2.0 + 1"]
        assert (view["cost"]["rows"], on_demand["changed"]) == (1, False)
        assert [each["reference"] for each in answer["filled"]] == ["feature:weather@v2"]
        code, answer = run("features", "get", "weather@v2", "origin=JFK", "--time", "2026-06-01T13:00:00Z")
        assert answer["rows"][0]["values"] == {"wind": 10.5, "double_wind": 22.0}
        assert {each["name"] for each in run("features", "list")[1]["views"]} == {"weather", "doubled"}
        assert run("features", "describe", "weather")[1]["statistics"][0]["rows"] == 1
        assert run("features", "describe", "weather", "--kept")[1]["statistics"][0]["rows"] == 1
        assert run("features", "impact", "weather:wind")[1]["models"] == []
        assert len(run("features", "unused")[1]["unused"]) == 3

    def test_a_report_of_parity_is_kept_and_listed(self, run: Run, project: Path) -> None:
        run("data", "add", "weather.csv", "--name", "weather")
        run("features", "apply", self.define(project, "kept_views.py", "wind * 2"))
        rows = "".join(f"JFK,2026-06-01T12:0{minute}:00Z,5.25\n" for minute in range(9))
        (project / "logged.csv").write_text("origin,at,wind\n" + rows)
        asked = ["features", "parity", "logged.csv", "--time", "at", "--feature", "weather:wind"]
        code, report = run(*asked, "--record")
        assert (code, report["different"], report["columns"][0]["rows_different"]) == (1, 9, 9)
        assert report["columns"][0]["first_time"] == "2026-06-01T12:00:00Z"
        [kept] = run("features", "parity-reports", "weather")[1]["reports"]
        assert kept["report"] == report
        assert run(*asked)[0] == 1
        assert len(run("features", "parity-reports")[1]["reports"]) == 1

    def test_an_endpoints_log_is_compared_as_it_is(
        self, run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of two models in the log, the rows of one, by the features it was logged with."""
        from sklearn.linear_model import LinearRegression

        run("data", "add", "weather.csv", "--name", "weather")
        run("features", "apply", self.define(project, "served_views.py", "wind * 2"))
        with LocalWorkspace(project) as workspace:
            for name, features in (("old", ()), ("new", ("weather:wind",))):
                with workspace.tracking.start(params={"a": 1}) as made:
                    workspace.data.dataset("weather").to_arrow()
                    model = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
                    made.log_model(model, example={"wind": np.array([1.0, 2.0])}, features=features)
                workspace.registry.register(made.run_id, name)
        models = ["model:new@v1"] * 5 + ["model:old@v1"] * 3 + ["model:new@v1"]
        log = pa.table(
            {
                "prediction_id": [str(number) for number in range(9)],
                "time": pa.array([NOON + timedelta(minutes=number) for number in range(9)], INSTANT),
                "model": models,
                "origin": ["JFK"] * 9,
                "wind": [10.5] * 4 + [21.0] * 5,
            }
        )

        def predictions(self: Serving, endpoint: str, *, since: Any = None, until: Any = None) -> pa.Table:
            assert endpoint == "delay"
            return within(log, since, until)

        monkeypatch.setattr(Serving, "predictions", predictions)
        asked = ["features", "parity", "endpoint:delay"]
        code, report = run(*asked)
        assert (code, report["compared"], report["different"]) == (1, 6, 2)
        assert [each["column"] for each in report["columns"]] == ["wind"]
        early = run(*asked, "--until", "2026-06-01T12:04:00Z")
        assert (early[0], early[1]["compared"]) == (0, 4)
        for more, said in [
            (["--model", "old"], "without features"),
            (["--since", "2026-06-02T00:00:00Z"], "no predictions"),
        ]:
            code, answer = run(*asked, *more)
            assert (code, said in answer["error"]["message"]) == (2, True)
        assert run("features", "parity", "weather.csv", "--since", "2026-06-02T00:00:00Z")[0] == 2

    @pytest.mark.parametrize(
        ("expression", "on_demand", "line", "said"),
        [
            ("wnd * 2", "x", 13, "feature view 'weather': feature 'double_wind'"),
            (
                "wind",
                "random()",
                16,
                "on-demand view 'doubled': feature 'y' does not depend on its row alone",
            ),
        ],
    )
    def test_errors_name_view_feature_and_line(
        self, run: Run, project: Path, expression: str, on_demand: str, line: int, said: str
    ) -> None:
        run("data", "add", "weather.csv", "--name", "weather")
        name = self.define(project, f"wrong_views_{line}.py", expression, on_demand)
        code, answer = run("features", "apply", name)
        assert code == 2
        assert f"{name}, line {line}: {said}" in answer["error"]["message"]
        assert run("features", "list")[1]["views"] == []
