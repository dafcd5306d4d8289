"""Which trial of a sweep won, and whether it surely did."""

from __future__ import annotations

from collections.abc import Sequence

from everloop.domain.sweeps import Direction, Objective, Score, Trial

LEVEL = 0.95
"""Of every interval that a sweep states."""


def better(direction: Direction, one: float, other: float) -> bool:
    """Whether one value is better than another."""
    return one < other if direction == "minimize" else one > other


def finished(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that have a value of every objective."""
    return [each for each in trials if each.status == "finished" and each.values]


def best_of(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The trial with the best mean of the first objective; of equal ones the earlier.

    >>> one, two = (Trial(n, {}, "finished", ((v,),)) for n, v in ((0, 0.3), (1, 0.2)))
    >>> best_of([one, two], Objective("loss")).number
    1
    """
    found: Trial | None = None
    for each in sorted(finished(trials), key=lambda trial: trial.number):
        if found is None or better(objective.direction, each.means[0], found.means[0]):
            found = each
    return found


def score_of(trial: Trial, objective: int = 0, overlap: float = 0.0) -> Score:
    """One objective of a trial, with its interval when it was repeated. `overlap`: that of the repeats (`Repeat.overlap`)."""
    from everloop.stats.repeats import mean_of_repeats  # numpy: not for those who only run a pipeline

    interval = mean_of_repeats(trial.values[objective], level=LEVEL, overlap=overlap)
    if interval is None:
        return Score(trial.means[objective])
    return Score(interval.estimate, interval.low, interval.high)


def tied_with(
    best: Trial, trials: Sequence[Trial], objective: Objective, overlap: float = 0.0
) -> list[int] | None:
    """Trials that are not surely worse than the best one. Repeats are paired: both were run with the same seeds or folds, so
    what a seed does to both does not count. None when trials were not repeated.

    >>> sure = Trial(0, {}, "finished", ((0.20, 0.21, 0.22),))
    >>> near = Trial(1, {}, "finished", ((0.21, 0.20, 0.24),))
    >>> far = Trial(2, {}, "finished", ((0.30, 0.31, 0.32),))
    >>> tied_with(sure, [sure, near, far], Objective("loss"))
    [1]
    """
    if len(best.values[0]) < 2:
        return None
    from everloop.stats.repeats import difference_of_pairs

    tied = []
    for each in finished(trials):
        if each.number == best.number or len(each.values[0]) != len(best.values[0]):
            continue
        interval = difference_of_pairs(best.values[0], each.values[0], level=LEVEL, overlap=overlap)
        if interval is None or interval.low <= 0 <= interval.high:
            tied.append(each.number)
    return tied


def front_of(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[int]:
    """Pareto's front: the trials that no other beats in one objective while being at least as good in all.

    >>> made = [Trial(n, {}, "finished", tuple((v,) for v in vs)) for n, vs in enumerate([(1, 5), (2, 2), (3, 3), (5, 1)])]
    >>> front_of(made, [Objective("loss"), Objective("seconds")])
    [0, 1, 3]
    """
    signs = [1 if each.direction == "minimize" else -1 for each in objectives]
    points = [
        (each.number, [sign * mean for sign, mean in zip(signs, each.means, strict=True)])
        for each in finished(trials)
    ]
    return [
        number
        for number, point in points
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True)) for _, other in points
        )
    ]


def perhaps_on_front(
    trials: Sequence[Trial], objectives: Sequence[Objective], overlap: float = 0.0
) -> list[int] | None:
    """Trials off the front that may belong to it: none of those that beat them does so surely, by a paired interval over the
    repeats of at least one objective. None when trials were not repeated.

    >>> one = Trial(0, {}, "finished", ((1.0, 1.1, 1.2), (5.0, 5.0, 5.0)))
    >>> near = Trial(1, {}, "finished", ((1.1, 1.0, 1.3), (5.0, 5.0, 5.0)))
    >>> far = Trial(2, {}, "finished", ((3.0, 3.1, 3.2), (5.0, 5.0, 5.0)))
    >>> perhaps_on_front([one, near, far], [Objective("loss"), Objective("seconds")])
    [1]
    """
    over = finished(trials)
    if not over or len(over[0].values[0]) < 2:
        return None
    front = set(front_of(over, objectives))
    return [
        each.number
        for each in over
        if each.number not in front and not any(_surely_beats(one, each, objectives, overlap) for one in over)
    ]


def _surely_beats(one: Trial, other: Trial, objectives: Sequence[Objective], overlap: float) -> bool:
    from everloop.stats.repeats import difference_of_pairs

    if any(
        better(wanted.direction, b, a)
        for wanted, a, b in zip(objectives, one.means, other.means, strict=True)
    ):
        return False
    for wanted, mine, theirs in zip(objectives, one.values, other.values, strict=True):
        if len(mine) != len(theirs):
            continue
        interval = difference_of_pairs(mine, theirs, level=LEVEL, overlap=overlap)
        if interval is not None and (
            interval.low > 0 if wanted.direction == "minimize" else interval.high < 0
        ):
            return True
    return False
