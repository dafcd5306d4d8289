"""Everloop: the whole life cycle of a machine-learning model, with one ledger that can prove what happened.

    import everloop as ev

    with ev.start_run(params={"alpha": 0.5}) as run:
        run.log_metric("rmse", 0.78)

Names are imported when they are first used, so that `import everloop` costs next to nothing.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from everloop._version import __version__

_NAMES: dict[str, str] = {
    "workspace": "everloop.client.ambient:workspace",
    "connect": "everloop.client.ambient:connect",
    "active_run": "everloop.client.runs:active_run",
    "autolog": "everloop.client.runs:autolog",
    "TrainingLog": "everloop.tracking.autolog.loops:TrainingLog",
    "checkpoint": "everloop.client.runs:checkpoint",
    "end_run": "everloop.client.runs:end_run",
    "log_artifact": "everloop.client.runs:log_artifact",
    "log_artifacts": "everloop.client.runs:log_artifacts",
    "log_dataset": "everloop.client.runs:log_dataset",
    "log_dict": "everloop.client.runs:log_dict",
    "log_figure": "everloop.client.runs:log_figure",
    "log_image": "everloop.client.runs:log_image",
    "log_metric": "everloop.client.runs:log_metric",
    "log_metrics": "everloop.client.runs:log_metrics",
    "log_model": "everloop.client.runs:log_model",
    "log_param": "everloop.client.runs:log_param",
    "log_params": "everloop.client.runs:log_params",
    "log_points": "everloop.client.runs:log_points",
    "log_table": "everloop.client.runs:log_table",
    "log_text": "everloop.client.runs:log_text",
    "resume": "everloop.client.runs:resume",
    "run": "everloop.client.runs:run",
    "runs": "everloop.client.runs:runs",
    "set_tag": "everloop.client.runs:set_tag",
    "set_tags": "everloop.client.runs:set_tags",
    "start_run": "everloop.client.runs:start_run",
    "errors": "everloop.errors",
    "data": "everloop.client.handles:data",
    "query": "everloop.data.incoming.queries:Query",
    "model": "everloop.client.handles:model",
    "gate": "everloop.domain.gates",
    "gates": "everloop.domain.gates:gates",
    "check": "everloop.domain.checks.declaring",
    "checks": "everloop.domain.checks:checks",
    "checks_from": "everloop.exchange.checks.opening:checks_from",
    "aggregate": "everloop.domain.featureviews:aggregate",
    "aggregates": "everloop.domain.featureviews:aggregates",
    "on_demand_view": "everloop.client.views:on_demand_view",
    "feature_view": "everloop.client.views:feature_view",
    "feature": "everloop.domain.featureviews:feature",
    "question": "everloop.domain.labels:question",
    "augmentation": "everloop.data.labels.finishing:Augmentation",
    "feature_list": "everloop.domain.online:feature_list",
    "entity": "everloop.client.views:entity",
    "monitor": "everloop.domain.monitors:monitor",
    "outcome": "everloop.domain.monitors:outcome",
    "policy": "everloop.domain.policies:policy",
    "trigger": "everloop.domain.triggers:trigger",
    "rollout_plan": "everloop.domain.rollouts:rollout_plan",
    "step": "everloop.pipelines.steps:step",
    "idempotency_key": "everloop.pipelines.idempotency:idempotency_key",
    "sql_step": "everloop.pipelines.kinds.sql:sql_step",
    "shell_step": "everloop.pipelines.kinds.shell:shell_step",
    "notebook_step": "everloop.pipelines.kinds.notebook:notebook_step",
    "environment": "everloop.pipelines.environments.declared:environment",
    "secret": "everloop.pipelines.secrets:secret",
    "register_serialiser": "everloop.pipelines.values.formats:register_serialiser",
    "File": "everloop.pipelines.values.files:File",
    "space": "everloop.domain.sweeps",
    "objective": "everloop.domain.sweeps:Objective",
    "repeat": "everloop.domain.sweeps:Repeat",
    "pipeline": "everloop.pipelines.steps:pipeline",
}
"""Each public name and where it is defined (``module`` or ``module:attribute``)."""

__all__ = ["__version__", *sorted(_NAMES)]  # noqa: PLE0604  (the table above is the list)


class _CallableRoom(ModuleType):
    """`ev.data` and `ev.workspace` are functions, and `everloop.data` and `everloop.workspace` are rooms. Python keeps one
    attribute for both, so the room's module answers calls with the function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _resolve(_NAMES[self.__name__.rpartition(".")[2]])(*args, **kwargs)


class _Everloop(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _NAMES and isinstance(value, ModuleType) and value.__name__ == f"everloop.{name}":
            value.__class__ = _CallableRoom
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _NAMES:
            raise AttributeError(f"everloop has no '{name}'")
        found = _resolve(_NAMES[name])
        if name not in self.__dict__:  # unless importing it has made it the room of that name
            super().__setattr__(name, found)
        return self.__dict__[name]

    def __dir__(self) -> list[str]:
        return __all__


def _resolve(place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


sys.modules[__name__].__class__ = _Everloop
