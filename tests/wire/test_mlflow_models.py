"""Models and the registry through unmodified MLflow clients, and the same models through Everloop."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from tests.support.mlflow_clients import CLIENTS, run_checks
from tests.support.trained import add_flights, train
from tests.support.workspaces import served

from everloop.domain.gates import gates, has_card
from everloop.errors import Refused
from everloop.workspace.local import LocalWorkspace

ROWS = {"temp": [60.0, 40.0, 75.0, 50.0, 66.0], "wind": [5.0, 20.0, 1.0, 12.0, 9.0]}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[LocalWorkspace]:
    with LocalWorkspace(tmp_path / "project") as made:
        yield made


@pytest.mark.parametrize("client", CLIENTS)
def test_models_logged_by_mlflow_answer_everywhere(
    client: str, workspace: LocalWorkspace, tmp_path: Path
) -> None:
    with served(workspace) as url:
        run_checks(client, url, "models", EXPECTED=str(tmp_path / "expected.json"))
    expected = json.loads((tmp_path / "expected.json").read_text())
    version = workspace.registry.model("seen by both@v1")
    assert (version.record.model.flavour, version.record.model.kind) == ("sklearn", "mlflow.sklearn")
    assert version.signature.names == ("temp", "wind")
    if client == "mlflow2":  # which knows pickles only
        with pytest.raises(Refused, match="is a pickle"):
            version.predict(ROWS)
        version.load(trust=True)
    assert np.array_equal(version.predict(ROWS)["probability"], expected)
    workspace.registry.make_servable("seen by both@v1", trust=client == "mlflow2")
    built = workspace.registry.package("seen by both@v1", out=tmp_path / "package")
    assert built.parity is not None
    assert (built.parity.passed, built.parity.rows) == (True, 5)
    workspace.serving.deploy("both", "seen by both@v1")
    with workspace.serving.start("both") as server:
        asked = httpx.post(f"{server.url}/predict", json={"columns": ROWS}, timeout=30).raise_for_status()
    assert np.allclose(asked.json()["predictions"]["probability"], expected, atol=1e-12)
    run = workspace.tracking.run(version.record.run)
    assert (run.reference, "model:seen by both@v1", "produced") in workspace.ledger.edges_of(
        run.reference, upward=False
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_the_registry(client: str, workspace: LocalWorkspace) -> None:
    with served(workspace) as url:
        run_checks(client, url, "registry", "prompts")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", CLIENTS)
def test_autolog_and_evaluate(client: str, workspace: LocalWorkspace) -> None:
    # Autolog finds out requirements by loading each model in a process of its own, which is not what is tested here.
    with served(workspace) as url:
        run_checks(client, url, "learning", timeout=280, MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT="1")


def test_traces(workspace: LocalWorkspace) -> None:
    with served(workspace) as url:
        run_checks("mlflow3", url, "traces")


@pytest.mark.parametrize("client", CLIENTS)
def test_models_logged_by_everloop_are_models_of_mlflow(
    client: str, workspace: LocalWorkspace, tmp_path: Path
) -> None:
    data = add_flights(workspace, tmp_path)
    run = train(workspace, data)
    workspace.registry.register(run, "delay")
    workspace.registry.register(train(workspace, data, C=2.0), "delay")
    workspace.registry.set_alias("delay@v1", "champion")
    declared = gates("delay", has_card())
    workspace.governance.record_definition("gates", "delay", msgspec.to_builtins(declared), "tests")
    expected = workspace.registry.model("delay@v1").predict(ROWS)["probability"].tolist()
    told = {"run": run, "rows": ROWS, "expected": expected}
    (tmp_path / "told.json").write_bytes(msgspec.json.encode(told))
    with served(workspace) as url:
        run_checks(client, url, "everloop", TOLD=str(tmp_path / "told.json"))
    assert workspace.registry.version("delay@champion").version == 1
    assert workspace.registry.alias_history("delay")[0].reason == "a client of MLflow set it"
