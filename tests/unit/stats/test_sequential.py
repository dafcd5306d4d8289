"""Anytime-valid tests: the promise under the null, power under the alternative, and going on from JSON."""

import math
from typing import TypeVar

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.sequential import (
    ErrorDetector,
    ErrorGuard,
    MeanBet,
    MeanSequence,
    PairedTrial,
    decide,
)

T = TypeVar("T", bound=msgspec.Struct)

VALUES = st.lists(st.floats(-0.3, 0.3), max_size=30)
LOOKS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 5), st.integers(0, 400), st.integers(0, 8)).map(
        lambda look: (look[0], min(look[1], look[0]), look[2], min(look[3], look[2]))
    ),
    max_size=15,
)


def through_json(state: T) -> T:
    return msgspec.json.decode(msgspec.json.encode(state), type=type(state))


# --- the promise: looked at after every block, a true null is rejected with probability at most alpha


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("shape", ["normal", "skewed", "two_points"])
def test_a_true_null_is_rarely_rejected_although_every_day_is_looked_at(side: str, shape: str) -> None:
    rng = np.random.default_rng(11)
    repetitions, days = 400, 150
    draws = {
        "normal": lambda: rng.normal(0, 0.05, (repetitions, days)).clip(-0.1, 0.1),
        # mean zero, with rare large losses
        "skewed": lambda: np.where(rng.random((repetitions, days)) < 0.1, -0.09, 0.01),
        "two_points": lambda: rng.choice([-0.1, 0.1], (repetitions, days)),
    }[shape]()
    alpha = 0.1
    rejected = sum(
        MeanBet.start(clip=0.1, side=side).update_all(row).rejects(alpha) for row in draws.tolist()
    )
    # Two binomial standard deviations above alpha would be .13; a broken process gives .3 and more.
    assert rejected / repetitions <= 0.13


def test_a_test_repeated_every_day_would_not_keep_that_promise() -> None:
    rng = np.random.default_rng(12)
    x = rng.normal(0, 1, (400, 150))
    n = np.arange(1, 151)
    t = np.cumsum(x, axis=1) / np.sqrt(n)
    assert (t[:, 5:].max(axis=1) > 1.28).mean() > 0.4


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.5])
def test_a_healthy_canary_is_rarely_rolled_back(rate: float) -> None:
    rng = np.random.default_rng(13)
    rejected = 0
    for _ in range(300):
        guard = ErrorGuard.start()
        # The weight grows on the way, as in a real rollout.
        for canary, baseline in [(50, 450)] * 20 + [(250, 250)] * 20 + [(400, 100)] * 20:
            guard = guard.update(canary, rng.binomial(canary, rate), baseline, rng.binomial(baseline, rate))
        rejected += guard.rejects(0.1)
    assert rejected / 300 <= 0.13


def test_the_exact_expectation_under_the_null_is_at_most_one() -> None:
    """Not simulated: all outcomes of one small look, enumerated, for several rates."""
    for rate in (0.05, 0.3, 0.9):
        expectation = 0.0
        for a in range(7):
            for b in range(11):
                p = math.comb(6, a) * math.comb(10, b) * rate ** (a + b) * (1 - rate) ** (16 - a - b)
                expectation += p * ErrorGuard.start().update(6, a, 10, b).e_value
        assert expectation <= 1 + 1e-12


def test_confidence_sequence_covers_at_all_times_at_once() -> None:
    rng = np.random.default_rng(14)
    missed = 0
    for _ in range(60):
        sequence = MeanSequence.start(clip=1.0)
        for value in rng.beta(2, 3, 40):
            sequence = sequence.update(value)
            if not sequence.interval(level=0.8).contains(0.4):
                missed += 1
                break
    assert missed / 60 <= 0.3


def test_detector_keeps_its_run_length() -> None:
    rng = np.random.default_rng(15)
    alarms = 0
    for _ in range(10):
        detector = ErrorDetector.start(errors=400, rows=4000, run_length=10_000)
        alarms += detector.update_all((rng.random(5000) < 0.1).tolist()).alarmed_at is not None
    # 50,000 rows at the promised 10,000 a false alarm: 5 expected at most; the margin in p0 leaves fewer.
    assert alarms <= 5


