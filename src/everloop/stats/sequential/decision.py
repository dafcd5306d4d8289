"""Promote, roll back, go on or hold: the verdict of a rollout from its evidence, with the numbers."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from everloop.stats.intervals import Interval
from everloop.stats.sequential.betting import STAKES, MeanBet
from everloop.stats.sequential.confidence import MeanSequence

Action = Literal["promote", "rollback", "continue", "hold"]


class Evidence(msgspec.Struct, frozen=True):
    """One test's part in a verdict: the largest e-value so far and the one it needed."""

    e_value: float
    needed: float

    @property
    def suffices(self) -> bool:
        """Whether the test has reached what it needed."""
        return self.e_value >= self.needed


class Verdict(msgspec.Struct, frozen=True):
    """What to do and why. ``evidence`` names each test: ``gain``, ``non_inferior`` and the harms by name."""

    action: Action
    reason: str
    blocks: int
    evidence: dict[str, Evidence]


def decide(
    *,
    gain: float,
    harms: Mapping[str, float],
    blocks: int,
    alpha: float = 0.05,
    non_inferior: float | None = None,
    minimum_blocks: int = 1,
    maximum_blocks: int | None = None,
) -> Verdict:
    """Decide a rollout from the peaks of anytime-valid e-processes.

    - Any harm at or above (number of harms)/alpha: ``rollback``, at once and before anything else.
    - Else the gain at or above 1/alpha, or ``non_inferior`` (given only if the policy takes "not worse by
      more than the margin" for enough) at or above 1/alpha, after ``minimum_blocks``: ``promote``.
    - Else ``continue``, or ``hold`` once ``maximum_blocks`` have passed: the evidence does not suffice and a
      human decides; no threshold is lowered.

    So P(ever rolled back | no harm is real) <= alpha, and P(ever promoted | no gain) <= alpha; where
    non-inferiority is enough, P(ever promoted | worse by more than the margin) <= alpha.

    Args:
        gain: peak e-value of "the candidate is better"; see `MeanBet`.
        harms: peak e-values by name, such as ``{"loss": ..., "errors": ...}``. May be empty.
        blocks: complete blocks (days) seen.

    Raises:
        ValueError: alpha outside (0, 1), an e-value negative or NaN, maximum below minimum.

    >>> decide(gain=31.0, harms={"loss": 1.0}, blocks=27).action
    'promote'
    >>> verdict = decide(gain=1.0, harms={"loss": 1.4, "errors": 55.0}, blocks=2)
    >>> verdict.action, verdict.reason
    ('rollback', 'harm in errors: evidence 55 to 1, 40 needed')
    >>> decide(gain=6.0, harms={"loss": 1.0}, blocks=30, maximum_blocks=30).action
    'hold'
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, not {alpha}")
    if maximum_blocks is not None and maximum_blocks < minimum_blocks:
        raise ValueError(f"maximum_blocks ({maximum_blocks}) is below minimum_blocks ({minimum_blocks})")
    gains = {"gain": gain} if non_inferior is None else {"gain": gain, "non_inferior": non_inferior}
    if overlap := gains.keys() & harms.keys():
        raise ValueError(f"a harm may not be called {min(overlap)}")
    evidence = {name: _evidence(name, e, 1 / alpha) for name, e in gains.items()}
    guards = {name: _evidence(name, e, len(harms) / alpha) for name, e in harms.items()}
    evidence |= guards

    harmful = [name for name, found in guards.items() if found.suffices]
    if harmful:
        worst = max(harmful, key=lambda name: guards[name].e_value)
        return Verdict("rollback", f"harm in {worst}: {_odds(guards[worst])}", blocks, evidence)
    reached = [name for name in gains if evidence[name].suffices]
    if reached and blocks >= minimum_blocks:
        what = "better" if reached[0] == "gain" else "not worse by more than the margin"
        return Verdict("promote", f"{what}: {_odds(evidence[reached[0]])}", blocks, evidence)
    nearest = max(gains, key=lambda name: evidence[name].e_value)
    if maximum_blocks is not None and blocks >= maximum_blocks:
        reason = f"{blocks} blocks, the most allowed, do not suffice: {_odds(evidence[nearest])}"
        return Verdict("hold", reason, blocks, evidence)
    if reached:
        return Verdict(
            "continue", f"enough evidence, but {blocks} of {minimum_blocks} blocks", blocks, evidence
        )
    return Verdict("continue", f"not enough evidence yet: {_odds(evidence[nearest])}", blocks, evidence)


class PairedTrial(msgspec.Struct, frozen=True):
    """Champion against candidate on the same rows: gain, harm and non-inferiority from one series.

    Feed it, for each complete day, the mean of (champion's loss - candidate's loss): positive is a gain.
    ``clip`` cuts a day's mean (for log loss .1 nats has served well), ``margin`` is the loss one is ready to
    accept for a candidate that is wanted for another reason.

    >>> trial = PairedTrial.start(clip=0.1, margin=0.01).update_all([0.03, 0.08, -0.02, 0.05] * 6)
    >>> verdict = trial.decide(alpha=0.05)
    >>> verdict.action, verdict.blocks, round(trial.gain.peak), round(trial.harm.peak, 2)
    ('promote', 24, 88, 1.0)
    """

    gain: MeanBet
    harm: MeanBet
    non_inferior: MeanBet
    sequence: MeanSequence

    @classmethod
    def start(cls, *, clip: float, margin: float = 0.0, stakes: Iterable[float] = STAKES) -> "PairedTrial":
        """A trial without days. ``margin`` must lie in [0, clip)."""
        if not 0 <= margin < clip:
            raise ValueError(f"margin must lie in [0, clip), not {margin}")
        staked = tuple(stakes)
        return cls(
            MeanBet.start(clip=clip, stakes=staked),
            MeanBet.start(clip=clip, side="below", stakes=staked),
            MeanBet.start(clip=clip, null=-margin, stakes=staked),
            MeanSequence.start(clip=clip, stakes=staked),
        )

    def update(self, difference: float) -> "PairedTrial":
        """The state after one more complete day."""
        return PairedTrial(
            self.gain.update(difference),
            self.harm.update(difference),
            self.non_inferior.update(difference),
            self.sequence.update(difference),
        )

    def update_all(self, differences: Iterable[float]) -> "PairedTrial":
        """The state after all ``differences``, in their order."""
        state = self
        for difference in differences:
            state = state.update(difference)
        return state

    @property
    def blocks(self) -> int:
        """Days seen."""
        return self.gain.n

    def interval(self, *, level: float = 0.9) -> Interval:
        """Where the mean daily gain lies, valid at any look, in the unit of the loss.

        At level 1 - 2 alpha it agrees with the verdict: its lower end passes 0 when the gain reaches 1/alpha.
        """
        return self.sequence.interval(level=level)

    def decide(
        self,
        *,
        alpha: float = 0.05,
        accept_non_inferior: bool = False,
        other_harms: Mapping[str, float] | None = None,
        minimum_blocks: int = 1,
        maximum_blocks: int | None = None,
    ) -> Verdict:
        """The verdict of `decide`; ``other_harms`` are peaks of further guards, such as an `ErrorGuard`."""
        return decide(
            gain=self.gain.peak,
            harms={"loss": self.harm.peak, **(other_harms or {})},
            blocks=self.blocks,
            alpha=alpha,
            non_inferior=self.non_inferior.peak if accept_non_inferior else None,
            minimum_blocks=minimum_blocks,
            maximum_blocks=maximum_blocks,
        )


def _evidence(name: str, e_value: float, needed: float) -> Evidence:
    if not e_value >= 0:
        raise ValueError(f"{name}: an e-value must not be negative or NaN, but is {e_value}")
    return Evidence(e_value, needed)


def _odds(evidence: Evidence) -> str:
    shown = math.floor(evidence.e_value * 10) / 10 if evidence.e_value < 10 else round(evidence.e_value)
    return f"evidence {shown:g} to 1, {evidence.needed:g} needed"
