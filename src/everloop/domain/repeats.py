"""Runs that repeat each other, and what groups of runs say about a metric."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

SEED_KEYS = frozenset({"seed", "seeds", "random_state", "random_seed", "global_seed", "rng_seed"})


class Mean(msgspec.Struct, frozen=True):
    """A metric over a group of runs. `low` and `high`: Student's interval of the mean, None for fewer than two runs. Runs
    without the metric, or with one that is not finite, do not count."""

    runs: int
    mean: float
    least: float
    greatest: float
    low: float | None = None
    high: float | None = None


class GroupedRuns(msgspec.Struct, frozen=True):
    """Runs that agree in what they were grouped by. `tied`, where groups are ranked: True: the best, or not surely worse; False:
    worse; None: nobody can say, with fewer than two runs on a side."""

    values: list[str | None]
    runs: int
    metrics: dict[str, Mean]
    run_ids: list[str]
    """Up to a hundred of them, the newest first."""
    tied: bool | None = None


class Grouping(msgspec.Struct, frozen=True):
    """Groups of runs: the largest first, or ranked by a metric. `runs` counts all that match; `level` is the intervals'."""

    by: list[str]
    metrics: list[str]
    groups: list[GroupedRuns]
    runs: int
    level: float
    ranked_by: str | None = None


class Repeats(msgspec.Struct, frozen=True):
    """Compared runs that have the same parameters but for their seeds. `runs` are their places in the comparison; `params` are
    those in which the groups differ."""

    runs: list[int]
    params: dict[str, str | None]
    metrics: dict[str, Mean]


class Delta(msgspec.Struct, frozen=True):
    """How much larger a metric's mean is in `group` than in the first group. `low` and `high`: Welch's interval, None where
    either has fewer than two runs; `tie`: it holds 0, so that neither is surely better."""

    metric: str
    group: int
    delta: float
    low: float | None = None
    high: float | None = None
    tie: bool | None = None


def is_seed(key: str) -> bool:
    """Whether a parameter tells repeats of one configuration apart.

    >>> is_seed("seed"), is_seed("model.random_state"), is_seed("seed_words")
    (True, True, False)
    """
    return key.lower().replace("/", ".").rpartition(".")[2] in SEED_KEYS


def configuration(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What repeats have in common: the parameters that are no seed, in order.

    >>> configuration({"seed": "1", "lr": "0.1"}) == configuration({"lr": "0.1", "seed": "2"})
    True
    """
    return tuple(sorted((key, value) for key, value in params.items() if not is_seed(key)))
