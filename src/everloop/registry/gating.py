"""Gathers the evidence that gates decide by; the decisions themselves are in `everloop.domain.gates`."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.gates import (
    AnswersInFreshProcess,
    BetterThan,
    Gate,
    GateResult,
    GateSet,
    HasCard,
    ProvenanceComplete,
    Reproduces,
    SlicesNotWorse,
    decide_better,
    decide_grade,
    decide_slices,
)
from everloop.domain.models import ModelVersionRecord
from everloop.errors import EverloopError, NotFound
from everloop.registry.evaluation import Rows, rows_for
from everloop.registry.version import ModelVersion

if TYPE_CHECKING:
    from everloop.registry.registry import Registry


def judge(
    registry: Registry, record: ModelVersionRecord, declared: GateSet, alias: str, rows: Any
) -> list[GateResult]:
    """What each gate says. A gate whose evidence cannot be gathered has not been passed, and says why."""
    bench = _Bench(registry, record, declared, alias, rows)
    elsewhere = [gate for gate in declared.gates if isinstance(gate, ELSEWHERE)]
    with ThreadPoolExecutor(1) as beside:
        if elsewhere:
            with contextlib.suppress(EverloopError):  # the gate says it in its own words
                bench.candidate.folder()  # fetched here, so that the thread only waits for a process
        answers = {id(gate): beside.submit(bench.ask, gate) for gate in elsewhere}
        told = {
            id(gate): bench.ask(gate) for gate in declared.gates if not isinstance(gate, ELSEWHERE | COSTLY)
        }
        told |= {gate: answer.result() for gate, answer in answers.items() if answer.done()}
        failed = [each.name for each in told.values() if not each.passed]
        for gate in declared.gates:
            if isinstance(gate, COSTLY):
                told[id(gate)] = bench.ask(gate) if not failed else _not_asked(gate, failed)
        told |= {gate: answer.result() for gate, answer in answers.items()}
    return [told[id(gate)] for gate in declared.gates]


ELSEWHERE = AnswersInFreshProcess
"""Gates that mostly wait for another process: asked while the others are decided."""
COSTLY = Reproduces
"""Gates that cost about as much as a training: not asked of a version that another gate has refused already. Nobody waits for
another process before they are: most of its work is loading libraries, and so is most of theirs."""


def _not_asked(gate: Gate, failed: list[str]) -> GateResult:
    return GateResult(gate.name, False, f"not asked, as it costs a training: {failed[0]} said no already", {})


class _Bench:
    """One version before its gates. Rows and other models are fetched once."""

    def __init__(
        self, registry: Registry, record: ModelVersionRecord, declared: GateSet, alias: str, rows: Any
    ) -> None:
        self._registry = registry
        self._record = record
        self._declared = declared
        self._alias = alias
        self._given = rows
        self._rows: Rows | None = None
        self._models: dict[str, ModelVersion] = {record.reference: ModelVersion(registry, record)}

    def ask(self, gate: Gate) -> GateResult:
        try:
            return self._ask(gate)
        except EverloopError as error:
            return GateResult(
                gate.name, False, f"it could not be decided: {error.message}", {"hint": error.hint}
            )

    def _ask(self, gate: Gate) -> GateResult:
        match gate:
            case BetterThan():
                other = self._other(gate.other)
                if other is None:
                    return decide_better(gate, None, [])
                seen = [self.rows.compare(metric, self.candidate, other) for metric in gate.metrics]
                return decide_better(gate, other.reference, seen)
            case SlicesNotWorse():
                other = self._other(gate.other)
                if other is None:
                    return decide_slices(gate, None, [])
                slices = self.rows.slices(gate.metric, gate.by, self.candidate, other, gate.min_rows)
                return decide_slices(gate, other.reference, slices)
            case AnswersInFreshProcess():
                return self._answers(gate)
            case Reproduces():
                return self._reproduces(gate)
            case ProvenanceComplete():
                missing = self._registry.missing_provenance(self._record.reference)
                reason = (
                    f"missing: {', '.join(missing)}"
                    if missing
                    else "code, data, parameters and environment are known"
                )
                return GateResult(gate.name, not missing, reason, {"missing": missing})
            case HasCard():
                written = self._record.card is not None
                reason = "a model card is written" if written else "no model card is written"
                return GateResult(gate.name, written, reason, {"card": self._record.card})

    @property
    def candidate(self) -> ModelVersion:
        return self._models[self._record.reference]

    @property
    def rows(self) -> Rows:
        if self._rows is None:
            self._rows = rows_for(self._registry, self._record, self._declared.evaluation, self._given)
            self._rows.ask(self._compared())
        return self._rows

    def _compared(self) -> list[ModelVersion]:
        """The candidate and the models that gates compare it with, as far as they are there."""
        found = {self.candidate.reference: self.candidate}
        for gate in self._declared.gates:
            if isinstance(gate, BetterThan | SlicesNotWorse):
                with contextlib.suppress(EverloopError):  # the gate says it in its own words
                    other = self._other(gate.other)
                    found |= {other.reference: other} if other is not None else {}
        return list(found.values())

    def _other(self, named: str) -> ModelVersion | None:
        """The model to compare with: an alias of the same model, or a reference. None when an alias names nothing yet, or the
        candidate itself."""
        if ":" in named or "@" in named:
            record = self._registry.version(named)
        else:
            try:
                record = self._registry.version(f"{self._record.name}@{named}")
            except NotFound:
                return None
        if record.reference == self._record.reference:
            return None
        return self._models.setdefault(record.reference, ModelVersion(self._registry, record))

    def _answers(self, gate: AnswersInFreshProcess) -> GateResult:
        from everloop.tracking.formats.fresh import fresh_parity, keep_proof

        folder = self.candidate.folder()
        parity = fresh_parity(folder, tolerance=gate.tolerance)
        keep_proof(folder, parity)
        said = f"{parity.rows} rows answered in a fresh process: off by {parity.max_abs:g}, {parity.flips} labels differ"
        return GateResult(gate.name, parity.passed, said, msgspec.to_builtins(parity))

    def _reproduces(self, gate: Reproduces) -> GateResult:
        from everloop.pipelines.pipelines import Pipelines

        # A gate asks no package index: it rebuilds with what is installed.
        report = self._registry.context.room(Pipelines).reproduce(self._record.reference, environment="same")
        evidence = {
            "run": f"run:{report.run}",
            "evidence": list(report.evidence),
            "first_divergence": report.first_divergence,
        }
        return decide_grade(gate, str(report.grade), evidence)
