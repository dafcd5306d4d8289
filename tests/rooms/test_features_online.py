"""The online store and parity: the same values as history, with their age; and faults of serving are found."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.examples import fewer
from tests.support.workspaces import FakeClock, copied

import everloop as ev
from everloop.cli.main import main
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
        for nameless in ([{}], [{}, {"origin": "JFK"}]):
            with pytest.raises(InvalidInput, match="key"):
                room.features.get("weather", nameless)


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


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 60)), min_size=1, max_size=4), max_size=4
    )
)
@settings(fewer(0.2), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_filling_by_and_by_comes_to_the_same_as_history(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, int]]]
) -> None:
    with LocalWorkspace(tmp_path_factory.mktemp("filled"), clock=FakeClock(NOON)) as made:
        made.data.add(reports(("A", 0, 50.0)), "weather")
        made.features.apply([weather])
        for number, batch in enumerate(batches):
            until = NOON + (10 + 15 * number) * MINUTE
            made.features.materialize(until=until)
            made.data.add(reports(*[(o, m, number + m / 7) for o, m in batch]), "weather", append=True)
        until = NOON + 70 * MINUTE
        made.features.materialize(until=until)
        frame = pa.table({"origin": list("ABC"), "at": pa.array([until] * 3, INSTANT)})
        history = made.features.history(frame, ["weather"], time="at").to_pylist()
        online = made.features.get("weather", [{"origin": each} for each in "ABC"], time=until)
        for past, now in zip(history, online, strict=True):
            assert now.values == {name: past[name] for name in now.values}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(0, 19), st.floats(1e-5, 1.0))
def test_one_changed_value_is_one_row(values: list[float], place: int, share: float) -> None:
    from everloop.features.parity.comparing import _column

    place %= len(values)
    changed = list(values)
    changed[place] += (abs(changed[place]) + 1.0) * share
    times = pa.array([NOON] * len(values), INSTANT)
    report, rows = _column("x", pa.array(changed), pa.array(values), times, None)
    assert (report.rows_different, rows.nonzero()[0].tolist()) == (1, [place])
    assert report.max_abs == abs(changed[place] - values[place])


class TestSeveralAtOnce:
    def test_features_of_several_views(self, room: Workspace) -> None:
        room.features.materialize(until=NOON + 25 * MINUTE)
        answer = room.features.look_up(
            ["weather:temp", "recent"],
            [{"origin": "EWR"}, {"origin": "JFK"}, {"origin": "XXX"}],
            time=NOON + 26 * MINUTE,
        )
        assert answer.columns() == {
            "temp": [None, 52.0, None],
            "mean_temp": [None, 51.0, None],
            "reports": [0, 2, None],
        }
        assert {each.name: each.statuses for each in answer.features} == {
            "temp": ["expired", "present", "unknown"],
            "mean_temp": ["null", "present", "unknown"],
            "reports": ["present", "present", "unknown"],
        }
        weather_ages = answer.freshness["feature:weather@v1"]
        assert weather_ages.ages == [76 * 60.0, 6 * 60.0, None]
        assert weather_ages.staleness == [60.0, 60.0, None]
        assert weather_ages.event_times[1] == NOON + 20 * MINUTE

    def test_names_of_two_views_may_be_equal(self, room: Workspace) -> None:
        room.features.materialize(until=NOON + 25 * MINUTE)
        twice, keys, now = ["weather:temp", "weather@v1"], [{"origin": "JFK"}], NOON + 26 * MINUTE
        with pytest.raises(InvalidInput, match="two features are called 'temp'"):
            room.features.look_up(twice, keys, time=now)
        named = room.features.look_up(["weather:temp", "recent:reports"], keys, time=now, full_names=True)
        assert list(named.columns()) == ["weather__temp", "recent__reports"]

    def test_a_list_keeps_the_views_it_was_recorded_with(self, room: Workspace) -> None:
        [made] = room.features.apply_lists([ev.feature_list("delay", ["weather:temp", "recent"])])
        assert made.features == ("weather@v1:temp", "recent@v1")
        other = ev.feature_view(
            "weather",
            entity=airport,
            source="weather",
            event_time="time",
            features=[ev.feature("temp", "temp * 0")],
        )
        room.features.apply([other])
        room.features.materialize(["weather@v1", "weather", "recent"], until=NOON + 25 * MINUTE)
        now = NOON + 26 * MINUTE
        answer = room.features.look_up_list("delay", [{"origin": "JFK"}], time=now)
        assert answer.columns() == {"temp": [52.0], "mean_temp": [51.0], "reports": [2]}
        newest = room.features.look_up(["weather:temp"], [{"origin": "JFK"}], time=now)
        assert newest.columns() == {"temp": [0.0]}
        with pytest.raises(NotFound, match="no feature list is called 'dely'"):
            room.features.look_up_list("dely", [{"origin": "JFK"}])
        with pytest.raises(NotFound, match="no feature 'tmp'"):
            room.features.apply_lists([ev.feature_list("delay", ["weather:tmp"])])

    def test_nothing_and_wrong_things_asked(self, room: Workspace) -> None:
        room.features.materialize(until=NOON + 25 * MINUTE)
        now = NOON + 26 * MINUTE
        assert room.features.get("weather", [], time=now) == []
        with pytest.raises(InvalidInput, match="no features are asked for"):
            room.features.look_up([], [{"origin": "JFK"}], time=now)
        with pytest.raises(NotFound, match="has no feature 'tmp'") as wrong:
            room.features.look_up(["weather:tmp"], [{"origin": "JFK"}], time=now)
        assert "'temp'" in wrong.value.hint
        with pytest.raises(InvalidInput, match="is not text"):
            room.features.get("weather", [{"origin": 7}], time=now)
        with pytest.raises(InvalidInput, match="not every entity has the key"):
            room.features.get("weather", [{"origin": "JFK"}, {}], time=now)


class TestOnDemand:
    @pytest.fixture
    def both(self, room: Workspace) -> Workspace:
        """A view in SQL and one in Python, from stored features and from the request."""
        by_sql = ev.on_demand_view(
            "warmer",
            request={"more": "double"},
            inputs={"weather:temp": "double"},
            features=[ev.feature("warmer", "temp + more"), ev.feature("asked", "more")],
        )

        @ev.on_demand_view(
            "doubled", request={}, inputs={"recent:mean_temp": "double"}, outputs={"doubled": "double"}
        )
        def doubled(mean_temp):  # type: ignore[no-untyped-def]
            return {"doubled": mean_temp * 2}

        room.features.apply([by_sql, doubled])
        room.features.materialize(until=NOON + 25 * MINUTE)
        return room

    def test_views_of_both_kinds_in_one_answer(self, both: Workspace) -> None:
        keys = [{"origin": "JFK", "more": 1.5}, {"origin": "XXX", "more": 2.0}]
        answer = both.features.ask(
            ["warmer", "weather:sky", "doubled:doubled"], keys, time=NOON + 26 * MINUTE
        )
        assert answer.columns() == {
            "sky": ["clear", None],
            "warmer": [53.5, None],
            "asked": [1.5, 2.0],
            "doubled": [102.0, None],
        }
        assert answer.freshness["feature:warmer@v1"].ages == [360.0, None]
        [made] = both.features.apply_lists([ev.feature_list("both", ["warmer:warmer", "weather:temp"])])
        assert made.features == ("warmer@v1:warmer", "weather@v1:temp")
        named = both.features.ask_list("both", keys[:1], time=NOON + 26 * MINUTE, full_names=True)
        assert named.columns() == {"weather__temp": [52.0], "warmer__warmer": [53.5]}

    def test_what_the_request_lacks_is_named(self, both: Workspace) -> None:
        now = NOON + 26 * MINUTE
        with pytest.raises(InvalidInput, match="needs 'more' with each entity"):
            both.features.ask(["warmer"], [{"origin": "JFK"}], time=now)
        with pytest.raises(InvalidInput, match="'more' does not fit"):
            both.features.ask(["warmer"], [{"origin": "JFK", "more": "much"}], time=now)
        assert both.features.ask(["warmer"], [{"origin": "JFK", "more": "3"}], time=now).columns() == {
            "warmer": [55.0],
            "asked": [3.0],
        }
        with pytest.raises(NotFound, match="has no feature 'warm'"):
            both.features.ask(["warmer:warm"], [{"origin": "JFK", "more": 1}], time=now)
        with pytest.raises(InvalidInput, match="is not run here"):
            both.features.ask(["doubled"], [{"origin": "JFK"}], time=now, code=False)
        with pytest.raises(
            InvalidInput, match="'warmer' is computed when it is asked for, of weather@v1:temp"
        ):
            both.features.look_up(["weather:temp", "warmer"], [{"origin": "JFK"}], time=now)


class TestWhatIsWritten:
    def test_only_entities_that_changed(self, room: Workspace) -> None:
        first = room.features.materialize(["weather"], until=NOON + 10 * MINUTE)[0]
        assert (first.entities, first.written, first.removed) == (2, 2, 0)
        again = room.features.materialize(["weather"], until=NOON + 30 * MINUTE)[0]
        assert (again.entities, again.written) == (2, 1)
        assert room.features.materialize(["weather"], until=NOON + 40 * MINUTE)[0].written == 0
        [row] = room.features.get("weather", [{"origin": "EWR"}], time=NOON + 41 * MINUTE)
        assert row.staleness == 60.0

    def test_what_was_read_before_is_not_read_again(
        self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workspace.data.add(reports(("JFK", 0, 50.0), ("EWR", 0, 60.0)), "weather")
        workspace.features.apply([weather])
        workspace.features.materialize(until=NOON + 10 * MINUTE)
        workspace.data.add(reports(("JFK", 20, 52.0), ("LGA", 20, 70.0)), "weather", append=True)

        def everything(*args: Any, **named: Any) -> Any:
            raise AssertionError("everything was read")

        with monkeypatch.context() as patched:
            patched.setattr(workspace.features, "stored_reader", everything)
            [done] = workspace.features.materialize(until=NOON + 30 * MINUTE)
            assert (done.entities, done.written, done.sources) == (3, 2, {"weather": "data:weather@v2"})
            [done] = workspace.features.materialize(until=NOON + 40 * MINUTE)
            assert (done.entities, done.written) == (3, 0)
            workspace.data.add(reports(("JFK", 60, 55.0)), "weather", append=True)
            assert workspace.features.materialize(until=NOON + 45 * MINUTE)[0].written == 0
            with pytest.raises(AssertionError):  # what was to become known later may be known now
                workspace.features.materialize(until=NOON + 70 * MINUTE)
        assert workspace.features.materialize(until=NOON + 70 * MINUTE)[0].written == 1
        workspace.data.add(reports(("JFK", 0, 1.0)), "weather")  # not an addition: other data
        [done] = workspace.features.materialize(until=NOON + 80 * MINUTE)
        assert done.entities == 1

    def test_a_version_is_forgotten(self, room: Workspace) -> None:
        room.features.materialize(until=NOON + 30 * MINUTE)
        assert room.features.forget_online("weather@v1")
        assert [each.reference for each in room.features.online_views()] == ["feature:recent@v1"]
        assert [each.reference for each in room.features.materialized()] == ["feature:recent@v1"]
        assert not room.features.forget_online("weather")
        with pytest.raises(NotFound):
            room.features.get("weather", [{"origin": "JFK"}])

    def test_values_of_every_type_come_back_as_they_were(self, workspace: LocalWorkspace) -> None:
        values = {
            "f": pa.array([1.5, None], pa.float32()),
            "i": pa.array([2**62, None], pa.int64()),
            "b": pa.array([True, None]),
            "s": pa.array(["ä", None]),
            "d": pa.array([date(2020, 2, 29), None]),
            "t": pa.array([NOON, None], INSTANT),
            "n": pa.array([NOON.replace(tzinfo=None), None], pa.timestamp("us")),
            "m": pa.array([Decimal("1.20"), None], pa.decimal128(9, 2)),
            "l": pa.array([[1.0, 2.0], None], pa.list_(pa.float64())),
            "x": pa.array([b"\xff", None], pa.binary()),
        }
        key = pa.array([date(2020, 1, 1), date(2020, 1, 2)])
        workspace.data.add(pa.table({"day": key, "time": pa.array([NOON] * 2, INSTANT), **values}), "typed")
        view = ev.feature_view(
            "typed",
            entity=ev.entity("day", keys=["day"]),
            source="typed",
            event_time="time",
            features=list(values),
        )
        workspace.features.apply([view])
        workspace.features.materialize(until=NOON)
        frame = pa.table({"day": key, "at": pa.array([NOON] * 2, INSTANT)})
        history = workspace.features.history(frame, ["typed"], time="at").to_pylist()
        online = workspace.features.get("typed", [{"day": row["day"]} for row in history], time=NOON)
        for past, now in zip(history, online, strict=True):
            assert now.values == {name: past[name] for name in values}


class TestPush:
    @pytest.fixture
    def late(self, room: Workspace, clock: FakeClock) -> Workspace:
        """Noon and half an hour; materialised ten minutes ago."""
        clock.now = NOON + 30 * MINUTE
        room.features.materialize(until=NOON + 20 * MINUTE)
        return room

    def online(self, room: Workspace, origin: str, view: str = "weather") -> Any:
        [row] = room.features.get(view, [{"origin": origin}])
        return row

    def history(self, room: Workspace, origins: list[str], clock: FakeClock) -> list[dict[str, Any]]:
        frame = pa.table({"origin": origins, "at": pa.array([clock.now] * len(origins), INSTANT)})
        answer: list[dict[str, Any]] = room.features.history(
            frame, ["weather", "recent"], time="at"
        ).to_pylist()
        return answer

    def test_rows_are_there_at_once_online_and_in_history(self, late: Workspace, clock: FakeClock) -> None:
        done = late.features.push("weather", reports(("JFK", 24, 70.0), ("LGA", 25, 71.0)))
        assert (done.data, done.rows, done.applied, done.older, done.waiting) == (
            "data:weather@v2",
            2,
            2,
            0,
            0,
        )
        assert (done.unchanged, done.left) == (False, [])
        row = self.online(late, "JFK")
        assert (row.values["temp"], row.event_time) == (70.0, NOON + 24 * MINUTE)
        assert row.staleness == pytest.approx(60, abs=1)  # known since minute 29
        for origin in ("JFK", "LGA", "EWR"):
            [known] = self.history(late, [origin], clock)
            for view in ("weather", "recent"):
                online = self.online(late, origin, view).values
                if view == "recent" and origin == "EWR":
                    continue  # nothing came for it: its windows are as of the materialisation
                assert online == {name: known[name] for name in online}

    def test_an_older_row_stays_in_history_only(self, late: Workspace, clock: FakeClock) -> None:
        done = late.features.push("weather", [{"origin": "JFK", "time": "2013-06-01T11:58:00Z", "temp": 1.0}])
        assert (done.applied, done.older) == (0, 1)
        assert self.online(late, "JFK").values["temp"] == 50.0
        assert self.history(late, ["JFK"], clock)[0]["reports"] == 3  # the row of 12:20 is known since 12:25

    def test_the_same_push_again_changes_nothing(self, late: Workspace) -> None:
        rows = reports(("JFK", 24, 70.0))
        late.features.push("weather", rows)
        again = late.features.push("weather", rows)
        assert (again.unchanged, again.data, again.applied) == (True, "data:weather@v2", 0)
        late.features.push("weather", reports(("JFK", 24, 80.0)))  # a correction of the same moment
        assert late.features.push("weather", rows).applied == 0  # and then the first once more
        assert self.online(late, "JFK").values["temp"] == 80.0

    def test_what_becomes_known_later_waits(self, late: Workspace, clock: FakeClock) -> None:
        done = late.features.push("weather", reports(("JFK", 29, 70.0)))
        assert (done.applied, done.waiting) == (0, 1)
        assert self.online(late, "JFK").values["temp"] == 50.0
        clock.now = NOON + 40 * MINUTE
        late.features.materialize(until=clock.now)
        assert self.online(late, "JFK").values["temp"] == 70.0

    def test_a_later_filling_as_of_before_keeps_it(self, late: Workspace) -> None:
        late.features.push("weather", reports(("JFK", 24, 70.0)))
        late.features.materialize(until=NOON + 26 * MINUTE)
        assert self.online(late, "JFK").values["temp"] == 70.0

    def test_every_stored_version_gets_it(self, late: Workspace) -> None:
        celsius = ev.feature_view(
            "weather",
            entity=airport,
            source="weather",
            event_time="time",
            features=[ev.feature("temp", "(temp - 32) / 1.8")],
        )
        joined = ev.feature_view(
            "joined",
            entity=airport,
            source="weather",
            event_time="time",
            sql="select origin, time, temp * 2 as double from weather",
            features=["double"],
        )
        late.features.apply([celsius, joined])
        late.features.materialize(["weather", "joined"], until=NOON + 20 * MINUTE)
        done = late.features.push("weather@v1", reports(("JFK", 24, 50.0)))
        assert done.left == ["feature:joined@v1"]
        assert self.online(late, "JFK", "weather@v1").values["temp"] == 50.0
        assert self.online(late, "JFK", "weather@v2").values["temp"] == pytest.approx(10)
        with pytest.raises(InvalidInput, match="query or code of its own"):
            late.features.push("joined", [{"origin": "JFK"}])

    def test_rows_that_do_not_fit_are_refused_whole(self, late: Workspace) -> None:
        good = {"origin": "JFK", "time": "2013-06-01T12:24:00Z", "temp": 1.0}
        for wrong, said in [
            ({"temp": "warm"}, "'temp' does not fit"),
            ({"tmp": 1.0}, "has no column 'tmp'"),
            ({"time": "2013-06-01T12:24:00"}, "not an instant"),
            ({"time": "noon"}, "'time' does not fit"),
        ]:
            with pytest.raises(InvalidInput, match=said):
                late.features.push("weather", [good, good | wrong])
        for rows, said in [
            ([], "no rows"),
            ([{"time": good["time"]}], "needs the key"),
            ("JFK", "is no table"),
        ]:
            with pytest.raises(InvalidInput, match=said):
                late.features.push("weather", rows)
        naive = reports(("JFK", 1, 1.0))
        naive = naive.set_column(1, "time", naive["time"].cast(pa.timestamp("us")))
        with pytest.raises(InvalidInput, match="without a zone"):
            late.features.push("weather", naive)
        assert late.data.version("weather").version == 1

    def test_a_views_sql_sees_its_data_only(self, late: Workspace, tmp_path: Path) -> None:
        """A push computes where the server is: what lies there is none of the view's business."""
        (tmp_path / "secret.txt").write_text("secret")
        nosy = ev.feature_view(
            "nosy",
            entity=airport,
            source="weather",
            event_time="time",
            features=[ev.feature("x", f"(select content from read_text('{tmp_path}/secret.txt'))")],
        )
        late.features.apply([nosy])
        row = {"origin": "JFK", "time": "2013-06-01T12:24:00Z"}
        with pytest.raises(InvalidInput, match="nosy"):
            late.features.push_rows(view="nosy", rows=[row])
        with pytest.raises(InvalidInput, match="nosy"):
            late.features.materialize(["nosy"], until=NOON + 20 * MINUTE)
        assert late.data.version("weather").version == 1

    def test_it_is_an_operation_too(self, late: Workspace) -> None:
        row = {"origin": "JFK", "time": "2013-06-01T12:24:00Z", "temp": 3.5}
        assert late.features.push_rows(view="weather", rows=[row]).applied == 1
        assert self.online(late, "JFK").values == {"temp": 3.5, "sky": None}


