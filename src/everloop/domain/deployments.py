"""Which model answers whom: the arms of an endpoint, and the rule that gives each key its arm."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from everloop.domain.expressions import checked_expression, names_in
from everloop.domain.names import shown
from everloop.errors import InvalidInput, nearest

ARM_HEADER = "x-everloop-arm"
"""The request header that asks for one arm by name, whatever the key says."""
CONTROL_HEADER = "everloop-control"
"""The request header of a control call: its value is the key that the server wrote into the endpoint's folder."""


class Mode(StrEnum):
    """What an arm does with a request."""

    LIVE = "live"
    """It answers the share of keys that its weight gives it."""
    SHADOW = "shadow"
    """It computes every request beside the caller's path; its answers are logged, never given."""
    OFF = "off"
    """It is kept at hand, so that going back to it takes no loading."""


class Arm(msgspec.Struct, frozen=True):
    """One model of an endpoint.

    model: the reference with its version, ``model:delay@v3``. weight: the share of keys it answers while live.
    transform: what the serving side makes of columns before the model sees them, as one arithmetic expression of the request's
        columns for each column it replaces. The log holds the columns as the model was fed them.
    """

    name: str
    model: str
    weight: float = 1.0
    mode: Mode = Mode.LIVE
    transform: dict[str, str] = {}


class PlacedArm(msgspec.Struct, frozen=True):
    """An arm with the folder of its model, below the endpoint's folder, and the digest of the model's `model.json`."""

    arm: Arm
    folder: str
    digest: str


class Deployment(msgspec.Struct, frozen=True):
    """A snapshot of an endpoint: all that a prediction server needs to know. `revision` rises by one with each change."""

    endpoint: str
    revision: int
    arms: tuple[PlacedArm, ...]
    salt: str
    time: datetime
    format: int = 1


class EndpointRecord(msgspec.Struct, frozen=True):
    """An endpoint as the ledger knows it."""

    name: str
    revision: int
    arms: tuple[Arm, ...]
    salt: str
    created: datetime
    updated: datetime
    user: str

    @property
    def reference(self) -> str:
        return f"endpoint:{self.name}"

    def arm(self, name: str) -> Arm | None:
        """The arm of that name, if there is one."""
        return next((arm for arm in self.arms if arm.name == name), None)


class ArmChange(msgspec.Struct, frozen=True):
    """One entry of an endpoint's history: what its arms were from `time` on, and why."""

    revision: int
    time: datetime
    user: str
    arms: tuple[Arm, ...]
    reason: str


class SegmentRecord(msgspec.Struct, frozen=True):
    """A part of the prediction log that rests in the object store as Parquet. `rows_by_model` counts predictions by model
    reference; `first` and `last` are the earliest and latest time of a prediction, `received_*` when the server took them."""

    segment: str
    endpoint: str
    digest: str
    size: int
    rows: int
    first: datetime
    last: datetime
    received_first: datetime
    received_last: datetime
    rows_by_model: dict[str, int]


class ArmTraffic(msgspec.Struct, frozen=True):
    """What one arm answered in a span of time. Seconds are those the server took for the request, median and 99th percentile."""

    arm: str
    mode: str
    model: str
    rows: int
    errors: int
    seconds_median: float | None
    seconds_p99: float | None


class LoggedPrediction(msgspec.Struct, frozen=True):
    """One prediction as it was logged."""

    prediction_id: str
    endpoint: str
    time: datetime
    received: datetime
    key: str | None
    arm: str
    mode: str
    model: str
    revision: int
    score: float | None
    label: str | None
    error: str | None
    features: dict[str, Any]


def check_transform(transform: Mapping[str, str], columns: Sequence[str]) -> None:
    """Raise InvalidInput where a transform replaces or reads a column that the model does not take.

    >>> check_transform({"tmp": "temp * 2"}, ["temp", "wind"])
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the model takes no column 'tmp', which the transform names
    """
    for column, expression in transform.items():
        for name in (column, *names_in(expression)):
            if name not in columns:
                raise InvalidInput(
                    f"the model takes no column {shown(name)}, which the transform names",
                    hint=nearest(name, columns) or f"it takes {', '.join(columns[:20])}",
                )


def checked_arms(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """`arms` if they make sense together, else InvalidInput.

    Names are unique, weights of the live arms lie in [0, 1] and sum to 1, and one arm at least is live.

    >>> checked_arms([Arm("a", "model:m@v1", weight=0.5)])
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the weights of the live arms sum to 0.5, not to 1
    """
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"two arms are called {shown(twice)}", hint="give each arm a name of its own")
    for arm in arms:
        if not arm.name or not arm.name.isprintable() or len(arm.name) > 100:
            raise InvalidInput(
                f"{shown(arm.name)} cannot name an arm", hint="use a short word, such as challenger"
            )
        if not 0 <= arm.weight <= 1:
            raise InvalidInput(
                f"the weight of arm {shown(arm.name)} is {arm.weight:g}", hint="weights lie in 0 to 1"
            )
        for column, expression in arm.transform.items():
            checked_expression(expression, f"the transform of column {shown(column)}")
    live = [arm for arm in arms if arm.mode is Mode.LIVE]
    if not live:
        raise InvalidInput("no arm is live, so nobody would answer", hint="give one arm the mode 'live'")
    total = sum(arm.weight for arm in live)
    if abs(total - 1) > 1e-9:
        raise InvalidInput(
            f"the weights of the live arms sum to {total:g}, not to 1",
            hint="weights are shares of the requests",
        )
    return tuple(arms)


def thresholds(arms: Iterable[Arm]) -> list[tuple[int, str]]:
    """Upper ends, in 0 to 2^32, of the ranges of key numbers that each live arm answers, rising.

    The last arm starts at 0 and the first takes what is left. So when a candidate listed after the champion gains weight, the
    keys it had stay with it.

    >>> thresholds([Arm("champion", "model:m@v1", weight=0.75), Arm("candidate", "model:m@v2", weight=0.25)])
    [(1073741824, 'candidate'), (4294967296, 'champion')]
    """
    live = [arm for arm in arms if arm.mode is Mode.LIVE and arm.weight > 0]
    found, total = [], 0.0
    for arm in reversed(live):
        total += arm.weight
        found.append((round(total * 2**32), arm.name))
    return [*found[:-1], (2**32, found[-1][1])]


def key_number(salt: str, key: str) -> int:
    """The number in 0 to 2^32 - 1 that decides a key's arm: always the same for one salt (one rollout).

    >>> key_number("s", "flight-1") == key_number("s", "flight-1")
    True
    """
    return zlib.crc32(key.encode("utf-8", "surrogatepass"), zlib.crc32(salt.encode()))


def arm_of(salt: str, key: str, ends: Sequence[tuple[int, str]]) -> str:
    """The name of the arm that answers a key, by the ranges of `thresholds`.

    >>> arm_of("s", "k", [(2**32, "champion")])
    'champion'
    """
    number = key_number(salt, key)
    return next(name for end, name in ends if number < end)


def pick(name: str, arms: Sequence[Arm]) -> Arm:
    """The arm of that name, or InvalidInput with the nearest."""
    for arm in arms:
        if arm.name == name:
            return arm
    hint = nearest(name, [arm.name for arm in arms]) or "arms are: " + ", ".join(arm.name for arm in arms)
    raise InvalidInput(f"there is no arm {shown(name)}", hint=hint)
