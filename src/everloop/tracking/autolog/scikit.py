"""scikit-learn: every estimator's `fit`, and afterwards its scores and the metrics of its predictions.

All subclasses of `BaseEstimator` are wrapped, those too that are defined later and those of users. What scikit-learn calls of
itself (the steps of a pipeline, the folds of a search, trees of a forest, in this thread or in workers) is part of the call it
serves and makes no run. `cross_val_score` and its kin make none either: they keep no model.
"""

import inspect
import itertools
import sys
import weakref
from collections.abc import Callable
from typing import Any

from everloop.tracking.autolog.boosting import measured_by_fit, own_file
from everloop.tracking.autolog.importance import keep_importance
from everloop.tracking.autolog.options import Options, wanted
from everloop.tracking.autolog.patches import inside, on_undo, replace, safely, when_imported, within
from everloop.tracking.autolog.scikit_results import confusion, search_results, training_metrics
from everloop.tracking.autolog.session import Session, log_afterwards, recorded
from everloop.tracking.run import Run

FLAVOUR = "sklearn"
EXAMPLE_ROWS = 100
"""Rows of the training data that say what a model takes."""
_FITS = ("fit", "fit_transform", "fit_predict")
_PREDICTS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")


def prepare() -> None:
    """Wrap what is there of scikit-learn, and what will be."""
    from sklearn.base import BaseEstimator

    for kind in _below(BaseEstimator):
        _prepare_class(kind)
    _prepare_later_classes(BaseEstimator)
    from sklearn.utils import parallel

    replace(parallel._FuncWrapper, "__call__", _part_of_a_call)
    if sys.modules.get("sklearn.metrics") is not None:
        _prepare_metrics()
    else:
        when_imported("sklearn.metrics", _prepare_metrics)


def _below(kind: type) -> list[type]:
    """A class and all that inherit from it."""
    return list(dict.fromkeys([kind, *itertools.chain.from_iterable(map(_below, kind.__subclasses__()))]))


def _prepare_class(kind: type) -> None:
    for name in _FITS:
        replace(kind, name, _fit)
    for name in _PREDICTS:
        replace(kind, name, _predict)
    replace(kind, "score", _score)


def _prepare_later_classes(base: Any) -> None:
    own = vars(base).get("__init_subclass__")

    def begun(cls: Any, **kwargs: Any) -> None:
        if own is not None:
            own.__func__(cls, **kwargs)
        else:
            super(base, cls).__init_subclass__(**kwargs)
        safely(lambda: _prepare_class(cls), f"preparing {cls.__name__}")

    hook: Any = classmethod(begun)
    base.__init_subclass__ = hook

    def undo() -> None:
        if vars(base).get("__init_subclass__") is hook:
            if own is not None:
                base.__init_subclass__ = own
            else:
                del base.__init_subclass__

    on_undo(undo)


