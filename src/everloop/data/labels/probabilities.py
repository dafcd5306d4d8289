"""Probabilities of classes: read from a table, or worked out by cross-validation (extra ``sklearn``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everloop.errors import InvalidInput, MissingExtra, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.data.data import Data

PREFIXES = ("", "p_", "proba_", "probability_", "prob_")
"""What may stand before a class in the name of its column."""


def table_from(data: Data, source: Any) -> pa.Table:
    """A table of the user's: a file that ends in ``.parquet`` or ``.csv``, a dataset's reference, or anything that speaks
    Arrow."""
    from everloop.data.tables.parquet import TABULAR, arrow_table, is_arrow, read_table

    if is_arrow(source):
        return arrow_table(source)
    text = str(source)
    if isinstance(source, Path) or text.lower().endswith(TABULAR):
        return read_table(Path(text))
    return data.dataset(text).to_arrow()


def columns_of_classes(names: Sequence[str], classes: Sequence[str]) -> list[str] | None:
    """The column of each class; None where no class has one. Raises InvalidInput where only some have.

    >>> columns_of_classes(["id", "p_good", "p_bad"], ["good", "bad"])
    ['p_good', 'p_bad']
    """
    for prefix in PREFIXES:
        found = [f"{prefix}{each}" for each in classes]
        there = [each in names for each in found]
        if all(there):
            return found
        if sum(there) > 1 or (any(there) and prefix):
            missing = next(each for each in found if each not in names)
            raise InvalidInput(
                f"the table has no column '{missing}'",
                hint=nearest(missing, names) or "give one column a class",
            )
    return None


def rows_by_item(table: pa.Table, numbers: Mapping[str, int], key: str) -> list[int]:
    """The number of the item that each row is about: by column `key`, ``item`` or ``key``, else by the order of rows."""
    column = next((each for each in (key, "item", "key") if each and each in table.column_names), None)
    if column is None:
        if table.num_rows != len(numbers):
            raise InvalidInput(
                f"the table has {table.num_rows:,} rows for {len(numbers):,} items",
                hint="give one row an item in their order, or a column 'item' with their keys",
            )
        return list(numbers.values())
    found = []
    for value in table[column].to_pylist():
        number = numbers.get(str(value))
        if number is None:
            raise InvalidInput(
                f"there is no item '{value}'",
                hint=nearest(str(value), list(numbers)[:10_000]) or "check the keys",
            )
        found.append(number)
    if len(set(found)) < len(found):
        raise InvalidInput(f"column '{column}' names an item twice", hint="give one row an item")
    return found


def out_of_fold(
    features: pa.Table, labels: Sequence[str], classes: Sequence[str], *, folds: int = 5, seed: int = 0
) -> Any:
    """Probabilities (items x classes) that a model gives each item without having seen it: logistic regression over words
    (tf-idf) of text, scaled numbers and codes of categories, cross-validated in `folds` parts.

    Raises MissingExtra without scikit-learn, InvalidInput where a class has fewer items than folds.
    """
    try:
        import sklearn.linear_model
        import sklearn.model_selection
        import sklearn.pipeline
    except ImportError:
        raise MissingExtra(
            "cross-validation needs scikit-learn",
            hint="pip install 'everloop[sklearn]', or give --probabilities",
        ) from None
    import numpy as np

    place = {each: at for at, each in enumerate(classes)}
    given = np.array([place[each] for each in labels])
    counts = np.bincount(given, minlength=len(classes))
    rare = [each for each, n in zip(classes, counts, strict=True) if 0 < n < folds]
    if rare or not 2 <= folds <= 50:
        what = f"'{rare[0]}' has fewer answers than the {folds} folds" if rare else f"{folds} folds"
        raise InvalidInput(
            f"cross-validation cannot be done: {what}", hint="label more, or choose --folds 2 to 50"
        )
    if sum(counts > 0) < 2:
        raise InvalidInput("all answers are the same: there is nothing to learn", hint="label more")
    model = sklearn.pipeline.make_pipeline(
        _columns(features), sklearn.linear_model.LogisticRegression(max_iter=1000)
    )
    parts = sklearn.model_selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
    frame = np.empty((features.num_rows, features.num_columns), dtype=object)
    for at, column in enumerate(features.columns):
        frame[:, at] = column.to_pylist()
    found = sklearn.model_selection.cross_val_predict(model, frame, given, cv=parts, method="predict_proba")
    result = np.zeros((len(labels), len(classes)))
    result[:, np.unique(given)] = found
    return result


def _columns(features: pa.Table) -> Any:
    """How each column becomes numbers."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    numbers: list[int] = []
    texts: list[int] = []
    codes: list[int] = []
    for at, column in enumerate(features.columns):
        kind = column.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            numbers.append(at)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            # Words are worth learning from where values rarely repeat.
            many = pc.count_distinct(column).as_py() > min(50, features.num_rows // 2)
            (texts if many else codes).append(at)
    if not numbers + texts + codes:
        raise InvalidInput(
            "there is no column to learn from", hint="numbers, categories and text can be learned from"
        )
    ways: list[tuple[str, Any, Any]] = []
    if numbers:
        to_float = FunctionTransformer(lambda values: np.asarray(values, dtype=np.float64))
        ways.append(("numbers", make_pipeline(to_float, SimpleImputer(), StandardScaler()), numbers))
    if codes:
        as_text = FunctionTransformer(lambda values: np.vectorize(str, otypes=[object])(values))
        ways.append(("codes", make_pipeline(as_text, OneHotEncoder(handle_unknown="ignore")), codes))
    for at in texts:
        as_words = FunctionTransformer(lambda values: ["" if each is None else each for each in values])
        ways.append((f"text{at}", make_pipeline(as_words, TfidfVectorizer(sublinear_tf=True)), at))
    return ColumnTransformer(ways)