@pytest.fixture(scope="module")
def one_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, datetime]:
    """Where a workspace is that filled its online store from one report, and when it had."""
    project, clock = tmp_path_factory.mktemp("one report"), FakeClock(NOON + 30 * MINUTE)
    with LocalWorkspace(project, clock=clock) as made:
        made.data.add(reports(("A", 0, 50.0)), "weather")
        made.features.apply([weather, recent])
        made.features.materialize(until=NOON + 5 * MINUTE)
    return project, clock.now


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 40)), min_size=1, max_size=4), max_size=4
    )
)
@fewer(0.2)
def test_pushed_values_are_the_historical_ones(
    one_report: tuple[Path, datetime],
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[str, int]]],
) -> None:
    """Whatever comes in whatever order: what is online is what history says, also late rows and those of the future."""
    clock = FakeClock(one_report[1])
    with copied(one_report[0], tmp_path_factory.mktemp("pushed"), clock) as made:
        for number, batch in enumerate(batches):
            made.features.push("weather", reports(*[(o, m, number + m / 7) for o, m in batch]))
        frame = pa.table({"origin": list("ABC"), "at": pa.array([clock.now] * 3, INSTANT)})
        history = made.features.history(frame, ["weather"], time="at").to_pylist()
        online = made.features.get("weather", [{"origin": each} for each in "ABC"], time=clock.now)
        for past, now in zip(history, online, strict=True):
            assert now.values == {name: past[name] for name in now.values}


