"""Where items are labelled and answers reviewed: one item, what is asked, and the keys that do it quickly.

Reading and answering work without a script, boxes and spans by their numbers; `labelling.ts` adds keys and drawing.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from everloop.domain.labels import Assignment, Entry, ItemState, LabelItem, LabelProject
from everloop.errors import InvalidInput, NotFound, TooLarge
from everloop.governance.identity import Permission, permits
from everloop.server.pages import label_forms, markdown
from everloop.server.pages.addresses import Address
from everloop.server.pages.artifacts import LARGEST_RAW, PICTURES, SANDBOX
from everloop.server.pages.rendering import Pages, Told, field, link_to
from everloop.workspace.workspace import Workspace

ORIGIN = "page"
PICTURES_SHOWN = {ending: kind for ending, kind in PICTURES.items() if ending != "svg"}


def routes(pages: Pages) -> list[BaseRoute]:
    # A name has no `@`: what stands behind one is never part of it.
    label, review = "/labels/{project:path}@label", "/labels/{project:path}@review"
    labelling = ("labels/label.html", label_page)
    reviewing = ("labels/review.html", review_page)
    return [
        pages.file("/labels/{project:path}@image/{item:int}", picture),
        pages.deed(label, "answer", answer, *labelling, active="labels"),
        pages.deed(label, "skip", skip, *labelling, active="labels"),
        pages.deed(label, "undo", undo, *labelling, active="labels"),
        pages.page(label, *labelling, active="labels"),
        pages.deed(review, "accept", accept, *reviewing, active="labels"),
        pages.deed(review, "reject", reject, *reviewing, active="labels"),
        pages.deed(review, "correct", correct, *reviewing, active="labels"),
        pages.page(review, *reviewing, active="labels"),
    ]


def label_page(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    project: LabelProject = workspace.labels.project(_project(request))
    context = _frame(workspace, project, "label") | {
        "crumbs": [("Labels", "/labels"), (project.name, link_to(project.reference)), ("label", None)],
        "one": here.get("item") != "",
        "given": None,
        "mine": None,
    }
    if project.closed is not None or not permits(request.state.actor.role, Permission.WRITE):
        return context
    if here.get("item"):
        given: Assignment = workspace.labels.take(project.name, here.number("item"))
    else:
        given = workspace.labels.next_item(project.name)
    if given.item is None:
        return context | {"elsewhere": given.elsewhere}
    history: list[Entry] = workspace.labels.history(project.name, given.item.number)
    mine = next((each for each in history if each.counts and each.user == request.state.actor.user), None)
    shown = _seen(project, given.item, given.content)
    # What a model suggests is shown, never chosen before somebody looked.
    answers = mine.answers if mine is not None else {}
    return context | {
        "given": given,
        "mine": mine,
        "shown": shown,
        "fields": label_forms.fields(project.questions, shown, answers),
        "suggestions": [
            (each.model, label_forms.in_words(project.questions, each.answers), each.score)
            for each in given.suggestions
            if each.answers
        ],
        "may_answer": given.item.state is not ItemState.REVIEWED,
    }


def answer(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    project: LabelProject = workspace.labels.project(_project(request))
    said = workspace.labels.annotate(
        project.name,
        _item(form),
        label_forms.answered(project.questions, form),
        seconds=_seconds(form),
        origin=ORIGIN,
    )
    return Told(
        f"{said.key}: {'; '.join(words for _, words in label_forms.in_words(project.questions, said.answers)) or 'answered'}"
    )


def skip(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    said = workspace.labels.skip(
        _project(request), _item(form), comment=field(form, "because"), origin=ORIGIN
    )
    return Told(f"{said.key}: skipped")


def undo(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    said = workspace.labels.undo(_project(request), origin=ORIGIN)
    return Told(f"{said.key}: taken back")


def review_page(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    project: LabelProject = workspace.labels.project(_project(request))
    only = here.choice("only", ("all", "differs"))
    item: LabelItem | None = workspace.labels.next_review(
        project.name, after=here.number("after") - 1, differs=True if only == "differs" else None
    )
    context = _frame(workspace, project, "review") | {
        "crumbs": [("Labels", "/labels"), (project.name, link_to(project.reference)), ("review", None)],
        "item": item,
        "from_start": here.but({"after": None}) if here.get("after") else None,
        "choices": [
            ("All that are answered", here.but({"only": None, "after": None}), only == "all"),
            ("Where annotators differ", here.but({"only": "differs", "after": None}), only == "differs"),
        ],
    }
    if item is None:
        return context
    place: int = workspace.labels.place(project.name, item.number)
    shown = _seen(project, item, workspace.labels.content(project.name, item.number))
    history: list[Entry] = workspace.labels.history(project.name, item.number)
    me = request.state.actor.user
    answers = [
        {
            "entry": each,
            "own": each.user == me,
            "words": label_forms.in_words(project.questions, each.answers),
            "fields": label_forms.fields(project.questions, shown, each.answers, prefix=f"a{at}"),
        }
        for at, each in enumerate(each for each in history if each.counts)
    ]
    theirs = [each for each in answers if not each["own"]]
    start = theirs[0]["entry"].answers if theirs else {}
    return context | {
        "shown": shown,
        "answers": answers,
        "theirs": theirs,
        "fields": label_forms.fields(project.questions, shown, start),
        "history": [each for each in history if not each.counts],
        "next": here.but({"after": place + 1}),
    }


def accept(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    said = workspace.labels.accept(_project(request), field(form, "entry"), comment=field(form, "because"))
    return Told(f"{said.key}: accepted")


def reject(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    said = workspace.labels.reject(_project(request), field(form, "entry"), comment=field(form, "because"))
    return Told(f"{said.key}: sent back")


def correct(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    project: LabelProject = workspace.labels.project(_project(request))
    answers = label_forms.answered(project.questions, form)
    said = workspace.labels.correct(
        project.name, field(form, "entry"), answers, comment=field(form, "because")
    )
    return Told(f"{said.key}: corrected")


def picture(request: Request, workspace: Workspace) -> Response:
    """The picture of an item: bytes that a user uploaded, sandboxed, and only as the kind of picture that its name says."""
    content = workspace.labels.content(_project(request), request.path_params["item"])
    found = next((each for each in content.values() if isinstance(each, dict) and "digest" in each), None)
    media = PICTURES_SHOWN.get(found["path"].rpartition(".")[2].lower()) if found is not None else None
    if found is None or media is None:
        raise NotFound("this item has no picture")
    if found["size"] > LARGEST_RAW:
        raise TooLarge(f"{found['path']} has {found['size']:,} bytes")
    headers = {
        "Content-Security-Policy": SANDBOX,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, max-age=3600",
    }
    return Response(workspace.objects.read(found["digest"]), media_type=media, headers=headers)


def _frame(workspace: Workspace, project: LabelProject, verb: str) -> dict[str, Any]:
    return {
        "subject": project.reference,
        "project": project,
        "base": f"{link_to(project.reference)}@{verb}",
        "guidelines": markdown.render(project.guidelines) if project.guidelines else "",
        "done": project.items - workspace.labels.count(project.name)
        if verb == "label"
        else workspace.labels.count(project.name, "reviewed"),
        "elsewhere": 0,
        "command": f"everloop label {'answer' if verb == 'label' else 'review'} {project.typed} ITEM …",
    }


def _seen(project: LabelProject, item: LabelItem, content: dict[str, Any]) -> list[dict[str, Any]]:
    looks = {each.column: str(each.look) for each in project.shown}
    return label_forms.seen(content, looks, f"{link_to(project.reference)}@image/{item.number}")


def _project(request: Request) -> str:
    return str(request.path_params["project"])


def _item(form: dict[str, list[str]]) -> int:
    text = field(form, "item")
    if not text.isdecimal() or len(text) > 9:
        raise InvalidInput("the form does not say which item it is about", hint="load the page again")
    return int(text)


def _seconds(form: dict[str, list[str]]) -> float | None:
    try:
        return float(field(form, "seconds")) if field(form, "seconds") else None
    except ValueError:
        return None
