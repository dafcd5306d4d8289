"""Alerts: what is wrong, since when, how much, what was tested, what to do; and saying that one looks after it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.alerts import Alert, AlertState
from everloop.errors import InvalidInput
from everloop.server.pages import monitor_plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages, Told, field
from everloop.workspace.workspace import Workspace

PAGE = 50
SILENCES = ("1", "3", "7", "30")
"""Days for which nobody is called."""
STATES = ("open", "firing", "acknowledged", "pending", "resolved", "all")


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/alerts", "alerts/list.html", alerts, active="alerts"),
        pages.action("/alerts/{alert}/ack", acknowledge),
        pages.deed("/alerts/{alert}", "silence", silence, "alerts/alert.html", show, active="alerts"),
        pages.page("/alerts/{alert}", "alerts/alert.html", show, active="alerts"),
    ]


def alerts(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    state, endpoint, first = here.choice("state", STATES), here.get("endpoint"), here.number("from")
    found: list[Alert] = workspace.monitoring.alerts(
        endpoint=endpoint, state="" if state == "all" else state, limit=first + PAGE + 1
    )
    open_now: list[Alert] = workspace.monitoring.alerts(state="open")
    counts = {"open": len(open_now)} | {
        each: sum(alert.state == each for alert in open_now) for each in ("firing", "acknowledged", "pending")
    }
    return {
        "crumbs": [("Alerts", None)],
        "here": here,
        "state": state,
        "endpoint": endpoint,
        "alerts": found[first : first + PAGE],
        "next": here.but({"from": first + PAGE}) if len(found) > first + PAGE else None,
        "choices": [
            (
                each.capitalize() + (f" {counts[each]}" if counts.get(each) else ""),
                here.but({"state": each if each != STATES[0] else None, "from": None, "acknowledged": None}),
                each == state,
            )
            for each in STATES
        ],
        "monitored": bool(workspace.monitoring.monitors()),
        "acknowledged": here.get("acknowledged"),
        "command": "everloop alerts list" + (f" --state {state}" if state not in ("open", "all") else ""),
    }


def show(request: Request, workspace: Workspace) -> dict[str, Any]:
    alert: Alert = workspace.monitoring.alert(request.path_params["alert"])
    names = [each["monitor"] for each in alert.report.findings]
    days = monitor_plots.Days(workspace, alert.endpoint, monitor_plots.DAYS_SHOWN)
    return {
        "crumbs": [("Alerts", "/alerts"), (f"{alert.family} of {alert.endpoint}", None)],
        "subject": f"alert:{alert.alert_id}",
        "alert": alert,
        "silent": alert.silenced_until if _is_silent(workspace, alert) else None,
        "may_ack": alert.state in (AlertState.FIRING, AlertState.PENDING),
        "charts": [chart for chart in days.monitor_charts() if chart["name"] in names],
        "heat": days.heat_maps(only=set(names)),
        "retrainings": [each for each in workspace.loop.retrainings() if each.alert == alert.alert_id],
        "to_do": alert.report.to_do.replace("alert:…", f"alert:{alert.alert_id}"),
        "command": f"everloop alerts show {alert.alert_id}",
    }


def silence(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    days = field(form, "days")
    if days not in SILENCES:
        raise InvalidInput(
            f"a silence lasts {', '.join(SILENCES)} days", hint="or: everloop alerts silence --until"
        )
    until = workspace.clock() + timedelta(days=int(days))
    alert = workspace.monitoring.silence(
        ref=request.path_params["alert"], until=until, because=field(form, "because")
    )
    return Told(f"Nobody is called about it until {alert.silenced_until:%Y-%m-%d %H:%M} UTC.")


def _is_silent(workspace: Workspace, alert: Alert) -> bool:
    return alert.silenced_until is not None and alert.silenced_until > workspace.clock()


def acknowledge(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    alert = workspace.monitoring.ack(request.path_params["alert"], because=field(form, "because"))
    if field(form, "from") == "list":
        return f"/alerts?acknowledged={alert.alert_id}"
    return f"/alerts/{alert.alert_id}"
