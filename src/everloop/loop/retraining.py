"""One retraining: run the pipeline, register what it made, ask the gates, begin the rollout. In a worker's
process."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from everloop.domain.policies import Policy
from everloop.domain.references import Kind, Reference
from everloop.domain.rollouts import TERMINAL, Verdict
from everloop.engine.contract import Executor
from everloop.errors import EverloopError, InvalidReference
from everloop.governance.rooms import Context
from everloop.loop.records import Outcome, Retraining, Status
from everloop.pipelines.outcome import PipelineRun
from everloop.pipelines.pipelines import Pipelines
from everloop.registry.registry import Registry
from everloop.rollout.rollout import GATED_BEFORE, Rollouts
from everloop.serving.serving import Serving
from everloop.tracking.tracking import Tracking


def retrain(
    context: Context, policy: Policy, wanted: Retraining, now: datetime, executor: Executor | None = None
) -> Outcome:
    """Do one retraining. What fails is an outcome, not an exception: it is told to whoever asked, and to the
    feed."""
    run: str | None = None
    candidate: str | None = None
    try:
        done = context.room(Pipelines).run(policy.pipeline, wanted.params, executor=executor or "")
        run = done.reference
        if done.status != "finished":
            return Outcome(Status.FAILED, f"the pipeline {done.status}: {_last_line(done.error)}", run)
        candidate = register(context, policy, done)
        if candidate in _answering(context, policy.endpoint):
            return Outcome(
                Status.REFUSED, f"the pipeline made {candidate} again, which answers already", run, candidate
            )
        promotion = context.room(Registry).promote(candidate, GATED_BEFORE)
        gates = tuple(promotion.gates)
        if not promotion.allowed:
            failed = "; ".join(f"{gate.name}: {gate.reason}" for gate in gates if not gate.passed)
            return Outcome(Status.REFUSED, f"refused by its gates: {failed}", run, candidate, None, gates)
        _make_way(context, policy.endpoint, candidate, now)
        begun = context.room(Rollouts).start(
            policy.endpoint, candidate, plan=policy.rollout, alias=policy.alias, time=now
        )
        return Outcome(
            Status.ROLLING_OUT,
            f"{candidate} begins with {begun.state}",
            run,
            candidate,
            begun.reference,
            gates,
        )
    except EverloopError as error:
        return Outcome(Status.FAILED, error.message, run, candidate)


def register(context: Context, policy: Policy, done: PipelineRun) -> str:
    """The model version that a pipeline's run made: the one it names as its result, the one registered from
    the run before (a cached step made nothing new), or a new one."""
    registry = context.room(Registry)
    named = _named(done)
    if named is not None:
        return registry.version(named).reference
    run = _run_with_model(context, done, policy.artifact)
    for version in _versions(registry, policy.model):
        if version.run == run and version.artifact == policy.artifact:
            return str(version.reference)
    return registry.register(run, policy.model, policy.artifact).reference


def _named(done: PipelineRun) -> str | None:
    """The model reference that the pipeline returned, if it did."""
    value = done.value() if done.output is not None else None
    text = getattr(value, "reference", value)
    if not isinstance(text, str):
        return None
    try:
        return str(Reference.parse(text, Kind.MODEL)) if text.startswith("model:") else None
    except InvalidReference:
        return None


def _run_with_model(context: Context, done: PipelineRun, artifact: str) -> str:
    """The tracking run, of the pipeline or of its last step that has one, whose artifacts hold the model."""
    tracking = context.room(Tracking)
    steps = [step.run for step in reversed(done.steps) if step.run]
    for run in [done.run_id, *steps]:
        if any(each.path == f"{artifact}/model.json" for each in tracking.artifacts(run, artifact)):
            return run
    return done.run_id  # the registry says in its own words what is missing


def _versions(registry: Registry, name: str) -> list[Any]:
    known = {record.name for record in registry.models()}
    return registry.versions(name) if name in known else []


def _answering(context: Context, endpoint: str) -> set[str]:
    return {arm.model for arm in context.room(Serving).endpoint(endpoint).arms if arm.mode != "off"}


def _make_way(context: Context, endpoint: str, candidate: str, now: datetime) -> None:
    """End a rollout whose time is over without a decision: a fresher candidate that passed its gates takes its place, or an
    undecided one would keep every better one out."""
    rollouts = context.room(Rollouts)
    current = rollouts.current(endpoint)
    if current is not None and current.state not in TERMINAL and current.verdict is Verdict.HOLD:
        rollouts.abort(endpoint, because=f"on hold, and {candidate} is fresher", time=now)


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "it does not say why"
