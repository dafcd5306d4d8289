"""What was known at a moment: held against a slow, obvious loop, and against the ways in which features go wrong."""

import math
import random
import statistics
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everloop as ev
from everloop.domain.consumption import collecting
from everloop.domain.featureviews import FUNCTIONS, FeatureView, Function, ViewRecord
from everloop.errors import InvalidInput, NotFound
from everloop.features.history.reader import FeatureReader, Selected
from everloop.features.history.span import Span
from everloop.workspace.local import LocalWorkspace

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
MINUTE = timedelta(minutes=1)

sensor = ev.entity("sensor", keys=["city", "number"])
ROWS = pa.schema(
    [("city", pa.string()), ("number", pa.int64()), ("t", INSTANT), ("known", INSTANT), ("x", pa.float64())]
)
BY: tuple[Literal["known", "event"], ...] = ("known", "event")
AGGREGATES = {f"{function}_x_{by}": (function, by) for function in FUNCTIONS for by in BY}


def view(
    available: str = "known", ttl: str | None = None, over: str = "10min", min_count: int = 1
) -> FeatureView:
    return ev.feature_view(
        "readings",
        entity=sensor,
        source="readings",
        event_time="t",
        available=available,
        ttl=ttl,
        features=[
            "x",
            *(
                ev.aggregate(function, "x", over=over, name=name, min_count=min_count, by=by)
                for name, (function, by) in AGGREGATES.items()
            ),
        ],
    )


def reader(declared: FeatureView, rows: pa.Table, within: Span | None = None) -> FeatureReader:
    record = ViewRecord(
        reference="feature:readings@v1", name="readings", version=1, digest="", view=declared, created=NOON
    )
    selected = [Selected(record, each, each.name) for each in declared.features]
    return FeatureReader(selected, {"readings": "data:readings@v1"}, {"readings": rows}, within)


def slowly(
    declared: FeatureView, rows: list[dict[str, Any]], keys: tuple[Any, Any], moment: datetime | None
) -> dict[str, Any]:
    """The rules of `domain.featureviews` as one would say them to a colleague."""
    nothing: dict[str, Any] = dict.fromkeys(["x", *AGGREGATES])
    if moment is None or None in keys:
        return nothing
    counting = []
    for number, row in enumerate(rows):
        if (row["city"], row["number"]) != keys or row["t"] is None:
            continue
        created = row["t"] + declared.available_after if not declared.available else row["known"]
        known = row["t"] if created is None else max(row["t"], created)
        if known <= moment:
            oldest = datetime.min.replace(tzinfo=UTC)
            counting.append((row["t"], oldest if created is None else created, number, known, row["x"]))
    answer = dict(nothing)
    if counting:
        latest = max(counting, key=lambda each: each[:3])
        if declared.ttl is None or moment - latest[0] <= declared.ttl:
            answer["x"] = latest[4]
    after, smallest = moment - declared.aggregates[0].over, declared.aggregates[0].min_count
    for name, (function, by) in AGGREGATES.items():
        inside = sorted(
            (each for each in counting if (each[3] if by == "known" else each[0]) > after),
            key=lambda e: (e[3], e[0], e[1], e[2]),
        )
        values = [each[4] for each in inside if each[4] is not None and not math.isnan(each[4])]
        answer[name] = window_number(function, values, smallest)
    return answer


def window_number(function: Function, values: list[float], smallest: int) -> float | None:
    """A number of the values of a window, in the order in which they became known."""
    if function in ("count", "distinct"):
        count = len(values) if function == "count" else len(set(values))
        return count if len(values) >= smallest or smallest == 1 else None
    if len(values) < max(smallest, 2 if function == "std" else 1):
        return None
    match function:
        case "sum":
            return math.fsum(values)
        case "mean":
            return math.fsum(values) / len(values)
        case "std":
            return statistics.stdev(values)
        case "first" | "last":
            return values[0 if function == "first" else -1]
    return min(values) if function == "min" else max(values)


def same(mine: Any, theirs: Any) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return (math.isnan(mine) and math.isnan(theirs)) or math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-9)


moments = st.integers(-30, 30).map(lambda minutes: NOON + minutes * MINUTE)
cities = st.sampled_from(["NYC", "BOS", None])
numbers = st.sampled_from([1, 2, None])
values = st.one_of(st.none(), st.just(math.nan), st.integers(-3, 3).map(float), st.floats(-1e3, 1e3))
some_rows = st.lists(
    st.fixed_dictionaries(
        {
            "city": cities,
            "number": numbers,
            "t": st.none() | moments,
            "known": st.none() | moments,
            "x": values,
        }
    ),
    max_size=40,
)
some_questions = st.lists(
    st.fixed_dictionaries({"city": cities | st.just("LON"), "number": numbers, "at": st.none() | moments}),
    max_size=15,
)
views = st.builds(
    view,
    available=st.sampled_from(["known", "", "7min"]),
    ttl=st.sampled_from([None, "5min", "20min"]),
    over=st.sampled_from(["1min", "10min", "2h"]),
    min_count=st.sampled_from([1, 3]),
)


