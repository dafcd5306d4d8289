"""Symbolic links, empty folders and files that may be run: a version has them as the folder had."""

import contextlib
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.datasets import FileEntry, Manifest, SymbolicLink, checked_link
from everloop.errors import InvalidInput, StorageError
from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for name in ("bin", "empty/inner", "latest", "runs/7"):
        (source / name).mkdir(parents=True)
    (source / "runs" / "7" / "model.bin").write_bytes(os.urandom(300_000))
    (source / "bin" / "small.sh").write_text("#!/bin/sh\n")
    (source / "bin" / "large.sh").write_bytes(b"#!/bin/sh\n" * 40_000)
    (source / "plain.txt").write_text("plain")
    for name in ("small.sh", "large.sh"):
        (source / "bin" / name).chmod(0o755)
    (source / "best").symlink_to("runs/7")
    (source / "latest" / "model.bin").symlink_to("../runs/7/model.bin")
    (source / "dangling").symlink_to("not-there")
    return source


def looks(folder: Path) -> dict[str, object]:
    """Everything in a folder: what links point to, contents, and whether files may be run."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


@pytest.mark.parametrize("way", ["copy", "hardlink"])
def test_a_checkout_has_them(workspace: LocalWorkspace, folder: Path, tmp_path: Path, way: str) -> None:
    added = workspace.data.add(folder, "d")
    assert added.files == 4
    workspace.data.checkout("d", tmp_path / "out", link=way)
    assert looks(tmp_path / "out") == looks(folder)
    assert workspace.data.status(tmp_path / "out").clean
    assert workspace.data.add(folder, "d").unchanged

    # From one version to the next, and back, in a folder that holds one.
    (folder / "bin" / "small.sh").chmod(0o644)
    (folder / "plain.txt").chmod(0o755)
    workspace.data.add(folder, "d")
    for reference in ("d@v2", "d@v1", "d@v2"):
        workspace.data.checkout(reference, tmp_path / "out", link=way)
    assert looks(tmp_path / "out") == looks(folder)


def test_changes_of_them_are_seen(workspace: LocalWorkspace, folder: Path) -> None:
    workspace.data.add(folder, "d")
    (folder / "best").unlink()
    (folder / "best").symlink_to("runs")
    (folder / "bin" / "small.sh").chmod(0o644)
    (folder / "dangling").unlink()
    (folder / "empty" / "inner").rmdir()
    os.mkfifo(folder / "pipe")
    status = workspace.data.status(folder)
    assert status.changed == ["best", "bin/small.sh"]
    assert (status.added, status.removed) == (["empty/", "pipe"], ["dangling", "empty/inner/"])

    (folder / "pipe").unlink()
    assert not workspace.data.add(folder, "d").unchanged
    found = workspace.data.diff("d@v1", "d@v2")
    assert found.changed == ["best", "bin/small.sh"]
    assert (found.added, found.removed) == (["empty/"], ["dangling", "empty/inner/"])


def test_a_part_of_a_version_has_its_links(workspace: LocalWorkspace, folder: Path, tmp_path: Path) -> None:
    workspace.data.add(folder, "d")
    workspace.data.checkout("d", tmp_path / "out", only=["latest/*", "runs/**"])
    assert set(looks(tmp_path / "out")) == {
        *("latest", "latest/model.bin"),
        *("runs", "runs/7", "runs/7/model.bin"),
    }


def test_an_appended_folder_brings_its_own(workspace: LocalWorkspace, folder: Path, tmp_path: Path) -> None:
    workspace.data.add(folder, "d")
    more = tmp_path / "more"
    (more / "empty" / "inner").mkdir(parents=True)
    (more / "empty" / "inner" / "now.txt").write_text("not any more")
    (more / "other").symlink_to("plain.txt")
    workspace.data.add(more, "d", append=True)
    workspace.data.checkout("d", tmp_path / "out")
    assert looks(tmp_path / "out") == looks(folder) | looks(more)


def test_a_list_of_files_that_leads_elsewhere_is_refused() -> None:
    file = FileEntry("a/b", "0" * 64, 1)
    for links in ([SymbolicLink("a", "b")], [SymbolicLink("x", "/etc")], [SymbolicLink("x", "..")]):
        forged = msgspec.json.encode(Manifest((file,), 2, tuple(links)))
        with pytest.raises(InvalidInput, match=r"behind a symbolic link|leads out of its folder"):
            Manifest.decode(forged)
    with pytest.raises(StorageError, match="newer Everloop"):
        Manifest.decode(msgspec.json.encode(Manifest((file,), 3)))


parts = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), max_size=5).map("/".join)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "a/c", "a/d/e", "b/f"]), parts), max_size=4), parts)
def test_links_that_are_kept_never_lead_out(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[str, str]], asked: str
) -> None:
    """However links point to links: the operating system itself is asked where each one ends."""
    top = tmp_path_factory.mktemp("top")
    inside = top / "one" / "two" / "folder"
    inside.mkdir(parents=True)
    for path, target in links:
        try:
            checked_link(SymbolicLink(path, target))
            if (inside / path).parent.is_symlink() or (inside / path).parent.parent.is_symlink():
                continue  # no list of files has anything behind a link
            (inside / path).parent.mkdir(parents=True, exist_ok=True)
            (inside / path).symlink_to(target)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.stat(inside / path)
        except (InvalidInput, OSError):  # among others, links that go round in circles lead nowhere
            continue
        assert os.path.realpath(inside / path).startswith(str(inside.resolve())), (path, target)
