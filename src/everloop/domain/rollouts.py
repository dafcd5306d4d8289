"""How traffic moves from one model to the next, as a pure state machine: what was read goes in, what to do
comes out.

    parity ──► shadow ──► canary (weights) ──► promoted
       │          │          │
       ▼          ▼          ▼
    stopped    stopped    rolled_back            and `aborted` by a person, from everywhere

**Parity** compares the feature values a model was really fed with the ones recomputed from the source: it
needs no label, so it runs in every stage and always first. **Shadow** lets the candidate score the same
requests unseen. **Canary** gives it a growing share of them. Losses are compared in blocks of days, because
the requests of one day depend on each other.

All evidence is anytime-valid: an e-value that may be looked at every day. Under "no gain" (or "no harm") the
chance that it ever reaches 1/alpha is at most alpha (Ville 1939). Where a stage's time is over and the
evidence has not decided, the verdict is **hold**: nothing moves, the evidence goes on collecting, and the
reason is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from everloop.domain.names import checked_name
from everloop.errors import InvalidDefinition, nearest


class Strategy(StrEnum):
    """How a candidate first meets traffic."""

    SHADOW = "shadow"
    """Unseen first, then as canary: the careful way, and the default."""
    CANARY = "canary"
    """A small share of live traffic at once."""
    BLUEGREEN = "bluegreen"
    """All traffic at once, the old model kept ready beside it while the new one bakes."""
    AB = "ab"
    """A fixed split until the evidence says which is better."""


class State(StrEnum):
    PARITY = "parity"
    SHADOW = "shadow"
    CANARY = "canary"
    BAKING = "baking"
    SPLIT = "split"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"
    """Refused before it answered any live request."""
    ABORTED = "aborted"


TERMINAL = frozenset({State.PROMOTED, State.ROLLED_BACK, State.STOPPED, State.ABORTED})
LIVE = frozenset({State.CANARY, State.BAKING, State.SPLIT})
"""The states in which the candidate answers live requests."""

ROUTE: dict[Strategy, tuple[State, ...]] = {
    Strategy.SHADOW: (State.PARITY, State.SHADOW, State.CANARY),
    Strategy.CANARY: (State.CANARY,),
    Strategy.BLUEGREEN: (State.BAKING,),
    Strategy.AB: (State.SPLIT,),
}


class Verdict(StrEnum):
    CONTINUE = "continue"
    """In time; evidence is being collected."""
    HOLD = "hold"
    """The stage's time is over and the evidence does not decide. Nothing moves; collecting goes on."""
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    STOP = "stop"


class Goal(StrEnum):
    """What a candidate must show before it takes over."""

    GAIN = "gain"
    """That its loss is lower."""
    NO_WORSE = "no_worse"
    """That its loss is not higher by more than the margin: for a model that is cheaper, fairer or newer at
    equal quality."""


LOSSES = ("log_loss", "squared_error", "absolute_error")


class Plan(msgspec.Struct, frozen=True):
    """How a rollout is to be decided; see `plan` for the meaning of each number."""

    strategy: Strategy = Strategy.SHADOW
    goal: Goal = Goal.GAIN
    loss: str = "log_loss"
    alpha: float = 0.05
    clip: float = 0.1
    margin: float = 0.005
    minimum_blocks: int = 7
    minimum_rows: int = 100
    parity_rows: int = 200
    parity_share: float = 0.005
    parity_tolerance: float = 1e-6
    parity_days: int = 3
    parity_every_days: float = 7
    shadow_days: int = 42
    weights: tuple[float, ...] = (0.1, 0.5)
    step_days: int = 3
    step_requests: int = 100
    canary_days: int = 42

    @property
    def bar(self) -> float:
        """The e-value that decides: 1/alpha."""
        return 1 / self.alpha

    @property
    def harm_bar(self) -> float:
        """The e-value of one harm that decides: two harms (losses, errors) are watched and share alpha."""
        return 2 / self.alpha

    @property
    def route(self) -> tuple[State, ...]:
        return ROUTE[self.strategy]


