"""Experiments: how many runs each has, what it is for; made, renamed, deleted and brought back here."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.runs import DEFAULT_EXPERIMENT_ID, NOTE, Experiment
from everloop.errors import NotFound
from everloop.server.pages import markdown
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

MOST_SHOWN = 500
MOST_OFFERED = 200
STATES = ("active", "deleted", "all")


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/experiments", "runs/experiments.html", table, active="runs"),
        pages.action("/experiments/create", create),
        pages.action("/experiments/{number}/rename", rename),
        pages.action("/experiments/{number}/note", write_note),
        pages.action("/experiments/{number}/state", set_state),
    ]


def table(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    state, text = here.choice("state", STATES), here.get("name").strip()
    found: list[Experiment] = workspace.tracking.experiments(state)  # type: ignore[arg-type]
    matching = [each for each in found if text.lower() in each.name.lower()]
    matching.sort(key=lambda each: (each.id != DEFAULT_EXPERIMENT_ID, each.name.lower()))
    return {
        "crumbs": [("Runs", "/runs"), ("Experiments", None)],
        "here": here,
        "of_runs": Address("/runs"),
        "state": state,
        "text": text,
        "experiments": [(each, folder_of(each.name)) for each in matching[:MOST_SHOWN]],
        "matching": len(matching),
        "default": DEFAULT_EXPERIMENT_ID,
        "note_of": lambda each: markdown.render(each.tags[NOTE]) if each.tags.get(NOTE) else "",
        "note_text": lambda each: each.tags.get(NOTE, ""),
        "runs_of": lambda each: f"/runs?experiment={quote(each.name, safe='')}",
        "command": "everloop runs list" + (f" --state {state}" if state != "active" else ""),
    }


class Offered(msgspec.Struct, frozen=True):
    """The experiments that a filter offers: the newest, and the one it has. `has_more`: there are older ones."""

    experiments: list[Experiment]
    has_more: bool

    @property
    def anything(self) -> bool:
        """Whether there may be runs at all."""
        return self.has_more or any(each.runs for each in self.experiments)


def offered(workspace: Workspace, chosen: str) -> Offered:
    newest = workspace.tracking.search_experiments(limit=MOST_OFFERED)
    found = {each.id: each for each in newest.experiments}
    if chosen and newest.next_page and chosen not in {each.name for each in found.values()}:
        with suppress(NotFound):  # said where its runs are searched
            one = workspace.tracking.experiment(chosen)
            found[one.id] = one
    return Offered([found[number] for number in sorted(found)], newest.next_page is not None)


def folder_of(name: str) -> str:
    """The folder that a name says an experiment is in.

    >>> folder_of("team/flights/delay"), folder_of("delay")
    ('team/flights', '')
    """
    return name.rpartition("/")[0]


def create(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    made = workspace.tracking.create_experiment(_field(form, "name").strip())
    return f"/experiments#experiment-{made.id}"


def rename(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    changed = workspace.tracking.rename_experiment(_number(request), _field(form, "name").strip())
    return f"/experiments#experiment-{changed.id}"


def write_note(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    text = _field(form, "note").replace("\r\n", "\n").strip()
    changed = workspace.tracking.tag_experiment(_number(request), {NOTE: text})
    return f"/experiments#experiment-{changed.id}"


def set_state(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    wanted = "deleted" if _field(form, "state") == "deleted" else "active"
    workspace.tracking.set_experiment_state(_number(request), wanted)  # type: ignore[arg-type]
    return "/experiments?state=deleted" if wanted == "deleted" else "/experiments"


def _number(request: Request) -> str:
    return str(request.path_params["number"])


def _field(form: dict[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0]
