"""MLflow's clients, unmodified, against a served workspace, and what they logged seen through Everloop.

To start such a client costs seconds of processor time, so all checks of `tests/wire/mlflow` run in one process of each client,
against one server; the tests here then look at what is there. The newer client comes below a prefix and with a token, as behind a
proxy that serves several things under one name; the older one comes as on a laptop.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import numpy as np
import pytest
from tests.support.mlflow_clients import CLIENTS, run_checks
from tests.support.trained import add_flights, train
from tests.support.workspaces import served

from everloop.client.ambient import using
from everloop.domain.gates import gates, has_card
from everloop.errors import Refused
from everloop.workspace.local import LocalWorkspace

pytestmark = pytest.mark.timeout(600)  # all checks of a client are the set-up of its first test

ROWS = {"temp": [60.0, 40.0, 75.0, 50.0, 66.0], "wind": [5.0, 20.0, 1.0, 12.0, 9.0]}
CHECKS: tuple[str, ...] = (
    "experiments",
    "runs",
    "metrics",
    "search",
    "artifacts",
    "models",
    "everloop",
    "registry",
)
CHECKS += (
    "learning",
    "prompts",
    "traces",
    "traces_of_mlflow2",
)  # fits before prompts, whose threads can lock them out


class Seen(NamedTuple):
    """A workspace after a client's checks; `expected`: what the client's own model answered for `ROWS`."""

    client: str
    workspace: LocalWorkspace
    expected: list[float]
    folder: Path


@pytest.fixture(scope="module", params=CLIENTS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    client: str = request.param
    folder: Path = tmp_path_factory.mktemp(client)
    with LocalWorkspace(folder / "project") as workspace, using(workspace):
        told, expected = folder / "told.json", folder / "expected.json"
        told.write_bytes(msgspec.json.encode(_with_models_of_ours(workspace, folder)))
        # Autolog finds out requirements by loading each model in a process of its own, which is not what is tested here.
        more = {"TOLD": str(told), "EXPECTED": str(expected), "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "0"}
        prefix = ""
        if client == "mlflow3":
            prefix = "/team/mlflow"
            secret = workspace.governance.create_token("ann", "engineer").secret
            more |= {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": secret}
        with served(workspace) as url:
            run_checks(client, url + prefix, *CHECKS, timeout=580, **more)
        yield Seen(client, workspace, json.loads(expected.read_text()), folder)


def _with_models_of_ours(workspace: LocalWorkspace, folder: Path) -> dict[str, object]:
    """Two versions of a model trained here, the first the champion behind a gate; what clients are told of them."""
    data = add_flights(workspace, folder)
    run = train(workspace, data)
    workspace.registry.register(run, "delay")
    workspace.registry.register(train(workspace, data, C=2.0), "delay")
    workspace.registry.set_alias("delay@v1", "champion")
    declared = gates("delay", has_card())
    workspace.governance.record_definition("gates", "delay", msgspec.to_builtins(declared), "tests")
    expected = workspace.registry.model("delay@v1").predict(ROWS)["probability"].tolist()
    return {"run": run, "rows": ROWS, "expected": expected}


def test_models_logged_by_mlflow_answer_everywhere(seen: Seen) -> None:
    workspace, reference = seen.workspace, "seen by both@v1"
    version = workspace.registry.model(reference)
    assert (version.record.model.flavour, version.record.model.kind) == ("sklearn", "mlflow.sklearn")
    assert version.signature.names == ("temp", "wind")
    pickled = seen.client == "mlflow2"  # which knows nothing else
    if pickled:
        with pytest.raises(Refused, match="is a pickle"):
            version.predict(ROWS)
        version.load(trust=True)
    assert np.array_equal(version.predict(ROWS)["probability"], seen.expected)
    workspace.registry.make_servable(reference, trust=pickled)
    if pickled:
        built = workspace.registry.package(reference, out=seen.folder / "package")
        assert built.parity is not None
        assert (built.parity.passed, built.parity.rows) == (True, 5)
    workspace.serving.deploy("both", reference)
    with workspace.serving.start("both") as server:
        asked = httpx.post(f"{server.url}/predict", json={"columns": ROWS}, timeout=60).raise_for_status()
    assert np.allclose(asked.json()["predictions"]["probability"], seen.expected, atol=1e-12)
    run = workspace.tracking.run(version.record.run)
    assert (run.reference, f"model:{reference}", "produced") in workspace.ledger.edges_of(
        run.reference, upward=False
    )


def test_models_logged_by_everloop_stay_behind_their_gates(seen: Seen) -> None:
    assert seen.workspace.registry.version("delay@champion").version == 1
    assert seen.workspace.registry.alias_history("delay")[0].reason == "a client of MLflow set it"


def test_what_is_done_is_done_in_the_name_of_who_came(seen: Seen) -> None:
    made = seen.workspace.ledger.events(actions=["experiment.created"])[-1]
    assert (made.actor == "ann") == (seen.client == "mlflow3")
