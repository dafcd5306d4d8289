"""Checks that are made in Python, a batch of rows at a time: a user's function, and regular expressions of Python's dialect.

They run where the caller is. A user's function may raise anything; then its check was not made, and has not passed.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from everloop.domain import checks as declared
from everloop.domain.checks import AnyCheck
from everloop.errors import EverloopError, Failed, InvalidDefinition
from everloop.governance.definitions import load

BATCH = 1 << 17
"""Rows that a function gets at a time."""

Judge = Callable[[pa.Table], Any]


class Judged(NamedTuple):
    """Rows of one batch: the number of the first, and which were looked at and which failed, each (rows,)."""

    first: int
    looked: np.ndarray[Any, np.dtype[np.bool_]]
    failed: np.ndarray[Any, np.dtype[np.bool_]]


def resolve(place: str, project: Path) -> Callable[..., Any]:
    """The function at ``MODULE:NAME`` or ``FILE.py:NAME``. Raises InvalidDefinition when there is none."""
    module, _, name = place.rpartition(":")
    found = importlib.import_module("__main__") if module == "__main__" else load(module, project)
    function = getattr(found, name, None)
    if not callable(function):
        raise InvalidDefinition(f"{module} has no function '{name}'", hint="check the name")
    return function


def digest_of_code(function: Callable[..., Any]) -> str:
    """SHA-256 of the function's own text; empty where there is none, as for a function of an extension."""
    try:
        return sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


def pinned(check: AnyCheck, project: Path) -> AnyCheck:
    """The check with the digest of its function as it is now; any other check as it is."""
    if not isinstance(check, declared.Python):
        return check
    return msgspec.structs.replace(check, digest=digest_of_code(resolve(check.function, project)))


def judge_of(check: declared.Python | declared.Matches, project: Path) -> Judge:
    """What judges a batch. Raises InvalidDefinition when the function is not there, or is not the one that was bound."""
    if isinstance(check, declared.Matches):
        return _matcher(check)
    function = resolve(check.function, project)
    if check.digest and digest_of_code(function) != check.digest:
        raise InvalidDefinition(
            f"{check.function} has changed since it was bound", hint="bind the contract again"
        )
    return function


def judged(reader: pa.RecordBatchReader, judge: Judge) -> Iterator[Judged]:
    """The verdict on every row, batch by batch. Raises Failed when the function fails or answers something else."""
    first = 0
    for batch in reader:
        if not batch.num_rows:
            continue
        answer = _answered(judge, pa.Table.from_batches([batch]))
        looked = answer.is_valid().to_numpy(zero_copy_only=False)
        good = answer.fill_null(True).to_numpy(zero_copy_only=False)
        yield Judged(first, looked, ~good)
        first += batch.num_rows


def judge_whole(judge: Judge, table: pa.Table) -> bool:
    """Whether the table passes by a function that answers yes or no."""
    answer = _called(judge, table)
    if not isinstance(answer, bool | np.bool_):
        raise Failed(f"the function answered {type(answer).__name__}, not whether the table passes")
    return bool(answer)


def _answered(judge: Judge, table: pa.Table) -> pa.Array:
    answer = _called(judge, table)
    try:
        array = (
            answer if isinstance(answer, pa.Array | pa.ChunkedArray) else pa.array(answer, from_pandas=True)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
        raise Failed(
            f"the function answered {type(answer).__name__}, not one yes or no for each row"
        ) from None
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if len(array) != table.num_rows:
        raise Failed(f"the function answered {len(array)} times for {table.num_rows} rows")
    if pa.types.is_null(array.type):
        array = array.cast(pa.bool_())
    if not pa.types.is_boolean(array.type):
        raise Failed(f"the function answered {array.type}, not true or false")
    return array


def _called(judge: Judge, table: pa.Table) -> Any:
    try:
        return judge(table)
    except EverloopError:
        raise
    except Exception as error:  # a user's function may raise anything at all
        raise Failed(f"{type(error).__name__}: {error}") from error


def _matcher(check: declared.Matches) -> Judge:
    try:
        pattern = re.compile(check.pattern)
    except re.error as error:
        raise InvalidDefinition(f"the pattern is no regular expression of Python: {error}") from None
    found = {"whole": pattern.fullmatch, "start": pattern.match, "anywhere": pattern.search}[check.where]

    def judge(table: pa.Table) -> pa.Array:
        """Each text once, however often it comes."""
        texts = table.column(0).cast(pa.string()).combine_chunks().dictionary_encode()
        passes = [(found(text) is None) is check.forbidden for text in texts.dictionary.to_pylist()]
        return pc.take(pa.array(passes, pa.bool_()), texts.indices)

    return judge