@given(views, some_rows, some_questions, st.integers(0, 40), st.integers(0, 40))
def test_history_is_what_a_slow_loop_says(
    declared: FeatureView,
    rows: list[dict[str, Any]],
    questions: list[dict[str, Any]],
    first: int,
    second: int,
) -> None:
    """Also when rows come in later: in the data they stand behind the others, whatever their times."""
    table = pa.Table.from_pylist(rows, ROWS)
    first, second = sorted((min(first, len(rows)), min(second, len(rows))))
    prepared = reader(declared, table.slice(0, first))
    prepared.extend("readings", table.slice(first, second - first))
    prepared.extend("readings", table.slice(second))
    frame = pa.Table.from_pylist(
        questions, pa.schema([("city", pa.string()), ("number", pa.int64()), ("at", INSTANT)])
    )
    answer = prepared.history(frame, time="at")
    assert answer.select(["city", "number", "at"]).equals(frame)
    for question, found in zip(questions, answer.to_pylist(), strict=True):
        expected = slowly(declared, rows, (question["city"], question["number"]), question["at"])
        assert all(same(found[name], value) for name, value in expected.items()), (found, expected)


@pytest.mark.parametrize("ttl", [None, "5min", "20min"])
@pytest.mark.parametrize("available", ["known", "", "7min"])
def test_only_rows_that_can_count_are_read_and_nothing_changes(available: str, ttl: str | None) -> None:
    chance = random.Random(7)
    near = [NOON + minute * MINUTE for minute in range(-40, 41)]
    rows = pa.Table.from_pylist(
        [
            {
                "city": chance.choice(["NYC", "BOS"]),
                "number": 1,
                "t": chance.choice(near),
                "known": chance.choice([*near, None]),
                "x": chance.choice([0.1, 0.7, 1.3, math.nan, None]),
            }
            for _ in range(300)
        ],
        ROWS,
    )
    declared = view(available=available, ttl=ttl, over="10min")
    every = reader(declared, rows)
    for first, last in [(0, 0), (-13, -13), (20, 20), (-5, 5)]:
        frame = asked(first, last)
        prepared = reader(declared, rows, Span.of(frame["at"]))
        answers = [each.history(frame, time="at").to_pylist() for each in (every, prepared)]
        assert repr(answers[0]) == repr(answers[1])
        read, there = (each.timeline("feature:readings@v1").moments()[0].size for each in (prepared, every))
        assert read < there
        with pytest.raises(InvalidInput, match="prepared for"):
            prepared.history(asked(first - 1), time="at")


@given(views, some_rows, some_questions, st.integers(0, 1000))
def test_no_row_sees_its_future(
    declared: FeatureView, rows: list[dict[str, Any]], questions: list[dict[str, Any]], seed: int
) -> None:
    """Whatever happens to rows that are later than a question by event or availability time, its answer stays, to the bit."""
    frame = pa.Table.from_pylist(
        questions, pa.schema([("city", pa.string()), ("number", pa.int64()), ("at", INSTANT)])
    )
    answers = reader(declared, pa.Table.from_pylist(rows, ROWS)).history(frame, time="at").to_pylist()
    for question, answer in zip(questions, answers, strict=True):
        if question["at"] is None:
            continue
        changed = []
        for row in rows:
            created = (
                row["t"] + declared.available_after if row["t"] and not declared.available else row["known"]
            )
            later = row["t"] is not None and max(row["t"], created or row["t"]) > question["at"]
            changed.append({**row, "x": seed / 7} if later else row)
        prepared = reader(declared, pa.Table.from_pylist(changed, ROWS))
        [again] = prepared.history(pa.Table.from_pylist([question], frame.schema), time="at").to_pylist()
        assert repr(again) == repr(answer)


def readings(*rows: tuple[int, int | None, float]) -> pa.Table:
    """Rows of NYC 1: minutes after noon when true, when known, and the value."""
    return pa.Table.from_pylist(
        [
            {
                "city": "NYC",
                "number": 1,
                "t": NOON + t * MINUTE,
                "known": None if k is None else NOON + k * MINUTE,
                "x": x,
            }
            for t, k, x in rows
        ],
        ROWS,
    )


