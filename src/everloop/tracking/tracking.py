"""The operations of tracking: what can be asked of experiments and runs, and done to them, from near or far."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from everloop.domain.ids import is_id
from everloop.domain.references import Kind, Reference
from everloop.domain.runs import (
    ACTIVE,
    DEFAULT_EXPERIMENT_ID,
    DELETED,
    RUNNING,
    ArtifactRecord,
    Captured,
    CheckpointRecord,
    Comparison,
    Experiment,
    MetricSummary,
    Owner,
    RunDetail,
    RunPage,
    RunRecord,
    Shipped,
    checked_text,
    random_name,
)
from everloop.domain.times import require_zone
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Transaction
from everloop.store.schema.tracking import experiments, run_artifacts, run_checkpoints, run_tags, runs
from everloop.tracking import arrivals, reading, writing
from everloop.tracking.adopting import Adoption
from everloop.tracking.commenting import Commenting
from everloop.tracking.comparing import compare
from everloop.tracking.direct import DirectRecording
from everloop.tracking.experiment_search import ExperimentSearch
from everloop.tracking.finding import Finding
from everloop.tracking.inputs import LoggedInputs
from everloop.tracking.listing import Listing
from everloop.tracking.logged_models import LoggedModels
from everloop.tracking.telemetry import Telemetry
from everloop.tracking.traces import Traces

if TYPE_CHECKING:
    from everloop.tracking.frames import RunList
    from everloop.tracking.run import Run

State = Literal["active", "deleted", "all"]
MOST_COMPARED = 200


class Tracking(
    Listing,
    Telemetry,
    LoggedModels,
    DirectRecording,
    ExperimentSearch,
    LoggedInputs,
    Adoption,
    Commenting,
    Finding,
    Traces,
    Room,
):
    """Experiments and runs.

    A script starts a run with `start` and logs through the `Run` it gets; what stands below are the operations behind it.
    Where an operation takes `run_id`, it wants a whole identifier; `resolve` makes one of what people type.
    """

    name = "tracking"

    # Where the user's code runs

    def start(
        self,
        experiment: str = "",
        name: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        *,
        parent: "Run | str | None" = None,
        seeds: Mapping[str, int] | None = None,
        resume: str | None = None,
        output: bool | None = None,
        machine: bool | None = None,
    ) -> "Run":
        """Start a run and return the handle to log with. Within a run, the new one is its child.

        `seeds`: what the script seeds its generators with, recorded with the run. `resume`: a run that was killed, failed or
        interrupted; the new one goes on at its last checkpoint (`Run.restore`). ``everloop resume`` names it in the environment
        variable EVERLOOP_RESUME, which the first run started in the process heeds.
        """
        from everloop.tracking.starting import start

        return start(
            self,
            experiment=experiment,
            name=name,
            params=params or {},
            tags=tags or {},
            parent=parent,
            seeds=seeds or {},
            resume=resume,
            seen={
                name: wish for name, wish in (("output", output), ("machine", machine)) if wish is not None
            },
        )

    def open(self, run: str) -> "Run":
        """A handle to read a run with. `run` as in `resolve`."""
        from everloop.tracking.run import Run

        return Run(self, self.run(run))

    def runs(
        self,
        where: str = "",
        *,
        experiment: str | Sequence[str] = (),
        state: State = "active",
        order_by: str | Sequence[str] = (),
        limit: int | None = 1000,
    ) -> "RunList":
        """Runs that match a filter (see `search`), as handles; `limit` None takes all."""
        from everloop.tracking.frames import RunList
        from everloop.tracking.run import Run

        self.ship_pending()
        experiments = [experiment] if isinstance(experiment, str) and experiment else list(experiment)
        orders = [order_by] if isinstance(order_by, str) and order_by else list(order_by)
        found, page = RunList(), ""
        while limit is None or len(found) < limit:
            size = 10_000 if limit is None else min(10_000, limit - len(found))
            answer = self.search(where, experiments, state, orders, size, page)
            found += [Run(self, record) for record in answer.runs]
            if answer.next_page is None:
                break
            page = answer.next_page
        return found

    def ship_pending(self) -> list[str]:
        """Bring in what killed processes of this machine left in their journals, and record which runs are no longer running.
        Returns the runs that were behind."""
        from everloop.tracking.leftbehind import bring_in

        return bring_in(self, self.context.folder)

    # Experiments

    @operation(Permission.WRITE)
    def create_experiment(self, name: str, tags: dict[str, str] = {}) -> Experiment:  # noqa: B006 (not changed)
        """Make an experiment. Its name must not be taken by an active one."""
        with self.change() as tx:
            number = writing.add_experiment(tx, name, self.context.ids(), tags)
            return reading.experiment(tx, str(number))

    @operation(Permission.READ)
    def experiments(self, state: State = "active") -> list[Experiment]:
        """All experiments, with how many active runs they have."""
        with self.look() as look:
            return reading.all_experiments(look, state)

    @operation(Permission.READ)
    def experiment(self, experiment: str) -> Experiment:
        """One experiment by name, number or UUID."""
        with self.look() as look:
            return reading.experiment(look, experiment)

    @operation(Permission.WRITE)
    def rename_experiment(self, experiment: str, name: str) -> Experiment:
        """Give an experiment another name."""
        with self.change() as tx:
            row = writing.find_experiment(tx, experiment)
            checked_text(name, "the name of an experiment", 500)
            taken = tx.first(
                sa.select(experiments.c.id).where(
                    experiments.c.name == name, experiments.c.state == ACTIVE, experiments.c.id != row.id
                )
            )
            if taken is not None or not name.strip():
                raise Conflict(
                    f"an experiment cannot be called '{name}'",
                    hint="choose a name that is free and not blank",
                )
            tx.execute(
                sa.update(experiments).where(experiments.c.id == row.id).values(name=name, updated=tx.now)
            )
            tx.event("experiment.renamed", f"experiment {row.id}", {"from": row.name, "to": name})
            return reading.experiment(tx, str(row.id))

    @operation(Permission.WRITE)
    def tag_experiment(self, experiment: str, tags: dict[str, str]) -> Experiment:
        """Set tags of an experiment."""
        with self.change() as tx:
            row = writing.find_experiment(tx, experiment)
            writing.set_experiment_tags(tx, row.id, tags)
            tx.execute(sa.update(experiments).where(experiments.c.id == row.id).values(updated=tx.now))
            tx.event("experiment.tagged", f"experiment {row.id}", {"tags": tags})
            return reading.experiment(tx, str(row.id))

    @operation(Permission.WRITE)
    def set_experiment_state(self, experiment: str, state: Literal["active", "deleted"]) -> Experiment:
        """Delete an experiment, or bring it back; its runs go and come with it. A deleted one's name is free again."""
        with self.change() as tx:
            row = writing.find_experiment(tx, experiment)
            if row.id == DEFAULT_EXPERIMENT_ID and state == DELETED:
                raise Conflict("the default experiment cannot be deleted", hint="delete its runs instead")
            if row.state == state:
                raise NotFound(
                    f"experiment '{row.name}' is {state} already", hint="see: everloop runs list --state all"
                )
            if state == ACTIVE and tx.first(
                sa.select(experiments.c.id).where(
                    experiments.c.name == row.name, experiments.c.state == ACTIVE
                )
            ):
                raise Conflict(
                    f"the name '{row.name}' is taken by another experiment by now",
                    hint="rename that one first",
                )
            tx.execute(
                sa.update(experiments).where(experiments.c.id == row.id).values(state=state, updated=tx.now)
            )
            for run in tx.all(sa.select(runs).where(runs.c.experiment == row.id, runs.c.state != state)):
                writing.set_state(tx, run, state)
            tx.event(
                f"experiment.{'restored' if state == ACTIVE else 'deleted'}",
                f"experiment {row.id}",
                {"name": row.name},
            )
            return reading.experiment(tx, str(row.id))

    # Recording

    @operation(Permission.WRITE)
    def create_run(
        self,
        run_id: str = "",
        experiment: str = "",
        name: str = "",
        start_time: datetime | None = None,
        parent: str | None = None,
        params: dict[str, str] = {},  # noqa: B006 (not changed)
        tags: dict[str, str] = {},  # noqa: B006
        captured: Captured = Captured(),  # noqa: B008 (frozen)
        owner: Owner | None = None,
        user: str = "",
        resumed_from: str | None = None,
        checkpoint: int | None = None,
    ) -> RunRecord:
        """Start a run. An experiment that does not exist is made; without one it is the parent's, else the default one. A name
        that is missing is drawn at random.

        `run_id`: chosen by the caller, so that asking twice starts one run. `resumed_from`: a run that this one goes on with; it
        begins with what that one had at `checkpoint` (by number; none: with its parameters and tags).
        """
        identifier = run_id or self.context.ids()
        if not is_id(identifier):
            raise InvalidInput(
                f"'{identifier}' is not an identifier", hint="32 hexadecimal digits, or nothing"
            )
        with self.change() as tx:
            if run_id and tx.first(sa.select(runs.c.id).where(runs.c.id == run_id)) is not None:
                return reading.records_of(tx, tx.now, [run_id])[0]
            source = writing.existing_run(tx, resumed_from) if resumed_from else None
            above = writing.writable(tx, parent) if parent and source is None else None
            entropy = bytes.fromhex(identifier[-8:])
            process = owner or Owner("", 0, 0.0)
            row = {
                "id": identifier,
                "experiment": self._experiment_for(tx, experiment, above)
                if source is None
                else source.experiment,
                "name": checked_text(name, "the name of the run", 5_000)
                or (source.name if source is not None else random_name(entropy)),
                "user": user or tx.actor,
                "source": captured.source,
                "version": captured.commit,
                "status": RUNNING,
                "start_time": require_zone(start_time, "the start time") if start_time else tx.now,
                "state": ACTIVE,
                "parent": source.parent if source is not None else above.id if above is not None else None,
                "resumed_from": resumed_from,
                "records": 0,
                "place": process.place,
                "pid": process.pid,
                "process_began": process.began,
                "heartbeat": tx.now,
                "captured": captured,
            }
            tx.execute(sa.insert(runs), row)
            reference = f"run:{identifier}"
            if source is not None:
                records = writing.inherit(
                    tx, source, identifier, self._checkpoint_for(tx, source.id, checkpoint)
                )
                tx.execute(sa.update(runs).where(runs.c.id == identifier).values(records=records))
                tx.edge(f"run:{source.id}", reference, "resumed")
            writing.set_params(tx, identifier, params)
            writing.set_tags(tx, identifier, tags)
            if row["parent"]:
                tx.edge(f"run:{row['parent']}", reference, "child")
            writing.hold(tx, captured.holds, reference)
            facts = {
                key: row[key] for key in ("experiment", "name", "source", "version", "parent", "resumed_from")
            }
            tx.event("run.started", reference, facts | {"params": params})
            written = writing.new_record(tx, row, params, tags)
            return written if source is None else reading.records_of(tx, tx.now, [identifier])[0]

    def _experiment_for(self, tx: Transaction, given: str, above: sa.Row[Any] | None) -> int:
        if not given:  # a child belongs where its parent does
            return DEFAULT_EXPERIMENT_ID if above is None else int(above.experiment)
        try:
            row = writing.find_experiment(tx, given)
        except NotFound:
            row = None
        if row is not None and row.state == ACTIVE:
            return int(row.id)
        if row is not None and row.name != given:  # it was named by number or UUID
            raise Conflict(
                f"experiment '{row.name}' is deleted: it must be in the 'active' state",
                hint="restore it, or name another",
            )
        return writing.add_experiment(tx, given, self.context.ids(), {})

    def _checkpoint_for(
        self, tx: Transaction, run_id: str, number: int | None
    ) -> sa.Row[tuple[object, ...]] | None:
        if number is None:
            return None
        query = sa.select(run_checkpoints).where(
            run_checkpoints.c.run == run_id, run_checkpoints.c.number == number
        )
        row = tx.first(query)
        if row is None:
            raise NotFound(
                f"run {run_id} has no checkpoint {number}", hint=f"see: everloop runs show {run_id}"
            )
        return row

    @operation(Permission.WRITE)
    def ship(self, run_id: str, first: int, records: bytes) -> Shipped:
        """Bring in journal records of a run, numbered from `first` (see `tracking.records`). Sent twice, they arrive once."""
        shipment = arrivals.Shipment(first, records)
        with self.change() as tx:
            return arrivals.receive(tx, run_id, shipment)

    @operation(Permission.WRITE)
    def log(
        self,
        run_id: str,
        params: dict[str, str] = {},  # noqa: B006 (not changed)
        tags: dict[str, str] = {},  # noqa: B006
        remove_tags: list[str] = [],  # noqa: B006
        name: str = "",
    ) -> RunRecord:
        """Add parameters (written once), set or remove tags, rename: all of it or, on an error, nothing."""
        with self.change() as tx:
            writing.writable(tx, run_id)
            writing.set_params(tx, run_id, params)
            writing.set_tags(tx, run_id, tags)
            for key in remove_tags:
                gone = tx.execute(sa.delete(run_tags).where(run_tags.c.run == run_id, run_tags.c.key == key))
                if not gone.rowcount:
                    raise NotFound(
                        f"run {run_id} has no tag '{key}'", hint=f"see: everloop runs show {run_id}"
                    )
            if name:
                checked_text(name, "the name of the run", 5_000)
                tx.execute(sa.update(runs).where(runs.c.id == run_id).values(name=name))
            said = {"params": params, "tags": tags, "removed": remove_tags, "name": name}
            tx.event("run.changed", f"run:{run_id}", {key: value for key, value in said.items() if value})
            return reading.records_of(tx, tx.now, [run_id])[0]

    @operation(Permission.WRITE)
    def finish_run(
        self, run_id: str, status: str = "finished", end_time: datetime | None = None
    ) -> RunRecord:
        """Say that a run has ended: finished, failed, killed or interrupted."""
        with self.change() as tx:
            moment = require_zone(end_time, "the end time") if end_time else tx.now
            writing.end(tx, writing.writable(tx, run_id), status, moment)
            return reading.records_of(tx, tx.now, [run_id])[0]

    @operation(Permission.WRITE)
    def heartbeat(self, run_id: str) -> None:
        """The run's process lives. No event: a sign of life changes nothing."""
        with self.change() as tx:
            tx.execute(sa.update(runs).where(runs.c.id == run_id).values(heartbeat=tx.now))

    @operation(Permission.WRITE)
    def settle(self) -> list[str]:
        """Record of every run whose process is gone that it was killed (or interrupted, where it ran elsewhere and fell silent);
        its end is its last sign of life. Returns these runs."""
        with self.look() as look:
            if not reading.lost_runs(look, self.context.clock()):
                return []
        with self.change() as tx:
            lost = reading.lost_runs(tx, tx.now)
            for run_id, status in lost.items():
                row = writing.existing_run(tx, run_id, lock=True)
                if row.status == RUNNING:
                    writing.end(tx, row, status, row.heartbeat)
            return list(lost)

    @operation(Permission.WRITE)
    def add_artifacts(self, run_id: str, artifacts: list[ArtifactRecord]) -> None:
        """Files of a run whose bytes are in the object store already. A path that is there is replaced."""
        with self.change() as tx:
            writing.writable(tx, run_id)
            absent = self.objects.missing({each.digest for each in artifacts})
            if absent:
                raise NotFound(
                    f"object {min(absent)} is not in the store", hint="store the bytes before naming them"
                )
            for each in artifacts:
                writing.set_artifact(tx, run_id, each.path, each.digest, each.size)
            facts = [
                {"path": each.path, "digest": each.digest, "size": each.size} for each in artifacts[:100]
            ]
            tx.event("run.artifacts", f"run:{run_id}", {"count": len(artifacts), "first": facts})

    @operation(Permission.WRITE)
    def remove_artifacts(self, run_id: str, paths: list[str]) -> None:
        """Take files out of a run; a folder takes what is in it along."""
        with self.change() as tx:
            writing.writable(tx, run_id)
            gone = [each.path for path in paths for each in reading.artifacts(tx, run_id, path)]
            tx.execute(
                sa.delete(run_artifacts).where(run_artifacts.c.run == run_id, run_artifacts.c.path.in_(gone))
            )
            tx.event("run.artifacts_removed", f"run:{run_id}", {"paths": gone[:100], "count": len(gone)})

    @operation(Permission.WRITE)
    def add_checkpoint(
        self,
        run_id: str,
        digest: str,
        size: int,
        format: Literal["plain", "pickle"],
        records: int,
        place: str,
        step: int | None = None,
    ) -> CheckpointRecord:
        """A state that the run can be resumed from: `records` journal records, which have arrived, came before it."""
        with self.change() as tx:
            row = writing.writable(tx, run_id)
            if records > row.records:
                raise Conflict(
                    f"records {row.records} to {records - 1} of run {run_id} are missing",
                    hint="send those first",
                )
            if self.objects.missing([digest]):
                raise NotFound(
                    f"object {digest} is not in the store", hint="store the bytes before naming them"
                )
            of_run = run_checkpoints.c.run == run_id
            number = (
                int(
                    tx.scalar(
                        sa.select(sa.func.coalesce(sa.func.max(run_checkpoints.c.number), 0)).where(of_run)
                    )
                )
                + 1
            )
            record = CheckpointRecord(number, digest, size, format, step, records, tx.now, tx.actor, place)
            tx.execute(sa.insert(run_checkpoints), {"run": run_id} | msgspec.structs.asdict(record))
            tx.hold(digest, size, f"run:{run_id}")
            tx.event("run.checkpoint", f"run:{run_id}", {"number": number, "digest": digest, "step": step})
            return record

    @operation(Permission.WRITE)
    def consumed(self, run_id: str, references: list[str]) -> None:
        """Lineage: these went into the run."""
        self._link(run_id, references, into=True)

    @operation(Permission.WRITE)
    def produced(self, run_id: str, references: list[str]) -> None:
        """Lineage: these came out of the run."""
        self._link(run_id, references, into=False)

    def _link(self, run_id: str, references: list[str], *, into: bool) -> None:
        run = str(Reference(Kind.RUN, run_id))
        named = [str(Reference.parse(each)) for each in references]
        role = "consumed" if into else "produced"
        with self.change() as tx:
            writing.existing_run(tx, run_id)
            for each in named:
                tx.edge(each if into else run, run if into else each, role)
            if named:
                tx.event(f"run.{role}", run, {"references": named})

    # Finding and reading

    @operation(Permission.READ)
    def search(
        self,
        where: str = "",
        experiment: list[str] = [],  # noqa: B006 (not changed)
        state: State = "active",
        order_by: list[str] = [],  # noqa: B006
        limit: int = 100,
        page: str = "",
        count: bool = False,
    ) -> RunPage:
        """Runs that match a filter, newest first unless `order_by` says otherwise.

        `where`: see `everloop.domain.search`. `experiment`: names, numbers or UUIDs; none: all. `order_by`: such as
        ``metrics.rmse desc``. `page`: `next_page` of the page before. `count`: also say how many match in all.
        """
        with self.look() as look:
            return reading.search(
                look, self.context.clock(), where, experiment, state, order_by, limit, page, count
            )

    @operation(Permission.READ)
    def resolve(self, run: str) -> str:
        """The identifier of the run that is meant: by itself, a unique beginning, or a name only one active run has."""
        with self.look() as look:
            return reading.resolve(look, run)

    @operation(Permission.READ)
    def run(self, run_id: str) -> RunRecord:
        """One run with parameters, tags and the last value of each metric. `run_id` as in `resolve`."""
        with self.look() as look:
            return reading.record_of(look, self.context.clock(), run_id)

    @operation(Permission.READ)
    def describe(self, run_id: str, metrics: bool = True) -> RunDetail:
        """All there is about a run but the points of its metrics. `run_id` as in `resolve`; `metrics`: their summaries too."""
        with self.look() as look:
            return reading.detail(look, self.context.clock(), reading.resolve(look, run_id), metrics=metrics)

    @operation(Permission.READ)
    def summaries(self, run_id: str) -> list[MetricSummary]:
        """Count, first, last, least, greatest and mean of each metric."""
        with self.look() as look:
            writing.existing_run(look, run_id)
            return reading.summaries(look, run_id)

    @operation(Permission.READ)
    def artifacts(self, run_id: str, path: str = "") -> list[ArtifactRecord]:
        """Files of a run, all or those at or below `path`."""
        with self.look() as look:
            writing.existing_run(look, run_id)
            return reading.artifacts(look, run_id, path)

    @operation(Permission.READ)
    def checkpoints(self, run_id: str) -> list[CheckpointRecord]:
        """Checkpoints of a run, oldest first."""
        with self.look() as look:
            writing.existing_run(look, run_id)
            return reading.checkpoints(look, run_id)

    @operation(Permission.READ)
    def compare(self, run_ids: list[str]) -> Comparison:
        """2 to 200 runs side by side, what differs first. `run_ids` as in `resolve`."""
        if not 2 <= len(run_ids) <= MOST_COMPARED:
            raise InvalidInput(f"{len(run_ids)} runs cannot be compared", hint=f"name 2 to {MOST_COMPARED}")
        with self.look() as look:
            resolved = list(dict.fromkeys(reading.resolve(look, each) for each in run_ids))
            return compare(reading.records_of(look, self.context.clock(), resolved))

    # Deleting

    @operation(Permission.WRITE)
    def delete_runs(self, run_ids: list[str]) -> list[str]:
        """Put runs aside: they are found with state deleted only, and take no more writes. Returns whole identifiers."""
        return self._set_states(run_ids, DELETED)

    @operation(Permission.WRITE)
    def restore_runs(self, run_ids: list[str]) -> list[str]:
        """Bring deleted runs back."""
        return self._set_states(run_ids, ACTIVE)

    def _set_states(self, run_ids: list[str], state: str) -> list[str]:
        with self.change() as tx:
            resolved = [reading.resolve(tx, each) for each in run_ids]
            for each in resolved:
                writing.set_state(tx, writing.existing_run(tx, each, lock=True), state)
            return resolved

    @operation(Permission.ADMIN)
    def purge_runs(self, run_ids: list[str]) -> list[str]:
        """Forget deleted runs for good; the record that they existed stays in the chain of events. Their bytes are freed by the
        next collection of garbage, where nothing else needs them."""
        with self.change() as tx:
            resolved = [reading.resolve(tx, each) for each in run_ids]
            for each in resolved:
                writing.purge(tx, writing.existing_run(tx, each, lock=True))
            return resolved
