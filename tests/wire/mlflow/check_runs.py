"""Runs: started, named, nested, tagged, ended, taken up again, deleted, restored."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import pytest
from conftest import refused

NAMES = ["🚀 to the moon", "تشغيل رقم ١", "a/b: 100% & more?", "  spaces  ", "x" * 400]


def test_a_run_is_running_then_finished(client: Any, experiment: Any) -> None:
    with mlflow.start_run(run_name="first", tags={"team": "a"}, description="what for") as run:
        seen = client.get_run(run.info.run_id)
        assert (seen.info.status, seen.info.end_time, seen.info.run_name) == ("RUNNING", None, "first")
        assert seen.info.experiment_id == experiment.experiment_id
        assert seen.info.lifecycle_stage == "active"
    seen = client.get_run(run.info.run_id)
    assert seen.info.status == "FINISHED"
    assert seen.info.end_time >= seen.info.start_time
    assert seen.data.tags["mlflow.note.content"] == "what for"
    assert seen.data.tags["mlflow.runName"] == "first"
    assert seen.data.tags["team"] == "a"
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= set(seen.data.tags)
    assert seen.info.artifact_uri.endswith(f"/{run.info.run_id}/artifacts")


def test_a_run_without_a_name_gets_one(client: Any, experiment: Any) -> None:
    made = client.create_run(experiment.experiment_id)
    assert made.info.run_name
    assert client.get_run(made.info.run_id).data.tags["mlflow.runName"] == made.info.run_name


def test_name_and_tag_follow_each_other(client: Any, experiment: Any) -> None:
    run = client.create_run(experiment.experiment_id, run_name="one").info.run_id
    client.set_tag(run, "mlflow.runName", "two")
    assert client.get_run(run).info.run_name == "two"
    client.update_run(run, name="three")
    found = client.get_run(run)
    assert (found.info.run_name, found.data.tags["mlflow.runName"]) == ("three", "three")
    named = client.create_run(experiment.experiment_id, tags={"mlflow.runName": "by tag"})
    assert named.info.run_name == "by tag"
    refused(lambda: client.create_run(experiment.experiment_id, run_name="a", tags={"mlflow.runName": "b"}))


@pytest.mark.parametrize("name", NAMES)
def test_any_name(client: Any, experiment: Any, name: str) -> None:
    run = client.create_run(experiment.experiment_id, run_name=name, tags={"what": name}).info.run_id
    found = client.get_run(run)
    assert (found.info.run_name, found.data.tags["what"]) == (name, name)


def test_a_script_that_raises_fails(client: Any, experiment: Any) -> None:
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        mlflow.log_metric("before", 1)
        1 / 0  # noqa: B018
    found = client.get_run(run.info.run_id)
    assert (found.info.status, found.data.metrics) == ("FAILED", {"before": 1})


def test_status_and_end_are_as_said(client: Any, experiment: Any) -> None:
    run = client.create_run(experiment.experiment_id, start_time=1_000).info.run_id
    client.set_terminated(run, "KILLED", end_time=5_000)
    found = client.get_run(run).info
    assert (found.status, found.start_time, found.end_time) == ("KILLED", 1_000, 5_000)
    client.update_run(run, status="RUNNING")
    assert client.get_run(run).info.status == "RUNNING"
    refused(lambda: client.get_run("0" * 32), "RESOURCE_DOES_NOT_EXIST")
    refused(lambda: client.get_run("no-such-run"), "RESOURCE_DOES_NOT_EXIST")
    refused(lambda: client.get_run(run[:20]), "RESOURCE_DOES_NOT_EXIST")


def test_a_finished_run_is_taken_up_again(client: Any, experiment: Any) -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("alpha", 1)
    with mlflow.start_run(run_id=run.info.run_id):
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("late", 2)
    found = client.get_run(run.info.run_id)
    assert (found.info.status, found.data.metrics, found.data.params) == (
        "FINISHED",
        {"late": 2},
        {"alpha": "1"},
    )
    client.log_metric(run.info.run_id, "later", 3)  # what has ended still takes writes
    assert client.get_run(run.info.run_id).data.metrics["later"] == 3


def test_runs_within_runs(client: Any, experiment: Any) -> None:
    with (
        mlflow.start_run() as parent,
        mlflow.start_run(nested=True) as child,
        mlflow.start_run(nested=True) as grand,
    ):
        pass
    number = [experiment.experiment_id]
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert client.get_parent_run(grand.info.run_id).info.run_id == child.info.run_id
    found = client.search_runs(number, f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    assert [each.info.run_id for each in found] == [child.info.run_id]
    stray = client.create_run(experiment.experiment_id, tags={"mlflow.parentRunId": "not a run"})
    assert client.get_run(stray.info.run_id).data.tags["mlflow.parentRunId"] == "not a run"


def test_params_are_written_once(client: Any, run: Any) -> None:
    mlflow.log_param("alpha", 0.5)
    mlflow.log_param("alpha", 0.5)
    refused(
        lambda: client.log_param(run.info.run_id, "alpha", 0.6), match="Changing param values is not allowed"
    )
    mlflow.log_params({f"p{i}": i for i in range(250)} | {"empty": "", "ключ": "数値"})
    found = client.get_run(run.info.run_id).data.params
    assert len(found) == 253
    assert (found["alpha"], found["empty"], found["ключ"], found["p249"]) == ("0.5", "", "数値", "249")


def test_tags_are_set_and_taken_away(client: Any, run: Any) -> None:
    mlflow.set_tags({"a": "1", "b": "2", "mlflow.note.content": "# notes"})
    mlflow.set_tag("a", "3")
    mlflow.delete_tag("b")
    found = client.get_run(run.info.run_id).data.tags
    assert found["a"] == "3"
    assert "b" not in found
    assert found["mlflow.note.content"] == "# notes"
    refused(lambda: client.delete_tag(run.info.run_id, "b"), "RESOURCE_DOES_NOT_EXIST")


def test_a_batch_is_whole_or_not_at_all(client: Any, run: Any) -> None:
    from mlflow.entities import Metric, Param, RunTag

    run_id = run.info.run_id
    client.log_batch(run_id, [Metric("m", 1, 1, 0)], [Param("p", "1")], [RunTag("t", "1")])
    refused(lambda: client.log_batch(run_id, [Metric("other", 1, 1, 0)], [Param("p", "2")]))
    refused(lambda: client.log_batch(run_id, [], [Param("q", "1"), Param("q", "1")]))
    found = client.get_run(run_id).data
    assert (found.metrics, found.params) == ({"m": 1}, {"p": "1"})


def test_deleted_and_restored(client: Any, experiment: Any) -> None:
    run = client.create_run(experiment.experiment_id).info.run_id
    for _ in range(2):
        client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    for write in (
        lambda: client.log_metric(run, "m", 1),
        lambda: client.log_param(run, "p", 1),
        lambda: client.set_tag(run, "t", 1),
        lambda: client.set_terminated(run),
    ):
        refused(write, match="must be in the 'active' state")
    number = [experiment.experiment_id]
    assert client.search_runs(number) == []
    assert [each.info.run_id for each in client.search_runs(number, run_view_type=2)] == [run]
    for _ in range(2):
        client.restore_run(run)
    assert [each.info.run_id for each in client.search_runs(number)] == [run]


def test_datasets_are_logged_once(client: Any, experiment: Any) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, 2.5, 3.5]})
    dataset = mlflow.data.from_pandas(frame, name="flights")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="train", tags={"note": "first"})
        mlflow.log_input(dataset, context="eval")
        mlflow.log_input(mlflow.data.from_pandas(frame[:2], name="flights"), context="eval")
    inputs = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert {each.dataset.digest for each in inputs} == {
        dataset.digest,
        mlflow.data.from_pandas(frame[:2]).digest,
    }
    (first,) = [each for each in inputs if each.dataset.digest == dataset.digest]
    assert {each.key: each.value for each in first.tags} == {"mlflow.data.context": "train", "note": "first"}
    assert first.dataset.name == "flights"
    assert "mlflow_colspec" in first.dataset.schema
    found = client.search_runs(
        [experiment.experiment_id], "dataset.name = 'flights' and dataset.context = 'train'"
    )
    assert [each.info.run_id for each in found] == [run.info.run_id]


def test_logging_from_many_threads(client: Any, experiment: Any) -> None:
    run = client.create_run(experiment.experiment_id).info.run_id
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: client.log_metric(run, f"m{i % 4}", i, timestamp=i, step=i), range(80)))
    histories = [client.get_metric_history(run, f"m{i}") for i in range(4)]
    assert sorted(point.step for each in histories for point in each) == list(range(80))


def test_logging_in_the_background(client: Any, run: Any) -> None:
    for step in range(50):
        mlflow.log_metric("loss", step, step=step, synchronous=False)
    mlflow.log_params({"a": 1, "b": 2}, synchronous=False)
    mlflow.flush_async_logging()
    end = time.monotonic() + 20
    while len(client.get_metric_history(run.info.run_id, "loss")) < 50 and time.monotonic() < end:
        time.sleep(0.05)
    assert [each.step for each in client.get_metric_history(run.info.run_id, "loss")] == list(range(50))
