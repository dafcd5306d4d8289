"""Search: MLflow's own results for its own language, pages, and what the clients make of them."""

import math
from typing import Any

import mlflow
import pytest
from conftest import refused


@pytest.fixture(scope="module")
def six() -> Any:
    """Runs A to F in an experiment of their own, and a function from a filter and an order to their letters."""
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("six runs for the search")
    given: dict[str, Any] = {
        "A": (1, {"rmse": 0.5, "m x": 1}, {"model": "tree", "lr": "0.1"}, {"t": "v", "a.b": "q"}),
        "B": (2, {"rmse": math.nan}, {"model": "Tree"}, {}),
        "C": (3, {"rmse": math.inf}, {"model": "linear"}, {"t": "w"}),
        "D": (4, {}, {"model": "tree"}, {}),
        "E": (5, {"rmse": -math.inf}, {}, {}),
        "F": (5, {"rmse": 0.9}, {}, {}),
    }
    ids = {}
    for name, (start, metrics, params, tags) in given.items():
        run = client.create_run(experiment, start_time=start, run_name=name, tags=tags).info.run_id
        ids[run] = name
        for key, value in metrics.items():
            client.log_metric(run, key, value)
        for key, value in params.items():
            client.log_param(run, key, value)

    def search(filter_string: str = "", order_by: Any = None, **kwargs: Any) -> str:
        found = client.search_runs([experiment], filter_string, order_by=order_by, **kwargs)
        return "".join(ids[each.info.run_id] for each in found)

    search.experiment = experiment  # type: ignore[attr-defined]
    return search


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", "FEDCBA"),
        ('metrics.rmse < 1 and params.model = "tree"', "A"),
        ("metrics.rmse < 1", "FEA"),
        ("metrics.rmse > -1", "FCA"),
        ("metrics.rmse != 0.5", "FECB"),
        ("metrics.`m x` = 1", "A"),
        ('metrics."m x" = 1', "A"),
        ("params.model = 'tree'", "DA"),
        ("params.model != 'tree'", "CB"),
        ("params.model LIKE 'tr%'", "DA"),
        ("params.model ILIKE 'tr%'", "DBA"),
        ("params.model LIKE 't_ee'", "DA"),
        ("params.lr IS NULL", "FEDCB"),
        ("params.lr IS NOT NULL", "A"),
        ("tags.t IS NULL", "FEDB"),
        ("attributes.artifact_uri LIKE '%/artifacts' AND metrics.rmse < 0.6", "EA"),
        ("tags.a.b = 'q'", "A"),
        ("tags.`a.b` = 'q'", "A"),
        ('tags."a.b" = "q"', "A"),
        ("\"Run name\" = 'A'", "A"),
        ("run_name = 'A'", "A"),
        ("attributes.run_name LIKE '%A%'", "A"),
        ("tags.mlflow.runName = 'B'", "B"),
        ("start_time = 2", "B"),
        ("Created < 3", "BA"),
        ("end_time > 0", ""),
        ("parameters.model = 'linear' AND attr.status = 'RUNNING'", "C"),
        ("metric.rmse < 1 and param.model = 'tree' and tag.t = 'v'", "A"),
    ],
)
def test_what_mlflow_finds(six: Any, where: str, found: str) -> None:
    answer = six(where)
    assert sorted(answer) == sorted(found)
    assert answer in (
        found,
        found.replace("FE", "EF"),
    )  # E and F started at the same time: either may come first


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (["metrics.rmse"], "EAFCBD"),
        (["metrics.rmse DESC"], "CFAEBD"),
        (["metrics.rmse ASC", "start_time DESC"], "EAFCBD"),
        (["params.lr"], "AFEDCB"),
        (["params.model DESC"], "DACBFE"),
        (["tags.t"], "ACFEDB"),
        (["attributes.start_time ASC"], "ABCDFE"),
        (["metrics.nope"], "FEDCBA"),
        (["`run name` ASC"], "ABCDEF"),
    ],
)
def test_the_order_of_mlflow(six: Any, order: list[str], found: str) -> None:
    assert six(order_by=order) in (found, found.replace("FE", "EF"))


@pytest.mark.parametrize(
    "where",
    [
        "params.model == 'tree'", "1 > metrics.rmse;", "metrics.rmse < '1'", "params.model = tree", "nonsense.key = 1",
        "lifecycle_stage = 'active'", "metrics.rmse <", "params.model = 'tree", "metrics.rmse BETWEEN 1 AND 2",
    ],
)  # fmt: skip
def test_what_is_no_filter(six: Any, where: str) -> None:
    refused(lambda: six(where))


