"""A model that Everloop logged and registered, as MLflow's clients see it; the test outside says what it is."""

import json
import os
from typing import Any

import mlflow
import pandas as pd
import pytest
from conftest import refused
from mlflow.exceptions import MlflowException

NAME = "delay"


def told() -> dict[str, Any]:
    with open(os.environ["TOLD"]) as file:
        return json.load(file)


def test_it_is_found_and_loaded_by_every_form_of_address(client: Any) -> None:
    said = told()
    rows = pd.DataFrame(said["rows"])
    (model,) = client.search_registered_models(f"name = '{NAME}'")
    assert {alias: str(version) for alias, version in model.aliases.items()} == {"champion": "1"}
    version = client.get_model_version(NAME, "1")
    assert (version.run_id, version.status, version.aliases) == (said["run"], "READY", ["champion"])
    if mlflow.__version__.startswith("2."):  # which does not read skops: it is told so, and what it is
        with pytest.raises(MlflowException, match="skops"):
            mlflow.sklearn.load_model(f"models:/{NAME}/1")
        return
    for form in (f"models:/{NAME}/1", f"models:/{NAME}@champion", f"runs:/{said['run']}/model"):
        loaded = mlflow.sklearn.load_model(form)
        assert loaded.predict_proba(rows.to_numpy())[:, 1].tolist() == said["expected"], form
    told_by = mlflow.pyfunc.load_model(f"models:/{NAME}/1").metadata.signature
    assert [each.name for each in told_by.inputs] == ["temp", "wind"]


def test_its_logged_model_is_found_by_run_and_name(client: Any) -> None:
    if not hasattr(client, "search_logged_models"):
        return
    (logged,) = client.search_logged_models(["0"], f"source_run_id = '{told()['run']}'")
    assert (logged.name, logged.model_type, str(logged.status)) == ("model", "sklearn", "READY")


def test_gates_hold_over_the_wire(client: Any) -> None:
    client.set_registered_model_alias(NAME, "challenger", "2")
    client.set_registered_model_alias(NAME, "champion", "1")
    said = refused(lambda: client.set_registered_model_alias(NAME, "champion", "2"))
    assert "has not passed the gates that guard the alias 'champion'" in str(said)
    assert "everloop models promote delay@v2 --to champion" in str(said)
    refused(lambda: client.transition_model_version_stage(NAME, "2", "Production"), match="gates")
