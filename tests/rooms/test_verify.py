"""`audit verify` walks everything that can be checked: one edited byte under the workspace is named with its place."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from tests.support import trained

from everloop.cli.main import main
from everloop.domain.events import event_digest
from everloop.governance.anchors import read_anchors
from everloop.store.schema.base import chain, events
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace


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
    assert "sqlite_master name=ix_edges_target_source" in [fault.place for fault in report.faults]
    assert any("ledger.db" in fault.place for fault in report.faults)


@pytest.mark.parametrize(
    ("query", "table"),
    [
        ("select salt from endpoints", "endpoints name=delay"),
        ("select source from runs limit 1", "runs id="),
        ("select columns from dataset_versions limit 1", "dataset_versions name="),
    ],
)
def test_a_byte_of_a_row_is_named_with_its_table_and_key(
    served: LocalWorkspace, query: str, table: str
) -> None:
    served.close()
    path = served.folder / "ledger.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("pragma wal_checkpoint(truncate)")
        raw.execute("vacuum")  # leaves no second copy of the row in free pages
        (text,) = raw.execute(query).fetchone()
    before = path.read_bytes()
    said = []
    for match in re.finditer(re.escape(text.encode()), before):
        path.write_bytes(before)
        flip(path, match.start() + len(text) // 2)
        with LocalWorkspace(served.project) as again:
            faults = again.provenance.verify().faults
        assert faults, match.start()
        said += [fault.place for fault in faults]
    assert any(place.startswith(table) for place in said)


def test_a_ledger_is_proved_against_an_anchor_that_was_kept_elsewhere(
    any_workspace: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "anchors.jsonl"
    for name in ("a", "b"):
        any_workspace.governance.record_definition("gate", name, {"margin": 1})
        any_workspace.governance.keep_anchor(file)
    any_workspace.governance.record_definition("gate", "c", {"margin": 1})
    anchors = read_anchors(file)
    assert [each.events for each in anchors] == [1, 2]
    assert any_workspace.provenance.verify(anchors=anchors).ok


def test_a_chain_written_anew_does_not_go_on_from_its_anchors(
    workspace: LocalWorkspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "anchors.jsonl"
    for name in ("a", "b"):
        workspace.governance.record_definition("gate", name, {"margin": 1})
        workspace.governance.keep_anchor(file)
    with workspace.ledger.transaction(
        "eve"
    ) as tx:  # the second event as if somebody else had caused it, and all that follows
        row = tx.first(sa.select(events).where(events.c.seq == 2))
        assert row is not None
        fields = (row.time, "eve", row.action, row.subject, row.payload.encode(), row.state)
        digest = event_digest(row.previous, row.seq, row.id, *fields)
        tx.execute(sa.update(events).where(events.c.seq == 2).values(actor="eve", digest=digest))
        tx.execute(sa.update(chain).values(digest=digest))
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    assert main(["audit", "verify"]) == 0
    assert main(["audit", "verify", "--anchor", str(file), "--json"]) == 1
    (fault,) = msgspec.json.decode(capsys.readouterr().out.splitlines()[-1])["faults"]
    assert fault["place"] == "event 2"
    assert "up to event 1 the ledger is the same" in fault["message"]
    held = file.read_bytes()
    assert main(["audit", "anchor", str(file)]) == 1
    assert file.read_bytes() == held


@pytest.mark.parametrize("content", [b"", b"no json\n", b'{"ledger":1}\n', b"\xff\n"])
def test_a_file_that_holds_no_anchors_is_refused(
    workspace: LocalWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    file = tmp_path / "anchors.jsonl"
    assert main(["audit", "verify", "--anchor", str(file)]) == 2
    file.write_bytes(content)
    assert main(["audit", "verify", "--anchor", str(file)]) == 2
    assert main(["audit", "anchor", str(file)]) == 2
    assert file.read_bytes() == content
