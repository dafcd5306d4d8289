"""What an alert says: what, since when, how much, what was tested, what to do. Pure text from numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from everloop.domain.alerts import Report
from everloop.domain.monitors import Family, Measure, Monitor, Reading

NAMES: dict[Measure, str] = {
    Measure.DRIFT: "has moved from the reference",
    Measure.MISSING: "is missing more often",
    Measure.CATEGORIES: "has values never seen before",
    Measure.EXCESS_LOSS: "excess log loss",
    Measure.DAILY_AUC: "AUC within a day",
    Measure.CALIBRATION: "gap between prediction and rate",
    Measure.ESTIMATED: "estimated AUC",
    Measure.LATENCY: "95th percentile of latency",
    Measure.ERRORS: "share of failed requests",
    Measure.GROUP_GAP: "difference between groups",
}


def family_report(
    family: Family,
    endpoint: str,
    model: str,
    judged: Sequence[tuple[Monitor, Sequence[Reading]]],
    *,
    since: datetime | None,
    notes: Sequence[str] = (),
) -> Report:
    """The report of one family in one window, from what its monitors read; `judged` holds those that are
    over."""
    over = [(monitor, [reading for reading in readings if reading.over]) for monitor, readings in judged]
    over = [(monitor, readings) for monitor, readings in over if readings]
    shown = [sentence(monitor, reading) for monitor, readings in over for reading in readings[:5]]
    return Report(
        what=_what(family, endpoint, over),
        since=since,
        how_much="; ".join(shown),
        tested="; ".join(dict.fromkeys(_tested(monitor) for monitor, _ in over)),
        to_do=_to_do(family, endpoint, model, over),
        findings=tuple(_finding(monitor, reading) for monitor, readings in over for reading in readings),
        notes=tuple(notes),
    )


def sentence(monitor: Monitor, reading: Reading) -> str:
    """One reading as a person would say it.

    >>> from everloop.domain.monitors import monitor
    >>> loss = monitor("loss", endpoint="delay", measure="excess_loss")
    >>> reading = Reading("", 0.031, 0.01, 0.0002, value=0.049, reference=0.018, low=0.014, high=0.048, blocks=21)
    >>> sentence(loss, reading)
    'excess log loss 0.0490 against 0.0180 in the reference: worse by 0.0310 (0.0140 to 0.0480) over 21 days'
    """
    name = NAMES[monitor.measure]
    if monitor.measure is Measure.DRIFT:
        return f"'{reading.column}' {name} by {reading.effect:.2f} (floor {reading.floor:.2f})"
    if monitor.measure in {Measure.MISSING, Measure.CATEGORIES}:
        return f"'{reading.column}' {name}: {reading.effect:.1%} of rows (floor {reading.floor:.1%})"
    if monitor.measure is Measure.ERRORS:
        return f"{name} {reading.effect:.2%} of {reading.rows} (limit {reading.floor:.2%})"
    if monitor.measure is Measure.LATENCY:
        return f"{name} {reading.effect * 1000:.1f} ms (limit {reading.floor * 1000:.0f} ms)"
    if monitor.measure is Measure.GROUP_GAP:
        return f"{name} of '{reading.column}' {reading.effect:.3f} (limit {reading.floor:.3f})"
    interval = (
        f" ({reading.low:.4f} to {reading.high:.4f})"
        if reading.low is not None and reading.high is not None
        else ""
    )
    against = f" against {reading.reference:.4f} in the reference" if reading.reference is not None else ""
    value = f"{reading.value:.4f}" if reading.value is not None else "unknown"
    return f"{name} {value}{against}: worse by {reading.effect:.4f}{interval} over {reading.blocks} days"


def _what(family: Family, endpoint: str, over: Sequence[tuple[Monitor, Sequence[Reading]]]) -> str:
    columns = list(
        dict.fromkeys(reading.column for _, readings in over for reading in readings if reading.column)
    )
    if family is Family.INPUTS:
        return f"the inputs of '{endpoint}' are not what the model was trained on: {', '.join(columns[:5])}"
    if family is Family.PERFORMANCE:
        measures = ", ".join(NAMES[monitor.measure] for monitor, _ in over)
        return f"'{endpoint}' predicts worse than it did on its reference: {measures}"
    if family is Family.SERVICE:
        measures = ", ".join(NAMES[monitor.measure] for monitor, _ in over)
        return f"'{endpoint}' does not answer as it should: {measures}"
    return f"'{endpoint}' treats groups differently: {', '.join(columns[:5])}"


def _tested(monitor: Monitor) -> str:
    persistence = f"{monitor.persistence} days in a row"
    if monitor.trailing:
        rule = f"Welch's t, one-sided, p <= {monitor.significance:g}, effect >= {monitor.effect:g}, {persistence}"
        return (
            f"{monitor.name}: mean of the last {monitor.trailing} days against the reference's days ({rule})"
        )
    if monitor.measure in {Measure.LATENCY, Measure.ERRORS}:
        return f"{monitor.name}: each day against the limit {monitor.effect:g}, {persistence}"
    rule = f"Benjamini-Hochberg at {monitor.significance:.3f}, effect above the floor, {persistence}"
    return f"{monitor.name}: each day's columns against the reference ({rule})"


def _to_do(
    family: Family, endpoint: str, model: str, over: Sequence[tuple[Monitor, Sequence[Reading]]]
) -> str:
    name = model.removeprefix("model:").partition("@")[0]
    if family is Family.INPUTS:
        return "look at the feed of these columns before anything else: retraining on broken inputs teaches the fault"
    if family is Family.PERFORMANCE:
        return f"train it on what has happened since: everloop retrain {name} --because alert:…"
    if family is Family.SERVICE:
        return f"look at the server's log; if it came with a new model: everloop rollback {endpoint}"
    return "look at the rates by group before more decisions are made"


def _finding(monitor: Monitor, reading: Reading) -> dict[str, Any]:
    found: dict[str, Any] = {"monitor": monitor.name, "measure": str(monitor.measure)}
    fields: Mapping[str, Any] = {name: getattr(reading, name) for name in reading.__struct_fields__}
    return found | {name: value for name, value in fields.items() if value not in (None, "")}
