"""Brings a DVC repository in: each commit in which a tracked output changed becomes a version of a dataset.

A version is known again by where it came from (commit and path), so an import that was interrupted goes on where it stopped, and
one that is done adds nothing.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from everloop.domain.datasets import FileEntry, Manifest, Origin, VersionRecord
from everloop.domain.names import checked_name
from everloop.domain.transfers import SentVersion
from everloop.errors import InvalidInput
from everloop.exchange.dvc import tracked
from everloop.exchange.dvc.caches import Caches, Listed, Lost
from everloop.exchange.dvc.history import Commit, History
from everloop.exchange.dvc.tracked import Output, Stage
from everloop.exchange.source import Report, Skipped

if TYPE_CHECKING:
    from everloop.data.data import Data
    from everloop.domain.datasets import Column
    from everloop.store.objects import Stored

Say = Callable[[str], None]

_PATTERNS = ("**/*.dvc", "**/dvc.lock")


class DvcReport(Report):
    """What an import of a DVC repository did. `datasets`: those that tracked outputs became. `stages`: the steps of its
    pipelines as they are now, which stay DVC's; `run`: the commands that run them here, one for each `dvc.yaml`."""

    datasets: list[str] = []  # noqa: RUF012 (msgspec copies it)
    stages: list[Stage] = []  # noqa: RUF012
    run: list[str] = []  # noqa: RUF012


class _Found(NamedTuple):
    """An output as one revision names it."""

    output: Output
    commit: Commit


class _Shape(NamedTuple):
    columns: list[Column]
    rows: int | None
    content: str | None


