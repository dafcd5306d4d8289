"""What passes between steps comes back as it was, and equal values have equal digests."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everloop.errors import InvalidInput
from everloop.pipelines.values.arrays import array_digest
from everloop.pipelines.values.encoding import decode, encode, joined, length_of, part_of
from everloop.pipelines.values.formats import register_serialiser
from everloop.pipelines.values.tables import table_digest
from everloop.store.objects import Objects, open_objects


class Colour(enum.Enum):
    RED = 1


class Point(msgspec.Struct, frozen=True):
    x: float
    tags: tuple[str, ...] = ()


@dataclass
class Fold:
    number: int
    rows: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.number += 1


class Sketch:
    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return open_objects(str(tmp_path_factory.mktemp("objects")))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=50)
    | st.datetimes()
    | st.dates()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.timedeltas()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.tuples(st.integers()), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=12,
)


def types_of(value: Any) -> Any:
    """A value with its types beside it: (1, True) and (1, 1) are not the same here."""
    if isinstance(value, list | tuple):
        return type(value), [types_of(each) for each in value]
    if isinstance(value, dict):
        return dict, [(types_of(key), types_of(each)) for key, each in value.items()]
    return type(value), repr(value) if isinstance(value, float | complex) else value


@given(value=plain)
def test_plain_values_come_back_with_their_types_and_order(objects: Objects, value: Any) -> None:
    stored = encode(value, objects, "it")
    again = decode(stored, objects)
    assert types_of(again) == types_of(value)
    assert encode(again, objects, "it").digest == stored.digest


@given(value=st.dictionaries(st.text(), st.integers(), min_size=2), seed=st.randoms())
def test_equal_dicts_have_equal_digests_whatever_their_order(
    objects: Objects, value: dict[str, int], seed: Any
) -> None:
    shuffled = list(value.items())
    seed.shuffle(shuffled)
    assert encode(dict(shuffled), objects, "it").digest == encode(value, objects, "it").digest


@given(one=plain, two=plain)
def test_different_values_have_different_digests(objects: Objects, one: Any, two: Any) -> None:
    same = encode(one, objects, "it").digest == encode(two, objects, "it").digest
    if same:
        assert one == two


arrays = hnp.arrays(
    st.sampled_from(["<f8", "<f4", "<i8", "|b1", "<u2", "<M8[us]", "<U3", "<c16"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(array=arrays)
def test_arrays_come_back_and_layout_does_not_count(objects: Objects, array: np.ndarray[Any, Any]) -> None:
    stored = encode(array, objects, "it")
    again = decode(stored, objects)
    assert again.dtype == array.dtype
    assert array_digest(again) == array_digest(array)
    other_layout = np.array(array, order="F")
    assert encode(other_layout, objects, "it").digest == stored.digest
    if array.ndim:
        doubled = np.concatenate([array, array])[: len(array)]
        assert encode(doubled, objects, "it").digest == stored.digest


def test_padding_of_records_does_not_count() -> None:
    kind = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    one = np.zeros(3, kind)
    memory = bytearray(b"\x07" * (3 * kind.itemsize))
    two = np.frombuffer(memory, kind)
    two["a"], two["b"] = 0, 0.0
    assert set(memory) == {0, 7}, "the fields are zero and the padding is not"
    assert array_digest(one) == array_digest(two)


COLUMNS: dict[str, pa.Array] = {
    "int": pa.array([1, None, 3, 4]),
    "float": pa.array([1.5, float("nan"), None, -0.0]),
    "text": pa.array(["a", "", None, "long " * 9]),
    "flag": pa.array([True, None, False, True]),
    "time": pa.array(
        [
            None,
            datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC),
            None,
            datetime.datetime(2013, 1, 2, tzinfo=datetime.UTC),
        ],
        pa.timestamp("us", "UTC"),
    ),
    "day": pa.array([datetime.date(2013, 1, 1), None, None, None]),
    "list": pa.array([[1], [], None, [2, 3]]),
    "struct": pa.array([{"x": 1}, None, {"x": None}, {"x": 3}]),
    "category": pa.array(["a", "b", None, "a"]).dictionary_encode(),
    "decimal": pa.array([decimal.Decimal("1.10"), None, None, decimal.Decimal("2.00")]),
    "bytes": pa.array([b"x", None, b"", b"yy"], pa.binary()),
    "fixed": pa.array([b"xx", None, b"zz", b"yy"], pa.binary(2)),
    "map": pa.array([[("k", 1)], None, [], [("a", None)]], pa.map_(pa.string(), pa.int64())),
    "nothing": pa.nulls(4),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_how_a_table_is_cut_does_not_count_and_every_value_does(name: str) -> None:
    column = COLUMNS[name]
    table = pa.table({name: column})
    cut = pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])
    wider = pa.concat_tables([table, table]).slice(4)
    assert table_digest(cut) == table_digest(wider) == table_digest(table)
    for order in ([1, 0, 2, 3], [0, 0, 2, 3], [2, 1, 2, 3]):
        other = column.take(pa.array(order))
        same = repr(other.to_pylist()) == repr(column.to_pylist())
        assert (table_digest(pa.table({name: other})) == table_digest(table)) == same
    assert table_digest(pa.table({"other": column})) != table_digest(table)


def test_what_stands_under_a_null_does_not_count() -> None:
    valid = pa.array([True, False, True])
    one = pa.Array.from_buffers(
        pa.int64(), 3, [pa.array([1, None, 3]).buffers()[0], pa.py_buffer(np.array([1, 7, 3]).tobytes())]
    )
    two = pa.Array.from_buffers(
        pa.int64(), 3, [pa.array([1, None, 3]).buffers()[0], pa.py_buffer(np.array([1, 9, 3]).tobytes())]
    )
    assert valid.to_pylist() == one.is_valid().to_pylist()
    assert table_digest(pa.table({"x": one})) == table_digest(pa.table({"x": two}))


def test_tables_frames_and_models_come_back(objects: Objects) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import StandardScaler

    rows = np.arange(12.0).reshape(6, 2)
    frame = pd.DataFrame(rows, columns=["a", "b"], index=pd.Index([3, 1, 4, 1, 5, 9], name="key"))
    model = LinearRegression().fit(rows, rows[:, 0])
    given_ = {
        "table": pa.table(COLUMNS),
        "frame": frame,
        "models": (model, StandardScaler().fit(rows)),
        "scalar": np.float32(1.5),
    }
    stored = encode(given_, objects, "it")
    again = decode(stored, objects)
    assert again["table"].equals(given_["table"]) or table_digest(again["table"]) == table_digest(
        given_["table"]
    )
    pd.testing.assert_frame_equal(again["frame"], frame)
    assert (again["models"][0].predict(rows) == model.predict(rows)).all()
    assert (again["models"][1].mean_ == rows.mean(axis=0)).all()
    assert type(again["scalar"]) is np.float32
    refit = {**given_, "models": (LinearRegression().fit(rows, rows[:, 0]), StandardScaler().fit(rows))}
    assert encode(refit, objects, "it").digest == stored.digest
    assert len(stored.objects) == 5


def test_structs_dataclasses_enums_and_functions_by_name(objects: Objects) -> None:
    value = {
        "point": Point(math.inf, ("a",)),
        "fold": Fold(1, [2]),
        "colour": Colour.RED,
        "path": Path("a/b"),
        "call": math.sqrt,
    }
    stored = encode(value, objects, "it")
    assert decode(stored, objects) == value
    assert f"{__name__}:Fold" in stored.types


def test_parts_of_a_result_are_taken_without_the_rest(objects: Objects) -> None:
    value = ({"train": np.arange(3), "test": np.arange(4)}, [1, 2])
    stored = encode(value, objects, "it")
    assert length_of(stored, objects) == 2
    part = part_of(part_of(stored, 0, objects), "train", objects)
    assert part.digest == encode(np.arange(3), objects, "it").digest
    assert len(part.objects) == 1
    both = joined([part, part_of(stored, -1, objects)], objects)
    assert decode(both, objects)[1] == [1, 2]
    with pytest.raises(InvalidInput, match="no element 'valid'"):
        part_of(part_of(stored, 0, objects), "valid", objects)
    with pytest.raises(InvalidInput, match="2 elements, none has the number 5"):
        part_of(stored, 5, objects)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "it is a object, which cannot pass between steps"),
        ({"a": [open]}, None),
        ({"a": [iter([1])]}, "it['a'][0] is a list_iterator"),
        (np.array([object()]), "an array of Python objects"),
        (pd.DataFrame({"x": [1, "a"]}), "a data frame cannot be stored"),
        (lambda x: x, "cannot pass between steps"),
        ("\ud800", "cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_named(objects: Objects, value: Any, said: str | None) -> None:
    if said is None:
        assert decode(encode(value, objects, "it"), objects) == value
        return
    with pytest.raises(InvalidInput) as caught:
        encode(value, objects, "it")
    assert said in caught.value.message


def test_a_value_that_contains_itself_is_refused(objects: Objects) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidInput, match="contains itself"):
        encode(endless, objects, "it")


def test_own_types_pass_once_registered(objects: Objects) -> None:
    with pytest.raises(InvalidInput, match=r"Sketch, which cannot pass"):
        encode(Sketch({"a": 1}), objects, "it")
    register_serialiser(
        Sketch,
        save=lambda value, path: path.write_bytes(msgspec.json.encode([value.counts, uuid.uuid4().hex])),
        load=lambda path: Sketch(msgspec.json.decode(path.read_bytes())[0]),
        digest=lambda value: repr(sorted(value.counts.items())),
    )
    stored = encode([Sketch({"a": 1})], objects, "it")
    assert decode(stored, objects)[0].counts == {"a": 1}
    assert encode([Sketch({"a": 1})], objects, "it").digest == stored.digest
    assert encode([Sketch({"a": 2})], objects, "it").digest != stored.digest
