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


def test_servers_are_kept_up_and_chores_done(
    watched: Supervisor, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, as each server takes seconds to start."""
    # An endpoint gets a server, and another one when it dies.
    assert ask(workspace) == 200
    first = watched.servers["delay"]
    first.stop()
    watched.serve()
    assert watched.servers["delay"].pid != first.pid

    # Chores bring in predictions, and are quiet when nothing is new.
    assert ask(workspace) == 200
    watched.chores()
    assert sum(segment.rows for segment in workspace.serving.segments("delay")) == 2
    before = workspace.ledger.head()
    watched.chores()
    assert workspace.ledger.head() == before

    # A chore that fails does not stop the others.
    def broken() -> None:
        raise OSError("gone")

    monkeypatch.setattr(workspace.tracking, "ship_pending", broken)
    assert ask(workspace) == 200
    watched.chores()
    assert sum(segment.rows for segment in workspace.serving.segments("delay")) == 3
