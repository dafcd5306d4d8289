"""What a model looked like before it was served: the state that later windows are compared with.

Made once, from rows the model was *not* fitted on (out of fold, or the weeks after its training data): a
model's own training rows flatter it, and every later window would look worse. A few hundred kilobytes,
whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from everloop.errors import InvalidInput, nearest
from everloop.monitoring.actuals import window_starts
from everloop.monitoring.windows import NUMBER, PROBABILITY, SCORE, kind_of, numbers_of, performance_values
from everloop.stats.arrays import Floats
from everloop.stats.blocks import BlockMeans
from everloop.stats.drift import (
    CategoricalBins,
    ColumnState,
    Measurement,
    NumericBins,
    floors,
    measure,
    state_from_dict,
)
from everloop.stats.estimate import Calibration, design_effect, estimate_performance, fit_calibration
from everloop.stats.fairness import GroupCounts, count_groups

PREDICTION = "(prediction)"
"""The name under which the model's own answer is watched among its features."""

NOT_FEATURES = frozenset({"time", "label", "key", "prediction_id", SCORE, PROBABILITY, NUMBER})
MINIMUM_DAY_ROWS = 30
MINIMUM_CALIBRATION_ROWS = 100
FEW_GROUPS = 50


class Reference(msgspec.Struct, frozen=True):
    """Additive column states, their floors (what the reference's own days do), and day blocks of every value
    that is judged."""

    kind: str
    rows: int
    columns: dict[str, ColumnState]
    floors: dict[str, float]
    days: dict[str, BlockMeans]
    calibration: Calibration = Calibration()
    design_effect: float = 1.0
    groups: dict[str, dict[str, GroupCounts]] = {}
    """Decisions by value of each categorical column that has few values: what fairness is compared with."""

    def encode(self) -> bytes:
        plain = {
            "format": 1,
            "kind": self.kind,
            "rows": self.rows,
            "columns": {name: state.to_dict() for name, state in self.columns.items()},
            "floors": self.floors,
            "days": self.days,
            "calibration": self.calibration,
            "design_effect": self.design_effect,
            "groups": self.groups,
        }
        return msgspec.json.encode(plain)

    @classmethod
    def decode(cls, data: bytes) -> Reference:
        plain = msgspec.json.decode(data)
        return cls(
            kind=plain["kind"],
            rows=plain["rows"],
            columns={name: state_from_dict(state) for name, state in plain["columns"].items()},
            floors=plain["floors"],
            days={name: msgspec.convert(blocks, BlockMeans) for name, blocks in plain["days"].items()},
            calibration=msgspec.convert(plain["calibration"], Calibration),
            design_effect=plain["design_effect"],
            groups=msgspec.convert(plain["groups"], dict[str, dict[str, GroupCounts]]),
        )


ESTIMATED_FROM = {"estimated_auc": "auc"}
"""The estimate of a day is judged against the reference's realised days of the same metric."""


def build(table: pa.Table, *, day_starts_at: float = 0.0, minimum_rows: int = MINIMUM_DAY_ROWS) -> Reference:
    """A reference from a table with `time` (instants in UTC), `label`, the model's answer (`probability`,
    `prediction` or `score`) and its features: one row a prediction. Raises InvalidInput."""
    names = table.column_names
    output = next((name for name in (PROBABILITY, NUMBER, SCORE) if name in names), None)
    for needed in ("time", "label"):
        if needed not in names:
            raise InvalidInput(
                f"the reference has no column '{needed}'", hint=nearest(needed, names) or f"name it {needed}"
            )
    if output is None:
        raise InvalidInput(
            "the reference has no answers of the model",
            hint="add a column 'probability', 'prediction' or 'score'",
        )
    if table.num_rows == 0:
        raise InvalidInput("the reference has no rows", hint="give predictions with their labels")
    if not pa.types.is_timestamp(table["time"].type) or table["time"].type.tz is None:
        raise InvalidInput("the reference's times have no time zone", hint="give instants in UTC")
    days = window_starts(table["time"], day_starts_at)
    labels, scores = numbers_of(table["label"]), numbers_of(table[output])
    kind = kind_of(labels[np.isfinite(labels)], scores[np.isfinite(scores)]) if output == SCORE else output
    columns = feature_columns(table, output)
    bins = {name: _fit(column) for name, column in columns.items()}
    by_day: dict[str, list[ColumnState]] = {name: [] for name, fitted in bins.items() if fitted is not None}
    values: dict[str, tuple[list[int | str], list[int], list[float]]] = {}
    for day in sorted(pc.unique(days).to_pylist()):
        mask = np.asarray(
            pc.equal(days, pa.scalar(day, days.type)).to_numpy(zero_copy_only=False), dtype=bool
        )
        for name, states in by_day.items():
            states.append(count(bins[name], columns[name].filter(pa.array(mask))))
        known = mask & np.isfinite(labels) & np.isfinite(scores)
        if known.sum() < minimum_rows:
            continue
        for name, value in performance_values(labels[known], scores[known], kind).items():
            if value is not None:
                keys, rows, means = values.setdefault(name, ([], [], []))
                keys.append(day.date().isoformat())
                rows.append(int(known.sum()))
                means.append(value)
    known = np.isfinite(labels) & np.isfinite(scores)
    calibration, effect = Calibration(), 1.0
    if kind == PROBABILITY and known.sum() >= MINIMUM_CALIBRATION_ROWS:
        calibration = fit_calibration(scores[known], labels[known])
        numbered = np.asarray(days.cast(pa.int64()).to_numpy(zero_copy_only=False))[known]
        effect = design_effect(calibration.apply(scores[known]), labels[known], numbered)
    return Reference(
        kind=kind,
        rows=table.num_rows,
        columns={name: _merge(states) for name, states in by_day.items()},
        floors=_floors(by_day, minimum_rows),
        days={name: BlockMeans(tuple(k), tuple(r), tuple(m)) for name, (k, r, m) in values.items()},
        calibration=calibration,
        design_effect=effect,
        groups={name: group_counts(column, scores) for name, column in columns.items() if _few(column)},
    )


