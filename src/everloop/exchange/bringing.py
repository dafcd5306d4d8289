"""Brings what a reader says into a workspace: the only place of this room that writes there.

It goes in batches, each of which arrives whole; what is here already is passed over. So an import that was killed goes on where
it was when it is started again, and one that is done changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import msgspec

from everloop.domain.adoption import AdoptedLoggedModel, AdoptedRun, MetricColumns, has_ended_since
from everloop.domain.runs import ACTIVE, DELETED, ArtifactRecord, checked_artifact_path
from everloop.domain.signature import StoredFile
from everloop.errors import InvalidInput
from everloop.exchange.fitting import fitted
from everloop.exchange.source import ForeignFile, Head, Report, Skipped, Source, Unreachable

if TYPE_CHECKING:
    from everloop.domain.adoption import KnownRun
    from everloop.store.objects import Objects
    from everloop.store.objects.contract import Writer
    from everloop.workspace.workspace import Workspace

T = TypeVar("T")
Say = Callable[[str], None]

RUNS_AT_ONCE = 100
MODELS_AT_ONCE = 50
POINTS_AT_ONCE = 2_000_000
"""How many points are in memory at once, unless a single run has more."""
LARGE = 64 << 20
"""From this size on, a file is stored by itself."""
BYTES_IN_A_MESSAGE = 8 << 20
"""How long a call gets; a server refuses what is longer than 32 MB."""
POINTS_IN_A_MESSAGE = 50_000
"""How many points of a run travel in the message itself; more go through the object store."""


def bring_in(
    workspace: Workspace,
    source: Source,
    *,
    only: Sequence[str] = (),
    files: bool = True,
    say: Say = lambda line: None,
) -> Report:
    """Bring a store in and report what was new, what was here and what was left. `only`: the names of experiments, none: all.
    `files`: artifacts too. `say` is told of the progress."""
    return _Import(workspace, source, only, files, say).run()


class _Import:
    def __init__(
        self, workspace: Workspace, source: Source, only: Sequence[str], files: bool, say: Say
    ) -> None:
        self._workspace, self._source, self._only, self._files, self._say = (
            workspace,
            source,
            only,
            files,
            say,
        )
        self._tracking = workspace.tracking
        self._experiments: dict[str, str] = {}
        self._deleted: set[str] = set()
        self._lost: dict[tuple[str, str], int] = {}
        self._report = Report(source.origin)

    def run(self) -> Report:
        """All of it, in the order in which one thing names another."""
        self._bring_experiments()
        self._bring_runs()
        self._bring_logged_models()
        if not self._only:
            self._bring_models()
        for (place, reason), owners in self._lost.items():
            self._report.skipped.append(
                Skipped("artifacts", f"{place} ({owners} of runs and models)", reason)
            )
        self._report.skipped += self._source.skipped
        return self._report

    # Experiments

    def _bring_experiments(self) -> None:
        found = self._source.experiments()
        unknown = [name for name in self._only if name not in {each.name for each in found.values()}]
        if unknown:
            names = ", ".join(f"'{each.name}'" for each in list(found.values())[:20])
            raise InvalidInput(
                f"there is no experiment '{unknown[0]}' in {self._source.origin}", hint=f"there are: {names}"
            )
        wanted = {given: each for given, each in found.items() if not self._only or each.name in self._only}
        before = {each.id for each in self._tracking.experiments(state="all")}
        here = self._tracking.adopt_experiments(found=list(wanted.values()))
        self._experiments = {given: str(each.id) for given, each in zip(wanted, here, strict=True)}
        self._deleted = {given for given, each in wanted.items() if each.state == DELETED}
        present = sum(each.id in before for each in here)
        self._report.count("experiments", len(here) - present, present)

    # Runs

    def _bring_runs(self) -> None:
        heads = []
        for head in self._source.heads():
            if head.experiment in self._experiments:
                heads.append(head)
            elif not self._only:
                reason = f"its experiment {head.experiment} is not in the store"
                self._report.skipped.append(Skipped("run", head.given, reason))
        done = 0
        for batch in _batches(heads, RUNS_AT_ONCE):
            known = {
                each.run_id: each
                for each in self._tracking.known_runs(run_ids=[head.run_id for head in batch])
            }
            wanted = [
                head
                for head in batch
                if head.run_id not in known or has_ended_since(known[head.run_id].status, head.status)
            ]
            self._bring_batch(wanted)
            chosen = {head.run_id for head in wanted}
            self._complete_files([head for head in batch if head.run_id not in chosen], known)
            self._report.count("runs", 0, len(batch) - len(wanted))
            done += len(batch)
            self._say(f"{done} of {len(heads)} runs")

    def _bring_batch(self, heads: Sequence[Head]) -> None:
        by_id = {head.run_id: head for head in heads}
        for group in _groups(self._source.read(heads)):
            runs = []
            with self._objects.writer() as store:
                for run in group:
                    fit = fitted(run, self._report.skipped, self._report.changed)
                    files = self._files_of(by_id[run.run_id])
                    runs.append(
                        msgspec.structs.replace(
                            fit,
                            experiment=self._experiments[run.experiment],
                            state=DELETED if run.experiment in self._deleted else run.state,
                            metrics=self._portable(fit.metrics),
                            artifacts=list(self._stored(store, files, f"run:{run.run_id}")),
                        )
                    )
            for message in _messages(runs):
                done = self._tracking.adopt_runs(found=message, origin=self._source.origin)
                self._report.count("runs", done.new, done.present)
                self._report.count("continued", done.replaced)
                self._count(message)

    def _count(self, runs: Sequence[AdoptedRun]) -> None:
        counts = {
            "params": sum(len(run.params) for run in runs),
            "tags": sum(len(run.tags) for run in runs),
            "metrics": sum(len(run.metrics.keys) for run in runs),
            "points": sum(run.metrics.count for run in runs),
            "datasets": sum(len(run.datasets) for run in runs),
            "artifacts": sum(len(run.artifacts) for run in runs),
            "artifact_bytes": sum(file.size for run in runs for file in run.artifacts),
        }
        for kind, number in counts.items():
            self._report.count(kind, number)

    def _complete_files(self, heads: Sequence[Head], known: dict[str, KnownRun]) -> None:
        """Files that runs which are here already lack: the last import may not have found them."""
        found: dict[str, list[ArtifactRecord]] = {}
        with self._objects.writer() as store:
            for head in heads:
                files = list(self._files_of(head))
                if len(files) > known[head.run_id].files:
                    found[head.run_id] = list(self._stored(store, files, f"run:{head.run_id}"))
        if found:
            added = self._tracking.adopt_artifacts(files=found, origin=self._source.origin)
            total = sum(len(files) for files in found.values())
            self._report.count("artifacts", added, total - added)

    def _portable(self, metrics: MetricColumns) -> MetricColumns:
        """Points that are too many for a message go by way of the object store. Beside the ledger there are no messages."""
        if not self._workspace.remote or metrics.count <= POINTS_IN_A_MESSAGE:
            return metrics
        stored = self._objects.put(metrics.points)
        return msgspec.structs.replace(metrics, points=b"", stored=stored.digest)

    # Models

    def _bring_logged_models(self) -> None:
        found = [pair for pair in self._source.logged_models() if pair[0].experiment in self._experiments]
        for batch in _batches(found, MODELS_AT_ONCE):
            models: list[AdoptedLoggedModel] = []
            with self._objects.writer() as store:
                for each, files in batch:
                    name = each.model.model_id
                    stored = {
                        file.path: StoredFile(file.digest, file.size)
                        for file in self._stored(store, self._reached(files), name)
                    }
                    experiment = self._experiments[each.experiment]
                    models.append(msgspec.structs.replace(each, experiment=experiment, files=stored))
            done = self._tracking.adopt_logged_models(found=models, origin=self._source.origin)
            self._tracking.measure_models(
                points=[
                    point for each in models if each.model.state == ACTIVE for point in each.model.measured
                ]
            )
            self._report.count("logged_models", done.new, done.present)

    def _bring_models(self) -> None:
        for model in self._source.models():
            try:
                done = self._workspace.registry.adopt_model(found=model, origin=self._source.origin)
            except InvalidInput as error:
                self._report.skipped.append(Skipped("model", model.name, error.message))
                continue
            self._report.count("models", done.models, done.models_present)
            self._report.count("versions", done.versions, done.versions_present)
            for each in done.refused:
                name, _, reason = each.partition(": ")
                self._report.skipped.append(Skipped("model", name, reason))

    # Files

    @property
    def _objects(self) -> Objects:
        return self._workspace.objects

    def _files_of(self, head: Head) -> Iterable[ForeignFile]:
        return self._reached(lambda: self._source.files(head)) if head.files else ()

    def _reached(self, files: Callable[[], Iterable[ForeignFile]]) -> Iterable[ForeignFile]:
        if not self._files:
            return ()
        try:
            return list(files())
        except Unreachable as lost:
            if lost.place:
                self._lost[lost.place, lost.reason] = self._lost.get((lost.place, lost.reason), 0) + 1
            return ()

    def _stored(self, store: Writer, files: Iterable[ForeignFile], owner: str) -> Iterable[ArtifactRecord]:
        for file in files:
            try:
                path = checked_artifact_path(file.path)
                with _opened(file.content) as stream:
                    # A batch is gathered before it is stored: large files go by themselves.
                    stored = store.add(stream) if file.size < LARGE else self._objects.put(stream)
            except (InvalidInput, OSError) as error:
                reason = error.message if isinstance(error, InvalidInput) else str(error.strerror or error)
                self._report.skipped.append(Skipped("artifact", f"{owner}/{file.path}", reason))
            else:
                yield ArtifactRecord(path, stored.digest, stored.size)


def _batches(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _groups(runs: Iterable[AdoptedRun]) -> Iterator[list[AdoptedRun]]:
    """Runs as they are read, as many together as fit into memory well."""
    group: list[AdoptedRun] = []
    points = 0
    for run in runs:
        group.append(run)
        points += run.metrics.count
        if points >= POINTS_AT_ONCE:
            yield group
            group, points = [], 0
    if group:
        yield group


def _messages(runs: Sequence[AdoptedRun]) -> Iterator[list[AdoptedRun]]:
    """The runs in as few calls as a server takes."""
    message: list[AdoptedRun] = []
    size = 0
    for run in runs:
        own = _size(run)
        if message and size + own > BYTES_IN_A_MESSAGE:
            yield message
            message, size = [], 0
        message.append(run)
        size += own
    if message:
        yield message


def _size(run: AdoptedRun) -> int:
    """About how many bytes a run is as JSON."""
    texts = sum(len(key) + len(value) for entries in (run.params, run.tags) for key, value in entries.items())
    described = sum(len(each.source) + len(each.schema) + len(each.profile) for each in run.datasets)
    return len(run.metrics.points) * 4 // 3 + 2 * (texts + described) + 1_000 * (1 + len(run.artifacts))


def _opened(
    content: Path | Callable[[], AbstractContextManager[BinaryIO]],
) -> AbstractContextManager[BinaryIO]:
    return content.open("rb") if isinstance(content, Path) else content()
