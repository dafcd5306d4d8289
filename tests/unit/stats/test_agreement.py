"""Agreement: laws that hold for any answers, and a slow obvious implementation of alpha."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.agreement import (
    cohen,
    fleiss,
    krippendorff,
    percent,
    region_agreement,
)
from everloop.stats.regions import iou, matched, overlap

answers = st.sampled_from([None, 1, 2, 3, 4])
tables = st.integers(2, 5).flatmap(
    lambda people: st.lists(st.lists(answers, min_size=people, max_size=people), max_size=12)
)


def slow_alpha(table: list[list[int | None]], level: str) -> float | None:
    """Krippendorff (2011), pair by pair."""
    units = [[each for each in row if each is not None] for row in table]
    units = [unit for unit in units if len(unit) > 1]
    values = [each for unit in units for each in unit]
    if not values:
        return None
    counts = {each: values.count(each) for each in sorted(set(values))}

    def cost(a: int, b: int) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return float((a - b) ** 2)
        low, high = min(a, b), max(a, b)
        between = sum(n for each, n in counts.items() if low <= each <= high)
        return (between - (counts[low] + counts[high]) / 2) ** 2

    seen = sum(
        cost(a, b) / (len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2)
    ) / len(values)
    chance = sum(cost(a, b) for a, b in itertools.permutations(values, 2)) / (len(values) * (len(values) - 1))
    return None if chance == 0 else 1 - seen / chance


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@given(table=tables)
def test_alpha_is_what_pairs_say(table: list[list[int | None]], level: str) -> None:
    found = krippendorff(table, level=level, rounds=0).estimate  # type: ignore[arg-type]
    expected = slow_alpha(table, level)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))


@given(table=tables, seed=st.integers(0, 100))
def test_neither_the_order_of_items_nor_of_people_matters(table: list[list[int | None]], seed: int) -> None:
    turned = [list(reversed(row)) for row in reversed(table)]
    for measure in (percent, krippendorff):
        before, after = measure(table, rounds=0), measure(turned, rounds=0)
        assert before.items == after.items
        assert before.estimate == (None if after.estimate is None else pytest.approx(after.estimate))


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=30).filter(lambda each: len(set(each)) > 1))
def test_who_says_the_same_agrees_completely(said: list[str]) -> None:
    table = [[each, each, each] for each in said]
    assert cohen(said, said, rounds=0).estimate == 1
    for measure in (percent, fleiss, krippendorff):
        found = measure(table, rounds=50)
        assert found.estimate == pytest.approx(1)
        assert found.interval is None or found.interval.low == pytest.approx(1)


def test_weighted_kappa_is_that_of_the_textbook() -> None:
    """Two by two, quadratic and linear weights are those of plain kappa; on three grades, hand-worked: 1 - 10 / (90 / 4)."""
    one, two = [1, 1, 2, 2, 1], [1, 2, 2, 2, 1]
    plain = cohen(one, two, rounds=0).estimate
    assert cohen(one, two, weights="quadratic", rounds=0).estimate == plain
    assert cohen(one, two, weights="linear", rounds=0).estimate == plain
    graded = cohen([1, 2, 3, 3], [1, 2, 3, 1], weights="quadratic", rounds=0).estimate
    # Seen: 4 / 4. By chance, from rows (1, 1, 2) and columns (2, 1, 1): (1*1 + 1*4 + 1*2 + 1*1 + 2*2*4 + 2*1*1) / 16.
    assert graded == pytest.approx(1 - (4 / 4) / (26 / 16))


def test_intervals_shrink_with_more_items_and_hold_the_estimate() -> None:
    few = [[1, 1], [2, 2], [1, 2], [2, 2], [1, 1], [2, 1]]
    small, large = krippendorff(few), krippendorff(few * 20)
    assert small.interval is not None
    assert large.interval is not None
    assert small.interval.contains(small.estimate)
    assert large.interval.high - large.interval.low < (small.interval.high - small.interval.low) / 3
    assert krippendorff(few, seed=5) == krippendorff(few, seed=5)


def test_what_cannot_be_told_is_none() -> None:
    assert percent([]).estimate is None
    assert krippendorff([[1, None], [None, 2]]).estimate is None
    assert krippendorff([[1, 1], [1, 1]]).estimate is None
    assert cohen([None], [1]).estimate is None
    with pytest.raises(ValueError, match="different numbers"):
        fleiss([[1, 1, 1], [1, 2, None]])
    with pytest.raises(ValueError, match="3 and 2"):
        cohen([1, 2, 3], [1, 2])


boxes = st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(1, 50)] * 2)


@given(first=boxes, second=boxes, stretch=st.floats(0.1, 10))
def test_overlap_of_boxes_does_not_depend_on_the_shape_of_the_picture(
    first: tuple[float, ...], second: tuple[float, ...], stretch: float
) -> None:
    def wide(box: tuple[float, ...]) -> tuple[float, ...]:
        return (box[0] * stretch, box[1], box[2] * stretch, box[3])

    assert iou(first, second) == pytest.approx(iou(wide(first), wide(second)), abs=1e-6)
    assert iou(first, second) == iou(second, first)
    assert 0 <= iou(first, second) <= 1 + 1e-12
    assert iou(first, first) == pytest.approx(1)


@given(st.lists(boxes, max_size=5), st.lists(boxes, max_size=5))
def test_each_box_is_matched_once(first: list[tuple[float, ...]], second: list[tuple[float, ...]]) -> None:
    found = matched(first, second, iou)
    assert len({i for i, _, _ in found}) == len({j for _, j, _ in found}) == len(found)
    assert all(alike >= 0.5 and alike == iou(first[i], second[j]) for i, j, alike in found)


def test_regions_agree_as_far_as_they_have_a_fellow() -> None:
    assert overlap((0, 4), (10, 12)) == 0
    people = [[[(0, 4), (10, 14)], [(0, 4)]], [[], []]]
    found = region_agreement(people, overlap, rounds=0)
    assert (found.estimate, found.items) == (pytest.approx((2 / 3 + 1) / 2), 2)
