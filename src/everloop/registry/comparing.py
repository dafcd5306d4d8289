"""Which version is the good one: every candidate on the same rows, with intervals, by a rule that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everloop.domain.gates import HIGHER_IS_BETTER, Evaluation
from everloop.domain.models import Best, Candidate, ModelState, ModelVersionRecord
from everloop.errors import EverloopError, InvalidInput, nearest
from everloop.registry.evaluation import Rows, metrics_of, rows_for
from everloop.registry.version import ModelVersion

if TYPE_CHECKING:
    from everloop.registry.registry import Registry

MOST = 20
"""Candidates looked at, newest first; those with an alias always are."""


def best_version(registry: Registry, name: str, *, metric: str, rows: Any, label: str, block: str) -> Best:
    """Compare the versions of a model that are ready. A tie within the interval goes to the one that has `champion` already:
    switching costs, and noise is no reason to."""
    versions = registry.versions(name)
    ready = [each for each in versions if each.state is ModelState.READY]
    ready = [each for number, each in enumerate(ready) if number < MOST or each.aliases]
    if not ready:
        return Best(None, "no version is ready", [])
    chosen = metric or metrics_of(ready[0].model.signature.task)[0]
    if chosen not in HIGHER_IS_BETTER:
        raise InvalidInput(f"'{chosen}' is not a metric to choose by", hint=nearest(chosen, HIGHER_IS_BETTER))
    declared = registry.gates_for(ready[0].name)
    evaluation = (
        Evaluation(label, "", "", block) if rows is not None else declared.evaluation if declared else None
    )
    if evaluation is None:
        return _by_runs(ready, chosen)
    return _on_rows(registry, ready, chosen, rows_for(registry, ready[0], evaluation, rows))


def _on_rows(registry: Registry, ready: list[ModelVersionRecord], metric: str, rows: Rows) -> Best:
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    values: dict[str, float] = {}
    handles, notes = {}, {}
    asked = {record.reference: ModelVersion(registry, record) for record in ready}
    rows.ask(list(asked.values()))
    for record in ready:
        handle = asked[record.reference]
        try:
            value = rows.metric(metric, handle)
        except EverloopError as error:  # a version with other inputs cannot answer these rows
            notes[record.reference] = error.message
            continue
        if value is not None:
            values[record.reference], handles[record.reference] = value, handle
    if not values:
        return Best(
            None,
            f"no version could answer the {len(rows)} rows",
            [_plain(each, metric, notes) for each in ready],
        )
    top = max(values, key=lambda reference: sign * values[reference])
    champion = next(
        (each.reference for each in ready if "champion" in each.aliases and each.reference in values), None
    )
    candidates = []
    for record in ready:
        if record.reference not in values:
            candidates.append(_plain(record, metric, notes))
            continue
        against = rows.compare(metric, handles[record.reference], handles[top])
        behind = (None, None, None) if record.reference == top else (against.gain, against.low, against.high)
        extra = {
            each: rows.metric(each, handles[record.reference])
            for each in metrics_of(record.model.signature.task)
        }
        candidates.append(
            Candidate(
                record.reference,
                record.aliases,
                record.metrics | extra,
                values[record.reference],
                behind=behind[0],
                behind_low=behind[1],
                behind_high=behind[2],
            )
        )
    candidates.sort(key=lambda each: (each.value is None, -sign * (each.value or 0.0)))
    rule = f"{'highest' if sign > 0 else 'lowest'} {metric} on the same {len(rows)} rows"
    if champion is not None and champion != top:
        held = next(each for each in candidates if each.reference == champion)
        if held.behind_high is not None and held.behind_high >= 0:
            return Best(champion, f"{rule}; {top} is not surely better than the champion", candidates)
    return Best(top, rule, candidates)


def _by_runs(ready: list[ModelVersionRecord], metric: str) -> Best:
    """Without rows, by what the runs logged: comparable only if they logged it on the same rows, which is said."""
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    candidates = [_plain(record, metric, {}) for record in ready]
    known = [each for each in candidates if each.value is not None]
    known.sort(key=lambda each: (-sign * (each.value or 0.0), "champion" not in each.aliases))
    rule = f"{'highest' if sign > 0 else 'lowest'} {metric} that the runs logged, on rows of their own"
    if not known:
        return Best(None, f"no run logged {metric}, and no rows are declared to compare on", candidates)
    return Best(known[0].reference, rule, known + [each for each in candidates if each.value is None])


def _plain(record: ModelVersionRecord, metric: str, notes: dict[str, str]) -> Candidate:
    note = notes.get(record.reference, "")
    value = None if note else record.metrics.get(metric)
    return Candidate(record.reference, record.aliases, record.metrics, value, note=note)
