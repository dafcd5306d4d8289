"""Alerts: one for each thing that goes wrong, from the first suspicion to the end, however often it is
measured.

    pending ──► firing ──► resolved
       │          │  ▲
       │          ▼  │ (it comes back within the quiet time)
       │     acknowledged ──► resolved
       └──► resolved (it did not persist)
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from everloop.domain.canonical import digest_of


class AlertState(StrEnum):
    PENDING = "pending"
    """Measured once, not yet often enough to call someone."""
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


OPEN = frozenset({AlertState.PENDING, AlertState.FIRING, AlertState.ACKNOWLEDGED})
CALLING = frozenset({AlertState.FIRING, AlertState.ACKNOWLEDGED})
"""The states in which something is wrong for certain."""


class Report(msgspec.Struct, frozen=True):
    """What an alert tells: what, since when, how much, what was tested, what to do, and the numbers behind
    it."""

    what: str
    since: datetime | None
    how_much: str
    tested: str
    to_do: str
    findings: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    """Drift and the like that was noted in the same time: possible causes, not proven ones."""


class Alert(msgspec.Struct, frozen=True):
    """One episode. Two episodes of the same thing share the `fingerprint`, not the identifier."""

    alert_id: str
    fingerprint: str
    endpoint: str
    model: str
    family: str
    state: AlertState
    opened: datetime
    """The window in which it was first measured."""
    updated: datetime
    report: Report
    fired: datetime | None = None
    acknowledged_by: str = ""
    acknowledged_because: str = ""
    resolved: datetime | None = None
    resolved_because: str = ""
    silenced_until: datetime | None = None
    silenced_because: str = ""


class Signal(msgspec.Struct, frozen=True):
    """What one window says about one fingerprint.

    over: some monitor that calls people is over its floor. sustained: one has been for as long as its rule
    asks. clear: all of them have been clear for as long as their rules ask.
    """

    window_end: datetime
    over: bool
    sustained: bool
    clear: bool


def fingerprint(labels: dict[str, str]) -> str:
    """What makes two alarms the same: a digest of their labels, whatever their order.

    >>> fingerprint({"endpoint": "delay", "family": "inputs"}) == fingerprint({"family": "inputs", "endpoint": "delay"})
    True
    """
    return digest_of(labels)[:16]


def next_state(state: AlertState | None, signal: Signal) -> AlertState | None:
    """The state after a window; None: there is no alert. Pure: the same signals give the same states.

    >>> from datetime import UTC, datetime
    >>> over = Signal(datetime(2026, 1, 1, tzinfo=UTC), over=True, sustained=False, clear=False)
    >>> next_state(None, over)
    <AlertState.PENDING: 'pending'>
    >>> next_state(AlertState.PENDING, msgspec.structs.replace(over, sustained=True))
    <AlertState.FIRING: 'firing'>
    """
    if state is None or state is AlertState.RESOLVED:
        if signal.sustained:
            return AlertState.FIRING
        return AlertState.PENDING if signal.over else None
    if state is AlertState.PENDING:
        if signal.sustained:
            return AlertState.FIRING
        return AlertState.PENDING if signal.over else AlertState.RESOLVED
    return AlertState.RESOLVED if signal.clear else state
