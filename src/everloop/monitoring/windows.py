"""One day of one model: the values made from its rows. Plain means and rates, so that a day is computed once
and never again."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from everloop.stats.arrays import Floats
from everloop.stats.metrics import auc, excess_log_losses, log_losses

SCORE = "score"
"""The log's column of the answer that is judged: the probability of the positive class, or the predicted
number."""
PROBABILITY, NUMBER = "probability", "prediction"
"""What a score is (see `domain.signature`)."""


def kind_of(labels: Floats, scores: Floats) -> str:
    """Whether scores are probabilities of a 0/1 label, or numbers: where no reference says so.

    >>> kind_of(np.array([0.0, 1.0]), np.array([0.2, 0.7])), kind_of(np.array([12.0]), np.array([0.7]))
    ('probability', 'prediction')
    """
    binary = bool(np.isin(labels, (0.0, 1.0)).all()) and bool(((scores >= 0) & (scores <= 1)).all())
    return PROBABILITY if binary else NUMBER


def service_values(rows: pa.Table) -> dict[str, float | None]:
    """Latency and errors of a day, from the log's columns `seconds` and `error` where it has them."""
    values: dict[str, float | None] = {"requests": float(rows.num_rows)}
    if "error" in rows.column_names:
        failed = pc.sum(pc.not_equal(pc.fill_null(rows["error"].cast(pa.string()), ""), "")).as_py() or 0
        values["errors"] = float(failed)
    if "seconds" in rows.column_names and rows["seconds"].null_count < rows.num_rows:
        seconds = numbers_of(rows["seconds"])
        seconds = seconds[np.isfinite(seconds)]
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            values[name] = float(np.quantile(seconds, share))
    return values


def performance_values(labels: Floats, scores: Floats, kind: str) -> dict[str, float | None]:
    """How good a day's predictions were, on the rows whose label has come.

    For probabilities: mean `loss` (log loss), `excess` (loss minus the prediction's own entropy), `auc`
    within the day, `gap` (mean prediction minus rate), `rate`, `score`. For numbers: `loss` and `excess` are
    the mean squared error, `gap` the bias.

    >>> values = performance_values(np.array([0.0, 1.0]), np.array([0.5, 0.5]), "probability")
    >>> round(values["loss"], 4), values["excess"], values["auc"]
    (0.6931, 0.0, 0.5)
    """
    if labels.size == 0:
        return {}
    if kind == PROBABILITY:
        return {
            "loss": float(log_losses(labels, scores).mean()),
            "excess": float(excess_log_losses(labels, scores).mean()),
            "auc": auc(labels, scores),
            "gap": float((scores - labels).mean()),
            "rate": float(labels.mean()),
            "score": float(scores.mean()),
        }
    squared = float(((scores - labels) ** 2).mean())
    return {
        "loss": squared,
        "excess": squared,
        "rmse": math.sqrt(squared),
        "gap": float((scores - labels).mean()),
        "rate": float(labels.mean()),
        "score": float(scores.mean()),
    }


def labelled(rows: pa.Table, labels: pa.Table) -> tuple[Floats, Floats]:
    """(labels, scores) of the rows whose label has come and whose score is a number, in the rows' order.

    labels: columns prediction_id and label, one row a prediction.
    """
    position = pc.index_in(rows["prediction_id"], value_set=labels["prediction_id"].combine_chunks())
    scores = numbers_of(rows[SCORE])
    known = np.asarray(pc.is_valid(position).to_numpy(zero_copy_only=False), dtype=bool) & np.isfinite(scores)
    return numbers_of(pc.take(labels["label"], position))[known], scores[known]


def numbers_of(column: pa.ChunkedArray | pa.Array) -> Floats:
    """A column as float64, nulls as NaN."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
