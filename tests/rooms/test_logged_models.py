"""Logged models: what a run logs is found, measured and kept; the search over them; the language of its filters."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from everloop.domain.logged_models import LoggedModelOrder, LoggedModelStatus, MeasuredPoint, ModelDataset
from everloop.domain.runs import ArtifactRecord
from everloop.errors import Conflict, InvalidInput, NotFound

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def point(model, key, value, step=0, dataset="", digest="", run=""):
    return MeasuredPoint.of(key, value, step, NOON + timedelta(seconds=step), model, run, dataset, digest)


def names(page):
    return [each.name for each in page.models]


@pytest.fixture
def zoo(workspace):
    """Four logged models; rmse is .5, NaN, 2 and not measured."""
    tracking = workspace.tracking
    made = {}
    for name, kind, params, tags in [
        ("a", "sklearn", {"lr": "0.1"}, {"team": "ops"}),
        ("b", "sklearn", {"lr": "0.2"}, {"team": "web"}),
        ("c", "xgboost", {}, {"mlflow.x": "1"}),
        ("d", "pyfunc", {}, {}),
    ]:
        made[name] = tracking.create_logged_model("0", name, kind, params=params, tags=tags).model_id
    tracking.measure_models(
        [
            point(made["a"], "rmse", 0.9, 0, "train", "1"),
            point(made["a"], "rmse", 0.5, 1, "eval", "2"),
            point(made["b"], "rmse", math.nan),
            point(made["c"], "rmse", 2.0, 0, "eval", "2"),
        ]
    )
    tracking.finish_logged_model(made["a"], LoggedModelStatus.READY)
    return made


def test_a_model_logged_by_everloop_is_a_logged_model_with_its_files(any_workspace):
    from sklearn.linear_model import LogisticRegression

    with any_workspace.tracking.start() as run:
        run.log_model(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), "models/best", example=np.eye(4))
    tracking = any_workspace.tracking
    (link,) = tracking.models_of_runs([run.run_id])
    model = tracking.logged_model(link.model_id)
    assert (model.name, model.kind, model.status) == ("models-best", "sklearn", "ready")
    assert (model.source_run, link.role) == (run.run_id, "output")
    in_run = {each.path.removeprefix("models/best/"): each.digest for each in tracking.artifacts(run.run_id)}
    assert {each.path: each.digest for each in tracking.logged_model_files(model.model_id)} == in_run
    assert "model.skops" in in_run


def test_params_are_written_once_tags_change_and_deleted_models_are_gone(any_workspace):
    tracking = any_workspace.tracking
    model = tracking.create_logged_model("Default", params={"lr": "0.1"}, tags={"team": "ops"})
    assert model.name.count("-") == 2, "a name was drawn at random"
    assert model.status is LoggedModelStatus.PENDING
    tracking.change_logged_model(model.model_id, params={"lr": "0.1", "depth": "3"}, tags={"team": "web"})
    with pytest.raises(Conflict, match=r"is '0.1' already, not '0.2'"):
        tracking.change_logged_model(model.model_id, params={"depth": "3", "lr": "0.2"}, tags={"a": "b"})
    changed = tracking.change_logged_model(model.model_id, remove_tags=["team"])
    assert (changed.params, changed.tags) == ({"lr": "0.1", "depth": "3"}, {})
    with pytest.raises(NotFound, match="has no tag 'team'"):
        tracking.change_logged_model(model.model_id, remove_tags=["team"])
    tracking.delete_logged_model(model.model_id)
    with pytest.raises(NotFound):
        tracking.logged_model(model.model_id)
    assert tracking.search_logged_models(["0"]).models == []


def test_a_point_said_twice_is_one_point_and_nan_comes_back(any_workspace):
    tracking = any_workspace.tracking
    model = tracking.create_logged_model("0").model_id
    points = [point(model, "loss", math.nan), point(model, "loss", math.inf, 1), point(model, "rmse", 0.1)]
    tracking.measure_models(points)
    tracking.measure_models([*points, point(model, "rmse", 0.2)])
    found = tracking.logged_model(model)
    assert [each.number for each in found.measured if each.key == "rmse"] == [0.1, 0.2]
    assert math.isnan(found.measured[0].number)
    assert found.metrics["loss"] == math.inf
    with pytest.raises(NotFound):
        tracking.measure_models([point("m-" + "0" * 32, "rmse", 1.0)])


def test_files_must_be_in_the_store_and_are_replaced(workspace):
    tracking = workspace.tracking
    model = tracking.create_logged_model("0").model_id
    stored = workspace.objects.put(b"flavors: {}")
    tracking.add_logged_model_files(model, [ArtifactRecord("MLmodel", stored.digest, stored.size)])
    other = workspace.objects.put(b"other")
    tracking.add_logged_model_files(model, [ArtifactRecord("MLmodel", other.digest, other.size)])
    assert [each.digest for each in tracking.logged_model_files(model)] == [other.digest]
    with pytest.raises(NotFound, match="not in the store"):
        tracking.add_logged_model_files(model, [ArtifactRecord("x", "0" * 64, 1)])
    with pytest.raises(InvalidInput, match="not a path"):
        tracking.add_logged_model_files(model, [ArtifactRecord("../x", other.digest, 1)])
    tracking.remove_logged_model_files(model, ["MLmodel"])
    assert tracking.logged_model_files(model) == []


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", "dcba"),
        ("name = 'a'", "a"),
        ("name != 'a' AND model_type = 'sklearn'", "b"),
        ("name LIKE 'A'", ""),
        ("name ILIKE 'A'", "a"),
        ("name IN ('a', 'c')", "ca"),
        ("name NOT IN ('a', 'c')", "db"),
        ("status = 'READY'", "a"),
        ("status = 'LOGGED_MODEL_PENDING'", "dcb"),
        ("metrics.rmse < 1", "a"),
        ("metrics.rmse != 0.7", "cba"),
        ("metrics.`rmse` > 0.6", "ca"),
        ("params.lr = '0.1'", "a"),
        ("params.lr != '0.1'", "b"),
        ("tags.team = 'ops'", "a"),
        ('tags.mlflow.x = "1"', "c"),
        ("creation_time > 0 AND last_updated_timestamp < 0", ""),
        ("status = 'UPLOAD_FAILED'", ""),
        ("name = 'a' OR tags.mlflow.x = '1'", "ca"),
        ("NOT (name = 'a' OR name = 'd')", "cb"),
        ("params.lr IS NULL", "dc"),
        ("params.lr > 0.15", "b"),
        ("params.lr < 0.15 AND params.lr LIKE '0%'", "a"),
        ("metrics.rmse IS NULL", "d"),
        ("not metrics.rmse < 1", "dcb"),
        ("max(metrics.rmse) < 1", "a"),
        ("first(metrics.rmse) > .8 and count(metrics.rmse) = 2", "a"),
        ("metrics.rmse - params.lr > .3", "a"),
        ("source_run_id IS NULL AND model_type IN ('pyfunc', 'xgboost')", "dc"),
    ],
)
def test_filters_over_logged_models(workspace, zoo, where, found):
    assert "".join(names(workspace.tracking.search_logged_models(["0"], where))) == found


def test_datasets_say_which_measurements_count(workspace, zoo):
    search = workspace.tracking.search_logged_models
    assert names(search(["0"], "metrics.rmse < 1", [ModelDataset("eval")])) == ["a"]
    assert names(search(["0"], "metrics.rmse < 1", [ModelDataset("eval", "9")])) == []
    assert names(search(["0"], "", [ModelDataset("eval", "2")])) == ["c", "a"]
    orders = [LoggedModelOrder("metrics.rmse", dataset=ModelDataset("train"))]
    assert names(search(["0"], "metrics.rmse > 0", order_by=orders)) == ["a", "c"]


def test_orders_put_nan_and_what_is_missing_last(workspace, zoo):
    search = workspace.tracking.search_logged_models
    assert names(search(["0"], order_by=[LoggedModelOrder("metrics.rmse")])) == ["a", "c", "b", "d"]
    assert names(search(["0"], order_by=[LoggedModelOrder("metrics.rmse", True)])) == ["c", "a", "b", "d"]
    assert names(search(["0"], order_by=[LoggedModelOrder("name")])) == ["a", "b", "c", "d"]
    assert names(search(["0"], order_by=[LoggedModelOrder("params.lr", True)])) == ["b", "a", "d", "c"]
    with pytest.raises(InvalidInput, match="a logged model has no attribute 'foo'"):
        search(["0"], order_by=[LoggedModelOrder("foo")])


def test_pages_walk_over_all_once_and_belong_to_their_search(workspace, zoo):
    search = workspace.tracking.search_logged_models
    first = search(["0"], limit=3)
    second = search(["0"], limit=3, page=first.next_page)
    assert names(first) + names(second) == ["d", "c", "b", "a"]
    assert second.next_page is None
    for page, where in ((first.next_page, "name = 'a'"), ("nonsense", ""), ("ä", "")):
        with pytest.raises(InvalidInput):
            search(["0"], where, limit=3, page=page)
    assert search(["99"]).models == []


@pytest.mark.parametrize(
    "where",
    [
        "name = 'a' AND",
        "name = 'a' OR",
        "(name = 'a'",
        "name == 'a'",
        "name = a",
        "name",
        "name = 'a",
        "name = 'a'; drop table runs",
        "metrics.rmse < '1'",
        "creation_time = 'now'",
        "params.lr IS",
        "foo.bar = 'x'",
        "foo = 'x'",
        "name BETWEEN 'a' AND 'b'",
        "'a' = name",
        "name IN ('a'",
        "tags. = 'a'",
        "name > 'a'",
    ],
)
def test_filters_that_mean_nothing_are_refused_with_their_place(workspace, zoo, where):
    with pytest.raises(InvalidInput, match="column"):
        workspace.tracking.search_logged_models(["0"], where)
