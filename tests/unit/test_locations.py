"""Which workspace is meant, and what is told where none is or one cannot be made."""

from pathlib import Path

import pytest

from everloop.errors import InvalidInput
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.locations import VARIABLE, locate


@pytest.mark.parametrize("address", ["ftp://x", "s3://bucket/place", "htp://127.0.0.1:5050"])
def test_an_address_that_is_no_servers_is_refused_and_not_taken_for_a_folder(address: str) -> None:
    with pytest.raises(InvalidInput, match="a folder or the address of a server") as refused:
        locate(environment={VARIABLE: address})
    assert "http://HOST:PORT" in refused.value.hint


def test_addresses_of_servers_and_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    assert locate(environment={VARIABLE: "http://127.0.0.1:5050/"}).url == "http://127.0.0.1:5050"
    assert locate(environment={VARIABLE: str(tmp_path / "a:b")}).folder == tmp_path / "a:b"


def test_what_fails_within_a_property_of_a_workspace_shows_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(workspace: LocalWorkspace) -> None:
        workspace.folder.no_such_thing  # type: ignore[attr-defined]  # noqa: B018

    with LocalWorkspace(tmp_path) as workspace:
        monkeypatch.setattr(LocalWorkspace, "ledger", property(broken))
        with pytest.raises(AttributeError, match="no_such_thing"):
            workspace.ledger  # noqa: B018
        with pytest.raises(AttributeError, match="a workspace has no 'trackin'; its rooms are"):
            workspace.trackin  # noqa: B018
        monkeypatch.undo()
