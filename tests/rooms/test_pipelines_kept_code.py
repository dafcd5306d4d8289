"""What a run keeps of the project's code: all of it, and no file is read again that looks as it did."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from everloop.pipelines import kept_code
from everloop.pipelines.code import looks
from everloop.pipelines.kept_code import FILE, forget_kept, keep_code
from everloop.tracking.capture import Code, restore
from everloop.workspace.local import LocalWorkspace

LONG_AGO = 1_600_000_000


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, text in {
        "train.py": "rate = 1\n",
        "conf/a.toml": "a = 1\n",
        "conf/b.json": "{}",
        "conf/api_credentials.json": "{}",
        "data.bin": "no code",
        ".hidden/x.py": "",
        "env/pyvenv.cfg": "",
        "env/y.py": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def was_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were read, and nothing was written shortly before it is read."""
    names: list[str] = []

    def read(path: str) -> tuple[bytes, looks.Seen]:
        names.append(Path(path).name)
        return looks.read(path)

    monkeypatch.setattr(kept_code, "read", read)
    monkeypatch.setattr(looks, "TICK", -(10**18))
    monkeypatch.setattr(looks, "COARSE_TICK", -(10**18))
    return names


def kept(workspace: LocalWorkspace, root: Path) -> dict[str, str]:
    """What `restore` gives back of what was kept, as a new process would keep it."""
    forget_kept(workspace.objects)
    record, *files = keep_code(workspace.objects, root, workspace.folder)
    assert not workspace.objects.missing([each.digest for each in files])
    target = root.parent / f"restored-{len(list(root.parent.iterdir()))}"
    restore(workspace.objects, record.digest, target)
    return {
        path.relative_to(target).as_posix(): path.read_text()
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }


def test_only_what_changed_is_read(workspace: LocalWorkspace, project: Path, was_read: list[str]) -> None:
    code = {"conf/a.toml": "a = 1\n", "conf/b.json": "{}", "train.py": "rate = 1\n"}
    assert kept(workspace, project) == code
    assert sorted(was_read) == ["a.toml", "b.json", "train.py"]
    was_read.clear()
    assert kept(workspace, project) == code
    assert was_read == []

    # The same size, and the time put back: the inode's own time of change tells.
    os.utime(project / "train.py", (LONG_AGO, LONG_AGO))
    kept(workspace, project)
    was_read.clear()
    before = (project / "train.py").stat().st_ctime_ns
    while (project / "train.py").stat().st_ctime_ns == before:  # the system's clock ticks slowly
        (project / "train.py").write_text("rate = 2\n")
    os.utime(project / "train.py", (LONG_AGO, LONG_AGO))
    assert kept(workspace, project) == code | {"train.py": "rate = 2\n"}
    assert was_read == ["train.py"]

    (project / "conf/b.json").unlink()
    (workspace.folder / FILE).write_bytes(b"damaged")
    was_read.clear()
    assert kept(workspace, project) == {"conf/a.toml": "a = 1\n", "train.py": "rate = 2\n"}
    assert sorted(was_read) == ["a.toml", "train.py"]


def test_what_the_store_lost_is_put_there_again(
    workspace: LocalWorkspace, project: Path, was_read: list[str], tmp_path: Path
) -> None:
    before = kept(workspace, project)
    other = LocalWorkspace(tmp_path / "other")
    other.folder.mkdir(parents=True)
    (other.folder / FILE).write_bytes((workspace.folder / FILE).read_bytes())
    assert kept(other, project) == before
    other.close()


def test_what_was_written_just_now_is_not_believed_to_stay(
    workspace: LocalWorkspace, project: Path, was_read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "TICK", 10**18)
    monkeypatch.setattr(looks, "COARSE_TICK", 10**18)
    kept(workspace, project)
    was_read.clear()
    kept(workspace, project)
    assert sorted(was_read) == ["a.toml", "b.json", "train.py"]


def test_what_cannot_be_kept_is_named(workspace: LocalWorkspace, project: Path) -> None:
    (project / "large.json").write_bytes(b" " * (kept_code.LARGEST + 1))
    Path(os.fsdecode(bytes(project) + b"/n\xff.py")).write_text("")
    record = keep_code(workspace.objects, project, workspace.folder)[0]
    code = msgspec.json.decode(workspace.objects.read(record.digest), type=Code)
    assert code.skipped == ["conf/api_credentials.json", "large.json", "n?.py"]
