"""The loop itself: what is live in each phase, what is open, what to do next, what just happened."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.alerts import Alert, AlertState
from everloop.domain.datasets import QUARANTINE
from everloop.domain.events import Event
from everloop.server.pages.rendering import Pages, link_to
from everloop.server.pages.wording import ago, event_icon, event_words
from everloop.workspace.workspace import Workspace

EVENTS = 14
LOOKED_AT = 400
ROUTINE = frozenset(
    {
        "monitoring.evaluated",
        "monitoring.actuals_added",
        "endpoint.predictions_collected",
        "data.checked",
        "run.logged",
        "run.artifacts",
        "run.checkpoint",
        "run.consumed",
        "run.produced",
        "run.changed",
    }
)
LOUD = frozenset({AlertState.FIRING, AlertState.ACKNOWLEDGED})


class Phase(msgspec.Struct, frozen=True):
    """One place of the ring. `state`: good, warn, bad, live or nothing; `word` says the same in a word."""

    room: str
    label: str
    href: str
    value: str = "nothing yet"
    note: str = ""
    state: str = ""
    word: str = ""


class Step(msgspec.Struct, frozen=True):
    """What makes sense now: a sentence, the command, and where to look."""

    sentence: str
    command: str
    href: str = ""


def routes(pages: Pages) -> list[BaseRoute]:
    return [pages.page("/", "overview.html", overview, active="overview")]


def overview(request: Request, workspace: Workspace) -> dict[str, Any]:
    now = workspace.clock()
    alerts = [each for each in workspace.monitoring.alerts(state="open") if each.state in LOUD]
    phases = [phase(workspace, now) for phase in PHASES]
    status = workspace.provenance.status()
    return {
        "phases": phases,
        "centre": {
            "name": workspace.settings.name[:28],
            "value": f"{status.events:,} events",
            "note": f"newest {ago(status.newest, now)}" if status.newest else "nothing happened yet",
        },
        "alerts": alerts[:5],
        "steps": next_steps(workspace, status.counts, alerts),
        "events": recent(workspace),
        "words": event_words,
        "icon_of": event_icon,
        "counts": status.counts,
        "command": "everloop status",
    }


def recent(workspace: Workspace) -> list[Event]:
    """The newest events without those that come with every run and every day."""
    events = workspace.governance.log(limit=LOOKED_AT, newest_first=True)
    return [each for each in events if not _is_routine(each.action)][:EVENTS]


def _is_routine(action: str) -> bool:
    return action in ROUTINE or action.endswith((".defined", "declared"))


def _data(workspace: Workspace, now: datetime) -> Phase:
    found = [each for each in workspace.data.datasets() if not each.name.endswith(f"/{QUARANTINE}")]
    if not found:
        return Phase("data", "Data", "/data")
    newest = max(found, key=lambda each: each.created)
    rejected = workspace.data.newest(f"{newest.name}/{QUARANTINE}")
    held = rejected is not None and rejected.created >= newest.created
    return Phase(
        "data",
        "Data",
        link_to(newest.latest),
        newest.latest.partition(":")[2],
        ago(newest.created, now),
        "warn" if held else "good",
        "rows in quarantine" if held else "",
    )


def _features(workspace: Workspace, now: datetime) -> Phase:
    found = workspace.features.views()
    if not found:
        return Phase("features", "Features", "/features")
    newest = max(found, key=lambda each: each.created)
    count = f"{len(found)} views" if len(found) > 1 else "1 view"
    return Phase("features", "Features", "/features", count, f"{newest.name} {ago(newest.created, now)}")


def _runs(workspace: Workspace, now: datetime) -> Phase:
    page = workspace.tracking.search(limit=1, count=True)
    if not page.runs:
        return Phase("runs", "Runs", "/runs")
    running = workspace.tracking.search("status = 'running'", limit=1, count=True)
    newest = page.runs[0]
    if running.total:
        return Phase("runs", "Runs", link_to(running.runs[0].reference), running.runs[0].name,
                     f"{running.total} of {page.total:,}", "live", "running")  # fmt: skip
    return Phase("runs", "Runs", "/runs", f"{page.total:,} runs", f"newest {ago(newest.start_time, now)}")


def _pipelines(workspace: Workspace, now: datetime) -> Phase:
    found = workspace.pipelines.runs(limit=1)
    if not found:
        return Phase("pipelines", "Pipelines", "/pipelines")
    newest = found[0]
    tone = {"finished": "good", "failed": "bad", "killed": "bad", "running": "live"}.get(
        newest.status, "warn"
    )
    return Phase(
        "pipelines",
        "Pipelines",
        f"/pipelines/{newest.pipeline}",
        newest.pipeline,
        ago(newest.started, now),
        tone,
        newest.status,
    )


def _models(workspace: Workspace, now: datetime) -> Phase:
    found = workspace.registry.models()
    if not found:
        return Phase("models", "Models", "/models")
    newest = max(found, key=lambda each: each.updated)
    if "champion" in newest.aliases:
        reference = f"model:{newest.name}@v{newest.aliases['champion']}"
        return Phase("models", "Models", link_to(reference), reference.partition(":")[2],
                     ago(newest.updated, now), "good", "champion")  # fmt: skip
    return Phase("models", "Models", f"/models/{newest.name}", f"{newest.name}@v{newest.latest}",
                 ago(newest.updated, now), "", "no champion")  # fmt: skip


def _endpoints(workspace: Workspace, now: datetime) -> Phase:
    found = workspace.serving.endpoints()
    if not found:
        return Phase("endpoints", "Endpoints", "/endpoints")
    newest = max(found, key=lambda each: each.updated)
    trying = [arm.mode for arm in newest.arms if arm.mode != "off" and arm.name != "champion"]
    word = "shadow" if "shadow" in trying else "canary" if "live" in trying else "live"
    note = f"revision {newest.revision}, {ago(newest.updated, now)}"
    return Phase("endpoints", "Endpoints", link_to(newest.reference), newest.name, note,
                 "good" if word == "live" else "live", word)  # fmt: skip


def _alerts(workspace: Workspace, now: datetime) -> Phase:
    found = workspace.monitoring.alerts()
    loud = [each for each in found if each.state in LOUD]
    if loud:
        newest = loud[0]
        return Phase("alerts", "Monitoring", link_to(f"alert:{newest.alert_id}"), f"{newest.endpoint}: {newest.family}",
                     f"since {newest.fired or newest.opened:%Y-%m-%d}", "bad", str(newest.state))  # fmt: skip
    if workspace.monitoring.monitors():
        past = [each for each in found if each.state == AlertState.RESOLVED]
        return Phase("alerts", "Monitoring", "/alerts", "no open alert",
                     f"{len(past)} in the past" if past else "", "good", "healthy")  # fmt: skip
    return Phase("alerts", "Monitoring", "/alerts", "no monitors yet")


def _loop(workspace: Workspace, now: datetime) -> Phase:
    found = workspace.loop.retrainings(limit=1)
    if not found:
        policies = len(workspace.loop.policies())
        value = (
            f"{policies} policies wait" if policies > 1 else "1 policy waits" if policies else "no policy yet"
        )
        return Phase("retrain", "Retraining", "/models", value)
    newest = found[0]
    status = str(newest.status)
    tone = _LOOP_TONES.get(status, "")
    value = newest.candidate.partition(":")[2] if newest.candidate else newest.model
    word = status.replace("_", " ")
    href = link_to(f"model:{newest.model}") + "#retrainings"
    return Phase("retrain", "Retraining", href, value, f"{newest.requested:%Y-%m-%d}", tone, word)


_LOOP_TONES = {
    "running": "live",
    "queued": "live",
    "rolling_out": "live",
    "waiting": "warn",
    "refused": "warn",
    "failed": "bad",
    "promoted": "good",
    "rolled_back": "warn",
    "stopped": "warn",
    "aborted": "",
}

PHASES: tuple[Callable[[Workspace, datetime], Phase], ...] = (
    _data,
    _features,
    _runs,
    _pipelines,
    _models,
    _endpoints,
    _alerts,
    _loop,
)


def next_steps(workspace: Workspace, counts: dict[str, int], alerts: list[Alert]) -> list[Step]:
    """What makes sense now, the most urgent first."""
    steps = [
        Step(
            f"Look at the open alert: {alert.report.what}.",
            f"everloop why alert:{alert.alert_id}",
            f"/alerts/{alert.alert_id}",
        )
        for alert in alerts[:1]
    ]
    if not counts["datasets"] and not counts["runs"]:
        steps.append(
            Step("See the whole life cycle on real flights, in a minute and a half.", "everloop demo flights")
        )
    if not counts["datasets"]:
        steps.append(
            Step(
                "Keep the data a model learns from, version by version.", "everloop data add PATH --name NAME"
            )
        )
    if not counts["runs"]:
        steps.append(Step("Track an experiment: with ev.start_run() as run, or run a pipeline.",
                          "everloop run train.py:pipeline"))  # fmt: skip
    elif not counts["models"]:
        steps.append(
            Step(
                "Register the best run's model, with all it came from.",
                "everloop models register RUN --name NAME",
            )
        )
    elif not counts["endpoints"]:
        steps.append(Step("Let a model answer over HTTP.", "everloop serve model:NAME@champion"))
    elif not workspace.monitoring.monitors():
        steps.append(
            Step(
                "Watch what the endpoint answers, and be told when it gets worse.",
                "everloop monitors apply definitions/monitors.py",
            )
        )
    return steps[:3]
