"""`audit verify` walks everything that can be checked: one edited byte under the workspace is named with its place."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.support import trained

from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def served(workspace: LocalWorkspace, tmp_path: Path) -> LocalWorkspace:
    """A workspace with a deployed model."""
    run = trained.train(workspace, trained.add_flights(workspace, tmp_path))
    workspace.serving.deploy("delay", workspace.registry.register(run, "delay").reference)
    return workspace


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_sound_workspace_is_said_to_be_sound(served: LocalWorkspace) -> None:
    report = served.provenance.verify()
    assert (report.ok, report.faults) == (True, [])


@pytest.mark.parametrize("name", ["model.skops", "model.json", "probe.json"])
def test_a_byte_of_a_model_that_is_served_is_named(served: LocalWorkspace, name: str) -> None:
    (path,) = (served.serving.folder("delay") / "models").rglob(name)
    flip(path, path.stat().st_size // 2)
    (fault,) = served.provenance.verify().faults
    assert fault.place == str(path)


def test_an_edited_deployment_is_named(served: LocalWorkspace) -> None:
    path = served.serving.folder("delay") / "deployment.json"
    path.write_text(path.read_text().replace('"model:delay@v1"', '"model:delay@v9"'))
    (fault,) = served.provenance.verify().faults
    assert fault.place == str(path)


def test_a_damaged_page_of_the_ledger_is_named(served: LocalWorkspace) -> None:
    served.close()
    path = served.folder / "ledger.db"
    with sqlite3.connect(path) as raw:
        raw.execute("pragma wal_checkpoint(truncate)")
        raw.execute("pragma writable_schema = on")
        raw.execute("delete from sqlite_master where name = 'ix_edges_target_source'")
    raw.close()
    with LocalWorkspace(served.project) as again:
        report = again.provenance.verify()
    assert not report.ok
    assert "ledger.db" in report.faults[0].place
