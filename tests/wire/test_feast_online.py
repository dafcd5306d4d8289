"""What a service that asks a Feast server sees here: `POST /get-online-features` and the others."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest
from tests.support.workspaces import FakeClock, served

import everloop as ev
from everloop.workspace.local import LocalWorkspace

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

driver = ev.entity("driver", keys=["driver_id"])
stats = ev.feature_view(
    "driver_stats",
    entity=driver,
    source="driver_stats_source",
    event_time="event_timestamp",
    ttl="2h",
    features=["conv_rate", "trips", "name"],
)


@pytest.fixture
def feast(workspace: LocalWorkspace, clock: FakeClock) -> Iterator[httpx.Client]:
    clock.now = NOON
    hours = [1, 3, 1]
    table = pa.table(
        {
            "driver_id": pa.array([1001, 1002, 1003], pa.int64()),
            "event_timestamp": pa.array(
                [NOON - timedelta(hours=h) for h in hours], pa.timestamp("us", "UTC")
            ),
            "conv_rate": [0.5, 0.7, math.nan],
            "trips": pa.array([5, 7, None], pa.int64()),
            "name": ["a", "b", "c"],
        }
    )
    workspace.data.add(table, "driver_stats_source")
    workspace.features.apply([stats])
    workspace.features.apply_lists([ev.feature_list("driver_activity", ["driver_stats:trips"])])
    workspace.features.materialize(until=NOON - timedelta(minutes=30))
    with served(workspace) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def ask(feast: httpx.Client, **body: Any) -> Any:
    answer = feast.post("/get-online-features", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_one_result_for_each_name_and_one_value_for_each_entity(feast: httpx.Client) -> None:
    answer = ask(
        feast,
        features=["driver_stats:conv_rate", "driver_stats:trips"],
        entities={"driver_id": [1003, 1002, 1001, 9]},
    )
    assert answer["metadata"] == {"feature_names": ["driver_id", "conv_rate", "trips"]}
    keys, rate, trips = answer["results"]
    assert (keys["values"], keys["statuses"]) == ([1003, 1002, 1001, 9], ["PRESENT"] * 4)
    assert rate["values"] == ["NaN", None, 0.5, None]
    assert rate["statuses"] == ["PRESENT", "OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"]
    assert trips["values"] == [None, None, 5, None]
    assert trips["statuses"] == ["NULL_VALUE", "OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"]
    assert trips["event_timestamps"][2:] == ["2026-01-01T11:00:00Z", "1970-01-01T00:00:00Z"]


def test_services_and_full_names(feast: httpx.Client) -> None:
    answer = ask(
        feast, feature_service="driver_activity", entities={"driver_id": [1001]}, full_feature_names=True
    )
    assert answer["metadata"]["feature_names"] == ["driver_id", "driver_stats__trips"]
    assert answer["results"][1]["values"] == [5]


@pytest.mark.parametrize("source", ["driver_stats", "driver_stats_source"])
def test_pushed_rows_are_there(feast: httpx.Client, workspace: LocalWorkspace, source: str) -> None:
    df = {
        "driver_id": [1001],
        "event_timestamp": ["2026-01-01 11:55:00"],
        "conv_rate": [0.9],
        "trips": [9],
        "name": ["z"],
    }
    pushed = feast.post("/push", json={"push_source_name": source, "df": df, "to": "online_and_offline"})
    assert (pushed.status_code, pushed.json()) == (200, None)
    answer = ask(feast, features=["driver_stats:trips"], entities={"driver_id": [1001]})
    assert answer["results"][1]["values"] == [9]
    assert workspace.data.version("driver_stats_source").rows == 4
    more = {
        "feature_view_name": "driver_stats",
        "df": df | {"event_timestamp": ["2026-01-01T11:56:00Z"], "trips": [10]},
    }
    assert feast.post("/write-to-online-store", json=more).status_code == 200
    assert ask(feast, features=["driver_stats:trips"], entities={"driver_id": [1001]})["results"][1][
        "values"
    ] == [10]


def test_materializing_is_done_by_a_process_of_its_own(
    feast: httpx.Client, workspace: LocalWorkspace
) -> None:
    end = (NOON - timedelta(minutes=10)).replace(tzinfo=None).isoformat()
    done = feast.post("/materialize-incremental", json={"end_ts": end, "feature_views": ["driver_stats"]})
    assert done.status_code == 200, done.text
    assert workspace.features.online_views()[0].until == NOON - timedelta(minutes=10)
    before = (NOON - timedelta(days=3)).isoformat()
    again = feast.post("/materialize", json={"start_ts": before, "end_ts": before})
    assert (again.status_code, again.json()["error_type"]) == (400, "InvalidInput")
    assert "which is later" in again.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/get-online-features", {"features": ["driver_stats:trips"]}, 400),
        ("/get-online-features", {"features": ["driver_stats:trips"], "entities": {}}, 400),
        ("/get-online-features", {"features": ["driver_stats:trips"], "entities": {"driver_id": ["x"]}}, 400),
        ("/get-online-features", {"features": ["driver_stats:trips"], "entities": {"driver": [1]}}, 400),
        ("/get-online-features", {"features": ["driver_stats:trps"], "entities": {"driver_id": [1]}}, 404),
        ("/get-online-features", {"features": ["stats:trips"], "entities": {"driver_id": [1]}}, 404),
        (
            "/get-online-features",
            {"features": ["driver_stats:trips"], "entities": {"driver_id": [1], "b": []}},
            400,
        ),
        ("/get-online-features", {"features": [], "entities": {"driver_id": [1]}}, 400),
        ("/get-online-features", {"features": [":::"], "entities": {"driver_id": [1]}}, 400),
        ("/get-online-features", {"feature_service": "none", "entities": {"driver_id": [1]}}, 404),
        ("/get-online-features", [], 400),
        ("/push", {"push_source_name": "nothing", "df": {"driver_id": [1]}}, 404),
        ("/push", {"push_source_name": "driver_stats", "df": {}}, 400),
        ("/push", {"push_source_name": "driver_stats", "df": {"driver_id": ["x"]}, "to": "online"}, 400),
        ("/push", {"push_source_name": "driver_stats", "df": {"driver_id": [1]}, "to": "nowhere"}, 400),
        ("/write-to-online-store", {"feature_view_name": "no", "df": {}}, 404),
        ("/materialize", {"end_ts": "yesterday"}, 400),
        ("/materialize", {"end_ts": "2026-01-01", "feature_views": ["no"]}, 404),
    ],
)
def test_wrong_requests_are_answered_with_what_is_wrong(
    feast: httpx.Client, path: str, body: Any, status: int
) -> None:
    answer = feast.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert feast.get("/health").status_code == 200
