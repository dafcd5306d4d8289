"""The record and its verification, definitions as data, tokens."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from everloop.cli.main import main
from everloop.domain.references import Reference
from everloop.errors import InvalidDefinition, NotFound, StorageError, Unauthenticated
from everloop.governance.definitions import declared, load, pick
from everloop.store.schema.base import chain, events
from everloop.workspace.local import LocalWorkspace


def filled(workspace: LocalWorkspace, count: int = 300) -> str:
    """A ledger with some events and one object that is needed; gives the object's digest."""
    stored = workspace.objects.put(b"precious" * 1000)
    with workspace.ledger.transaction("ann") as tx:
        for number in range(count):
            tx.event("test.happened", "run:x", {"number": number})
        tx.hold(stored.digest, stored.size, Reference.parse("data:precious@v1"))
    return stored.digest


def test_a_sound_workspace_is_said_to_be_sound(workspace: LocalWorkspace) -> None:
    filled(workspace)
    report = workspace.governance.verify()
    assert (report.ok, report.events, report.seals, report.objects, report.faults) == (True, 300, 1, 1, [])


@pytest.mark.parametrize(
    ("tamper", "place", "said"),
    [
        (
            sa.update(events).where(events.c.seq == 7).values(payload='{"number":999}'),
            "event 7",
            "was changed",
        ),
        (sa.update(events).where(events.c.seq == 9).values(actor="eve"), "event 9", "was changed"),
        (sa.delete(events).where(events.c.seq == 5), "event 6", "1 events are missing"),
        (sa.delete(events).where(events.c.seq > 290), "chain", "removed at the end"),
        (sa.update(chain).values(seq=12), "chain", "removed at the end"),
    ],
)
def test_what_was_edited_is_named(
    workspace: LocalWorkspace, tamper: sa.Executable, place: str, said: str
) -> None:
    filled(workspace)
    with workspace.ledger.transaction("eve") as tx:
        tx.execute(tamper)
    report = workspace.governance.verify()
    assert not report.ok
    assert any(fault.place == place and said in fault.message for fault in report.faults), report.faults


def test_a_flipped_byte_under_the_workspace_is_named_with_what_needs_it(
    workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = filled(workspace)
    (path,) = [each for each in (workspace.folder / "objects").rglob(f"{digest[2:]}*") if each.is_file()]
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    assert main(["audit", "verify", "--json"]) == 1
    report = msgspec.json.decode(capsys.readouterr().out)
    assert not report["ok"]
    assert digest[2:] in report["faults"][0]["place"]
    assert "needed by data:precious@v1" in report["faults"][0]["message"]


def test_a_ledger_that_is_gone_is_not_begun_anew(workspace: LocalWorkspace) -> None:
    filled(workspace)
    workspace.close()
    for path in workspace.folder.glob("ledger.db*"):
        path.unlink()
    with (
        LocalWorkspace(workspace.project) as without,
        pytest.raises(StorageError, match=r"ledger.db is gone"),
    ):
        without.governance.verify()
    assert not (workspace.folder / "ledger.db").exists()
    (workspace.folder / "ledger.made").unlink()
    with LocalWorkspace(workspace.project) as anew:
        assert anew.governance.verify().events == 0


def test_an_object_that_is_gone_is_named(workspace: LocalWorkspace) -> None:
    digest = filled(workspace)
    for path in (workspace.folder / "objects").rglob(f"{digest[2:]}*"):
        path.unlink()
    (fault,) = workspace.governance.verify().faults
    assert digest in fault.place
    assert "missing" in fault.message


def test_the_same_definition_is_the_same_version(workspace: LocalWorkspace) -> None:
    room = workspace.governance
    first = room.record_definition("gate", "better", {"margin": 0.1, "by": ["a", "b"]}, "source 1")
    again = room.record_definition("gate", "better", {"by": ["a", "b"], "margin": 0.1}, "source 2")
    other = room.record_definition("gate", "better", {"margin": 0.2, "by": ["a", "b"]})
    assert (first.version, again.version, other.version) == (1, 1, 2)
    assert room.definition("gate", "better", 1).declaration["margin"] == 0.1
    assert [each.version for each in room.definitions("gate")] == [2]
    with pytest.raises(NotFound) as caught:
        room.definition("gate", "beter")
    assert "better" in caught.value.hint


def test_a_token_works_until_it_is_revoked(workspace: LocalWorkspace) -> None:
    room = workspace.governance
    assert not room.has_tokens()
    made = room.create_token("emil", "engineer")
    assert room.recognise(made.secret).user == "emil"
    room.revoke_token(made.id)
    with pytest.raises(Unauthenticated):
        room.recognise(made.secret)
    assert made.secret.encode() not in (workspace.folder / "ledger.db").read_bytes()


def test_definitions_are_loaded_by_file_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "gates_of_test.py").write_text(
        "from pathlib import Path\nfirst = Path('a')\nsecond = Path('b')\nagain = first\n"
    )
    module = load("gates_of_test.py", tmp_path)
    assert load("gates_of_test", tmp_path) is module
    assert declared(module, Path) == [Path("a"), Path("b")]
    assert pick(module, "second", Path, "path") == Path("b")
    with pytest.raises(InvalidDefinition) as caught:
        pick(module, "secnd", Path, "path")
    assert "second" in caught.value.hint


def test_projects_with_modules_of_the_same_name_keep_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "declared_here").mkdir(parents=True)
        (tmp_path / name / "declared_here" / "gates.py").write_text(f"value = {name!r}")
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "declared_here.py").write_text("value = 'three'")
    assert load("declared_here.gates", tmp_path / "one").value == "one"
    assert load("declared_here.gates", tmp_path / "two").value == "two"
    assert load("declared_here", tmp_path / "three").value == "three"
    assert load("declared_here/gates.py", tmp_path / "one").value == "one"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def broken(:\n", "line 1"),
        ("\nimport no_such_package_at_all\n", "line 2: ModuleNotFoundError"),
        ("value = 1\nraise RuntimeError('boom')\n", "line 2: RuntimeError: boom"),
    ],
)
def test_a_definition_that_cannot_be_imported_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / f"broken_{abs(hash(text))}.py"
    path.write_text(text)
    with pytest.raises(InvalidDefinition, match=said) as caught:
        load(path.name, tmp_path)
    assert path.name in str(caught.value)
