"""The commits of a git repository that changed what DVC tracks, oldest first, and the files as they were then."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from everloop.errors import InvalidInput

_FIELDS = "%x01%H%x02%an <%ae>%x02%at%x02%s%x02"
_SECONDS = 600


class Commit(msgspec.Struct, frozen=True):
    """A commit that changed some of the files asked for. `paths`: these files, from the folder the history was asked for."""

    digest: str
    author: str
    time: datetime
    subject: str
    paths: list[str]


class History:
    """The history of a folder in a git repository, as reachable from `revision`. Reading changes nothing there."""

    def __init__(self, folder: Path, revision: str = "HEAD") -> None:
        self._folder = folder
        self._revision = revision
        # Nothing that the repository's own configuration names is run: no pager, no hooks, no monitor of files.
        self._command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", "--no-pager"]
        self._reader: subprocess.Popen[bytes] | None = None

    @classmethod
    def is_kept(cls, folder: Path) -> bool:
        """Whether a folder is in a git repository that has a commit."""
        return cls(folder)._git(["rev-parse", "--verify", "-q", "HEAD"], wrong="").returncode == 0

    def commits(self, patterns: Sequence[str]) -> Iterator[Commit]:
        """The commits that added or changed files of these patterns. A merge counts for what it changed of its first parent."""
        done = self._git(
            [
                "log",
                "--topo-order",
                "--reverse",
                "--diff-merges=first-parent",
                "--no-renames",
                "--diff-filter=AMT",
                "--name-only",
                "--relative",
                "-z",
                f"--format={_FIELDS}",
                self._revision,
                "--",
                *(f":(glob){pattern}" for pattern in patterns),
            ],
            wrong=f"the history of {self._folder} cannot be read",
        )
        for record in done.stdout.split(b"\x01")[1:]:
            digest, author, seconds, subject, names = record.split(b"\x02", 4)
            paths = [_text(name.strip(b"\n")) for name in names.split(b"\0")]
            yield Commit(
                _text(digest),
                _text(author),
                datetime.fromtimestamp(int(seconds), UTC),
                _text(subject),
                [path for path in paths if path],
            )

    def file(self, commit: str, path: str) -> str | None:
        """A file as it was at a commit, such as ``3ac374f`` or ``3ac374f^`` (its first parent); None when there was none."""
        if "\n" in path:
            raise InvalidInput(f"{path!r} cannot be asked for: its name has a line break")
        if self._reader is None:
            self._reader = subprocess.Popen(
                [*self._command, "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        asked, answers = self._reader.stdin, self._reader.stdout
        assert asked is not None
        assert answers is not None
        asked.write(f"{commit}:./{path}\n".encode(errors="surrogateescape"))
        asked.flush()
        head = answers.readline().split()
        if len(head) != 3 or not head[2].isdigit():  # OBJECT missing
            return None
        content = answers.read(int(head[2]) + 1)[:-1]
        return _text(content) if head[1] == b"blob" else None

    def close(self) -> None:
        """End the process that reads."""
        if self._reader is not None:
            self._reader.communicate()
            self._reader = None

    def files(self, patterns: Sequence[str]) -> list[str]:
        """The files of these patterns as they are at the revision."""
        done = self._git(
            ["ls-tree", "-r", "-z", "--name-only", self._revision], wrong=f"{self._folder} cannot be listed"
        )
        names = [_text(name) for name in done.stdout.split(b"\0") if name]
        return [name for name in names if any(name.rpartition("/")[2] == pattern for pattern in patterns)]

    def _git(self, arguments: Sequence[str], *, wrong: str) -> subprocess.CompletedProcess[bytes]:
        try:
            done = subprocess.run(
                [*self._command, *arguments], capture_output=True, timeout=_SECONDS, check=False
            )
        except FileNotFoundError:
            raise InvalidInput("git is not installed", hint="install git to read the history") from None
        except subprocess.TimeoutExpired:
            raise InvalidInput(f"{wrong}: git takes too long") from None
        if done.returncode and wrong:
            said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
            raise InvalidInput(f"{wrong}: {said}", hint="is the revision right, and the repository whole?")
        return done


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
