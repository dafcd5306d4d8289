"""Faults put into a log of features on purpose: parity finds the columns, the rows, since when, and what the fault looks like."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import everloop as ev
from everloop.domain.featureviews import ColumnParity, FeatureView, ViewRecord
from everloop.features.history.reader import FeatureReader, Selected

START = datetime(2026, 3, 1, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
DAY = timedelta(days=1)
STATIONS = [f"S{number}" for number in range(12)]
HOURS = 24 * 20

station = ev.entity("station", keys=["station"])
VIEW = ev.feature_view(
    "weather",
    entity=station,
    source="weather",
    event_time="time",
    available="10min",
    ttl="6h",
    features=[
        "temp",
        "gust",
        "sky",
        ev.feature("hour", "date_part('hour', time)"),
        ev.feature("seen", "time"),
        ev.aggregate("mean", "temp", over="6h", name="temp_6h"),
    ],
)
NAMES = [each.name for each in VIEW.features]


@pytest.fixture(scope="module")
def weather() -> pa.Table:
    rng = np.random.default_rng(5)
    times = [START + timedelta(hours=hour) for hour in range(HOURS)]
    count = HOURS * len(STATIONS)
    gust = rng.gamma(2.0, 8.0, count)
    return pa.table(
        {
            "station": np.repeat(STATIONS, HOURS),
            "time": pa.array(times * len(STATIONS), INSTANT),
            "temp": rng.normal(60, 12, count),
            "gust": pa.array(gust, mask=rng.random(count) < 0.1),
            "sky": rng.choice(["Clear", "Rain", "Fog"], count),
        }
    )


def reader(view: FeatureView, weather: pa.Table) -> FeatureReader:
    record = ViewRecord(
        reference="feature:weather@v1", name="weather", version=1, digest="", view=view, created=START
    )
    selected = [Selected(record, each, each.name) for each in view.features]
    return FeatureReader(selected, {"weather": "data:weather@v1"}, {"weather": weather})


@pytest.fixture(scope="module")
def truth(weather: pa.Table) -> FeatureReader:
    return reader(VIEW, weather)


@pytest.fixture(scope="module")
def asked() -> pa.Table:
    rng = np.random.default_rng(6)
    seconds = np.sort(rng.integers(8 * 86400, 19 * 86400, 1500))
    times = [START + timedelta(seconds=int(each)) for each in seconds]
    return pa.table({"station": rng.choice(STATIONS, 1500), "at": pa.array(times, INSTANT)})


@pytest.fixture(scope="module")
def clean(truth: FeatureReader, asked: pa.Table) -> pa.Table:
    """What a service would log that does everything right."""
    return truth.history(asked, time="at")


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def found(truth: FeatureReader, logged: pa.Table) -> dict[str, ColumnParity]:
    report = truth.parity(logged, time="at")
    return {each.column: each for each in report.columns if each.rows_different}


def test_a_clean_log_says_nothing(truth: FeatureReader, clean: pa.Table) -> None:
    report = truth.parity(clean, time="at")
    assert (report.compared, report.different) == (1500, 0)
    assert [(each.cause, each.first_time) for each in report.columns] == [("", None)] * len(NAMES)


def test_a_unit(truth: FeatureReader, clean: pa.Table) -> None:
    celsius = pc.multiply(pc.subtract(clean["temp"], 32), 5 / 9)
    faults = found(truth, with_column(clean, "temp", celsius))
    assert list(faults) == ["temp"]
    assert faults["temp"].rows_different == 1500
    assert faults["temp"].cause.startswith(
        "unit: logged = history x 0.555556 - 17.7778 (Celsius for Fahrenheit)"
    )


def test_a_unit_since_some_day(truth: FeatureReader, clean: pa.Table) -> None:
    since = pa.scalar(START + 15 * DAY, INSTANT)
    late = pc.greater_equal(clean["at"], since)
    faults = found(
        truth,
        with_column(clean, "gust", pc.if_else(late, pc.multiply(clean["gust"], 0.44704), clean["gust"])),
    )
    assert "metres a second for miles an hour" in faults["gust"].cause
    assert faults["gust"].first_time is not None
    assert faults["gust"].first_time >= START + 15 * DAY
    assert faults["gust"].rows_different == pc.sum(pc.and_(late, pc.is_valid(clean["gust"]))).as_py()


@pytest.mark.parametrize(("hours", "told"), [(-5, "5 hours earlier"), (5, "5 hours later")])
def test_a_time_zone(truth: FeatureReader, asked: pa.Table, clean: pa.Table, hours: int, told: str) -> None:
    """The service asks as of local time taken for UTC."""
    moved = with_column(asked, "at", pc.add(asked["at"], pa.scalar(timedelta(hours=hours))))
    wrong = truth.history(moved, time="at")
    faults = found(
        truth,
        asked.append_column("temp", wrong["temp"])
        .append_column("sky", wrong["sky"])
        .append_column("gust", wrong["gust"])
        .append_column("hour", wrong["hour"])
        .append_column("seen", wrong["seen"])
        .append_column("temp_6h", wrong["temp_6h"]),
    )
    for name in ("temp", "gust", "sky", "temp_6h"):
        assert faults[name].cause == f"time zone: what was logged is history of {told}", name
    assert faults["hour"].cause == f"time zone: what was logged is {hours:+d} hours from history"
    assert faults["seen"].cause == f"time zone: what was logged is {hours:+d} hours from history"


def test_a_store_that_stands_still(
    truth: FeatureReader, asked: pa.Table, clean: pa.Table, weather: pa.Table
) -> None:
    """Nothing was materialised any more from the fifteenth day on, and nobody looked at ages."""
    ageless = reader(
        ev.feature_view(
            "weather",
            entity=station,
            source="weather",
            event_time="time",
            available="10min",
            features=list(VIEW.features),
        ),
        weather,
    )
    until = pa.scalar(START + 14 * DAY, INSTANT)
    stopped = with_column(asked, "at", pc.if_else(pc.greater(asked["at"], until), until, asked["at"]))
    logged = ageless.history(stopped, time="at").set_column(1, "at", asked["at"])
    faults = found(truth, logged)
    for name in ("temp", "gust", "sky", "temp_6h"):
        assert faults[name].cause.startswith("stale: what was logged stands still at about 2026-03-14 23:"), (
            name
        )
        assert faults[name].first_time is not None
        assert START + 14 * DAY <= faults[name].first_time <= START + 14.1 * DAY


def test_a_store_that_lags_behind(truth: FeatureReader, asked: pa.Table, clean: pa.Table) -> None:
    """Some rows of the online store are from one of the runs before."""
    rng = np.random.default_rng(7)
    lags = pa.array(rng.choice([0, 0, 3600, 10800], asked.num_rows) * 1_000_000, pa.duration("us"))
    older = truth.history(with_column(asked, "at", pc.subtract(asked["at"], lags)), time="at")
    logged = with_column(clean, "temp", older["temp"])
    faults = found(truth, logged)
    assert list(faults) == ["temp"]
    assert faults["temp"].cause.startswith("stale: what was logged are older values of the same entities")


def test_cleaning_that_only_one_side_does(truth: FeatureReader, clean: pa.Table) -> None:
    cut = with_column(clean, "gust", pc.if_else(pc.greater(clean["gust"], 30.0), 30.0, clean["gust"]))
    assert found(truth, cut)["gust"].cause == "cleaning: what was logged is cut at 30, history is not"
    filled = with_column(clean, "gust", pc.fill_null(clean["gust"], 0.0))
    assert found(truth, filled)["gust"].cause == "cleaning: where history has nothing, 0 was logged"
    lower = with_column(clean, "sky", pc.utf8_lower(clean["sky"]))
    assert found(truth, lower)["sky"].cause == "cleaning: the values differ in case or white space only"
    rounded = with_column(clean, "temp", pc.round(clean["temp"], 1))
    assert found(truth, rounded)["temp"].cause.startswith("precision: what was logged is rounded to 1 digits")
    none = with_column(clean, "temp", pa.nulls(1500, pa.float64()))
    assert found(truth, none)["temp"].cause == "missing: nothing was logged where history has values"


def test_cleaning_in_training_only(weather: pa.Table, asked: pa.Table, clean: pa.Table) -> None:
    """The view cuts and fills; what is served does neither."""
    training = ev.feature_view(
        "weather",
        entity=station,
        source="weather",
        event_time="time",
        available="10min",
        ttl="6h",
        features=[ev.feature("gust", "least(gust, 30.0)"), ev.feature("temp", "coalesce(temp, 0)")],
    )
    faults = found(reader(training, weather), clean)
    assert list(faults) == ["gust"]
    assert faults["gust"].cause == (  # SQL's least() takes the 30 where the other is null
        "cleaning: history is cut at 30, what was logged is not; "
        "cleaning: where nothing was logged, history has 30: missing values are filled there only"
    )
    filling = ev.feature_view(
        "weather",
        entity=station,
        source="weather",
        event_time="time",
        available="10min",
        ttl="6h",
        features=[ev.feature("gust", "coalesce(gust, -1)")],
    )
    told = found(reader(filling, weather), clean)["gust"].cause
    assert told == "cleaning: where nothing was logged, history has -1: missing values are filled there only"


def test_what_fits_nothing_is_not_explained(truth: FeatureReader, clean: pa.Table) -> None:
    noise = np.random.default_rng(8).normal(60, 12, 1500)
    fault = found(truth, with_column(clean, "temp", pa.array(noise)))["temp"]
    assert (fault.cause, fault.rows_different) == ("", 1500)
    one = clean["temp"].to_pylist()
    one[700] += 1.0
    fault = found(truth, with_column(clean, "temp", pa.array(one)))["temp"]
    assert (fault.cause, fault.rows_different) == ("", 1)
