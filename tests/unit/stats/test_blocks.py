"""Block tests keep their promise when the rows of a day move together; row tests would not."""

import numpy as np
import pytest
from scipy import stats as reference

from everloop.stats.blocks import block_aucs, block_means, mean_above, paired_differences, paired_t
from everloop.stats.intervals import wilson


def test_paired_t_agrees_with_scipy_on_the_block_means() -> None:
    rng = np.random.default_rng(1)
    days = np.repeat(np.arange(20), 30)
    first, second = rng.random(600), rng.random(600)
    means = paired_differences(days, first, second).means
    theirs = reference.ttest_1samp(means, 0.0, alternative="greater")
    mine = paired_t(days, first, second)
    assert mine is not None
    assert (mine.blocks, mine.rows) == (20, 600)
    assert mine.t == pytest.approx(theirs.statistic)
    assert mine.p == pytest.approx(theirs.pvalue)
    low, high = reference.ttest_1samp(means, 0.0).confidence_interval(0.95)
    assert (mine.low, mine.high) == pytest.approx((low, high))


def test_against_a_reference_period_agrees_with_welch() -> None:
    rng = np.random.default_rng(2)
    now, before = rng.normal(0.2, 1, 9), rng.normal(0, 3, 31)
    mine = mean_above(block_means(range(9), now), block_means(range(31), before))
    theirs = reference.ttest_ind(now, before, equal_var=False, alternative="greater")
    assert mine is not None
    assert mine.t == pytest.approx(theirs.statistic)
    assert mine.p == pytest.approx(theirs.pvalue)


def test_false_alarms_stay_at_the_level_although_rows_are_dependent() -> None:
    rng = np.random.default_rng(5)
    days = np.repeat(np.arange(15), 40)
    alarms = rows_alarm = 0
    for _ in range(800):
        losses = np.repeat(rng.normal(0, 1, 15), 40) + rng.normal(0, 1, 600)
        test = paired_t(days, losses, np.zeros(600))
        assert test is not None
        alarms += test.p < 0.05
        rows_alarm += reference.ttest_1samp(losses, 0, alternative="greater").pvalue < 0.05
    assert wilson(alarms, 800, level=0.999).contains(0.05)
    assert rows_alarm > 0.25 * 800  # what blocking protects from


def test_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    days, values = rng.integers(0, 9, 200), rng.random(200)
    shuffled = rng.permutation(200)
    one, two = block_means(days, values), block_means(days[shuffled], values[shuffled])
    assert (one.keys, one.rows) == (two.keys, two.rows)
    assert one.means == pytest.approx(two.means)


def test_auc_within_days_is_blind_to_differences_between_days() -> None:
    days = np.array([1] * 4 + [2] * 4)
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    scores = np.array([0.1] * 4 + [0.9] * 4)  # tells the bad day from the good one, and nothing else
    assert block_aucs(days, labels, scores).means == (0.5, 0.5)


def test_too_few_blocks_cannot_tell() -> None:
    assert paired_t([1, 1], [0.5, 0.6], [0.1, 0.2]) is None
    assert mean_above(block_means([1, 2], [1, 2]), block_means([1], [1])) is None
    assert paired_t([1, 1, 2], [1, 1, 1], [0, 0, 0], minimum_rows=2) is None


def test_equal_blocks_do_not_divide_by_zero() -> None:
    same = paired_t([1, 2, 3], [1, 1, 1], [1, 1, 1])
    assert same is not None
    assert (same.t, same.p) == (0.0, 0.5)


def test_a_missing_day_is_refused() -> None:
    with pytest.raises(ValueError, match="keys has a missing value at row 1"):
        block_means(np.array(["a", None], dtype=object), [1, 2])
