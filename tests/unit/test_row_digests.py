"""The digest of a table's rows: equal to the documented formula, written out slowly, and to itself in any order and layout."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import struct
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.data.tables.row_digests import combined, row_digest

MASK = (1 << 64) - 1
UTC = dt.UTC

TYPES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=20),
    pa.binary(): st.binary(max_size=300),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(UTC)),
    pa.duration("us"): st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000)),
    pa.decimal128(10, 2): st.decimals(-1000, 1000, places=2),
    pa.list_(pa.int16()): st.lists(st.integers(-5, 5), max_size=4),
    pa.list_(pa.string()): st.lists(st.none() | st.text(max_size=3), max_size=4),
    pa.struct([("a", pa.int32()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.none() | st.integers(-5, 5), "b": st.text(max_size=3)}
    ),
    pa.map_(pa.string(), pa.int8()): st.dictionaries(st.text(max_size=2), st.integers(0, 3), max_size=3).map(
        lambda each: list(each.items())
    ),
    pa.null(): st.none(),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    kinds = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=4))
    rows = draw(st.integers(0, 12))
    columns = [
        pa.array(draw(st.lists(st.none() | TYPES[kind], min_size=rows, max_size=rows)), kind)
        for kind in kinds
    ]
    return pa.table(columns, names=[f"c{number}" for number in range(len(kinds))])


def mix(x: int) -> int:
    x &= MASK
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def weight(position: int) -> int:
    return mix((position + 1) * 0x9E3779B97F4A7C15) | 1


def key(name: str, kind: pa.DataType) -> int:
    if pa.types.is_map(kind):
        kind = pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))
    spelled = str(kind)
    if pa.types.is_list(kind):
        inner = kind.value_type
        spelled = (
            "list<struct<" + ", ".join(f"{f.name}: {f.type}" for f in inner) + ">>"
            if pa.types.is_struct(inner)
            else f"list<{inner}>"
        )
    return int.from_bytes(sha256(f"{name}\0{spelled}".encode()).digest()[:8], "little")


def word(scalar: pa.Scalar) -> int:
    kind, types = scalar.type, pa.types
    if not scalar.is_valid:
        return 0x6E756C6C
    if types.is_map(kind):
        inner = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        pairs = [pa.scalar({"key": k, "value": v}, inner) for k, v in scalar.as_py()]
        return mix(len(pairs)) + sum(mix(word(each)) * weight(i) for i, each in enumerate(pairs)) & MASK
    if types.is_list(kind):
        values = list(scalar.values)
        return mix(len(values)) + sum(mix(word(each)) * weight(i) for i, each in enumerate(values)) & MASK
    if types.is_struct(kind):
        return sum(mix(word(scalar[field.name]) + key(field.name, field.type)) for field in kind) & MASK
    if types.is_string(kind) or types.is_binary(kind) or types.is_fixed_size_binary(kind):
        data = scalar.as_buffer().to_pybytes()
        return mix(len(data)) + sum((byte + 1) * weight(i) for i, byte in enumerate(data)) & MASK
    if types.is_floating(kind):
        value = scalar.as_py()
        value = math.nan if math.isnan(value) else value + 0.0
        return struct.unpack("<Q", struct.pack("<d", value))[0]
    if types.is_decimal(kind):
        whole = int(scalar.as_py().scaleb(kind.scale, decimal.Context(prec=60))) & (1 << 128) - 1
        return mix(2) + (whole & MASK) * weight(0) + (whole >> 64) * weight(1) & MASK
    if types.is_boolean(kind):
        return int(scalar.as_py())
    stored = scalar.cast(pa.int32()) if types.is_date32(kind) else scalar
    return (stored.value if hasattr(stored, "value") else stored.as_py()) & MASK


def by_the_book(table: pa.Table) -> str:
    keys = [key(field.name, field.type) for field in table.schema]
    rows = [
        mix(sum(mix(word(column[row]) + own) for column, own in zip(table.columns, keys, strict=True)))
        for row in range(table.num_rows)
    ]
    schema = sha256(b"".join(sorted(each.to_bytes(8, "little") for each in keys))).digest()[:8]
    parts = (
        int.from_bytes(schema, "little"),
        sum(rows) & MASK,
        sum(mix(row + 1) for row in rows) & MASK,
        len(rows),
    )
    return "".join(f"{each:016x}" for each in parts)


@given(table=tables())
def test_it_is_the_documented_formula(table: pa.Table) -> None:
    assert row_digest(table) == by_the_book(table)


@given(table=tables(), data=st.data())
def test_neither_order_nor_layout_matters(table: pa.Table, data: st.DataObject) -> None:
    digest = row_digest(table)
    order = data.draw(st.permutations(range(table.num_rows)))
    names = data.draw(st.permutations(table.column_names))
    cut = data.draw(st.integers(0, table.num_rows))
    turned = table.take(pa.array(order, pa.int64())).select(names)
    assert row_digest(turned) == digest
    assert row_digest(pa.concat_tables([turned.slice(cut), turned.slice(0, cut)])) == digest
    assert combined(row_digest(table.slice(0, cut)), row_digest(table.slice(cut))) == digest


@given(table=tables(), other=tables())
def test_other_rows_have_another_digest(table: pa.Table, other: pa.Table) -> None:
    def plain(each: pa.Table) -> tuple[Any, ...]:
        return each.schema, sorted(
            map(repr, (each + 0.0 if isinstance(each, float) else each for each in each.to_pylist()))
        )

    if plain(table) != plain(other):
        assert row_digest(table) != row_digest(other)
    if table.num_rows:
        assert row_digest(table.slice(1)) != row_digest(table)
        assert row_digest(pa.concat_tables([table, table.slice(0, 1)])) != row_digest(table)


def test_one_cell_two_cells_that_change_places_and_another_type_are_seen() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    digest = row_digest(table)
    assert row_digest(pa.table({"a": [1, 2], "b": ["y", "x"]})) != digest
    assert row_digest(pa.table({"a": [1, 3], "b": ["x", "y"]})) != digest
    assert row_digest(pa.table({"b": [1, 2], "a": ["x", "y"]})) != digest
    assert row_digest(table.set_column(0, "a", table["a"].cast("int32"))) != digest
    assert row_digest(pa.table({"a": ["ab", ""]})) != row_digest(pa.table({"a": ["a", "b"]}))
    assert row_digest(pa.table({"a": [None, ""]})) != row_digest(pa.table({"a": ["", ""]}))


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int8(), pa.string()), pa.large_string(), pa.string_view()])
def test_how_a_string_is_laid_out_does_not_matter(kind: pa.DataType) -> None:
    values = ["x", None, "", "x", "longer than twelve bytes"]
    assert row_digest(pa.table({"a": pa.array(values).cast(kind)})) == row_digest(pa.table({"a": values}))


def test_zeros_and_nans_are_one() -> None:
    assert row_digest(pa.table({"a": [0.0, math.nan]})) == row_digest(pa.table({"a": [-math.nan, -0.0]}))
    assert row_digest(pa.table({"a": [math.nan]})) != row_digest(
        pa.table({"a": pa.array([None], pa.float64())})
    )
