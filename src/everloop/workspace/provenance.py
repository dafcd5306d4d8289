"""What did I do to get this result? One answer over all rooms: upward to data, code, parameters and environment, downward to
what was made with it."""

from collections import Counter
from datetime import datetime
from typing import Any

import msgspec

from everloop.data.data import Data
from everloop.data.labels.labels import Labels
from everloop.domain.events import Anchor
from everloop.domain.featureviews.asked import FeatureName
from everloop.domain.references import Kind, Reference
from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.runs import RunDetail
from everloop.errors import EverloopError, NotFound, nearest
from everloop.features.features import Features
from everloop.governance.audit import AuditReport, Governance
from everloop.governance.chain import AuditFault
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.monitoring.monitoring import Monitoring
from everloop.pipelines.pipelines import Pipelines
from everloop.registry.registry import Registry
from everloop.rollout.rollout import Rollouts
from everloop.serving.serving import Serving
from everloop.serving.verifying import endpoint_faults, journal_faults
from everloop.store.ledger.lineage import lineage
from everloop.tracking.differences import environment_of
from everloop.tracking.shipping import journal_folder
from everloop.tracking.tracking import Tracking
from everloop.workspace.impacts.room import Impacts
from everloop.workspace.naming import meant
from everloop.workspace.neighbourhoods import Neighbourhood, Opening, Surroundings
from everloop.workspace.outlets import Outlets


class Link(msgspec.Struct, frozen=True, order=True):
    """One edge of lineage: something of `source` went into `target`."""

    source: str
    target: str
    role: str


class Code(msgspec.Struct, frozen=True):
    """What ran. `tree` is the digest of the captured work tree, from which it can be written out again."""

    source: str = ""
    commit: str = ""
    branch: str = ""
    dirty: bool = False
    tree: str = ""
    command: list[str] = []


class Ran(msgspec.Struct, frozen=True):
    """What it ran on."""

    python: str = ""
    platform: str = ""
    cpu: str = ""
    packages: list[str] = []
    threads: dict[str, str] = {}
    seeds: dict[str, int] = {}


class Why(msgspec.Struct, frozen=True):
    """Where something comes from and where it went.

    parents, children: the objects directly before and after it. upward, downward: all edges on the way.
    facts: what is particular to its kind. started_by: what set its run off when nobody typed the command: a trigger, the alert
    or dataset version it fired for. more: how many runs and other things at least are left out of `upward` and `downward`, by
    kind. described: datasets that its run said it used, of which nothing is kept but how they
    were described. predictions: how many predictions were made with what came of it, by model.
    complete: nothing of code, data, parameters and environment is unknown; `missing` names what is.
    """

    reference: str
    kind: str
    summary: str
    code: Code
    data: list[str]
    environment: Ran
    parameters: dict[str, str]
    parents: list[Link]
    children: list[Link]
    upward: list[Link]
    downward: list[Link]
    facts: dict[str, Any]
    predictions: dict[str, int]
    complete: bool
    missing: list[str]
    described: list[LoggedDataset] = []
    started_by: list[Link] = []
    more: dict[str, int] = {}


class Known(msgspec.Struct):
    """What one kind of object says of itself. `starts`: where lineage is followed upward from, when not from itself."""

    reference: str
    summary: str
    facts: dict[str, Any]
    starts: list[str] = []
    run: str = ""


class Status(msgspec.Struct, frozen=True):
    """How much of each kind is here, and the newest event."""

    workspace: str
    counts: dict[str, int]
    open_alerts: int
    events: int
    newest: datetime | None