def plan(
    *,
    strategy: Strategy | str = Strategy.SHADOW,
    goal: Goal | str = Goal.GAIN,
    loss: str = "log_loss",
    alpha: float = 0.05,
    clip: float = 0.1,
    margin: float = 0.005,
    minimum_blocks: int = 7,
    minimum_rows: int = 100,
    parity_rows: int = 200,
    parity_share: float = 0.005,
    parity_tolerance: float = 1e-6,
    parity_days: int = 3,
    parity_every_days: float = 7,
    shadow_days: int = 42,
    weights: Sequence[float] = (0.1, 0.5),
    step_days: int = 3,
    step_requests: int = 100,
    canary_days: int = 42,
) -> Plan:
    """Declare how a rollout is decided (``ev.rollout_plan``). Raises InvalidDefinition.

    alpha: bound on the chance that an e-process ever decides wrongly. clip: daily mean loss differences are
    cut to [-clip, clip] before they are bet on, in the unit of the loss; nothing is known about the mean
    otherwise. margin: how much worse still counts as no worse. minimum_blocks: day blocks before a gain may
    decide. minimum_rows: paired rows that make a block. parity_*: rows to compare, the share of rows of one
    column that may differ, the relative tolerance, days before it holds, days between later checks.
    shadow_days, canary_days: after this long without a decision the verdict is hold. weights: the canary's
    steps (an A/B test uses the first). step_days, step_requests: what each step must have seen; a blue/green
    switch bakes for step_days.

    >>> plan(weights=(0.05, 0.25)).bar
    20.0
    """
    for given, kind in ((strategy, Strategy), (goal, Goal)):
        if str(given) not in [str(each) for each in kind]:
            raise InvalidDefinition(
                f"there is no rollout {kind.__name__.lower()} '{given}'",
                hint=nearest(str(given), [str(each) for each in kind])
                or "one of " + ", ".join(str(each) for each in kind),
            )
    if loss not in LOSSES:
        raise InvalidDefinition(
            f"there is no loss '{loss}'", hint=nearest(loss, LOSSES) or "one of " + ", ".join(LOSSES)
        )
    if not weights or not all(0 < weight < 1 for weight in weights) or list(weights) != sorted(set(weights)):
        raise InvalidDefinition(
            "a rollout's weights must rise within (0, 1)", hint="for example weights=(0.1, 0.5)"
        )
    if not 0 < alpha < 1 or clip <= 0 or margin < 0 or not 0 <= parity_share < 1:
        raise InvalidDefinition(
            "a rollout needs alpha within (0, 1), clip > 0, margin >= 0, parity_share within [0, 1)",
            hint="leave them out to take the defaults",
        )
    return Plan(
        strategy=Strategy(str(strategy)),
        goal=Goal(str(goal)),
        loss=loss,
        alpha=alpha,
        clip=clip,
        margin=margin,
        minimum_blocks=minimum_blocks,
        minimum_rows=minimum_rows,
        parity_rows=parity_rows,
        parity_share=parity_share,
        parity_tolerance=parity_tolerance,
        parity_days=parity_days,
        parity_every_days=parity_every_days,
        shadow_days=shadow_days,
        weights=tuple(weights),
        step_days=step_days,
        step_requests=step_requests,
        canary_days=canary_days,
    )


class RolloutPlan(msgspec.Struct, frozen=True):
    """A plan declared for an endpoint: what `rollout start` uses when nothing else is given."""

    endpoint: str
    plan: Plan


