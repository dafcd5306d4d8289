"""A loaded model: columns in, answers out; and how far two answers are apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from everloop.domain.signature import Layout, ModelFile, Parity, Signature, Task, Type
from everloop.errors import Failed, InvalidInput, MissingExtra
from everloop.tracking.formats.columns import Columns, columns_of, conform

Predict = Callable[[Any], Any]


class LoadedModel:
    """A model that is ready to answer. `native` is the library's own object.

    Rows are checked against the signature first, so that what reaches the library is what it was trained on.
    """

    def __init__(self, file: ModelFile, native: Any, folder: Path | None = None) -> None:
        self.file = file
        self.native = native
        self.folder = folder

    @property
    def signature(self) -> Signature:
        return self.file.signature

    def predict(self, table: Any) -> Columns:
        """The answers for a table of any kind, by output name (see `Signature`). Unknown columns are left
        aside; missing ones and wrong types raise InvalidInput."""
        given = columns_of(table, self.signature.names)
        return self.answer(conform(given, self.signature, drop_extra=True))

    def answer(self, columns: Columns) -> Columns:
        """The answers for columns that already conform to the signature: arrays of one length."""
        if not columns or not len(next(iter(columns.values()))):
            raise InvalidInput("there are no rows to answer", hint="give one row or more")
        rows = arranged(columns, self.signature, self.file.layout)
        return answers(
            self.native, rows, self.signature, labels_from_probabilities=self.file.labels_from_probabilities
        )

    def probe(self) -> tuple[Columns, Columns]:
        """The stored rows and the answers given when the model was saved; InvalidInput when it was saved
        without an example.
        """
        if self.folder is None or not self.file.probe_rows:
            raise InvalidInput(
                "the model was saved without an example, so there is nothing to compare",
                hint="save it with example=rows it was trained on",
            )
        stored = msgspec.json.decode((self.folder / "probe.json").read_bytes())
        takes = self.signature
        inputs = conform(stored["inputs"], takes)
        outputs = {
            field.name: np.array(
                stored["outputs"][field.name], dtype=np.float64 if field.type is Type.DOUBLE else None
            )
            for field in takes.outputs
        }
        return inputs, outputs

    def parity(self, *, tolerance: float = 0.0) -> Parity:
        """Answer the stored rows again and compare."""
        inputs, before = self.probe()
        return compare(before, self.answer(inputs), tolerance=tolerance)


def arranged(columns: Columns, signature: Signature, layout: Layout) -> Any:
    """Columns in the shape a model was trained on."""
    if layout is Layout.FRAME:
        return _frame(columns, signature)
    shape = (len(next(iter(columns.values()))), len(signature.inputs))
    matrix: NDArray[Any] = np.empty(shape, dtype=np.float64 if layout is Layout.MATRIX else object)
    for number, name in enumerate(signature.names):
        matrix[:, number] = columns[name]
    return matrix


def answers(native: Any, rows: Any, signature: Signature, *, labels_from_probabilities: bool) -> Columns:
    """Call a model with arranged rows and name what comes back. What the library raises becomes Failed."""
    try:
        with warnings.catch_warnings():
            # Feature names are checked by us, and a matrix has none: the library's reminder would be noise on
            # every call.
            warnings.filterwarnings("ignore", message=".*does not have valid feature names.*")
            return _named(native, rows, signature, labels_from_probabilities)
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError) as error:
        raise Failed(
            f"the model could not answer: {error}", hint="compare the rows with its signature"
        ) from error


def _named(native: Any, rows: Any, signature: Signature, labels_from_probabilities: bool) -> Columns:
    names = [field.name for field in signature.outputs]
    if signature.task is Task.REGRESSION:
        values = np.asarray(native.predict(rows), dtype=np.float64)
        return dict(zip(names, values.reshape(len(values), -1).T, strict=True))
    if names == ["label"]:
        return {"label": np.asarray(native.predict(rows))}
    probabilities = np.asarray(native.predict_proba(rows), dtype=np.float64)
    if labels_from_probabilities:
        labels = np.asarray(signature.classes)[np.argmax(probabilities, axis=1)]
    else:
        labels = np.asarray(native.predict(rows))
    if names[0] == "probability":
        return {"probability": probabilities[:, 1], "label": labels}
    return {"label": labels, **{f"probability_{number}": each for number, each in enumerate(probabilities.T)}}


def compare(before: Columns, after: Columns, *, tolerance: float = 0.0) -> Parity:
    """How far two answers to the same rows are apart. NaN equals NaN.

    >>> compare({"prediction": np.array([1.0, 2.0])}, {"prediction": np.array([1.0, 2.5])})
    Parity(rows=2, max_abs=0.5, flips=0, tolerance=0.0)
    """
    worst, flips, rows = 0.0, 0, 0
    for name, old in before.items():
        new = after[name]
        rows = len(old)
        if name == "label":
            flips = int((old.astype(str) != new.astype(str)).sum())
            continue
        same = (old == new) | (np.isnan(old) & np.isnan(new))
        if not same.all():
            apart = float(np.max(np.abs(old[~same] - new[~same])))
            worst = max(worst, float("inf") if apart != apart else apart)
    return Parity(rows, worst, flips, tolerance)


def _frame(columns: Columns, signature: Signature) -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtra(
            "this model was trained on a pandas frame, and pandas is not installed", hint="pip install pandas"
        ) from None
    frame = pd.DataFrame({name: columns[name] for name in signature.names}, copy=False)
    for field in signature.inputs:
        if field.categories is not None:
            frame[field.name] = pd.Categorical(frame[field.name], categories=list(field.categories))
    return frame
