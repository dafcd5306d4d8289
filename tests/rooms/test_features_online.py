"""The online store and parity: the same values as history, with their age; and faults of serving are found."""

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everloop as ev
from everloop.errors import InvalidInput, NotFound, StorageError
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
MINUTE = timedelta(minutes=1)

airport = ev.entity("airport", keys=["origin"])
weather = ev.feature_view(
    "weather",
    entity=airport,
    source="weather",
    event_time="time",
    available="5min",
    ttl="1h",
    features=["temp", "sky"],
)
recent = ev.feature_view(
    "recent",
    entity=airport,
    source="weather",
    event_time="time",
    available="5min",
    features=[
        ev.aggregate("mean", "temp", over="30min", name="mean_temp"),
        ev.aggregate("count", over="30min", name="reports"),
    ],
)


def reports(*rows: tuple[str, int, float | None]) -> pa.Table:
    listed = [{"origin": o, "time": NOON + m * MINUTE, "temp": t, "sky": "clear"} for o, m, t in rows]
    return pa.Table.from_pylist(
        listed,
        pa.schema([("origin", pa.string()), ("time", INSTANT), ("temp", pa.float64()), ("sky", pa.string())]),
    )


@pytest.fixture
def room(any_workspace: Workspace) -> Workspace:
    any_workspace.data.add(reports(("JFK", 0, 50.0), ("JFK", 20, 52.0), ("EWR", -50, 60.0)), "weather")
    any_workspace.features.apply([weather, recent])
    return any_workspace


class TestOnline:
    def test_values_come_with_their_age_in_the_order_of_the_keys(self, room: Workspace) -> None:
        [done] = room.features.materialize(["weather"], until=NOON + 30 * MINUTE)
        assert (done.reference, done.entities, done.sources) == (
            "feature:weather@v1",
            2,
            {"weather": "data:weather@v1"},
        )
        keys = [{"origin": origin} for origin in ("EWR", "JFK", "XXX", "EWR")]
        rows = room.features.get("weather", keys, time=NOON + 40 * MINUTE)
        assert [row.status for row in rows] == ["expired", "present", "unknown", "expired"]
        assert [row.values["temp"] for row in rows] == [None, 52.0, None, None]
        assert [row.age for row in rows] == [5400.0, 1200.0, None, 5400.0]
        assert rows[1].event_time == NOON + 20 * MINUTE

    def test_what_was_not_known_is_not_there(self, room: Workspace) -> None:
        room.features.materialize(["weather"], until=NOON + 24 * MINUTE)
        [row] = room.features.get("weather", [{"origin": "JFK"}], time=NOON + 24 * MINUTE)
        assert row.values == {"temp": 50.0, "sky": "clear"}

    def test_aggregates_are_of_the_moment_they_were_made(self, room: Workspace) -> None:
        room.features.materialize(until=NOON + 25 * MINUTE)
        [row] = room.features.get("recent", [{"origin": "JFK"}], time=NOON + 26 * MINUTE)
        assert (row.values, row.age) == ({"mean_temp": 51.0, "reports": 2}, 60.0)
        assert [each.reference for each in room.features.materialized()] == [
            "feature:recent@v1",
            "feature:weather@v1",
        ]

    def test_an_older_state_does_not_replace_a_newer_one(self, room: Workspace) -> None:
        room.features.materialize(["weather"], until=NOON + 30 * MINUTE)
        with pytest.raises(InvalidInput, match="which is later"):
            room.features.materialize(["weather"], until=NOON)
        with pytest.raises(InvalidInput, match="later than the time asked"):
            room.features.get("weather", [{"origin": "JFK"}], time=NOON)
        with pytest.raises(InvalidInput, match="has no time zone"):
            room.features.get("weather", [{"origin": "JFK"}], time=NOON.replace(tzinfo=None))

    def test_versions_stand_side_by_side(self, room: Workspace) -> None:
        room.features.materialize(["weather"], until=NOON + 30 * MINUTE)
        celsius = ev.feature_view(
            "weather",
            entity=airport,
            source="weather",
            event_time="time",
            features=[ev.feature("temp", "(temp - 32) / 1.8")],
        )
        room.features.apply([celsius])
        room.features.materialize(["weather"], until=NOON + 30 * MINUTE)
        now = NOON + 31 * MINUTE
        assert room.features.get("weather@v1", [{"origin": "JFK"}], time=now)[0].values["temp"] == 52.0
        assert room.features.get("weather", [{"origin": "JFK"}], time=now)[0].values["temp"] == pytest.approx(
            11.11, abs=0.01
        )

    def test_wrong_questions_are_named(self, room: Workspace) -> None:
        with pytest.raises(NotFound, match="online store"):
            room.features.get("weather", [{"origin": "JFK"}])
        room.features.materialize(["weather"], until=NOON + 30 * MINUTE)
        with pytest.raises(NotFound, match="has no 'wether'") as wrong:
            room.features.get("wether", [{"origin": "JFK"}])
        assert "'weather'" in wrong.value.hint
        with pytest.raises(InvalidInput, match="needs the key 'origin'"):
            room.features.get("weather", [{"orgin": "JFK"}])