class Provenance(Impacts, Outlets, Room):
    """Questions that go through all rooms."""

    name = "provenance"

    @operation(Permission.READ)
    def why(self, reference: str, most: int = 500) -> Why:
        """The provenance of a run, dataset, labelling project, feature view, pipeline, model, endpoint, prediction, rollout or
        alert, upward and downward. A name without its kind will do where only one thing is called so. `most`: how many runs are
        told in either direction, the newest; what older ones made is told all the same."""
        asked = meant(self.context, reference)
        known = _DESCRIBE[asked.kind](self, asked)
        starts = known.starts or [known.reference]
        with self.look() as look:
            above = lineage(look, starts, upward=True, most=most)
            below = lineage(look, [known.reference], upward=False, most=most)
        upward, downward = ([Link(*edge) for edge in each.edges] for each in (above, below))
        # A pipeline is explained by its last run, which came of it: that is no way into it.
        upward = [link for link in upward if link.source != known.reference]
        run = known.run or _nearest_run(starts, upward)
        detail = self._detail(run)
        is_gone = detail is None
        code, environment, parameters, described = self._of_run(detail)
        data = sorted(
            {each for link in upward for each in (link.source, link.target) if each.startswith("data:")}
        )
        missing = _missing(asked.kind, code, environment, run, data)
        if run and is_gone:
            missing = [f"run:{run}, which made it, is not here any more"]
        return Why(
            reference=known.reference,
            kind=str(asked.kind),
            summary=known.summary,
            code=code,
            data=[each for each in data if each != known.reference],
            environment=environment,
            parameters=parameters,
            parents=[link for link in upward if link.target in starts],
            children=[link for link in downward if link.source == known.reference],
            upward=upward,
            downward=downward,
            facts=known.facts | ({"run": f"run:{run}"} if run else {}),
            predictions=self._predictions(known.reference, downward),
            complete=not missing,
            missing=missing,
            described=described,
            started_by=_started_by(run, upward),
            more=dict(Counter(above.more) + Counter(below.more)),
        )

    @operation(Permission.READ)
    def neighbourhood(
        self,
        reference: str,
        up: int = 1,
        down: int = 1,
        opened: list[Opening] = [],  # noqa: B006  (msgspec copies defaults)
        hidden: list[str] = [],  # noqa: B006
    ) -> Neighbourhood:
        """What lies around an object in the lineage: so many levels upward and downward, and further where `opened` says so. The
        newest neighbours of each kind are given and the others counted, so the answer stays small in a ledger of any size.
        `hidden`: kinds that are looked through, such as ``run``."""
        asked = meant(self.context, reference)
        known = _DESCRIBE[asked.kind](self, asked)
        own_edges = asked.kind not in (Kind.PREDICTION, Kind.ALERT)
        with self.look() as look:
            around = Surroundings(look, set(hidden) - {str(asked.kind)})
            return around.of(known.reference, [] if own_edges else known.starts, up, down, opened)

    @operation(Permission.READ)
    def verify(self, anchors: list[Anchor] = []) -> AuditReport:  # noqa: B006  (msgspec copies defaults)
        """Walk all that can be checked and name each thing that is not as it was written: the ledger's file, the chain of events
        and its seals, the rows of all tables, every stored object, the copies that prediction servers run from, and the journals
        on their way. With anchors, also whether the chain goes on from each."""
        report = self.context.room(Governance).verify(anchors)
        found = [AuditFault(place, message) for place, message in self.context.ledger.faults()]
        try:
            found += self._files_faults()
        except (EverloopError, msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            if report.ok and not found:
                raise  # nothing that was found explains it
            message = f"could not be checked, because rows about them are damaged: {error}"
            found.append(AuditFault("deployments and journals", message))
        return msgspec.structs.replace(report, ok=report.ok and not found, faults=[*report.faults, *found])

    @operation(Permission.READ)
    def status(self) -> Status:
        """What is here, counted by kind."""
        tracking, registry = self.context.room(Tracking), self.context.room(Registry)
        datasets = self.context.room(Data).datasets()
        models = registry.models()
        newest = self.context.ledger.events(limit=1, newest_first=True)
        return Status(
            workspace=self.context.settings.name,
            counts={
                "datasets": len(datasets),
                "dataset versions": sum(each.versions for each in datasets),
                "feature views": len(self.context.room(Features).recorded_views()),
                "runs": tracking.search(limit=1, count=True).total or 0,
                "models": len(models),
                "model versions": sum(each.versions for each in models),
                "endpoints": len(self.context.room(Serving).endpoints()),
            },
            open_alerts=len(self.context.room(Monitoring).alerts(state="open")),
            events=self.context.ledger.head(),
            newest=newest[0].time if newest else None,
        )

    def _files_faults(self) -> list[AuditFault]:
        registry, serving = self.context.room(Registry), self.context.room(Serving)
        versions = [each for model in registry.models() for each in registry.versions(model.name)]
        files = {each.digest: each.files for each in versions}
        faults = list(journal_faults(journal_folder(self.context.folder).glob("*")))
        for endpoint in serving.endpoints():
            faults += endpoint_faults(serving.folder(endpoint.name), endpoint, files)
        return faults

    def _detail(self, run: str) -> RunDetail | None:
        """None for a run that was purged, or is in the workspace that a dataset was pulled from."""
        try:
            return self.context.room(Tracking).describe(run, metrics=False) if run else None
        except NotFound:
            return None

    def _of_run(self, detail: RunDetail | None) -> tuple[Code, Ran, dict[str, str], list[LoggedDataset]]:
        if detail is None:
            return Code(), Ran(), {}, []
        captured = detail.captured
        code = Code(
            captured.source,
            captured.commit,
            captured.branch,
            captured.dirty,
            captured.code,
            list(captured.command),
        )
        ran = environment_of(captured, self.objects)
        if ran is None:  # its object was freed, or did not come along when the dataset was pulled
            return code, Ran(seeds=captured.seeds), detail.run.params, detail.datasets
        environment = Ran(ran.python, ran.platform, ran.cpu, ran.packages, ran.threads, captured.seeds)
        return code, environment, detail.run.params, detail.datasets

    def _predictions(self, reference: str, downward: list[Link]) -> dict[str, int]:
        """Predictions by model, over the models at or below the reference."""
        models = {
            each for link in downward for each in (link.source, link.target) if each.startswith("model:")
        }
        if reference.startswith("model:"):
            models.add(reference)
        counts: Counter[str] = Counter()
        serving = self.context.room(Serving)
        if models:
            for segment in serving.segments():
                counts.update(
                    {model: rows for model, rows in segment.rows_by_model.items() if model in models}
                )
        return dict(sorted(counts.items()))

    def _run(self, asked: Reference) -> Known:
        record = self.context.room(Tracking).run(self.context.room(Tracking).resolve(asked.name))
        facts: dict[str, Any] = {
            "name": record.name,
            "status": record.status,
            "experiment": record.experiment,
            "user": record.user,
        }
        facts |= {"started": record.start_time, "ended": record.end_time, "metrics": record.metrics}
        facts |= self._of_pipeline(record.run_id) | self._reproduced(record.reference)
        return Known(
            record.reference, f"{record.name}, {record.status}, by {record.user}", facts, run=record.run_id
        )

    def _of_pipeline(self, run: str) -> dict[str, Any]:
        """Of a pipeline's run its steps with why each was executed; of a step's run which step it is."""
        pipelines = self.context.room(Pipelines)
        found = pipelines.step_of(run)
        if found is not None:
            whole, step = found
            told = {"name": step.name, "of": f"run:{whole}", "reason": step.reason, "seconds": step.seconds}
            return {"step": told}
        steps = pipelines.steps(run)
        if not steps:
            return {}
        record = pipelines.pipeline_run(run)
        told_steps = [
            {"name": each.name, "status": each.status, "reason": each.reason, "seconds": each.seconds}
            for each in steps[:STEPS_TOLD]
        ]
        return {"pipeline": f"pipeline:{record.pipeline}", "source": record.source, "steps": told_steps}

    def _reproduced(self, reference: str) -> dict[str, Any]:
        """How equal it came out when it was last rebuilt."""
        found = self.context.room(Pipelines).reproductions(reference)
        return {"reproduced": {"grade": found[0].grade, "time": found[0].time}} if found else {}

    def _data(self, asked: Reference) -> Known:
        record = self.context.room(Data).version(str(asked))
        rows = f"{record.rows:,} rows, " if record.rows is not None else ""
        summary = f"{rows}{record.files} files, {record.bytes:,} bytes; {record.message or 'no message'}"
        facts: dict[str, Any] = {
            "digest": record.digest,
            "rows": record.rows,
            "files": record.files,
            "bytes": record.bytes,
        }
        facts |= {
            "message": record.message,
            "created": record.created,
            "user": record.user,
            "parent": record.parent,
        }
        return Known(record.reference, summary, facts, run=(record.producer or "").removeprefix("run:"))

    def _labels(self, asked: Reference) -> Known:
        labels = self.context.room(Labels)
        found, progress = labels.project(asked.name), labels.progress(asked.name)
        facts: dict[str, Any] = {
            "source": found.source,
            "questions": [each.name for each in found.questions],
            "items": progress.items,
            "answered": progress.done,
            "reviewed": progress.reviewed,
            "annotators": [each.user for each in progress.annotators],
            "closed": found.closed,
        }
        done = progress.done + progress.reviewed
        closed = f", closed on {found.closed:%Y-%m-%d}" if found.closed is not None else ""
        summary = f"{done:,} of {progress.items:,} items have their answers{closed}"
        return Known(found.reference, summary, facts)

    def _feature(self, asked: Reference) -> Known:
        view = self.context.room(Features).recorded(str(asked))
        reference = f"feature:{view.name}@v{view.version}"
        return Known(reference, "a feature view", {"declaration": msgspec.to_builtins(view)})

    def _pipeline(self, asked: Reference) -> Known:
        pipelines = self.context.room(Pipelines)
        runs = pipelines.runs(asked.name, limit=20)
        if not runs:
            known = {each.pipeline for each in pipelines.runs(limit=1000)}
            raise NotFound(
                f"no run of a pipeline '{asked.name}' is known",
                hint=nearest(asked.name, known, see="everloop runs list"),
            )
        newest = runs[0]
        summary = f"defined in {newest.source or 'no file'}, ran last on {newest.started:%Y-%m-%d %H:%M} UTC: {newest.status}"
        facts: dict[str, Any] = {"runs": [f"run:{each.run}" for each in runs]}
        return Known(str(asked), summary, facts, starts=facts["runs"][:1])

    def _model(self, asked: Reference) -> Known:
        record = self.context.room(Registry).version(str(asked))
        facts: dict[str, Any] = {
            "state": record.state,
            "aliases": list(record.aliases),
            "digest": record.digest,
        }
        facts |= {
            "metrics": record.metrics,
            "features": list(record.model.features),
            "created": record.created,
        }
        facts |= self._reproduced(record.reference)
        origin = f"run:{record.run[:8]}" if record.run else record.source or "elsewhere"
        summary = f"registered by {record.user} from {origin}"
        return Known(record.reference, summary, facts, run=record.run)

    def _endpoint(self, asked: Reference) -> Known:
        record = self.context.room(Serving).endpoint(asked.name)
        arms = [
            {"arm": arm.name, "model": arm.model, "mode": arm.mode, "weight": arm.weight}
            for arm in record.arms
        ]
        live = [arm.model for arm in record.arms if arm.mode == "live"]
        facts: dict[str, Any] = {"revision": record.revision, "arms": arms}
        return Known(
            record.reference, f"revision {record.revision}, answered by {', '.join(live)}", facts, starts=live
        )

    def _prediction(self, asked: Reference) -> Known:
        found = self.context.room(Serving).prediction(str(asked))
        model = self.context.room(Registry).version(found.model)
        facts = msgspec.to_builtins(found, builtin_types=(datetime,))
        answer = found.label if found.score is None else f"{found.score:.4f}"
        summary = f"{answer} at {found.time:%Y-%m-%d %H:%M} UTC by {found.model} as {found.arm} of endpoint:{found.endpoint}"
        views = [FeatureName.parse(each) for each in model.model.features]
        taken = {str(Reference(Kind.FEATURE, each.view, each.version)) for each in views}
        starts = [found.model, *sorted(taken)]
        return Known(f"prediction:{found.prediction_id}", summary, facts, starts=starts, run=model.run)

    def _alert(self, asked: Reference) -> Known:
        alert = self.context.room(Monitoring).alert(asked.name)
        facts = msgspec.to_builtins(alert, builtin_types=(datetime,))
        reference = f"alert:{alert.alert_id}"
        starts = [reference, f"endpoint:{alert.endpoint}", alert.model]
        return Known(reference, alert.report.what, facts, starts=starts)

    def _rollout(self, asked: Reference) -> Known:
        reference = self.context.room(Rollouts).rollout(str(asked)).reference
        events = self.context.ledger.events(subject=reference, limit=1000)
        facts: dict[str, Any] = {
            "events": [{"time": each.time, "what": each.action, "payload": each.payload} for each in events]
        }
        models = [str(each.payload["model"]) for each in events if "model" in each.payload][:1]
        return Known(reference, f"{len(events)} events", facts, starts=models or [reference])


STEPS_TOLD = 200
SET_OFF = frozenset({"triggered"})
"""Roles of what sets a run off without having gone into it."""

_DESCRIBE = {
    Kind.RUN: Provenance._run,
    Kind.DATA: Provenance._data,
    Kind.LABELS: Provenance._labels,
    Kind.FEATURE: Provenance._feature,
    Kind.PIPELINE: Provenance._pipeline,
    Kind.MODEL: Provenance._model,
    Kind.ENDPOINT: Provenance._endpoint,
    Kind.PREDICTION: Provenance._prediction,
    Kind.ALERT: Provenance._alert,
    Kind.ROLLOUT: Provenance._rollout,
}


def _nearest_run(starts: list[str], upward: list[Link]) -> str:
    """The run nearest above, breadth first: the one whose code made this."""
    above: dict[str, list[str]] = {}
    for link in upward:
        above.setdefault(link.target, []).append(link.source)
    seen, waiting = set(starts), list(starts)
    while waiting:
        here = waiting.pop(0)
        if here.startswith("run:"):
            return here.removeprefix("run:")
        for source in above.get(here, []):
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return ""


def _started_by(run: str, upward: list[Link]) -> list[Link]:
    """What set a run off, or the run that it is a part of or goes on from."""
    began: list[Link] = []
    waiting, seen = [f"run:{run}"], set()
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        into = [link for link in upward if link.target == here]
        began += [link for link in into if link.role in SET_OFF]
        waiting += [link.source for link in into if link.role in ("child", "resumed")]
    return began


def _missing(kind: Kind, code: Code, environment: Ran, run: str, data: list[str]) -> list[str]:
    """What of the provenance is unknown. A dataset that no run produced came from outside: that is its provenance."""
    if kind in (Kind.DATA, Kind.LABELS, Kind.FEATURE) and not run:
        return []
    missing = []
    if not run:
        return ["the run that made it"]
    if not code.commit and not code.tree:
        missing.append("code: the run was not started in a git work tree")
    if not environment.packages:
        missing.append("environment")
    if not data:
        missing.append("data: nothing that was read is recorded")
    return missing
