"""From the prediction log to the numbers a rollout decides on. Pure functions of tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from everloop.domain.rollouts import ColumnParity
from everloop.monitoring.windows import SCORE, numbers_of
from everloop.rollout.arms import CANDIDATE_SIDE, CHAMPION_SIDE
from everloop.rollout.units import likely_cause
from everloop.stats.arrays import Floats
from everloop.stats.metrics import log_losses


def losses(kind: str, labels: Floats, scores: Floats) -> Floats:
    """The loss of each row.

    >>> losses("squared_error", np.array([1.0]), np.array([0.5])).tolist()
    [0.25]
    """
    if kind == "log_loss":
        return log_losses(labels, scores)
    errors = scores - labels
    return np.abs(errors) if kind == "absolute_error" else errors**2


def paired_gain(rows: pa.Table, labels: pa.Table, loss: str) -> tuple[int, float | None]:
    """(rows, mean of the champion's loss minus the candidate's) over the requests that both sides answered,
    whose label has come. The sides are told by their arms: one model may stand on both, fed differently.

    rows: the log of a day, all arms; a request has one `prediction_id` in every arm. Answers that are no
    number are left out: they count as errors, not as losses.
    """
    one, two = _answers(rows, CHAMPION_SIDE), _answers(rows, CANDIDATE_SIDE)
    position = pc.index_in(one["prediction_id"], value_set=two["prediction_id"].combine_chunks())
    truth = pc.index_in(one["prediction_id"], value_set=labels["prediction_id"].combine_chunks())
    both = np.asarray(
        pc.and_(pc.is_valid(position), pc.is_valid(truth)).to_numpy(zero_copy_only=False), dtype=bool
    )
    if not both.any():
        return 0, None
    mask = pa.array(both)
    first = numbers_of(one[SCORE].filter(mask))
    second = numbers_of(pc.take(two[SCORE], position.filter(mask)))
    known = numbers_of(pc.take(labels["label"], truth.filter(mask)))
    difference = losses(loss, known, first) - losses(loss, known, second)
    return int(both.sum()), float(difference.mean())


def requests_and_errors(rows: pa.Table, side: Sequence[str], *, live_only: bool = False) -> tuple[int, int]:
    """How many requests a side took, and how many of them it failed (an error, or an answer that is no
    number); each counted once though it answered and mirrored it."""
    its = _of(rows, side)
    if live_only:
        its = its.filter(pc.equal(its["mode"], "live"))
    if its.num_rows == 0:
        return 0, 0
    failed = pc.or_(pc.is_valid(its["error"]), pc.invert(pc.fill_null(pc.is_finite(its[SCORE]), False)))
    ids = its["prediction_id"]
    return pc.count_distinct(ids).as_py(), pc.count_distinct(ids.filter(failed)).as_py()


def sample_of(rows: pa.Table, side: Sequence[str], limit: int) -> pa.Table:
    """At most `limit` answered requests of a side, evenly strided in time, each once: what parity is checked
    on."""
    its = _of(rows, side)
    its = _first_of_each(its.filter(pc.is_null(its["error"])))
    if its.num_rows <= limit:
        return its
    return its.take(pa.array(np.linspace(0, its.num_rows - 1, limit).astype(np.int64)))


def merged_parity(before: Sequence[ColumnParity], now: Sequence[ColumnParity]) -> tuple[ColumnParity, ...]:
    """Counts of several looks as one; cause and sample of the first look that saw a difference."""
    found = {column.column: column for column in before}
    for column in now:
        earlier = found.get(column.column)
        if earlier is None:
            found[column.column] = column
            continue
        found[column.column] = ColumnParity(
            column.column,
            earlier.compared + column.compared,
            earlier.different + column.different,
            earlier.cause or column.cause,
            earlier.sample or column.sample,
        )
    return tuple(found.values())


def column_parity(
    column: str, compared: int, different: int, sample: Sequence[dict[str, object]]
) -> ColumnParity:
    """A column's parity with a guess at the cause, from sample rows with the value `logged` and that from `history`."""
    fed, expected = (
        [_number(row.get("logged")) for row in sample],
        [_number(row.get("history")) for row in sample],
    )
    cause = likely_cause(fed, expected) if different else ""
    return ColumnParity(column, compared, different, cause, tuple(sample[:5]))


def _of(rows: pa.Table, side: Sequence[str]) -> pa.Table:
    return rows.filter(pc.is_in(rows["arm"], pa.array(side, pa.string())))


def _answers(rows: pa.Table, side: Sequence[str]) -> pa.Table:
    its = _of(rows, side)
    good = pc.and_(pc.is_null(its["error"]), pc.fill_null(pc.is_finite(its[SCORE]), False))
    return _first_of_each(its.filter(good))


def _first_of_each(rows: pa.Table) -> pa.Table:
    if rows.num_rows == 0:
        return rows
    ids = rows["prediction_id"].combine_chunks()
    first = pc.index_in(ids, value_set=ids)
    return rows.filter(pc.equal(first, pa.array(np.arange(rows.num_rows), first.type)))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