def rollout_plan(endpoint: str, **settings: Any) -> RolloutPlan:
    """Declare an endpoint's plan (``ev.rollout_plan``); the settings are those of `plan`.

    >>> rollout_plan("delay", weights=(0.2,)).plan.weights
    (0.2,)
    """
    checked_name(endpoint, "endpoint name", folders=False)
    try:
        return RolloutPlan(endpoint, plan(**settings))
    except TypeError as error:
        known = Plan.__struct_fields__
        wrong = next((name for name in settings if name not in known), "")
        raise InvalidDefinition(
            f"rollout plan of '{endpoint}': {error}", hint=nearest(wrong, known)
        ) from None


class ColumnParity(msgspec.Struct, frozen=True):
    """One feature column as the model was fed it against the same recomputed. `cause`: what the difference
    looks like."""

    column: str
    compared: int
    different: int
    cause: str = ""
    sample: tuple[dict[str, Any], ...] = ()

    @property
    def share(self) -> float:
        return self.different / self.compared if self.compared else 0.0


class Evidence(msgspec.Struct, frozen=True):
    """All that a decision reads. e-values start at 1 (no evidence); `gain` is the champion's loss minus the
    candidate's."""

    days_in_stage: float = 0.0
    days_in_step: float = 0.0
    parity_applies: bool = True
    """False: the model takes no features of a view, so there is nothing to recompute."""
    parity_rows: int = 0
    parity: tuple[ColumnParity, ...] = ()
    blocks: int = 0
    rows: int = 0
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    e_gain: float = 1.0
    e_harm: float = 1.0
    e_no_worse: float = 1.0
    e_errors: float = 1.0
    requests: int = 0
    """Live requests the candidate answered or failed in this step."""
    errors: int = 0


class Decision(msgspec.Struct, frozen=True):
    """What follows. `weight` is the candidate's live share from now on."""

    verdict: Verdict
    state: State
    step: int
    weight: float
    reason: str


def weight_of(plan: Plan, state: State, step: int) -> float:
    """The candidate's share of live traffic in a state.

    >>> weight_of(Plan(), State.SHADOW, 0), weight_of(Plan(), State.CANARY, 1), weight_of(Plan(), State.PROMOTED, 0)
    (0.0, 0.5, 1.0)
    """
    if state is State.CANARY:
        return plan.weights[min(step, len(plan.weights) - 1)]
    if state is State.SPLIT:
        return plan.weights[0]
    return 1.0 if state in {State.BAKING, State.PROMOTED} else 0.0


def decide(plan: Plan, state: State, step: int, evidence: Evidence) -> Decision:
    """The next decision of a rollout that is not over. Harm is looked at before gain, parity before both.

    >>> decide(Plan(), State.SHADOW, 0, Evidence(blocks=30, e_gain=25.0)).state
    <State.CANARY: 'canary'>
    >>> decide(Plan(), State.CANARY, 0, Evidence(e_harm=45.0)).verdict
    <Verdict.ROLLBACK: 'rollback'>
    """
    if state in TERMINAL:
        raise ValueError(f"a rollout that is {state} takes no more decisions")
    return _harmed(plan, state, step, evidence) or _next(plan, state, step, evidence)


def _harmed(plan: Plan, state: State, step: int, seen: Evidence) -> Decision | None:
    out, verdict = (State.ROLLED_BACK, Verdict.ROLLBACK) if state in LIVE else (State.STOPPED, Verdict.STOP)
    broken = [column for column in seen.parity if column.compared and column.share > plan.parity_share]
    if broken:
        worst = max(broken, key=lambda column: (bool(column.cause), column.share))
        names = ", ".join(
            f"'{column.column}'" for column in sorted(broken, key=lambda column: -column.share)[:5]
        )
        cause = f"; '{worst.column}' looks like {worst.cause}" if worst.cause else ""
        reason = (
            f"the model is fed other values than it was trained on: {names} differ "
            f"(worst: {worst.different} of {worst.compared} rows){cause}"
        )
        return Decision(verdict, out, step, 0.0, reason)
    if seen.e_errors >= plan.harm_bar:
        reached = f"e-value {seen.e_errors:.1f} reached {plan.harm_bar:g} ({seen.errors} errors)"
        reason = f"it fails more often than the champion: {reached}"
        return Decision(verdict, out, step, 0.0, reason)
    if seen.e_harm >= plan.harm_bar:
        loss = f", loss higher by {-seen.gain:.4f} a row" if seen.gain is not None else ""
        reached = f"e-value {seen.e_harm:.1f} reached {plan.harm_bar:g} after {seen.blocks} days"
        reason = f"it is worse than the champion: {reached}{loss}"
        return Decision(verdict, out, step, 0.0, reason)
    return None


