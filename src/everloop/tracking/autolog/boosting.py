"""xgboost and lightgbm: `train`, and the estimators they give to scikit-learn.

The estimators are subclasses of scikit-learn's and are recorded as those; what `fit` measured on its ``eval_set`` is added. In
`train` a callback is appended that logs each round's measurements as they come; it looks and never stops anything.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from everloop.tracking.autolog.options import wanted
from everloop.tracking.autolog.patches import replace, safely, within
from everloop.tracking.autolog.session import Session, recorded
from everloop.tracking.run import Run

_MOST_FEATURES = 10_000


def prepare_xgboost() -> None:
    import xgboost

    replace(xgboost, "train", _xgboost_train)


def prepare_lightgbm() -> None:
    import lightgbm

    replace(lightgbm, "train", _lightgbm_train)


def _arguments(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    bound = inspect.signature(original).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _plain(given: Mapping[str, Any], leave_out: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of a call: those in its dict, and its other arguments."""
    params = dict(given.get("params") or {})
    return params | {name: value for name, value in given.items() if name not in ("params", *leave_out)}


# xgboost


def _xgboost_train(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    options = wanted("xgboost")
    if options is None or within.get():
        return original(*args, **kwargs)
    given = safely(lambda: _arguments(original, args, kwargs), "reading the arguments")
    if given is None:
        return original(*args, **kwargs)
    callback = _xgboost_callback()
    more = dict(kwargs)
    if len(args) <= list(inspect.signature(original).parameters).index("callbacks"):
        more["callbacks"] = [*(kwargs.get("callbacks") or []), callback]

    def before(session: Session) -> None:
        callback.session = session
        leave_out = (
            "dtrain",
            "evals",
            "evals_result",
            "callbacks",
            "xgb_model",
            "obj",
            "custom_metric",
            "feval",
        )
        session.params(_plain(given, leave_out))
        safely(lambda: session.dataset(_Counted(given["dtrain"]), "train"), "describing the data")

    def after(session: Session, booster: Any) -> None:
        callback.send()
        stopped = (
            {"stopped_iteration": booster.num_boosted_rounds() - 1}
            if given.get("early_stopping_rounds")
            else {}
        )
        best = getattr(booster, "best_iteration", None) if stopped else None
        session.metrics(stopped | ({"best_iteration": best} if best is not None else {}))
        safely(lambda: _xgboost_importance(session.run, booster), "the features' importance")
        session.model_file("model.ubj", booster.save_model)

    return recorded("xgboost", options, lambda: original(*args, **more), before, after)


def _xgboost_callback() -> Any:
    import xgboost

    class Rounds(xgboost.callback.TrainingCallback):
        """Logs what each round measured."""

        session: Session | None = None

        def __init__(self) -> None:
            super().__init__()
            self.points: dict[str, list[float]] = {}

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            safely(lambda: self._note(epoch, evals_log), "logging a round")
            return False

        def _note(self, epoch: int, evals_log: Any) -> None:
            values = {}
            for data, measured in evals_log.items():
                for metric, history in measured.items():
                    last = history[-1]
                    values[f"{data}-{metric}"] = float(last[0] if isinstance(last, tuple) else last)
            if self.session is not None and values:
                self.session.metrics(values, step=epoch)

        def send(self) -> None:
            self.session = None

    return Rounds()


def _xgboost_importance(run: Run, booster: Any) -> None:
    scores = booster.get_score(importance_type="weight")
    run.log_dict(dict(list(scores.items())[:_MOST_FEATURES]), "feature_importance_weight.json")


# lightgbm


def _lightgbm_train(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    options = wanted("lightgbm")
    if options is None or within.get():
        return original(*args, **kwargs)
    given = safely(lambda: _arguments(original, args, kwargs), "reading the arguments")
    if given is None:
        return original(*args, **kwargs)
    recording: list[Session] = []

    def each_round(state: Any) -> None:  # early stopping, which ends a training by an exception, comes later
        if recording:
            values = {f"{each[0]}-{each[1]}": float(each[2]) for each in state.evaluation_result_list or []}
            safely(lambda: recording[0].metrics(values, step=state.iteration), "logging a round")

    each_round.order = 5  # type: ignore[attr-defined]
    more = dict(kwargs)
    if len(args) <= list(inspect.signature(original).parameters).index("callbacks"):
        more["callbacks"] = [*(kwargs.get("callbacks") or []), each_round]

    def before(session: Session) -> None:
        recording.append(session)
        leave_out = (
            "train_set",
            "valid_sets",
            "valid_names",
            "callbacks",
            "init_model",
            "feval",
            "feature_name",
        )
        session.params(_plain(given, leave_out))

    def after(session: Session, booster: Any) -> None:
        recording.clear()
        if booster.best_iteration > 0:
            session.metrics({"best_iteration": booster.best_iteration})
        safely(lambda: session.dataset(_Counted(given["train_set"]), "train"), "describing the data")
        for kind in ("gain", "split"):
            scores = dict(
                zip(
                    booster.feature_name(),
                    booster.feature_importance(importance_type=kind).tolist(),
                    strict=True,
                )
            )
            session.run.log_dict(
                dict(list(scores.items())[:_MOST_FEATURES]), f"feature_importance_{kind}.json"
            )
        session.model_file("model.txt", booster.save_model)

    return recorded("lightgbm", options, lambda: original(*args, **more), before, after)


def measured_by_fit(estimator: Any) -> dict[str, list[float]]:
    """What an estimator of these libraries measured in each round of `fit`, by data set and metric; none for others.

    >>> measured_by_fit(object())
    {}
    """
    found: Any = getattr(estimator, "evals_result_", None) or {}
    return {
        f"{data}-{metric}": [float(each) for each in values]
        for data, measured in found.items()
        for metric, values in measured.items()
    }


def own_file(estimator: Any) -> tuple[str, Callable[[str], object]] | None:
    """The file into which the library of an estimator writes it, and what writes it; None for those of scikit-learn. The types of
    xgboost and lightgbm are not among those that can be loaded safely as parts of an estimator."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(estimator).__mro__}
    if "xgboost" in libraries:
        return "model.ubj", estimator.save_model
    if "lightgbm" in libraries:
        return "model.txt", estimator.booster_.save_model
    return None


class _Counted:
    """A library's own data set: its rows and columns are all that can be asked of it without reading it out."""

    def __init__(self, data: Any) -> None:
        counts = [
            getattr(data, name)
            for name in (("num_row", "num_col") if hasattr(data, "num_row") else ("num_data", "num_feature"))
        ]
        self.shape = tuple(int(each()) for each in counts)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy as np

        return np.asarray(self.shape, dtype)
