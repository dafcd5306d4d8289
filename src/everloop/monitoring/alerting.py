"""Moving an endpoint's alerts: one open alert for each fingerprint, whatever is measured and however
often."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.alerts import Alert, AlertState, Report, Signal, fingerprint, next_state
from everloop.domain.ids import Ids
from everloop.monitoring.records import Evaluation
from everloop.monitoring.rows import open_alerts, put_alert, silenced_before
from everloop.store.ledger import Transaction


def step_alerts(tx: Transaction, new_id: Ids, endpoint: str, evaluation: Evaluation) -> list[Alert]:
    """Move the endpoint's alerts through the windows' signals, in order; one open alert a fingerprint,
    whatever is measured."""
    changed: dict[str, Alert] = {}
    for step in sorted(evaluation.steps, key=lambda each: each.window_end):
        label = fingerprint({"endpoint": endpoint, "model": step.model, "family": step.family})
        for other in open_alerts(tx, endpoint, step.family):
            if other.model != step.model and step.window_end > other.updated:
                because = f"{step.model} took over"
                changed[other.alert_id] = move(tx, other, AlertState.RESOLVED, step.window_end, because)
        current = next(
            (each for each in open_alerts(tx, endpoint, step.family) if each.fingerprint == label), None
        )
        if current is not None and step.window_end <= current.updated:
            continue
        signal = Signal(step.window_end, over=step.over, sustained=step.sustained, clear=step.clear)
        state = next_state(current.state if current else None, signal)
        if current is None:
            if state is None or step.report is None:
                continue
            alert = Alert(
                alert_id=new_id(),
                fingerprint=label,
                endpoint=endpoint,
                model=step.model,
                family=step.family,
                state=AlertState.PENDING,
                opened=step.window_end,
                updated=step.window_end,
                report=step.report,
            )
            silent = silenced_before(tx, label, step.window_end)
            if silent is not None:
                alert = msgspec.structs.replace(
                    alert, silenced_until=silent.silenced_until, silenced_because=silent.silenced_because
                )
            put_alert(tx, alert)
            tx.edge(f"endpoint:{endpoint}", f"alert:{alert.alert_id}", "watched")
            tx.edge(step.model, f"alert:{alert.alert_id}", "concerns")
            tx.event(
                "alert.pending",
                f"alert:{alert.alert_id}",
                {"endpoint": endpoint, "family": step.family, "what": alert.report.what},
            )
            changed[alert.alert_id] = alert
            current = alert
        if state is not None and state is not current.state:
            because = "it did not persist" if current.state is AlertState.PENDING else "clear again"
            report = step.report or current.report
            moved = msgspec.structs.replace(current, report=report)
            changed[current.alert_id] = move(tx, moved, state, step.window_end, because)
        else:
            kept = msgspec.structs.replace(
                current, updated=step.window_end, report=_newer(current, step.report)
            )
            put_alert(tx, kept)
            if current.alert_id in changed:
                changed[current.alert_id] = kept
    return list(changed.values())


def _newer(alert: Alert, report: Report | None) -> Report:
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
