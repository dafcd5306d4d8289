"""The alarm rule: silent without drift, awake to a real shift, and patient for a second window."""

from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.drift import (
    CategoricalBins,
    Measurement,
    NumericBins,
    NumericState,
    benjamini_hochberg,
    decide,
    floors,
    measure,
)

COLUMNS = [f"x{i}" for i in range(10)]
ROWS = 1000


def windows(
    rng: np.random.Generator, bins: NumericBins, count: int, wander: float
) -> dict[str, list[NumericState]]:
    return {
        c: [bins.count(rng.normal(rng.normal(0, wander), 1, ROWS)) for _ in range(count)] for c in COLUMNS
    }


def test_a_month_of_wandering_windows_gives_at_most_one_false_alert_and_a_shift_is_found() -> None:
    rng = np.random.default_rng(1)
    bins = NumericBins.fit(rng.normal(size=10_000))
    reference = windows(rng, bins, 30, 0.05)
    limits = floors(reference)
    merged = {c: _merge(states) for c, states in reference.items()}
    streaks: dict[str, int] = {}
    alarms, raw = 0, 0
    for _ in range(60):
        today = windows(rng, bins, 1, 0.05)
        found = [m for c in COLUMNS for m in measure(c, merged[c], today[c][0])]
        verdict = decide(found, floors=limits, streaks=streaks)
        streaks = verdict.streaks
        alarms += bool(verdict.drifted)
        raw += any(m.p < 0.05 for m in found)
    assert alarms <= 2
    assert raw > 20  # the usual rule, for comparison

    found_after = []
    for _ in range(4):
        today = windows(rng, bins, 1, 0.05)
        today["x3"] = [bins.count(rng.normal(0.4 + rng.normal(0, 0.05), 1, ROWS))]
        verdict = decide(
            [m for c in COLUMNS for m in measure(c, merged[c], today[c][0])], floors=limits, streaks=streaks
        )
        streaks = verdict.streaks
        found_after.append(verdict.drifted)
    assert found_after[0] == ()
    assert found_after[1] == found_after[3] == ("x3",)


def _merge(states: list[NumericState]) -> NumericState:
    merged = states[0]
    for state in states[1:]:
        merged = merged.merge(state)
    return merged


def test_a_harmless_shift_stays_silent_however_significant() -> None:
    rng = np.random.default_rng(2)
    bins = NumericBins.fit(rng.normal(size=100_000))
    found = measure("x", bins.count(rng.normal(size=300_000)), bins.count(rng.normal(0.02, 1, 300_000)))
    distribution = found[-1]
    assert distribution.p < 1e-6
    assert decide(found, streaks={"x.distribution": 5}).drifted == ()


def test_a_large_effect_of_few_rows_stays_silent() -> None:
    rng = np.random.default_rng(3)
    bins = NumericBins.fit(rng.normal(size=10_000))
    reference = bins.count(rng.normal(size=10_000))
    effects = [measure("x", reference, bins.count(rng.normal(size=15)))[-1] for _ in range(20)]
    assert mean(m.effect for m in effects) > 0.1
    assert sum(bool(decide([m], in_a_row=1).drifted) for m in effects) <= 3


@pytest.mark.parametrize(
    ("now", "aspect"),
    [
        ({"AA": 480, "UA": 480, "ZZ": 40}, "new"),
        ({"AA": 400, "UA": 400, None: 200}, "missing"),
        ({"AA": 800, "UA": 200}, "distribution"),
    ],
)
def test_each_kind_of_change_is_named(now: dict[str | None, int], aspect: str) -> None:
    bins = CategoricalBins.fit(["AA", "UA"])
    found = measure("carrier", bins.count({"AA": 500, "UA": 500}), bins.count(now))
    verdict = decide(found, in_a_row=1)
    assert verdict.drifted == ("carrier",)
    assert aspect in {f.measurement.aspect for f in verdict.findings if f.drifted}


def test_a_column_all_missing_is_found_by_its_missing_rate() -> None:
    bins = NumericBins.fit([1.0, 2.0, 3.0])
    verdict = decide(measure("x", bins.count([1.0, 2.0, 3.0] * 50), bins.count([np.nan] * 50)), in_a_row=1)
    assert [f.measurement.aspect for f in verdict.findings] == ["missing"]
    assert verdict.drifted == ("x",)


def test_no_rows_at_all_is_no_drift() -> None:
    bins = NumericBins.fit([1.0, 2.0])
    assert measure("x", bins.count([1.0]), bins.count([])) == ()
    assert decide([]).drifted == ()


def test_one_quiet_window_breaks_the_streak() -> None:
    loud = [Measurement("x", "distribution", "wasserstein", 0.5, 1e-9)]
    quiet = [Measurement("x", "distribution", "wasserstein", 0.01, 0.5)]
    streaks: dict[str, int] = {}
    drifted = []
    for found in (loud, quiet, loud, loud):
        verdict = decide(found, streaks=streaks)
        streaks = verdict.streaks
        drifted.append(bool(verdict.drifted))
    assert drifted == [False, False, False, True]


def test_findings_are_ranked_by_effect_times_importance() -> None:
    found = [
        Measurement("big", "distribution", "wasserstein", 0.6, 1e-9),
        Measurement("vital", "distribution", "wasserstein", 0.3, 1e-9),
    ]
    assert decide(found, in_a_row=1).drifted == ("big", "vital")
    assert decide(found, in_a_row=1, importance={"vital": 3.0, "big": 0.1}).drifted == ("vital", "big")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_agree_with_scipy(p: list[float]) -> None:
    from scipy.stats import false_discovery_control

    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p).tolist())
    assert benjamini_hochberg(p, any_dependence=True) == pytest.approx(
        false_discovery_control(p, method="by").tolist()
    )


def test_senseless_arguments_are_refused() -> None:
    one = [Measurement("x", "distribution", "wasserstein", 0.5, 0.1)]
    for call in (
        lambda: decide(one * 2),
        lambda: decide(one, q=0),
        lambda: decide(one, in_a_row=0),
        lambda: benjamini_hochberg([1.2]),
        lambda: floors({"x": [NumericBins.fit([1.0]).count([1.0])] * 2}),
    ):
        with pytest.raises(ValueError, match=r"twice|must|needs"):
            call()
