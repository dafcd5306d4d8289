"""Triggers, on pages of their own and beside the pipelines they start: when next, what came of the last times, and what a
person can do about them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.firings import FiringStatus
from everloop.loop.triggers.records import Firing, TriggerRecord
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Deed, Pages, Told, field
from everloop.workspace.workspace import Workspace

MOST_FIRINGS = 20
"""Firings of one pipeline's triggers that are shown, the newest first."""

PAGE = 100
STATES = ("all", *(str(each) for each in FiringStatus))


def routes(pages: Pages) -> list[BaseRoute]:
    every, one = ("/triggers", "triggers/list.html"), ("/triggers/{name:path}", "triggers/trigger.html")
    return [
        pages.page(*every, triggers, active="triggers"),
        *(
            pages.deed(every[0], word, act, every[1], triggers, active="triggers")
            for word, act in DEEDS.items()
        ),
        *(pages.deed(one[0], word, act, one[1], trigger, active="triggers") for word, act in DEEDS.items()),
        pages.page(*one, trigger, active="triggers"),
    ]


def triggers(request: Request, workspace: Workspace) -> dict[str, Any]:
    return {
        "crumbs": [("Triggers", None)],
        "triggers": workspace.loop.triggers(),
        "firings": workspace.loop.firings(limit=MOST_FIRINGS),
        "command": "everloop triggers list",
    }


def trigger(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    record: TriggerRecord = workspace.loop.trigger(request.path_params["name"])
    state = here.choice("state", STATES)
    status = "" if state == "all" else state
    found: list[Firing] = workspace.loop.firings(
        trigger=record.name, status=status, limit=PAGE + 1, before=here.get("before")
    )
    return {
        "crumbs": [("Triggers", "/triggers"), (record.name, None)],
        "subject": f"trigger:{record.name}",
        "here": here,
        "trigger": record,
        "firings": found[:PAGE],
        "next": here.but({"before": found[PAGE - 1].id}) if len(found) > PAGE else None,
        "backfills": workspace.loop.backfills(trigger=record.name),
        "choices": [
            (each, here.but({"state": each if each != "all" else None, "before": None}), each == state)
            for each in STATES
        ],
        "state": state,
        "command": f"everloop triggers show {shlex.quote(record.name)}",
    }


def triggers_of(workspace: Workspace, pipeline: str, source: str) -> list[TriggerRecord]:
    """The triggers that start a pipeline, or a sweep of it: named by where it is, or by its name alone."""
    found: list[TriggerRecord] = workspace.loop.triggers()
    return [
        each
        for each in found
        if {each.declaration.pipeline, each.declaration.sweep} & {source, pipeline} - {""}
    ]


def firings_of(workspace: Workspace, triggers: list[TriggerRecord]) -> list[Firing]:
    """What set these triggers off lately, those that were missed or skipped too."""
    found = [
        each
        for trigger in triggers
        for each in workspace.loop.firings(trigger=trigger.name, limit=MOST_FIRINGS)
    ]
    return sorted(found, key=lambda each: each.id, reverse=True)[:MOST_FIRINGS]


def schedules(workspace: Workspace) -> dict[str, str]:
    """What starts each pipeline by itself, in words, by where the pipeline is."""
    found: dict[str, str] = {}
    for each in workspace.loop.triggers():
        started = each.declaration.pipeline or each.declaration.sweep
        if started:
            words = f"{each.on} (paused)" if each.paused else each.on
            if each.declaration.sweep:
                words = f"a sweep: {words}"
            before = found.get(started)
            found[started] = f"{before}; {words}" if before else words
    return found


def _fired(workspace: Workspace, name: str, because: str) -> Told:
    firing = workspace.loop.fire(name)
    return Told(f"{name} was set off; a server that runs carries it out.", hint=f"firing {firing.id[:12]}")


def _paused(workspace: Workspace, name: str, because: str) -> Told:
    workspace.loop.pause_trigger(name, because)
    return Told(f"{name} is paused: nothing sets it off until it goes on.")


def _resumed(workspace: Workspace, name: str, because: str) -> Told:
    record = workspace.loop.resume_trigger(name)
    return Told(f"{record.name} goes on; times that passed in the pause are recorded as skipped.")


def _deed(act: Callable[[Workspace, str, str], Told]) -> Deed:
    def done(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
        return act(workspace, field(form, "trigger"), field(form, "because"))

    return done


DEEDS: dict[str, Deed] = {"fire": _deed(_fired), "pause": _deed(_paused), "resume": _deed(_resumed)}
"""What can be done to a trigger, by the last word of the address that it is sent to."""
