"""Rollouts: where one stands, what its evidence says, with the intervals that hold however often one looks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.client.apart import call_apart
from everloop.domain.rollouts import LIVE, TERMINAL, Plan, State
from everloop.errors import Conflict
from everloop.governance.identity import Permission, authorize
from everloop.rollout.records import RolloutDecision, RolloutRecord
from everloop.server.pages import plots
from everloop.server.pages.monitor_plots import TIME, at, short
from everloop.server.pages.rendering import Deed, Pages, Told, field
from everloop.workspace.workspace import Workspace

DECISIONS = 60


def routes(pages: Pages) -> list[BaseRoute]:
    one, shown = "/rollouts/{rollout}", "endpoints/rollout.html"
    return [
        *(
            pages.deed(one, name, _at_its_endpoint(act), shown, show, active="endpoints")
            for name, act in DEEDS.items()
        ),
        pages.page(one, shown, show, active="endpoints"),
    ]


def show(request: Request, workspace: Workspace) -> dict[str, Any]:
    record: RolloutRecord = workspace.rollout.rollout(request.path_params["rollout"])
    newest = current(workspace, record.endpoint)
    return {
        "possible": possible(newest) if newest and newest.rollout_id == record.rollout_id else Possible(),
        "crumbs": [
            ("Endpoints", "/endpoints"),
            (record.endpoint, f"/endpoints/{record.endpoint}"),
            (f"rollout of {short(record.candidate)}", None),
        ],
        "subject": record.reference,
        "rollout": described(workspace, record),
        "command": f"everloop rollout status {record.endpoint}",
    }


class Possible(msgspec.Struct, frozen=True):
    """What a person can do about an endpoint's newest rollout. `rollback`: who would answer again, or nobody."""

    promote: bool = False
    abort: bool = False
    rollback: str = ""
    start: bool = False


def possible(newest: RolloutRecord | None) -> Possible:
    """While the candidate answers nobody yet there is nothing to go back from, so it is aborted, not rolled back."""
    if newest is None or (newest.state in TERMINAL and newest.state is not State.PROMOTED):
        return Possible(start=True)
    if newest.state is State.PROMOTED:
        return Possible(rollback=newest.champion, start=True)
    live = newest.state in LIVE
    return Possible(promote=True, abort=not live, rollback=newest.champion if live else "")


def promote(workspace: Workspace, endpoint: str, form: dict[str, list[str]]) -> Told:
    """The candidate takes over; its gates are the project's own code, so they are asked in another process."""
    authorize(Permission.WRITE, "rollout.promote")
    done = call_apart(
        workspace, RolloutRecord, "rollout", "promote", endpoint=endpoint, because=field(form, "because")
    )
    return Told(
        f"{short(done.candidate)} answers '{endpoint}' now; the switch took {done.seconds or 0:.3f} s."
    )


def abort(workspace: Workspace, endpoint: str, form: dict[str, list[str]]) -> Told:
    done = workspace.rollout.abort(endpoint, because=field(form, "because"))
    return Told(
        f"The rollout of {short(done.candidate)} is aborted; {short(done.champion)} answers '{endpoint}'."
    )


def rollback(workspace: Workspace, endpoint: str, form: dict[str, list[str]]) -> Told:
    return Told(workspace.rollout.rollback(endpoint, because=field(form, "because")).sentence + ".")


def start(workspace: Workspace, endpoint: str, form: dict[str, list[str]]) -> Told:
    begun = workspace.rollout.start(endpoint, field(form, "model"), strategy=field(form, "strategy"))
    answers = "it answers a part of the requests" if begun.state in LIVE else "it answers nobody yet"
    return Told(f"The rollout of {short(begun.candidate)} has begun, in {begun.state}: {answers}.")


EndpointDeed = Callable[[Workspace, str, dict[str, list[str]]], Told]
DEEDS: dict[str, EndpointDeed] = {"promote": promote, "abort": abort, "rollback": rollback}
"""What can be done about a rollout, by the word in the address."""


def _at_its_endpoint(act: EndpointDeed) -> Deed:
    """The deed on the page of one rollout; an old one has no say any more."""

    def do(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
        record: RolloutRecord = workspace.rollout.rollout(request.path_params["rollout"])
        newest = current(workspace, record.endpoint)
        if newest is None or newest.rollout_id != record.rollout_id:
            raise Conflict(
                f"'{record.endpoint}' has had another rollout since",
                hint=f"see: /endpoints/{record.endpoint}",
            )
        return act(workspace, record.endpoint, form)

    return do


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
        "evidence": evidence(decisions, record.plan),
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


def evidence(decisions: list[RolloutDecision], plan: Plan) -> plots.Spec | None:
    """The e-values after each look, and the bars that a gain and a harm must reach to decide."""
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
    bars = [
        {"y": plan.bar, "label": f"a gain decides ({plan.bar:g})"},
        {"y": plan.harm_bar, "label": f"a harm decides ({plan.harm_bar:g})"},
    ]
    y = {"name": "e-value", "type": "log"}
    return plots.line("evidence", series, x=TIME, y=y, thresholds=bars, marks=_changes(decisions))


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