def asked(*minutes: int) -> pa.Table:
    return pa.table(
        {
            "city": ["NYC"] * len(minutes),
            "number": [1] * len(minutes),
            "at": pa.array([NOON + m * MINUTE for m in minutes], INSTANT),
        }
    )


@pytest.mark.parametrize(
    ("rows", "minute", "expected"),
    [
        (readings((0, 30, 1.0)), 29, None),
        (readings((0, 30, 1.0)), 30, 1.0),
        (readings((0, 0, 1.0), (5, 20, 2.0)), 10, 1.0),
        (readings((0, 0, 1.0), (5, 20, 2.0)), 20, 2.0),
        (readings((5, 5, 2.0), (0, 9, 1.0)), 10, 2.0),
        (readings((0, 1, 1.0), (0, 3, 3.0), (0, 2, 2.0)), 10, 3.0),
        (readings((0, 0, 1.0), (0, None, 2.0)), 10, 1.0),
        (readings((0, 0, 1.0), (0, 0, 2.0)), 10, 2.0),
        (readings((10, 0, 1.0)), 5, None),
    ],
    ids=[
        "not yet known",
        "known at this instant",
        "the newer one is not known yet",
        "now it is",
        "late news of older times",
        "of one event time the one known last",
        "null availability is the oldest",
        "then the last in the data",
        "known before it is true",
    ],
)
def test_which_row_answers(rows: pa.Table, minute: int, expected: float | None) -> None:
    assert reader(view(), rows).history(asked(minute), time="at")["x"].to_pylist() == [expected]


def test_time_to_live_makes_null_and_its_end_is_fresh() -> None:
    answer = reader(view(ttl="10min"), readings((0, 0, 1.0))).history(asked(10, 11), time="at")
    assert answer["x"].to_pylist() == [1.0, None]


def test_numbers_are_over_numbers_and_anything_is_counted() -> None:
    """Infinities too, without a word on standard error; a mean of texts is refused before a row is read."""
    rows = pa.table(
        {
            "city": ["a"] * 4,
            "number": [1] * 4,
            "t": pa.array([NOON] * 4, INSTANT),
            "x": [math.inf, -math.inf, 1.0, None],
            "s": ["p", None, "", "p"],
        }
    )

    def asked_of(function: Function, expression: str) -> list[Any]:
        declared = ev.feature_view(
            "readings",
            entity=sensor,
            source="readings",
            event_time="t",
            features=[ev.aggregate(function, expression, over="1h", name="y")],
        )
        frame = pa.table({"city": ["a"], "number": [1], "t": pa.array([NOON], INSTANT)})
        return reader(declared, rows).history(frame, time="t")["y"].to_pylist()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [asked_of(each, "x") for each in ("max", "mean", "sum", "std")] == [
            [math.inf],
            [None],
            [None],
            [None],
        ]
    assert [asked_of("count", each) for each in ("s", "t", "x")] == [[3], [4], [3]]
    assert asked_of("distinct", "s") == [2]
    with pytest.raises(InvalidInput, match="feature 'y' is the mean of 's', which is varchar and no number"):
        asked_of("mean", "s")


