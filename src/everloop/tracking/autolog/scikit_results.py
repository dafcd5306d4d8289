"""What is measured of a scikit-learn estimator when it has been trained, with the names MLflow gives it."""

import io
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from everloop.tracking.autolog.session import Session
from everloop.tracking.run import Run

_MOST_CLASSES = 50
"""Classes of the largest confusion matrix that is kept."""


def training_metrics(
    estimator: Any, data: Any, labels: Any, weights: Any, pos_label: Any
) -> dict[str, float]:
    """Metrics on the training data: of a classifier precision, recall, F1, accuracy, log loss and AUC; of a regressor the errors
    and R²; of both, and of anything else that has one, the estimator's own score."""
    from sklearn.base import is_classifier, is_regressor

    found: dict[str, float] = {}
    if labels is not None and hasattr(estimator, "predict"):
        if is_classifier(estimator):
            found |= _of_classifier(estimator, data, labels, weights, pos_label)
        elif is_regressor(estimator):
            found |= _of_regressor(estimator.predict(data), labels, weights)
    if hasattr(estimator, "score"):
        with suppress(TypeError, ValueError, NotImplementedError):  # some need what a fit does not
            found["score"] = float(
                estimator.score(data, labels) if labels is not None else estimator.score(data)
            )
    return {f"training_{name}": value for name, value in found.items()}


def _of_classifier(estimator: Any, data: Any, labels: Any, weights: Any, pos_label: Any) -> dict[str, float]:
    from sklearn import metrics

    predicted = estimator.predict(data)
    average: dict[str, Any] = {"average": "weighted"} if pos_label is None else {"pos_label": pos_label}
    common = {"sample_weight": weights, "zero_division": 0} | average
    found = {
        "precision_score": metrics.precision_score(labels, predicted, **common),
        "recall_score": metrics.recall_score(labels, predicted, **common),
        "f1_score": metrics.f1_score(labels, predicted, **common),
        "accuracy_score": metrics.accuracy_score(labels, predicted, sample_weight=weights),
    }
    if hasattr(estimator, "predict_proba"):
        shares = estimator.predict_proba(data)
        found["log_loss"] = metrics.log_loss(labels, shares, sample_weight=weights)
        positive: dict[str, Any] = {"multi_class": "ovr", "average": "weighted"}
        scores = shares
        if shares.shape[1] == 2:
            positive, scores = {}, shares[:, 1]
        found["roc_auc"] = metrics.roc_auc_score(labels, scores, sample_weight=weights, **positive)
    return {name: float(value) for name, value in found.items()}


def _of_regressor(predicted: Any, labels: Any, weights: Any) -> dict[str, float]:
    from sklearn import metrics

    squared = metrics.mean_squared_error(labels, predicted, sample_weight=weights)
    return {
        "mean_squared_error": float(squared),
        "mean_absolute_error": float(metrics.mean_absolute_error(labels, predicted, sample_weight=weights)),
        "r2_score": float(metrics.r2_score(labels, predicted, sample_weight=weights)),
        "root_mean_squared_error": float(
            metrics.root_mean_squared_error(labels, predicted, sample_weight=weights)
        ),
    }


def confusion(run: Run, estimator: Any, data: Any, labels: Any) -> None:
    """The confusion matrix on the training data, as numbers, and as a picture where matplotlib is installed."""
    from sklearn.base import is_classifier

    if labels is None or not is_classifier(estimator) or not hasattr(estimator, "predict"):
        return
    from sklearn.metrics import confusion_matrix
    from sklearn.utils.multiclass import unique_labels

    predicted = estimator.predict(data)
    names = [str(each) for each in unique_labels(labels, predicted)]
    if len(names) > _MOST_CLASSES:
        return
    matrix = confusion_matrix(labels, predicted).tolist()
    run.log_dict({"labels": names, "matrix": matrix}, "training_confusion_matrix.json")
    picture = _drawn(names, matrix)
    if picture:
        run.log_bytes(picture, "training_confusion_matrix.png")


def _drawn(names: list[str], matrix: list[list[int]]) -> bytes:
    try:  # not pyplot, which keeps a state that is the user's
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return b""
    figure = Figure()
    axes = figure.subplots()
    axes.imshow(matrix, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true", xticks=range(len(names)), yticks=range(len(names)))
    axes.set_xticklabels(names)
    axes.set_yticklabels(names)
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            axes.text(column, row, str(count), ha="center", va="center")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", bbox_inches="tight")
    return sink.getvalue()


def search_results(session: Session, search: Any) -> None:
    """The best candidate's parameters and score, the table of all, and the best few as child runs."""
    results: Mapping[str, Any] = search.cv_results_
    best = getattr(search, "best_params_", None)
    if best is not None:
        session.params({f"best_{name}": value for name, value in best.items()})
    if isinstance(getattr(search, "best_score_", None), float):
        session.metrics({"best_cv_score": float(search.best_score_)})
    session.run.log_text(_csv(results), "cv_results.csv")
    ranks = results[next(name for name in results if name.startswith("rank_test_"))]
    order = sorted(range(len(ranks)), key=lambda number: (ranks[number], number))
    limit = session.options.max_tuning_runs
    for number in order if limit is None else order[:limit]:
        metrics = {
            name: float(values[number])
            for name, values in results.items()
            if name.startswith(("mean_", "std_", "rank_"))
        }
        session.child("", {**_common(search), **results["params"][number]}, metrics)


def _common(search: Any) -> dict[str, Any]:
    base: Any = getattr(search, "estimator", None)
    return dict(base.get_params(deep=True)) if hasattr(base, "get_params") else {}


def _csv(results: Mapping[str, Any]) -> str:
    import csv

    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerow(results)
    writer.writerows(zip(*results.values(), strict=True))
    return sink.getvalue()
