"""Logged feature values against those recomputed from history, as a report."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class ColumnParity(msgspec.Struct, frozen=True, kw_only=True):
    """One feature, logged against recomputed.

    rows_different: rows whose values differ; `missing` of them have a value on one side only.
    max_abs: the largest difference of two numbers. first_time, last_time: of the first and the last row that differ.
    cause: what kind of fault it looks like, as a sentence; empty where that cannot be told. sample: up to five such rows.
    """

    column: str
    rows_different: int
    missing: int
    max_abs: float | None
    first_time: datetime | None
    sample: list[dict[str, Any]] = []
    last_time: datetime | None = None
    cause: str = ""


class ParityReport(msgspec.Struct, frozen=True, kw_only=True):
    """Logged features against those recomputed from history. `different` counts rows with any difference; a null and a NaN are
    one thing, missing, and equal to each other."""

    compared: int
    different: int
    columns: list[ColumnParity]
    sources: dict[str, str]
    features: list[str]

    @property
    def passed(self) -> bool:
        return self.different == 0


class ParityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A report that was kept: when and by whom, and of which view versions."""

    id: str
    time: datetime
    user: str
    views: list[str]
    report: ParityReport