def _next(plan: Plan, state: State, step: int, seen: Evidence) -> Decision:
    here = weight_of(plan, state, step)
    if state is State.PARITY:
        if not seen.parity_applies:
            return _advance(
                plan, state, "the model takes no features of a view: there is nothing to recompute"
            )
        if seen.parity_rows >= plan.parity_rows:
            return _advance(
                plan, state, f"{seen.parity_rows} rows of logged features equal the recomputed ones"
            )
        missing = f"{seen.parity_rows} of {plan.parity_rows} rows compared"
        return _wait(state, step, here, seen.days_in_stage >= plan.parity_days, missing)
    shown, evidence = _shown(plan, seen)
    if state is State.SHADOW:
        if shown:
            return _advance(plan, state, evidence)
        return _wait(state, step, here, seen.days_in_stage >= plan.shadow_days, evidence)
    if state is State.SPLIT:
        if shown:
            return Decision(Verdict.PROMOTE, State.PROMOTED, step, 1.0, evidence)
        return _wait(state, step, here, seen.days_in_stage >= plan.canary_days, evidence)
    ready = seen.days_in_step >= plan.step_days and seen.requests >= plan.step_requests
    waited = f"{seen.requests} live requests in {round(seen.days_in_step, 2):g} days at weight {here:g}"
    if state is State.BAKING:
        if ready:
            return Decision(Verdict.PROMOTE, State.PROMOTED, step, 1.0, f"no harm seen: {waited}")
        return _wait(state, step, here, seen.days_in_stage >= plan.canary_days, waited)
    if ready and step + 1 < len(plan.weights) and seen.e_harm < plan.harm_bar:
        weight = plan.weights[step + 1]
        return Decision(
            Verdict.ADVANCE,
            State.CANARY,
            step + 1,
            weight,
            f"no harm seen: {waited}; on to weight {weight:g}",
        )
    if ready and shown:
        return Decision(Verdict.PROMOTE, State.PROMOTED, step, 1.0, f"{evidence}; {waited}")
    return _wait(state, step, here, seen.days_in_stage >= plan.canary_days, f"{evidence}; {waited}")


def _shown(plan: Plan, seen: Evidence) -> tuple[bool, str]:
    value = seen.e_gain if plan.goal is Goal.GAIN else max(seen.e_gain, seen.e_no_worse)
    what = "better" if plan.goal is Goal.GAIN else f"no worse than the champion by more than {plan.margin:g}"
    gain = f", gain {seen.gain:.4f} a row" if seen.gain is not None else ""
    if value >= plan.bar and seen.blocks >= plan.minimum_blocks:
        return True, f"it is {what}: e-value {value:.1f} reached {plan.bar:g} after {seen.blocks} days{gain}"
    return False, f"e-value {value:.2f} of {plan.bar:g} that it is {what}, after {seen.blocks} days{gain}"


def _advance(plan: Plan, state: State, reason: str) -> Decision:
    following = plan.route[plan.route.index(state) + 1]
    return Decision(Verdict.ADVANCE, following, 0, weight_of(plan, following, 0), reason)


def _wait(state: State, step: int, weight: float, late: bool, reason: str) -> Decision:
    if late:
        return Decision(Verdict.HOLD, state, step, weight, f"the evidence does not suffice yet: {reason}")
    return Decision(Verdict.CONTINUE, state, step, weight, reason)
