"""The room: what the ledger knows of pipelines, and the way to run and reproduce them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain.pipelines import (
    CachedResult,
    Claim,
    Component,
    FinishedStep,
    KeyParts,
    KeysBefore,
    PipelineRunRecord,
    Read,
    Reproduction,
    StepRecord,
    StoredValue,
)
from everloop.domain.runs import INTERRUPTED, RUNNING, Owner
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.pipelines import recording
from everloop.pipelines.handover.room import Handover
from everloop.pipelines.histories import Histories
from everloop.pipelines.sharing import Sharing
from everloop.pipelines.sweeps.room import Sweeps
from everloop.store.ledger import Reader
from everloop.store.schema.base import edges
from everloop.store.schema.pipelines import (
    pipeline_runs,
    pipeline_steps,
    reproductions,
    step_claims,
    step_code,
    step_keys,
    step_results,
)
from everloop.store.schema.tracking import runs as tracked_runs

if TYPE_CHECKING:
    from everloop.engine.contract import Executor
    from everloop.pipelines.outcome import PipelineRun
    from everloop.pipelines.reproduction.surroundings import Choice
    from everloop.pipelines.steps import Pipeline


class Pipelines(Sweeps, Histories, Sharing, Handover, Room):
    """Runs of pipelines. `run` and `reproduce` work where the caller is; the operations are what they record and ask."""

    name = "pipelines"

    # Running (where the caller is)

    def run(
        self,
        pipeline: "str | Pipeline[..., Any]",
        params: Mapping[str, Any] | None = None,
        *,
        executor: "str | Executor" = "",
        dry_run: bool = False,
        force: bool = False,
        experiment: str = "",
        resumed_from: str | None = None,
        parent: str | None = None,
        on_begin: Callable[[str], None] | None = None,
        on_step: Callable[[StepRecord], None] | None = None,
        stop: Callable[[Sequence[str]], str] | None = None,
    ) -> "PipelineRun":
        """Run a pipeline: a declared one, or ``FILE:NAME`` / ``MODULE:NAME``.

        Steps whose key is known return their stored result; the others are executed. `executor`: ``local`` (worker
        processes, the default), ``inline`` (this process), or one that is open already and stays so. `dry_run` executes nothing
        and says what would be and why. `force` executes every step. `parent`: the tracking run that this one belongs to.
        `on_begin` is told the run's identifier once it is recorded, `on_step` of each step when it is over. `stop` is asked every
        second, with the tracking runs of the steps at work: when it gives a reason, the run ends as interrupted. A step that
        fails does not raise: see `PipelineRun.status`.
        """
        from everloop.pipelines.driver.running import run_pipeline

        return run_pipeline(
            self,
            pipeline,
            params or {},
            executor=executor or self.context.settings.executor,
            dry_run=dry_run,
            force=force,
            experiment=experiment,
            resumed_from=resumed_from,
            parent=parent,
            on_begin=on_begin,
            on_step=on_step,
            stop=stop,
        )

    def resume(self, run_id: str, *, executor: str = "") -> "PipelineRun":
        """Go on with a run that was stopped: what was finished comes from the cache, a stopped step from its checkpoint."""
        before = self.pipeline_run(run_id)
        return self.run(
            before.source, before.params, executor=executor or before.executor, resumed_from=before.run
        )

    def reproduce(
        self, reference: str, *, tolerance: float = 1000.0, environment: "Choice" = "auto"
    ) -> Reproduction:
        """Rebuild a run, dataset version or model version in a fresh folder and process, and grade how equal it came out.

        `tolerance`: the largest difference, in units of eps x scale of the output, that still grades as ``tolerance``.
        `environment`: ``rebuild`` makes a clean one of the captured packages, ``same`` takes this one, ``auto`` rebuilds where
        they differ. Where it cannot be had, this one is taken and the evidence says so.
        """
        from everloop.pipelines.reproduce import reproduce

        return reproduce(self, reference, tolerance=tolerance, environment=environment)

    # Runs

    @operation(Permission.WRITE)
    def begin(self, record: PipelineRunRecord, code: dict[str, int] = {}) -> None:  # noqa: B006 (not changed)
        """A run of a pipeline begins. `code`: objects (digest -> size) that hold the code it runs."""
        with self.change() as tx:
            tx.insert_new(pipeline_runs, msgspec.structs.asdict(record))
            for digest, size in code.items():
                tx.hold(digest, size, f"run:{record.run}")
            tx.edge(f"pipeline:{record.pipeline}", f"run:{record.run}", "defined")
            facts = {"pipeline": record.pipeline, "source": record.source, "params": record.params}
            tx.event("pipeline.started", f"run:{record.run}", facts | {"resumed_from": record.resumed_from})

    @operation(Permission.WRITE)
    def end(self, run: str, status: str, output: StoredValue | None = None) -> None:
        """A run of a pipeline ended: finished, failed or interrupted."""
        with self.change() as tx:
            of_run = pipeline_runs.c.run == run
            tx.execute(sa.update(pipeline_runs).where(of_run).values(status=status, output=output))
            recording.forget_at_work(tx, [run])
            count = sa.func.count().label("steps")
            query = sa.select(pipeline_steps.c.status, count).where(pipeline_steps.c.run == run)
            counts = {row.status: row.steps for row in tx.all(query.group_by(pipeline_steps.c.status))}
            tx.event(f"pipeline.{status}", f"run:{run}", {"steps": counts})

    @operation(Permission.WRITE)
    def settle_runs(self) -> list[str]:
        """Say of every run of a pipeline whose tracking run is known to have ended without a word (`Tracking.settle`) that it is
        interrupted; triggers that wait for its end hear of it. Returns these runs; nothing is written when there is none."""
        silent = sa.select(pipeline_runs.c.run).where(
            pipeline_runs.c.status == RUNNING,
            sa.exists().where(tracked_runs.c.id == pipeline_runs.c.run, tracked_runs.c.status != RUNNING),
        )
        with self.look() as look:
            if look.first(silent.limit(1)) is None:
                return []
        with self.change() as tx:
            runs = [row.run for row in tx.all(silent.with_for_update(of=pipeline_runs))]
            recording.forget_at_work(tx, runs)
            for run in runs:
                tx.execute(
                    sa.update(pipeline_runs).where(pipeline_runs.c.run == run).values(status=INTERRUPTED)
                )
                facts = {"reason": "its process ended without a word", "resume": f"everloop resume {run}"}
                tx.event(f"pipeline.{INTERRUPTED}", f"run:{run}", facts)
        return runs

    @operation(Permission.READ)
    def pipeline_run(self, run: str) -> PipelineRunRecord:
        """A run of a pipeline by its identifier, or a unique beginning of it."""
        identifier = run.removeprefix("run:")
        query = (
            sa.select(pipeline_runs)
            .where(
                pipeline_runs.c.run >= identifier, pipeline_runs.c.run < f"{identifier}g"
            )  # hexadecimal digits
            .limit(2)
        )
        with self.look() as look:
            rows = look.all(query)
        if len(rows) != 1:
            what = "is not a run of a pipeline" if not rows else "begins several runs"
            raise NotFound(f"'{run}' {what}", hint="see: everloop runs list")
        return _run_record(rows[0])

    @operation(Permission.READ)
    def runs(self, pipeline: str = "", limit: int = 100) -> list[PipelineRunRecord]:
        """Runs of pipelines, newest first; of one pipeline, or of all."""
        query = sa.select(pipeline_runs).order_by(pipeline_runs.c.run.desc()).limit(limit)
        if pipeline:
            query = query.where(pipeline_runs.c.pipeline == pipeline)
        with self.look() as look:
            return [_run_record(row) for row in look.all(query)]

    @operation(Permission.READ)
    def output_of(self, run: str) -> StoredValue | None:
        """What the pipeline returned in this run, as stored."""
        with self.look() as look:
            found = look.scalar(sa.select(pipeline_runs.c.output).where(pipeline_runs.c.run == run))
        return None if found is None else msgspec.convert(found, StoredValue)

    @operation(Permission.READ)
    def steps(self, run: str) -> list[StepRecord]:
        """The steps of a run, in the order the pipeline called them."""
        query = (
            sa.select(pipeline_steps).where(pipeline_steps.c.run == run).order_by(pipeline_steps.c.position)
        )
        with self.look() as look:
            return [_step_record(row) for row in look.all(query)]

    @operation(Permission.READ)
    def step_of(self, child: str) -> tuple[str, StepRecord] | None:
        """The pipeline's run and the step that a step's own tracking run belongs to; None when it belongs to none."""
        query = sa.select(pipeline_steps).where(
            pipeline_steps.c.child == child, pipeline_steps.c.status == "executed"
        )
        with self.look() as look:
            row = look.first(query.order_by(pipeline_steps.c.time))
        return None if row is None else (row.run, _step_record(row))

    @operation(Permission.READ)
    def producer_of(self, reference: str) -> str:
        """The run that made a model version or dataset version, by lineage."""
        query = sa.select(edges.c.source).where(
            edges.c.target == reference, edges.c.role == "produced", edges.c.source.startswith("run:")
        )
        with self.look() as look:
            found = look.scalar(query.order_by(edges.c.time.desc()).limit(1))
        if found is None:
            raise NotFound(f"no run is known to have made {reference}", hint=f"see: everloop why {reference}")
        return str(found).removeprefix("run:")

    # Results and claims

    @operation(Permission.READ)
    def results(self, keys: list[str]) -> list[CachedResult]:
        """Stored results of these keys, newest first; a key has several when its step read datasets that moved on."""
        with self.look() as look:
            return _results(look, keys)

    @operation(Permission.READ)
    def components(self, key: str) -> list[Component]:
        """Everything a key was made from."""
        with self.look() as look:
            found = _components(look, sa.select(step_keys).where(step_keys.c.key == key))
        if found is None:
            raise NotFound(f"there is no step with the key {key}")
        return found

    @operation(Permission.READ)
    def keys_before(self, step: str, names: list[str], besides: str = "") -> KeysBefore:
        """What a step was last computed from, under each of these names, and under any name. `besides`: a run that does not
        count."""
        known = sa.select(pipeline_steps.c.name, pipeline_steps.c.key, pipeline_steps.c.run).where(
            pipeline_steps.c.step == step, pipeline_steps.c.status.in_(("executed", "cached"))
        )
        if besides:
            known = known.where(pipeline_steps.c.run != besides)
        newest_first = sa.func.row_number().over(
            partition_by=pipeline_steps.c.name,
            order_by=(pipeline_steps.c.time.desc(), pipeline_steps.c.run.desc()),
        )
        ranked = (
            known.where(pipeline_steps.c.name.in_(names)).add_columns(newest_first.label("rank")).subquery()
        )
        with self.look() as look:
            newest = look.first(
                known.order_by(pipeline_steps.c.time.desc(), pipeline_steps.c.run.desc()).limit(1)
            )
            if newest is None:
                return KeysBefore()
            rows = look.all(sa.select(ranked.c.name, ranked.c.key, ranked.c.run).where(ranked.c.rank == 1))
            keys = {row.key for row in rows} | {newest.key}
            parts = look.all(sa.select(step_keys).where(step_keys.c.key.in_(keys)))
            code = look.all(sa.select(step_code).where(step_code.c.code.in_({row.code for row in parts})))
        return KeysBefore(
            names={row.name: row.key for row in rows},
            newest=newest.key,
            parts={
                row.key: KeyParts(row.code, (), tuple(msgspec.convert(row.components, list[Component])))
                for row in parts
            },
            code={row.code: tuple(msgspec.convert(row.components, list[Component])) for row in code},
            runs={row.key: row.run for row in (newest, *rows)},
        )

    @operation(Permission.WRITE)
    def claim(
        self, keys: list[str], owner: str, process: Owner, children: list[str], again: bool = False
    ) -> list[Claim]:
        """Ask to compute these keys. Two who ask at once are told apart: one is granted, the other told who has it.

        `owner`: the run that asks. `children`: for each key the tracking run it will be computed in, or nothing; whoever
        takes over goes on from its checkpoint. `again`: stored results do not count.
        """
        if len(children) != len(keys):
            raise InvalidInput(
                f"{len(keys)} keys and {len(children)} children", hint="give one child a key, or ''"
            )
        with self.change() as tx:
            done = {} if again else {each.key: each for each in reversed(_results(tx, keys))}
            return recording.claims(tx, keys, owner, process, children, done)

    @operation(Permission.WRITE)
    def renew(self, keys: list[str], owner: str) -> None:
        """The owner of these claims lives."""
        with self.change() as tx:
            mine = step_claims.c.key.in_(keys) & (step_claims.c.owner == owner)
            tx.execute(sa.update(step_claims).where(mine).values(until=tx.now + recording.LEASE))

    @operation(Permission.WRITE)
    def release(self, keys: list[str], owner: str) -> None:
        """Give claims back without a result. Where a step had begun, its run is remembered for whoever claims next."""
        with self.change() as tx:
            mine = step_claims.c.key.in_(keys) & (step_claims.c.owner == owner)
            tx.execute(sa.delete(step_claims).where(mine & step_claims.c.run.is_(None)))
            tx.execute(sa.update(step_claims).where(mine).values(owner="", until=tx.now))

    @operation(Permission.WRITE)
    def commit(self, run: str, finished: list[FinishedStep]) -> None:
        """Record steps of a run, with their results. Their objects are stored already, so a result is never seen half."""
        if not finished:
            return
        with self.change() as tx:
            recording.record(tx, run, finished)
            facts = [
                {
                    "name": each.record.name,
                    "status": each.record.status,
                    "seconds": each.record.seconds,
                    "reason": each.record.reason,
                }
                for each in finished[:200]
            ]
            tx.event("pipeline.steps", f"run:{run}", {"count": len(finished), "first": facts})

    @operation(Permission.WRITE)
    def show_at_work(self, run: str, steps: list[StepRecord]) -> None:
        """Steps of a run that are at work, until they are recorded as over, or the run is."""
        with self.change() as tx:
            recording.put_at_work(tx, run, steps)
            facts = [{"name": each.name, "status": each.status} for each in steps[:200]]
            tx.event("pipeline.steps", f"run:{run}", {"count": len(steps), "first": facts})

    # Reproductions

    @operation(Permission.WRITE)
    def record_reproduction(self, report: Reproduction) -> None:
        """Keep what a reproduction found."""
        with self.change() as tx:
            row = {
                "id": self.context.ids(),
                "reference": report.reference,
                "run": report.run,
                "grade": report.grade,
            }
            tx.execute(sa.insert(reproductions), row | {"report": report, "time": report.time})
            for subject in dict.fromkeys((report.reference, f"run:{report.run}")):
                facts = {
                    "grade": report.grade,
                    "first_divergence": report.first_divergence,
                    "evidence": report.evidence,
                }
                tx.event(f"{subject.partition(':')[0]}.reproduced", subject, facts)

    @operation(Permission.READ)
    def reproductions(self, reference: str) -> list[Reproduction]:
        """Reproductions of a run or model version, newest first."""
        wanted = reproductions.c.reference == reference
        if reference.startswith("run:"):
            wanted = wanted | (reproductions.c.run == reference.removeprefix("run:"))
        query = (
            sa.select(reproductions.c.report)
            .where(wanted)
            .order_by(reproductions.c.time.desc(), reproductions.c.id.desc())
        )
        with self.look() as look:
            return [msgspec.convert(row.report, Reproduction) for row in look.all(query)]


def _results(look: Reader, keys: list[str]) -> list[CachedResult]:
    query = sa.select(step_results).where(step_results.c.key.in_(keys)).order_by(step_results.c.time.desc())
    return [
        CachedResult(
            row.key,
            row.step,
            msgspec.convert(row.value, StoredValue),
            row.run,
            row.seconds,
            row.time,
            tuple(msgspec.convert(row.reads, list[Read])),
        )
        for row in look.all(query)
    ]


def _components(look: Reader, query: sa.Select[Any]) -> list[Component] | None:
    row = look.first(query)
    if row is None:
        return None
    code = look.scalar(sa.select(step_code.c.components).where(step_code.c.code == row.code))
    return msgspec.convert([*row.components, *(code or [])], list[Component])


def _run_record(row: sa.Row[Any]) -> PipelineRunRecord:
    values = {name: value for name, value in row._mapping.items() if name != "output"}
    return PipelineRunRecord(**values)


def _step_record(row: sa.Row[Any]) -> StepRecord:
    return StepRecord(
        position=row.position,
        name=row.name,
        step=row.step,
        status=row.status,
        seconds=row.seconds,
        reason=row.reason,
        key=row.key,
        run=row.child,
        value=None if row.value is None else msgspec.convert(row.value, StoredValue),
        error=row.error,
        log=row.log,
        attempts=row.attempts,
        inputs=tuple(row.inputs),
    )
