"""Versions as files in a folder: whole, and never over someone's changes."""

import os
from pathlib import Path

import pytest

from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def folder(workspace: LocalWorkspace, tmp_path: Path) -> Path:
    """Two versions of a folder; it is left as the second."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.bin").write_bytes(os.urandom(400_000))
    workspace.data.add(source, "d")
    (source / "a.txt").write_text("changed")
    (source / "c.txt").write_text("c")
    workspace.data.add(source, "d")
    return source


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_checkout_is_the_version(workspace: LocalWorkspace, folder: Path, tmp_path: Path) -> None:
    done = workspace.data.checkout("d", tmp_path / "deep" / "out")
    assert (done.reference, done.files) == ("data:d@v2", 3)
    assert content(tmp_path / "deep" / "out") == content(folder)
    assert workspace.data.status(tmp_path / "deep" / "out").clean


def test_a_folder_that_was_added_has_a_status(workspace: LocalWorkspace, folder: Path) -> None:
    assert workspace.data.status(folder).clean
    (folder / "a.txt").write_text("CHANGED")  # the same size, perhaps within one tick of the clock
    (folder / "c.txt").unlink()
    (folder / "new.txt").touch()
    (folder / "link").symlink_to("a.txt")
    status = workspace.data.status(folder)
    assert (status.reference, status.clean) == ("data:d@v2", False)
    assert (status.added, status.changed, status.removed) == (["link", "new.txt"], ["a.txt"], ["c.txt"])


def test_another_version_takes_the_place_of_a_clean_one(
    workspace: LocalWorkspace, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    workspace.data.checkout("d@v2", out)
    workspace.data.checkout("d@v1", out)
    assert set(content(out)) == {"a.txt", "sub/b.bin"}
    assert workspace.data.status(out).reference == "data:d@v1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "project", "source"], (
        "nothing is left beside it"
    )


def test_local_changes_are_kept_unless_forced(
    workspace: LocalWorkspace, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    workspace.data.checkout("d@v1", out)
    (out / "a.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"local changes: a\.txt"):
        workspace.data.checkout("d@v2", out)
    assert (out / "a.txt").read_text() == "mine"
    workspace.data.checkout("d@v2", out, force=True)
    assert content(out) == content(folder)


def test_a_folder_of_someone_else_is_left_alone(
    workspace: LocalWorkspace, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    workspace.data.checkout("d", out)  # an empty folder is nobody's
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years")
    with pytest.raises(Conflict, match="is not empty"):
        workspace.data.checkout("d", other)
    assert content(other) == {"thesis.txt": b"years"}
    with pytest.raises(InvalidInput, match="is a file"):
        workspace.data.checkout("d", other / "thesis.txt")
    with pytest.raises(NotFound, match="neither checked out nor added"):
        workspace.data.status(other)
