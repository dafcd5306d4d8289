"""What calls somebody and what does not: quiet streams stay quiet, each planted fault raises its own alert and no other."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from tests.support.streams import FIRST, MODEL, Days, Fault, FedMonitoring, make_days, reference_table

from everloop.domain.alerts import Alert
from everloop.domain.monitors import DAY, Monitor, monitor
from everloop.workspace.local import LocalWorkspace

MONITORS = [
    monitor("inputs", endpoint="delay", measure="drift"),
    monitor("missing", endpoint="delay", measure="missing"),
    monitor("categories", endpoint="delay", measure="categories"),
    monitor("loss", endpoint="delay", measure="excess_loss"),
    monitor("ranking", endpoint="delay", measure="daily_auc"),
    monitor("calibration", endpoint="delay", measure="calibration"),
    monitor("expected", endpoint="delay", measure="estimated"),
    monitor("latency", endpoint="delay", measure="latency"),
    monitor("errors", endpoint="delay", measure="errors"),
    monitor("groups", endpoint="delay", measure="group_gap", group="carrier"),
]


def watched(
    workspace: LocalWorkspace, days: Days, monitors: list[Monitor] = MONITORS, seed: int = 7
) -> FedMonitoring:
    room = FedMonitoring(workspace, days)
    room.declare(monitors)
    room.set_reference(MODEL, reference_table(seed))
    return room


def replay(room: FedMonitoring) -> list[Alert]:
    """Day by day, as it happens: the labels of a day come during the next one."""
    for start, (_, labels) in room.days.items():
        room.add_actuals("delay", labels, received=start + DAY + timedelta(hours=6))
        room.evaluate("delay", start + DAY + timedelta(hours=7))
    return room.alerts(endpoint="delay")


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_without_fault_calls_nobody(workspace: LocalWorkspace, seed: int) -> None:
    room = watched(workspace, make_days(seed, 30))
    fired = [alert for alert in replay(room) if alert.fired]
    assert fired == []


def _missing(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    dewp = columns["dewp"].copy()
    dewp[::2] = np.nan
    return {**columns, "dewp": dewp}


def _new_carrier(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    carrier = columns["carrier"].copy()
    carrier[::5] = "ZZ"
    return {**columns, "carrier": carrier}


def _flipped(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**columns, "label": 1 - columns["label"]}


def _failing(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    error = columns["error"].copy()
    error[::10] = "out of memory"
    return {**columns, "error": error}


def _slow(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**columns, "seconds": columns["seconds"] * 40}


def _unfair(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    score = np.where(columns["carrier"] == "UA", np.maximum(columns["score"], 0.5), columns["score"])
    return {**columns, "score": score}


@pytest.mark.parametrize(
    ("change", "family"),
    [
        (_missing, "inputs"),
        (_new_carrier, "inputs"),
        (_flipped, "performance"),
        (_failing, "service"),
        (_slow, "service"),
    ],
)
def test_each_fault_raises_its_own_alert_within_two_windows(
    workspace: LocalWorkspace, change: object, family: str
) -> None:
    room = watched(workspace, make_days(3, 16, fault=Fault(12, change)))  # type: ignore[arg-type]
    fired = [alert for alert in replay(room) if alert.fired]
    assert [alert.family for alert in fired] == [family]
    assert fired[0].fired is not None
    assert fired[0].fired <= FIRST + 14 * DAY
    assert fired[0].report.what
    assert fired[0].report.to_do


def test_a_group_treated_otherwise_is_an_alert_on_fairness(workspace: LocalWorkspace) -> None:
    room = watched(workspace, make_days(3, 16, fault=Fault(12, _unfair)))
    fired = {alert.family for alert in replay(room) if alert.fired}
    assert "fairness" in fired


def _warm(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**columns, "temp": columns["temp"] + 25, "dewp": columns["dewp"] + 25}


def test_drift_that_costs_nothing_is_noted_not_alarmed(workspace: LocalWorkspace) -> None:
    room = watched(workspace, make_days(3, 20, fault=Fault(8, _warm)))
    assert [alert for alert in replay(room) if alert.fired] == []
    noted = list(workspace.ledger.events(actions=["monitoring.noted"]))
    assert any("'temp'" in event.payload["text"] for event in noted)
    assert len(noted) < 6, "a note is said when it begins, not every day"
    assert {each["column"] for each in room.health("delay").drift} >= {"temp", "dewp"}


def test_a_slow_decline_is_one_alert_that_says_since_when_and_how_much(workspace: LocalWorkspace) -> None:
    def decline(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(int(columns["temp"][0] * 1e6) % 2**31)
        random = rng.random(columns["label"].size) < 0.25
        return {
            **columns,
            "label": np.where(random, (rng.random(columns["label"].size) < 0.5), columns["label"]).astype(
                float
            ),
        }

    room = watched(workspace, make_days(3, 60, fault=Fault(25, decline)))
    alerts = [alert for alert in replay(room) if alert.fired]
    assert [alert.family for alert in alerts] == ["performance"]
    report = alerts[0].report
    assert report.since is not None
    assert abs((report.since - FIRST) / DAY - 25) <= 7
    assert "excess log loss" in report.how_much
    assert report.findings[0]["low"] < report.findings[0]["effect"] < report.findings[0]["high"]


def test_an_alert_ends_when_the_fault_is_mended_and_stays_acknowledged_until_then(
    workspace: LocalWorkspace,
) -> None:
    days = make_days(3, 24)
    days |= {
        start: made
        for start, made in make_days(3, 16, fault=Fault(8, _missing)).items()
        if start >= FIRST + 8 * DAY
    }
    room = watched(workspace, days)
    acknowledged = False
    for start, (_, labels) in room.days.items():
        room.add_actuals("delay", labels, received=start + DAY + timedelta(hours=6))
        room.evaluate("delay", start + DAY + timedelta(hours=7))
        for alert in room.alerts(state="firing"):
            room.ack(f"alert:{alert.alert_id}", because="the feed's owner is told")
            acknowledged = True
    (alert,) = [alert for alert in room.alerts() if alert.fired]
    assert acknowledged
    assert alert.acknowledged_by
    assert str(alert.state) == "resolved"
    assert room.health("delay").alerts == []
