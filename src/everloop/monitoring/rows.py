"""Rows of the ledger as the room's records, and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.alerts import OPEN, Alert, AlertState, Report
from everloop.domain.monitors import Monitor, Outcome, Reading, Streak
from everloop.domain.names import shown
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.monitoring.records import ActualsBatch, ResultRecord, WindowRecord
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.monitoring import alerts, monitors, outcomes


def monitors_of(look: Reader, endpoint: str) -> list[Monitor]:
    query = sa.select(monitors.c.declaration).order_by(monitors.c.endpoint, monitors.c.name)
    if endpoint:
        query = query.where(monitors.c.endpoint == endpoint)
    return [msgspec.convert(row.declaration, Monitor) for row in look.all(query)]


def outcome_of(look: Reader, endpoint: str) -> Outcome:
    declared = look.scalar(sa.select(outcomes.c.declaration).where(outcomes.c.endpoint == endpoint))
    return msgspec.convert(declared, Outcome) if declared is not None else Outcome(endpoint)


def batch_of(row: Any) -> ActualsBatch:
    return ActualsBatch(size=0, **row._mapping)


def window_of(row: Any) -> WindowRecord:
    return WindowRecord(**{name: value for name, value in row._mapping.items() if name != "computed"})


def result_of(row: Any) -> ResultRecord:
    return ResultRecord(
        endpoint=row.endpoint,
        monitor=row.monitor,
        model=row.model,
        start=row.start,
        over=row.over,
        streak=Streak(row.over_streak, row.clear_streak),
        sustained=row.sustained,
        readings=msgspec.convert(row.readings, tuple[Reading, ...]),
    )


def alert_of(row: Any) -> Alert:
    fields = {**row._mapping, "state": AlertState(row.state), "report": msgspec.convert(row.report, Report)}
    return Alert(**fields)


def open_alerts(look: Reader, endpoint: str) -> list[Alert]:
    """An endpoint's alerts that are not resolved."""
    states = [str(each) for each in OPEN]
    query = sa.select(alerts).where(alerts.c.endpoint == endpoint, alerts.c.state.in_(states))
    return [alert_of(row) for row in look.all(query.order_by(alerts.c.opened, alerts.c.alert_id))]


def silenced_before(look: Reader, fingerprint: str, moment: datetime) -> Alert | None:
    """The newest alert of a fingerprint that is silenced beyond a moment."""
    same = sa.and_(alerts.c.fingerprint == fingerprint, alerts.c.silenced_until > moment)
    row = look.first(sa.select(alerts).where(same).order_by(alerts.c.opened.desc()).limit(1))
    return alert_of(row) if row is not None else None


def find_alert(look: Reader, ref: str) -> Alert:
    reference = Reference.parse(ref, Kind.ALERT)
    rows = look.all(sa.select(alerts).where(alerts.c.alert_id.startswith(reference.name)).limit(2))
    if not rows:
        raise NotFound(f"there is no alert {reference.name}", hint="see: everloop alerts list")
    if len(rows) > 1:
        raise InvalidInput(f"more than one alert begins with {reference.name}", hint="give more digits")
    return alert_of(rows[0])


def put_alert(tx: Transaction, alert: Alert) -> None:
    row = {name: getattr(alert, name) for name in alert.__struct_fields__}
    tx.put(alerts, {**row, "state": str(alert.state), "report": msgspec.to_builtins(alert.report)})


def checked_state(text: str) -> str:
    states = [str(each) for each in AlertState]
    if text not in states:
        raise InvalidInput(
            f"an alert is never {shown(text)}",
            hint=nearest(text, states) or f"states: open, {', '.join(states)}",
        )
    return text
