"""The part of the pipelines room that looks back: pipelines with their newest runs, runs as grids and time lines, steps over
time.

What is asked for here is shown to people, so no answer holds the values that passed between steps, and a map of thousands of
parts is one line where it can be.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.pipeline_history import PastRun, PipelineOverview, StepMoment, StepTotal, StepUse
from everloop.domain.pipelines import Component
from everloop.domain.runs import RUNNING, Owner
from everloop.errors import NotFound, nearest
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.pipelines import pipeline_runs, pipeline_steps, step_code, step_keys
from everloop.store.schema.tracking import run_tags
from everloop.store.schema.tracking import runs as tracked_runs
from everloop.tracking.places import status_now

STEP_TAG = "everloop.step"
_EXECUTED = ("executed", "failed")
_KNOWN = 500
"""Steps among which the nearest name of a wrong one is looked for."""


class Histories(Room):
    """What was run when."""

    name = "pipelines"

    @operation(Permission.READ)
    def overview(self, recent: int = 12) -> list[PipelineOverview]:
        """Every pipeline with its newest runs; the one that ran last comes first."""
        newest_first = sa.func.row_number().over(
            partition_by=pipeline_runs.c.pipeline, order_by=pipeline_runs.c.run.desc()
        )
        count = sa.func.count().over(partition_by=pipeline_runs.c.pipeline)
        ranked = sa.select(
            pipeline_runs.c.run.label("ranked_run"), newest_first.label("rank"), count.label("runs")
        ).subquery()
        query = _PAST.add_columns(ranked.c.runs).join(ranked, ranked.c.ranked_run == pipeline_runs.c.run)
        query = query.where(ranked.c.rank <= recent).order_by(pipeline_runs.c.run.desc())
        found: dict[str, PipelineOverview] = {}
        with self.look() as look:
            for row in look.all(query):
                known = found.setdefault(row.pipeline, PipelineOverview(row.pipeline, row.runs, []))
                known.recent.append(_past_run(row, self.context.clock()))
        return list(found.values())

    @operation(Permission.READ)
    def past_runs(self, pipeline: str, limit: int = 100) -> list[PastRun]:
        """Runs of a pipeline with their ends, newest first."""
        query = _PAST.where(pipeline_runs.c.pipeline == pipeline)
        with self.look() as look:
            rows = look.all(query.order_by(pipeline_runs.c.run.desc()).limit(limit))
        return [_past_run(row, self.context.clock()) for row in rows]

    @operation(Permission.READ)
    def step_totals(self, runs: list[str]) -> list[StepTotal]:
        """The steps of these runs, records of one step and status together, in the order the pipelines called them."""
        parts = (pipeline_steps.c.run, pipeline_steps.c.step, pipeline_steps.c.status)
        first = sa.func.min(pipeline_steps.c.position)
        grouped = (
            sa.select(
                *parts,
                first.label("first"),
                sa.func.count().label("records"),
                sa.func.sum(pipeline_steps.c.seconds).label("total"),
            )
            .where(pipeline_steps.c.run.in_(runs))
            .group_by(*parts)
            .subquery()
        )
        theirs = (pipeline_steps.c.run == grouped.c.run) & (pipeline_steps.c.position == grouped.c.first)
        query = (
            sa.select(
                *parts,
                pipeline_steps.c.position,
                pipeline_steps.c.name,
                pipeline_steps.c.child,
                pipeline_steps.c.reason,
                grouped.c.records,
                grouped.c.total,
            )
            .join(grouped, theirs)
            .order_by(pipeline_steps.c.run, pipeline_steps.c.position)
        )
        with self.look() as look:
            rows = look.all(query)
        return [
            StepTotal(
                of=row.run,
                step=row.step,
                name=row.name,
                position=row.position,
                status=row.status,
                count=row.records,
                seconds=row.total,
                run=row.child or "",
                reason=row.reason,
            )
            for row in rows
        ]

    @operation(Permission.READ)
    def timeline(self, run: str, limit: int = 5000) -> list[StepMoment]:
        """The steps of a run with their times, in the order they were called; at the end those that are at work now in runs of
        their own."""
        query = _MOMENTS.where(pipeline_steps.c.run == run).order_by(pipeline_steps.c.position).limit(limit)
        with self.look() as look:
            now = self.context.clock()
            rows = look.all(query)
            whole = look.first(sa.select(tracked_runs).where(tracked_runs.c.id == run))
            found = [_at_work(row, whole, now) if row.status == RUNNING else _moment(row) for row in rows]
            known = {each.run for each in found if each.run}
            begun = look.all(
                sa.select(tracked_runs)
                .join(run_tags, run_tags.c.run == tracked_runs.c.id)
                .where(
                    tracked_runs.c.parent == run,
                    tracked_runs.c.status == RUNNING,
                    run_tags.c.key == STEP_TAG,
                )
                .order_by(tracked_runs.c.start_time)
                .limit(limit)
            )
        last = max((each.position for each in found), default=-1)
        for number, row in enumerate(row for row in begun if row.id not in known):
            status = _status(row, now)
            until = (
                now if status == RUNNING else row.heartbeat
            )  # of one that was killed: its last sign of life
            found.append(
                StepMoment(
                    of=run,
                    position=last + 1 + number,
                    name=row.name,
                    step="",
                    status=status,
                    seconds=max(0.0, (until - row.start_time).total_seconds()),
                    ended=None if status == RUNNING else until,
                    began=row.start_time,
                    exact=True,
                    run=row.id,
                )
            )
        return found

    @operation(Permission.READ)
    def step_history(self, step: str, name: str = "", limit: int = 200) -> list[StepMoment]:
        """What a step (``train.py::fit``) did in all runs, newest first; `name`: only where it was called so."""
        query = _MOMENTS.where(pipeline_steps.c.step == step, pipeline_steps.c.status != RUNNING)
        if name:
            query = query.where(pipeline_steps.c.name == name)
        newest_first = (
            pipeline_steps.c.time.desc(),
            pipeline_steps.c.run.desc(),
            pipeline_steps.c.position.desc(),
        )
        with self.look() as look:
            return [_moment(row) for row in look.all(query.order_by(*newest_first).limit(limit))]

    @operation(Permission.READ)
    def step_use(self, step: str, limit: int = 50) -> StepUse:
        """Under which names and in which pipelines a step has been; NotFound, with the nearest, for one that never was."""
        of_step = pipeline_steps.c.step == step
        count = sa.func.count(sa.distinct(pipeline_steps.c.run)).label("runs")
        named = sa.select(pipeline_steps.c.name, count).where(of_step).group_by(pipeline_steps.c.name)
        within = (
            sa.select(pipeline_runs.c.pipeline, count)
            .join(pipeline_steps, pipeline_steps.c.run == pipeline_runs.c.run)
            .where(of_step)
            .group_by(pipeline_runs.c.pipeline)
        )
        with self.look() as look:
            names = look.all(named.order_by(count.desc(), pipeline_steps.c.name).limit(limit))
            pipelines = look.all(within.order_by(count.desc(), pipeline_runs.c.pipeline).limit(limit))
            known = [] if names else look.all(sa.select(pipeline_steps.c.step).distinct().limit(_KNOWN))
        if not names:
            listed = [row.step for row in known]
            raise NotFound(
                f"no run has had a step '{step}'",
                hint=nearest(step, listed) or "a step is named as its run's page shows it: train.py::fit",
            )
        return StepUse(
            step,
            {row.name: row.runs for row in names},
            {row.pipeline: row.runs for row in pipelines},
        )

    @operation(Permission.READ)
    def packages_reached(self, run: str = "", source: str = "") -> list[str]:
        """The installed packages that the code of a run's steps reaches, by name; of a pipeline's newest run when `source` says
        where it is defined (``train.py:train``). Empty for a run that computed nothing."""
        if not run:
            newest = sa.select(sa.func.max(pipeline_runs.c.run)).where(pipeline_runs.c.source == source)
        query = (
            sa.select(step_code.c.code, step_code.c.components)
            .join(step_keys, step_keys.c.code == step_code.c.code)
            .join(pipeline_steps, pipeline_steps.c.key == step_keys.c.key)
            .where(pipeline_steps.c.run == (run or newest.scalar_subquery()))
        )
        with self.look() as look:
            by_code = {row.code: msgspec.convert(row.components, list[Component]) for row in look.all(query)}
        return sorted({each.name for found in by_code.values() for each in found if each.kind == "package"})


_PAST = sa.select(
    pipeline_runs.c.run,
    pipeline_runs.c.pipeline,
    pipeline_runs.c.source,
    pipeline_runs.c.started,
    pipeline_runs.c.status.label("recorded"),
    tracked_runs.c.status,
    tracked_runs.c.end_time,
    tracked_runs.c.place,
    tracked_runs.c.pid,
    tracked_runs.c.process_began,
    tracked_runs.c.heartbeat,
).join(tracked_runs, tracked_runs.c.id == pipeline_runs.c.run, isouter=True)

_MOMENTS = sa.select(
    pipeline_steps.c.run,
    pipeline_steps.c.position,
    pipeline_steps.c.name,
    pipeline_steps.c.step,
    pipeline_steps.c.status,
    pipeline_steps.c.seconds,
    pipeline_steps.c.reason,
    pipeline_steps.c.key,
    pipeline_steps.c.child,
    pipeline_steps.c.attempts,
    pipeline_steps.c.inputs,
    pipeline_steps.c.error,
    pipeline_steps.c.log,
    pipeline_steps.c.time,
    tracked_runs.c.start_time,
    tracked_runs.c.end_time,
).join(tracked_runs, tracked_runs.c.id == pipeline_steps.c.child, isouter=True)


def _past_run(row: sa.Row[Any], now: datetime) -> PastRun:
    """The tracking run knows best how it ended: it is told also of a process that was killed."""
    status = row.recorded if row.status is None else _status(row, now)
    return PastRun(row.run, row.pipeline, row.source, status, row.started, row.end_time)


def _status(row: sa.Row[Any], now: datetime) -> str:
    return status_now(row.status, Owner(row.place, row.pid, row.process_began), row.heartbeat, now)


def _moment(row: sa.Row[Any]) -> StepMoment:
    at_work = row.status in _EXECUTED
    ended: datetime = row.time
    exact = at_work and row.start_time is not None and row.end_time is not None
    if exact:
        ended = row.end_time
    began = None
    if at_work:
        began = row.start_time if exact else row.time - timedelta(seconds=row.seconds)
    return StepMoment(
        of=row.run,
        position=row.position,
        name=row.name,
        step=row.step,
        status=row.status,
        seconds=row.seconds,
        ended=ended,
        began=began,
        exact=exact,
        reason=row.reason,
        key=row.key,
        run=row.child or "",
        attempts=row.attempts,
        inputs=tuple(row.inputs),
        error=row.error,
        log=row.log or "",
    )


def _at_work(row: sa.Row[Any], whole: sa.Row[Any] | None, now: datetime) -> StepMoment:
    """A step without a run of its own that was at work when the run it is in was last heard of."""
    began = row.time - timedelta(seconds=row.seconds)
    status = RUNNING if whole is None else _status(whole, now)
    until = now if whole is None or status == RUNNING else whole.heartbeat
    return StepMoment(
        of=row.run,
        position=row.position,
        name=row.name,
        step=row.step,
        status=status,
        seconds=max(0.0, (until - began).total_seconds()),
        ended=None if status == RUNNING else until,
        began=began,
        reason=row.reason,
        key=row.key,
        attempts=row.attempts,
        inputs=tuple(row.inputs),
    )
