"""Entities as small numbers: the same key always gets the same code, also when more keys come later."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from everloop.errors import InvalidInput

Codes = npt.NDArray[np.int64]
UNKNOWN = -1
_BITS = 31
_LOW = (1 << _BITS) - 1


class KeyCodes:
    """Codes 0, 1, 2 … of keys in one or more columns. A key with a null in it has none, for it names no entity."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._values: list[Any] = [None for _ in names]
        # Several columns are folded into one number pair by pair: at each step the pairs seen so far, sorted, and their codes.
        self._pairs: list[tuple[Codes, Codes]] = [
            (np.empty(0, np.int64), np.empty(0, np.int64)) for _ in names[1:]
        ]
        self.count = 0

    def learn(self, columns: list[Any]) -> Codes:
        """The codes of keys, new ones where they were not seen before."""
        folded: Codes | None = None
        for position, column in enumerate(columns):
            known = self._values[position]
            fresh = pc.drop_null(pc.unique(column))
            if known is not None and len(fresh):
                fresh = fresh.filter(pc.invert(pc.is_in(fresh, value_set=known)))
            if known is None or len(fresh):
                parts = [each for each in (known, _one_array(fresh)) if each is not None]
                self._values[position] = pa.concat_arrays(parts)
            codes = self._column_codes(position, column)
            if folded is None:
                folded = codes
            else:
                pairs = _paired(folded, codes)
                self._add_pairs(position - 1, np.unique(pairs[pairs != UNKNOWN]))
                folded = self._pair_codes(position - 1, pairs)
        assert folded is not None
        self.count = len(self._pairs[-1][0]) if self._pairs else len(self._values[0] or ())
        return folded

    def find(self, columns: list[Any]) -> Codes:
        """The codes of keys; `UNKNOWN` for those never seen. Raises InvalidInput when a column has another type."""
        folded: Codes | None = None
        for position, column in enumerate(columns):
            codes = self._column_codes(position, column)
            folded = codes if folded is None else self._pair_codes(position - 1, _paired(folded, codes))
        assert folded is not None
        return folded

    def table(self) -> pa.Table:
        """Every key, in the order of the codes."""
        codes = np.arange(self.count)
        columns: list[Any] = []
        for position in range(len(self._names) - 1, 0, -1):
            pairs, numbered = self._pairs[position - 1]
            unfolded = np.empty(len(pairs), np.int64)
            unfolded[numbered] = pairs
            columns.insert(0, self._values[position].take(pa.array(unfolded[codes] & _LOW)))
            codes = unfolded[codes] >> _BITS
        columns.insert(0, self._values[0].take(pa.array(codes)))
        return pa.table(columns, names=list(self._names))

    def _column_codes(self, position: int, column: Any) -> Codes:
        known = self._values[position]
        if known is None:
            return np.full(len(column), UNKNOWN, np.int64)
        if column.type != known.type:
            if pa.types.is_null(column.type):
                return np.full(len(column), UNKNOWN, np.int64)
            try:
                column = column.cast(known.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise InvalidInput(
                    f"the key '{self._names[position]}' is {column.type}; in the feature's source it is {known.type}",
                    hint="cast it",
                ) from None
        found = pc.index_in(column, value_set=known, skip_nulls=True)
        filled = pc.fill_null(found, UNKNOWN)
        codes: Codes = _one_array(filled).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes

    def _add_pairs(self, level: int, pairs: Codes) -> None:
        known, codes = self._pairs[level]
        fresh = np.setdiff1d(pairs, known, assume_unique=True)
        if len(fresh):
            together = np.concatenate([known, fresh])
            numbered = np.concatenate([codes, np.arange(len(known), len(together))])
            order = np.argsort(together)
            self._pairs[level] = (together[order], numbered[order])

    def _pair_codes(self, level: int, pairs: Codes) -> Codes:
        known, codes = self._pairs[level]
        if not len(known):
            return np.full(len(pairs), UNKNOWN, np.int64)
        places = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
        return np.where(known[places] == pairs, codes[places], UNKNOWN)


def _paired(first: Codes, second: Codes) -> Codes:
    return np.where((first < 0) | (second < 0), UNKNOWN, (first << _BITS) | second)


def _one_array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
