"""What git says of a work tree is asked once, and again whenever it might say something else."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from everloop.tracking import worktree
from everloop.tracking.worktree import State, state_of


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    (folder / "train.py").write_text("x = 1\n")
    (folder / "src" / "model.py").write_text("y = 1\n")
    (folder / ".gitignore").write_text("*.log\nouts/\n")
    (folder / "outs").mkdir()
    (folder / "outs" / "big.bin").write_text("1")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "src" / "new.py").write_text("z = 1\n")
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """One entry for each time git was asked."""
    calls: list[Path] = []
    ask = worktree._ask

    def counted(top: Path, leave_out: tuple[Path, ...]) -> tuple[State, list[str]] | None:
        calls.append(top)
        return ask(top, leave_out)

    monkeypatch.setattr(worktree, "_ask", counted)
    return calls


def later() -> int:
    """A moment at which nothing has changed just now."""
    return time.time_ns() + 10**9


def looked(tree: Path) -> State:
    found = state_of(tree, now=later)
    assert found is not None
    return found


def test_an_unchanged_tree_is_asked_of_git_once(tree: Path, asked: list[Path]) -> None:
    first = looked(tree)
    assert (first.branch, first.changed, first.deleted) == ("main", ["src/new.py"], [])
    assert len(first.commit) == 40
    assert [looked(tree) for _ in range(3)] == [first] * 3
    assert len(asked) == 1
    (tree / "outs" / "run-2.bin").write_text("what git ignores")
    (tree / ".everloop").mkdir()
    (tree / ".everloop" / "ledger.db").write_text("ours")
    assert looked(tree) == first
    assert len(asked) == 1


def same_size(tree: Path) -> None:
    (tree / "train.py").write_text("x = 2\n")


def same_size_and_time(tree: Path) -> None:
    before = (tree / "train.py").stat()
    (tree / "train.py").write_text("x = 2\n")
    os.utime(tree / "train.py", ns=(before.st_atime_ns, before.st_mtime_ns))


def changed_again(tree: Path) -> None:
    (tree / "src" / "new.py").unlink()


def new_in_a_new_folder(tree: Path) -> None:
    (tree / "deep" / "down").mkdir(parents=True)
    (tree / "deep" / "down" / "x.py").write_text("")


def other_rules(tree: Path) -> None:
    (tree / ".gitignore").write_text("")


def own_rules(tree: Path) -> None:
    (tree / ".git" / "info").mkdir(exist_ok=True)
    (tree / ".git" / "info" / "exclude").write_text("new.py\n")


CHANGES: list[Callable[[Path], object]] = [
    same_size,
    same_size_and_time,
    changed_again,
    new_in_a_new_folder,
    other_rules,
    own_rules,
    lambda tree: (tree / "train.py").unlink(),
    lambda tree: (tree / "train.py").chmod(0o755),
    lambda tree: (tree / "train.py").rename(tree / "fit.py"),
    lambda tree: git(tree, "add", "src/new.py"),
    lambda tree: git(tree, "commit", "-q", "--allow-empty", "-m", "more"),
    lambda tree: git(tree, "checkout", "-q", "-b", "other"),
    lambda tree: git(tree, "checkout", "-q", "--detach"),
    lambda tree: git(tree, "pack-refs", "--all"),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_changes_is_seen(tree: Path, change: Callable[[Path], object]) -> None:
    looked(tree)
    change(tree)
    answer = worktree._ask(tree, ())
    assert answer is not None
    assert looked(tree) == answer[0]


def test_what_changed_just_now_is_not_trusted(tree: Path, asked: list[Path]) -> None:
    (tree / "train.py").write_text("x = 3\n")
    for _ in range(2):
        assert state_of(tree, now=lambda: (tree / "train.py").stat().st_mtime_ns) is not None
    assert len(asked) == 2


def test_where_looking_is_not_enough_git_is_asked(
    tree: Path, asked: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tree / "src" / "library"
    inner.mkdir()
    git(inner, "init", "-q")
    looked(tree), looked(tree)
    assert len(asked) == 2
    monkeypatch.setattr(worktree, "MOST_WATCHED", 3)
    looked(tree.parent / "repository")
    assert len(asked) == 3
    assert state_of(tree.parent) is None, "no work tree"
