"""Models: logged, found, loaded by every form of their address, registered from them; the same answers each time."""

import json
import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import refused
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

ROWS = pd.DataFrame({"temp": [60.0, 40.0, 75.0, 50.0, 66.0], "wind": [5.0, 20.0, 1.0, 12.0, 9.0]})
LATE = np.array([0, 1, 0, 1, 1])
MLFLOW_2 = mlflow.__version__.startswith("2.")
NAMED = "artifact_path" if MLFLOW_2 else "name"


@pytest.fixture
def model() -> LogisticRegression:
    return LogisticRegression(C=0.5).fit(ROWS, LATE)


def logged(model: Any, name: str = "model", **more: Any) -> Any:
    # Given, the requirements need not be found out by loading the model in a process of its own.
    requirements = ["scikit-learn", "skops"]
    return mlflow.sklearn.log_model(
        model, input_example=ROWS, pip_requirements=requirements, **{NAMED: name}, **more
    )


def same(loaded: Any, model: LogisticRegression) -> bool:
    return bool(np.array_equal(loaded.predict_proba(ROWS), model.predict_proba(ROWS)))


def test_every_form_of_address_loads_the_same_model(client: Any, run: Any, fresh: str, model: Any) -> None:
    info = logged(model, registered_model_name=fresh)
    client.set_registered_model_alias(fresh, "best-one", 1)
    client.transition_model_version_stage(fresh, 1, "production")
    forms = [f"runs:/{run.info.run_id}/model", info.model_uri]
    forms += [f"models:/{fresh}/{each}" for each in ("1", "latest", "Production")]
    forms += [f"models:/{fresh}@best-one"]
    forms += [] if MLFLOW_2 else [f"models:/{info.model_id}"]
    for form in forms:
        assert same(mlflow.sklearn.load_model(form), model), form
        assert mlflow.pyfunc.load_model(form).predict(ROWS).tolist() == model.predict(ROWS).tolist(), form


def test_a_logged_model_has_the_files_and_signature(client: Any, run: Any, model: Any, folder: Path) -> None:
    info = logged(model)
    found = mlflow.models.get_model_info(info.model_uri)
    assert [each.name for each in found.signature.inputs] == ["temp", "wind"]
    where = Path(mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(folder)))
    assert {"MLmodel", "requirements.txt", "conda.yaml", "python_env.yaml"} <= set(os.listdir(where))
    assert found.model_uuid in (where / "MLmodel").read_text()


def test_registering_a_run_s_model_again_adds_a_version(
    client: Any, run: Any, fresh: str, model: Any
) -> None:
    logged(model)
    first = mlflow.register_model(f"runs:/{run.info.run_id}/model", fresh, tags={"team": "a"})
    second = mlflow.register_model(f"runs:/{run.info.run_id}/model", fresh)
    assert (first.version, second.version, first.status) == ("1", "2", "READY") or (
        int(first.version),
        int(second.version),
    ) == (1, 2)
    found = client.get_model_version(fresh, "1")
    assert (found.run_id, found.tags) == (run.info.run_id, {"team": "a"})
    assert same(mlflow.sklearn.load_model(f"models:/{fresh}/2"), model)


def test_a_version_stays_what_was_registered(client: Any, run: Any, fresh: str, model: Any) -> None:
    """Whatever becomes of the run's files afterwards."""
    logged(model, registered_model_name=fresh)
    other = LogisticRegression(C=9.0).fit(ROWS, 1 - LATE)
    logged(other)
    mlflow.end_run()
    client.delete_run(run.info.run_id)
    assert same(mlflow.sklearn.load_model(f"models:/{fresh}/1"), model)


def test_a_run_without_that_model_says_so(run: Any, model: Any) -> None:
    logged(model)
    with pytest.raises(MlflowException):
        mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/other")


def test_a_pickled_model_comes_back_as_it_was(run: Any, model: Any) -> None:
    info = logged(model, serialization_format="cloudpickle")
    assert same(mlflow.sklearn.load_model(info.model_uri), model)


@pytest.mark.newest
def test_a_logged_model_knows_its_run_parameters_and_metrics(client: Any, run: Any, model: Any) -> None:
    mlflow.log_params({f"p{number}": number for number in range(130)})
    mlflow.log_metric("before", 0.5)
    info = logged(model)
    mlflow.log_metric("after", 0.25, model_id=info.model_id)
    mlflow.log_metric("on data", float("nan"), model_id=info.model_id, dataset=mlflow.data.from_pandas(ROWS))
    found = mlflow.get_logged_model(info.model_id)
    assert (found.name, found.source_run_id, str(found.status)) == ("model", run.info.run_id, "READY")
    assert len(found.params) == 130
    assert {each.key: each.value for each in found.metrics if each.key != "on data"} == {
        "before": 0.5,
        "after": 0.25,
    }
    seen = next(each for each in found.metrics if each.key == "on data")
    assert np.isnan(seen.value)
    assert seen.dataset_name == "dataset"
    assert [each.value for each in client.get_metric_history(run.info.run_id, "before")] == [0.5]
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    assert [each.model_id for each in outputs] == [info.model_id]


