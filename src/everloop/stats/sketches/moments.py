"""Mean, variance and correlation, added up part by part.

Source: Chan, Golub and LeVeque, *Algorithms for computing the sample variance*, 1983, for moving sums from one centre to another.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from everloop.stats.arrays import Floats

Matrix = NDArray[np.float64]


class Moments(msgspec.Struct, frozen=True):
    """Count, mean and sum of squared deviations of finite numbers.

    >>> Moments.of(np.array([1.0, 2.0])).merge(Moments.of(np.array([3.0]))).mean
    2.0
    """

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Floats) -> "Moments":
        """The state of a batch of finite numbers (n,)."""
        if not values.size:
            return cls()
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            return cls(values.size, mean, float(np.square(values - mean).sum()))

    def merge(self, other: "Moments") -> "Moments":
        """Both parts as one, up to rounding."""
        if not (self.n and other.n):
            return self if self.n else other
        n = self.n + other.n
        apart = other.mean - self.mean
        return Moments(
            n,
            self.mean + apart * other.n / n,
            self.squares + other.squares + apart * apart * self.n * other.n / n,
        )

    @property
    def sd(self) -> float | None:
        """Standard deviation (divisor n); None without values, or beyond what a float can hold."""
        return math.sqrt(self.squares / self.n) if self.n and math.isfinite(self.squares) else None


class Comoments(msgspec.Struct, frozen=True, eq=False):
    """Sums over the rows where both of a pair have a value: for p columns, matrices (p, p) of rows `n`, and of deviations from
    `centre` (p,): of the first (`sums`), of the first squared (`squares`), and of both multiplied (`products`).

    >>> x = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, np.nan]])
    >>> Comoments.of(x).merge(Comoments.of(x + 1)).correlations()[0].round(3).tolist()
    [1.0, 0.949]
    """

    centre: Floats
    n: Matrix
    sums: Matrix
    squares: Matrix
    products: Matrix

    @classmethod
    def empty(cls, columns: int) -> "Comoments":
        zeros = np.zeros((columns, columns))
        return cls(np.zeros(columns), zeros, zeros, zeros, zeros)

    @classmethod
    def of(cls, values: Matrix) -> "Comoments":
        """The state of a batch of p columns (p, rows); what is not finite is missing."""
        there = np.isfinite(values)
        counts = there.sum(axis=1)
        # One array of this size is made and worked on in place: each further one would cost as much as what is computed.
        apart = np.where(there, values, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            centre = apart.sum(axis=1) / np.maximum(counts, 1)
            # Far beyond what can be squared there is nothing to correlate: such a centre would spoil its whole row.
            centre = np.where(np.isfinite(centre), centre, 0.0)
            apart -= centre[:, None]
            gaps = np.flatnonzero(counts < values.shape[1])
            for row in gaps:
                apart[row, ~there[row]] = 0.0
            products = apart @ apart.T
            # Where the other column has all its values, a sum over the rows of both is the sum over all.
            columns = len(values)
            n = np.minimum.outer(counts, counts).astype(np.float64)
            sums = np.repeat(apart.sum(axis=1)[:, None], columns, axis=1)
            squares = np.repeat(np.diag(products)[:, None], columns, axis=1)
            if gaps.size:
                weights = there[gaps].astype(np.float64)
                n[np.ix_(gaps, gaps)] = weights @ weights.T
                sums[:, gaps] = apart @ weights.T
                squares[:, gaps] = np.square(apart, out=apart) @ weights.T
            return cls(centre, n, sums, squares, products)

    def merge(self, other: "Comoments") -> "Comoments":
        """Both parts as one, up to rounding."""
        if self.centre.shape != other.centre.shape:
            raise ValueError(f"{self.centre.size} and {other.centre.size} columns cannot be merged")
        if not self.n.any():
            return other
        moved = other._around(self.centre)
        with np.errstate(over="ignore", invalid="ignore"):
            return Comoments(
                self.centre,
                self.n + moved.n,
                self.sums + moved.sums,
                self.squares + moved.squares,
                self.products + moved.products,
            )

    def _around(self, centre: Floats) -> "Comoments":
        by = (self.centre - centre)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            return Comoments(
                centre,
                self.n,
                self.sums + self.n * by,
                self.squares + 2 * by * self.sums + self.n * by * by,
                self.products + by.T * self.sums + by * self.sums.T + self.n * by * by.T,
            )

    def correlations(self) -> Matrix:
        """Pearson's correlation of each pair (p, p); NaN where it is not defined: fewer than two rows, or a constant."""
        with np.errstate(all="ignore"):
            spread = self.squares - self.sums * self.sums / self.n
            # What rounding leaves of a constant column is no spread.
            spread = np.where(spread > 1e-12 * self.squares, spread, np.nan)
            together = self.products - self.sums * self.sums.T / self.n
            found = together / np.sqrt(spread) / np.sqrt(spread.T)
        found[(self.n < 2) | ~np.isfinite(found)] = np.nan
        clipped: Matrix = np.clip(found, -1.0, 1.0)
        return clipped
