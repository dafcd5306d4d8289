"""Tracking through unmodified MLflow clients: the checks of `tests/wire/mlflow`, against a served workspace."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mlflow_clients import CLIENTS, run_checks
from tests.support.workspaces import served

from everloop.workspace.local import LocalWorkspace

pytestmark = pytest.mark.timeout(300)  # a few dozen checks in one test


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[LocalWorkspace]:
    with LocalWorkspace(tmp_path / "project") as made:
        yield made


@pytest.mark.parametrize("client", CLIENTS)
def test_tracking(client: str, workspace: LocalWorkspace) -> None:
    with served(workspace) as url:
        run_checks(client, url, "experiments", "runs", "metrics", "search", "artifacts")


def test_with_a_token_below_a_prefix(workspace: LocalWorkspace) -> None:
    """As behind a proxy that serves several things under one name; the token is the password, the user's name is anyone's."""
    secret = workspace.governance.create_token("ann", "engineer").secret
    with served(workspace) as url:
        credentials = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": secret}
        run_checks("mlflow3", f"{url}/team/mlflow", "experiments", **credentials)
        assert workspace.ledger.events(actions=["experiment.created"])[0].actor == "ann"
