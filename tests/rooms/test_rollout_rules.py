"""The state machine of a rollout, as a law: whatever is read, in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.deployments import Arm, Mode, checked_arms
from everloop.domain.rollouts import (
    LIVE,
    TERMINAL,
    ColumnParity,
    Decision,
    Evidence,
    Goal,
    Plan,
    State,
    Strategy,
    Verdict,
    decide,
    plan,
    weight_of,
)
from everloop.errors import InvalidDefinition
from everloop.rollout.arms import arms_for
from everloop.rollout.units import CONVERSIONS, likely_cause

e_values = st.floats(0, 200)
plans = st.builds(
    Plan,
    strategy=st.sampled_from(list(Strategy)),
    goal=st.sampled_from(list(Goal)),
    weights=st.lists(st.sampled_from([0.05, 0.1, 0.25, 0.5]), min_size=1, max_size=3, unique=True).map(
        lambda w: tuple(sorted(w))
    ),
    step_days=st.integers(0, 5),
    minimum_blocks=st.integers(1, 10),
)
columns = st.builds(
    ColumnParity, column=st.sampled_from("ab"), compared=st.just(100), different=st.integers(0, 100)
)
evidences = st.builds(
    Evidence,
    days_in_stage=st.floats(0, 60),
    days_in_step=st.floats(0, 60),
    parity_applies=st.booleans(),
    parity_rows=st.integers(0, 1000),
    parity=st.lists(columns, max_size=2).map(tuple),
    blocks=st.integers(0, 60),
    gain=st.none() | st.floats(-0.1, 0.1),
    e_gain=e_values,
    e_harm=e_values,
    e_no_worse=e_values,
    e_errors=e_values,
    requests=st.integers(0, 1000),
)


def run(plan: Plan, seen: list[Evidence]) -> list[tuple[State, Decision]]:
    state, step, taken = plan.route[0], 0, []
    for evidence in seen:
        if state in TERMINAL:
            break
        decision = decide(plan, state, step, evidence)
        taken.append((state, decision))
        state, step = decision.state, decision.step
    return taken


@given(plans, st.lists(evidences, max_size=30))
def test_every_path_is_one_a_person_would_allow(plan: Plan, seen: list[Evidence]) -> None:
    weight = weight_of(plan, plan.route[0], 0)
    for (before, decision), evidence in zip(run(plan, seen), seen, strict=False):
        broken = any(column.share > plan.parity_share for column in evidence.parity)
        harmed = broken or evidence.e_harm >= plan.harm_bar or evidence.e_errors >= plan.harm_bar
        # Harm ends it at once, whatever else was read; and nothing but harm does.
        assert (decision.state in {State.ROLLED_BACK, State.STOPPED}) == harmed
        if harmed:
            assert decision.state is (State.ROLLED_BACK if before in LIVE else State.STOPPED)
            assert decision.weight == 0
        # A candidate never gets live traffic it was not stepped to: the weight only rises, one step at a time.
        elif decision.state not in TERMINAL:
            assert decision.weight >= weight
            assert decision.weight in {0.0, 1.0, *plan.weights}
        # It takes over only on what the plan calls enough.
        if decision.verdict is Verdict.PROMOTE and before is not State.BAKING:
            enough = evidence.e_gain if plan.goal is Goal.GAIN else max(evidence.e_gain, evidence.e_no_worse)
            assert enough >= plan.bar
            assert evidence.blocks >= plan.minimum_blocks
        assert decision.reason
        weight = decision.weight


@given(plans, evidences)
def test_hold_moves_nothing(plan: Plan, evidence: Evidence) -> None:
    state = plan.route[0]
    decision = decide(plan, state, 0, evidence)
    if decision.verdict in {Verdict.HOLD, Verdict.CONTINUE}:
        assert (decision.state, decision.step) == (state, 0)


@given(plans, st.sampled_from(list(State)), st.integers(0, 2))
def test_the_arms_of_every_state_can_be_deployed(plan: Plan, state: State, step: int) -> None:
    step = min(step, len(plan.weights) - 1)
    arms = checked_arms(arms_for(plan, state, step, Arm("champion", "model:m@v1"), "model:m@v2", {}))
    live = {arm.model: arm.weight for arm in arms if arm.mode is Mode.LIVE}
    assert live.get("model:m@v2", 0.0) == pytest.approx(weight_of(plan, state, step))


def test_evidence_that_does_not_suffice_in_time_is_a_hold_with_the_reason() -> None:
    decision = decide(
        Plan(shadow_days=30), State.SHADOW, 0, Evidence(days_in_stage=31, blocks=30, e_gain=8.1, gain=0.012)
    )
    assert decision.verdict is Verdict.HOLD
    assert "8.10 of 20" in decision.reason
    assert "30 days" in decision.reason


def test_a_column_fed_in_another_unit_is_named_with_its_share_and_likely_cause() -> None:
    column = ColumnParity("temp", 200, 199, "Celsius where Fahrenheit was meant")
    decision = decide(Plan(), State.PARITY, 0, Evidence(parity_rows=200, parity=(column,)))
    assert decision.state is State.STOPPED
    assert "'temp'" in decision.reason
    assert "199 of 200" in decision.reason
    assert "Celsius" in decision.reason


@given(
    st.sampled_from(CONVERSIONS),
    st.lists(st.integers(-400, 4000).map(lambda n: n / 10), min_size=3, max_size=6, unique=True),
)
def test_a_change_of_unit_is_recognised(conversion: tuple[float, float, str], expected: list[float]) -> None:
    slope, offset, name = conversion
    assert likely_cause([slope * value + offset for value in expected], expected).startswith(name)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"strategy": "shadwo"}, "shadwo"),
        ({"weights": (0.5, 0.1)}, "rise"),
        ({"loss": "logloss"}, "logloss"),
        ({"alpha": 0}, "alpha"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(settings: dict[str, object], part: str) -> None:
    with pytest.raises(InvalidDefinition, match=part):
        plan(**settings)  # type: ignore[arg-type]
