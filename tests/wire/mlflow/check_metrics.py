"""Metrics: numbers of all kinds, their histories, their limits."""

import math
import time
from typing import Any

import mlflow
import numpy as np
import pytest
from conftest import refused
from mlflow.entities import Metric, Param, RunTag


def test_not_a_number_and_infinities(client: Any, run: Any) -> None:
    for key, value in {
        "nan": math.nan,
        "up": math.inf,
        "down": -math.inf,
        "tiny": 5e-324,
        "big": 1.7e308,
    }.items():
        mlflow.log_metric(key, value, step=-3)
    found = client.get_run(run.info.run_id).data.metrics
    assert math.isnan(found["nan"])
    assert found["up"] > 1e308
    assert found["down"] < -1e308
    assert (found["tiny"], found["big"]) == (5e-324, 1.7e308)
    (point,) = client.get_metric_history(run.info.run_id, "nan")
    assert math.isnan(point.value)
    assert point.step == -3


def test_numbers_of_numpy_and_text(client: Any, run: Any) -> None:
    mlflow.log_metric("float32", np.float32(0.5))
    mlflow.log_metric("int", np.int64(2**40))
    mlflow.log_metric("flag", True)
    assert client.get_run(run.info.run_id).data.metrics == {"float32": 0.5, "int": 2**40, "flag": 1}
    with pytest.raises((TypeError, ValueError, mlflow.MlflowException)):  # the client itself says no
        client.log_metric(run.info.run_id, "bad", "abc")


def test_the_last_value_is_that_of_the_highest_step(client: Any, run: Any) -> None:
    run_id = run.info.run_id
    for value, step, stamp in [(1, 5, 10), (2, 7, 5), (3, 6, 20), (4, 7, 4)]:
        client.log_metric(run_id, "m", value, timestamp=stamp, step=step)
    found = client.get_run(run_id)
    assert found.data.metrics["m"] == 2
    (last,) = found.data._metric_objs
    assert (last.value, last.step, last.timestamp) == (2, 7, 5)
    assert [(each.timestamp, each.value) for each in client.get_metric_history(run_id, "m")] == [
        (4, 4), (5, 2), (10, 1), (20, 3)
    ]  # fmt: skip
    assert client.get_metric_history(run_id, "nothing") == []


def test_the_same_point_twice_is_one_point(client: Any, run: Any) -> None:
    run_id = run.info.run_id
    points = [
        Metric("m", value, stamp, step) for value, stamp, step in [(1, 1, 0), (2, 2, 1), (math.nan, 3, 2)]
    ]
    client.log_batch(run_id, points)
    client.log_batch(run_id, points)
    for _ in range(2):
        client.log_metric(run_id, "once", 1, timestamp=5, step=1)
    assert [each.step for each in client.get_metric_history(run_id, "m")] == [0, 1, 2]
    assert len(client.get_metric_history(run_id, "once")) == 1


@pytest.mark.newest  # the same endpoints for every client, and long
def test_more_points_than_a_page_come_back_in_order(client: Any, run: Any) -> None:
    run_id, count = run.info.run_id, 26_000  # a client asks for pages of 25,000
    for start in range(0, count, 1_000):
        steps = range(start, start + 1_000)
        client.log_batch(run_id, [Metric("loss", 1 / (step + 1), step, step) for step in steps])
    history = client.get_metric_history(run_id, "loss")
    assert [each.step for each in history] == list(range(count))
    assert all(each.value == 1 / (each.step + 1) for each in history)


def test_history_in_pages_sees_each_point_once(client: Any, run: Any) -> None:
    run_id = run.info.run_id
    client.log_batch(run_id, [Metric("m", 0, step // 10, step) for step in range(95)])
    seen, token = [], None
    while True:
        page = client._tracking_client.store.get_metric_history(run_id, "m", max_results=10, page_token=token)
        seen += [each.step for each in page]
        token = page.token
        if not token:
            break
    assert seen == list(range(95))


@pytest.mark.parametrize("key", ["val/loss", "a.b-c_d e", "точность", "損失", "x" * 250, "p:q"])
def test_keys_that_may_be(client: Any, run: Any, key: str) -> None:
    client.log_metric(run.info.run_id, key, 1, timestamp=1, step=2)
    client.log_param(run.info.run_id, key, "v")
    client.set_tag(run.info.run_id, key, "w")
    data = client.get_run(run.info.run_id).data
    assert (data.metrics[key], data.params[key], data.tags[key]) == (1, "v", "w")
    assert client.get_metric_history(run.info.run_id, key)[0].step == 2


@pytest.mark.parametrize(
    "key", ["x" * 251, "a@b", "a=b", "[x]", "../x", "a//b", "/a", "a/", ".", "a,b", "🚀"]
)
def test_keys_that_may_not(client: Any, run: Any, key: str) -> None:
    run_id = run.info.run_id
    for call in (
        lambda: client.log_metric(run_id, key, 1),
        lambda: client.log_param(run_id, key, 1),
        lambda: client.set_tag(run_id, key, 1),
        lambda: client.log_batch(run_id, [Metric(key, 1, 1, 0)]),
    ):
        refused(call)


def test_long_values(client: Any, run: Any) -> None:
    run_id = run.info.run_id
    client.log_param(run_id, "p6000", "x" * 6000)
    client.set_tag(run_id, "t8000", "x" * 8000)
    client.log_param(run_id, "p6001", "x" * 6001)
    client.set_tag(run_id, "t8001", "x" * 8001)
    client.log_batch(run_id, [], [Param("batch", "y" * 7000)], [RunTag("batch", "z" * 9000)])
    data = client.get_run(run_id).data
    assert {key: len(value) for key, value in data.params.items()} == {
        "p6000": 6000,
        "p6001": 6000,
        "batch": 6000,
    }
    assert (len(data.tags["t8000"]), len(data.tags["t8001"]), len(data.tags["batch"])) == (8000, 8000, 8000)


def test_batches_of_every_size(client: Any, run: Any) -> None:
    run_id, now = run.info.run_id, int(time.time() * 1000)
    store = client._tracking_client.store
    store.log_batch(run_id, [Metric("m", i, now, i) for i in range(1_000)], [], [])
    store.log_batch(run_id, [], [Param(f"p{i}", "1") for i in range(100)], [])
    store.log_batch(run_id, [], [], [RunTag(f"t{i}", "1") for i in range(100)])
    refused(lambda: store.log_batch(run_id, [Metric("m", i, now, i) for i in range(1_001)], [], []))
    refused(lambda: store.log_batch(run_id, [], [Param(f"q{i}", "1") for i in range(101)], []))
    refused(lambda: store.log_batch(run_id, [], [], [RunTag(f"u{i}", "1") for i in range(101)]))
    refused(
        lambda: store.log_batch(
            run_id, [Metric("n", i, now, i) for i in range(951)], [Param(f"r{i}", "1") for i in range(50)], []
        )
    )
    mlflow.log_metrics({f"k{i}": float(i) for i in range(1_200)}, step=1)
    data = client.get_run(run_id).data
    assert len(data.metrics) == 1_201
    assert "n" not in data.metrics
