"""How equal two outputs of one step are: by content, else leaf by leaf."""

from __future__ import annotations

from typing import Any

import numpy as np

from everloop.domain.ids import is_id
from everloop.domain.pipelines import Comparison, Grade, StoredValue, strongest_common
from everloop.pipelines.values.encoding import leaves, tree_of
from everloop.pipelines.values.formats import format_called
from everloop.stats.exactness import compare_predictions
from everloop.store.objects import Objects

PROBE_ROWS = 64


def compare_outputs(
    step: str, original: StoredValue, rebuilt: StoredValue, stores: tuple[Objects, Objects], tolerance: float
) -> Comparison:
    """Grade one output. Identifiers that were drawn for each run anew are not compared."""
    if original.digest == rebuilt.digest:
        return Comparison(
            step, "bits", f"equal content: {original.kind}", original.digest, rebuilt.digest, 0.0
        )
    one = list(leaves(tree_of(original, stores[0])))
    two = list(leaves(tree_of(rebuilt, stores[1])))
    if [path for path, _ in one] != [path for path, _ in two]:
        return _made(step, original, rebuilt, "failed", f"{original.kind} became {rebuilt.kind}", None)
    grades: list[Grade] = []
    details: list[str] = []
    largest = 0.0
    for (path, before), (_, after) in zip(one, two, strict=True):
        if before == after or _drawn_anew(before, after):
            continue
        grade, detail, k = _compare_leaf(before, after, stores, tolerance)
        grades.append(grade)
        if grade != "bits":
            details.append(f"{path or 'the result'}: {detail}")
        largest = max(largest, k) if k is not None else largest
    grade = strongest_common(grades)
    detail = "; ".join(details[:3]) if details else "equal but for identifiers of runs"
    return _made(step, original, rebuilt, grade, detail, largest)


def _made(
    step: str, original: StoredValue, rebuilt: StoredValue, grade: Grade, detail: str, largest: float | None
) -> Comparison:
    return Comparison(step, grade, detail, original.digest, rebuilt.digest, largest)


def _compare_leaf(
    before: Any, after: Any, stores: tuple[Objects, Objects], tolerance: float
) -> tuple[Grade, str, float | None]:
    if isinstance(before, float) and isinstance(after, float):
        return _numbers(np.array([before]), np.array([after]), tolerance)
    if not _is_object(before) or not _is_object(after):
        return "failed", f"{_short(before)} became {_short(after)}", None
    one, two = before["~object"], after["~object"]
    if one["content"] == two["content"]:
        return "bits", "equal content", 0.0
    if one["as"] != two["as"]:
        return "failed", f"{one['words']} became {two['words']}", None
    values = [
        format_called(each["as"]).load(store.read(each["object"]))
        for each, store in zip((one, two), stores, strict=True)
    ]
    if one["as"] in {"array", "scalar"}:
        return _numbers(np.atleast_1d(values[0]), np.atleast_1d(values[1]), tolerance)
    if one["as"] in {"table", "frame"}:
        return compare_tables(values[0], values[1], tolerance)
    if one["as"] == "model":
        return _models(values[0], values[1], tolerance)
    return "failed", "the content differs", None


def _numbers(before: Any, after: Any, tolerance: float) -> tuple[Grade, str, float | None]:
    if before.shape != after.shape or not before.size:
        return "failed", f"shape {before.shape} became {after.shape}", None
    columns = (before.shape[0], -1) if before.ndim > 1 else (-1,)
    found = compare_predictions(
        before.reshape(columns), after.reshape(columns), same_content=True, tolerance=tolerance
    )
    where = f", first in row {found.first_difference}" if found.first_difference is not None else ""
    return found.grade, f"{found.reason}, {found.rows_different} rows differ{where}", found.k


def compare_tables(before: Any, after: Any, tolerance: float) -> tuple[Grade, str, float | None]:
    names = list(_columns(before))
    if names != list(_columns(after)) or len(before) != len(after):
        return "failed", "columns or rows are others", None
    grades: list[Grade] = []
    details = []
    largest = 0.0
    for name in names:
        one, two = (_columns(each)[name] for each in (before, after))
        if not len(one):
            continue
        grade, detail, k = _numbers(one, two, tolerance)
        grades.append(grade)
        largest = max(largest, k or 0.0)
        if grade != "bits":
            details.append(f"column {name}: {detail}")
    return strongest_common(grades), "; ".join(details[:3]) or "equal values of other types", largest


def _columns(table: Any) -> dict[str, Any]:
    if hasattr(table, "column_names"):
        return {name: table[name].to_numpy() for name in table.column_names}
    return {str(name): table[name].to_numpy() for name in table.columns}


def _models(before: Any, after: Any, tolerance: float) -> tuple[Grade, str, float | None]:
    """Answers of both to the same rows, drawn from a fixed seed."""
    count = getattr(before, "n_features_in_", None)
    if count is None:
        return "failed", "the models differ, and do not say what they take", None
    rows: Any = np.random.default_rng(0).normal(size=(PROBE_ROWS, count))
    names = getattr(before, "feature_names_in_", None)
    try:
        if names is not None:
            import pandas as pd

            rows = pd.DataFrame(rows, columns=names)
        answer = next(
            name
            for name in ("predict_proba", "decision_function", "predict", "transform")
            if hasattr(before, name)
        )
        one, two = (np.asarray(getattr(each, answer)(rows)) for each in (before, after))
    except (ValueError, TypeError, StopIteration, ImportError) as error:
        return "failed", f"the models differ, and could not be asked: {error}", None
    found = compare_predictions(one, two, tolerance=tolerance)
    return found.grade, f"{answer} of {PROBE_ROWS} drawn rows: {found.reason}", found.k


def _is_object(leaf: Any) -> bool:
    return isinstance(leaf, dict) and "~object" in leaf


def _drawn_anew(before: Any, after: Any) -> bool:
    """Identifiers, and names of versions that a run made itself: what these hold is compared by itself."""
    if isinstance(before, dict) and isinstance(after, dict) and "~dataset" in before and "~dataset" in after:
        return bool(before["~dataset"]["name"] == after["~dataset"]["name"])
    if isinstance(before, str) and isinstance(after, str) and before.startswith("data:"):
        return before.partition("@")[0] == after.partition("@")[0]
    return isinstance(before, str) and isinstance(after, str) and is_id(_bare(before)) and is_id(_bare(after))


def _bare(text: str) -> str:
    return text.removeprefix("run:")


def _short(leaf: Any) -> str:
    text = repr(leaf)
    return text if len(text) <= 40 else text[:37] + "…"
