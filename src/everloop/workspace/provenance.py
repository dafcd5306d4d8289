"""What did I do to get this result? One answer over all rooms: upward to data, code, parameters and environment, downward to
what was made with it."""

from collections import Counter
from datetime import datetime
from typing import Any

import msgspec

from everloop.data.data import Data
from everloop.domain.events import Anchor
from everloop.domain.references import Kind, Reference
from everloop.domain.run_inputs import LoggedDataset
from everloop.errors import EverloopError, NotFound
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
from everloop.tracking.capture import Environment
from everloop.tracking.shipping import journal_folder
from everloop.tracking.tracking import Tracking
from everloop.workspace.impacts.room import Impacts
from everloop.workspace.naming import meant
from everloop.workspace.neighbourhoods import Neighbourhood, Opening, Surroundings


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
    facts: what is particular to its kind. described: datasets that its run said it used, of which nothing is kept but how they
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


class Provenance(Impacts, Room):
    """Questions that go through all rooms."""

    name = "provenance"

    @operation(Permission.READ)
    def why(self, reference: str) -> Why:
        """The provenance of a run, dataset, feature view, model, endpoint, prediction or alert, upward and downward. A name
        without its kind will do where only one thing is called so."""
        asked = meant(self.context, reference)
        known = _DESCRIBE[asked.kind](self, asked)
        ledger = self.context.ledger
        starts = known.starts or [known.reference]
        upward = sorted({Link(*edge) for start in starts for edge in ledger.edges_of(start, upward=True)})
        downward = [Link(*edge) for edge in ledger.edges_of(known.reference, upward=False)]
        run = known.run or _nearest_run(starts, upward)
        code, environment, parameters, described = self._of_run(run)
        data = sorted(
            {each for link in upward for each in (link.source, link.target) if each.startswith("data:")}
        )
        missing = _missing(asked.kind, code, environment, run, data)
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

    def _of_run(self, run: str) -> tuple[Code, Ran, dict[str, str], list[LoggedDataset]]:
        if not run:
            return Code(), Ran(), {}, []
        try:
            detail = self.context.room(Tracking).describe(run)
        except NotFound:  # it was purged, or is in the workspace that a dataset was pulled from
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
        if not captured.environment:
            return code, Ran(seeds=captured.seeds), detail.run.params, detail.datasets
        ran = msgspec.json.decode(self.objects.read(captured.environment), type=Environment)
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
        return Known(
            record.reference, f"{record.name}, {record.status}, by {record.user}", facts, run=record.run_id
        )

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

    def _feature(self, asked: Reference) -> Known:
        view = self.context.room(Features).recorded(str(asked))
        reference = f"feature:{view.name}@v{view.version}"
        return Known(reference, "a feature view", {"declaration": msgspec.to_builtins(view)})

    def _pipeline(self, asked: Reference) -> Known:
        runs = self.context.room(Pipelines).runs(asked.name)
        summary = f"{len(runs)} runs"
        facts: dict[str, Any] = {"runs": [f"run:{each.run}" for each in runs[:20]]}
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
        starts = [found.model, *model.model.features]
        return Known(f"prediction:{found.prediction_id}", summary, facts, starts=starts, run=model.run)

    def _alert(self, asked: Reference) -> Known:
        alert = self.context.room(Monitoring).alert(asked.name)
        facts = msgspec.to_builtins(alert, builtin_types=(datetime,))
        return Known(
            f"alert:{alert.alert_id}",
            alert.report.what,
            facts,
            starts=[f"endpoint:{alert.endpoint}", alert.model],
        )

    def _rollout(self, asked: Reference) -> Known:
        reference = self.context.room(Rollouts).rollout(str(asked)).reference
        events = self.context.ledger.events(subject=reference, limit=1000)
        facts: dict[str, Any] = {
            "events": [{"time": each.time, "what": each.action, "payload": each.payload} for each in events]
        }
        models = [str(each.payload["model"]) for each in events if "model" in each.payload][:1]
        return Known(reference, f"{len(events)} events", facts, starts=models or [reference])


_DESCRIBE = {
    Kind.RUN: Provenance._run,
    Kind.DATA: Provenance._data,
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


def _missing(kind: Kind, code: Code, environment: Ran, run: str, data: list[str]) -> list[str]:
    """What of the provenance is unknown. A dataset that no run produced came from outside: that is its provenance."""
    if kind in (Kind.DATA, Kind.FEATURE) and not run:
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
