"""Postgres is stopped and started while a pipeline runs: the run says so, waits, and goes on."""

from __future__ import annotations

import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.crash.test_tracking_postgres import server as server  # the fixture: a Postgres of this test's own

from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace

STEPS = """
    import time
    import everloop as ev

    @ev.step
    def slow(number, notes):
        with open(f"{notes}/{number}", "a") as file:
            print("begun", file=file)
        time.sleep(0.3)
        return number

    @ev.step
    def total(numbers): return sum(numbers)

    @ev.pipeline
    def slowly(notes: str):
        return total(slow.map(range(6), notes=notes))
    """


def test_the_ledger_goes_away_and_comes_back(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    (tmp_path / "everloop.toml").write_text(f'ledger = "{address}"\n')
    (tmp_path / "away_steps.py").write_text(textwrap.dedent(STEPS))
    notes = tmp_path / "notes"
    notes.mkdir()
    away = threading.Thread(target=_restart, args=(server, notes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        away.start()
        with LocalWorkspace(tmp_path) as workspace:
            done = workspace.room(Pipelines).run(
                "away_steps.py:slowly", {"notes": str(notes)}, executor="local"
            )
            away.join()
            assert (done.status, done.value()) == ("finished", 15), done.error
            assert workspace.governance.verify().ok
    sys.modules.pop("away_steps", None)
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "waiting until it is back" in said
    assert "it is back; going on" in said
    assert [path.read_text() for path in notes.iterdir()] == ["begun\n"] * 6


def _restart(server: Any, notes: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(notes.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    server.stop()
    time.sleep(1.0)  # long enough for the run to miss it
    server.start()