def test_the_online_value_is_the_historical_one(workspace: LocalWorkspace) -> None:
    """At the moment of materialisation, for every entity and feature."""
    rows = [(f"A{n % 7}", (n * 37) % 200 - 100, None if n % 5 == 0 else n / 3) for n in range(200)]
    workspace.data.add(reports(*rows), "weather")
    workspace.features.apply([weather, recent])
    names = [f"A{n}" for n in range(8)]
    for minute in (-80, 0, 33, 300):
        until = NOON + minute * MINUTE
        workspace.features.materialize(until=until)
        frame = pa.table({"origin": names, "at": pa.array([until] * 8, INSTANT)})
        history = workspace.features.history(frame, ["weather", "recent"], time="at").to_pylist()
        for view in ("weather", "recent"):
            online = workspace.features.get(view, [{"origin": name} for name in names], time=until)
            for past, now in zip(history, online, strict=True):
                expected = {name: past[name] for name in now.values}
                if now.status == "unknown":
                    expected = {
                        name: value or None for name, value in expected.items()
                    }  # nobody heard of it: no count
                assert now.values == expected


def test_a_kill_while_replacing_leaves_what_was_there(
    workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.data.add(reports(("JFK", 0, 50.0)), "weather")
    workspace.features.apply([weather])
    workspace.features.materialize(until=NOON + 10 * MINUTE)
    with sqlite3.connect(workspace.folder / "online.db") as other:
        other.execute("delete from rows")
        # Another reader sees the old rows until the transaction ends, which here it never does.
        [row] = workspace.features.get("weather", [{"origin": "JFK"}], time=NOON + 11 * MINUTE)
        assert row.values["temp"] == 50.0
        other.rollback()
    other.close()


def test_a_damaged_store_says_so(workspace: LocalWorkspace) -> None:
    workspace.folder.mkdir(parents=True)
    (workspace.folder / "online.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match="is damaged"):
        workspace.features.get("weather", [{"origin": "JFK"}])


class TestParity:
    @pytest.fixture
    def logged(self, workspace: LocalWorkspace) -> pa.Table:
        rows = [(origin, m, 40.0 + m / 7) for m in range(0, 300, 15) for origin in ("JFK", "EWR")]
        workspace.data.add(reports(*rows), "weather")
        workspace.features.apply([weather, recent])
        frame = pa.table(
            {
                "origin": ["JFK", "EWR", "LGA"] * 60,
                "at": pa.array([NOON + n * 2 * MINUTE for n in range(180)], INSTANT),
            }
        )
        answer: pa.Table = workspace.features.history(frame, ["weather:temp", "recent:mean_temp"], time="at")
        return answer

    def compare(self, workspace: LocalWorkspace, logged: pa.Table) -> Any:
        return workspace.features.parity(logged, ["weather:temp", "recent:mean_temp"], time="at")

    def test_what_was_served_right_is_equal(self, workspace: LocalWorkspace, logged: pa.Table) -> None:
        report = self.compare(workspace, logged)
        assert (report.compared, report.different, report.passed) == (180, 0, True)
        assert [column.column for column in report.columns] == ["temp", "mean_temp"]

    def test_missing_is_missing_and_narrow_floats_are_near_enough(
        self, workspace: LocalWorkspace, logged: pa.Table
    ) -> None:
        single = pc.fill_null(logged["temp"].cast(pa.float32()), float("nan"))
        assert self.compare(workspace, logged.set_column(2, "temp", single)).passed

    def test_another_unit(self, workspace: LocalWorkspace, logged: pa.Table) -> None:
        since = NOON + 100 * MINUTE
        celsius = pc.if_else(
            pc.less(logged["at"], pa.scalar(since, INSTANT)),
            logged["temp"],
            pc.divide(pc.subtract(logged["temp"], 32), 1.8),
        )
        report = self.compare(workspace, logged.set_column(2, "temp", celsius))
        temp, mean = report.columns
        affected = int(
            pc.sum(
                pc.and_(
                    pc.is_valid(logged["temp"]), pc.greater_equal(logged["at"], pa.scalar(since, INSTANT))
                )
            ).as_py()
        )
        assert (report.different, temp.rows_different, mean.rows_different, temp.missing) == (
            affected,
            affected,
            0,
            0,
        )
        assert temp.first_time == NOON + 102 * MINUTE  # at 100 it is LGA, of which nothing is known
        assert temp.max_abs > 20
        assert temp.sample[0]["history"] == pytest.approx(temp.sample[0]["logged"] * 1.8 + 32)

    def test_a_value_that_was_not_there_and_one_that_was(
        self, workspace: LocalWorkspace, logged: pa.Table
    ) -> None:
        filled = logged.set_column(2, "temp", pc.fill_null(logged["temp"], 0.0))
        assert self.compare(workspace, filled).columns[0].missing == logged["temp"].null_count > 0
        stopped = logged.set_column(2, "temp", pa.nulls(180))
        assert self.compare(workspace, stopped).columns[0].missing == 180 - logged["temp"].null_count

    def test_stale_rows(self, workspace: LocalWorkspace, logged: pa.Table) -> None:
        stale = pa.concat_arrays([pa.nulls(30, pa.float64()), logged["temp"].combine_chunks().slice(0, 150)])
        assert self.compare(workspace, logged.set_column(2, "temp", stale)).columns[0].rows_different > 60

    def test_a_feature_that_was_not_logged(self, workspace: LocalWorkspace, logged: pa.Table) -> None:
        with pytest.raises(InvalidInput, match="'mean_temp' was not logged"):
            self.compare(workspace, logged.drop(["mean_temp"]))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(0, 19), st.floats(1e-5, 1.0))
@settings(max_examples=25)
def test_one_changed_value_is_one_row(values: list[float], place: int, share: float) -> None:
    from everloop.features.parity import _column

    place %= len(values)
    changed = list(values)
    changed[place] += (abs(changed[place]) + 1.0) * share
    times = pa.array([NOON] * len(values), INSTANT)
    report, rows = _column("x", pa.array(changed), pa.array(values), times, None)
    assert (report.rows_different, rows.nonzero()[0].tolist()) == (1, [place])
    assert report.max_abs == abs(changed[place] - values[place])
