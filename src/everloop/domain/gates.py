"""Gates: what a model version must show before it gets an alias. Declared by users, decided here from evidence alone.

    delay = ev.gates(
        "delay",
        ev.gate.better_than("champion", metrics=["log_loss", "auc"]),
        ev.gate.slices_not_worse(by=["origin", "carrier"], metric="log_loss", margin=0.02),
        ev.gate.answers_in_fresh_process(),
        evaluation=ev.gate.evaluation(data="flights-evaluation", label="late", block="day"),
    )

What is compared is always computed on the same rows for both models, in blocks (a day's flights depend on each other).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from everloop.domain.names import checked_name, shown
from everloop.errors import InvalidDefinition, nearest

HIGHER_IS_BETTER = {
    "auc": True,
    "accuracy": True,
    "log_loss": False,
    "brier": False,
    "rmse": False,
    "mae": False,
}
"""The metrics gates know, and which way is better."""

ADDITIVE = frozenset({"log_loss", "brier", "mae", "accuracy"})
"""Metrics that are the mean of something of each row, so that they make sense for a few rows of a slice."""

GRADES = ("bits", "predictions", "tolerance")
"""How identical a rebuilt model is, best first."""

Proof = Literal["sure", "estimate"]


class BetterThan(msgspec.Struct, frozen=True, tag="better_than"):
    """Better than another model on the same rows, by each metric. See `better_than`."""

    other: str
    metrics: tuple[str, ...]
    margin: float
    proof: Proof

    @property
    def name(self) -> str:
        return f"better_than {self.other}"


class SlicesNotWorse(msgspec.Struct, frozen=True, tag="slices_not_worse"):
    """No part of the rows much worse off than with another model. See `slices_not_worse`."""

    other: str
    by: tuple[str, ...]
    metric: str
    margin: float
    min_rows: int

    @property
    def name(self) -> str:
        return f"slices_not_worse by {', '.join(self.by)}"


class AnswersInFreshProcess(msgspec.Struct, frozen=True, tag="answers_in_fresh_process"):
    """Loads and answers as stored, in a process that shares nothing."""

    tolerance: float = 1e-9

    @property
    def name(self) -> str:
        return "answers_in_fresh_process"


class Reproduces(msgspec.Struct, frozen=True, tag="reproduces"):
    """Built again from its lineage, it is the same to at least this grade."""

    at_least: str

    @property
    def name(self) -> str:
        return f"reproduces at least {self.at_least}"


class ProvenanceComplete(msgspec.Struct, frozen=True, tag="provenance_complete"):
    """Code, data, parameters and environment are known."""

    @property
    def name(self) -> str:
        return "provenance_complete"


class HasCard(msgspec.Struct, frozen=True, tag="has_card"):
    """A model card has been written."""

    @property
    def name(self) -> str:
        return "has_card"


Gate = BetterThan | SlicesNotWorse | AnswersInFreshProcess | Reproduces | ProvenanceComplete | HasCard


class Evaluation(msgspec.Struct, frozen=True):
    """Where the rows come from that models are compared on. See `evaluation`."""

    label: str
    data: str = ""
    artifact: str = ""
    block: str = ""


class GateSet(msgspec.Struct, frozen=True):
    """The gates of a model, declared by `gates`."""

    model: str
    gates: tuple[Gate, ...]
    evaluation: Evaluation | None = None
    alias: str = "champion"


class GateResult(msgspec.Struct, frozen=True):
    """What a gate said: passed or not, why in one sentence, and the numbers it decided by."""

    name: str
    passed: bool
    reason: str
    evidence: dict[str, Any] = {}


class MetricEvidence(msgspec.Struct, frozen=True):
    """One metric of two models on the same rows. `gain` is positive when the candidate is better; `low` and `high` are its 95 %
    interval over blocks, None where there are too few."""

    metric: str
    candidate: float | None
    other: float | None
    gain: float | None
    low: float | None
    high: float | None
    rows: int
    blocks: int


class SliceEvidence(msgspec.Struct, frozen=True):
    """The same for one value of one column."""

    column: str
    value: str
    rows: int
    candidate: float
    other: float
    gain: float
    low: float | None = None
    high: float | None = None


def better_than(
    other: str = "champion",
    *,
    metrics: Sequence[str] = ("log_loss",),
    margin: float = 0.0,
    proof: Proof = "sure",
) -> BetterThan:
    """The candidate gains more than `margin` over `other` in every metric, on the same rows.

    `other` is an alias of the same model, or a reference of another one. `proof`: ``sure`` wants the whole 95 % interval over
    blocks above the margin, ``estimate`` the estimate only. Where the alias names no version yet, there is nothing to beat.

    >>> better_than("champion", metrics=["log_lss"])
    Traceback (most recent call last):
    everloop.errors.InvalidDefinition: a gate knows no metric 'log_lss'
    """
    for metric in metrics:
        _checked_metric(metric, HIGHER_IS_BETTER)
    if not metrics:
        raise InvalidDefinition("better_than needs a metric", hint="metrics=['log_loss']")
    if proof not in ("sure", "estimate"):
        raise InvalidDefinition(f"there is no proof {shown(proof)}", hint="'sure' or 'estimate'")
    return BetterThan(other, tuple(metrics), float(margin), proof)


def slices_not_worse(
    by: Sequence[str],
    *,
    metric: str = "log_loss",
    margin: float = 0.02,
    min_rows: int = 200,
    other: str = "champion",
) -> SlicesNotWorse:
    """No value of the columns `by` with at least `min_rows` rows loses more than `margin` against `other`."""
    _checked_metric(metric, ADDITIVE)
    if isinstance(by, str) or not by:
        raise InvalidDefinition("slices_not_worse needs a list of columns", hint="by=['carrier', 'origin']")
    return SlicesNotWorse(other, tuple(by), metric, float(margin), int(min_rows))


def answers_in_fresh_process(*, tolerance: float = 1e-9) -> AnswersInFreshProcess:
    """The model loads in a fresh process and answers its stored rows as when it was saved, to within `tolerance`."""
    return AnswersInFreshProcess(float(tolerance))


def reproduces(*, at_least: str = "predictions") -> Reproduces:
    """Built again from data, code, parameters and environment, the model grades at least ``bits``, ``predictions`` (equal
    answers) or ``tolerance``."""
    if at_least not in GRADES:
        raise InvalidDefinition(
            f"there is no grade {shown(at_least)}", hint=f"grades are {', '.join(GRADES)}"
        )
    return Reproduces(at_least)


def provenance_complete() -> ProvenanceComplete:
    """Code, data, parameters and environment of the model are in the ledger."""
    return ProvenanceComplete()


def has_card() -> HasCard:
    """A model card of this version has been written."""
    return HasCard()


def evaluation(*, label: str, data: str = "", artifact: str = "", block: str = "") -> Evaluation:
    """The rows models are compared on: a dataset (without a version: its latest), or a Parquet file among the candidate's run
    artifacts. `label` is the column with the truth; rows with the same `block` (a day) count as dependent.

    >>> evaluation(label="late")
    Traceback (most recent call last):
    everloop.errors.InvalidDefinition: an evaluation needs either data or artifact
    """
    if bool(data) == bool(artifact):
        raise InvalidDefinition(
            "an evaluation needs either data or artifact", hint="data='flights-evaluation'"
        )
    return Evaluation(label, data, artifact, block)


def gates(
    model: str, *declared: Gate, evaluation: Evaluation | None = None, alias: str = "champion"
) -> GateSet:
    """Declare the gates a version of `model` passes before it gets `alias`.

    >>> [gate.name for gate in gates("delay", provenance_complete(), has_card()).gates]
    ['provenance_complete', 'has_card']
    """
    checked_name(model, "model name")
    for gate in declared:
        if not isinstance(gate, Gate):
            raise InvalidDefinition(
                f"{shown(str(gate))} is not a gate", hint="make one with ev.gate.better_than(…) and the like"
            )
        if isinstance(gate, BetterThan | SlicesNotWorse) and evaluation is None:
            raise InvalidDefinition(
                f"the gate '{gate.name}' compares models and has no rows",
                hint="give evaluation=ev.gate.evaluation(…)",
            )
    return GateSet(model, tuple(declared), evaluation, alias)


def decide_better(gate: BetterThan, other: str | None, seen: Sequence[MetricEvidence]) -> GateResult:
    """The verdict of `better_than`. `other` is the version compared with; None when there is none.

    >>> gain = MetricEvidence("auc", 0.75, 0.70, 0.05, 0.04, 0.06, rows=1000, blocks=14)
    >>> decide_better(better_than("champion", metrics=["auc"]), "model:m@v1", [gain]).passed
    True
    """
    if other is None:
        return GateResult(gate.name, True, f"there is no {gate.other} yet, so there is nothing to beat")
    evidence = {
        "other": other,
        "margin": gate.margin,
        "metrics": [msgspec.to_builtins(each) for each in seen],
    }
    for each in seen:
        if each.gain is None:
            return GateResult(gate.name, False, f"{each.metric} cannot be computed on these rows", evidence)
        said = f"{each.metric} {each.candidate:.4f} against {each.other:.4f} of {other} on the same {each.rows} rows"
        if each.gain <= gate.margin:
            return GateResult(
                gate.name, False, f"{said}: a gain of {each.gain:+.4f} is not above {gate.margin:g}", evidence
            )
        if gate.proof == "sure" and (each.low is None or each.low <= gate.margin):
            interval = f"[{each.low:+.4f}, {each.high:+.4f}]" if each.low is not None else "unknown"
            return GateResult(
                gate.name,
                False,
                f"{said}: the gain {each.gain:+.4f} is not sure, its 95 % interval is {interval}",
                evidence,
            )
    gains = ", ".join(f"{each.metric} {each.gain:+.4f}" for each in seen)
    return GateResult(
        gate.name, True, f"better than {other} on the same {seen[0].rows} rows: {gains}", evidence
    )


def decide_slices(gate: SlicesNotWorse, other: str | None, seen: Sequence[SliceEvidence]) -> GateResult:
    """The verdict of `slices_not_worse`; slices with too few rows are not in `seen`.

    >>> worse = SliceEvidence("origin", "JFK", 500, candidate=0.50, other=0.45, gain=-0.05)
    >>> decide_slices(slices_not_worse(["origin"]), "model:m@v1", [worse]).reason
    'origin = JFK is worse off by 0.0500 log_loss (500 rows), more than 0.02'
    """
    if other is None:
        return GateResult(gate.name, True, f"there is no {gate.other} yet, so no slice can be worse off")
    ranked = sorted(seen, key=lambda each: each.gain)
    evidence = {
        "other": other,
        "margin": gate.margin,
        "slices": len(seen),
        "worst": [msgspec.to_builtins(each) for each in ranked[:10]],
    }
    if not ranked:
        return GateResult(
            gate.name, False, f"no slice has {gate.min_rows} rows, so nothing can be said", evidence
        )
    worst = ranked[0]
    where = f"{worst.column} = {worst.value}"
    if worst.gain < -gate.margin:
        reason = f"{where} is worse off by {-worst.gain:.4f} {gate.metric} ({worst.rows} rows), more than {gate.margin:g}"
        return GateResult(gate.name, False, reason, evidence)
    reason = f"{len(seen)} slices compared, none loses more than {gate.margin:g}; least gain {worst.gain:+.4f} for {where}"
    return GateResult(gate.name, True, reason, evidence)


def decide_grade(gate: Reproduces, grade: str, evidence: dict[str, Any]) -> GateResult:
    """The verdict of `reproduces`.

    >>> decide_grade(reproduces(at_least="predictions"), "bits", {}).passed
    True
    """
    passed = grade in GRADES and GRADES.index(grade) <= GRADES.index(gate.at_least)
    said = f"rebuilt, it grades '{grade}'"
    return GateResult(
        gate.name,
        passed,
        said if passed else f"{said}; wanted is '{gate.at_least}'",
        {"grade": grade, **evidence},
    )


def _checked_metric(metric: str, known: Any) -> None:
    if metric not in known:
        raise InvalidDefinition(
            f"a gate knows no metric {shown(metric)}",
            hint=nearest(metric, known) or f"metrics are {', '.join(sorted(known))}",
        )