def feature_columns(table: pa.Table, output: str) -> dict[str, pa.ChunkedArray]:
    """The columns that are watched for drift: the features of a reference or log, and the model's answer."""
    found = {
        name: table[name]
        for name in table.column_names
        if name not in NOT_FEATURES and _watchable(table[name].type)
    }
    found[PREDICTION] = table[output]
    return found


def day_states(reference: Reference, table: pa.Table) -> dict[str, ColumnState]:
    """One day's rows counted in the reference's bins; columns the day does not have are left out."""
    found = {}
    for name, state in reference.columns.items():
        column = SCORE if name == PREDICTION else name
        if column in table.column_names:
            found[name] = count(state.bins, table[column])
    return found


def measurements(reference: Reference, states: Mapping[str, ColumnState]) -> list[Measurement]:
    """All that is measured of a day's columns against the reference, one-sided towards harm: only *more*
    missing values count."""
    found: list[Measurement] = []
    for name, state in states.items():
        before = reference.columns[name]
        for each in measure(name, before, state):
            if each.aspect == "missing" and (state.missing_rate or 0.0) <= (before.missing_rate or 0.0):
                each = msgspec.structs.replace(each, effect=0.0, p=1.0)
            found.append(each)
    return found


def count(bins: NumericBins | CategoricalBins | None, column: pa.ChunkedArray) -> ColumnState:
    """The state of a column in given bins, from Arrow."""
    if isinstance(bins, NumericBins):
        try:
            return bins.count(numbers_of(column))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return bins.count(
                np.full(len(column), np.nan)
            )  # text where a number was: nothing the model can read
    assert bins is not None
    return bins.count(_tally(column))


def group_counts(
    column: pa.ChunkedArray, scores: Floats, positive_above: float = 0.5
) -> dict[str, GroupCounts]:
    """Positive decisions by value of a column; rows without a score are left out."""
    known = np.isfinite(scores)
    if not known.any():
        return {}
    values = column.cast(pa.string()).to_numpy()[known]
    return count_groups(values, scores[known] >= positive_above)


def estimated_values(
    reference: Reference, scores: Floats, positive_above: float = 0.5
) -> dict[str, float | None]:
    """What performance to expect of a day's scores before any label (CBPE), with its band; empty for
    numbers."""
    known = scores[np.isfinite(scores)]
    if reference.kind != PROBABILITY or known.size == 0:
        return {}
    found = estimate_performance(
        known,
        calibration=reference.calibration,
        threshold=positive_above,
        design_effect=reference.design_effect,
    )
    return {
        "estimated_auc": found.auc.value,
        "estimated_auc_low": found.auc.low,
        "estimated_auc_high": found.auc.high,
        "estimated_accuracy": found.accuracy.value,
        "estimated_rate": found.positive_rate.value,
    }


def encode_states(states: Mapping[str, ColumnState]) -> bytes:
    """A day's states without their bins: those are the reference's."""
    return msgspec.json.encode({name: state.to_dict(bins=False) for name, state in states.items()})


def _fit(column: pa.ChunkedArray) -> NumericBins | CategoricalBins | None:
    if _is_category(column.type):
        return CategoricalBins.fit(_tally(column)) if column.null_count < len(column) else None
    values = numbers_of(column)
    return NumericBins.fit(values) if np.isfinite(values).any() else None


def _tally(column: pa.ChunkedArray) -> dict[Any, int]:
    plain = (
        column.cast(pa.string())
        if not pa.types.is_boolean(column.type)
        else column.cast(pa.int8()).cast(pa.string())
    )
    return {each["values"]: each["counts"] for each in pc.value_counts(plain).to_pylist()}


def _is_category(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_dictionary(kind)
        or pa.types.is_boolean(kind)
    )


def _few(column: pa.ChunkedArray) -> bool:
    return _is_category(column.type) and 2 <= pc.count_distinct(column).as_py() <= FEW_GROUPS


def _watchable(kind: pa.DataType) -> bool:
    return _is_category(kind) or bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _floors(by_day: Mapping[str, Sequence[ColumnState]], minimum_rows: int) -> dict[str, float]:
    """Mean + 5 pooled standard deviations of what each reference day is away from the others. Fewer than
    three days have no wander to speak of; then only the practical floors hold."""
    usable = {
        name: [state for state in states if state.rows >= minimum_rows] for name, states in by_day.items()
    }
    usable = {name: states for name, states in usable.items() if len(states) >= 3}
    return floors(usable) if usable else {}


def _merge(states: Sequence[ColumnState]) -> ColumnState:
    merged = states[0]
    for state in states[1:]:
        merged = merged.merge(state)  # type: ignore[arg-type]
    return merged
