"""The truth that came later: late, twice, corrected, before its prediction, in any order: one final label a prediction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import fewer
from tests.support.streams import FIRST, MODEL, FedMonitoring, make_days, reference_table

from everloop.domain.deployments import SegmentRecord
from everloop.domain.ids import uuid7
from everloop.domain.monitors import DAY, monitor, outcome
from everloop.domain.times import EPOCH
from everloop.errors import InvalidInput, NotFound
from everloop.monitoring.actuals import INSTANT, latest, matched, normalised
from everloop.monitoring.matching import match
from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def room(workspace: LocalWorkspace) -> FedMonitoring:
    return FedMonitoring(workspace, make_days(1, 4, rows=120))


def test_labels_find_their_predictions_by_identifier(room: FedMonitoring) -> None:
    _, labels = room.days[FIRST]
    receipt = room.add_actuals("delay", labels)
    assert (receipt.matched, receipt.unmatched, receipt.duplicates) == (120, 0, 0)
    assert room.labels("delay", FIRST, FIRST + DAY).num_rows == 120


def test_the_same_batch_twice_is_taken_once(room: FedMonitoring) -> None:
    _, labels = room.days[FIRST]
    first = room.add_actuals("delay", labels)
    again = room.add_actuals("delay", labels)
    assert again.batch == first.batch
    assert (again.matched, again.duplicates) == (0, 120)


def test_rows_sent_again_in_another_batch_are_duplicates_and_changed_ones_corrections(
    room: FedMonitoring,
) -> None:
    _, labels = room.days[FIRST]
    room.add_actuals("delay", labels)
    flipped = 1 - np.asarray(labels["label"][:10])
    later = pa.table(
        {
            "prediction_id": labels["prediction_id"][:30],
            "label": pa.concat_arrays([pa.array(flipped), labels["label"][10:30].combine_chunks()]),
            "observed": pa.array([FIRST + 2 * DAY] * 30, pa.timestamp("us", tz="UTC")),
        }
    )
    receipt = room.add_actuals("delay", later)
    assert (receipt.duplicates, receipt.corrections, receipt.matched) == (20, 10, 10)
    found = dict(
        zip(
            *(
                room.labels("delay", FIRST, FIRST + DAY)[name].to_pylist()
                for name in ("prediction_id", "label")
            ),
            strict=True,
        )
    )
    assert [found[each] for each in labels["prediction_id"][:10].to_pylist()] == flipped.tolist()


def test_labels_by_key_take_the_newest_prediction_before_they_were_observed(room: FedMonitoring) -> None:
    given = pa.table(
        {
            "key": ["flight-3"],
            "label": [1.0],
            "observed": pa.array([FIRST + 1.5 * DAY], pa.timestamp("us", tz="UTC")),
        }
    )
    assert room.add_actuals("delay", given).matched == 1
    assert room.labels("delay", FIRST + DAY, FIRST + 2 * DAY).num_rows == 1


def test_labels_by_key_and_time_mean_that_prediction(room: FedMonitoring) -> None:
    log, _ = room.days[FIRST]
    given = pa.table({"key": log["key"][5:6], "time": log["time"][5:6], "label": [0.0]})
    receipt = room.add_actuals("delay", given, received=FIRST + 3 * DAY)
    assert receipt.matched == 1
    assert (
        room.labels("delay", FIRST, FIRST + DAY)["prediction_id"].to_pylist()
        == log["prediction_id"][5:6].to_pylist()
    )


MINUTES = st.integers(0, 5).map(lambda minute: FIRST + timedelta(minutes=minute))
KEYS = st.sampled_from(["a", "b", None])


@given(
    st.lists(st.tuples(KEYS, MINUTES), min_size=1, max_size=8),
    st.lists(st.tuples(KEYS, st.none() | MINUTES, st.none() | MINUTES), min_size=1, max_size=6),
)
def test_a_key_means_one_prediction_whatever_else_was_asked(
    made: list[tuple[str | None, datetime]], given: list[tuple[str | None, datetime | None, datetime | None]]
) -> None:
    """With a time the first of that moment, else the last made before the truth was seen."""
    predictions = pa.table(
        {
            "prediction_id": [str(number) for number in range(len(made))],
            "key": pa.array([key for key, _ in made], pa.string()),
            "time": pa.array([time for _, time in made], INSTANT),
        }
    )
    keys, times, seen = zip(*given, strict=True)
    labels = normalised(
        pa.table(
            {
                "key": pa.array(keys, pa.string()),
                "time": pa.array(times, INSTANT),
                "observed": pa.array(seen, INSTANT),
                "label": [1.0] * len(given),
            }
        )
    )
    expected = []
    for key, time, observed in given:
        of_key = [(when, number) for number, (known, when) in enumerate(made) if key and known == key]
        if time is not None:
            expected.append(next((str(number) for when, number in of_key if when == time), None))
        else:
            before = sorted(each for each in of_key if observed is None or each[0] <= observed)
            expected.append(str(before[-1][1]) if before else None)
    found = matched(labels, predictions, predictions["time"].combine_chunks())
    assert found["prediction_id"].to_pylist() == expected


def test_a_label_that_came_before_its_prediction_is_kept_and_matched_later(room: FedMonitoring) -> None:
    late = room.days.pop(FIRST + 3 * DAY)
    receipt = room.add_actuals("delay", late[1], received=FIRST + 4 * DAY)
    assert (receipt.matched, receipt.unmatched) == (0, 120)
    room.days[FIRST + 3 * DAY] = late
    assert room.labels("delay", FIRST + 3 * DAY, FIRST + 4 * DAY).num_rows == 120


def test_a_day_waits_for_its_labels_and_is_judged_without_those_that_never_come(room: FedMonitoring) -> None:
    room.declare(
        [monitor("loss", endpoint="delay", measure="excess_loss")],
        [outcome("delay", coverage=0.95, wait_days=2)],
    )
    room.set_reference(MODEL, reference_table(2, days=10, rows=120))
    _, labels = room.days[FIRST]
    room.add_actuals("delay", labels.slice(0, 100), received=FIRST + DAY)
    room.evaluate("delay", FIRST + DAY + timedelta(hours=1))
    (window,) = room.windows("delay")
    assert (window.status, window.labelled) == ("provisional", 100)
    room.evaluate("delay", FIRST + 3 * DAY)
    first = room.windows("delay")[0]
    assert (first.status, first.coverage) == ("final", pytest.approx(100 / 120))


@fewer(0.1)
@given(cuts=st.lists(st.integers(1, 9), max_size=3, unique=True), seed=st.integers(0, 5))
def test_looking_often_or_once_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], seed: int
) -> None:
    """Windows, results and alerts do not depend on when they were looked at, as far as the labels were there."""
    days = make_days(seed, 10, rows=110)
    states = []
    for looks in ([*sorted(cuts), 10], [10]):
        with LocalWorkspace(tmp_path_factory.mktemp("w")) as workspace:
            room = FedMonitoring(workspace, days)
            room.declare(
                [
                    monitor(each, endpoint="delay", measure=each)
                    for each in ("drift", "missing", "excess_loss")
                ]
            )
            room.set_reference(MODEL, reference_table(seed, days=10, rows=110))
            for _, labels in days.values():
                room.add_actuals("delay", labels, received=FIRST + DAY)
            for look in looks:
                room.evaluate("delay", FIRST + look * DAY)
            states.append((room.windows("delay"), room.results("delay")))
    assert states[0] == states[1]


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=12
    ),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_never_matters(rows: list[tuple[int, int, int]], order: object) -> None:
    """Each row: which prediction, what label, when observed."""
    received = datetime(2020, 1, 10, tzinfo=UTC)
    single = [
        (
            normalised(
                pa.table(
                    {
                        "prediction_id": [f"p{which}"],
                        "label": [float(label)],
                        "observed": pa.array(
                            [received - timedelta(hours=when)], pa.timestamp("us", tz="UTC")
                        ),
                    }
                )
            ),
            received,
        )
        for which, label, when in rows
    ]
    shuffled = list(single)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert latest(single)[0].to_pylist() == latest(shuffled)[0].to_pylist()


@pytest.mark.parametrize(
    ("table", "part"),
    [
        (pa.table({"prediction_id": ["a"], "truth": [1]}), "no column 'label'"),
        (pa.table({"label": [1.0]}), "which prediction"),
        (pa.table({"prediction_id": ["a"], "label": ["late"]}), "no numbers"),
        (pa.table({"prediction_id": ["a", "b"], "label": [1.0, float("nan")]}), "1 of 2 labels are missing"),
        (pa.table({"prediction_id": ["a", "b"], "label": [None, 1]}), "1 of 2 labels are missing"),
        (
            pa.table({"prediction_id": ["a"], "label": [1], "observed": ["2020-01-01T00:00:00"]}),
            "no time zone",
        ),
    ],
)
def test_what_cannot_be_labels_is_refused_with_the_reason(
    room: FedMonitoring, table: pa.Table, part: str
) -> None:
    with pytest.raises(InvalidInput, match=part):
        room.add_actuals("delay", table)


def test_a_missing_file_is_named(room: FedMonitoring, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"labels\.csv"):
        room.add_actuals("delay", tmp_path / "labels.csv")


def test_labels_come_from_a_csv_file(room: FedMonitoring, tmp_path: Path) -> None:
    log, _ = room.days[FIRST]
    path = tmp_path / "labels.csv"
    path.write_text(
        "prediction_id,label\n" + "".join(f"{each},1\n" for each in log["prediction_id"][:3].to_pylist())
    )
    assert room.add_actuals("delay", str(path), received=FIRST + DAY).matched == 3


LATE = [40, 400, 4000]
"""Days after which a truth came."""


@pytest.mark.parametrize("days", LATE)
@pytest.mark.parametrize("named", [["prediction_id"], ["key"], ["key", "time"]])
def test_labels_find_their_predictions_however_old_those_are(
    room: FedMonitoring, days: int, named: list[str]
) -> None:
    log, labels = room.days[FIRST]
    given = log.select(named).append_column("label", labels["label"])
    came = pa.array([FIRST + days * DAY] * log.num_rows, pa.timestamp("us", tz="UTC"))
    receipt = room.add_actuals("delay", given.append_column("observed", came), received=FIRST + days * DAY)
    assert (receipt.matched, receipt.unmatched) == (log.num_rows, 0)
    newest = FIRST if named != ["key"] else max(room.days)
    assert room.labels("delay", newest, newest + DAY).num_rows == log.num_rows


def test_old_identifiers_lead_to_their_part_of_the_log_and_nothing_else_is_read() -> None:
    """A year of parts, one a day; labels of one old day need the newest days and that one."""
    asked: list[tuple[datetime, datetime]] = []
    starts = [FIRST + day * DAY for day in range(365)]

    def part(start: datetime) -> pa.Table:
        times = [start + timedelta(minutes=minute) for minute in range(100)]
        return pa.table(
            {
                "prediction_id": [uuid7(time, bytes(10)) for time in times],
                "key": pa.nulls(100, pa.string()),
                "time": pa.array(times, INSTANT),
            }
        )

    def answers(since: datetime, until: datetime) -> pa.Table:
        asked.append((since, until))
        return pa.concat_tables([part(each) for each in starts if since <= each < until] or [part(FIRST)[:0]])

    def segments() -> list[SegmentRecord]:
        return [
            SegmentRecord("", "delay", "", 0, 100, start, start + DAY / 2, start, start + DAY / 2, {})
            for start in starts
        ]

    given = normalised(pa.table({"prediction_id": part(starts[20])["prediction_id"], "label": [1.0] * 100}))
    found = match(given, starts[-1] + DAY, outcome("delay"), answers, segments)
    assert found["day"].null_count == 0
    older = [each for each in asked if each[0] < starts[-1] - 31 * DAY]
    assert older == [(starts[20], starts[20] + DAY / 2 + timedelta(microseconds=1))]


def test_what_was_never_asked_is_unmatched_after_the_whole_log(room: FedMonitoring) -> None:
    room.looked.clear()
    given = pa.table({"prediction_id": ["f" * 32, "nobody's"], "label": [1.0, 0.0]})
    receipt = room.add_actuals("delay", given, received=FIRST + 90 * DAY)
    assert (receipt.matched, receipt.unmatched) == (0, 2)
    covered = sorted((since, until) for since, until in room.looked if since is not None)
    assert covered[0][0] == EPOCH
    assert all(until >= since for (_, until), (since, _) in pairwise(covered))
