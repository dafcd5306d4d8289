"""How far annotators agree beyond chance.

Answers come as a table of items by annotators, ``None`` where somebody said nothing. Items are what is sampled: intervals are
percentile bootstraps over items (Efron & Tibshirani 1993), seeded. Items on which people said the same are exchangeable, so a
resample is one multinomial draw over distinct patterns, and 100,000 items cost no more than a few hundred.

- `percent`        share of pairs of answers that are equal
- `cohen`          two annotators (Cohen 1960; weights: Cohen 1968)
- `fleiss`         the same number of answers for each item (Fleiss 1971)
- `krippendorff`   any number of annotators, missing answers; nominal, ordinal, interval (Krippendorff 2011)
- `by_class`       Krippendorff's alpha of each class against all others
- `region_agreement`  boxes and spans, by those that overlap enough (`regions`) and carry the same label
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from everloop.stats.findings import Coefficient, Interval
from everloop.stats.regions import matched

Answer = Hashable | None
Table = Sequence[Sequence[Answer]]
"""Items by annotators; None is missing."""
Floats = NDArray[np.float64]
T = TypeVar("T")

ROUNDS = 1000


def percent(table: Table, *, rounds: int = ROUNDS, seed: int = 0) -> Coefficient:
    """Share of pairs of answers to the same item that are equal; each item counts once.

    >>> percent([["a", "a"], ["a", "b"], ["b", "b"], ["b", None]]).estimate
    0.6666666666666666
    """
    patterns = _Patterns(table)

    def value(weights: Floats) -> float | None:
        return _ratio(float(weights @ patterns.agreeing), float(weights.sum()))

    return patterns.judged("percent agreement", value, rounds, seed)


def cohen(
    first: Sequence[Answer],
    second: Sequence[Answer],
    *,
    weights: Literal["none", "linear", "quadratic"] = "none",
    categories: Sequence[Answer] = (),
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Coefficient:
    """Cohen's kappa of two annotators, over the items that both answered: ``(p_o - p_e) / (1 - p_e)``, with `p_e` the agreement
    of independent annotators with the same habits (Cohen 1960). Weighted by the distance of ordered categories: Cohen 1968.

    categories: in their order, for weights; else as they sort. Raises ValueError for lengths that differ.

    The usual example, 50 grant proposals (20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no):

    >>> one = ["yes"] * 25 + ["no"] * 25
    >>> two = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    >>> round(cohen(one, two).estimate, 10)
    0.4
    """
    if len(first) != len(second):
        raise ValueError(f"first and second have {len(first)} and {len(second)} answers")
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    known = list(categories) or _sorted({value for pair in pairs for value in pair})
    place = {value: at for at, value in enumerate(known)}
    size = len(known)
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    cost = {"none": (distance > 0).astype(np.float64), "linear": distance, "quadratic": distance**2}[weights]
    cells = np.zeros((size, size))
    for a, b in pairs:
        cells[place[a], place[b]] += 1

    def value(counts: Floats) -> float | None:
        seen = counts.reshape(size, size)
        total = float(seen.sum())
        if not total:
            return None
        expected = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / total
        chance = float((cost * expected).sum())
        return None if chance <= 0 else 1 - float((cost * seen).sum()) / chance

    flat = cells.ravel()
    return Coefficient("Cohen's kappa", value(flat), _bootstrap(value, flat, rounds, seed), len(pairs))


def fleiss(table: Table, *, rounds: int = ROUNDS, seed: int = 0) -> Coefficient:
    """Fleiss' kappa: any annotators, but the same number of answers to each item. Raises ValueError where that is not so.

    Fleiss 1971 has 30 patients; the smaller example in use since is 10 subjects, 14 raters, 5 categories:

    >>> counts = [(0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    ...           (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7)]
    >>> table = [[category for category, n in enumerate(row) for _ in range(n)] for row in counts]
    >>> round(fleiss(table).estimate, 3)
    0.21
    """
    patterns = _Patterns(table)
    if patterns.counts.size and len(set(patterns.sizes)) > 1:
        raise ValueError("items have different numbers of answers; use krippendorff")

    def value(weights: Floats) -> float | None:
        answers = weights @ patterns.counts
        total = float(answers.sum())
        if not total:
            return None
        chance = float(((answers / total) ** 2).sum())
        seen = float(weights @ patterns.agreeing) / float(weights.sum())
        return None if chance >= 1 else (seen - chance) / (1 - chance)

    return patterns.judged("Fleiss' kappa", value, rounds, seed)


def krippendorff(
    table: Table,
    *,
    level: Literal["nominal", "ordinal", "interval"] = "nominal",
    categories: Sequence[Answer] = (),
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Coefficient:
    """Krippendorff's alpha: ``1 - D_o / D_e``, observed over expected disagreement of pairs of answers within an item; any number
    of annotators, answers may be missing.

    categories: in their order, for ``ordinal``; else as they sort. For ``interval`` answers are numbers.

    The example of Krippendorff (2011), four observers and twelve units, prints .743, .815 and .849:

    >>> observers = ["123321412...", "1233224125.3", ".333234225 1.".replace(" ", ""), "12332441251."]
    >>> table = [[None if each == "." else int(each) for each in unit] for unit in zip(*observers)]
    >>> [round(krippendorff(table, level=level).estimate, 3) for level in ("nominal", "ordinal", "interval")]
    [0.743, 0.815, 0.849]
    """
    patterns = _Patterns(table, categories)
    name = f"Krippendorff's alpha ({level})"
    if level == "interval":
        return patterns.judged(name, _interval_alpha(patterns), rounds, seed)

    def value(weights: Floats) -> float | None:
        pairs = weights / (patterns.sizes - 1)
        seen = (patterns.counts.T * pairs) @ patterns.counts - np.diag(pairs @ patterns.counts)
        each = seen.sum(axis=1)
        total = float(each.sum())
        cost = _ordinal_cost(each) if level == "ordinal" else 1 - np.eye(each.size)
        expected = np.outer(each, each) - np.diag(each)
        chance = float((cost * expected).sum())
        return None if chance <= 0 else 1 - (total - 1) * float((cost * seen).sum()) / chance

    return patterns.judged(name, value, rounds, seed)


def by_class(
    table: Table, categories: Sequence[Answer] = (), *, rounds: int = ROUNDS, seed: int = 0
) -> dict[Any, Coefficient]:
    """Krippendorff's alpha of each class against all others: which class people do not tell apart.

    >>> found = by_class([["a", "a"], ["b", "c"], ["c", "b"], ["a", "a"]])
    >>> {name: round(each.estimate, 3) for name, each in found.items()}
    {'a': 1.0, 'b': -0.167, 'c': -0.167}
    """
    known = list(categories) or _sorted({each for row in table for each in row if each is not None})
    return {
        category: krippendorff(
            [[None if each is None else each == category for each in row] for row in table],
            rounds=rounds,
            seed=seed,
        )
        for category in known
    }


def region_agreement(
    items: Sequence[Sequence[Sequence[T]]],
    likeness: Callable[[T, T], float],
    *,
    least: float = 0.5,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Coefficient:
    """F1 of matched regions between every two annotators of an item, averaged over its pairs, then over items. Two who both
    drew nothing agree. `items`: for each item, the regions of each of its annotators.

    >>> box = (0.0, 0.0, 10.0, 10.0)
    >>> from everloop.stats.regions import iou
    >>> region_agreement([[[box], [box]], [[box], []], [[], []]], iou).estimate
    0.6666666666666666
    """
    scores = [_f1_of_item(people, likeness, least) for people in items if len(people) > 1]
    values = np.array(scores)

    def value(weights: Floats) -> float | None:
        return _ratio(float(weights @ values), float(weights.sum())) if values.size else None

    ones = np.ones(values.size)
    return Coefficient(f"F1 at IoU {least}", value(ones), _bootstrap(value, ones, rounds, seed), values.size)


def _f1_of_item(people: Sequence[Sequence[T]], likeness: Callable[[T, T], float], least: float) -> float:
    scores = []
    for i, first in enumerate(people):
        for second in people[i + 1 :]:
            drawn = len(first) + len(second)
            scores.append(2 * len(matched(first, second, likeness, least=least)) / drawn if drawn else 1.0)
    return sum(scores) / len(scores)


class _Patterns:
    """Distinct patterns of answers to an item, by how many answers fell on each category, and how often each pattern occurred.
    Items with fewer than two answers tell nothing.

    counts: patterns x categories. sizes: answers of a pattern. agreeing: share of its pairs that are equal.
    """

    def __init__(self, table: Table, categories: Sequence[Answer] = ()) -> None:
        self.categories = list(categories) or _sorted(
            {each for row in table for each in row if each is not None}
        )
        place = {value: at for at, value in enumerate(self.categories)}
        seen: dict[tuple[int, ...], int] = {}
        for row in table:
            pattern = tuple(sorted(place[each] for each in row if each is not None))
            if len(pattern) > 1:
                seen[pattern] = seen.get(pattern, 0) + 1
        self.counts = np.zeros((len(seen), len(self.categories)))
        for at, pattern in enumerate(seen):
            np.add.at(self.counts[at], list(pattern), 1)
        self.times = np.array(list(seen.values()), dtype=np.float64)
        self.sizes: Floats = self.counts.sum(axis=1)
        pairs = self.sizes * (self.sizes - 1)
        self.agreeing: Floats = (self.counts * (self.counts - 1)).sum(axis=1) / pairs

    def judged(
        self, name: str, value: Callable[[Floats], float | None], rounds: int, seed: int
    ) -> Coefficient:
        if not self.times.size:
            return Coefficient(name, None, None, 0)
        return Coefficient(
            name, value(self.times), _bootstrap(value, self.times, rounds, seed), int(self.times.sum())
        )


def _interval_alpha(patterns: _Patterns) -> Callable[[Floats], float | None]:
    """The same for squared distances, from sums alone: a table of all pairs of many distinct numbers would be large."""
    numbers = np.array(patterns.categories, dtype=np.float64)
    numbers = (
        numbers - numbers.mean() if numbers.size else numbers
    )  # the answer is the same, and rounding is less
    sums, squares = patterns.counts @ numbers, patterns.counts @ numbers**2
    within = 2 * (patterns.sizes * squares - sums**2) / (patterns.sizes - 1)

    def value(weights: Floats) -> float | None:
        total = float(weights @ patterns.sizes)
        spread = 2 * (total * float(weights @ squares) - float(weights @ sums) ** 2)
        # Of equal numbers only rounding would be left.
        if spread <= 1e-12 * total**2 * float(np.max(numbers**2, initial=0.0)):
            return None
        return 1 - (total - 1) * float(weights @ within) / spread

    return value


def _ordinal_cost(each: Floats) -> Floats:
    """Squared distance of ranks: how many answers lie between two categories, half of their own included."""
    middle = np.cumsum(each) - each / 2
    cost: Floats = np.subtract.outer(middle, middle) ** 2
    return cost


def _bootstrap(
    value: Callable[[Floats], float | None], times: Floats, rounds: int, seed: int, level: float = 0.95
) -> Interval | None:
    estimate, total = value(times), int(times.sum())
    if estimate is None or total < 2 or rounds < 1:
        return None
    draws = np.random.default_rng(seed).multinomial(total, times / times.sum(), size=rounds)
    found = [each for each in (value(draw.astype(np.float64)) for draw in draws) if each is not None]
    if len(found) < rounds / 2:  # too often nothing to tell: the interval would be of the lucky draws alone
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), level)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _sorted(values: set[Any]) -> list[Any]:
    """Categories in a stable order: numbers by size, all else as text."""
    numbers = all(isinstance(each, int | float) for each in values)
    return sorted(values) if numbers else sorted(values, key=str)
