"""What is kept of a table's columns so that profiles of parts add up to the profile of the whole.

Every state here is a small value with `merge`; two states of parts make the state of both, in any order. Those that count are
exact, those that approximate say by how much at most:

- ``hashing``    64-bit hashes of numbers and texts, the same on every machine and in every release
- ``distinct``   the smallest hashes with how often each occurred: distinct values and duplicates; exact while they are few
- ``quantiles``  ranks and quantiles with a proven bound of the rank error
- ``frequent``   the most frequent values, each with how many occurrences may be missing
- ``moments``    mean, variance, and the correlations of all pairs, where a row may lack any of the values
- ``calendar``   rows by day, month or year, and the gaps between them
- ``columns``    all of it for one column, and for a table

>>> import numpy as np
>>> first, second = QuantileSketch.of(np.arange(0.0, 500.0)), QuantileSketch.of(np.arange(500.0, 1000.0))
>>> first.merge(second).quantile(0.5)
499.0
"""

from everloop.stats.sketches.calendar import Calendar, Gap
from everloop.stats.sketches.columns import ColumnSketch, Kind, TableSketch, pack, unpack
from everloop.stats.sketches.distinct import DistinctSketch
from everloop.stats.sketches.frequent import FrequentSketch
from everloop.stats.sketches.hashing import hash_numbers, hash_texts
from everloop.stats.sketches.moments import Comoments, Moments
from everloop.stats.sketches.quantiles import QuantileSketch

__all__ = [
    "Calendar",
    "ColumnSketch",
    "Comoments",
    "DistinctSketch",
    "FrequentSketch",
    "Gap",
    "Kind",
    "Moments",
    "QuantileSketch",
    "TableSketch",
    "hash_numbers",
    "hash_texts",
    "pack",
    "unpack",
]
