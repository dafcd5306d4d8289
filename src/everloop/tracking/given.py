"""What users give to a run, made into what is kept: parameters, tags, values, steps, times. Anything else is InvalidInput."""

import reprlib
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from everloop.domain.runs import MAX_PARAM, MAX_TAG, checked_key, checked_text, flat_params
from everloop.domain.times import micros, require_zone
from everloop.errors import InvalidInput
from everloop.tracking.secrets import MASK, masked_params

if TYPE_CHECKING:
    import numpy as np

LEAST_STEP, MOST_STEP = -(2**63), 2**63 - 1
"""Steps are 64-bit integers, and the one after any step must be one too."""


def param_texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as they are kept: as text, nested ones by their path, secrets masked, what is too long cut with a warning.
    Raises InvalidInput for a key or a text that cannot be kept."""
    given = {
        key: _cut(value, MAX_PARAM, f"parameter {key}")
        for key, value in flat_params(named(params, "parameters")).items()
    }
    texts = _masked(given, "parameter")
    for key, value in texts.items():
        checked_text(value, f"the parameter {checked_key(key, 'parameter')}", MAX_PARAM)
    return texts


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as they are kept: as text, secrets masked, what is too long cut with a warning. Raises InvalidInput as `param_texts`
    does."""
    given = {
        checked_key(key, "tag"): _cut(str(value), MAX_TAG, f"tag {key}")
        for key, value in named(tags, "tags").items()
    }
    texts = _masked(given, "tag")
    for key, value in texts.items():
        checked_text(value, f"the tag {key}", MAX_TAG)
    return texts


def _masked(given: Mapping[str, str], what: str) -> dict[str, str]:
    texts = masked_params(given)
    for key, value in texts.items():
        if value != given[key]:
            warnings.warn(
                f"the {what} {key} is a secret by its name, or holds one: {MASK} is kept",
                RuntimeWarning,
                stacklevel=5,
            )
    return texts


def number_of(key: str, value: Any) -> float:
    """The value of a metric: whatever Python takes for a number."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            f"the metric {key} is {reprlib.repr(value)}, which is not a number",
            hint="log text with set_tags or log_text",
        ) from None


def step_of(key: str, step: Any) -> int:
    """The step of a point: a whole number, also as text, as a float (``3.0``) or of numpy.

    >>> step_of("loss", "7"), step_of("loss", 3.0)
    (7, 3)
    >>> step_of("loss", 1.5)
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the step 1.5 of the metric loss is not a whole number
    """
    try:
        number = int(step)
        is_whole = isinstance(step, str) or number == step
    except (TypeError, ValueError, OverflowError):
        is_whole = False
    if not is_whole:
        raise InvalidInput(
            f"the step {step!r} of the metric {key} is not a whole number", hint="count from 0"
        )
    if not LEAST_STEP <= number <= MOST_STEP:
        raise InvalidInput(
            f"the step {step!r} of the metric {key} does not fit in 64 bits", hint="count from 0"
        )
    return number


def column_of(key: str, given: Sequence[Any], kind: str) -> "np.ndarray[Any, Any]":
    """Values or steps as an array of 64-bit numbers."""
    import numpy as np

    found = np.asarray(given)
    try:
        column = found.astype(kind)
        is_kept = kind == "<f8" or bool((column == found).all())
    except (TypeError, ValueError, OverflowError):
        is_kept = False
    if not is_kept:
        what = "numbers" if kind == "<f8" else "whole numbers of 64 bits"
        raise InvalidInput(
            f"the points of the metric {key} are not all {what}", hint="give numbers, one a point"
        )
    return column


def moment_of(timestamp: Any) -> int:
    """Microseconds since 1970 of a time that was given."""
    if not isinstance(timestamp, datetime):
        raise InvalidInput(
            f"the timestamp {timestamp!r} is no time", hint="give an aware datetime: datetime.now(UTC)"
        )
    return micros(require_zone(timestamp, "the timestamp"))


def named(given: Any, what: str) -> Mapping[str, Any]:
    """What was given as names and values, or InvalidInput."""
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{what} are names and values, not {given!r}", hint="give a dict: {'name': value}")
    return given


def _cut(text: str, limit: int, what: str) -> str:
    if len(text) <= limit:
        return text
    warnings.warn(f"the {what} has {len(text)} characters; {limit} are kept", RuntimeWarning, stacklevel=4)
    return text[:limit]
