"""Rollouts: where one stands, what its evidence says, with the intervals that hold however often one looks."""

from __future__ import annotations

import itertools
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.rollout.records import RolloutDecision, RolloutRecord
from everloop.server.pages import plots
from everloop.server.pages.monitor_plots import TIME, at, short
from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

DECISIONS = 60


def routes(pages: Pages) -> list[BaseRoute]:
    return [pages.page("/rollouts/{rollout}", "endpoints/rollout.html", show, active="endpoints")]


def show(request: Request, workspace: Workspace) -> dict[str, Any]:
    record: RolloutRecord = workspace.rollout.rollout(request.path_params["rollout"])
    return {
        "crumbs": [
            ("Endpoints", "/endpoints"),
            (record.endpoint, f"/endpoints/{record.endpoint}"),
            (f"rollout of {short(record.candidate)}", None),
        ],
        "subject": record.reference,
        "rollout": described(workspace, record),
        "command": f"everloop rollout status {record.endpoint}",
    }


def current(workspace: Workspace, endpoint: str) -> RolloutRecord | None:
    """The rollout that is going on at an endpoint."""
    found: RolloutRecord | None = workspace.rollout.current(endpoint)
    return found


def listed(workspace: Workspace, endpoint: str) -> list[RolloutRecord]:
    """The rollouts of an endpoint, newest first."""
    found: list[RolloutRecord] = workspace.rollout.rollouts(endpoint=endpoint)
    return found


def latest(workspace: Workspace, endpoint: str) -> dict[str, Any] | None:
    """The newest rollout of an endpoint as its pages show it."""
    found = listed(workspace, endpoint)
    return described(workspace, found[0]) if found else None


def described(workspace: Workspace, record: RolloutRecord) -> dict[str, Any]:
    """A rollout with its decisions and their picture."""
    decisions: list[RolloutDecision] = workspace.rollout.decisions(record.rollout_id)
    return {
        "record": record,
        "decisions": decisions[::-1][:DECISIONS],
        "count": len(decisions),
        "gain": gain(decisions),
        "evidence": evidence(decisions, record.plan.alpha),
    }


def gain(decisions: list[RolloutDecision]) -> plots.Spec | None:
    """The mean gain of the candidate after each look, with the confidence sequence around it."""
    points = [(at(each.time), each.evidence) for each in decisions if each.evidence.get("gain") is not None]
    if len(points) < 2:
        return None
    series = {
        "name": "gain in loss",
        "points": [[moment, plots.finite(found["gain"])] for moment, found in points],
        "band": [
            [moment, found["gain_low"], found["gain_high"]]
            for moment, found in points
            if found.get("gain_low") is not None and found.get("gain_high") is not None
        ],
    }
    return plots.line(
        "gain", [series], x=TIME, y={"name": "gain over the champion"}, thresholds=[{"y": 0, "label": "equal"}],
        marks=_changes(decisions),
    )  # fmt: skip


def evidence(decisions: list[RolloutDecision], alpha: float) -> plots.Spec | None:
    """The e-values after each look: beyond 1/alpha the evidence decides."""
    names = {
        "e_gain": "candidate is better",
        "e_harm": "candidate is worse",
        "e_errors": "candidate fails more",
    }
    series = []
    for key, name in names.items():
        points = [[at(each.time), plots.finite(each.evidence.get(key))] for each in decisions]
        if sum(value is not None for _, value in points) > 1:
            series.append({"name": name, "key": key, "points": points})
    if not series:
        return None
    threshold = [{"y": 1 / alpha, "label": f"decides ({1 / alpha:.0f})"}]
    y = {"name": "e-value", "type": "log"}
    return plots.line("evidence", series, x=TIME, y=y, thresholds=threshold, marks=_changes(decisions))


def _changes(decisions: list[RolloutDecision]) -> list[dict[str, Any]]:
    """Where the rollout went from one stage to the next."""
    marks = []
    for before, after in itertools.pairwise(decisions):
        if before.state != after.state or before.weight != after.weight:
            share = f" {after.weight:.0%}" if after.weight else ""
            marks.append(
                {
                    "at": at(after.time),
                    "kind": "deployment",
                    "label": str(after.state).replace("_", " ") + share,
                }
            )
    return marks
