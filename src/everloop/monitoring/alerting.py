"""Moving an endpoint's alerts: one open alert for each fingerprint, whatever is measured and however
often."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.alerts import Alert, AlertState, Report, Signal, fingerprint, next_state
from everloop.domain.ids import Ids
from everloop.monitoring.records import Evaluation, FamilyStep
from everloop.monitoring.rows import open_alerts, put_alert, silenced_before
from everloop.store.ledger import Transaction


def step_alerts(tx: Transaction, new_id: Ids, endpoint: str, evaluation: Evaluation) -> list[Alert]:
    """Move the endpoint's alerts through the signals of an evaluation's windows, in order. Returns those whose state changed."""
    if not evaluation.steps:
        return []
    opened = {(alert.family, alert.model): alert for alert in open_alerts(tx, endpoint)}
    changed: dict[str, Alert] = {}
    for step in sorted(evaluation.steps, key=lambda each: each.window_end):
        for key, other in list(opened.items()):
            if other.family == step.family and other.model != step.model and step.window_end > other.updated:
                because = f"{step.model} took over"
                changed[other.alert_id] = move(
                    tx, opened.pop(key), AlertState.RESOLVED, step.window_end, because
                )
        current = opened.get((step.family, step.model))
        if current is not None and step.window_end <= current.updated:
            continue
        signal = Signal(step.window_end, over=step.over, sustained=step.sustained, clear=step.clear)
        state = next_state(current.state if current else None, signal)
        if state is None:
            continue
        if current is None:
            if step.report is None:
                continue
            current = begin(tx, new_id(), endpoint, step, step.report)
            changed[current.alert_id] = current
        if state is current.state:
            after = msgspec.structs.replace(
                current, updated=step.window_end, report=newer(current, step.report)
            )
            put_alert(tx, after)
        else:
            because = "it did not persist" if current.state is AlertState.PENDING else "clear again"
            told = msgspec.structs.replace(current, report=step.report or current.report)
            after = move(tx, told, state, step.window_end, because)
            changed[after.alert_id] = after
        if after.state is AlertState.RESOLVED:
            opened.pop((step.family, step.model), None)
        else:
            opened[step.family, step.model] = after
    return list(changed.values())


def begin(tx: Transaction, identifier: str, endpoint: str, step: FamilyStep, report: Report) -> Alert:
    """The first suspicion. A silence of the same thing before holds for this one too."""
    label = fingerprint({"endpoint": endpoint, "model": step.model, "family": step.family})
    silent = silenced_before(tx, label, step.window_end)
    alert = Alert(
        alert_id=identifier,
        fingerprint=label,
        endpoint=endpoint,
        model=step.model,
        family=step.family,
        state=AlertState.PENDING,
        opened=step.window_end,
        updated=step.window_end,
        report=report,
        silenced_until=silent.silenced_until if silent else None,
        silenced_because=silent.silenced_because if silent else "",
    )
    put_alert(tx, alert)
    tx.edge(f"endpoint:{endpoint}", f"alert:{identifier}", "watched")
    tx.edge(step.model, f"alert:{identifier}", "concerns")
    facts = {"endpoint": endpoint, "model": step.model, "family": step.family, "what": report.what}
    tx.event("alert.pending", f"alert:{identifier}", facts)
    return alert


def newer(alert: Alert, report: Report | None) -> Report:
    """What the alert tells while it goes on: the newest numbers, but the onset as it was first found."""
    if report is None:
        return alert.report
    return msgspec.structs.replace(report, since=alert.report.since or report.since)


def move(tx: Transaction, alert: Alert, state: AlertState, when: datetime, because: str) -> Alert:
    facts: dict[str, Any] = {
        "endpoint": alert.endpoint,
        "model": alert.model,
        "family": alert.family,
        "window_end": when,
    }
    if state is AlertState.FIRING:
        alert = msgspec.structs.replace(alert, state=state, updated=when, fired=when)
        facts |= {
            "what": alert.report.what,
            "since": alert.report.since,
            "how_much": alert.report.how_much,
            "fingerprint": alert.fingerprint,
            "silenced": alert.silenced_until is not None and when < alert.silenced_until,
        }
    else:
        alert = msgspec.structs.replace(
            alert, state=state, updated=when, resolved=when, resolved_because=because
        )
        facts |= {"because": because}
    put_alert(tx, alert)
    tx.event(f"alert.{state}", f"alert:{alert.alert_id}", facts)
    return alert
