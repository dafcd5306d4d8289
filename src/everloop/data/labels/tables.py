"""Answers as a table: one column a question, beside the columns of the version that was labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from everloop.data.dataset import Dataset
from everloop.domain.labels import Asks, LabelProject, Question

_BOX = pa.struct(
    [pa.field("label", pa.string())]
    + [pa.field(each, pa.float64()) for each in ("x", "y", "width", "height", "rotation")]
)
_SPAN = pa.struct([("label", pa.string()), ("start", pa.int64()), ("end", pa.int64())])

TYPES: dict[Asks, pa.DataType] = {
    Asks.SINGLE: pa.string(),
    Asks.MULTI: pa.list_(pa.string()),
    Asks.BOXES: pa.list_(_BOX),
    Asks.SPANS: pa.list_(_SPAN),
    Asks.RATING: pa.int64(),
    Asks.NUMBER: pa.float64(),
    Asks.TEXT: pa.string(),
}

_FACTS: dict[str, pa.DataType] = {
    "annotators": pa.int64(),
    "agreement": pa.float64(),
    "reviewed": pa.bool_(),
    "annotator": pa.string(),
    "labelled_at": pa.timestamp("us", tz="UTC"),
    "entry": pa.string(),
}
"""What is said of an answer besides it: of one that stands for several, or of each by itself."""


def answers_table(questions: Sequence[Question], rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of ``item``, ``number``, ``answers`` and what is said of them, as a table."""
    columns: dict[str, pa.Array] = {
        "item": pa.array([row["item"] for row in rows], pa.string()),
        "number": pa.array([row["number"] for row in rows], pa.int64()),
    }
    for question in questions:
        values = [row["answers"].get(question.name) for row in rows]
        columns[question.name] = pa.array(values, TYPES[question.kind])
    for name, kind in _FACTS.items():
        if name in rows[0]:
            columns[f"label_{name}" if name in ("entry", "agreement") else name] = pa.array(
                [row[name] for row in rows], kind
            )
    return pa.table(columns)


def beside_source(dataset: Dataset, labels: pa.Table, project: LabelProject) -> pa.Table:
    """The labels with the rows they are about. A column of the source that is called like one of the labels steps back: it is
    ``source_…`` then. Pictures stay where they are: their paths and digests stand beside the labels."""
    numbers = labels["number"].to_pylist()
    if dataset.rows is None:
        files = {file.path: file.digest for file in dataset.files()}
        digests = [files[each] for each in labels["item"].to_pylist()]
        kept = labels.drop_columns(["number", "item"])
        columns = {"path": labels["item"], "digest": pa.array(digests, pa.string())}
        return pa.table(columns | {name: kept[name] for name in kept.column_names})
    rows = dataset.to_arrow().take(pa.array(numbers, pa.int64()))
    kept = labels.drop_columns(["number"] if not project.key else ["number", "item"])
    taken = set(kept.column_names)
    found = {(f"source_{name}" if name in taken else name): rows[name] for name in rows.column_names}
    return pa.table(found | {name: kept[name] for name in kept.column_names})
