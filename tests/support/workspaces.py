"""Workspaces for tests: over a temporary folder with a clock of their own, and the same behind a real server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn

from everloop.client.ambient import using
from everloop.client.remote import RemoteWorkspace
from everloop.governance.rooms import Room
from everloop.server.__main__ import listen
from everloop.server.app import create_app
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.locations import FOLDER
from everloop.workspace.workspace import Workspace


class FakeClock:
    """Stands still but for a millisecond a question, so that nothing happens at the same instant by accident."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new ledger as every workspace makes one, made once: its 85 tables take longer than most tests do."""
    with LocalWorkspace(tmp_path_factory.mktemp("empty"), clock=FakeClock()) as made:
        made.ledger.head()
    return made.folder / "ledger.db"


@pytest.fixture
def workspace(tmp_path: Path, clock: FakeClock, empty_ledger: Path) -> Iterator[LocalWorkspace]:
    """A local workspace in a temporary folder, also the ambient one of this process."""
    folder = tmp_path / "project" / FOLDER
    folder.mkdir(parents=True)
    shutil.copyfile(empty_ledger, folder / "ledger.db")
    with LocalWorkspace(tmp_path / "project", clock=clock) as made, using(made):
        yield made


@contextlib.contextmanager
def copied(prepared: Path, project: Path, clock: FakeClock) -> Iterator[LocalWorkspace]:
    """A copy of the workspace of a project, which nobody has open; also the ambient one of this process. For tests that all begin
    with the same trained models: a copy takes a tenth of their time."""
    shutil.copytree(prepared / FOLDER, project / FOLDER, symlinks=True)
    with LocalWorkspace(project, clock=clock) as made, using(made):
        yield made


class QuickToEnd(uvicorn.Server):
    """Ends as uvicorn does, once every answer is given, but looks for that every few milliseconds: uvicorn waits for two tenths
    of a second, after each of hundreds of tests."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:
            await asyncio.sleep(0.005)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        while state.connections or state.tasks:
            await asyncio.sleep(0.005)
        for server in self.servers:
            await server.wait_closed()
        await self.lifespan.shutdown()


@contextlib.contextmanager
def served(workspace: Workspace, rooms: dict[str, type[Room]] | None = None) -> Iterator[str]:
    """A real server over the workspace, in a thread; gives its address."""
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(create_app(workspace, rooms=rooms), log_level="error", access_log=False)
    server = QuickToEnd(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  (signals belong to the test's process)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


@pytest.fixture(params=["local", "remote"])
def any_workspace(
    request: pytest.FixtureRequest, workspace: LocalWorkspace, clock: FakeClock, tmp_path: Path
) -> Iterator[Workspace]:
    """The same contract for a workspace in this process and for one behind a server."""
    if request.param == "local":
        yield workspace
        return
    with (
        served(workspace) as url,
        RemoteWorkspace(url, folder=tmp_path / "client", clock=clock) as remote,
        using(remote),
    ):
        yield remote
