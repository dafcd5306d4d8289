"""Data drift: has a column's distribution moved, by how much, and is it worth an alarm.

- ``states``     what is kept of a column in a window: additive, a few kilobytes, mergeable in any order
- ``distances``  how far two states are apart: PSI, JS, KS, Wasserstein, chi-square, rates, and noise floors
- ``alarm``      the rule: effect above its floor, significant among all columns, and persistent

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> bins = NumericBins.fit(rng.normal(0, 1, 5000))
>>> reference, summer = bins.count(rng.normal(0, 1, 5000)), bins.count(rng.normal(0.5, 1, 5000))
>>> verdict = decide(measure("temp", reference, summer), streaks={"temp.distribution": 1})
>>> verdict.drifted
('temp',)
"""

from everloop.stats.drift.alarm import (
    DriftVerdict,
    Finding,
    Measurement,
    benjamini_hochberg,
    decide,
    floors,
    leave_one_out,
    measure,
)
from everloop.stats.drift.distances import (
    Tested,
    chi2,
    js_distance,
    js_floor,
    ks,
    missing_difference,
    new_difference,
    psi,
    psi_floor,
    total_variation,
    wasserstein,
)
from everloop.stats.drift.states import (
    CategoricalBins,
    CategoricalState,
    ColumnState,
    NumericBins,
    NumericState,
    merge,
    state_from_dict,
)

__all__ = [
    "CategoricalBins",
    "CategoricalState",
    "ColumnState",
    "DriftVerdict",
    "Finding",
    "Measurement",
    "NumericBins",
    "NumericState",
    "Tested",
    "benjamini_hochberg",
    "chi2",
    "decide",
    "floors",
    "js_distance",
    "js_floor",
    "ks",
    "leave_one_out",
    "measure",
    "merge",
    "missing_difference",
    "new_difference",
    "psi",
    "psi_floor",
    "state_from_dict",
    "total_variation",
    "wasserstein",
]
