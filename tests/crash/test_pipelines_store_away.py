"""The object store goes away in the middle of a run, for longer than a request is tried again: the run waits and goes on. Part of
``make soak-pipelines``: it takes as long as the store is away."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.s3 import RestartableS3

from everloop.client.ambient import using
from everloop.workspace.local import LocalWorkspace

pytestmark = [
    pytest.mark.skipif(not os.environ.get("EVERLOOP_TEST_KILLS"), reason="make soak-pipelines"),
    pytest.mark.timeout(600),
]
AWAY = 10.0
"""Seconds: a request is given up after a second."""
STEPS = """
    import pathlib
    import time
    import everloop as ev
    import pyarrow as pa

    @ev.step
    def load(number: int, notes: str) -> pa.Table:
        return pa.table({"x": list(range(number, number + 5000))})

    @ev.step
    def total(table: pa.Table, notes: str) -> int:
        (pathlib.Path(notes) / str(table["x"][0].as_py())).touch()
        while not (pathlib.Path(notes) / "away").exists():
            time.sleep(0.05)
        rows = ev.data("rows").to_arrow()
        return sum(table["x"].to_pylist()) + rows.num_rows

    @ev.step
    def keep(totals: list[int], notes: str) -> int:
        ev.workspace().data.add(pa.table({"total": totals}), "totals")
        return sum(totals)

    @ev.pipeline
    def work(notes: str):
        return keep(total.map(load.map(range(12), notes=notes), notes=notes), notes)
    """


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[RestartableS3]:
    folder = Path(tempfile.mkdtemp(prefix="everloop-s3-"))
    made = RestartableS3(folder)
    made.start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", made.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", made.server.secret_key)
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_run_waits_for_its_store_and_goes_on(tmp_path: Path, s3: RestartableS3) -> None:
    notes, project = tmp_path / "notes", tmp_path / "project"
    notes.mkdir()
    project.mkdir()
    (project / "store_steps.py").write_text(textwrap.dedent(STEPS))
    address = s3.server.address("away")
    (project / "everloop.toml").write_text(f'profile = "far"\n[profiles.far]\nobjects = "{address}"\n')
    away: list[float] = []

    def go_away() -> None:
        while not list(notes.iterdir()):  # a step is at work, which is going to ask the store
            time.sleep(0.05)
        s3.stop()
        (notes / "away").touch()
        away.append(time.monotonic())
        time.sleep(AWAY)
        s3.start()
        away.append(time.monotonic())

    with LocalWorkspace(project) as workspace, using(workspace):
        workspace.data.add(pa.table({"x": [1, 2, 3]}), "rows")
        absence = threading.Thread(target=go_away)
        absence.start()
        done = workspace.pipelines.run("store_steps.py:work", {"notes": str(notes)}, executor="local")
        absence.join()
        assert done.status == "finished", done.error
        assert done.value() == sum(sum(range(n, n + 5000)) + 3 for n in range(12))
        assert len(away) == 2
        assert time.monotonic() > away[1]  # it was not over before the store was back
        assert all(each.status == "executed" for each in done.steps)
        assert [each.version for each in workspace.data.log("totals")] == [1]
        assert list(workspace.objects.verify()) == []
        again = workspace.pipelines.run("store_steps.py:work", {"notes": str(notes)}, executor="local")
        assert again.executed == 0
    sys.modules.pop("store_steps", None)
