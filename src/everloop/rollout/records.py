"""What the operations of the rollout room take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.deployments import Arm
from everloop.domain.rollouts import ColumnParity, Evidence, Plan, State, Verdict
from everloop.stats.sequential import ErrorGuard, PairedTrial


class Ledgered(msgspec.Struct, frozen=True):
    """All that a rollout has learned: the e-processes go on from here after a restart.

    judged: the start of the last day whose losses were bet on. read: the log was read for errors and parity
    up to then. rows: paired rows. requests, errors: of the candidate's live traffic in this step.
    parity_checked: when features were last compared.
    """

    trial: PairedTrial
    guard: ErrorGuard
    read: datetime
    judged: datetime | None = None
    rows: int = 0
    requests: int = 0
    errors: int = 0
    parity_rows: int = 0
    parity: tuple[ColumnParity, ...] = ()
    parity_checked: datetime | None = None


class RolloutRecord(msgspec.Struct, frozen=True):
    """A rollout as it stands. `weights` are the live shares by model; `evidence` what the last decision read;
    `seconds` how long the last switch of traffic took."""

    rollout_id: str
    endpoint: str
    champion: str
    candidate: str
    alias: str
    plan: Plan
    state: State
    step: int
    verdict: Verdict
    reason: str
    started: datetime
    entered: datetime
    stepped: datetime
    ended: datetime | None
    seconds: float | None
    before: Arm
    transform: dict[str, str]
    progress: Ledgered
    evidence: Evidence
    decisions: int
    weights: dict[str, float]

    @property
    def reference(self) -> str:
        return f"rollout:{self.rollout_id}"


class RolloutDecision(msgspec.Struct, frozen=True):
    """One decision, with the numbers it read."""

    rollout_id: str
    number: int
    time: datetime
    state: State
    verdict: Verdict
    weight: float
    reason: str
    evidence: dict[str, Any]


class Rollback(msgspec.Struct, frozen=True):
    """What `rollback` did: which model answers now, which did before (or, where `answered` is false, was only being tried in the
    shadow), and how long the switch took."""

    endpoint: str
    model: str
    instead_of: str
    seconds: float
    rollout: str | None
    answered: bool = True

    @property
    def sentence(self) -> str:
        """What happened, for people.

        >>> Rollback("delay", "model:delay@v1", "model:delay@v2", 0.02, None, answered=False).sentence
        "the rollout of model:delay@v2 is aborted; it had answered nobody, and model:delay@v1 answers 'delay' as before"
        """
        if not self.answered:
            return (
                f"the rollout of {self.instead_of} is aborted; it had answered nobody, and {self.model} answers "
                f"'{self.endpoint}' as before"
            )
        return f"{self.model} answers '{self.endpoint}' again instead of {self.instead_of}; it took {self.seconds:.3f} s"
