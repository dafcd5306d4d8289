"""Triggers beside the pipelines they start: when next, what came of the last times, and what a person can do about them."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request

from everloop.loop.triggers.records import Firing, TriggerRecord
from everloop.server.pages.rendering import Deed, Told, field
from everloop.workspace.workspace import Workspace

MOST_FIRINGS = 20
"""Firings of one pipeline's triggers that are shown, the newest first."""


def triggers_of(workspace: Workspace, pipeline: str, source: str) -> list[TriggerRecord]:
    """The triggers that start a pipeline: named by where it is, or by its name alone."""
    found: list[TriggerRecord] = workspace.loop.triggers()
    return [each for each in found if each.declaration.pipeline in (source, pipeline)]


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
        if each.declaration.pipeline:
            words = f"{each.on} (paused)" if each.paused else each.on
            before = found.get(each.declaration.pipeline)
            found[each.declaration.pipeline] = f"{before}; {words}" if before else words
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
