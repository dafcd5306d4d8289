"""An unmodified MLflow client logs while the server is killed and comes back, and while its Postgres is restarted: its training
goes on, everything it logged is there, and nothing twice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.crash.test_tracking_postgres import server as postgres
from tests.support.mlflow_clients import ROOT
from tests.support.servers import KillableServer

from everloop.workspace.local import LocalWorkspace

__all__ = ["postgres"]  # a fixture

SCRIPT = """
import sys
from pathlib import Path
import mlflow
enough = Path(sys.argv[1])
step = 0
with mlflow.start_run(run_name="away") as run:
    print(run.info.run_id, flush=True)
    while not enough.exists():
        mlflow.log_metric("loss", step / 2, step=step)
        mlflow.log_param(f"p{step}", step)
        mlflow.set_tag("last", step)
        if step % 20 == 10:
            mlflow.log_text(str(step), f"{step}.txt")
        step += 1
        print(step, flush=True)
"""
MORE = 25
"""Steps that a client takes between two faults."""


@pytest.fixture
def served(postgres: Any, tmp_path: Path) -> Iterator[KillableServer]:
    project = tmp_path / "project"
    project.mkdir()
    address = postgres.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    (project / "everloop.toml").write_text(f'ledger = "{address}"\n')
    made = KillableServer(project)
    made.start()
    yield made
    made.kill()


@pytest.mark.timeout(300)
def test_a_script_written_for_mlflow_outlives_its_server(
    postgres: Any, served: KillableServer, tmp_path: Path
) -> None:
    python = ROOT / ".venv-mlflow3" / "bin" / "python"
    if not python.exists():
        pytest.skip("no mlflow3 client: make mlflow-clients")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    settings = {"MLFLOW_TRACKING_URI": served.url, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": ""}
    enough = tmp_path / "enough"
    client = subprocess.Popen(
        [str(python), "-c", SCRIPT, str(enough)],
        env=inherited | settings | {"GIT_PYTHON_REFRESH": "quiet"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None

    def steps(count: int) -> None:
        """Wait until the client has taken so many steps more."""
        for _ in range(count):
            assert client.stdout.readline(), "the script failed"  # type: ignore[union-attr]

    try:
        run_id = client.stdout.readline().strip()
        steps(MORE)
        served.kill()
        served.start()
        steps(MORE)
        postgres.stop()
        postgres.start()
        steps(MORE)
        enough.touch()
        rest = [line for line in client.stdout.read().splitlines() if line.isdigit()]
        assert client.wait(60) == 0
    finally:
        client.kill()
        client.wait()
    total = int(rest[-1]) if rest else 3 * MORE
    served.kill()
    with LocalWorkspace(served.folder) as workspace:
        run = workspace.tracking.run(run_id)
        assert run.status == "finished"
        found = workspace.tracking.open(run_id).history("loss")
        assert found["step"].to_pylist() == list(range(total))
        assert found["value"].to_pylist() == [step / 2 for step in range(total)]
        assert {key: int(value) for key, value in run.params.items()} == {f"p{n}": n for n in range(total)}
        assert run.tags["last"] == str(total - 1)
        paths = {each.path for each in workspace.tracking.artifacts(run_id)}
        assert paths == {f"{step}.txt" for step in range(10, total, 20)}
        assert workspace.governance.verify().ok