class TestCommands:
    """The commands as a user types them."""

    DEFINITIONS = """
import everloop as ev

airport = ev.entity("airport", keys=["origin"])
reports = ev.feature_view("reports", entity=airport, source="weather", event_time="time", features=["temp"])
more = ev.on_demand_view(
    "more", request={"add": "double"}, inputs={"reports:temp": "double"}, features=[ev.feature("sum", "temp + add")]
)
both = ev.feature_list("both", ["reports:temp", "more"])
"""

    @pytest.fixture
    def run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., Any]:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "views.py").write_text(self.DEFINITIONS)
        pq.write_table(reports(("JFK", 0, 50.0), ("EWR", 0, None)), tmp_path / "weather.parquet")

        def run(*arguments: str, code: int = 0) -> Any:
            assert main([*arguments, "--json"]) == code
            return json.loads(capsys.readouterr().out)

        run("data", "add", "weather.parquet", "--name", "weather")
        run("features", "apply", "views.py")
        return run

    def test_from_definitions_to_answers(self, run: Callable[..., Any], tmp_path: Path) -> None:
        [done] = run("features", "materialize", "--until", "2013-06-01T12:30:00Z")["materialized"]
        assert (done["entities"], done["written"]) == (2, 2)
        at = ("--time", "2013-06-01T12:40:00Z")
        [row] = run("features", "get", "reports", "origin=JFK", *at)["rows"]
        assert (row["values"], row["age"], row["staleness"]) == ({"temp": 50.0}, 2400.0, 600.0)
        first, second = run("features", "get", "--list", "both", "origin=JFK,add=1", "origin=EWR,add=2", *at)[
            "rows"
        ]
        assert first["values"] == {"temp": 50.0, "sum": 51.0}
        assert second["statuses"] == {"temp": "null", "sum": "null"}
        [row] = run("features", "get", "more", "origin=JFK,add=3", *at)["rows"]
        assert row["values"] == {"sum": 53.0}
        pq.write_table(reports(("JFK", 35, 60.0)), tmp_path / "new.parquet")
        pushed = run("features", "push", "reports", "new.parquet")
        assert (pushed["data"], pushed["applied"]) == ("data:weather@v2", 1)
        [row] = run("features", "get", "reports:temp,more:sum", "origin=JFK,add=1", *at)["rows"]
        assert row["values"] == {"temp": 60.0, "sum": 61.0}
        assert run("features", "forget", "reports@v1")["forgotten"]
        assert not run("features", "forget", "reports@v1", code=1)["forgotten"]

    def test_mistakes_get_a_sentence(self, run: Callable[..., Any]) -> None:
        assert (
            "nothing is in the online store"
            in run("features", "get", "reports", "origin=JFK", code=2)["error"]["message"]
        )
        assert (
            "no feature list"
            in run("features", "get", "--list", "all", "origin=JFK", code=2)["error"]["message"]
        )
        assert "no file" in run("features", "push", "reports", "none.csv", code=2)["error"]["message"]
