"""Labelling projects: the list, and one project with its progress, its people and how far they agree."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.labels import LabelItem, LabelProject, Order, Policy, Progress
from everloop.errors import InvalidInput
from everloop.server.pages import label_forms, markdown
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages, Told, field
from everloop.workspace.workspace import Workspace

PROJECTS = 200
DISPUTED = 12
"""Items shown whose annotators differ."""

ANSWERS_JUDGED = 20_000
"""Agreement of more answers takes a second or more: it is worked out when asked for."""

ROUNDS = 200


def routes(pages: Pages) -> list[BaseRoute]:
    here = "/labels/{project:path}"
    return [
        pages.page("/labels", "labels/list.html", projects, active="labels"),
        pages.deed(here, "arrange", arrange, "labels/project.html", project, active="labels"),
        pages.deed(here, "export", export, "labels/project.html", project, active="labels"),
        pages.deed(here, "close", close, "labels/project.html", project, active="labels"),
        pages.deed(here, "reopen", reopen, "labels/project.html", project, active="labels"),
        pages.page(here, "labels/project.html", project, active="labels"),
    ]


def projects(request: Request, workspace: Workspace) -> dict[str, Any]:
    found: list[LabelProject] = workspace.labels.projects()[:PROJECTS]
    return {
        "crumbs": [("Labels", None)],
        "projects": [(each, workspace.labels.progress(each.name)) for each in found],
        "command": "everloop label list",
    }


def project(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    found: LabelProject = workspace.labels.project(request.path_params["project"])
    progress: Progress = workspace.labels.progress(found.name)
    judged = progress.answers <= ANSWERS_JUDGED or here.get("agreement") == "1"
    several = len(progress.annotators) > 1
    return {
        "crumbs": [("Labels", "/labels"), (found.name, None)],
        "subject": found.reference,
        "project": found,
        "progress": progress,
        "guidelines": markdown.render(found.guidelines) if found.guidelines else "",
        "agreement": workspace.labels.agreement(found.name, rounds=ROUNDS) if several and judged else [],
        "work_it_out": here.but({"agreement": "1"}) + "#agreement" if several and not judged else None,
        "disputed": [
            _disputed(workspace, found, each)
            for each in workspace.labels.items(found.name, differs=True, limit=DISPUTED)
        ],
        "models": workspace.labels.suggesting_models(found.name),
        "made": workspace.labels.made_of(found.name),
        "orders": [str(each) for each in Order],
        "policies": [str(each) for each in Policy],
        "command": f"everloop label show {found.typed}",
    }


def _disputed(workspace: Workspace, found: LabelProject, item: LabelItem) -> dict[str, Any]:
    """An item whose annotators differ, with what each says."""
    said = [each for each in workspace.labels.history(found.name, item.number) if each.counts]
    return {
        "item": item,
        "what": label_forms.glance(workspace.labels.content(found.name, item.number), item.key),
        "said": [(each.user, label_forms.in_words(found.questions, each.answers)) for each in said],
    }


def arrange(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    by = field(form, "by")
    if by not in [str(each) for each in Order]:
        raise InvalidInput("choose an order", hint=f"orders: {', '.join(Order)}")
    models = [each for each in form.get("model", []) if each]
    seed = field(form, "seed") or "0"
    if not seed.isdecimal() or len(seed) > 9:
        raise InvalidInput("the seed is a whole number", hint="such as 0")
    workspace.labels.arrange(request.path_params["project"], Order(by), seed=int(seed), models=models)
    return Told(f"The queue is in another order now: {by}.")


def export(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    name, policy = field(form, "name", 250), field(form, "policy")
    if not name:
        raise InvalidInput("the dataset needs a name", hint="such as reviews/labelled")
    made = workspace.labels.export(
        request.path_params["project"], name, Policy(policy or "majority"), field(form, "because")
    )
    what = "was there already" if made.unchanged else "is made"
    undecided = f" {made.undecided:,} items have no answer by this policy." if made.undecided else ""
    return Told(
        f"{made.reference} {what}: {made.rows:,} rows.{undecided}", tone="warn" if made.unchanged else "good"
    )


def close(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    found = workspace.labels.close(request.path_params["project"], field(form, "because"))
    return Told(f"{found.name} is closed: nothing is said of its items any more.")


def reopen(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    found = workspace.labels.reopen(request.path_params["project"], field(form, "because"))
    return Told(f"{found.name} takes answers again.")
