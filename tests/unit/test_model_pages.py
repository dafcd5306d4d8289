"""What the model page draws from what gates found."""

from __future__ import annotations

from everloop.domain.gates import (
    MetricEvidence,
    SliceEvidence,
    better_than,
    decide_better,
    decide_slices,
    slices_not_worse,
)
from everloop.server.pages.models import comparison


def test_gains_of_metrics_and_of_the_worst_slices_are_drawn_with_their_intervals() -> None:
    gain = MetricEvidence("auc", 0.75, 0.70, 0.05, 0.04, 0.06, rows=1000, blocks=14)
    worse = SliceEvidence("origin", "JFK", 500, candidate=0.46, other=0.45, gain=-0.01, low=-0.02, high=0.0)
    gates = [
        decide_better(better_than("champion", metrics=["auc"]), "model:m@v1", [gain]),
        decide_slices(slices_not_worse(["origin"]), "model:m@v1", [worse]),
    ]
    spec = comparison(gates)
    assert spec is not None
    assert [(row["name"], row["estimate"], row["low"]) for row in spec["rows"]] == [
        ("auc", 0.05, 0.04),
        ("origin = JFK", -0.01, -0.02),
    ]


def test_a_metric_compared_with_several_names_them() -> None:
    gain = MetricEvidence("auc", 0.75, 0.70, 0.05, 0.04, 0.06, rows=1000, blocks=14)
    asked = better_than("champion", metrics=["auc"])
    gates = [decide_better(asked, other, [gain]) for other in ("model:m@v1", "model:m-baseline@v1")]
    spec = comparison(gates)
    assert spec is not None
    assert [row["name"] for row in spec["rows"]] == ["auc / m@v1", "auc / m-baseline@v1"]


def test_gates_that_had_nothing_to_compare_with_draw_nothing() -> None:
    gates = [decide_better(better_than(), None, []), decide_slices(slices_not_worse(["origin"]), None, [])]
    assert comparison(gates) is None
