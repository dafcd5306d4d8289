"""Tracking through unmodified MLflow clients: the checks of `tests/wire/mlflow`, against a served workspace."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mlflow_clients import CLIENTS, run_checks
from tests.support.workspaces import served

from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[LocalWorkspace]:
    with LocalWorkspace(tmp_path / "project") as made:
        yield made


@pytest.mark.parametrize("client", CLIENTS)
def test_experiments_and_runs(client: str, workspace: LocalWorkspace) -> None:
    with served(workspace) as url:
        run_checks(client, url, "experiments", "runs", "metrics", "search")


@pytest.mark.parametrize("client", CLIENTS)
def test_artifacts(client: str, workspace: LocalWorkspace) -> None:
    with served(workspace) as url:
        run_checks(client, url, "artifacts")