@pytest.mark.newest
def test_tags_and_params_of_a_logged_model(client: Any, run: Any, model: Any) -> None:
    info = logged(model)
    client.set_logged_model_tags(info.model_id, {"team": "a", "x/y": "z"})
    client.delete_logged_model_tag(info.model_id, "x/y")
    client.log_model_params(info.model_id, {"depth": "3"})
    refused(lambda: client.log_model_params(info.model_id, {"depth": "4"}))
    refused(lambda: client.delete_logged_model_tag(info.model_id, "nope"), "RESOURCE_DOES_NOT_EXIST")
    found = client.get_logged_model(info.model_id)
    assert (found.tags["team"], "x/y" in found.tags, found.params["depth"]) == ("a", False, "3")
    client.delete_logged_model(info.model_id)
    refused(lambda: client.get_logged_model(info.model_id), "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.newest
def test_a_model_that_lives_elsewhere(client: Any, experiment: Any) -> None:
    made = mlflow.create_external_model(name="elsewhere", model_type="agent", params={"a": "b"})
    found = mlflow.get_logged_model(made.model_id)
    assert (found.name, found.model_type, found.params) == ("elsewhere", "agent", {"a": "b"})
    with mlflow.start_run():
        mlflow.log_metric("judged", 0.9, model_id=made.model_id)
    assert [each.value for each in mlflow.get_logged_model(made.model_id).metrics] == [0.9]


@pytest.mark.newest
def test_logged_models_are_searched_ordered_and_paged(client: Any, experiment: Any, model: Any) -> None:
    made = {}
    for name, value in (("a", 0.3), ("b", 0.1), ("c", None), ("d", float("nan"))):
        with mlflow.start_run():
            created = mlflow.initialize_logged_model(name=name, model_type="tree", tags={"n": name})
            made[name] = mlflow.finalize_logged_model(created.model_id, "READY").model_id
            if value is not None:
                mlflow.log_metric("loss", value, model_id=made[name])
    here = [experiment.experiment_id]

    def found(where: str = "", **more: Any) -> str:
        page = client.search_logged_models(here, filter_string=where, **more)
        return "".join(each.name for each in page)

    assert found() == "dcba"
    assert found("name = 'a'") == "a"
    assert found("metrics.loss < 0.2") == "b"
    assert found("status = 'READY' AND tags.n IN ('a', 'c')") == "ca"
    assert found("model_type ILIKE 'TR%' AND tags.n != 'a'") == "dcb"
    assert found("name = 'a' OR (metrics.loss IS NULL AND NOT name = 'd')") == "ca"
    by_loss = [{"field_name": "metrics.loss", "ascending": True}]
    assert found(order_by=by_loss) == "badc"
    assert found(order_by=[{"field_name": "metrics.loss", "ascending": False}]) == "abdc"
    assert found(order_by=[{"field_name": "name"}]) == "abcd"
    seen, token = "", None
    while True:
        page = client.search_logged_models(here, max_results=2, page_token=token, order_by=by_loss)
        seen += "".join(each.name for each in page)
        token = page.token
        if not token:
            break
        refused(lambda token=token: client.search_logged_models(here, max_results=2, page_token=token))
    assert seen == "badc"
    for wrong in ("name = 'a' OR", "metrics.loss < '1'", "params.x IS", "nope = 'x'"):
        refused(lambda wrong=wrong: client.search_logged_models(here, filter_string=wrong))
    refused(
        lambda: client.search_logged_models(
            here, order_by=[{"field_name": "params.x.y"}, {"field_name": "zz"}]
        )
    )


@pytest.mark.newest
def test_names_that_a_logged_model_may_not_have(experiment: Any) -> None:
    for name in ("a/b", "a:b", "a.b", "a%b", "a'b", "x" * 501):
        refused(
            lambda name=name: mlflow.MlflowClient()._tracking_client.store.create_logged_model(
                experiment.experiment_id, name=name
            )
        )


def test_what_the_server_read_of_it(run: Any, fresh: str, model: Any) -> None:
    """Left for the test outside, which looks at the same model through Everloop."""
    logged(model, registered_model_name="seen by both")
    expected = model.predict_proba(ROWS)[:, 1].tolist()
    Path(os.environ.get("EXPECTED", os.devnull)).write_text(json.dumps(expected))
