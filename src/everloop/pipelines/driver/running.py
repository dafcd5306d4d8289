"""A run of a pipeline: what it begins with, the call of its function, and how it ends."""

from __future__ import annotations

import inspect
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.pipelines import PipelineRunRecord, StepRecord, StoredValue
from everloop.domain.runs import FAILED, FINISHED, INTERRUPTED
from everloop.engine.contract import Executor
from everloop.engine.executors import open_executor
from everloop.errors import EverloopError, NotFound
from everloop.governance.audit import Governance
from everloop.pipelines.datasets import Newest
from everloop.pipelines.driver.conducting import PipelineConductor, Stopped
from everloop.pipelines.driver.scheduling import Cancelled, Scheduler
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.interrupting import interrupted_gently
from everloop.pipelines.locating import find_pipeline, project_of
from everloop.pipelines.outcome import PipelineRun, failed_pipeline, is_ours
from everloop.pipelines.steps import Pipeline, conducted_by
from everloop.pipelines.tracked import begin_whole
from everloop.pipelines.worker import served_here
from everloop.tracking.starting import RESUME

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines


def run_pipeline(
    room: Pipelines,
    pipeline: str | Pipeline[..., Any],
    params: Mapping[str, Any],
    *,
    executor: str | Executor,
    dry_run: bool,
    force: bool,
    experiment: str,
    resumed_from: str | None,
    parent: str | None,
    on_begin: Callable[[str], None] | None,
    on_step: Callable[[StepRecord], None] | None,
    stop: Callable[[Sequence[str]], str] | None,
) -> PipelineRun:
    """See `Pipelines.run`."""
    declared, source = find_pipeline(pipeline, room.context.project)
    resumed_from = resumed_from or os.environ.pop(RESUME, None)
    root = project_of(declared, room.context.project)
    newest = Newest(room.context, root)
    arguments = {name: newest.pinned(value) for name, value in declared.arguments(params).items()}
    chosen = open_executor(executor, room.context.settings.engine) if isinstance(executor, str) else executor
    begun = time.perf_counter()
    state = RunState(
        room,
        room.context,
        declared,
        root,
        chosen,
        newest,
        dry_run=dry_run,
        force=force,
        on_step=on_step,
        stop=stop,
        experiment=experiment or declared.name,
    )
    try:
        with interrupted_gently(state):
            if dry_run:
                scheduler = Scheduler(state)
                _trace(scheduler, state, arguments)
                return _summary(scheduler, state, "planned", begun, None, None)
            return _recorded(state, source, arguments, params, resumed_from, parent, on_begin, begun)
    finally:
        # One that was lent keeps its workers, unless they are at work.
        if isinstance(executor, str) or state.running:
            chosen.close()
        shutil.rmtree(state.logs, ignore_errors=True)


def _recorded(
    state: RunState,
    source: str,
    arguments: dict[str, Any],
    params: Mapping[str, Any],
    resumed_from: str | None,
    parent: str | None,
    on_begin: Callable[[str], None] | None,
    begun: float,
) -> PipelineRun:
    """Call the pipeline and do what it asks for, as a run that the ledger knows from its first moment to its end."""
    run, state.captured = begin_whole(
        state.context,
        experiment=state.experiment,
        name=state.pipeline.name,
        source=source,
        params=arguments,
        root=state.root,
        resumed_from=resumed_from,
        parent=parent,
    )
    state.run_id = state.first_run = run.run_id
    scheduler = Scheduler(state)
    status = FAILED
    output: StoredValue | None = None
    try:
        if resumed_from:
            state.first_run = _first_run(state, resumed_from)
        record = PipelineRunRecord(
            run=run.run_id,
            pipeline=state.pipeline.name,
            source=source,
            params={name: msgspec.to_builtins(value, enc_hook=str) for name, value in params.items()},
            executor=state.executor.name,
            status="running",
            started=state.context.clock(),
            resumed_from=resumed_from,
            settings={"root": str(state.root), "cpus": os.cpu_count(), "first_run": state.first_run},
        )
        state.room.begin(record)
        if on_begin is not None:
            on_begin(run.run_id)
        _declare(state, source)
        output = _trace(scheduler, state, arguments)
        status = FINISHED if not state.failure else FAILED
    except Cancelled as cancelled:
        status, state.failure = INTERRUPTED, str(cancelled)
    except KeyboardInterrupt:
        status = INTERRUPTED
        raise
    finally:
        if state.running:
            state.executor.close()
        scheduler.records.flush()
        scheduler.claims.end()
        state.room.end(state.run_id, status, output)
        run.finish(status)
    return _summary(scheduler, state, status, begun, output, resumed_from)


def _first_run(state: RunState, resumed_from: str) -> str:
    """The run at the beginning of those that go on with each other: effects of steps happen once in all of them."""
    try:
        before = state.room.pipeline_run(resumed_from)
    except NotFound:  # a run of a script, which this pipeline's run goes on with
        return resumed_from
    return str(before.settings.get("first_run", before.run))


def _declare(state: RunState, source: str) -> None:
    """Record the pipeline's declaration: the same code and parameters are the same version."""
    pipeline = state.pipeline
    declaration = {
        "name": pipeline.name,
        "parameters": {
            name: None if each.default is inspect.Parameter.empty else repr(each.default)
            for name, each in pipeline.signature.parameters.items()
        },
        "code": state.keys.code_of(pipeline).code,
    }
    state.context.room(Governance).record_definition("pipeline", pipeline.name, declaration, source)


def _trace(scheduler: Scheduler, state: RunState, arguments: dict[str, Any]) -> StoredValue | None:
    """Call the pipeline's function, then work until all its steps are over; returns what it returned, when nothing failed."""
    with served_here(state.context, scheduler.jobs.local):
        try:
            with conducted_by(PipelineConductor(state, scheduler)):
                returned = state.pipeline.function(**arguments)
            scheduler.advance(lambda: all(node.is_over for node in state.graph.nodes))
        except Stopped:
            returned = None
        except Exception as error:
            if isinstance(error, EverloopError) or is_ours(error):
                raise
            raise failed_pipeline(state.pipeline, error) from error
        scheduler.skip_rest()
        if state.failure or state.dry_run:
            return None
        return scheduler.references.encoded(returned, "what the pipeline returned")[0]


def _summary(
    scheduler: Scheduler,
    state: RunState,
    status: str,
    begun: float,
    output: StoredValue | None,
    resumed_from: str | None,
) -> PipelineRun:
    return PipelineRun(
        run_id=state.run_id,
        pipeline=state.pipeline.name,
        status=status,
        steps=tuple(node.record for node in state.graph.nodes if node.record is not None),
        seconds=time.perf_counter() - begun,
        error=state.failure,
        notes=tuple(dict.fromkeys(note for parts in state.parts.values() for note in parts.notes)),
        resumed_from=resumed_from,
        output=output,
        parts={
            node.key: state.parts[node.number] for node in state.graph.nodes if node.number in state.parts
        },
        root=state.root,
        _read=scheduler.references.decoded,
    )
