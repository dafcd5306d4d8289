"""How the stores in this folder were written: once with each release of MLflow, by its own client.

    python make.py sqlite:///mlflow.db arts        a database, artifacts in the folder arts
    python make.py file:///srv/tracking/mlruns     a file store

Run in /srv/tracking, which the tests do not have: stores come from other machines. Packed by tar cJf; the pickled
models, which no test loads, were emptied before.
"""

import json
import math
import os
import sys
from pathlib import Path

os.environ |= {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}

import mlflow
import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema

URI = sys.argv[1]
PLACE = f"file://{Path(sys.argv[2]).resolve()}" if len(sys.argv) > 2 else None
RELEASE = tuple(int(part) for part in mlflow.__version__.split(".")[:2])
BEGAN = 1_700_000_000_000


class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2


def experiment(client: MlflowClient, name: str) -> str:
    return client.create_experiment(
        name, artifact_location=f"{PLACE}/{name.replace(' ', '_')}" if PLACE else None
    )


def log_runs(client: MlflowClient, number: str) -> None:
    with mlflow.start_run(run_name="parent", description="a *note*") as run:
        params = {
            "alpha": 0.5,
            "l1/ratio": "0.1",
            "text": "two\nlines, ünïcode 🎈",
            "empty": "",
            "quoted": "'a': \"b\"",
        }
        mlflow.log_params(params)
        for step in range(50):
            client.log_metric(
                run.info.run_id, "loss", 1.0 / (step + 1), timestamp=BEGAN + step * 1500, step=step
            )
        for step, value in enumerate((math.nan, math.inf, -math.inf)):
            client.log_metric(run.info.run_id, "odd", value, timestamp=BEGAN + step, step=step)
        client.log_metric(run.info.run_id, "val/rmse", 0.1 + 0.2, timestamp=BEGAN, step=-3)
        client.log_metric(run.info.run_id, "val/rmse", 5e-324, timestamp=BEGAN, step=-2)
        mlflow.set_tags(
            {"team": "a b", "mlflow.source.git.commit": "0123456789abcdef0123456789abcdef01234567"}
        )
        mlflow.log_text("hello\n", "notes/hello wörld.txt")
        mlflow.log_text("", "empty.txt")
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("m", 2.0)
    if RELEASE >= (2, 4):
        import pandas as pd

        with mlflow.start_run(run_name="with data"):
            frame = pd.DataFrame({"x": [1, 2], "y": [0.5, None]})
            data = mlflow.data.from_pandas(
                frame, source="https://example.com/x.csv", name="tiny", targets="y"
            )
            mlflow.log_input(data, context="training")
    try:
        with mlflow.start_run(run_name="fails"):
            raise RuntimeError
    except RuntimeError:
        pass
    unfinished = client.create_run(number, tags={"mlflow.runName": "unfinished"}).info.run_id
    client.log_metric(unfinished, "m", 3, timestamp=BEGAN)
    deleted = client.create_run(number, tags={"mlflow.runName": "deleted"}).info.run_id
    client.log_param(deleted, "p", "q")
    client.set_terminated(deleted, "KILLED")
    client.delete_run(deleted)


def log_model(client: MlflowClient) -> None:
    with mlflow.start_run(run_name="model") as run:
        mlflow.log_metric("acc", 0.9, step=1)
        signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "y")]))
        where = {"name": "model"} if RELEASE >= (3, 0) else {"artifact_path": "model"}
        made = mlflow.pyfunc.log_model(
            python_model=Twice(), signature=signature, pip_requirements=["mlflow"], **where
        )
        mlflow.log_param("depth", 3)
    if RELEASE < (2, 0) and not URI.startswith("sqlite"):
        return
    name, source = "Twice is nice", f"runs:/{run.info.run_id}/model"
    for _ in range(3):
        mlflow.register_model(source, name)
    client.update_registered_model(name, "a model\nthat doubles")
    client.set_registered_model_tag(name, "owner", "ann")
    client.set_model_version_tag(name, "1", "checked", "yes: it was")
    client.update_model_version(name, "1", "the first")
    client.transition_model_version_stage(name, "1", "Production")
    if RELEASE >= (2, 3):
        client.set_registered_model_alias(name, "champion", "1")
    client.delete_model_version(name, "2")
    client.create_registered_model("empty one")
    if RELEASE >= (3, 0):
        client.set_logged_model_tags(made.model_id, {"k": "v"})
        mlflow.genai.register_prompt(name="greet", template="Say {{word}} nicely", tags={"t": "u"})


def main() -> None:
    mlflow.set_tracking_uri(URI)
    mlflow.set_registry_uri(URI)
    client = MlflowClient()
    number = experiment(client, "churn first")
    client.set_experiment_tag(
        number, "mlflow.note.content", "Two lines\nof notes: a # b, " + "long enough to fold " * 5
    )
    gone = experiment(client, "abandoned")
    run = client.create_run(gone).info.run_id
    client.log_metric(run, "m", 1, timestamp=BEGAN)
    client.set_terminated(run)
    client.delete_experiment(gone)
    mlflow.set_experiment(experiment_id=number)
    log_runs(client, number)
    log_model(client)
    client.rename_experiment(number, "churn: the first, “quoted” # y")
    print(json.dumps({"release": mlflow.__version__}))


if __name__ == "__main__":
    main()
