"""Group rates agree with counting by hand, and a group that cannot be told is not given a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.fairness import GroupCounts, count_groups, merge_counts, report

ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 1), st.sampled_from([0.0, 1.0, float("nan")])),
    min_size=1,
    max_size=80,
)


@given(ROWS, ROWS)
def test_counting_windows_and_adding_is_counting_all(first: list[tuple], second: list[tuple]) -> None:
    def counted(rows: list[tuple]) -> dict[str, GroupCounts]:
        groups, predictions, labels = zip(*rows, strict=True)
        return count_groups(groups, predictions, labels)

    assert merge_counts([counted(first), counted(second)]) == counted(first + second)


@given(ROWS)
def test_rates_are_those_counted_by_hand(rows: list[tuple[str, int, float]]) -> None:
    groups, predictions, labels = zip(*rows, strict=True)
    for found in report(count_groups(groups, predictions, labels), minimum_rows=1).groups:
        chosen = [d for g, d, _ in rows if g == found.group]
        assert found.selection is not None
        assert found.selection.estimate == pytest.approx(np.mean(chosen))
        of_positives = [d for g, d, y in rows if g == found.group and y == 1]
        of_negatives = [d for g, d, y in rows if g == found.group and y == 0]
        for rate, values in ((found.true_positive, of_positives), (found.false_positive, of_negatives)):
            assert (rate is None) == (not values)
            if rate is not None:
                assert rate.estimate == pytest.approx(np.mean(values))
                assert rate.contains(rate.estimate)


def test_a_group_without_positives_has_no_true_positive_rate() -> None:
    counts = {
        "a": GroupCounts(rows=100, selected=50, tp=40, fp=10, fn=10, tn=40),
        "b": GroupCounts(rows=100, selected=50, tp=0, fp=50, fn=0, tn=50),
    }
    found = report(counts)
    assert found.groups[1].true_positive is None
    assert found.equal_opportunity_difference is None
    assert found.equalized_odds_difference is None
    assert found.demographic_parity_difference == 0
    assert found.four_fifths is True


def test_spreads_of_three_groups() -> None:
    counts = {
        "a": GroupCounts(rows=200, selected=100, tp=80, fp=20, fn=20, tn=80),
        "b": GroupCounts(rows=200, selected=60, tp=50, fp=10, fn=50, tn=90),
        "tiny": GroupCounts(rows=3, selected=0, tn=3),
    }
    found = report(counts)
    assert found.demographic_parity_difference == pytest.approx(0.2)
    assert found.demographic_parity_ratio == pytest.approx(0.6)
    assert found.equal_opportunity_difference == pytest.approx(0.3)
    assert found.equalized_odds_difference == pytest.approx(0.3)
    assert found.four_fifths is False
    assert found.too_small == ("tiny",)


def test_nobody_selected_has_no_ratio() -> None:
    found = report({"a": GroupCounts(50, 0), "b": GroupCounts(50, 0)})
    assert (found.demographic_parity_ratio, found.four_fifths) == (None, None)
    assert found.demographic_parity_difference == 0


def test_a_missing_group_is_a_group() -> None:
    assert set(count_groups(np.array(["a", None], dtype=object), [1, 0])) == {"a", "(missing)"}


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="predictions must be 0 or 1"):
        count_groups(["a"], [0.4])
    with pytest.raises(ValueError, match="labels has shape"):
        count_groups(["a", "b"], [0, 1], [1])
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        count_groups(["a"], [1], [3])
