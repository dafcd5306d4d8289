"""Which arms an endpoint has in each state of a rollout: pure, so that what should be and what is can be
compared at any time."""

from __future__ import annotations

from collections.abc import Mapping

from everloop.domain.deployments import Arm, Mode
from everloop.domain.rollouts import LIVE, TERMINAL, Plan, State, weight_of

CHAMPION, CANDIDATE = "champion", "candidate"
PREVIOUS = "previous"
CHAMPION_MIRROR, CANDIDATE_MIRROR = "champion-mirror", "candidate-mirror"
CHAMPION_SIDE, CANDIDATE_SIDE = (CHAMPION, CHAMPION_MIRROR), (CANDIDATE, CANDIDATE_MIRROR)
"""The arms whose answers are those of the old and of the new way to answer."""


def arms_for(
    plan: Plan,
    state: State,
    step: int,
    champion: Arm,
    candidate: str,
    transform: Mapping[str, str],
) -> list[Arm]:
    """The arms of a state.

    While the candidate is live, each model also sees the requests of the other in the shadow: so every
    request has an answer of both, and losses stay paired. Unpaired, a tenth of the traffic would need months
    to tell the same difference.

    champion: the arm as it was before the rollout. After a promotion the old champion is kept, switched off:
    the way back needs no loading.
    """
    old = Arm(CHAMPION, champion.model, 1.0, Mode.LIVE, champion.transform)
    new = Arm(CANDIDATE, candidate, 0.0, Mode.SHADOW, dict(transform))
    if state is State.PROMOTED:
        return [
            Arm(CHAMPION, candidate, 1.0, Mode.LIVE, dict(transform)),
            Arm(PREVIOUS, champion.model, 0.0, Mode.OFF, champion.transform),
        ]
    if state in TERMINAL:
        return [old]
    if state not in LIVE:
        return [old, new]
    weight = weight_of(plan, state, step)
    return [
        Arm(CHAMPION, champion.model, 1.0 - weight, Mode.LIVE, champion.transform),
        Arm(CANDIDATE, candidate, weight, Mode.LIVE, dict(transform)),
        Arm(CHAMPION_MIRROR, champion.model, 0.0, Mode.SHADOW, champion.transform),
        Arm(CANDIDATE_MIRROR, candidate, 0.0, Mode.SHADOW, dict(transform)),
    ]