@pytest.mark.parametrize("order", [["duration"], ["foo"], ["metrics.rmse BAD"]])
def test_what_is_no_order(six: Any, order: list[str]) -> None:
    refused(lambda: six(order_by=order))


def test_more_than_mlflow_finds(six: Any) -> None:
    assert sorted(six("metrics.rmse = 0.5 OR (params.model = 'linear' AND NOT tags.t = 'v')")) == ["A", "C"]
    assert six("params.model IN ('linear', 'other')") == "C"
    assert six(order_by=["metrics.rmse", "metrics.rmse DESC"]) == six(order_by=["metrics.rmse"])


def test_pages_see_each_run_once(six: Any) -> None:
    client = mlflow.MlflowClient()
    for order in (None, ["metrics.rmse"], ["params.model DESC"]):
        seen, token = [], None
        for _ in range(10):
            page = client.search_runs([six.experiment], max_results=2, page_token=token, order_by=order)
            seen += [each.info.run_name for each in page]
            token = page.token
            if not token:
                break
        assert "".join(seen) == six(order_by=order)
    refused(lambda: client.search_runs([six.experiment], page_token="not base64!"))


def test_sizes_of_pages(six: Any) -> None:
    client = mlflow.MlflowClient()
    assert len(client.search_runs([six.experiment], max_results=50_000)) == 6
    refused(lambda: client.search_runs([six.experiment], max_results=50_001))
    refused(lambda: client.search_runs([six.experiment], max_results=0))


def test_experiments_that_are_not_there_have_no_runs(six: Any) -> None:
    client = mlflow.MlflowClient()
    assert client.search_runs(["987654321"]) == []
    assert len(client.search_runs(["987654321", six.experiment])) == 6
    assert client.search_runs([]) == []


def test_several_experiments_in_one_search(six: Any, fresh: str) -> None:
    client = mlflow.MlflowClient()
    other = client.create_experiment(fresh)
    run = client.create_run(other, start_time=100)
    found = client.search_runs([six.experiment, other])
    assert len(found) == 7
    assert found[0].info.run_id == run.info.run_id


def test_as_a_frame(six: Any) -> None:
    frame = mlflow.search_runs([six.experiment], order_by=["metrics.rmse"])
    assert len(frame) == 6
    assert list(frame["tags.mlflow.runName"]) == list("EAFCBD")
    assert frame["metrics.m x"].dtype == "float64"
    assert set(frame["params.model"].dropna()) == {"tree", "Tree", "linear"}
    assert mlflow.search_runs(["987654321"]).empty


def test_experiments_are_found(client: Any, fresh: str) -> None:
    names = [f"{fresh} {letter}" for letter in "abc"]
    ids = [client.create_experiment(name, tags={"letter": name[-1]}) for name in names]

    def search(where: str, **kwargs: Any) -> list[str]:
        return [each.name[-1] for each in client.search_experiments(filter_string=where, **kwargs)]

    like = f"name LIKE '{fresh} %'"
    assert search(like) == ["c", "b", "a"]
    assert search(like, order_by=["name"]) == ["a", "b", "c"]
    assert search(like, order_by=["experiment_id DESC"]) == ["c", "b", "a"]
    assert search(f"{like} AND tags.letter = 'b'") == ["b"]
    assert search(f"{like} AND tag.letter != 'b'", order_by=["creation_time ASC"]) == ["a", "c"]
    assert search(f"attribute.name = '{names[0]}'") == ["a"]
    assert search(f"name ILIKE '{fresh.upper()} %'", max_results=2) == ["c", "b"]
    client.delete_experiment(ids[0])
    assert search(like) == ["c", "b"]
    assert search(like, view_type=2) == ["a"]
    assert search(like, view_type=3) == ["c", "b", "a"]
    page = client.search_experiments(filter_string=like, view_type=3, max_results=2)
    rest = client.search_experiments(filter_string=like, view_type=3, max_results=2, page_token=page.token)
    assert ([each.name[-1] for each in rest], rest.token) == (["a"], None) or not rest.token
    for where in ("name = 3", "nonsense = 'x'", "metrics.m = 1", "name ="):
        refused(lambda where=where: client.search_experiments(filter_string=where))
    refused(lambda: client.search_experiments(order_by=["tags.letter"]))
    refused(lambda: client.search_experiments(max_results=50_001))
