"""What the events of a run tell, asked of a workspace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from everloop.domain.references import Kind, Reference
from everloop.domain.runs import RunDetail
from everloop.errors import NotFound
from everloop.exchange.openlineage.events import JobName, RunFacts, Thing
from everloop.tracking.worktree import git

if TYPE_CHECKING:
    from everloop.workspace.workspace import Workspace


class Gatherer:
    """Facts of runs, from a workspace in this process or behind a server."""

    def __init__(self, workspace: Workspace, namespace: str = "") -> None:
        self.workspace = workspace
        self.namespace = (
            namespace or f"everloop://{workspace.settings.name or workspace.project.name or 'workspace'}"
        )
        self._jobs: dict[str, JobName] = {}
        self._things: dict[str, Thing] = {}

    def facts(self, run: str, nominal: datetime | None) -> RunFacts | None:
        """None for a run that is gone: there is nothing left to tell of it."""
        try:
            detail = self.workspace.tracking.describe(run)
        except NotFound:
            return None
        parent = detail.run.parent
        captured = detail.captured
        finite = {key: value for key, value in detail.run.metrics.items() if key not in detail.run.nonfinite}
        return RunFacts(
            run=run,
            job=self._job(detail),
            namespace=self.namespace,
            params=detail.run.params,
            metrics={key: value for key, value in finite.items() if value is not None},
            user=detail.run.user,
            source=captured.source or detail.run.source,
            commit=captured.commit,
            branch=captured.branch,
            repository=_repository(self.workspace.project) if captured.commit else "",
            parent=None if parent is None else self._parent(parent),
            nominal=nominal,
            error=self._error(detail) if detail.run.status == "failed" else "",
            inputs=self._of(detail.consumed),
            outputs=self._of(detail.produced),
        )

    def _parent(self, run: str) -> tuple[str, JobName] | None:
        if run not in self._jobs:
            try:
                self._jobs[run] = self._job(self.workspace.tracking.describe(run))
            except NotFound:
                return None
        return run, self._jobs[run]

    def _job(self, detail: RunDetail) -> JobName:
        """What ran: it is called the same in every run of it."""
        tags = detail.run.tags
        if step := tags.get("everloop.step"):
            parent = None if detail.run.parent is None else self._parent(detail.run.parent)
            called = step.partition("[")[0]
            return JobName(f"{parent[1].name}.{called}" if parent is not None else called, "STEP")
        if pipeline := tags.get("everloop.pipeline"):
            return JobName(pipeline, "PIPELINE")
        source = detail.run.source or detail.run.name
        return JobName(f"{detail.run.experiment}/{source}", "SCRIPT")

    def _error(self, detail: RunDetail) -> str:
        """Of a pipeline's run the error of the first step that failed; of a step's run its own."""
        pipelines = self.workspace.pipelines
        run, parent = detail.run.run_id, detail.run.parent
        steps = pipelines.steps(run) or (pipelines.steps(parent) if parent is not None else [])
        failed = [each for each in steps if each.status == "failed" and each.error]
        own = [each for each in failed if each.run == run]
        return (own or failed)[0].error if own or failed else ""

    def _of(self, references: Iterable[str]) -> tuple[Thing, ...]:
        found = []
        for each in references:
            if each.partition(":")[0] not in (Kind.DATA, Kind.FEATURE, Kind.MODEL):
                continue
            if each not in self._things:
                self._things[each] = self._thing(each)
            found.append(self._things[each])
        return tuple(found)

    def _thing(self, reference: str) -> Thing:
        parsed = Reference.parse(reference)
        try:
            if parsed.kind is Kind.DATA:
                record = self.workspace.data.version(reference)
                columns = {each.name: str(each.type) for each in record.columns}
                return Thing(reference, columns, record.rows, record.bytes)
            if parsed.kind is Kind.MODEL:
                signature = self.workspace.registry.version(reference).model.signature
                return Thing(reference, {each.name: str(each.type) for each in signature.inputs})
        except NotFound:  # it was removed; that it was used stays true
            pass
        return Thing(reference)


@lru_cache(maxsize=64)
def _repository(project: Path) -> str:
    """The address of the repository that a project was cloned from; empty where it has none."""
    answer = git(project, "remote", "get-url", "origin")
    address = "" if answer is None else answer.decode(errors="replace").strip()
    if address and ":" not in address.partition("/")[0]:  # a folder, perhaps told from the project's own
        return str((project / address).resolve())
    host = address.partition("://")[2].partition("/")[0]
    return address.replace(f"{host.rpartition('@')[0]}@", "", 1) if "@" in host else address
