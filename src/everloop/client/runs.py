"""Tracking without naming a workspace: what a training script types.

    import everloop as ev

    with ev.start_run(params={"alpha": 0.5}):
        ev.log_metric("rmse", 0.78)

Each function works in the workspace of this process, on the run that was started last and has not ended.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from everloop.client.ambient import workspace
from everloop.errors import Conflict
from everloop.tracking.run import Run, active_run, run_before_fork

if TYPE_CHECKING:
    from everloop.domain.run_inputs import LoggedDataset
    from everloop.domain.runs import ArtifactRecord, CheckpointRecord
    from everloop.tracking.frames import RunList

__all__ = [
    "active_run",
    "autolog",
    "checkpoint",
    "end_run",
    "log_artifact",
    "log_artifacts",
    "log_dataset",
    "log_dict",
    "log_figure",
    "log_image",
    "log_metric",
    "log_metrics",
    "log_model",
    "log_param",
    "log_params",
    "log_points",
    "log_table",
    "log_text",
    "resume",
    "run",
    "runs",
    "set_tag",
    "set_tags",
    "start_run",
]


def start_run(
    experiment: str = "",
    name: str = "",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    *,
    parent: Run | str | None = None,
    seeds: Mapping[str, int] | None = None,
    output: bool | None = None,
    machine: bool | None = None,
) -> Run:
    """Start a run: a context manager, or to be ended by `end_run`. Within a run, the new one is its child. `output`, `machine`:
    whether what the run prints, and what its machine does, are recorded; by default the environment says."""
    tracking = workspace().tracking
    started: Run = tracking.start(
        experiment, name, params, tags, parent=parent, seeds=seeds, output=output, machine=machine
    )
    return started


def resume(run: Run | str) -> Run:
    """Go on with a run that was killed, failed or was interrupted: a new run with what that one had at its last checkpoint.
    ``run.restore()`` gives the state that was saved there."""
    resumed: Run = workspace().tracking.start(resume=run.run_id if isinstance(run, Run) else run)
    return resumed


def end_run(status: str = "finished") -> None:
    """End the active run; without one, nothing happens."""
    current = active_run()
    if current is not None:
        current.finish(status)


def run(run: str) -> Run:
    """A run to read, by identifier, a unique beginning of it, ``run:…`` or a name that only one has."""
    found: Run = workspace().tracking.open(run)
    return found


def runs(
    where: str = "",
    *,
    experiment: str | Sequence[str] = (),
    state: Literal["active", "deleted", "all"] = "active",
    order_by: str | Sequence[str] = (),
    limit: int | None = 1000,
) -> RunList:
    """Runs that match a filter such as ``metrics.rmse < 1 and params.model = 'tree'``, newest first."""
    found: RunList = workspace().tracking.runs(
        where, experiment=experiment, state=state, order_by=order_by, limit=limit
    )
    return found


def log_metric(key: str, value: float, step: int | None = None, timestamp: datetime | None = None) -> None:
    """`Run.log_metric` of the active run."""
    _active().log_metric(key, value, step, timestamp)


def log_metrics(
    metrics: Mapping[str, float], step: int | None = None, timestamp: datetime | None = None
) -> None:
    """`Run.log_metrics` of the active run."""
    _active().log_metrics(metrics, step, timestamp)


def log_param(key: str, value: Any) -> None:
    """`Run.log_param` of the active run."""
    _active().log_param(key, value)


def log_params(params: Mapping[str, Any]) -> None:
    """`Run.log_params` of the active run."""
    _active().log_params(params)


def set_tag(key: str, value: Any) -> None:
    """`Run.set_tag` of the active run."""
    _active().set_tag(key, value)


def set_tags(tags: Mapping[str, Any]) -> None:
    """`Run.set_tags` of the active run."""
    _active().set_tags(tags)


def log_artifact(file: str | os.PathLike[str], path: str | None = None) -> ArtifactRecord:
    """`Run.log_artifact` of the active run."""
    return _active().log_artifact(file, path)


def log_artifacts(folder: str | os.PathLike[str], path: str = "") -> list[ArtifactRecord]:
    """`Run.log_artifacts` of the active run."""
    return _active().log_artifacts(folder, path)


def log_text(text: str, path: str) -> ArtifactRecord:
    """`Run.log_text` of the active run."""
    return _active().log_text(text, path)


def log_dict(value: Any, path: str) -> ArtifactRecord:
    """`Run.log_dict` of the active run."""
    return _active().log_dict(value, path)


def log_table(table: Any, path: str, *, append: bool = False) -> ArtifactRecord:
    """`Run.log_table` of the active run."""
    return _active().log_table(table, path, append=append)


def log_image(
    image: Any, path: str | None = None, *, key: str | None = None, step: int | None = None
) -> ArtifactRecord:
    """`Run.log_image` of the active run."""
    return _active().log_image(image, path, key=key, step=step)


def log_points(
    key: str,
    values: Sequence[float],
    steps: Sequence[int] | None = None,
    times: Sequence[datetime] | None = None,
) -> None:
    """`Run.log_points` of the active run."""
    _active().log_points(key, values, steps, times)


def log_dataset(data: Any, name: str = "dataset", *, context: str = "", source: str = "") -> LoggedDataset:
    """`Run.log_dataset` of the active run."""
    return _active().log_dataset(data, name, context=context, source=source)


def log_figure(figure: Any, path: str) -> ArtifactRecord:
    """`Run.log_figure` of the active run."""
    return _active().log_figure(figure, path)


def log_model(model: Any, name: str = "model", *, example: Any = None, features: Sequence[str] = ()) -> Any:
    """`Run.log_model` of the active run."""
    return _active().log_model(model, name, example=example, features=features)


def checkpoint(state: Any, step: int | None = None) -> CheckpointRecord:
    """`Run.checkpoint` of the active run."""
    return _active().checkpoint(state, step)


def autolog(
    log_input_examples: bool = False,
    log_model_signatures: bool = True,
    log_models: bool = True,
    log_datasets: bool = True,
    disable: bool = False,
    exclusive: bool = False,
    silent: bool = False,
    extra_tags: Mapping[str, str] | None = None,
    exclude_flavors: Sequence[str] | None = None,
    **options: Any,
) -> None:
    """Make trainings of scikit-learn, xgboost, lightgbm and keras into runs from here on; see `everloop.tracking.autolog`, which
    also says what `options` there are. ``autolog(disable=True)`` ends it."""
    from everloop.tracking.autolog import autolog as enable

    enable(
        log_input_examples,
        log_model_signatures,
        log_models,
        log_datasets,
        disable,
        exclusive,
        silent,
        extra_tags,
        exclude_flavors,
        tracking=lambda: workspace().tracking,
        register=_register,
        **options,
    )


def _register(run: Run, name: str) -> None:
    run.flush()
    workspace().registry.register(run.run_id, name)


def _active() -> Run:
    current = active_run()
    if current is None:
        left = run_before_fork()
        if left is not None:
            raise Conflict(
                f"run {left.name} is open in the process that this one was forked from, not here",
                hint=f"log there what this process returns, or start a run here: ev.start_run(parent='{left.run_id}')",
            )
        raise Conflict("no run is open", hint="start one: with ev.start_run(): … (each process has its own)")
    return current