class TestRoom:
    @pytest.fixture
    def room(self, workspace: LocalWorkspace) -> LocalWorkspace:
        workspace.data.add(readings((0, 1, 1.0), (5, 6, 5.0)), "readings")
        workspace.features.apply([view()])
        return workspace

    def test_rows_come_back_once_in_order_with_their_columns(self, room: LocalWorkspace) -> None:
        frame = asked(9, 2, 2, 0).append_column("mine", [["a", "b", "c", None]])
        with collecting() as seen:
            answer = room.features.history(frame, ["readings:x", "readings:count_x_known"], time="at")
        assert answer.column_names == ["city", "number", "at", "mine", "x", "count_x_known"]
        assert answer["mine"].to_pylist() == ["a", "b", "c", None]
        assert answer["x"].to_pylist() == [5.0, 1.0, 1.0, None]
        assert answer["count_x_known"].to_pylist() == [2, 1, 1, 0]
        assert list(seen) == ["data:readings@v1", "feature:readings@v1"]
        assert answer.schema.metadata[b"everloop.sources"] == b'{"readings": "data:readings@v1"}'

    def test_versions_are_pinned(self, room: LocalWorkspace) -> None:
        room.data.add(readings((0, 1, 10.0)), "readings")
        newest = room.features.history(asked(9), ["readings:x"], time="at")
        pinned = room.features.history(asked(9), ["readings:x"], time="at", at={"readings": 1})
        assert (newest["x"].to_pylist(), pinned["x"].to_pylist()) == ([10.0], [5.0])
        with pytest.raises(InvalidInput, match="no feature here reads 'reading'"):
            room.features.history(asked(9), ["readings:x"], time="at", at={"reading": 1})

    def test_a_reader_may_be_prepared_for_some_moments(self, room: LocalWorkspace) -> None:
        later = NOON + 5 * MINUTE
        prepared = room.features.prepare(["readings"], since=later)
        every = room.features.prepare(["readings"])
        frame = asked(5, 6, 100)
        assert prepared.history(frame, time="at").equals(every.history(frame, time="at"))
        with pytest.raises(InvalidInput, match=r"prepared for 2013-06-01 12:05:00\+00:00 to any time, and"):
            prepared.history(asked(4), time="at")
        with pytest.raises(InvalidInput, match="until 2013-06-01 12:05:00 has no time zone"):
            room.features.prepare(["readings"], until=later.replace(tzinfo=None))

    def test_an_old_version_of_a_view_still_answers(self, room: LocalWorkspace) -> None:
        changed = ev.feature_view(
            "readings",
            entity=sensor,
            source="readings",
            event_time="t",
            features=[ev.feature("x", "x * 100")],
        )
        assert [each.version for each in room.features.apply([changed])] == [2]
        assert [each.version for each in room.features.apply([changed])] == [2]
        assert room.features.history(asked(9), ["readings:x"], time="at")["x"].to_pylist() == [500.0]
        assert room.features.history(asked(9), ["readings@v1:x"], time="at")["x"].to_pylist() == [5.0]
        both = room.features.history(asked(9), ["readings@v1:count_x_known", "readings"], time="at")
        assert both.column_names[-2:] == ["count_x_known", "x"]

    def test_a_query_over_several_datasets(self, room: LocalWorkspace) -> None:
        room.data.add(pa.table({"city": ["NYC"], "height": [10]}), "cities")
        lifted = ev.feature_view(
            "lifted",
            entity=sensor,
            source=["readings", "cities"],
            sql="select * from readings join cities using (city)",
            event_time="t",
            available="known",
            features=[ev.feature("lifted", "x + height")],
        )
        room.features.apply([lifted])
        assert room.features.history(asked(9), ["lifted"], time="at")["lifted"].to_pylist() == [15.0]

    @pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
    def test_a_zone_is_a_way_of_writing(self, room: LocalWorkspace, zone: str) -> None:
        frame = asked(0, 1, 6)
        frame = frame.set_column(2, "at", frame["at"].cast(pa.timestamp("s", zone)))
        assert room.features.history(frame, ["readings:x"], time="at")["x"].to_pylist() == [None, 1.0, 5.0]

    def test_naive_times_are_refused(self, room: LocalWorkspace) -> None:
        frame = asked(1)
        naive = frame.set_column(2, "at", frame["at"].cast(pa.timestamp("us")))
        with pytest.raises(InvalidInput, match="not an instant with a time zone"):
            room.features.history(naive, ["readings:x"], time="at")
        view_of_naive = ev.feature_view(
            "n", entity=sensor, source="readings", event_time="t::timestamp", features=["x"]
        )
        room.features.apply([view_of_naive])
        with pytest.raises(
            InvalidInput, match="feature view 'n': the event time 't::timestamp' is TIMESTAMP,"
        ):
            room.features.history(frame, ["n:x"], time="at")

    def test_wrong_names_are_named(self, room: LocalWorkspace) -> None:
        with pytest.raises(NotFound, match="no feature 'y'") as wrong:
            room.features.history(asked(1), ["readings:y"], time="at")
        assert "count_x_known" in wrong.value.hint
        with pytest.raises(NotFound, match="no feature is called 'reading'") as wrong:
            room.features.history(asked(1), ["reading:x"], time="at")
        assert wrong.value.hint == "did you mean 'readings'?"
        with pytest.raises(InvalidInput, match="needs the key 'number'"):
            room.features.history(asked(1).drop(["number"]), ["readings:x"], time="at")
        with pytest.raises(InvalidInput, match="no column 'time'"):
            room.features.history(asked(1), ["readings:x"], time="time")
        with pytest.raises(InvalidInput, match="two features are called 'x'"):
            room.features.history(asked(1), ["readings:x", "readings@v1:x"], time="at")
        with pytest.raises(InvalidInput, match="the key 'number' is string"):
            frame = asked(1).set_column(1, "number", [["one"]])
            room.features.history(frame, ["readings:x"], time="at")
        room.features.apply(
            [
                ev.feature_view(
                    "bad",
                    entity=sensor,
                    source="readings",
                    event_time="t",
                    features=[ev.feature("y", "nothing + 1")],
                )
            ]
        )
        with pytest.raises(InvalidInput, match=r"feature view 'bad': .*nothing"):
            room.features.history(asked(1), ["bad:y"], time="at")
