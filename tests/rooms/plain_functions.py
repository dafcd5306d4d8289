"""Functions that tests of checks name."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def small(rows: pa.Table) -> Any:
    return pc.less(pc.add(rows["x"], rows["i"]), 3)


def in_order(rows: pa.Table) -> bool:
    return rows["hour"].to_pylist() == sorted(rows["hour"].to_pylist())


def fails(rows: pa.Table) -> Any:
    raise ZeroDivisionError("as it happens")


def says_little(rows: pa.Table) -> list[bool]:
    return [True]


def says_numbers(rows: pa.Table) -> list[int]:
    return [1] * rows.num_rows
