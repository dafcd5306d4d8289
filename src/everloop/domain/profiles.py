"""What a table holds, column by column, as values: profiles, and what shifted from one to another."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from everloop.domain.personal import Personal

Kind = Literal["number", "text", "time", "boolean", "other"]

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Of which quantiles are told."""


class Histogram(msgspec.Struct, frozen=True):
    """Counts between `edges`, one edge more than counts. `below` and `above` lie outside: far from nearly all, they would leave
    no room to see the others."""

    edges: list[float]
    counts: list[int]
    below: int = 0
    above: int = 0


class NumberFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Of numbers. `mean` and `sd` are of the finite ones; None where there are none.

    quantiles: by share, such as ``"0.5"``. rank_error: no quantile's rank is wrong by more than this share of the values.
    """

    low: float | None
    high: float | None
    mean: float | None
    sd: float | None
    zeros: int
    negative: int
    infinite: int
    quantiles: dict[str, float]
    rank_error: float
    histogram: Histogram | None


class TextFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Of texts. Lengths are in characters; `blank` ones have nothing but space.

    reads_as: what nearly all of the sampled values could be read as: ``number``, ``date`` or nothing.
    """

    shortest: int | None
    longest: int | None
    mean_length: float | None
    lengths: dict[str, float]
    empty: int
    blank: int
    reads_as: str
    histogram: Histogram | None


class TimeGap(msgspec.Struct, frozen=True):
    """Between two places that have rows, `missing` days, months or years without any."""

    after: str
    before: str
    missing: int


class TimeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Of dates and times, in UTC. Of `spanned` days (months, years: `unit`) from first to last, `covered` have rows.

    gaps: the longest of `gap_count`. histogram: its edges are microseconds since 1970.
    """

    low: str | None
    high: str | None
    quantiles: dict[str, str]
    unit: str
    spanned: int
    covered: int
    gap_count: int
    gaps: list[TimeGap]
    histogram: Histogram | None


class TopValue(msgspec.Struct, frozen=True):
    """A frequent value; `count` may be too low by the column's `top_missed`."""

    value: str | int | float | bool
    count: int


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A column. `nulls` and `nans` are apart; the others are values.

    distinct: different values; wrong by about `distinct_error` of it, exact when that is 0.
    constant: it has one value, or none. unique: no two rows have one value (as far as the distinct count tells).
    top: the most frequent values, `masked` where the column seems to hold personal data; each count is short by at most
    `top_missed`.
    """

    name: str
    type: str
    kind: Kind
    rows: int
    nulls: int
    nans: int
    distinct: int
    distinct_error: float
    constant: bool
    unique: bool
    top: list[TopValue] = []
    top_missed: int = 0
    masked: bool = False
    number: NumberFacts | None = None
    text: TextFacts | None = None
    time: TimeFacts | None = None
    personal: list[Personal] = []

    @property
    def missing(self) -> float:
        """The share of rows without a value."""
        return (self.nulls + self.nans) / self.rows if self.rows else 0.0


class Correlations(msgspec.Struct, frozen=True):
    """Pearson's correlation of numeric columns, over the rows that have both; None where it is not defined.

    left_out: what other columns have none, and why.
    """

    columns: list[str]
    values: list[list[float | None]]
    left_out: dict[str, str]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a version's table holds.

    duplicates: rows equal to one before; an estimate when `duplicates_exact` is false.
    state: the object that holds the sketches, by which profiles are compared.
    parts, parts_reused: how many files it was made of, and of how many the sketches were there already.
    """

    reference: str
    digest: str
    rows: int
    duplicates: int
    duplicates_exact: bool
    columns: list[ColumnProfile]
    correlations: Correlations
    state: str
    parts: int
    parts_reused: int
    made: datetime

    @property
    def personal(self) -> list[tuple[str, Personal]]:
        """Columns that seem to hold personal data, each with what is surest."""
        return [(column.name, column.personal[0]) for column in self.columns if column.personal]

    @property
    def constant(self) -> list[str]:
        """Columns that tell nothing, for all rows have one value."""
        return [column.name for column in self.columns if column.constant]


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """How far a column moved from one version to another. `effect` in the measure's unit: standard deviations of the first
    version (wasserstein), JS distance beyond noise (js), difference of shares (missing, new).

    shifted: it is beyond `floor`, and not by chance (p, adjusted for all columns, below 0.01).
    """

    column: str
    aspect: str
    measure: str
    effect: float
    floor: float
    p_adjusted: float
    shifted: bool
    said: str


class ProfileComparison(msgspec.Struct, frozen=True, kw_only=True):
    """What shifted from version `first` to `second`, the furthest first; `columns` that shifted in any way.

    not_compared: columns that only one has or whose kind changed, and why. steps: both distributions of columns that shifted, in
    the same bins, as shares.
    """

    first: str
    second: str
    columns: list[str]
    shifts: list[Shift]
    not_compared: dict[str, str]
    steps: dict[str, Steps]


class Steps(msgspec.Struct, frozen=True):
    """Two distributions in the same bins, or over the same categories, as shares of the values."""

    edges: list[float]
    categories: list[str]
    first: list[float]
    second: list[float]


class StoredPart(msgspec.Struct, frozen=True):
    """The sketches of a file, as they are kept: the file's digest, that of its columns, and the object."""

    file: str
    schema: str
    state: str
    size: int