# --- power, on effects measured on real flights


def test_a_real_gain_is_found_in_about_a_month_of_days() -> None:
    rng = np.random.default_rng(16)
    found = []
    for _ in range(60):
        trial = PairedTrial.start(clip=0.1)
        for day, difference in enumerate(rng.normal(0.03, 0.047, 90).tolist(), start=1):
            trial = trial.update(difference)
            if trial.decide().action == "promote":
                found.append(day)
                break
    assert len(found) == 60
    assert 10 < np.median(found) < 40


def test_the_interval_shown_agrees_with_the_verdict() -> None:
    rng = np.random.default_rng(20)
    trial = PairedTrial.start(clip=0.1)
    for difference in rng.normal(0.03, 0.047, 60).tolist():
        trial = trial.update(difference)
        assert (trial.interval().low > 0) == (trial.decide(alpha=0.05).action == "promote")


def test_a_harmful_candidate_is_rolled_back_and_never_promoted() -> None:
    rng = np.random.default_rng(17)
    trial = PairedTrial.start(clip=0.1, margin=0.01)
    actions = []
    for difference in rng.normal(-0.055, 0.05, 30).tolist():
        trial = trial.update(difference)
        actions.append(trial.decide(accept_non_inferior=True).action)
    assert "promote" not in actions
    assert actions[-1] == "rollback"


def test_a_canary_with_five_times_the_errors_is_caught_early() -> None:
    rng = np.random.default_rng(18)
    guard = ErrorGuard.start()
    for _ in range(20):
        guard = guard.update(50, rng.binomial(50, 0.10), 450, rng.binomial(450, 0.02))
        if guard.rejects(0.05):
            break
    assert guard.canary_requests <= 300
    assert guard.rate_ratio > 2


def test_detector_finds_a_risen_error_rate_soon_after_it_rose() -> None:
    rng = np.random.default_rng(19)
    losses = np.concatenate([rng.random(5000) < 0.11, rng.random(3000) < 0.27])
    detector = ErrorDetector.start(errors=440, rows=4000).update_all(losses.tolist())
    assert detector.alarmed_at is not None
    assert 5000 < detector.alarmed_at < 5400


# --- states: stored, continued, monotone


@given(VALUES, st.integers(0, 30))
def test_a_trial_continued_from_json_is_the_trial_run_through(values: list[float], cut: int) -> None:
    start = PairedTrial.start(clip=0.2, margin=0.05)
    stored = through_json(start.update_all(values[:cut]))
    assert stored.update_all(values[cut:]) == start.update_all(values)


@given(LOOKS, st.integers(0, 15))
def test_a_guard_continued_from_json_is_the_guard_run_through(
    looks: list[tuple[int, int, int, int]], cut: int
) -> None:
    through = stored = ErrorGuard.start()
    for i, look in enumerate(looks):
        if i == cut:
            stored = through_json(stored)
        through, stored = through.update(*look), stored.update(*look)
    assert through == through_json(stored)


@given(st.lists(st.booleans(), max_size=200), st.integers(0, 200))
def test_a_detector_continued_from_json_is_the_detector_run_through(losses: list[bool], cut: int) -> None:
    start = ErrorDetector.start(errors=5, rows=100, run_length=50)
    assert through_json(start.update_all(losses[:cut])).update_all(losses[cut:]) == start.update_all(losses)


@given(st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=20), st.floats(0, 0.1))
def test_more_gain_is_never_less_evidence(values: list[float], more: float) -> None:
    bet = MeanBet.start(clip=0.2)
    lifted = bet.update_all(value + more for value in values)
    assert lifted.log_peak >= bet.update_all(values).log_peak - 1e-12
    easier = MeanBet.start(clip=0.2, null=-0.05).update_all(values)
    assert easier.log_peak >= bet.update_all(values).log_peak - 1e-12