def _part_of_a_call(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What scikit-learn runs in parallel, in whatever thread, belongs to the call that asked for it."""
    with inside():
        return original(*args, **kwargs)


# Training


def _fit(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    options = wanted(FLAVOUR)
    if options is None or within.get() or not args:
        return original(*args, **kwargs)
    estimator = args[0]
    given = (
        safely(lambda: inspect.signature(original).bind(*args, **kwargs).arguments, "reading the arguments")
        or {}
    )
    data = given.get("X", args[1] if len(args) > 1 else None)
    labels = given.get("y", given.get("Y"))
    _models.pop(id(estimator), None)
    return recorded(
        FLAVOUR,
        options,
        lambda: original(*args, **kwargs),
        lambda session: _before(session, estimator, data),
        lambda session, _: _after(session, estimator, data, labels, given.get("sample_weight")),
    )


def _before(session: Session, estimator: Any, data: Any) -> None:
    kind = type(estimator)
    session.run.set_tags(
        {"estimator_name": kind.__name__, "estimator_class": f"{kind.__module__}.{kind.__name__}"}
    )
    safely(lambda: session.dataset(data, "train"), "describing the data")
    session.params(estimator.get_params(deep=not _is_search(estimator)))


def _after(session: Session, estimator: Any, data: Any, labels: Any, weights: Any) -> None:
    _remember(estimator, session.run)
    measured = safely(
        lambda: training_metrics(estimator, data, labels, weights, session.options.pos_label),
        "measuring on the training data",
    )
    safely(lambda: session.metrics(measured or {}), "logging metrics")
    for key, values in (safely(lambda: measured_by_fit(estimator), "reading the rounds") or {}).items():
        session.run.log_points(key, values)
    safely(lambda: confusion(session.run, estimator, data, labels), "the confusion matrix")
    safely(lambda: keep_importance(session.run, estimator, data), "what the features count")
    safely(lambda: _keep_html(session.run, estimator), "the estimator's diagram")
    example = safely(lambda: _head(data), "taking an example")
    kept = estimator
    if _is_search(estimator):
        safely(lambda: search_results(session, estimator), "the results of a search")
        kept = getattr(
            estimator, "best_estimator_", None
        )  # it predicts as the search does, and can be kept safely
    if kept is not None:
        _remember(kept, session.run)
        safely(lambda: _keep(session, kept, example), "keeping the model")


def _keep(session: Session, estimator: Any, example: Any) -> None:
    found = own_file(estimator)
    if found is None:
        session.model(estimator, "model", example)
    else:
        session.model_file(*found)


def _is_search(estimator: Any) -> bool:
    return hasattr(estimator, "cv_results_") or (
        hasattr(estimator, "estimator") and hasattr(type(estimator), "_run_search")
    )


def _keep_html(run: Run, estimator: Any) -> None:
    from sklearn.utils import estimator_html_repr

    run.log_text(estimator_html_repr(estimator), "estimator.html")


def _head(data: Any) -> Any:
    return data.iloc[:EXAMPLE_ROWS] if hasattr(data, "iloc") else data[:EXAMPLE_ROWS]


# Afterwards: what is computed from the predictions of a trained model goes to its run


class _Seen:
    """A run, and how often each name of a metric was used in it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.counts: dict[str, int] = {}


_models: dict[int, tuple[Any, _Seen]] = {}
"""Trained estimators by identity, weakly."""
_predictions: dict[int, tuple[Any, _Seen, str]] = {}
"""Predictions of these by identity, weakly, with the name of the data they are for."""
_runs: "weakref.WeakKeyDictionary[Run, _Seen]" = weakref.WeakKeyDictionary()


def _remember(estimator: Any, run: Run) -> None:
    key = id(estimator)
    seen = _runs.setdefault(run, _Seen(run))
    _models[key] = weakref.ref(estimator, lambda _: _models.pop(key, None)), seen


def _seen_of(estimator: Any) -> _Seen | None:
    found = _models.get(id(estimator))
    return found[1] if found is not None and found[0]() is estimator else None


def _predict(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = original(*args, **kwargs)
    options = wanted(FLAVOUR)
    if options is None or not options.log_post_training_metrics or within.get() or not args:
        return result
    seen = _seen_of(args[0])
    if seen is not None:
        data = args[1] if len(args) > 1 else next(iter(kwargs.values()), None)
        name = _name_of(data, sys._getframe(2))
        safely(lambda: _remember_prediction(result, seen, name), "noting a prediction")
    return result


def _remember_prediction(result: Any, seen: _Seen, name: str) -> None:
    try:
        key = id(result)
        _predictions[key] = weakref.ref(result, lambda _: _predictions.pop(key, None)), seen, name
    except TypeError:  # a list, which cannot be referred to weakly
        return


def _score(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    options = wanted(FLAVOUR)
    if options is None or not options.log_post_training_metrics or within.get() or not args:
        return original(*args, **kwargs)
    with inside():
        value = original(*args, **kwargs)
    seen = _seen_of(args[0])
    if seen is not None:
        data = args[1] if len(args) > 1 else kwargs.get("X")
        name = _name_of(data, sys._getframe(2))
        label = f"{type(args[0]).__name__}_score"
        safely(lambda: _log_later(seen, options, label, name, value, data), "logging a score")
    return value


def _prepare_metrics() -> None:
    from sklearn import metrics

    for name in metrics.__all__:
        if inspect.isfunction(vars(metrics).get(name)) and not name.startswith(("make_", "get_", "check_")):
            replace(metrics, name, _metric)


def _metric(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    options = wanted(FLAVOUR)
    if options is None or not options.log_post_training_metrics or within.get():
        return original(*args, **kwargs)
    with inside():
        value = original(*args, **kwargs)
    about = next(filter(None, map(_prediction, (*args, *kwargs.values()))), None)
    if about is not None:
        safely(
            lambda: _log_later(about[0], options, original.__name__, about[1], value, None),
            "logging a metric",
        )
    return value


def _prediction(value: Any) -> tuple[_Seen, str] | None:
    """If a value is what a trained model predicted: what its run knows, and the name of the data."""
    found = _predictions.get(id(value))
    return found[1:] if found is not None and found[0]() is value else None


def _log_later(seen: _Seen, options: Options, label: str, data_name: str, value: Any, data: Any) -> None:
    import numpy as np

    if not isinstance(value, (int, float, np.number)):
        return
    count = seen.counts[f"{label}_{data_name}"] = seen.counts.get(f"{label}_{data_name}", 0) + 1
    key = f"{label}-{count}_{data_name}" if count > 1 else f"{label}_{data_name}"
    log_afterwards(seen.run, options, {key: float(value)})
    if data is not None and options.log_datasets and seen.run.is_open:
        seen.run.log_dataset(data, data_name, context="eval")


def _name_of(data: Any, frame: Any) -> str:
    """The name of the variable that holds the data where the call was made."""
    for scope in (frame.f_locals, frame.f_globals):
        for name, value in list(scope.items()):
            if value is data and not name.startswith("_"):
                return str(name)
    return "unknown_dataset"
