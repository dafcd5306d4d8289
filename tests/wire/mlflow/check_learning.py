"""autolog and evaluate: what one line logs, through the wire."""

from typing import Any

import matplotlib.pyplot  # noqa: F401  (imported first: the client's threads and its import hooks can lock each other out)
import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.model_selection import GridSearchCV

ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
NUMBERS = ROWS["a"] * 2 + ROWS["b"]
CLASSES = (NUMBERS > 0).astype(int)


@pytest.fixture
def autolog() -> Any:
    mlflow.sklearn.autolog(silent=True)
    yield
    mlflow.sklearn.autolog(disable=True)


def test_autolog_records_the_fit(client: Any, experiment: Any, autolog: Any) -> None:
    ElasticNet(alpha=0.5).fit(ROWS, NUMBERS)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.params["alpha"]) == ("FINISHED", "0.5")
    assert {"training_mean_squared_error", "training_r2_score", "training_score"} <= set(run.data.metrics)
    assert run.data.tags["estimator_name"] == "ElasticNet"
    assert len(run.inputs.dataset_inputs) == 1
    loaded = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
    assert np.array_equal(loaded.predict(ROWS), ElasticNet(alpha=0.5).fit(ROWS, NUMBERS).predict(ROWS))


def test_autolog_of_a_search_makes_child_runs(client: Any, experiment: Any, autolog: Any) -> None:
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(ROWS, CLASSES)
    runs = client.search_runs([experiment.experiment_id])
    children = [each for each in runs if "mlflow.parentRunId" in each.data.tags]
    assert (len(runs), len(children)) == (4, 3)
    (parent,) = [each for each in runs if each not in children]
    assert "best_cv_score" in parent.data.metrics
    assert mlflow.sklearn.load_model(f"runs:/{parent.info.run_id}/best_estimator").predict(ROWS).shape == (
        60,
    )


def test_a_fit_that_raises_leaves_a_failed_run(client: Any, experiment: Any, autolog: Any) -> None:
    with pytest.raises(ValueError, match="NaN"):
        LogisticRegression().fit(ROWS.replace(ROWS.iloc[0, 0], np.nan), CLASSES)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, "C" in run.data.params) == ("FAILED", True)


def test_evaluate_measures_a_logged_model(client: Any, experiment: Any) -> None:
    requirements = ["scikit-learn"]
    model = LogisticRegression().fit(ROWS, CLASSES)
    with mlflow.start_run() as run:
        named = "name" if mlflow.__version__.startswith("3") else "artifact_path"
        info = mlflow.sklearn.log_model(model, pip_requirements=requirements, **{named: "model"})
        data = ROWS.assign(label=CLASSES)
        measure = getattr(mlflow.models, "evaluate", None) or mlflow.evaluate
        config = {"log_model_explainability": False, "log_explainer": False}
        found = measure(
            info.model_uri, data, targets="label", model_type="classifier", evaluator_config=config
        )
    assert found.metrics["accuracy_score"] > 0.9
    seen = client.get_run(run.info.run_id)
    assert seen.data.metrics["accuracy_score"] == found.metrics["accuracy_score"]
    if mlflow.__version__.startswith("3"):
        measured = {each.key: each.value for each in mlflow.get_logged_model(info.model_id).metrics}
        assert measured["accuracy_score"] == found.metrics["accuracy_score"]