@given(st.lists(st.floats(-1, 1), max_size=25))
def test_intervals_are_nested_and_agree_with_the_bet(values: list[float]) -> None:
    sequence, bet = MeanSequence.start(clip=1.0), MeanBet.start(clip=1.0)
    excluded = -1.0
    for value in values:
        sequence, bet = sequence.update(value), bet.update(value)
        low = sequence._excluded_up_to(np.asarray(sequence.values), math.log(2 / 0.05))
        assert low >= excluded - 1e-9
        excluded = low
        if abs(low) > 1e-9:  # zero itself is excluded exactly when the bet against zero has won
            assert (low > 0) == bet.rejects(0.025)


@given(st.floats(-1e308, 1e308))
def test_one_wild_value_cannot_ruin_or_decide(value: float) -> None:
    bet = MeanBet.start(clip=0.1).update(value)
    assert 0 < bet.e_value < 2


def test_long_evidence_still_fits_into_json() -> None:
    bet = MeanBet.start(clip=1.0).update_all([1.0] * 3000)
    assert bet.peak < math.inf
    assert through_json(bet) == bet
    assert decide(gain=bet.peak, harms={}, blocks=3000).action == "promote"


# --- verdicts


def test_harm_goes_before_gain() -> None:
    assert decide(gain=100, harms={"loss": 50}, blocks=5).action == "rollback"


def test_several_guards_share_alpha() -> None:
    assert decide(gain=1, harms={"loss": 25}, blocks=5).action == "rollback"
    assert decide(gain=1, harms={"loss": 25, "errors": 1}, blocks=5).action == "continue"
    assert decide(gain=1, harms={"loss": 25, "errors": 41}, blocks=5).action == "rollback"


def test_promotion_waits_for_the_minimum_and_rollback_does_not() -> None:
    assert decide(gain=100, harms={"loss": 1}, blocks=3, minimum_blocks=7).action == "continue"
    assert decide(gain=100, harms={"loss": 1}, blocks=7, minimum_blocks=7).action == "promote"
    assert decide(gain=1, harms={"loss": 30}, blocks=1, minimum_blocks=7).action == "rollback"


def test_too_little_evidence_in_time_is_a_hold_that_says_so() -> None:
    verdict = decide(gain=7.0, harms={"loss": 1.2}, blocks=30, maximum_blocks=30)
    assert verdict.action == "hold"
    assert verdict.reason == "30 blocks, the most allowed, do not suffice: evidence 7 to 1, 20 needed"
    assert not verdict.evidence["gain"].suffices


def test_non_inferiority_promotes_only_where_the_policy_takes_it() -> None:
    trial = PairedTrial.start(clip=0.1, margin=0.02).update_all([0.001, -0.001] * 60)
    assert trial.decide().action == "continue"
    verdict = trial.decide(accept_non_inferior=True)
    assert verdict.action == "promote"
    assert "margin" in verdict.reason


@pytest.mark.parametrize(
    "call",
    [
        lambda: MeanBet.start(clip=0),
        lambda: MeanBet.start(clip=1, null=1),
        lambda: MeanBet.start(clip=1, stakes=(1.0,)),
        lambda: MeanBet.start(clip=1).update(float("nan")),
        lambda: MeanSequence.start(clip=1).update(float("inf")),
        lambda: ErrorGuard.start().update(1, 2, 10, 0),
        lambda: ErrorGuard.start((0.9,)),
        lambda: ErrorDetector.start(errors=1, rows=10).update(1.5),
        lambda: ErrorDetector.start(errors=10, rows=10, stakes=(1.0,)),
        lambda: PairedTrial.start(clip=0.1, margin=0.1),
        lambda: decide(gain=float("nan"), harms={}, blocks=1),
        lambda: decide(gain=1, harms={"gain": 1}, blocks=1),
        lambda: decide(gain=1, harms={}, blocks=1, alpha=0),
        lambda: decide(gain=1, harms={}, blocks=1, minimum_blocks=5, maximum_blocks=4),
    ],
)
def test_senseless_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError, match=r"must|leaves|below|may not"):
        call()
