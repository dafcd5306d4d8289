"""What git says of a work tree, remembered within the process while nothing in the tree has changed.

Asking git takes a process of its own, ten times as long as looking at the files of a usual project. So after git was asked, the
size, times and inode of every file that it does not ignore are noted, and those of git's own index, head and branch; while all
of them are the same, so is the answer.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

GIT_SECONDS = 10
MOST_WATCHED = 4_000
"""Entries of a tree that is looked at instead of asking git; in a larger one git is quicker."""
RACY = 50_000_000
"""Nanoseconds. A file that changed so shortly before git was asked may change again without its times saying so."""

_GITS_OWN = ("HEAD", "index", "config", "packed-refs", "info/exclude")
_ELSEWHERE = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")

Mark = tuple[str, int, int, int, int, int]
"""Path, time of change, time of change of the inode, size, inode, mode."""


class State(NamedTuple):
    """A work tree: what is checked out, and the paths that are not as committed (untracked ones too, ignored ones not)."""

    commit: str
    branch: str
    changed: list[str]
    deleted: list[str]


class _Seen(NamedTuple):
    """An answer of git, the folders that do not matter to it, and the files it was true of; None where they are too many."""

    state: State
    apart: frozenset[str]
    marks: list[Mark] | None


_seen: dict[tuple[Path, tuple[Path, ...]], _Seen] = {}


def top_of(folder: Path) -> Path | None:
    """The top of the work tree that a folder is in."""
    for each in (folder, *folder.parents):
        if (each / ".git").exists():
            return each
    return None


def state_of(
    top: Path, leave_out: tuple[Path, ...] = (), *, now: Callable[[], int] = time.time_ns
) -> State | None:
    """The state of a work tree; None where git is of no use. `leave_out`: folders that are no part of it."""
    known = _seen.get((top, leave_out))
    if known is not None and known.marks is not None and _marks(top, known.apart) == known.marks:
        return known.state
    asked = now()
    answer = _ask(top, leave_out)
    if answer is None:
        return None
    state, ignored = answer
    apart = frozenset(str(each) for each in (*leave_out, *(top / path for path in ignored)))
    too_many = known is not None and known.marks is None
    marks = None if too_many else _marks(top, apart)
    if marks is not None and any(max(mark[1:3]) > asked - RACY for mark in marks):
        _seen.pop((top, leave_out), None)
    else:
        _seen[top, leave_out] = _Seen(state, apart, marks)
    return state


def git(top: Path, *arguments: str) -> bytes | None:
    """What git answers, or None: it is not installed, refuses, or takes too long. Locks of the user's index are not taken."""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(top), *arguments],
            capture_output=True,
            timeout=GIT_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _ask(top: Path, leave_out: Iterable[Path]) -> tuple[State, list[str]] | None:
    """The state of a work tree and the folders that git ignores, in one call of git."""
    hidden = [":(exclude,glob)**/.everloop/**"]
    hidden += [
        f":(exclude,top,literal){each.relative_to(top)}"
        for each in leave_out
        if each != top and each.is_relative_to(top)
    ]
    asked = ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignored=matching"]
    output = git(top, *asked, "--no-renames", "--", ".", *hidden)
    if output is None:
        return None
    commit = branch = ""
    changed: list[str] = []
    deleted: list[str] = []
    ignored: list[str] = []
    for line in output.decode(errors="surrogateescape").split("\0"):
        if line.startswith("# branch.oid "):
            commit = line[13:] if line[13:] != "(initial)" else ""
        elif line.startswith("# branch.head "):
            branch = line[14:] if line[14:] != "(detached)" else ""
        elif line.startswith("? "):
            changed.append(line[2:])
        elif line.startswith("! "):
            if line.endswith("/"):
                ignored.append(line[2:-1])
        elif line.startswith(("1 ", "u ")):
            path = line.split(" ", 8 if line[0] == "1" else 10)[-1]
            (changed if os.path.lexists(top / path) else deleted).append(path)
    return State(commit, branch, sorted(changed), sorted(deleted)), ignored


def _marks(top: Path, apart: frozenset[str]) -> list[Mark] | None:
    """The files that an answer of git depends on; None where they are too many, or where this is not all it depends on."""
    found = _git_marks(top)
    if found is None:
        return None
    waiting, left = [str(top)], MOST_WATCHED
    try:
        while waiting:
            folder = waiting.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0 or (entry.name == ".git" and folder != str(top)):
                        return None  # too many, or a repository within this one
                    if entry.name in (".git", ".everloop") or entry.path in apart:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        found.append(_mark(entry.path, entry.stat(follow_symlinks=False)))
    except OSError:
        return None
    return sorted(found)


def _git_marks(top: Path) -> list[Mark] | None:
    own = top / ".git"
    if any(name in os.environ for name in _ELSEWHERE) or not own.is_dir() or (own / "reftable").exists():
        return None
    try:
        head = (own / "HEAD").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    names = [*_GITS_OWN, head.removeprefix("ref: ").strip()] if head.startswith("ref: ") else _GITS_OWN
    found: list[Mark] = [(head, 0, 0, 0, 0, 0)]
    for name in names:
        path = own / name
        try:
            found.append(_mark(str(path), path.stat()))
        except OSError:  # not there, as a branch may not be that is packed
            found.append((str(path), 0, 0, 0, 0, 0))
    return found


def _mark(path: str, found: os.stat_result) -> Mark:
    return path, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode
