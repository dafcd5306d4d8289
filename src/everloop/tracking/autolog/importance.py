"""What a trained scikit-learn model makes of its features: importances of trees, coefficients of linear models, as tables."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from everloop.tracking.run import Run

MOST_FEATURES = 10_000
DRAWN = 30
"""Features in the picture: those that count most."""


def keep_importance(run: Run, estimator: Any, data: Any) -> None:
    """``feature_importance.json`` (with a picture where matplotlib is there) or ``coefficients.json``, the features that
    count most first; nothing for a model that has neither. Of a pipeline the last step is asked, under the names that
    reach it; of a search the best model."""
    best = getattr(estimator, "best_estimator_", estimator)
    steps = getattr(best, "steps", None)
    last = steps[-1][1] if steps else best
    weights = getattr(last, "feature_importances_", None)
    if weights is not None:
        names = _names(best, last, data, len(weights))
        table = ranked(names, {"importance": [float(each) for each in weights]})
        run.log_table(table, "feature_importance.json")
        picture = _drawn(table["feature"][:DRAWN], table["importance"][:DRAWN])
        if picture:
            run.log_bytes(picture, "feature_importance.png")
        return
    weights = getattr(last, "coef_", None)
    if weights is not None and hasattr(weights, "toarray"):  # sparse
        weights = weights.toarray()
    if weights is None or getattr(weights, "ndim", 0) not in (1, 2):
        return
    rows = [[float(each) for each in row] for row in (weights if weights.ndim == 2 else [weights])]
    titles = ["coefficient"] if len(rows) == 1 else _titles(last, len(rows))
    names = _names(best, last, data, len(rows[0]))
    run.log_table(ranked(names, dict(zip(titles, rows, strict=True))), "coefficients.json")


def ranked(names: Sequence[str], weights: Mapping[str, Sequence[float]]) -> dict[str, list[Any]]:
    """A table of features and their weights, by the greatest weight without its sign.

    >>> ranked(["age", "bmi"], {"coefficient": [0.5, -2.0]})
    {'feature': ['bmi', 'age'], 'coefficient': [-2.0, 0.5]}
    """
    order = sorted(range(len(names)), key=lambda at: -max(abs(column[at]) for column in weights.values()))[
        :MOST_FEATURES
    ]
    table: dict[str, list[Any]] = {"feature": [names[at] for at in order]}
    return table | {title: [column[at] for at in order] for title, column in weights.items()}


def _titles(model: Any, count: int) -> list[str]:
    """One column a class, or a target."""
    classes = getattr(model, "classes_", None)
    if classes is not None and len(classes) == count:
        return [f"coefficient of {each}" for each in classes]
    return [f"coefficient of target {number}" for number in range(count)]


def _names(whole: Any, last: Any, data: Any, count: int) -> list[str]:
    """What the features are called where they reach the model; ``x0``, ``x1`` … where nobody named them."""
    for ask in (
        lambda: last.feature_names_in_,
        lambda: whole[:-1].get_feature_names_out() if whole is not last else data.columns,
    ):
        try:
            names = [str(each) for each in ask()]
        except (AttributeError, TypeError, ValueError):
            continue
        if len(names) == count:
            return names
    return [f"x{number}" for number in range(count)]


def _drawn(names: list[str], weights: list[float]) -> bytes:
    try:  # not pyplot, which keeps a state that is the user's
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return b""
    figure = Figure(figsize=(7, 1 + 0.25 * len(names)))
    axes = figure.subplots()
    axes.barh(names[::-1], weights[::-1])
    axes.set_xlabel("importance")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", bbox_inches="tight")
    return sink.getvalue()
