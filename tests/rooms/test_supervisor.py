"""What `everloop up` does beside answering: prediction servers for endpoints, and the chores of the loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support import trained

from everloop.server.supervisor import Supervisor
from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def watched(workspace: LocalWorkspace, tmp_path: Path) -> Iterator[Supervisor]:
    run = trained.train(workspace, trained.add_flights(workspace, tmp_path))
    reference = workspace.registry.register(run, "delay").reference
    workspace.serving.deploy("delay", reference)
    supervisor = Supervisor(workspace)
    supervisor.serve()
    yield supervisor
    supervisor.stop_servers()


def ask(workspace: LocalWorkspace) -> int:
    address = workspace.serving.address("delay")
    assert address is not None
    body = {"rows": [{"temp": 60.0, "wind": 10.0}], "keys": ["a"], "time": workspace.clock().isoformat()}
    return httpx.post(f"{address}/predict", json=body).status_code


def test_an_endpoint_gets_a_server_and_another_one_when_it_dies(
    watched: Supervisor, workspace: LocalWorkspace
) -> None:
    assert ask(workspace) == 200
    first = watched.servers["delay"]
    first.stop()
    watched.serve()
    assert watched.servers["delay"].pid != first.pid
    assert ask(workspace) == 200


def test_chores_bring_in_predictions_and_are_quiet_when_nothing_is_new(
    watched: Supervisor, workspace: LocalWorkspace
) -> None:
    assert ask(workspace) == 200
    watched.chores()
    assert sum(segment.rows for segment in workspace.serving.segments("delay")) == 1
    before = workspace.ledger.head()
    watched.chores()
    assert workspace.ledger.head() == before


def test_a_chore_that_fails_does_not_stop_the_others(
    watched: Supervisor, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(workspace) == 200

    def broken() -> None:
        raise OSError("gone")

    monkeypatch.setattr(workspace.tracking, "ship_pending", broken)
    watched.chores()
    assert workspace.serving.segments("delay")