class DvcImport:
    """One import. `prefix`: goes before the path of an output to make the dataset's name, such as ``photos/``."""

    def __init__(
        self,
        room: Data,
        folder: Path,
        *,
        revision: str = "HEAD",
        prefix: str = "",
        say: Say = lambda line: None,
    ) -> None:
        if not (folder / ".dvc").is_dir():
            raise InvalidInput(
                f"{folder} is no DVC repository: it has no folder .dvc", hint="name the folder that has"
            )
        self._room = room
        self._folder = folder
        self._prefix = prefix
        self._revision = revision
        self._say = say
        self._caches = Caches(folder)
        self._history = History(folder, revision) if History.is_kept(folder) else None
        self._report = DvcReport(source=f"DVC {folder.resolve().name}")
        self._stored: dict[str, Stored] = {}

    def run(self) -> DvcReport:
        try:
            return self._run()
        finally:
            if self._history is not None:
                self._history.close()

    def _run(self) -> DvcReport:
        report = self._report
        for kind in ("datasets", "versions", "files", "bytes"):
            report.count(kind, 0)
        seen: set[str] = set()
        for found in self._versions():
            name = self._prefix + found.output.path
            known = self._known(name, found)
            if known is None:
                continue
            if name not in seen:
                seen.add(name)
                report.datasets.append(name)
                report.count("datasets", not known, bool(known))
            self._take(name, found, known)
        report.stages += self._stages()
        report.skipped += self._caches.skipped
        return report

    def _versions(self) -> Iterator[_Found]:
        """Outputs whose content changed, in the order of history. What a merge brings is no change a second time."""
        last: dict[str, str] = {}
        for commit in self._commits():
            for path in commit.paths:
                before = self._before(commit, path)
                for output in self._outputs(commit, path):
                    if output.md5 not in (before.get(output.path), last.get(output.path)):
                        last[output.path] = output.md5
                        yield _Found(output, commit)

    def _before(self, commit: Commit, path: str) -> dict[str, str]:
        """The MD5 of each output that a file named before a commit."""
        try:
            text = self._history.file(f"{commit.digest}^", path) if self._history is not None else None
            if text is None:
                return {}
            wdirs = self._working_folders(f"{commit.digest}^", path)
            return {each.path: each.md5 for each in tracked.outputs(path, text, wdirs)}
        except InvalidInput:  # it was no file of DVC then
            return {}

    def _commits(self) -> Iterator[Commit]:
        if self._history is not None:
            yield from self._history.commits(_PATTERNS)
            return
        paths = sorted(
            each.relative_to(self._folder).as_posix()
            for each in self._folder.rglob("*")
            if tracked.is_tracking(each.relative_to(self._folder).as_posix()) and each.is_file()
        )
        yield Commit("", "", self._room.context.clock(), "", paths)

    def _outputs(self, commit: Commit, path: str) -> list[Output]:
        try:
            found = tracked.outputs(
                path, self._text(commit.digest, path), self._working_folders(commit.digest, path)
            )
        except InvalidInput as error:
            self._skip("file", _at(path, commit), error.message)
            return []
        for output in found:
            if output.path.startswith(("../", "/")):
                self._skip("output", _at(output.path, commit), "it is not below the repository's folder")
        return [each for each in found if not each.path.startswith(("../", "/"))]

    def _working_folders(self, revision: str, path: str) -> dict[str, str]:
        if posixpath.basename(path) != "dvc.lock":
            return {}
        beside = posixpath.join(posixpath.dirname(path), "dvc.yaml")
        try:
            return tracked.working_folders(beside, self._text(revision, beside))
        except InvalidInput:  # there is none, or none that can be read: then paths are taken from its folder
            return {}

    def _text(self, revision: str, path: str) -> str:
        if self._history is not None:
            text = self._history.file(revision, path)
            if text is None:
                raise InvalidInput(f"{path} is not in {revision[:12]}")
            return text
        try:
            return (self._folder / path).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None

    # Versions

    def _known(self, name: str, found: _Found) -> list[VersionRecord] | None:
        """What the dataset has; None when it cannot have this name."""
        try:
            return self._room.ever(checked_name(name, "dataset name"))
        except InvalidInput as error:
            self._skip("output", _at(found.output.path, found.commit), error.message)
            return None

    def _take(self, name: str, found: _Found, known: list[VersionRecord]) -> None:
        output, commit = found
        origin = Origin(f"dvc:{output.path}" + (f"@{commit.digest}" if commit.digest else f"#{output.md5}"))
        if any(each.origin == origin for each in known):
            self._report.count("versions", 0, 1)
            return
        try:
            files = self._caches.files(output)
            manifest, new_bytes = self._store(files)
        except (Lost, InvalidInput) as error:
            self._skip("version", _at(name, commit), str(error))
            return
        shape = _shape(files)
        digest = self._room.objects.put(manifest.encode()).digest
        version = VersionRecord(
            reference="",
            name=name,
            version=0,
            digest=digest,
            files=len(manifest.files),
            bytes=manifest.size,
            new_bytes=new_bytes,
            rows=shape.rows,
            columns=shape.columns,
            content=shape.content,
            parent=None,
            producer=None,
            message=commit.subject,
            created=_not_after(commit.time, self._room.context.clock()),
            user=commit.author or "dvc",
            origin=origin,
        )
        received = self._room.receive([SentVersion(version)])
        self._say(f"{received.added[0]}: {commit.subject}")
        self._report.count("versions", 1)
        self._report.count("files", len(files))
        self._report.count("bytes", manifest.size)

    def _store(self, files: list[Listed]) -> tuple[Manifest, int]:
        """Store files; one that this import has stored already is not read again."""
        new = {file.md5: file.place for file in files if file.md5 not in self._stored}
        if new:
            with self._room.objects.writer() as writer:
                stored = {md5: writer.add(place) for md5, place in new.items()}
            self._stored |= stored
        entries = [
            FileEntry(file.path, self._stored[file.md5].digest, self._stored[file.md5].size) for file in files
        ]
        return Manifest.of(entries), sum(self._stored[md5].new_bytes for md5 in new)

    def _stages(self) -> list[Stage]:
        if self._history is not None:
            paths = self._history.files(["dvc.yaml"])
        else:
            paths = sorted(
                each.relative_to(self._folder).as_posix() for each in self._folder.rglob("dvc.yaml")
            )
        found = []
        for path in paths:
            try:
                named = tracked.stages(path, self._text(self._revision, path))
                found += named
                if named:
                    self._report.run.append(self._command(path))
            except InvalidInput as error:
                self._skip("file", path, error.message)
        return found

    def _command(self, path: str) -> str:
        """What runs the stages of a `dvc.yaml`: from the project where it is inside, else from its own repository."""
        folder, project = self._folder.resolve(), self._room.context.project.resolve()
        if folder.is_relative_to(project):
            return shlex.join(["everloop", "run", (folder / path).relative_to(project).as_posix()])
        return f"{shlex.join(['cd', str(folder)])} && {shlex.join(['everloop', 'run', path])}"

    def _skip(self, kind: str, name: str, reason: str) -> None:
        self._report.skipped.append(Skipped(kind, name, reason))


def _at(path: str, commit: Commit) -> str:
    return f"{path} at {commit.digest[:12]} ({commit.subject})" if commit.digest else path


def _not_after(time: datetime, now: datetime) -> datetime:
    """A clock that ran ahead when it was committed does not put versions into the future."""
    return min(time, now)


def _shape(files: list[Listed]) -> _Shape:
    """What the files are as one table; nothing when they are none. DVC never promised a table, so what cannot be read as one by
    its ending is kept as it is."""
    import pyarrow as pa

    from everloop.data.tables import parquet as tables
    from everloop.data.tables.row_digests import row_digest
    from everloop.data.tables.scanning import table_of

    no_table = _Shape([], None, None)
    schemas = []
    for file in files:
        try:
            found = tables.inspect(file.path, file.place)
        except InvalidInput:
            return no_table
        if found is None:
            return no_table
        schemas.append(found[0])
    endings = {posixpath.splitext(file.path)[1].lower() for file in files}
    if len(endings) != 1 or not all(each.equals(schemas[0]) for each in schemas):
        return no_table
    try:
        table = table_of([(file.path, file.place) for file in files])
        return _Shape(tables.columns_of(table.schema), table.count_rows(), row_digest(table))
    except (pa.ArrowException, InvalidInput):
        return no_table
